--- Finds secrets where nobody should find them.
local leaks = {}

local MOST = 4 -- characters of a secret that may be seen

--- A part of `secret` that `text` shows, of more than four characters; or nil.
function leaks.part(text, secret)
  for at = 1, math.max(1, #secret - MOST) do
    local part = secret:sub(at, at + MOST)
    if text:find(part, 1, true) then return part end
  end
end

--- Every string that can be reached from `value` by its tables, their names and metatables, and by
--- `tostring`: one text.
function leaks.all_of(...)
  local seen, out = {}, {}
  local function walk(value)
    if type(value) == "string" then out[#out + 1] = value return end
    if seen[value] or value == nil then return end
    seen[value] = true
    out[#out + 1] = tostring(value)
    if type(value) ~= "table" and type(value) ~= "userdata" then return end
    walk(getmetatable(value))
    if type(value) ~= "table" then return end
    for k, v in next, value do
      walk(k)
      walk(v)
    end
  end
  for i = 1, select("#", ...) do walk((select(i, ...))) end
  return table.concat(out, "\n")
end

--- Raises when a part of one of `secrets` can be reached from the values behind.
function leaks.none(secrets, ...)
  local all = leaks.all_of(...)
  for _, secret in ipairs(secrets) do
    local part = leaks.part(all, secret)
    if part then
      local at = all:find(part, 1, true)
      error(("'%s' is seen: …%s…"):format(part, all:sub(math.max(1, at - 60), at + 60)), 2)
    end
  end
end

return leaks
