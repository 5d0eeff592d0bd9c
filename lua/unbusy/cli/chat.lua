--- `unbusy chat`: one question, and the answer as it comes.
local arguments = require "unbusy.cli.arguments"
local codes = require "unbusy.codes"
local json = require "unbusy.json"
local options = require "unbusy.options"
local settings = require "unbusy.cli.settings"
local terminal = require "unbusy.cli.terminal"
local waiting = require "unbusy.cli.waiting"

local USAGE, FALLBACK = 2, 3 -- exit statuses; failures have their own, see `unbusy.codes`
local TICK = 0.25            -- seconds between two looks at the line of what is waited for

local chat = {
  name = "chat", usage = "[options] [QUESTION | -]", most = 1, expects = "one question",
  summary = "asks one question and prints the answer as it comes",
  about = [[Asks QUESTION, or what stands on standard input (for -, or without QUESTION when that is
    no terminal), and prints the answer on standard output as it comes. On a terminal, standard
    error shows what is being waited for.]],
}

chat.options = {
  { name = "system", value = "TEXT", type = "string",
    doc = "a system message before the question" },
  { name = "model", value = "NAME", type = "string",
    doc = "the model; without it `models.default` of the target's configuration" },
  { name = "deadline", value = "SECONDS", type = "number", above = 0, max = 1e7,
    doc = "for everything: waiting, tries, the answer" },
  { name = "target", value = "NAME", type = "string",
    doc = "ask this target and no other, the cache neither" },
  { name = "config", value = "FILE", type = "string",
    doc = "a Lua file that returns the options of unbusy.new" },
  { name = "url", value = "URL", type = "string",
    doc = "ask this base URL (as the SDKs call it) instead of a configured target" },
  { name = "no-stream", doc = "ask for the whole answer at once" },
  { name = "reasoning", doc = "also show what the model thinks, on standard error" },
  { name = "json", doc = "print one JSON object at the end and nothing else" },
  { name = "quiet", short = "q", doc = "no line of what is waited for, and no remarks" },
}

