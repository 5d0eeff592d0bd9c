-- Which requests are the same, and which never are.
local json = require "unbusy.json"
local random = require "spec.support.random"
local region = require "unbusy.region"
local stored = require "unbusy.caching.stored"
local unbusy = require "unbusy"
local world = require "spec.support.world"

local good = world.good

local function cached(options, targets)
  options = options or {}
  if options.cache == nil then options.cache = true end
  options.retry = false
  return world.new { script = { a = { good "hello" } }, options = options, targets = targets }
end

local function question(more)
  local request = { model = "m", messages = { { role = "user", content = "x" } } }
  for k, v in pairs(more or {}) do request[k] = v end
  return request
end

-- Is the second answered out of the cache, after the first?
local function meet(kind, one, two, given, given_two, options)
  local w = cached(options)
  assert(w.client[kind](w.client, one, given))
  return assert(w.client[kind](w.client, two, given_two or given)).source == "cache"
end

describe("requests are the same", function()
  it("whatever is said of what every server does anyway", function()
    local prompt = { model = "m", prompt = "x" }
    for _, same in ipairs { { n = 1 }, { logprobs = false }, { n = 1.0, logprobs = false },
      { stream = false }, { stream = true }, { user = "ann" }, { prompt_cache_key = "k" },
      { safety_identifier = "s" }, { stream_options = { include_usage = true } } } do
      assert.is_true(meet("chat", question(), question(same)))
      assert.is_true(meet("chat", question(same), question()))
    end
    local w = world.new { script = { a = { { status = 200, body = json.encode { choices = {
      { index = 0, finish_reason = "stop", text = "y" } } } } } }, options = { cache = true } }
    w.client:complete(prompt)
    assert.equal("cache",
      w.client:complete({ model = "m", prompt = "x", echo = false, n = 1 }).source)
    assert.equal("upstream",
      w.client:complete({ model = "m", prompt = "x", logprobs = false }).source)
    w = world.new { script = { a = { { status = 200, body = '{"data":[{"embedding":[1]}]}' } } },
      options = { cache = true } }
    w.client:embed { model = "m", input = "x" }
    assert.equal("cache",
      w.client:embed({ model = "m", input = "x", encoding_format = "float" }).source)
    assert.equal("upstream",
      w.client:embed({ model = "m", input = "x", encoding_format = "base64" }).source)
    assert.equal("upstream", w.client:embed({ model = "m", input = "x", n = 1 }).source)
  end)

  it("in whatever order their names come, and however numbers are written", function()
    local one = json.decode('{"model":"m","seed":7,"top_p":0.5,"messages":[{"role":"user",'
      .. '"content":"x"}],"tools":[]}')
    local two = json.decode('{"tools":[],"messages":[{"content":"x","role":"user"}],'
      .. '"top_p":5e-1,"seed":7.0,"model":"m"}')
    assert.is_true(meet("chat", one, two))
  end)
end)

