--- Questions that are to be asked ahead of time, out of a list, a file, or what is asked most.
--
-- A question is { kind =, request =, options = }. In a file each line is one: a text, or a JSON
-- object, which is a request (with `messages`, `prompt` or `input`) or has one as `request` or
-- `body`, or a text as `question`. Empty lines and those that begin with # say nothing.
local json = require "unbusy.json"
local options = require "unbusy.options"

local questions = {}

local MOST = 100000         -- questions in one file
local LONGEST = 1024 * 1024 -- bytes of a line

local function is_model(model)
  return model == nil or type(model) == "string" or model == json.null
end

local function is_some(value)
  return type(value) == "string" and value ~= "" or type(value) == "table" and value[1] ~= nil
end

-- Which call a request is for; nil where it is none of those that are cached.
local function kind_of(request)
  if not is_model(request.model) then return nil end
  if type(request.messages) == "table" then return request.messages[1] and "chat" end
  if is_some(request.prompt) then return "complete" end
  if is_some(request.input) then return "embed" end
end

-- The question that a text or a table is; nil for anything else.
local function of(item, model)
  if type(item) == "string" and item:find "%S" then
    item = { messages = { { role = "user", content = item } } }
  end
  if type(item) ~= "table" then return nil end
  local kind = kind_of(item)
  if not kind then return nil end
  if item.model == nil and model then
    local request = { model = model }
    for name, value in pairs(item) do request[name] = value end
    item = request
  end
  return { kind = kind, request = item, options = {} }
end

local WANTED = "a text, or a request with messages, prompt or input, expected"

--- The questions of a list; nil and what is wrong with it.
---@param list any
---@param model string? of those that name none
---@return table[]? questions, string? message
function questions.of_list(list, model)
  local items, wrong = options.field({ type = "list", required = true }, list, "questions")
  if not items then return nil, wrong end
  local out = {}
  for i, item in ipairs(items) do
    out[i] = of(item, model)
    if not out[i] then return nil, ("question %d: %s"):format(i, WANTED) end
  end
  return out
end

-- What stands in a line: a text or a request; nil and what is wrong.
local function read_line(line)
  if #line > LONGEST then return nil, "longer than 1 MiB" end
  if not json.is_utf8(line) then return nil, "not UTF-8" end
  if not line:find "^%s*{" then return (line:gsub("^%s+", ""):gsub("%s+$", "")) end
  local item = json.decode(line)
  if type(item) ~= "table" then return nil, "not JSON" end
  local inner = item.request or item.body or item.question
  return inner ~= nil and item.messages == nil and inner or item
end

-- The question of a line, false where it says nothing; or nil and what is wrong.
local function of_line(line, model)
  if not line:find "%S" or line:find "^%s*#" then return false end
  local item, wrong = read_line(line)
  if item == nil then return nil, wrong end
  local question = of(item, model)
  return question, not question and WANTED or nil
end

-- The same of a file's n-th line, which may begin with a byte order mark and end with CR.
local function of_nth(n, line, model)
  if n == 1 then line = line:gsub("^\239\187\191", "") end
  return of_line((line:gsub("\r$", "")), model)
end

--- The questions of an open file; nil and what is wrong, with its name and the line's number.
---@param file userdata
---@param name string for messages
---@param model string? of those that name none
---@return table[]? questions, string? message
function questions.of_lines(file, name, model)
  local out, n = {}, 0
  while true do
    local line, fault = file:read "*l" -- `file:lines` would raise: a folder can be opened, too
    if fault then return nil, ("%s: %s"):format(name, fault) end
    if not line then return out end
    n = n + 1
    local question, wrong = of_nth(n, line, model)
    if question and #out >= MOST then wrong = ("more than %d questions"):format(MOST) end
    if wrong then return nil, ("%s:%d: %s"):format(name, n, wrong) end
    if question then out[#out + 1] = question end
  end
end

--- The questions of a file; nil and what is wrong with it.
---@param path string
---@param model string? of those that name none
---@return table[]? questions, string? message
function questions.of_file(path, model)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local out, wrong = questions.of_lines(file, path, model)
  file:close()
  return out, wrong
end

return questions
