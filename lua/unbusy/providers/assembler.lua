--- Puts a stream's events together again.
--
--     local a = assembler.new "chat"
--     for _, event in ipairs(parser:feed(bytes)) do
--       local piece, message, code, detail = a:feed(event)
--     end
--     local ok, message, code = a:finish()        -- at the end of the bytes
--     local answer = a:answer()                   -- as if it had not been a stream
--
-- A stream is whole when every choice seen has given its finish_reason. `[DONE]` alone does not
-- make it whole, nor does its absence after that break it (some servers send none), where as many
-- choices came as were asked for.
-- `a.started` is true from the first byte of answer on: reasoning, content, refusal or a tool call;
-- a role alone is none. `a.finished` says that it is whole so far, `a.done` that `[DONE]` came.
local answers = require "unbusy.providers.answers"
local errors = require "unbusy.providers.errors"
local json = require "unbusy.json"

local some, table_of = answers.some, answers.table_of

local assembler = {}
local methods = {}
local class = { __index = methods, __metatable = false }

local objects = { chat = "chat.completion", complete = "text_completion" }

-- How many choices a request asks for: `n` for each of its prompts.
local function wanted_of(request)
  return math.max(json.whole(request.n) or 1, 1) * math.max(answers.texts_in(request.prompt), 1)
end

--- Makes an assembler.
---@param kind string chat or complete
---@param hide function? takes secrets out of what an error event says
---@param request table? that it answers: how many choices it asks for; one by default
---@return table a
function assembler.new(kind, hide, request)
  if not objects[kind] then
    error(("assembler: kind chat or complete expected, got '%s'"):format(tostring(kind)), 2)
  end
  local self = setmetatable({ kind = kind, started = false, finished = false, done = false,
    head = {}, choices = {}, open = 0, hide = hide,
    wanted = request and wanted_of(request) or 1 }, class)
  return self -- no tail call: see `unbusy.clock`
end

