-- A response that came whole and holds thoughts themselves (`reasoning_text`, as open models have
-- them) was a stream whose thoughts had no `content_part.added` before them. OpenAI's SDK for
-- JavaScript puts a response together by these, and raised: "missing content at index 0".
local json = require "unbusy.json"
local shape_response = require "unbusy.shape_response"

-- The response as OpenAI's SDK puts it together (lib/responses/ResponseAccumulator.ts), as far as
-- its thoughts go.
local takes = {}

takes["response.created"] = function(_, e)
  e.response.output = {}
  return e.response
end

takes["response.output_item.added"] = function(so_far, e)
  so_far.output[e.output_index + 1] = e.item
end

local function part_of(so_far, e)
  local content = assert(so_far.output[e.output_index + 1].content, "missing content")
  return assert(content[e.content_index + 1], "missing content at that index"), content
end

takes["response.content_part.added"] = function(so_far, e)
  local item = so_far.output[e.output_index + 1]
  if item.type == "reasoning" and e.part.type ~= "reasoning_text" then return end
  item.content = item.content or {}
  table.insert(item.content, e.part)
end

takes["response.reasoning_text.delta"] = function(so_far, e)
  local part = part_of(so_far, e)
  assert.equal("reasoning_text", part.type)
  part.text = part.text .. e.delta
end

takes["response.reasoning_text.done"] = function(so_far, e)
  assert.equal(part_of(so_far, e).text, e.text)
end

takes["response.content_part.done"] = function(so_far, e)
  if e.part.type ~= "reasoning_text" then return end
  local part, content = part_of(so_far, e)
  assert.equal(part.text, e.part.text)
  content[e.content_index + 1] = e.part
end

takes["response.output_item.done"] = function(so_far, e)
  assert.same(e.item.content, so_far.output[e.output_index + 1].content)
end

local function put_together(body)
  local so_far, thoughts = nil, {}
  for _, piece in ipairs(shape_response.pieces(body)) do
    local event = json.decode(piece.data)
    local take = takes[event.type]
    so_far = take and take(so_far, event) or so_far
    thoughts[#thoughts + 1] = piece.reasoning
  end
  return so_far, table.concat(thoughts)
end

describe("a whole response with thoughts, as a stream,", function()
  it("has a place for each of them before its words", function()
    local item = { type = "reasoning", id = "i", summary = json.array {}, content = {
      { type = "reasoning_text", text = "hm, " }, { type = "reasoning_text", text = "well" } } }
    local so_far, thoughts = put_together { id = "r", status = "completed", output = { item } }
    assert.same({ item.content, "hm, well" }, { so_far.output[1].content, thoughts })
  end)

  it("tells no words of what has none, or is something else", function()
    local item = { type = "reasoning", id = "i", summary = json.array {},
      content = { { type = "encrypted", data = "x" }, { type = "reasoning_text" } } }
    for _, piece in ipairs(shape_response.pieces { id = "r", output = { item } }) do
      assert.is_true(not piece.reasoning or piece.reasoning == "")
      local event = json.decode(piece.data)
      if event.delta then assert.same({ 1, "" }, { event.content_index, event.delta }) end
    end
  end)
end)
