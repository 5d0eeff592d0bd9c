--- The rows, in the order of the source. A row is a file of claims/row, or of a path:
--
--     return {
--       row = "2.2", title = "Batching", seconds = 60,     -- that it may take at most
--       how = "…",                                         -- it is measured
--       measure = function(sheet) … end,                   -- see claims.sheet
--     }
local rows = {}

--- The names of all of them.
rows.names = { "diagnosis", "backoff", "batching", "autoscaling", "failover", "warm_up", "breaker",
  "alerts", "scaling_script", "edge", "hybrid", "roadmap" }

local FIELDS = { row = "string", title = "string", how = "string", seconds = "number",
  measure = "function" }

local function path_of(name)
  if name:find("/", 1, true) then return name end
  for _, known in ipairs(rows.names) do
    if known == name then return ("claims/row/%s.lua"):format(name) end
  end
end

--- A row by its name, or by the path of its file.
---@param name string
---@return table? row with `name`, string? message
function rows.read(name)
  local path = path_of(name)
  if not path then
    return nil, ("no row is named '%s': %s"):format(name, table.concat(rows.names, ", "))
  end
  local chunk, message = loadfile(path)
  if not chunk then return nil, message end
  local ok, row = pcall(chunk)
  if not ok then return nil, row end
  for field, kind in pairs(FIELDS) do
    if type(row) ~= "table" or type(row[field]) ~= kind then
      return nil, ("%s: %s: a %s expected"):format(path, field, kind)
    end
  end
  row.name = name
  return row
end

return rows
