--- Every figure of the source, measured again: `make claims`.
--
--     luajit claims/claims.lua [NAME…] [--page FILE]
--
-- Without names all rows are measured, one after the other, each in a process of its own, and
-- docs/claims.md is written. A name may also be the path of a row's file. The exit status is 0
-- where every figure is met or said to be out of reach, 1 where one is missed or a row failed, 2
-- for wrong arguments.
local json = require "unbusy.json"
local monotonic = require "unbusy.core".now
local rows = require "claims.rows"
local sheet = require "claims.sheet"
local shell = require "unbusy.cli.shell"
local text = require "claims.text"

local PAGE = "docs/claims.md"
local MEASURE = "--measure" -- this very file, in the process that measures

-- {== Measuring ===========================================================

-- Measures here, and writes what came of it to a file.
local function measure(name, path)
  local row = assert(rows.read(name))
  local it = sheet.new()
  row.measure(it)
  if not it.figures[1] then error(name .. ": no figure", 0) end
  local file = assert(io.open(path, "wb"))
  file:write((assert(json.encode { inputs = it.inputs, figures = it.figures, tables = it.tables,
    notes = it.notes })))
  file:close()
end

local function read(path)
  local file = io.open(path, "rb")
  local all = file and file:read "*a" or ""
  if file then file:close() end
  return all
end

-- The last line that was said.
local function last_line(said)
  return said:match "([^\n]+)\n*$"
end

-- What a process that ended so has to say for itself.
local function fault_of(row, status, said)
  if status == "124" or status == "137" then
    return ("not done within %d s"):format(row.seconds)
  end
  local first = said:match "^[^\n]*: ([^\n]+)\nstack traceback" or last_line(said)
  return first or ("it ended with status %s"):format(status)
end

-- Measures a row in a process of its own: the sheet's fields, or `fault`.
local function run(row)
  local out, err = os.tmpname(), os.tmpname()
  local words = { arg[-1] or "luajit", "claims/claims.lua", MEASURE, row.name, out }
  for i, word in ipairs(words) do words[i] = shell.quote(word) end
  local began = monotonic()
  local pipe = assert(io.popen(("timeout -k 5 %d %s 2>%s; echo $?"):format(row.seconds,
    table.concat(words, " "), shell.quote(err))))
  local status = pipe:read("*a"):match "(%d+)\n$"
  pipe:close()
  local result = status == "0" and json.decode(read(out))
    or { fault = fault_of(row, status, read(err)) }
  os.remove(out)
  os.remove(err)
  for _, field in ipairs { "name", "row", "title", "how" } do result[field] = row[field] end
  result.seconds = monotonic() - began
  return result
end

-- }========================================================================

-- {== Telling =============================================================

local function about()
  local lua = jit and jit.version or _VERSION -- luacheck: ignore 113
  return { date = os.date "!%Y-%m-%d", lua = lua,
    machine = ("%s, %s processors"):format(shell.output "uname -sm", shell.output "nproc") }
end

local function write_page(path, results)
  local file = assert(io.open(path, "wb"))
  file:write(text.page(results, about()))
  file:close()
  print("written: " .. path)
end

-- }========================================================================

local function usage(message)
  io.stderr:write("claims: ", message, "\n")
  return 2
end

local function arguments(argv)
  local names, page, i = {}, nil, 1
  while argv[i] do
    if argv[i] == "--page" then
      page, i = argv[i + 1], i + 1
      if not page then return nil, "--page: a path expected" end
    elseif argv[i]:find "^%-" then
      return nil, ("unknown option %s"):format(argv[i])
    else
      names[#names + 1] = argv[i]
    end
    i = i + 1
  end
  if not names[1] then names, page = rows.names, page or PAGE end
  return names, page
end

local function main(argv)
  if argv[1] == MEASURE then
    measure(argv[2], argv[3])
    return 0
  end
  local names, page = arguments(argv)
  if not names then return usage(page) end
  local list, results = {}, {}
  for i, name in ipairs(names) do
    local message
    list[i], message = rows.read(name)
    if not list[i] then return usage(message) end
  end
  for i, row in ipairs(list) do
    results[i] = run(row)
    print(text.plain(results[i]))
    io.stdout:flush()
  end
  if page then write_page(page, results) end
  local line, good = text.sum(results)
  print(line)
  return good and 0 or 1
end

os.exit(main(arg), true)