local function append(parts, name, text)
  local list = parts[name]
  if not list then parts[name] = { text } else list[#list + 1] = text end
end

-- Strings that grow from delta to delta; each is kept as a list until the end.
local growing = { content = true, reasoning_content = true, reasoning = true, refusal = true }

-- The call that a fragment continues: by its index; without one, a new call if it has an id, else
-- the last one.
local function call_of(choice, fragment)
  local calls, index = choice.calls or {}, json.whole(fragment.index)
  choice.calls = calls
  if not index then
    index = choice.last_call or 0
    if choice.last_call and type(fragment.id) == "string" then index = index + 1 end
  end
  choice.last_call = index
  local call = calls[index]
  if not call then
    call = { index = index, fields = {}, functions = {}, arguments = {} }
    calls[index] = call
  end
  return call
end

-- Keeps a field that is there and says something (the key of a list's item is not a field).
local function keep(fields, k, v)
  if type(k) == "string" and some(v) ~= nil and v ~= "" then fields[k] = v end
end

-- The same, but a list that comes in parts grows.
local function keep_more(fields, k, v)
  local known = fields[k]
  if type(v) ~= "table" or type(known) ~= "table" or known[1] == nil then
    return keep(fields, k, v)
  elseif v[1] == nil and not json.is_array(v) then
    return keep(fields, k, v)
  end
  for i = 1, #v do known[#known + 1] = v[i] end
end

local sounds = { data = true, transcript = true }

-- Takes a part of what is to be heard in; true when there is something to hear.
local function take_audio(choice, given)
  local audio, started = choice.audio or { fields = {}, parts = {} }, false
  choice.audio = audio
  for k, v in next, given do
    if sounds[k] and type(v) == "string" then
      append(audio.parts, k, v)
      started = started or v ~= ""
    else
      keep(audio.fields, k, v)
    end
  end
  return started
end

-- Takes in what is called, and a part of what it is called with, which has that name.
local function take_called(call, f, grows)
  for k, v in next, f do
    if k ~= grows then
      keep(call.functions, k, v)
    elseif type(v) == "string" then
      call.arguments[#call.arguments + 1] = v
    end
  end
end

local function take_function(call, f)
  take_called(call, f, "arguments")
end

-- A tool that is called with a text as it is, and no JSON.
local function take_custom(call, custom)
  call.custom = call.custom or { functions = {}, arguments = {} }
  take_called(call.custom, custom, "input")
end

local function take_calls(choice, fragments)
  local any = false
  for _, fragment in ipairs(fragments) do
    if type(fragment) == "table" then
      any = true
      local call = call_of(choice, fragment)
      for k, v in next, fragment do
        if k == "function" then
          if type(v) == "table" then take_function(call, v) end
        elseif k == "custom" and type(v) == "table" then
          take_custom(call, v)
        elseif k ~= "index" then
          keep(call.fields, k, v)
        end
      end
    end
  end
  return any
end

-- Takes a part of a string that grows; true where it says something.
local function take_text(choice, name, text)
  if text then append(choice.parts, name, text) end
  return text ~= nil and text ~= ""
end

-- Takes a delta in; true when it carries a part of the answer.
local function take_delta(choice, delta)
  local started = false
  for k, v in next, delta do
    if growing[k] then
      started = take_text(choice, k, answers.text_of(v)) or started
      if k == "content" and type(v) == "table" then
        started = take_text(choice, "reasoning_content", answers.thoughts_in(v)) or started
      end
    elseif k == "tool_calls" then
      started = type(v) == "table" and take_calls(choice, v) or started
    elseif k == "function_call" and type(v) == "table" then -- the older form of a tool call
      choice.function_call = choice.function_call or { functions = {}, arguments = {} }
      take_function(choice.function_call, v)
      started = true
    elseif k == "audio" and type(v) == "table" then
      started = take_audio(choice, v) or started
    else
      keep_more(choice.message, k, v)
    end
  end
  return started
end

local function take_logprobs(choice, given)
  local all = choice.logprobs or {}
  choice.logprobs = all
  for name, list in next, given do
    if type(list) == "table" and type(name) == "string" then
      local whole = all[name] or json.array {}
      all[name] = whole
      for _, item in ipairs(list) do whole[#whole + 1] = item end
    end
  end
end

local function choice_at(a, given)
  local index = json.whole(given.index) or 0
  local choice = a.choices[index]
  if not choice then
    choice = { index = index, parts = {}, message = {} } -- and `calls`, `extra` where there are any
    a.choices[index] = choice
    a.open = a.open + 1
  end
  return choice
end

local known = { index = true, delta = true, message = true, text = true, logprobs = true,
  finish_reason = true }

-- Takes one choice of a chunk in: the choice, whether it carries answer bytes, its delta.
local function take_choice(a, given)
  local choice, started = choice_at(a, given), false
  local delta = table_of(given.delta) or table_of(given.message)
  if a.kind == "chat" then
    started = delta ~= nil and take_delta(choice, delta)
  elseif type(given.text) == "string" then
    append(choice.parts, "text", given.text)
    started = given.text ~= ""
  end
  if type(given.logprobs) == "table" then take_logprobs(choice, given.logprobs) end
  for k, v in next, given do
    if not known[k] then
      choice.extra = choice.extra or {}
      keep(choice.extra, k, v)
    end
  end
  local finish = given.finish_reason
  if type(finish) == "string" and finish ~= "" then
    if not choice.finish then a.open = a.open - 1 end
    choice.finish = finish
  end
  return choice, started, delta
end

-- `obfuscation` is padding against listeners, fresh in each chunk.
local not_kept = { choices = true, object = true, usage = true, obfuscation = true, error = true }

local function take_head(a, chunk)
  for k, v in next, chunk do
    if not not_kept[k] then keep(a.head, k, v) end
  end
  if type(chunk.usage) == "table" then a.usage = chunk.usage end
end

local function filled(text)
  return text ~= "" and text or nil
end

-- What the caller sees of the first choice.
local function show(piece, a, given, delta)
  if a.kind == "complete" then
    piece.text = type(given.text) == "string" and filled(given.text) or nil
  elseif delta then
    piece.text = filled(answers.text_of(delta.content))
    piece.reasoning = answers.reasoning_of(delta)
    piece.refusal = filled(answers.text_of(delta.refusal))
    local calls = table_of(delta.tool_calls)
    piece.tool_calls = calls and #calls > 0 and calls or nil
  end
  piece.finish = type(given.finish_reason) == "string" and filled(given.finish_reason) or nil
end

local function fail_finish(finish)
  return nil, "stream: finish_reason " .. finish, answers.unfinished[finish], errors.detail(200)
end

-- Where a choice tells the usage, as Kimi's do, and nothing beside it does.
local function take_usage(piece, a, given)
  local own = a.wanted == 1 and not piece.usage and table_of(given.usage)
  if own then a.usage, piece.usage = own, answers.usage(own) end
end

local function take_chunk(a, chunk, event)
  local piece = { data = event.data, event = event.event, id = event.id,
    usage = answers.usage(chunk.usage) }
  take_head(a, chunk)
  for _, given in ipairs(table_of(chunk.choices) or {}) do
    if type(given) == "table" then
      local finish = given.finish_reason -- first: what fails is not taken in
      if answers.unfinished[finish] then return fail_finish(finish) end
      local choice, started, delta = take_choice(a, given)
      if started then piece.started, a.started = true, true end
      if choice.index == 0 then show(piece, a, given, delta) end
      if given.usage ~= nil then take_usage(piece, a, given) end
    end
  end
  a.finished = next(a.choices) ~= nil and a.open == 0
  return piece
end

local function fail_event(body, hide)
  local e = errors.inside(body) or errors.told(body)
  local _, message, code, detail = errors.fail(200, nil, e, hide)
  return nil, "stream: " .. message:gsub("^200 ", ""), code, detail
end

-- Is it no chunk, but words of why there are none? Some servers tell errors so in whole answers,
-- too: {"code":50603,"message":"System is too busy"}.
local function tells_error(chunk)
  if some(chunk.choices) ~= nil or some(chunk.usage) ~= nil then return false end
  local e = errors.told(chunk)
  return (e.message or e.code) ~= nil and e.code ~= "0"
end

--- Takes one event of the SSE parser.
---@param event table event, data
---@return table? piece { data, event, id, text, reasoning, refusal, tool_calls, finish, usage,
--- started }, nil alone for `[DONE]` and whatever follows; string? message, string? code, table?
--- detail
function methods:feed(event)
  local data = event.data
  if self.done or not data or data == "" then return nil end
  if data:find("^%s*%[DONE%]%s*$") then
    self.done = true
    return nil
  end
  local chunk = json.decode(data)
  if event.event == "error" or errors.inside(chunk) then return fail_event(chunk, self.hide) end
  if type(chunk) ~= "table" or chunk[1] ~= nil then
    return nil, "stream: an event that is no JSON object", "upstream", errors.detail(200)
  end
  if chunk.choices == nil and tells_error(chunk) then return fail_event(chunk, self.hide) end
  return take_chunk(self, chunk, event)
end

--- Whether the stream, which has ended, was a whole answer.
---@return boolean? ok, string? message, string? code "cut" when some of it had come, else "empty"
function methods:finish()
  if not self.finished then
    if self.started then return nil, "stream: ended without finish_reason", "cut" end
    return nil, "stream: ended without an answer", "empty"
  end
  local count = 0
  for _ in next, self.choices do count = count + 1 end
  if self.done or count >= self.wanted then return true end
  return nil, ("stream: ended with %d of %.0f choices"):format(count, self.wanted), "cut"
end

-- Is the choice a text, perhaps with thoughts, and nothing else?
local function is_text(choice)
  local parts = choice.parts
  if choice.calls or choice.function_call or choice.logprobs or choice.audio then return false end
  if parts.refusal and table.concat(parts.refusal) ~= "" then return false end
  for name in next, choice.message do
    if name ~= "role" then return false end
  end
  return true
end

local function all_of(parts)
  return parts and table.concat(parts) or ""
end

--- What has come so far of an answer that is one text.
---@return table? said { text =, reasoning = "" where there is none, finish =, head = { id =,
--- created =, model = } as far as they were told, usage = as the server sent it }; nil where it is
--- more than a text, or nothing has come
function methods:so_far()
  local choice = self.choices[0]
  if not choice or next(self.choices, next(self.choices)) ~= nil or not is_text(choice) then
    return nil
  end
  local head, parts = self.head, choice.parts
  return { text = all_of(parts[self.kind == "chat" and "content" or "text"]),
    reasoning = all_of(parts.reasoning_content or parts.reasoning), finish = choice.finish,
    head = { id = head.id, created = head.created, model = head.model }, usage = self.usage }
end

local function joined(call, grows)
  local f = call.functions
  f[grows or "arguments"] = table.concat(call.arguments)
  return f
end

local function heard(audio)
  local out = audio.fields
  for name, parts in next, audio.parts do out[name] = table.concat(parts) end
  return out
end

local function by_index(a, b) return a.index < b.index end

local function sorted(map)
  local list = {}
  for _, item in next, map do list[#list + 1] = item end
  if list[2] then table.sort(list, by_index) end
  return list
end

local function message_of(choice)
  local message = choice.message
  message.role = message.role or "assistant"
  for name, parts in next, choice.parts do message[name] = table.concat(parts) end
  if message.refusal == "" then message.refusal = json.null end
  if choice.audio then message.audio = heard(choice.audio) end
  if choice.function_call then message.function_call = joined(choice.function_call) end
  local calls = sorted(choice.calls or {})
  for i, call in ipairs(calls) do
    if next(call.functions) or #call.arguments > 0 then call.fields["function"] = joined(call) end
    if call.custom then call.fields.custom = joined(call.custom, "input") end
    call.fields.type = call.fields.type or call.custom and "custom" or "function"
    calls[i] = call.fields
  end
  if #calls > 0 then message.tool_calls = calls end
  if not message.content or message.content == "" and (#calls > 0 or message.function_call) then
    message.content = json.null
  end
  return message
end

local function whole_choice(kind, choice)
  local out = choice.extra or {}
  out.index, out.finish_reason = choice.index, choice.finish or json.null
  out.logprobs = choice.logprobs or json.null
  if kind == "chat" then
    out.message = message_of(choice)
  else
    out.text = table.concat(choice.parts.text or {})
  end
  return out
end

--- The answer so far, with a `body` as a call without streaming would have had. To be called once,
--- after the last `feed`; further calls give the same table.
---@return table answer as `provider.read` gives
function methods:answer()
  if self.whole then return self.whole end
  local body, choices = self.head, sorted(self.choices)
  body.object = objects[self.kind]
  for i, choice in ipairs(choices) do choices[i] = whole_choice(self.kind, choice) end
  body.choices = json.array(choices)
  body.usage = self.usage
  self.whole = answers.of(self.kind, body)
  return self.whole
end

return assembler
