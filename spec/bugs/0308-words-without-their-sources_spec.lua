-- A response that came whole and cites something (of a web search, of files) was a stream in which
-- its annotations stood in the parts alone, and its `logprobs`, too. The AI SDK and LangChain read
-- them out of events (`output_text.annotation.added`, `output_text.delta`): their users had the
-- words without the sources.
local json = require "unbusy.json"
local shape_response = require "unbusy.shape_response"

local function cites(url)
  return { type = "url_citation", url = url, title = "t", start_index = 0, end_index = 1 }
end

-- The events of a response that says this part, by name.
local function events_of(part)
  local list, by_name = {}, {}
  for _, piece in ipairs(shape_response.pieces { id = "r", output = { { type = "message",
    id = "i", role = "assistant", status = "completed", content = { part } } } }) do
    local event = json.decode(piece.data)
    local name = event.type:match "^response%.(.*)$"
    list[#list + 1] = name
    by_name[name] = by_name[name] or {}
    table.insert(by_name[name], event)
  end
  return by_name, list
end

describe("a whole response that cites something, as a stream,", function()
  it("tells each of its annotations once, behind the text", function()
    local part = { type = "output_text", text = "ab", annotations = { cites "u1", cites "u2" } }
    local events, names = events_of(part)
    assert.matches("content_part.added output_text.delta output_text.annotation.added "
      .. "output_text.annotation.added output_text.done content_part.done",
      table.concat(names, " "), 1, true)
    local seen = events["content_part.added"][1].part.annotations
    assert.same({}, seen)
    for i, event in ipairs(events["output_text.annotation.added"]) do
      assert.same({ "i", 0, 0, i - 1 }, { event.item_id, event.output_index, event.content_index,
        event.annotation_index })
      seen[event.annotation_index + 1] = event.annotation
    end
    assert.same(part.annotations, seen)
    assert.same(part, events["content_part.done"][1].part)
  end)

  it("tells its logprobs with the text", function()
    local logprobs = { { token = "ab", logprob = -1, bytes = { 97, 98 }, top_logprobs = {} } }
    local events = events_of { type = "output_text", text = "ab", logprobs = logprobs }
    assert.same({}, events["content_part.added"][1].part.logprobs)
    assert.same(logprobs, events["output_text.delta"][1].logprobs)
    assert.same(logprobs, events["output_text.done"][1].logprobs)
  end)

  it("tells nothing of what is none", function()
    local events = events_of { type = "output_text", text = "ab", annotations = { 1, "x" },
      logprobs = json.null }
    assert.is_nil(events["output_text.annotation.added"])
    assert.same({}, events["output_text.delta"][1].logprobs)
  end)
end)
