--- The cache of a configuration, as the processes that use it have it.
--
-- A command's own memory would be of no use to anybody. So it opens what the others share: the
-- region of the configuration, or the one that a gateway has by default for that file. One that
-- nobody has open is not made: it would go again with the command.
local settings = require "unbusy.cli.settings"
local shell = require "unbusy.cli.shell"

local opened = {}

local USAGE, FAULT = 2, 1 -- exit statuses

--- The option that says which configuration.
opened.option = { name = "config", value = "FILE", type = "string",
  doc = "the Lua file that returns the options of unbusy.new (UNBUSY_CONFIG, ./unbusy.conf.lua)" }

--- What a help page says of it.
opened.section = { "Whose cache:", "  That of the processes that run with FILE just now: its"
  .. " `region`, or a gateway's\n  own (unbusy serve FILE); the same user has to ask. Or the file"
  .. " of `cache.path`." }

local function fail(status, message)
  error({ status = status, message = message }, 0)
end

-- The file of a named region.
local function file_of(name)
  return ("/dev/shm/unbusy-%s-%s"):format(shell.output "id -u", name)
end

-- Does somebody else have that memory?
local function is_there(region)
  if type(region) ~= "table" then return region ~= nil and region ~= false end
  if region.path then return shell.exists(region.path) end
  return region.name ~= nil and shell.exists(file_of(region.name))
end

-- The region of a configuration's processes.
local function region_of(given, path)
  if given.region ~= nil then return given.region end
  return require("unbusy.gateway.workers").region(given, shell.absolute(path))
end

local function read(values, any)
  local path = settings.path(values.config)
  if not path then fail(USAGE, "a configuration expected: --config FILE") end
  local given, message = settings.read(path)
  if not given then fail(USAGE, message) end
  local cache = given.cache
  if cache and cache ~= true and type(cache) ~= "table" then
    fail(USAGE, path .. ": cache: table or boolean expected")
  end
  if not cache and not any then
    fail(USAGE, path .. ": there is no cache in this configuration")
  end
  return given, path
end

-- The cache's options as a table of our own.
local function cache_of(given)
  local out = {}
  if not given.cache then return given.cache end
  if given.cache == true then return out end
  for name, value in pairs(given.cache) do out[name] = value end
  return out
end

--- Opens a client of the configuration, which asks nothing by itself. Raises `{ status =,
--- message = }` where there is nothing to be opened.
---@param values table the command's options: config
---@param any boolean? the processes themselves, though they may have no cache
---@return table client, string path
function opened.client(values, any)
  local given, path = read(values, any)
  local region = region_of(given, path)
  given.cache = cache_of(given)
  given.loop, given.on_event = nil, nil
  if given.cache then given.cache.warm = nil end
  local lasting = not any and given.cache.path ~= nil -- a file says nothing of who runs
  if is_there(region) then
    given.region = region
  elseif lasting then
    given.region = nil
  else
    fail(FAULT, (any and "no process runs with %s just now"
      or "no process has the cache of %s open just now"):format(path))
  end
  local ok, client, message = pcall(require("unbusy").new, given)
  if not ok then fail(USAGE, ("%s: %s"):format(path, (tostring(client):gsub("^unbusy: ", "")))) end
  if not client then fail(FAULT, ("%s: %s"):format(path, message)) end
  if client.cache_fault then -- what it has instead is of no use to anybody
    message = client.cache_fault.message
    client:close()
    fail(FAULT, ("%s: %s"):format(path, message))
  end
  return client, path
end

--- Runs `f(loop)` where calls can wait, and gives what it gives.
---@param f function
function opened.run(f)
  local tasks = require "unbusy.loops.tasks"
  return tasks.run(tasks.enter, f)
end

return opened
