-- A custom tool is called with a text, which a stream brings in parts, as it does the arguments of
-- a function: {"index":0,"custom":{"input":"…"}} (openai/openai-python#2530). Of a stream that was
-- put together (for `stream:reply`, `upstream_stream`, the cache) the last part was all that was
-- left of the call, and its name was gone.
local assembler = require "unbusy.providers.assembler"
local json = require "unbusy.json"
local lengths = require "unbusy.gateway.lengths"

local function chunk(fragment, finish)
  return { data = json.encode { id = "x", object = "chat.completion.chunk", model = "m",
    choices = { { index = 0, finish_reason = finish or json.null,
      delta = { tool_calls = fragment and { fragment } } } } } }
end

local function put_together(fragments)
  local a = assembler.new "chat"
  for _, fragment in ipairs(fragments) do
    local piece = a:feed(chunk(fragment))
    assert.is_true(piece.started)
  end
  a:feed(chunk(nil, "tool_calls"))
  assert.is_true(a:finish())
  return a:answer()
end

describe("a custom tool's call that comes in parts", function()
  it("has its name and all of its input", function()
    local answer = put_together {
      { index = 0, id = "c", type = "custom", custom = { name = "run", input = "" } },
      { index = 0, custom = { input = "print " } },
      { index = 0, custom = { input = "1\n" } },
      { index = 1, id = "d", type = "function", ["function"] = { name = "f", arguments = "{" } },
      { index = 1, ["function"] = { arguments = "}" } } }
    assert.same({
      { id = "c", type = "custom", custom = { name = "run", input = "print 1\n" } },
      { id = "d", type = "function", ["function"] = { name = "f", arguments = "{}" } },
    }, answer.tool_calls)
    assert.same({ "tool_calls", json.null }, { answer.finish,
      answer.body.choices[1].message.content })
    assert.equal(#"run" + #"print 1\n" + #"f" + #"{}", lengths.of(answer))
  end)

  it("is a custom one without its type, and may be odd", function()
    local answer = put_together { { index = 0, id = "c", custom = { name = "run" } },
      { index = 0, custom = "?" }, { index = 0, custom = json.null },
      { index = 0, custom = { input = 5, more = true } } }
    assert.same({ { id = "c", type = "custom",
      custom = { name = "run", input = "", more = true } } }, answer.tool_calls)
  end)
end)
