--- A server that answers requests of several items, and a client of it, in virtual time.
--
--     local w = batching.world { batch = "embeddings" }
--     local out = batching.ask(w, "embed", { "a", "b" })  -- both at once: { reply =, code =, … }
--     batching.said(out[1].reply)                         --> "echo: a"
--
-- `given.item(text)` may give an error for one item, `given.whole(texts, n)` an answer for all of
-- request number n. Other fields: `batch`, `options` and `targets` as of `world.new`.
local json = require "unbusy.json"
local world = require "spec.support.world"

local batching = {}

local function as_list(value)
  return type(value) == "table" and value or { value }
end

local readers = {}

readers["/v1/embeddings"] = function(body) return as_list(body.input) end
readers["/v1/completions"] = function(body) return as_list(body.prompt) end
readers["/v1/chat/completions"] = function(body)
  return { body.messages[#body.messages].content }
end
local function read_batch(body)
  local out = {}
  for i, item in ipairs(body.requests) do out[i] = item.prompt end
  return out
end

local function path_of(request)
  return request.url:match "^%a+://[^/]+([^?]*)"
end

readers["/api/v1/batch"], readers["/b"] = read_batch, read_batch

--- What one request asks for: its texts, and its decoded body.
function batching.texts(request)
  local body = json.decode(request.body)
  return readers[path_of(request)](body), body
end

local writers = {}

-- The item at place i, or the error that stands there.
local function items(texts, item, good)
  local out = json.array()
  for i, text in ipairs(texts) do
    local failed = item and item(text)
    out[i] = failed and { index = i - 1, error = failed } or good(text, i)
  end
  return out
end

writers["/v1/embeddings"] = function(texts, item)
  return { object = "list", data = items(texts, item, function(text, i)
    return { object = "embedding", index = i - 1, embedding = { #text }, text = "echo: " .. text }
  end) }
end

writers["/v1/completions"] = function(texts, item)
  return { id = "x", object = "text_completion", choices = items(texts, item, function(text, i)
    return { index = i - 1, text = "echo: " .. text, finish_reason = "stop" }
  end) }
end

local function message(text)
  return { index = 0, finish_reason = "stop",
    message = { role = "assistant", content = "echo: " .. text } }
end

writers["/v1/chat/completions"] = function(texts)
  return { id = "x", object = "chat.completion", choices = { message(texts[1]) } }
end

local function write_batch(texts, item)
  return { object = "list", responses = items(texts, item, function(text)
    return { choices = { message(text) } }
  end) }
end

writers["/api/v1/batch"], writers["/b"] = write_batch, write_batch

local function usage(texts)
  local prompt = 0
  for _, text in ipairs(texts) do prompt = prompt + #text end
  return { prompt_tokens = prompt, completion_tokens = 3 * #texts,
    total_tokens = prompt + 3 * #texts }
end

--- The script of a server; see the top of this file.
function batching.server(given)
  return function(request, n)
    local texts, body = batching.texts(request)
    local whole = given.whole and given.whole(texts, n, request)
    if whole then return whole end
    local path = path_of(request)
    local answer = writers[path](texts, texts[2] and given.item)
    answer.model, answer.usage = body.model, usage(texts)
    return { status = 200, after = given.after, body = json.encode(answer) }
  end
end

--- A world with one target, "a", that answers batches.
function batching.world(given)
  local options = { batch = given.batch }
  for name, value in pairs(given.options or {}) do options[name] = value end
  return world.new { script = given.script or { a = batching.server(given) }, options = options,
    targets = given.targets }
end

local fields = { embed = "input", complete = "prompt" }

--- The request of a kind that asks for a text.
function batching.request(kind, text, more)
  local request = { model = "m" }
  if kind == "chat" then request.messages = { { role = "user", content = text } }
  else request[fields[kind]] = text end
  for name, value in pairs(more or {}) do request[name] = value end
  return request
end

--- What an answer says.
function batching.said(reply)
  if reply.text then return reply.text end
  return reply.body.data[1].text
end

--- Asks for all texts at once, in tasks of their own; a text may be { text, options, more fields of
--- the request, seconds to wait before }. Gives for each { reply, message, code, detail, at }.
function batching.ask(w, kind, texts)
  local out = {}
  w.loop.run(function()
    for i, item in ipairs(texts) do
      if type(item) == "string" then item = { item } end
      w.loop.spawn(function()
        if item[4] then w.loop.sleep(item[4]) end
        local reply, message_of, code, detail =
          w.client[kind](w.client, batching.request(kind, item[1], item[3]), item[2])
        out[i] = { reply = reply, message = message_of, code = code, detail = detail,
          at = w:now() }
      end)
    end
  end)
  return out
end

--- n texts: "t1", "t2", …
function batching.many(n, options)
  local out = {}
  for i = 1, n do out[i] = { "t" .. i, options } end
  return out
end

--- How many items each request had, in order.
function batching.sizes(w)
  local out = {}
  for i, entry in ipairs(w.log) do out[i] = #batching.texts(entry.request) end
  return out
end

return batching
