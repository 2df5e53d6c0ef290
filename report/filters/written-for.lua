-- Choose the paragraphs that are true in this run, and anchor the claims that remain.
--
--   ::: {.written-for models="fable-gpt2" claims="id1 id2"}   shown for these models, if every
--   ::: {.otherwise}                                          claim is supported; else this one
--   ::: {.when fact="norm_kind" is="RMSNorm|LayerNorm"}       or not="…"; also [inline]{.when …}
--   ::: {.when-claim id="id1" verdict="supported"}            likewise
--
-- Facts and claims come from the evidence files that the chapters wrote while they ran
-- (.build/evidence/*.json or $INTERNALS_BUILD). Works in Quarto and in plain Pandoc; it must run
-- before figures are numbered, so that hidden ones do not count.

local DEFAULT_MODEL = "fable-gpt2"
local VERDICTS = { supported = true, ["not supported"] = true, ["not applicable"] = true }

local evidence -- { model, facts, claims }, read at first need

-- Where things are ------------------------------------------------------------------------------

local function source_file()
  if quarto and quarto.doc and quarto.doc.input_file then return quarto.doc.input_file end
  return PANDOC_STATE.input_files[1]
end

local chapter_file = nil

local function fail(message)
  local line = string.format("%s: %s", chapter_file or source_file() or "chapter", message)
  if quarto then
    -- Quarto turns error() of a filter into a log line and renders on.
    io.stderr:write(line .. "\n")
    os.exit(1)
  end
  error(line, 0)
end

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

local function project_root()
  local root = os.getenv("QUARTO_PROJECT_DIR")
  if root and root ~= "" then return root end
  local folder = pandoc.path.directory(source_file() or "")
  if not pandoc.path.is_absolute(folder) then
    folder = pandoc.path.join({ pandoc.system.get_working_directory(), folder })
  end
  while true do
    if exists(pandoc.path.join({ folder, "_quarto.yml" })) then return folder end
    local parent = pandoc.path.directory(folder)
    if parent == folder then return pandoc.system.get_working_directory() end
    folder = parent
  end
end

local function evidence_folder()
  local build = os.getenv("INTERNALS_BUILD")
  if not build or build == "" then build = pandoc.path.join({ project_root(), ".build" }) end
  return pandoc.path.join({ build, "evidence" })
end

-- Evidence --------------------------------------------------------------------------------------

local function read_record(path)
  local file = assert(io.open(path, "r"))
  local text = file:read("a")
  file:close()
  local ok, record = pcall(pandoc.json.decode, text, false)
  if not ok or type(record) ~= "table" then
    fail("the evidence file " .. path .. " cannot be read; delete it and render again.")
  end
  return record
end

local function read_evidence()
  local spec = os.getenv("REPORT_MODEL")
  if not spec or spec == "" then spec = DEFAULT_MODEL end
  local folder = evidence_folder()
  local found = { facts = {}, claims = {} }
  local ok, names = pcall(pandoc.system.list_directory, folder)
  table.sort(ok and names or {})
  for _, name in ipairs(ok and names or {}) do
    if name:match("^[^.].*%.json$") then
      local record = read_record(pandoc.path.join({ folder, name }))
      if record.model.spec == spec then
        found.model = record.model
        for key, value in pairs(record.facts) do found.facts[key] = value end
        for _, claim in ipairs(record.claims) do found.claims[claim.id] = claim.verdict end
      end
    end
  end
  if not found.model then
    fail("there is no evidence about the model " .. spec .. " in " .. folder
      .. "; the chapter must call book.start before its prose is chosen.")
  end
  return found
end

local function known()
  evidence = evidence or read_evidence()
  return evidence
end

local function verdict_of(id)
  local verdict = known().claims[id]
  if not verdict then fail("no claim with the id '" .. id .. "' was registered.") end
  return verdict
end

local function fact_text(name)
  local value = known().facts[name]
  if value == nil then
    local names = {}
    for key in pairs(known().facts) do names[#names + 1] = key end
    table.sort(names)
    fail("the model has no fact '" .. name .. "'; known are " .. table.concat(names, ", ") .. ".")
  end
  if type(value) == "userdata" then return "none" end -- JSON null
  if math.type(value) == "float" and value == math.floor(value) then
    value = math.floor(value)
  end
  return tostring(value)
end

-- Conditions ------------------------------------------------------------------------------------

local function words(text)
  local list = {}
  for word in (text or ""):gmatch("[^%s,]+") do list[#list + 1] = word end
  return list
end

local function is_one_of(text, alternatives)
  if text:lower() == alternatives:lower() then return true end
  for part in alternatives:gmatch("[^|]+") do
    if text:lower() == part:match("^%s*(.-)%s*$"):lower() then return true end
  end
  return false
end

local function refuse_other_attributes(element, allowed)
  for key in pairs(element.attributes) do
    if not allowed[key] then
      fail("." .. element.classes[1] .. " does not know the attribute '" .. key .. "'.")
    end
  end
end

local function written_for_holds(element)
  refuse_other_attributes(element, { models = true, claims = true })
  local models = words(element.attributes.models)
  if #models == 0 then fail(".written-for needs models=\"…\".") end
  local model, fits = known().model, false
  for _, name in ipairs(models) do
    fits = fits or name == model.name or name == model.spec
  end
  for _, id in ipairs(words(element.attributes.claims)) do
    if verdict_of(id) ~= "supported" then fits = false end
  end
  return fits
end

local function when_holds(element)
  refuse_other_attributes(element, { fact = true, is = true, ["not"] = true })
  local attributes = element.attributes
  if not attributes.fact or (attributes.is == nil) == (attributes["not"] == nil) then
    fail(".when needs fact=\"…\" and either is=\"…\" or not=\"…\".")
  end
  local text = fact_text(attributes.fact)
  if attributes.is then return is_one_of(text, attributes.is) end
  return not is_one_of(text, attributes["not"])
end

local function when_claim_holds(element)
  refuse_other_attributes(element, { id = true, claim = true, verdict = true })
  -- Pandoc takes id="…" for the element's own identifier.
  local id = element.attributes.claim or element.identifier
  local verdict = element.attributes.verdict
  if id == "" or not verdict then fail(".when-claim needs id=\"…\" and verdict=\"…\".") end
  for part in verdict:gmatch("[^|]+") do
    if not VERDICTS[part] then fail("'" .. part .. "' is not a verdict.") end
  end
  return is_one_of(verdict_of(id), verdict)
end

local CONDITIONS = {
  ["written-for"] = written_for_holds,
  ["when"] = when_holds,
  ["when-claim"] = when_claim_holds,
}

local function condition_of(element)
  for class, holds in pairs(CONDITIONS) do
    if element.classes:includes(class) then return class, holds end
  end
end

-- Anchors ---------------------------------------------------------------------------------------

local function claims_cited_in(blocks)
  local ids = {}
  pandoc.Div(blocks):walk({
    Span = function(span)
      if span.classes:includes("claim-ref") then ids[#ids + 1] = span.attributes.claim end
    end,
  })
  return ids
end

-- Hidden text leaves a mark, so that the ledger can still link to the place where it stood.
local function mark(ids)
  return pandoc.Div({}, pandoc.Attr("", { "claim-gap" }, { claims = table.concat(ids, " ") }))
end

local function is_mark(block)
  return block.t == "Div" and block.classes:includes("claim-gap")
end

-- The same inside a sentence; a word joiner, since Typst refuses a link to an empty anchor.
local function inline_mark(id)
  return pandoc.Span({ pandoc.Str("\u{2060}") }, pandoc.Attr("", { "claim-gap" }, { claim = id }))
end

-- Of the marks inside sentences only the first of a claim that is cited nowhere becomes an anchor.
local function settle_inline_marks(doc, anchored)
  return doc:walk({
    traverse = "topdown",
    Span = function(span)
      if not span.classes:includes("claim-gap") then return nil end
      local id = span.attributes.claim
      if anchored[id] then return {} end
      anchored[id] = true
      return pandoc.Span(span.content, pandoc.Attr("cite-" .. id)), false
    end,
  })
end

-- Typst refuses a link to an anchor without content: a neighbour carries the anchors.
local function settle_marks(blocks, anchored)
  local result = pandoc.Blocks({})
  local waiting = {}
  local function wrap(block)
    for _, id in ipairs(waiting) do
      block = pandoc.Div({ block }, pandoc.Attr("cite-" .. id))
    end
    waiting = {}
    return block
  end
  for _, block in ipairs(blocks) do
    if is_mark(block) then
      for _, id in ipairs(words(block.attributes.claims)) do
        if not anchored[id] then
          anchored[id] = true
          waiting[#waiting + 1] = id
        end
      end
    elseif #waiting > 0 and (block.t == "Para" or block.t == "Plain") then
      result:insert(wrap(block))
    else
      result:insert(block)
    end
  end
  for index = #result, 1, -1 do
    local kind = result[index].t
    if #waiting > 0 and (kind == "Para" or kind == "Plain") then
      result[index] = wrap(result[index])
    end
  end
  if #waiting > 0 then result:insert(wrap(pandoc.Para({ pandoc.Str("\u{2060}") }))) end
  return result
end

-- Choice ----------------------------------------------------------------------------------------

local choose

local function keep(result, blocks) result:extend(choose(pandoc.Blocks(blocks))) end

local function drop(result, blocks)
  local ids = claims_cited_in(blocks)
  if #ids > 0 then result:insert(mark(ids)) end
end

-- `choose` walks lists of blocks itself, because `.otherwise` belongs to its elder sibling.
choose = function(blocks)
  local result = pandoc.Blocks({})
  local shown_before = nil -- what the .written-for directly before was: true, false or nil
  for _, block in ipairs(blocks) do
    local is_div = block.t == "Div"
    local class, holds
    if is_div then class, holds = condition_of(block) end
    if is_div and block.classes:includes("otherwise") then
      if shown_before == nil then
        fail(".otherwise must follow directly after .written-for.")
      end
      if shown_before then drop(result, block.content) else keep(result, block.content) end
      shown_before = nil
    elseif class then
      local shown = holds(block)
      if shown then keep(result, block.content) else drop(result, block.content) end
      shown_before = nil
      if class == "written-for" then shown_before = shown end
    else
      shown_before = nil
      result:insert(block)
    end
  end
  return result
end

local function choose_inlines(inlines)
  local result, changed = pandoc.Inlines({}), false
  for _, inline in ipairs(inlines) do
    local class, holds
    if inline.t == "Span" then class, holds = condition_of(inline) end
    if class == "written-for" then fail(".written-for is for paragraphs, not for words.") end
    if class then
      changed = true
      if holds(inline) then
        result:extend(inline.content)
      else
        for _, id in ipairs(claims_cited_in({ pandoc.Plain(inline.content) })) do
          result:insert(inline_mark(id))
        end
      end
    else
      result:insert(inline)
    end
  end
  if changed then return result end
end

local function anchor_citations(doc, anchored)
  return doc:walk({
    traverse = "topdown",
    Span = function(span)
      if not span.classes:includes("claim-ref") then return nil end
      local id = span.attributes.claim
      if not anchored[id] then
        anchored[id] = true
        span.identifier = "cite-" .. id
      end
      if #span.content == 0 or span.content[1].t ~= "Superscript" then
        span.content = pandoc.Inlines({ pandoc.Superscript(span.content) })
      end
      return span, false
    end,
  })
end

function Pandoc(doc)
  local given = doc.meta["chapter-file"]
  if given then chapter_file = pandoc.utils.stringify(given) end
  -- Top-down, so that nothing inside a hidden division is looked at or can fail.
  doc.blocks = choose(doc.blocks)
  doc = doc:walk({ traverse = "topdown", Blocks = choose })
  doc = doc:walk({ traverse = "topdown", Inlines = choose_inlines })
  local anchored = {}
  doc = anchor_citations(doc, anchored)
  doc = settle_inline_marks(doc, anchored)
  doc.blocks = settle_marks(doc.blocks, anchored)
  return doc:walk({ Blocks = function(blocks) return settle_marks(blocks, anchored) end })
end
