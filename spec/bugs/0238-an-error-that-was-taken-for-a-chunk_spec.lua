-- Some servers tell errors as {"code":…,"message":…}, without an `error` around it. In a whole
-- answer that was read (but for one with `"data":null` behind it); in a stream it was taken for a
-- chunk without anything in it, and the failure was "ended without an answer": not busy to the
-- limiter, tried again where the request was wrong, and without the server's words.
local guard = require "spec.support.leak_guard"
local openai = require "unbusy.providers.openai"
local world = require "spec.support.world"

local function failure(body, before)
  local steps = { { 0, "data: " .. body .. "\n\n" } }
  if before then table.insert(steps, 1, { 0, world.chunk { content = "so" } }) end
  local w = world.new { script = { a = { world.streamed(steps) } }, options = { retry = false } }
  local stream, message, code, detail = w:stream()
  if stream then
    stream, message, code, detail = stream:reply()
    assert.is_nil(stream)
  end
  return message, code, detail
end

describe("an error that a stream tells without a word of it", function()
  guard.watch(before_each, after_each)

  local cases = {
    { '{"code":50603,"message":"System is too busy now","data":null}', "busy" },
    { '{"code":"model_not_found","message":"no such model"}', "invalid" },
    { '{"message":"rate limit","type":"rate_limit_error"}', "limited" },
    { '{"code":401,"msg":"who are you"}', "auth" },
    { '{"detail":"something else"}', "upstream" },
  }

  it("has its code and its words, as in a whole answer", function()
    for _, case in ipairs(cases) do
      local message, code = failure(case[1])
      local _, whole, expected = openai.read("chat", 200, {}, case[1])
      assert.same({ case[2], expected }, { code, code }, case[1])
      assert.equal("a: stream: " .. whole:gsub("^200 ", ""), message)
    end
  end)

  it("is a cut where some of the answer was given", function()
    for _, case in ipairs(cases) do
      local message, code = failure(case[1], true)
      assert.matches("stream: ", message, 1, true)
      assert.is_not_equal("empty", code)
      assert.is_nil(message:find("finish_reason", 1, true))
    end
  end)

  it("is none in what else comes without choices", function()
    for _, event in ipairs { '{"usage":{"prompt_tokens":1,"completion_tokens":1},"message":"fine"}',
      '{"type":"ping"}', '{"code":0,"message":"success"}', "{}", '{"object":"x","id":"y"}',
      '{"type":"message_start","message":{"content":[]}}', '{"choices":[],"message":"x"}' } do
      local a = openai.assembler "chat"
      assert.is_table(a:feed { data = event }, event)
    end
  end)
end)
