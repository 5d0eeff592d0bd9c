--- How figures are written on the page and in the plots.
local numbers = {}

--- Three digits that count, thousands apart, no power of ten where it can be helped.
---@param value number
---@return string
function numbers.text(value)
  if value ~= value then return "–" end
  if math.abs(value) >= 1000 then
    local digits = ("%.0f"):format(value)
    repeat
      local count
      digits, count = digits:gsub("^(%-?%d+)(%d%d%d)", "%1,%2")
    until count == 0
    return digits
  end
  return (("%.3g"):format(value):gsub("e%-0?(%d+)", "e-%1"))
end

--- What stands at a mark of an axis: 1, 10, 1 K, 16 M.
---@param value number
---@param of string what is counted; bytes are counted by 1,024
---@return string
function numbers.mark(value, of)
  local step = of == "bytes" and 1024 or 1000
  for i, letter in ipairs { "G", "M", "K" } do
    local unit = step ^ (4 - i)
    if value >= unit then return ("%.3g %s"):format(value / unit, letter) end
  end
  return ("%g"):format(value)
end

return numbers
