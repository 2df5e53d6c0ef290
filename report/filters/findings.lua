-- Choose the paragraphs that are true for the model of this run.
--
--   ::: {.holds claims="entropy-rises !order-changes"}   shown where the first finding is supported
--                                                        and the second is not; otherwise the
--                                                        findings speak for themselves
--   ::: {.findings claims="entropy-rises"}               always the findings, each with verdict
--   ::: {.when fact="norm_kind" is="RMSNorm|LayerNorm"}  or not="…"; also [inline]{.when …}
--
-- Findings and facts come from the file that the chapter wrote while it ran
-- (.build/evidence/… or $INTERNALS_BUILD). Works in Quarto and in plain Pandoc; it must run before
-- figures are numbered, so that hidden ones do not count.

local evidence -- { facts, findings }, read at first need
local chapter_file = nil
local told = {} -- findings that a replaced paragraph has already listed

local function source_file()
  if quarto and quarto.doc and quarto.doc.input_file then return quarto.doc.input_file end
  return PANDOC_STATE.input_files[1]
end

local function fail(message)
  local line = string.format("%s: %s", chapter_file or source_file() or "chapter", message)
  if quarto then
    -- Quarto turns error() of a filter into a log line and renders on.
    io.stderr:write(line .. "\n")
    os.exit(1)
  end
  error(line, 0)
end

-- Where things are ------------------------------------------------------------------------------

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
  while not exists(pandoc.path.join({ folder, "_quarto.yml" })) do
    local parent = pandoc.path.directory(folder)
    if parent == folder then return pandoc.system.get_working_directory() end
    folder = parent
  end
  return folder
end

local function evidence_folder()
  local build = os.getenv("INTERNALS_BUILD")
  if not build or build == "" then build = pandoc.path.join({ project_root(), ".build" }) end
  local spec = (os.getenv("REPORT_MODEL") or ""):match("^%s*(.-)%s*$")
  local model = spec == "" and "default" or pandoc.utils.sha1(spec)
  return pandoc.path.join({ build, "evidence", model })
end

