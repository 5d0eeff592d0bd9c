-- A stream is cut behind every byte of what its server sends, and gone on with: not a byte of the
-- text is lost, none is said twice. A server that knows the text looks at what it is asked.
local exact = require "spec.support.exact"
local json = require "unbusy.json"
local random = require "spec.support.random"
local world = require "spec.support.world"

local TEXT = "哈哈 \"ha ha ha\"\\n\n\n\n  天气/é 😀😀\t ha\227\128\128ha ha\n"
local QUICK = { base = 0.001, jitter = 0 }

local ways = { flag = "prefix", continue = "prefix", prompt = "prompt" }

-- A world with one target that goes on in that way.
local function world_of(server, way, more)
  local options = { retry = QUICK, breaker = false, limiter = false, budget = false,
    resume = ways[way] or "prefix", on_event = false }
  for name, value in pairs(more or {}) do options[name] = value end
  options.on_event = nil
  return world.new { script = { a = server.script }, options = options,
    targets = { a = { prefix = way ~= "prompt" and way ~= "plain" and way or nil } } }
end

local questions = {
  chat = { model = "m", messages = { { role = "user", content = "hi" } } },
  plain = { model = "m", prompt = "Say: " },
}

-- Reads a stream to its end as a gateway's client would: the text of its events, which must be of
-- one answer.
local function read(stream, kind)
  local out, ids, ends = {}, {}, 0
  for piece in stream:pieces() do
    if piece.data then
      local body = json.decode(piece.data)
      ids[body.id .. " " .. body.created .. " " .. body.model] = true
      local choice = body.choices[1] or {}
      local text = kind == "plain" and choice.text or choice.delta and choice.delta.content
      out[#out + 1] = text
      if choice.finish_reason and choice.finish_reason ~= json.null then ends = ends + 1 end
      if piece.text and piece.text ~= "" then assert.equal(text, piece.text) end
    end
  end
  local count = 0
  for _ in pairs(ids) do count = count + 1 end
  return table.concat(out), count, ends
end

local function ask(w, way)
  return assert(w.client:stream(questions[way == "plain" and "plain" or "chat"]))
end

-- All that a server would send at once.
local function size_of(server, way)
  local request = { stream_options = {}, model = "m" }
  for k, v in pairs(questions[way == "plain" and "plain" or "chat"]) do request[k] = v end
  return #table.concat(server:events(request, 1))
end

-- The next streams of the server are cut there.
local function cut_next(w, server, ...)
  local n = w.sent.a or 0
  server.cuts, w.log = {}, {}
  for i, bytes in ipairs { ... } do server.cuts[n + i] = bytes end
end

describe("a stream that is cut behind every byte", function()
  for _, way in ipairs { "flag", "continue", "prompt", "plain" } do
    it("is whole, by " .. way, function()
      local server = exact.new { text = TEXT, piece = 6 }
      local size, resumed, w = size_of(server, way), 0, world_of(server, way)
      for cut = 1, size - 1 do
        cut_next(w, server, cut)
        local stream = ask(w, way)
        local text, ids, ends = read(stream, way)
        assert.same({ TEXT, 1, 1, cut }, { text, ids, ends, cut })
        local reply = stream:reply()
        assert.same({ TEXT, "stop", cut }, { reply.text, reply.finish_reason, cut })
        assert.equal(reply.resumed, stream.resumed)
        resumed = resumed + reply.resumed
      end
      w:assert_clean()
      assert.equal(resumed, w.client:status().resumed)
      assert.is_true(resumed > size / 2 and resumed < size, resumed)
      w.client:close()
    end)
  end

  it("is whole where what it goes on with is cut too, anywhere", function()
    local r = random.new(random.seed(7))
    random.walk(r, 300, function()
      local way = r:pick { "flag", "continue", "prompt", "plain" }
      local server = exact.new { text = TEXT, piece = r:int(5), lead = r:pick { "", "\n", "… " } }
      local w, size = world_of(server, way), size_of(server, way)
      for _ = 1, 3 do
        cut_next(w, server, r:int(size), r:int(size), r:int(size))
        local stream = ask(w, way)
        local text, ids, ends = read(stream, way)
        assert.same({ TEXT, 1, 1 }, { text, ids, ends })
        assert.equal(TEXT, stream:reply().text)
      end
      w:assert_clean()
      w.client:close()
    end)
  end)

  it("is whole where nobody streams to the caller", function()
    for _, way in ipairs { "flag", "prompt", "plain" } do
      local server = exact.new { text = TEXT, piece = 6 }
      local size, w = size_of(server, way), world_of(server, way, { upstream_stream = true })
      local kind = way == "plain" and "complete" or "chat"
      for cut = 1, size - 1, 3 do
        cut_next(w, server, cut, 300)
        local reply = assert(w.client[kind](w.client,
          questions[way == "plain" and "plain" or "chat"]))
        assert.same({ TEXT, "stop", cut }, { reply.text, reply.finish_reason, cut })
        assert.equal(TEXT, way == "plain" and reply.body.choices[1].text
          or reply.body.choices[1].message.content)
      end
      w:assert_clean()
      assert.is_true(w.client:status().resumed > size / 6)
      w.client:close()
    end
  end)
end)