describe("requests never meet", function()
  local file = { { role = "user", content = { { type = "text", text = "x" },
    { type = "file", file = { file_id = "f1" } } } } }
  local other_file = { { role = "user", content = { { type = "text", text = "x" },
    { type = "file", file = { file_id = "f2" } } } } }

  it("that differ in anything that may matter", function()
    local different = { {}, { temperature = 1 }, { temperature = 0 }, { top_p = 1 },
      { n = json.null }, { seed = 1 }, { seed = 2 }, { seed = json.null }, { logprobs = true },
      { logprobs = true, top_logprobs = 2 }, { response_format = { type = "json_object" } },
      { response_format = { type = "text" } }, { max_tokens = 5 }, { stop = { "a" } },
      { stop = "a" }, { tools = { { type = "function", ["function"] = { name = "f" } } } },
      { tools = json.array {} }, { presence_penalty = 0 }, { model = "n" }, { model = "M" },
      { messages = file }, { messages = other_file }, { thinking = { type = "disabled" } },
      { reasoning_effort = "low" }, { metadata = { a = "b" } }, { store = true },
      { messages = { { role = "system", content = "x" } } },
      { messages = { { role = "user", content = "x " } } },
      { messages = { { role = "user", content = "X" } } },
      { messages = { { role = "user", content = { { type = "text", text = "x" } } } } },
      { messages = { { role = "user", content = "x" }, { role = "user", content = "" } } } }
    local w = cached()
    local before = 0
    for i, more in ipairs(different) do
      assert.equal("upstream", w.client:chat(question(more)).source, "at place " .. i)
      before = before + 1
    end
    for _, more in ipairs(different) do
      assert.equal("cache", w.client:chat(question(more)).source)
    end
    assert.equal(before, #w.log)
  end)

  it("of calls of other targets, pools, headers and tenants", function()
    local w = world.new { script = { a = { good "a" }, b = { good "b" } },
      options = { cache = true }, targets = { b = { pool = "p" } } }
    local given = { {}, { target = "a" }, { target = "b" }, { pool = "p" }, { pool = "default" },
      { headers = { "openai-organization: o" } }, { headers = { "openai-organization: q" } },
      { tenant = "ann" }, { tenant = "bob" }, { tenant = "ann", target = "a" },
      { tenant = "ann", headers = { "openai-organization: o" } } }
    for i, o in ipairs(given) do
      assert.equal("upstream", w.client:chat(question(), o).source, "at place " .. i)
    end
    for _, o in ipairs(given) do
      assert.equal("cache", w.client:chat(question(), o).source)
    end
  end)

  it("of clients whose targets are not the same", function()
    local function sources(more)
      local target = { name = "a", url = "http://a.test/v1" }
      for k, v in pairs(more) do target[k] = v end
      return unbusy.new({ targets = { target }, cache = { bytes = 1000, entries = 2 } }).sources
    end
    local seen = {}
    for i, more in ipairs { {}, { url = "http://b.test/v1" }, { name = "b" }, { account = "other" },
      { provider = "deepseek" }, { headers = { ["openai-organization"] = "o" } },
      { models = { m = "n" } } } do
      assert.is_nil(seen[sources(more)], "at place " .. i)
      seen[sources(more)] = true
    end
    assert.equal(sources {}, sources { key = "another", weight = 5, priority = 2 })
  end)

  -- The canonical form, written down the slow way.
  local never = { stream = true, stream_options = true, user = true, safety_identifier = true,
    prompt_cache_key = true }

  local function text_of(value)
    if type(value) == "number" then return ("#%.17g"):format(value) end
    if type(value) == "string" then return ("$%d:%s"):format(#value, value) end
    if type(value) ~= "table" then return value == json.null and "null" or tostring(value) end
    local out, names = {}, {}
    if value[1] ~= nil or json.is_array(value) then
      for i, item in ipairs(value) do out[i] = text_of(item) end
      return "[" .. table.concat(out, ",") .. "]"
    end
    for name in pairs(value) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do out[i] = text_of(name) .. text_of(value[name]) end
    return "{" .. table.concat(out, ",") .. "}"
  end

  local function model_of(request)
    local out = {}
    for name, value in pairs(request) do
      local usual = name == "n" and value == 1 or name == "logprobs" and value == false
      if not never[name] and not usual then out[name] = value end
    end
    return text_of(out)
  end

  local function random_request(r)
    local request = { messages = { { role = r:pick { "user", "system" },
      content = r:pick { "x", "y", "", "xy", "1" } } } }
    local fields = { { "n", 1, 1.0, json.null, "1" }, { "logprobs", false, true, json.null },
      { "temperature", 0, 1, 0.5, "1" }, { "seed", 1, 2, -1, 1.5 }, { "user", "a", "b" },
      { "stream", true, false }, { "stop", "a", { "a" }, { "a", "b" }, json.array {} },
      { "model", "m", "n", "" }, { "tools", { { a = 1 } }, { { a = 1.0, b = {} } }, json.array {} },
      { "x", {}, json.array {}, { x = 1 }, "{}", json.null } }
    for _, field in ipairs(fields) do
      if r:chance(0.15) then request[field[1]] = field[1 + r:int(#field - 1)] end
    end
    return request
  end

  it("but those that say the same do: as a slow model has it", function()
    local r = random.new(random.seed(20261))
    local client = cached().client
    local function key(request)
      return stored.key { client = client, kind = "chat", request = request, options = {},
        extra = false, again = false }
    end
    local same, pairs_of_them = 0, os.getenv "UNBUSY_SANITIZED" and 2000 or 20000
    for _ = 1, pairs_of_them do
      local one, two = random_request(r), random_request(r)
      local expected = model_of(one) == model_of(two)
      same = same + (expected and 1 or 0)
      assert.equal(expected, key(one) == key(two))
    end
    assert.is_true(same > pairs_of_them / 200)
  end)
end)

describe("what is sent decides, not only what was read:", function()
  -- Is a call with these bytes kept? Asked twice.
  local function is_kept(text)
    local w = cached()
    local request = assert(json.decode(text))
    for _ = 1, 2 do assert(w.client:chat(request, { raw = text })) end
    return #w.log == 1
  end

  local function with(member)
    return '{"model":"m","messages":[{"role":"user","content":"x"}]' .. member .. "}"
  end

  it("numbers that are rounded as they are read are not kept", function()
    assert.is_true(is_kept(with ',"seed":9007199254740991'))
    assert.is_true(is_kept(with ',"seed":-9007199254740991'))
    for _, number in ipairs { "9007199254740992", "9007199254740993", "-9007199254740993", "1e300",
      "18446744073709551615" } do
      assert.is_false(is_kept(with(',"seed":' .. number)), number)
      assert.is_false(is_kept(with(',"tools":[{"a":{"most":' .. number .. "}}]")), number)
    end
    assert.is_true(is_kept(with ',"user_id":"123456789012345678901234567890"'))
    assert.is_false(meet("chat", question { seed = 2 ^ 53 }, question { seed = 2 ^ 53 }))
  end)

  it("nor is what says a name twice, on whatever level", function()
    assert.is_true(is_kept(with ',"metadata":{"a":{"a":"a:b"},"b":[{"a":1},{"a":"\\":\\""}]}'))
    for _, member in ipairs { ',"temperature":0,"temperature":1', ',"messages":[{"role":"user",'
      .. '"content":"evil"}]', ',"metadata":{"a":"1","a":"2"}', ',"x":[[{"y":{"z":1,"z":1}}]]',
      ',"x":{"\\u0061":1,"a":2}' } do
      assert.is_false(is_kept(with(member)), member)
    end
    assert.is_false(is_kept '{"messages":[{"role":"user","content":"evil","content":"x"}]}')
  end)

  it("nor is what is no JSON at all", function()
    local w = cached()
    assert.equal("invalid", select(3, w.client:chat(question { f = print })))
    assert.equal("invalid", select(3, w.client:chat(question { x = 0 / 0 })))
    assert.equal(0, w.client:status().cache.entries)
  end)
end)

describe("cache.per", function()
  local function source(w, more, given)
    return w.client:chat(question(more), given).source
  end

  it("'user' keeps each user's apart, and nothing of who is nobody", function()
    local w = cached { cache = { per = "user" } }
    assert.equal("upstream", source(w, { user = "ann" }))
    assert.equal("cache", source(w, { user = "ann" }))
    assert.equal("upstream", source(w, { user = "bob" }))
    assert.equal("upstream", source(w, { safety_identifier = "eve" }))
    assert.equal("cache", source(w, { safety_identifier = "eve", user = json.null }))
    for _, more in ipairs { {}, { user = "" }, { user = 5 }, { user = json.null },
      { user = { "ann" } } } do
      assert.equal("upstream", source(w, more))
      assert.equal("upstream", source(w, more))
    end
  end)

  it("'tenant' keeps those of the call's tenant apart", function()
    local w = cached { cache = { per = "tenant" } }
    assert.equal("upstream", source(w, nil, { tenant = "ann" }))
    assert.equal("cache", source(w, { user = "x" }, { tenant = "ann" }))
    assert.equal("upstream", source(w, nil, { tenant = "bob" }))
    assert.equal("upstream", source(w))
    assert.equal("upstream", source(w))
  end)

  it("a header keeps those with the same value together", function()
    local w = cached { cache = { per = { header = "X-Team" } } }
    assert.equal("upstream", source(w, nil, { headers = { "x-team: a" } }))
    assert.equal("cache", source(w, nil, { headers = { ["X-TEAM"] = "a" } }))
    assert.equal("upstream", source(w, nil, { headers = { "x-team: b" } }))
    assert.equal("upstream", source(w, nil, { headers = { "x-other: a" } }))
    assert.equal("upstream", source(w, nil, { headers = { "x-other: a" } }))
  end)

  it("tells tenants of one kind from those of another, in one cache", function()
    local shared = assert(region.new { bytes = 96 * 1024 * 1024 })
    local script = { a = { good "hello" } }
    local function one(cache)
      cache.entries = 100
      return world.new { script = script, options = { cache = cache, region = shared } }
    end
    local kinds = { one {}, one { per = "user" }, one { per = "tenant" },
      one { per = { header = "x-team" } }, one { per = { header = "x-else" } } }
    local given = { { tenant = "t" }, nil, { tenant = "t" }, { headers = { "x-team: t" } },
      { headers = { "x-else: t" } } }
    for round, expected in ipairs { "upstream", "cache" } do
      for i, w in ipairs(kinds) do
        if not (i == 3 and round == 1) then -- a tenant is a tenant, said or wanted
          assert.equal(expected, source(w, { user = "t" }, given[i]), "kind " .. i)
        end
      end
    end
    for _, w in ipairs(kinds) do w.client:close() end
    shared:close()
  end)

  it("refuses what it cannot be", function()
    for wrong, words in pairs { usr = "did you mean 'user'", [5] = "got 5",
      [{}] = "cache.per.header is missing", [{ header = "x y" }] = "a header's name expected",
      [{ header = "" }] = "a header's name expected",
      [{ hedaer = "x" }] = "did you mean 'header'" } do
      local ok, message = pcall(unbusy.new,
        { targets = { { name = "a", url = "http://a" } }, cache = { per = wrong } })
      assert.is_false(ok)
      assert.matches(words, message, 1, true)
    end
  end)

  it("and a call's tenant has to be one", function()
    local w = cached()
    local ok, message = pcall(w.chat, w, { tenant = "" })
    assert.is_false(ok)
    assert.matches("chat: tenant: an empty text", message)
  end)
end)
