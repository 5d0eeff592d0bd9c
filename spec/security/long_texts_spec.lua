-- A reader that goes back to look again takes the square of a text's length, and 100,000 blanks in
-- the wrong place hold a process for half a minute. Each of those that read what a stranger has
-- written is given long texts of the kinds on which such readers stumble.
local accept = require "unbusy.gateway.accept"
local access_log = require "unbusy.simulate.access_log"
local cache_control = require "unbusy.gateway.cache_control"
local checks = require "unbusy.escalation.checks"
local errors = require "unbusy.providers.errors"
local exposition = require "unbusy.diagnose.exposition"
local frugal = require "unbusy.policies.frugal"
local headers = require "unbusy.headers"
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"
local keys = require "unbusy.gateway.keys"
local language = require "unbusy.fallback.language"
local passing = require "unbusy.passing"
local rate_headers = require "unbusy.rate_headers"
local retry_after = require "unbusy.retry_after"
local secrets = require "unbusy.secrets"
local terminal = require "unbusy.cli.terminal"
local trace = require "unbusy.trace"

local LENGTH = 100000
local MOST = 10 -- seconds of the processor for all texts of one reader, which takes far less

local function of_header(names, read)
  return function(text)
    for _, name in ipairs(names) do read { [name] = text } end
  end
end

local known = keys.new { { key = "sk-1", name = "one" } }
local hidden = secrets.new { "sk-secret-4711" }

local readers = {
  ["headers that go on"] = function(text)
    headers.of_request { "openai-project: " .. text }
    headers.of_request { "connection: " .. text, text }
    headers.of_answer { connection = text, ["x-a"] = text }
  end,
  ["cache-control"] = function(text)
    cache_control.add({}, text)
    cache_control.add({}, "max-age=" .. text .. "x")
    cache_control.add({}, "max-age" .. text)
  end,
  ["accept-language"] = function(text)
    language.accepted(text)
    language.accepted("en;q=" .. text)
  end,
  ["accept"] = function(text)
    accept.list(text)
    accept.list("text/plain;" .. text)
  end,
  ["authorization"] = function(text)
    for _, before in ipairs { "", "Bearer ", "Bearer  ", "Bearer x " } do
      known:of { authorization = before .. text .. "x", ["api-key"] = text }
    end
  end,
  ["traceparent"] = function(text)
    trace.parse(text)
    trace.parse("00-" .. text)
  end,
  ["a path"] = function(text)
    passing.path_fault("/" .. text)
    passing.path_fault("/a?" .. text)
  end,
  ["retry-after"] = of_header({ "retry-after", "retry-after-ms", "ratelimit", "ratelimit-reset",
    "x-ratelimit-reset-requests", "date" }, function(h)
    retry_after.parse(h, { now = 0, body = h.date })
  end),
  ["rates"] = of_header({ "ratelimit", "ratelimit-policy", "ratelimit-limit",
    "x-ratelimit-limit-requests", "x-ratelimit-reset-tokens" }, function(h)
    rate_headers.has(h)
    rate_headers.read(h)
  end),
  ["an error's words"] = function(text)
    errors.of_response(503, {}, text)
    errors.clean(text)
    errors.word(text)
    errors.inside { error = { message = text, code = text, type = text } }
    if json.is_utf8(text) then
      errors.of_response(400, {}, assert(json.encode { error = { message = text } }))
    end
  end,
  ["a secret in a text"] = function(text)
    hidden.hide(text)
    hidden.hide("sk-secret" .. text)
  end,
  ["a body"] = function(text)
    json.decode(text)
    json_fields.once(text, { "model" })
    json_fields.members(text)
    json.decode('{"a":"' .. text .. '"}')
  end,
  ["a weak answer"] = function(text)
    local reply = { text = text, body = { choices = { { message = { content = text } } } } }
    checks.reason({ short = 10, refused = true, json = true }, "chat",
      { response_format = { type = "json_object" } }, reply)
  end,
  ["metrics of a gateway"] = function(text)
    exposition.read(text)
    exposition.read('a{b="' .. text)
    exposition.read("a{" .. text .. "} 1")
  end,
  ["a line of a log"] = function(text)
    access_log.call_of(text)
    access_log.call_of('127.0.0.1 - - [30/Nov/2026:06:00:00 +0000] "' .. text)
  end,
  ["what a terminal shows"] = terminal.clean,
  ["a question whose blanks a policy takes away"] = function(text)
    frugal.normalise { messages = { { role = "user", content = text } } }
  end,
}

local pieces = { " ", "\t", ",", ";", "=", "-", "/", ".", '"', "'", "\\", "{", "[", "]", "(", "%",
  ":", "<", "a", "0", "\n", "\r\n", "\255", "é", ", ", "; ", "a ", '" ', "{ ", "%2", "a=", "a;q=",
  '"a";', "..", ". ", '\\"', "1h", "sk-" }

describe("a long text is read in one go, as", function()
  for name, read in pairs(readers) do
    it(name, function()
      local began = os.clock()
      for _, piece in ipairs(pieces) do
        local text = piece:rep(math.floor(LENGTH / #piece))
        read(text)
        read("x" .. text .. "x")
        assert.is_true(os.clock() - began < MOST, ("%q takes too long"):format(piece))
      end
    end)
  end
end)
