--- What an `Accept` header wants (RFC 9110 12.5.1).
local accept = {}

--- The media types that it names, with their weights.
---@param header string|string[]|nil
---@return table[] { kind = in lower case, q =, version = its parameter, or nil }, in their order
function accept.list(header)
  if type(header) == "table" then header = table.concat(header, ",") end
  local out = {}
  for item in (header or ""):lower():gmatch "[^,]+" do
    local q = tonumber(item:match ";%s*q=([%d.]+)" or 1)
    out[#out + 1] = { kind = item:match "^%s*([^;%s]+)", q = q or 0,
      version = item:match ';%s*version="?([%d.]+)' }
  end
  return out
end

--- How much it wants the most wanted one of these; 0 where it names none of them.
---@param list table[] as of `list`
---@param kinds table<string, boolean>
---@return number
function accept.weight(list, kinds)
  local most = 0
  for _, item in ipairs(list) do
    if kinds[item.kind or false] then most = math.max(most, item.q) end
  end
  return most
end

return accept
