--- Answer specs: from what a programme says to the play that is sent.
local answers = require "server.answers"
local signs = require "server.signs"
local wire = require "server.wire"

local presets = { names = {}, fields = {} }

local all = { ok = { make = answers.play } }

for _, group in ipairs { signs.presets, wire } do
  for name, preset in pairs(group) do
    assert(not all[name], name)
    all[name] = preset
  end
end

for name, preset in pairs(all) do
  presets.names[#presets.names + 1] = name
  presets.fields[name] = preset.fields or {}
end
table.sort(presets.names)

local function merged(base, extra)
  if not extra then return base end
  local copy = {}
  for name, value in pairs(base) do copy[name] = value end
  for name, value in pairs(extra) do copy[name] = value end
  return copy
end

local function base_play(call, spec)
  if spec.preset then return all[spec.preset].make(call, spec) end
  if spec.body or spec.json ~= nil then return signs.custom(spec) end
  if (spec.status or 200) >= 300 then return signs.plain(spec.status) end
  return answers.play(call)
end

--- What to send for an answer spec.
---@param call table  gets `answer`, the say of programme and spec on a good answer, and `items`
---@param fields table  the programme
---@param spec table
---@return table play
function presets.play(call, fields, spec)
  call.answer, call.items = merged(fields.answer, spec.answer), fields.items
  local play = base_play(call, spec)
  if play.patient and not play.gap_free then play.gap = fields.token_interval end
  if play.raw or play.status == "none" then return play end
  play.status = spec.status or play.status
  if spec.preset and spec.body then play.pieces = { spec.body } end
  play.extra_headers = {
    ["Retry-After"] = spec.retry_after and tostring(spec.retry_after),
    ["Retry-After-Ms"] = spec.retry_after_ms and tostring(spec.retry_after_ms),
  }
  for name, value in pairs(spec.headers or {}) do play.extra_headers[name] = value end
  return play
end

return presets
