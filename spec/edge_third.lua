-- The edge node of examples/edge, as its page says to run it: `unbusy serve`, a model in llama.cpp
-- beside it, and the busy upstream as the centre. Run by `tools/test.sh third`.
local busyd = require "spec.support.busyd"
local files = require "spec.support.files"
local json = require "unbusy.json"
local served = require "spec.support.served"
local third_party = require "spec.support.third_party"
local unbusy = require "unbusy"

local KEY = "sk-of-the-centre"

describe("the edge node", function()
  local model, centre, place, node

  setup(function()
    model, centre = third_party.model(), busyd.start { workers = 1 }
    place = served.place()
    node = served.start(place, { files.trimmed "pwd" .. "/examples/edge/unbusy.lua" },
      { env = { EDGE_URL = model.url, CENTRE_URL = centre.url, CENTRE_KEY = KEY } })
  end)

  teardown(function()
    if place then place:remove() end
    if centre then centre:stop() end
    if model then model:stop() end
  end)

  before_each(function() centre:programme { reset = true, log = true } end)

  -- Header names are in lower case.
  local function ask(text, stream)
    local body = json.encode { messages = { { role = "user", content = text } }, stream = stream }
    local answer, status = node:ask("/v1/chat/completions",
      "-i -H 'content-type: application/json' --data-binary " .. files.quote(body))
    local head, rest = answer:match "^(.-)\r\n\r\n(.*)$"
    local headers = {}
    for name, value in head:gmatch "\n([^:\r\n]+): ([^\r\n]*)" do headers[name:lower()] = value end
    return rest, headers, status
  end

  local function text_of(body)
    return json.decode(body).choices[1].message.content
  end

  it("answers a routine question from the model near by, and the centre hears nothing", function()
    local body, headers, status = ask "what are your hours"
    assert.same({ 200, "small", "1", "upstream" }, { status, headers["x-unbusy-target"],
      headers["x-unbusy-tries"], headers["x-unbusy-source"] })
    assert.equal("from nine to six every day.", text_of(body))
    local told = json.decode(body)
    assert.same({ "bigram", "stop" }, { told.model, told.choices[1].finish_reason })
    assert.is_true(told.usage.completion_tokens >= 7)
    assert.equal(0, centre:counts().received)
  end)

  it("asks the centre a hard one, and the model hears nothing", function()
    local question = "explain why the harbour freezes"
    local body, headers = ask(question)
    assert.same({ "deepseek", "1" }, { headers["x-unbusy-target"], headers["x-unbusy-tries"] })
    assert.equal("echo: " .. question, text_of(body))
    assert.equal("Bearer " .. KEY, centre:log()[1].headers.authorization)
  end)

  for reason, question in pairs { length = "tell me a story", refused = "how about a refund",
    short = "qwertz" } do
    it("asks the centre in its place where the model's answer is weak: " .. reason, function()
      local body, headers = ask(question)
      assert.same({ "deepseek", "2", reason }, { headers["x-unbusy-target"],
        headers["x-unbusy-tries"], headers["x-unbusy-escalated"] })
      assert.equal("echo: " .. question, text_of(body))
      assert.equal(1, centre:counts().received)
    end)
  end

  it("gives the weak answer where the centre is down", function()
    centre:programme { reset = true, faults = { { share = 1, answer = { status = 400 } } } }
    local body, headers, status = ask "we want a refund"
    assert.same({ 200, "small", "refused", "i don't know." }, { status,
      headers["x-unbusy-target"], headers["x-unbusy-weak"], text_of(body) })
  end)

  it("answers from its cache what was answered before", function()
    assert.equal("good morning!", text_of((ask "hello")))
    local body, headers = ask "hello"
    assert.same({ "cache", "good morning!" }, { headers["x-unbusy-source"], text_of(body) })
  end)

  local function streamed(body)
    local out = {}
    for data in body:gmatch "data: (%b{})\n\n" do
      local choice = json.decode(data).choices[1]
      local text = choice and choice.delta.content
      if type(text) == "string" then out[#out + 1] = text end
    end
    return table.concat(out)
  end

  it("streams, from either side", function()
    local body, headers = ask("thanks", true)
    assert.same({ "with pleasure!", "small" }, { streamed(body), headers["x-unbusy-target"] })
    assert.truthy(body:find "data: %[DONE%]\n\n$")
    body, headers = ask("another story", true)
    assert.same({ "echo: another story", "deepseek", "length" }, { streamed(body),
      headers["x-unbusy-target"], headers["x-unbusy-escalated"] })
  end)

  it("tells in its log what came from where", function()
    local before = #node:logged()
    ask "your address"
    local line
    served.wait(function() -- (another worker may write its line of the call before this one late)
      for one in node:logged():sub(before + 1):gmatch "([^\n]+)\n" do
        if one:find('"target":"small"', 1, true) then line = one end
      end
      return line
    end, "the log")
    assert.same({ "small", 0 }, { json.decode(line).target, json.decode(line).cost })
  end)
end)

describe("a model in llama.cpp", function()
  local model
  setup(function() model = third_party.model() end)
  teardown(function() if model then model:stop() end end)

  local function new(more)
    local o = { targets = { { name = "small", url = model.url, proxy = false } } }
    for name, value in pairs(more or {}) do o[name] = value end
    return unbusy.new(o)
  end

  local function chat(text, more)
    local request = { messages = { { role = "user", content = text } } }
    for name, value in pairs(more or {}) do request[name] = value end
    return request
  end

  it("listens on 127.0.0.1 and nowhere else", function()
    local port = tonumber(model.url:match ":(%d+)")
    assert.same({ ("0100007F:%04X"):format(port) }, model:listening())
  end)

  it("is asked directly, too, whole and word by word", function()
    local client = new()
    assert.equal("at the old harbour.", client:chat(chat "what is your address").text)
    local words = {}
    for piece in client:stream(chat "parking"):pieces() do words[#words + 1] = piece.text end
    assert.equal("behind our house.", table.concat(words))
    assert.is_true(#words > 2)
  end)

  it("says no more than was asked for, which is not weak then", function()
    local client = new { targets = { { name = "small", url = model.url, pool = "edge",
      proxy = false }, { name = "nobody", url = "http://127.0.0.1:9", pool = "centre" } },
      escalate = true }
    local reply = client:chat(chat("a story", { max_tokens = 5 }))
    assert.same({ "length", nil, "small" }, { reply.finish_reason, reply.weak, reply.target })
  end)

  it("serves several at once, each with its own answer", function()
    local client, said = new(), {}
    unbusy.run(function()
      for i, word in ipairs { "hello", "thanks", "hours", "hello", "parking", "address" } do
        unbusy.spawn(function() said[i] = assert(client:chat(chat(word))).text end)
      end
    end)
    assert.same({ "good morning!", "with pleasure!", "from nine to six every day.",
      "good morning!", "behind our house.", "at the old harbour." }, said)
  end)
end)
