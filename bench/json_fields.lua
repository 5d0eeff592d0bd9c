-- Changing two members of a request in its text, against decoding and encoding it.
--
-- A request is a chat of messages of some 100 bytes, half of them beyond ASCII. Its model is
-- changed and a stream asked for. The peer decodes the text and encodes the table with lua-cjson
-- itself, which loses what its values do not show; beside it unbusy.json, which the client uses
-- where it has no text (it has the table then, and only encodes it), and the look through the text
-- alone, which is all where nothing changes.
local cjson = require "cjson"
local json = require "unbusy.json"
local json_fields = require "unbusy.json_fields"
local measure = require "bench.support.measure"

local said = { "The quick brown fox jumps over the lazy dog, as in every bench.\\n",
  "系统繁忙,请稍后再试。天气如何?北京今天晴,最高气温二十五度。" }

local function request(bytes)
  local out, size = {}, 0
  while size < bytes do
    local line = ('{"role":"%s","content":"%s"}'):format(#out % 2 == 0 and "user" or "assistant",
      said[#out % 2 + 1])
    out[#out + 1], size = line, size + #line
  end
  return ('{"model":"gpt","temperature":0.7,"messages":[%s],"max_tokens":100}')
    :format(table.concat(out, ","))
end

local edits = { model = '"deepseek-flash"', stream = "true" }

local function race(text)
  local table_of_it = json.decode(text)
  local function recode(codec)
    return function(n)
      for _ = 1, n do
        local t = codec.decode(text)
        t.model, t.stream = "deepseek-flash", true
        codec.encode(t)
      end
    end
  end
  local ns = measure.race(("changing %d bytes"):format(#text), {
    { name = "splice", run = function(n)
      for _ = 1, n do json_fields.splice(text, edits) end
    end },
    { name = "looked through, nothing changed", run = function(n)
      for _ = 1, n do json_fields.splice(text, {}) end
    end },
    { name = "unbusy.json, encode alone", run = function(n)
      for _ = 1, n do json.encode(table_of_it) end
    end },
    { name = "lua-cjson, decode and encode", run = recode(cjson) },
    { name = "unbusy.json, decode and encode", run = recode(json) },
  })
  measure.goal("quicker than decoding and encoding",
    ns["lua-cjson, decode and encode"] / ns.splice, 2, "times", true)
end

race(request(1000))
race(request(100000))
