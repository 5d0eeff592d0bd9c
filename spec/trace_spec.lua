local trace = require "unbusy.trace"
local world = require "spec.support.world"

local ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
local GIVEN = ("00-%s-%s-01"):format(ID, SPAN)

describe("trace", function()
  describe("parse", function()
    it("reads a traceparent", function()
      assert.same({ id = ID, flags = "01" }, trace.parse(GIVEN))
      assert.equal("00", trace.parse(("00-%s-%s-00"):format(ID, SPAN)).flags)
    end)

    it("keeps of the flags those that are defined", function()
      assert.equal("01", trace.parse(("00-%s-%s-fd"):format(ID, SPAN)).flags)
      assert.equal("03", trace.parse(("00-%s-%s-ff"):format(ID, SPAN)).flags)
    end)

    it("reads what it knows of a version to come", function()
      assert.equal(ID, trace.parse(("cc-%s-%s-01"):format(ID, SPAN)).id)
      assert.equal(ID, trace.parse(("cc-%s-%s-01-what.more"):format(ID, SPAN)).id)
      assert.is_nil(trace.parse(("cc-%s-%s-01.what"):format(ID, SPAN)))
    end)

    it("refuses everything else", function()
      local zeros = ("0"):rep(32)
      for _, text in ipairs { "", "-", "00", GIVEN .. " ", " " .. GIVEN, GIVEN:upper(),
        GIVEN .. "-00", GIVEN .. "0", GIVEN:sub(1, -2), GIVEN:gsub("^00", "ff"),
        GIVEN:gsub("-", "_"),
        GIVEN .. "," .. GIVEN, GIVEN:gsub("4bf9", "4bg9"), GIVEN:gsub("4bf9", "4bf"),
        ("00-%s-%s-01"):format(zeros, SPAN), ("00-%s-%s-01"):format(ID, zeros:sub(1, 16)),
        ("00-%s-%s-0g"):format(ID, SPAN), ("00-%s-%s-01"):format(SPAN, ID), ("0"):rep(1e5),
        "00-" .. ID .. "\0-" .. SPAN .. "-01", GIVEN .. "\n" } do
        assert.is_nil(trace.parse(text), text:sub(1, 80))
      end
      for _, value in ipairs { 1, true, {}, print } do assert.is_nil(trace.parse(value)) end
      assert.is_nil(trace.parse(nil))
    end)
  end)

  it("makes traces that differ", function()
    local seen = {}
    for _ = 1, 1000 do
      local t = trace.new()
      assert.matches("^%x+$", t.id)
      assert.equal(32, #t.id)
      assert.is_nil(seen[t.id])
      seen[t.id] = true
    end
  end)

  -- The traceparent and tracestate of each request that was sent.
  local function sent(w)
    local out = {}
    for i, entry in ipairs(w.log) do
      out[i] = {}
      for _, line in ipairs(entry.request.headers) do
        local name, value = line:match "^(trace%a+): (.*)$"
        if name then
          assert.is_nil(out[i][name])
          out[i][name] = value
        end
      end
    end
    return out
  end

  local function three_tries()
    return world.new { script = { a = { { status = 503, body = "" }, { status = 503, body = "" },
      world.good "x" } } }
  end

  it("is passed on with a span for each try", function()
    local w = three_tries()
    local reply = w:chat { trace = GIVEN, headers = { tracestate = "vendor=1" } }
    assert.equal("x", reply.text)
    local seen = {}
    for i, lines in ipairs(sent(w)) do
      local id, span, flags = lines.traceparent:match "^00%-(%x+)%-(%x+)%-(%x%x)$"
      assert.equal(ID, id)
      assert.equal("01", flags)
      assert.equal(16, #span)
      assert.not_equal(SPAN, span)
      assert.is_nil(seen[span])
      seen[span] = true
      assert.equal("vendor=1", lines.tracestate)
      assert.equal(span, reply.trace.spans[i])
      local event = w:seen("try")[i]
      assert.same({ ID, span }, { event.trace, event.span })
    end
    assert.equal(ID, reply.trace.id)
    assert.equal(3, #reply.trace.spans)
  end)

  it("is taken from the headers too", function()
    local w = three_tries()
    w:chat { headers = { "Traceparent: " .. GIVEN, "tracestate: a=1", "TraceState: b=2" } }
    assert.matches("^00%-" .. ID, sent(w)[3].traceparent)
    assert.equal("a=1,b=2", sent(w)[3].tracestate)
  end)

  it("is not sent where there is none, or none is wanted", function()
    local w = three_tries()
    local reply = w:chat()
    assert.is_nil(reply.trace)
    assert.is_nil(w:seen("try")[1].span)
    w:chat { headers = { tracestate = "a=1" } }
    w:chat { trace = false, headers = { traceparent = GIVEN, tracestate = "a=1" } }
    for _, lines in ipairs(sent(w)) do assert.same({}, lines) end
    assert.equal(5, #w.log)
  end)

  it("is made where one is asked for", function()
    local w = three_tries()
    local reply = w:chat { trace = true }
    assert.matches("^00%-" .. reply.trace.id .. "%-%x+%-01$", sent(w)[1].traceparent)
    reply = w:chat { trace = true, headers = { traceparent = GIVEN } }
    assert.equal(ID, reply.trace.id)
  end)

  it("begins anew, without its state, where the caller's makes no sense", function()
    for _, given in ipairs { { trace = "nonsense" }, { trace = GIVEN:upper() },
      { headers = { traceparent = "x" } }, { headers = { "traceparent: " .. GIVEN,
        "traceparent: " .. GIVEN } } } do
      local w = three_tries()
      given.headers = given.headers or {}
      given.headers.tracestate = "a=1"
      local reply = w:chat(given)
      assert.not_equal(ID, reply.trace.id)
      assert.matches("^00%-" .. reply.trace.id .. "%-%x+%-01$", sent(w)[1].traceparent)
      assert.is_nil(sent(w)[1].tracestate)
    end
  end)

  it("shows in failures and streams", function()
    local w = world.new { script = { a = { { status = 400, body = "" }, world.words { "x" } } } }
    local _, _, _, detail = w:chat { trace = GIVEN }
    assert.equal(ID, detail.trace.id)
    assert.equal(1, #detail.trace.spans)
    local s = w:stream { trace = GIVEN }
    assert.equal(ID, s.trace.id)
    assert.equal(1, #s:reply().trace.spans)
  end)

  it("is a text or a boolean", function()
    assert.error_matches(function() three_tries():chat { trace = 1 } end,
      "chat: trace: string or boolean expected")
  end)
end)
