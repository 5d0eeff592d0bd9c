local answers = require "unbusy.providers.answers"
local config = require "unbusy.config"
local glance = require "unbusy.glance"
local json = require "unbusy.json"
local openai = require "unbusy.providers.openai"
local world = require "spec.support.world"

local CHAT = '{"id":"x","object":"chat.completion","model":"m","choices":[%s],"usage":%s}'
local CHOICE = '{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}'
local USAGE = '{"prompt_tokens":7,"completion_tokens":3,"prompt_cache_hit_tokens":2}'

local function chat(choice, usage)
  return CHAT:format(choice or CHOICE, usage or USAGE)
end

describe("a glance at an answer", function()
  it("tells what decoding it would", function()
    for kind, texts in pairs {
      chat = { chat(), " \n" .. chat() .. "\n", chat(nil, "null"), '{"choices":[{"message":{}}]}',
        '{ "choices" : [ ' .. CHOICE .. ' ] , "model" : "" }',
        chat((CHOICE:gsub('"stop"', "null"))),
        '{"error":null,"type":null,"choices":[' .. CHOICE .. "]}",
        chat((CHOICE:gsub('"hi"', '"a \\"quote\\" and \228\189\160"'))) },
      complete = { '{"choices":[{"text":"","finish_reason":"length"}],"model":"c"}' },
      embed = { '{"object":"list","data":[{"embedding":[0.1,-2e-3]}],"usage":' .. USAGE .. "}" },
    } do
      for _, text in ipairs(texts) do
        local answer, known = glance.of(kind, text), answers.of(kind, json.decode(text))
        assert.is_table(answer, text)
        assert.same({ known.model, known.finish, known.usage },
          { answer.model, answer.finish, answer.usage })
        assert.is_table(openai.read(kind, 200, {}, text))
      end
    end
  end)

  it("says nothing of those that are not plain", function()
    for kind, texts in pairs {
      chat = { "", "x", "[]", chat():sub(1, -2), chat() .. "x", chat "", chat "{}", chat "null",
        chat '{"message":null}', chat '{"message":[]}', chat '{"message":"hi"}',
        chat '{"text":"hi"}',
        chat(CHOICE .. "," .. CHOICE), chat(CHOICE .. ",1"), chat("1," .. CHOICE),
        chat '{"message":{},"finish_reason":"error"}', chat '{"message":{},"message":{}}',
        chat '{"message":{},"finish_reason":"insufficient_system_resource"}',
        chat '{"message":{},"finish_reason":"err\\u006fr"}',
        chat '{"message":{},"finish_reason":1}',
        '{"choices":{}}', '{"choices":null}', '{"choices":[' .. CHOICE .. '],"error":{}}',
        '{"choices":[' .. CHOICE .. '],"\\u0065rror":{"message":"busy"}}',
        '{"choices":[' .. CHOICE .. '],"error":null,"error":"busy"}',
        '{"choices":[' .. CHOICE .. '],"choices":[]}',
        '{"choices":[' .. CHOICE .. '],"type":"error"}',
        '{"choices":[' .. CHOICE .. '],"object":"error"}', chat(nil, "[]"), chat(nil, "7"),
        '{"choices":[' .. CHOICE .. '],"object":"\\u0065rror"}',
        '{"choices":[' .. CHOICE .. '],"model":7}', '{"code":50603,"message":"too busy"}',
        '{"choices":[{"message":{"content":"\255"}}]}', '\239\187\191' .. chat() },
      complete = { chat(), '{"choices":[{"text":null}]}', '{"choices":[{"text":{}}]}' },
      embed = { chat(), '{"data":[]}', '{"data":[ ]}', '{"data":{}}', '{"data":"x"}',
        '{"data":[1}' },
      responses = { chat() }, post = { chat() },
    } do
      for _, text in ipairs(texts) do assert.is_nil(glance.of(kind, text), text) end
    end
  end)

  it("calls nothing plain that is a failure", function()
    local parts = { CHOICE, "null", '{"message":{}}', '"error"', "[]", "{}", '""', USAGE }
    local names = { "choices", "error", "type", "object", "data", "usage", "model" }
    local plain = 0
    for _, name in ipairs(names) do
      for _, part in ipairs(parts) do
        for _, value in ipairs { part, "[" .. part .. "]" } do
          for kind, rest in pairs { chat = '"choices":[' .. CHOICE .. "]",
            complete = '"choices":[{"text":"a"}]', embed = '"data":[1]' } do
            local text = ('{%s,"%s":%s}'):format(rest, name, value)
            local answer = glance.of(kind, text)
            if answer then
              plain = plain + 1
              assert.is_table((openai.read(kind, 200, {}, text)), text)
            end
          end
        end
      end
    end
    assert.is_true(plain > 20)
  end)
end)

describe("a reply that is passed on", function()
  local QUESTION = { model = "m", messages = { { role = "user", content = "hi" } } }

  local function ask(body, more)
    local w = world.new { script = { a = { { status = 200, body = body } } }, retry = false }
    local given = config.trusted { undecoded = true }
    for name, value in pairs(more or {}) do given[name] = value end
    return w.client:chat(QUESTION, given)
  end

  it("is decoded when somebody looks into it", function()
    local reply = ask(chat())
    assert.is_nil(rawget(reply, "body"))
    assert.same({ "m", "stop", 7, chat(), "upstream" }, { reply.model, reply.finish_reason,
      reply.usage.prompt_tokens, reply.raw, reply.source })
    assert.is_nil(rawget(reply, "body"))
    assert.equal("hi", reply.text)
    assert.equal("x", reply.body.id)
    assert.is_nil(reply.tool_calls)
    local ended = false
    reply:on_end(function(_, how) ended = how == nil end)
    assert.is_true(ended)
  end)

  it("is a failure where one that is decoded would be", function()
    for body, wanted in pairs { ['{"error":{"message":"too busy","code":"overloaded"}}'] = "busy",
      ['{"choices":[]}'] = "empty", ["{"] = "upstream",
      [chat '{"message":{},"finish_reason":"insufficient_system_resource"}'] = "busy" } do
      local reply, _, code = ask(body)
      assert.is_nil(reply)
      assert.equal(wanted, code, body)
    end
  end)
end)