-- The chapter's own evidence; for Quarto's PDF, which is one document, that of all chapters.
local function evidence_files()
  local folder = evidence_folder()
  if quarto and quarto.doc.is_format("typst") then
    local ok, names = pcall(pandoc.system.list_directory, folder)
    local files = {}
    for _, name in ipairs(ok and names or {}) do
      if name:match("^[^.].*%.json$") then files[#files + 1] = pandoc.path.join({ folder, name }) end
    end
    table.sort(files)
    return files
  end
  local name = pandoc.path.filename(chapter_file or source_file() or "")
  local chapter = name:gsub("%.[^.]*$", ""):gsub("^%d+%a?[-_]", "")
  return { pandoc.path.join({ folder, chapter .. ".json" }) }
end

local function read_record(path)
  local file = io.open(path, "r")
  if not file then
    fail("there is no evidence in " .. path .. "; the chapter must call book.start first.")
  end
  local ok, record = pcall(pandoc.json.decode, file:read("a"), false)
  file:close()
  if not ok or type(record) ~= "table" then
    fail("the evidence file " .. path .. " cannot be read; delete it and render again.")
  end
  return record
end

local function known()
  if evidence then return evidence end
  evidence = { facts = {}, findings = {} }
  for _, path in ipairs(evidence_files()) do
    local record = read_record(path)
    for _, part in ipairs({ "facts", "findings" }) do
      for key, value in pairs(record[part]) do evidence[part][key] = value end
    end
  end
  return evidence
end

-- Conditions ------------------------------------------------------------------------------------

local function refuse_other_attributes(element, allowed)
  for key in pairs(element.attributes) do
    if not allowed[key] then
      fail("." .. element.classes[1] .. " does not know the attribute '" .. key .. "'.")
    end
  end
end

local function fact_text(name)
  local value = known().facts[name]
  if value == nil then fail("the model has no fact '" .. name .. "'.") end
  if type(value) == "userdata" then return "none" end -- JSON null
  if math.type(value) == "float" and value == math.floor(value) then
    value = math.floor(value)
  end
  return tostring(value)
end

local function is_one_of(text, alternatives)
  if text:lower() == alternatives:lower() then return true end
  for part in alternatives:gmatch("[^|]+") do
    if text:lower() == part:match("^%s*(.-)%s*$"):lower() then return true end
  end
  return false
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

local function claims_of(element)
  refuse_other_attributes(element, { claims = true })
  local claims = {}
  for word in (element.attributes.claims or ""):gmatch("[^%s,]+") do
    local id = word:gsub("^!", "")
    local finding = known().findings[id]
    if not finding then fail("no finding of this chapter has the id '" .. id .. "'.") end
    claims[#claims + 1] = { id = id, finding = finding, wanted = word:sub(1, 1) ~= "!" }
  end
  if #claims == 0 then fail("." .. element.classes[1] .. " needs claims=\"…\".") end
  return claims
end

-- A value that is only reported counts as there; one that does not apply never fits.
local function fits(claim)
  local verdict = claim.finding.verdict
  if verdict == "not applicable" then return false end
  return (verdict ~= "not supported") == claim.wanted
end

-- What stands in the place of a paragraph that is not true here ----------------------------------

local function sentence(finding)
  local text = finding.sentence:gsub("%.$", "")
  local verdict = finding.verdict == "supported" and "as expected" or "not as expected"
  if finding.verdict == "not applicable" then
    text = text:gsub("not measured", "…", 1) -- in the place of the value
    text = text .. ": not measured (" .. finding.reason:gsub("%.$", "") .. ")."
  else
    local interval = finding.interval_text ~= "–" and (finding.interval_text .. ", ") or ""
    text = text .. " (" .. interval .. finding.n_text .. ")"
    local rule = ": " .. verdict .. " (" .. finding.expected .. ")."
    text = text .. (finding.verdict == "reported" and "." or rule)
  end
  text = text:gsub("(%a)'(%a)", "%1’%2") -- as in the prose around it
  return pandoc.Inlines(text) -- word by word, so that lines may end between them
end

local function findings_instead(claims)
  local items = {}
  for _, claim in ipairs(claims) do
    if not told[claim.id] then
      told[claim.id] = true
      items[#items + 1] = { pandoc.Plain(sentence(claim.finding)) }
    end
  end
  if #items == 0 then return {} end
  local head = pandoc.Para(pandoc.Inlines("What was expected, and what this model shows:"))
  return { pandoc.Div({ head, pandoc.BulletList(items) }, pandoc.Attr("", { "findings-instead" })) }
end

-- Choice ----------------------------------------------------------------------------------------

local choose

choose = function(blocks)
  local result = pandoc.Blocks({})
  for _, block in ipairs(blocks) do
    local class = block.t == "Div" and block.classes or pandoc.List({})
    if class:includes("when") then
      if when_holds(block) then result:extend(choose(block.content)) end
    elseif class:includes("holds") then
      local claims, all = claims_of(block), true
      for _, claim in ipairs(claims) do all = all and fits(claim) end
      result:extend(all and choose(block.content) or pandoc.Blocks(findings_instead(claims)))
    elseif class:includes("findings") then
      local lines = {}
      for i, claim in ipairs(claims_of(block)) do
        lines[i] = { pandoc.Plain(sentence(claim.finding)) }
      end
      result:insert(pandoc.BulletList(lines))
    else
      result:insert(block)
    end
  end
  return result
end

local function choose_inlines(inlines)
  local result, changed = pandoc.Inlines({}), false
  for _, inline in ipairs(inlines) do
    if inline.t == "Span" and inline.classes:includes("when") then
      changed = true
      if when_holds(inline) then result:extend(inline.content) end
    elseif inline.t == "Span" and inline.classes:includes("holds") then
      fail(".holds is for paragraphs, not for words.")
    else
      result:insert(inline)
    end
  end
  if changed then return result end
end

function Pandoc(doc)
  local given = doc.meta["chapter-file"]
  if given then chapter_file = pandoc.utils.stringify(given) end
  -- Top-down, so that nothing inside a hidden division is looked at or can fail.
  doc.blocks = choose(doc.blocks)
  doc = doc:walk({ traverse = "topdown", Blocks = choose })
  return doc:walk({ traverse = "topdown", Inlines = choose_inlines })
end
