--- Tells plain answers without decoding them, for those who pass them on.
--
--     glance.of("chat", '{"choices":[{"message":{…}}],"model":"m","usage":{"prompt_tokens":7}}')
--     -- { undecoded = "chat", model = "m", usage = { prompt_tokens = 7, … } }
--
-- csrc/parts/glance.h says which answers are plain. Of all others it says nothing: then whoever
-- asks decodes them and looks for what is wrong.
local answers = require "unbusy.providers.answers"
local core = require "unbusy.core"
local json = require "unbusy.json"

local glance = {}

local kinds = { chat = true, complete = true, embed = true }

--- What a plain answer says of itself.
---@param kind string
---@param text string the body of an answer with status 200
---@return table? answer `undecoded` = kind, and finish, model, usage as `answers.of` gives them
function glance.of(kind, text)
  if not kinds[kind] then return nil end
  local plain, model, finish, usage = core.glance(kind, text)
  if not plain or answers.unfinished[finish] then return nil end
  return { undecoded = kind, model = model ~= "" and model or nil,
    finish = finish ~= "" and finish or nil, usage = usage and answers.usage(json.decode(usage)),
    raw = nil }
end

return glance
