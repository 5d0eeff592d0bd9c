--- What is wrong with a script, before it runs anywhere: read, looked at, loaded, tried on samples.
--
--     local report = inspect.file "policies/mine.lua"
--     for _, p in ipairs(report.problems) do print(p.line, p.message) end
--
-- Found by looking: what does not compile, and every name that the sandbox lacks, in branches that
-- no sample reaches too. Found by running it, within the limits of any script: an error, a loop
-- without end, too much memory, a decision of a wrong type. That it decides well is not found.
local decisions = require "unbusy.policy.decisions"
local guest = require "unbusy.policy.guest"
local outside = require "unbusy.policy.outside"
local policy = require "unbusy.policy"
local sandbox = require "unbusy.policy.sandbox"
local source = require "unbusy.policy.source"
local trial = require "unbusy.policy.trial"

local inspect = {}

-- {== The report ==========================================================

local function add(self, list, line, message, more)
  local key = ("%s\0%s\0%s"):format(line or "", more and more.decision or "", message)
  if self.known[key] then return end
  self.known[key] = true
  list[#list + 1] = { line = line, message = message, decision = more and more.decision,
    sample = more and more.sample }
end

-- How Lua's messages call the file: a long name is shortened there.
local function short_of(path)
  return debug.getinfo(load("", "@" .. path), "S").short_src
end

-- A message without the file in front of it: the line, where one is said, and the rest.
local function placed(self, message)
  for _, file in ipairs { self.file, self.short } do
    if message:sub(1, #file + 1) == file .. ":" then
      local rest = message:sub(#file + 2)
      local line, words = rest:match "^(%d+): (.*)$"
      return tonumber(line), words or rest:gsub("^%s+", "")
    end
  end
  return nil, message
end

-- Something fails there since a name is missing, which has been told.
local function is_told(self, line)
  for _, p in ipairs(self.problems) do
    if line and p.line == line and not p.decision then return true end
  end
end

local function problem(self, message)
  local line, words = placed(self, message)
  add(self, self.problems, line, words)
end

local function by_line(a, b)
  local first, second = a.line or 0, b.line or 0
  if first ~= second then return first < second end
  return a.message < b.message
end

local function finish(self)
  table.sort(self.problems, by_line)
  table.sort(self.notes, by_line)
  return { file = self.file, problems = self.problems, notes = self.notes,
    functions = self.functions, ok = #self.problems == 0 }
end

-- }========================================================================

-- {== Its table ===========================================================

local function line_of(f)
  local info = debug.getinfo(f, "S")
  return info.what ~= "C" and info.linedefined or nil
end

-- Takes the functions that can be asked out of its table; what else has such a name is a problem.
local function take_functions(self, t, fields)
  local out = {}
  for name, value in next, t do
    local line = type(value) == "function" and line_of(value) or fields[name]
    if decisions.check[name] and type(value) == "function" then
      out[name] = value
      self.functions[#self.functions + 1] = name
    elseif type(value) == "function" then
      add(self, self.problems, line, source.unknown(name))
    elseif decisions.check[name] then
      add(self, self.problems, line,
        ("%s: a function expected, got a %s"):format(name, type(value)))
    end
  end
  table.sort(self.functions)
  return out
end

local function check_batch(self, out)
  if out.merge and out.split or not (out.merge or out.split) then return end
  local has, lacks = out.merge and "merge" or "split", out.merge and "split" or "merge"
  add(self, self.problems, line_of(out[has]),
    ("%s without %s: a batch needs both"):format(has, lacks))
end

-- Runs the script as it is run when a client loads it: its table, or nothing and a problem.
local function load_table(self, text)
  local t, message = source.run(text, self.file, self.guest.world)
  if not t and not is_told(self, (placed(self, message))) then problem(self, message) end
  return t
end

-- }========================================================================

-- A decision's name before what is wrong with it, once.
local function named(decision, words)
  return words:sub(1, #decision + 1) == decision .. ":" and words or decision .. ": " .. words
end

local function try_functions(self, functions, text, known)
  self.guest:install(functions, text)
  trial.run(self.guest, known, function(decision, message, about, how)
    local line, words = placed(self, message)
    if how == "note" then line = line_of(functions[decision]) end
    if is_told(self, line) then return end
    local list = how and self.notes or self.problems
    if how == "made_up" then
      words = words .. ", on a made-up answer: try it on one of your server's"
    end
    add(self, list, line, named(decision, words), { decision = decision, sample = about })
  end)
end

--- Looks at a text.
---@param text string
---@param name string of its file, in messages
---@param known table? { targets =, pools = } that it may name; any by default
---@return table report { file =, ok =, problems = { { line =, message =, decision =, sample = },
--- … }, notes = of the same form, functions = names of those that it has }
function inspect.text(text, name, known)
  local self = { file = name, short = short_of(name), known = {}, problems = {}, notes = {},
    functions = {}, guest = guest.new(name, name) }
  local env = sandbox.environment(self.guest.world)
  local chunk, message = sandbox.compile(text, name, env)
  if not chunk then
    problem(self, message)
    return finish(self)
  end
  local problems, notes, fields = outside.of(sandbox.bare(text), env)
  for _, p in ipairs(problems) do add(self, self.problems, p.line, p.message) end
  for _, n in ipairs(notes) do add(self, self.notes, n.line, n.message) end
  local t = load_table(self, text)
  if t then
    local functions = take_functions(self, t, fields)
    check_batch(self, functions)
    if not next(functions) and #self.problems == 0 then
      add(self, self.notes, nil, "it decides nothing: its table has no function")
    end
    try_functions(self, functions, text, known or {})
  end
  return finish(self)
end

local function no_file(name, message)
  return { file = name, ok = false, problems = { { message = message } }, notes = {},
    functions = {} }
end

--- Looks at a shipped policy, by its name, or at a file.
---@param what string
---@param known table? as of `inspect.text`
---@return table report
function inspect.file(what, known)
  local path, message = policy.path(what)
  if not path then return no_file(what, message) end
  local text
  text, message = source.read(path)
  if not text then
    local _, words = placed({ file = path, short = path }, message)
    return no_file(path, words)
  end
  return inspect.text(text, path, known)
end

return inspect
