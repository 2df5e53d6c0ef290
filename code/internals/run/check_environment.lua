-- What Quarto runs before it renders (`pre-render` in _quarto.yml): a missing environment is told
-- in one sentence. Quarto's own words would name a package that is only a part of it.
local python = os.getenv("QUARTO_PYTHON") or ".venv/bin/python"
local file = io.open(python, "r")
if not file then
  io.stderr:write(
    "There is no Python environment (" .. python .. "); `make env` makes it, once, in minutes.\n"
  )
  os.exit(1)
end
file:close()