-- {== Help ================================================================

local function statuses()
  local rows, words = {
    { "0", "answered" }, { "1", "standard output cannot be written, or a fault of unbusy itself" },
    { "2", "wrong arguments or configuration" },
    { "3", "no answer, but the configured fallback text was printed" },
  }, {}
  for word in pairs(codes) do words[#words + 1] = word end
  table.sort(words, function(a, b) return codes[a].exit < codes[b].exit end)
  for _, word in ipairs(words) do
    rows[#rows + 1] = { ("%d %s"):format(codes[word].exit, word), codes[word].meaning }
  end
  rows[#rows + 1] = { "130", "ended with Ctrl-C" }
  rows[#rows + 1] = { "141", "whoever read the output has gone" }
  return arguments.columns(rows)
end

--- What a help page says about the environment and the exit statuses.
function chat.sections()
  return {
    { "Who is asked (the first that is there):", arguments.columns {
      { "--url", "that server; its key is UNBUSY_KEY" },
      { "--config", "the targets of that file" },
      { "UNBUSY_CONFIG", "the same, from the environment" },
      { "./" .. settings.file, "the same, in the current directory: it is run as a Lua program" },
      { "DEEPSEEK_API_KEY", "https://api.deepseek.com, as target deepseek" },
      { "OPENAI_API_KEY", "https://api.openai.com/v1, as target openai" },
    } },
    { "Examples:", '  unbusy chat --model deepseek-flash "天气如何?"\n'
      .. '  git diff | unbusy chat --system "Review this patch." --config ask.lua --deadline 600' },
    { "JSON:", arguments.columns {
      { "answer", "text, source, target, model, finish_reason, tries, times, usage, cost; "
        .. "of a fallback also fallback, failure; of a weak one weak, of one in its place "
        .. "escalated" },
      { "failure", "error: { message, code, detail }" },
    } },
    { "Exit status:", statuses() },
  }
end

-- }========================================================================

-- {== The question ========================================================

local function read_input()
  local text, message = io.read "*a"
  if not text then return nil, "standard input: " .. tostring(message) end
  return (text:gsub("\r?\n$", ""))
end

local function question(values)
  local text = values[1]
  if text == nil and terminal.is_terminal(0) then
    return nil, 'a question expected: unbusy chat "…"'
  end
  if text == nil or text == "-" then
    local input, message = read_input()
    if not input then return nil, message end
    text = input
  end
  if not text:find "%S" then return nil, "the question is empty" end
  return text
end

local function request(values)
  local text, message = question(values)
  if not text then return nil, message end
  local messages = {}
  if values.system then messages[1] = { role = "system", content = values.system } end
  messages[#messages + 1] = { role = "user", content = text }
  for _, m in ipairs(messages) do
    if not json.is_utf8(m.content) then return nil, "the question or --system is not UTF-8" end
  end
  if values.model and not json.is_utf8(values.model) then return nil, "--model is not UTF-8" end
  return { model = values.model, messages = messages }
end

-- }========================================================================

-- {== The client ==========================================================

local function check_target(client, name)
  local names = {}
  for i, t in ipairs(client.targets) do
    if t.name == name then return true end
    names[i] = t.name
  end
  local near = options.nearest(name, names)
  return nil, ("--target: no target has that name; there are: %s%s"):format(
    table.concat(names, ", "), near and (" (did you mean '%s'?)"):format(near) or "")
end

local function watcher(line, own)
  return function(e)
    if line then line:event(e) end
    if own then own(e) end
  end
end

-- The cache of a configuration, which this program does not keep warm: it asks one question.
local function cold(cache)
  if type(cache) ~= "table" then return cache end
  local out = {}
  for name, value in pairs(cache) do out[name] = value end
  out.warm = nil
  return out
end

-- The client, and a hint about its key; or nil and what is wrong.
local function open_client(values, line)
  local given, hint, file = settings.find(values)
  if not given then return nil, hint end
  if type(given.on_event) == "function" or given.on_event == nil then
    given.on_event = watcher(line, given.on_event)
  end
  given.loop = nil -- this program runs its own
  given.cache = cold(given.cache)
  local ok, client = pcall(require("unbusy").new, given)
  if not ok then
    local message = tostring(client):gsub("^unbusy: ", "")
    return nil, file and ("%s: %s"):format(file, message) or message
  end
  if not values.target then return client, hint end
  local found, message = check_target(client, values.target)
  if not found then return nil, message end
  return client, hint
end

-- }========================================================================

-- {== Printing ============================================================

-- Prints the answer's text, and what the model thinks beside it.
local printer = {}
printer.__index = printer

local function new_printer(values, line)
  return setmetatable({ line = line, on_terminal = terminal.is_terminal(1), last = "\n",
    reasons = values.reasoning, dims = values.reasoning and terminal.columns() ~= nil }, printer)
end

function printer:think(target, text)
  if not self.reasons then
    if self.line then self.line:busy_with(target, "thinking") end
    return
  end
  if self.line then self.line:stop() end
  text = terminal.clean(text)
  io.stderr:write(self.dims and ("\27[2m%s\27[22m"):format(text) or text)
  self.thought = text:sub(-1)
end

-- The line of thought ends where the answer begins.
function printer:end_thought()
  if self.thought and self.thought ~= "\n" then io.stderr:write "\n" end
  self.thought = nil
end

function printer:text(target, text)
  self:end_thought()
  if self.on_terminal then
    text = terminal.clean(text)
    if self.line then self.line:stop() end
  elseif self.line then
    self.line:busy_with(target, "answering")
  end
  if text == "" then return end
  terminal.write(text)
  self.last, self.wrote = text:sub(-1), true
end

function printer:finish()
  if self.line then self.line:stop() end
  self:end_thought()
  if self.last ~= "\n" then terminal.write "\n" end
  self.last = "\n"
end

-- }========================================================================

-- {== Asking ==============================================================

-- A failure, as the calls give it, in one table.
local function failure(message, code, detail)
  return { message = message, code = code, detail = detail }
end

-- Who names a target wants to know what that one says, and not what it has said before.
local function call_options(values)
  local given = { deadline = values.deadline, target = values.target,
    upstream_stream = values.json and not values.no_stream or nil }
  if values.target then given.cache = false end
  return given
end

local function ask_stream(client, body, values, out)
  local stream, message, code, detail = client:stream(body, call_options(values))
  if not stream then return nil, failure(message, code, detail) end
  while true do
    local piece
    piece, message, code, detail = stream:read()
    if code then return nil, failure(message, code, detail) end
    if not piece then return stream:reply() end
    if piece.reasoning then out:think(stream.target, piece.reasoning) end
    if piece.text then out:text(stream.target or stream.source, piece.text) end
  end
end

local function ask_whole(client, body, values, out)
  local reply, message, code, detail = client:chat(body, call_options(values))
  if not reply then return nil, failure(message, code, detail) end
  if not values.json then
    if reply.reasoning and values.reasoning then out:think(reply.target, reply.reasoning) end
    out:text(reply.target or reply.source, reply.text or "")
  end
  return reply
end

local function tick(loop, line)
  while true do
    loop.sleep(TICK)
    line:draw()
  end
end

-- Asks, with a task beside it that draws the line.
local function ask(client, body, values, out, line)
  local how = (values.json or values.no_stream) and ask_whole or ask_stream
  local tasks = require "unbusy.loops.tasks"
  return tasks.run(tasks.enter, function(loop)
    local ticker = line and loop.spawn(tick, loop, line)
    local reply, why = how(client, body, values, out)
    if ticker then loop.cancel(ticker) end
    return reply, why
  end)
end

-- }========================================================================

-- {== What came of it =====================================================

local remarks = {
  length = "the answer ends early: it reached its length limit",
  content_filter = "the answer ends early: the server's content filter stopped it",
}

local function failure_object(f)
  local detail = {}
  for _, name in ipairs { "status", "target", "phase", "retry_after", "tries" } do
    detail[name] = f.detail and f.detail[name]
  end
  return { message = f.message, code = f.code, detail = detail }
end

local function reply_object(reply, values)
  return {
    text = reply.text or json.null, source = reply.source, target = reply.target,
    reasoning = values.reasoning and reply.reasoning or nil, model = reply.model,
    tries = reply.tries, times = reply.times, usage = reply.usage, cost = reply.cost,
    finish_reason = reply.finish_reason, failure = reply.failure and failure_object(reply.failure),
    fallback = reply.fallback, weak = reply.weak, escalated = reply.escalated,
  }
end

local function print_json(object, status)
  local text, message = json.encode(object)
  if not text then
    terminal.say("the answer is no JSON: " .. message)
    return codes.upstream.exit
  end
  terminal.write(text .. "\n")
  return status
end

-- What to look at, for failures that the person at the terminal can cure.
local function advice(f, values, hint)
  if f.code == "auth" then return hint end
  if f.code == "invalid" and not values.model then
    return "no --model was given: the target's models.default was asked for, if it has one"
  end
end

local function report_failure(f, values, out, hint)
  local status = codes[f.code].exit
  if values.json then return print_json({ error = failure_object(f) }, status) end
  local tail = out.wrote and " (the answer is not complete)" or ""
  terminal.say(("%s: %s%s"):format(f.code, f.message, tail))
  local more = advice(f, values, hint)
  if more then terminal.say(more) end
  return status
end

-- What stood in, where the question was not answered as it was asked.
local function standing_in(reply)
  if reply.source == "fallback" then return "that was no answer" end
  local mark = reply.fallback or {}
  if mark.model then return ("that was model '%s'"):format(mark.model) end
  if mark.pool then return ("that was pool '%s'"):format(mark.pool) end
  return "that was an old answer"
end

local function report(reply, values)
  local status = reply.source == "fallback" and FALLBACK or 0
  if values.json then return print_json(reply_object(reply, values), status) end
  local f = reply.failure
  if reply.weak then
    local more = f and (" (%s: %s)"):format(f.code, f.message) or ""
    terminal.say(("that is a weak answer: %s%s"):format(reply.weak, more))
  elseif f then
    terminal.say(("fallback: %s: %s: %s"):format(standing_in(reply), f.code, f.message))
  end
  local remark = remarks[reply.finish_reason]
  if remark and not values.quiet then terminal.say(remark) end
  return status
end

-- }========================================================================

local function new_line(values)
  local columns = not values.quiet and terminal.columns()
  if not columns then return nil end
  return waiting.new {
    what = (values.json or values.no_stream) and "the answer" or "the first word",
    now = require("unbusy.core").now, columns = columns,
    write = function(text) io.stderr:write(text) end,
  }
end

local function wrong(message)
  terminal.say(message)
  return USAGE
end

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function chat.run(values)
  local line = new_line(values)
  local client, hint = open_client(values, line)
  if not client then return wrong(hint) end
  local body, message = request(values)
  if not body then return wrong(message) end
  local out = new_printer(values, line)
  local ok, reply, f = pcall(ask, client, body, values, out, line)
  if not ok then -- Ctrl-C, standard output gone, or a fault: the terminal's line is left tidy
    pcall(out.finish, out)
    error(reply, 0)
  end
  out:finish()
  if not reply then return report_failure(f, values, out, hint) end
  return report(reply, values)
end

return chat
