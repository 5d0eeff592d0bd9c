-- A response that came whole, out of the cache or from a server that streams nothing, was a stream
-- of one event, `response.completed`. SDKs read the text out of its deltas: the AI SDK's users and
-- LangChain's had an empty answer with a good end, and OpenAI's own helper raised.
local guard = require "spec.support.leak_guard"
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local world = require "spec.support.world"

local REQUEST = { model = "m", input = "hi", temperature = 0 }

local FULL = [[{"id":"r","object":"response","status":"completed","model":"m","n":1.0,"output":[
  {"type":"reasoning","id":"i0","summary":[{"type":"summary_text","text":"hm"}]},
  {"type":"message","id":"i1","role":"assistant","status":"completed","content":[
    {"type":"output_text","text":"a","annotations":[]},
    {"type":"refusal","refusal":"no"},{"type":"output_text","text":"b"}]},
  {"type":"function_call","id":"i2","call_id":"c","name":"f","arguments":"{\"x\":1}"},
  {"type":"web_search_call","id":"i3","status":"completed"},
  {"type":"reasoning","id":"i4","content":[{"type":"reasoning_text","text":"!"}],"summary":[
    {"type":"summary_text","text":"not this"}]}],
  "usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}]]

local EVENTS = [[created in_progress
  output_item.added reasoning_summary_part.added reasoning_summary_text.delta
  reasoning_summary_text.done reasoning_summary_part.done output_item.done
  output_item.added content_part.added output_text.delta output_text.done content_part.done
  content_part.added refusal.delta refusal.done content_part.done
  content_part.added output_text.delta output_text.done content_part.done output_item.done
  output_item.added function_call_arguments.delta function_call_arguments.done output_item.done
  output_item.added output_item.done
  output_item.added content_part.added reasoning_text.delta reasoning_text.done content_part.done
  output_item.done completed]]

describe("a whole response as a stream", function()
  guard.watch(before_each, after_each)

  -- What its events are, by name, once they have been checked and assembled.
  local function read(stream, body)
    local names, texts, a = {}, {}, openai.assembler "responses"
    for piece in stream:pieces() do
      local event = json.decode(piece.data)
      assert.same({ piece.event, #names }, { event.type, event.sequence_number })
      names[#names + 1], texts[#texts + 1] = event.type:match "^response%.(.*)$", piece.text
      assert(a:feed { data = piece.data, event = piece.event })
      if event.response and event.response.status ~= "in_progress" then
        assert.truthy(piece.data:find(body, 1, true)) -- byte for byte
      end
    end
    assert.is_true(a:finish())
    return names, table.concat(texts), a:answer()
  end

  local function same_answer(expected, got)
    for _, field in ipairs { "text", "reasoning", "refusal", "tool_calls", "finish", "usage" } do
      assert.same({ field, expected[field] }, { field, got[field] })
    end
  end

  for _, way in ipairs { "upstream", "cache" } do
    it("has all of its events, out of the " .. way, function()
      local w = world.new { script = { a = { { status = 200, body = FULL } } },
        options = { cache = way == "cache" } }
      w.loop.run(function()
        if way == "cache" then assert(w.client:responses(REQUEST)) end
        local stream = assert(w.client:stream(REQUEST))
        local names, text, answer = read(stream, FULL)
        assert.equal((EVENTS:gsub("%s+", " ")), table.concat(names, " "))
        assert.equal("ab", text)
        same_answer(openai.read("responses", 200, {}, FULL), answer)
      end)
      w:assert_clean()
    end)
  end

  -- One that is held back until it is judged has no bytes of its own: what JSON cannot say was left
  -- out, and with it all that was said.
  it("is not lost where it was put together, and JSON cannot say all of it", function()
    local body = FULL:gsub('"n":1.0', '"n":1e999'):gsub("\n", "")
    local bytes = 'data: {"type":"response.output_text.delta","delta":"a"}\n\n'
      .. 'data: {"type":"response.completed","response":' .. body .. "}\n\n"
    local w = world.new { script = { a = { world.streamed { { 0, bytes } } },
      b = { world.status(400) } }, targets = { a = { pool = "edge" }, b = { pool = "centre" } },
      options = { escalate = { hold = true } } }
    local names, text = read(assert(w.client:stream(REQUEST)), '"n":null')
    assert.same({ (EVENTS:gsub("%s+", " ")), "ab" }, { table.concat(names, " "), text })
    w:assert_clean()
  end)

  it("is what it was where it is odd", function()
    for output, expected in pairs {
      ['[1,{"type":"message","content":5},{}]'] = "created in_progress output_item.added "
        .. "output_item.done output_item.added output_item.done ",
      ['[{"type":"message","content":[1,{"type":"output_text"}]}]'] = "created in_progress "
        .. "output_item.added content_part.added output_text.done content_part.done "
        .. "output_item.done ",
      ['[{"type":"x","n":1e999}]'] = "", -- no JSON that we could write
    } do
      for status, last in pairs { completed = "completed", incomplete = "incomplete" } do
        local body = ('{"status":"%s","output":%s}'):format(status, output)
        local w = world.new { script = { a = { { status = 200, body = body } } } }
        local names, text = read(w.client:stream(REQUEST), body)
        assert.same({ expected .. last, "" }, { table.concat(names, " "), text })
        w:assert_clean()
      end
    end
  end)
end)
