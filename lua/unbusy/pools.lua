--- Targets by pool.
--
--     { name = "a" }                                       -- in the pool "default"
--     { name = "b", pool = "cheap" }
--     { name = "c", pool = "reserve", reserve = true }     -- only for calls that name its pool
--
-- A call that names a pool goes to its targets and nowhere else. One that names none goes to all
-- targets but those that are a reserve.
local options = require "unbusy.options"

local pools = {}

--- The pool of targets that name none.
pools.DEFAULT = "default"

--- Sorts targets.
---@param targets table[] options of targets, or targets themselves: pool, reserve
---@return table p { ordinary = for calls without a pool, by_name = pool -> targets, names = sorted,
--- models = see `pools.models` }
function pools.of(targets)
  local p = { ordinary = {}, by_name = {}, names = {}, models = {} }
  for _, t in ipairs(targets) do
    local name = t.pool or pools.DEFAULT
    local list = p.by_name[name]
    if not list then
      list = {}
      p.by_name[name], p.names[#p.names + 1] = list, name
    end
    list[#list + 1] = t
    if not t.reserve then p.ordinary[#p.ordinary + 1] = t end
  end
  table.sort(p.names)
  return p
end

--- What is wrong with the name of a pool; nil when there is one of that name.
---@param p table
---@param name string
---@param discreet boolean? the name is not told
---@return string?
function pools.fault(p, name, discreet)
  if p.by_name[name] then return nil end
  local near = options.nearest(name, p.names)
  return ("no pool %s%s"):format(discreet and "has that name" or ("is named '%s'"):format(name),
    near and (", did you mean '%s'?"):format(near) or "")
end

-- Adds the models that a target names; false where it takes any.
local function add_models(names, target)
  if target.models["*"] then return false end
  local any = false
  for asked, own in pairs(target.models) do
    if asked ~= "default" then any, names[asked] = true, true end
    names[own] = true
  end
  return any
end

-- The models that some targets know, sorted; false where one of them takes any name.
local function models_of(targets)
  local set, names = {}, {}
  for _, t in ipairs(targets) do
    if not add_models(set, t) then return false end
  end
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- The models that the targets of a pool know (of calls without one, where no name is given); nil
--- where one of them takes any name. A target that names only its `default` does.
---@param p table
---@param name string? of a pool that there is
---@return string[]? names
function pools.models(p, name)
  local key = name or ""
  if p.models[key] == nil then
    p.models[key] = models_of(name and p.by_name[name] or p.ordinary)
  end
  return p.models[key] or nil
end

return pools
