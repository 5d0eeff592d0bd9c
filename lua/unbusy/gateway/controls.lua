--- What a request's own headers say about its call, and which of them are passed on.
--
--     x-unbusy-deadline: 20           seconds for the whole call
--     x-unbusy-priority: batch        place in the waiting line: interactive, normal, batch
--     x-unbusy-cache: no              neither read nor kept; "refresh"; or seconds to keep it for
--     x-unbusy-target: backup         this target only
--     cache-control: max-age=60       where the site allows it, see `cache_control`
--     accept-language: zh-CN,en;q=0.8 of what stands in for an answer
local cache_control = require "unbusy.gateway.cache_control"
local config = require "unbusy.config"
local errors = require "unbusy.gateway.errors"
local language = require "unbusy.fallback.language"
local headers = require "unbusy.headers"
local options = require "unbusy.options"

local controls = {}

local readers = {}

function readers.deadline(value) return tonumber(value:match "^%d+%.?%d*$") end

function readers.priority(value) return value end

local words = { no = false, refresh = "refresh" }

function readers.cache(value)
  local word = words[value:lower()]
  if word == nil then return tonumber(value:match "^%d+%.?%d*$") end
  return word
end

function readers.target(value) return value end

-- Header -> option.
local names = { ["x-unbusy-deadline"] = "deadline", ["x-unbusy-priority"] = "priority",
  ["x-unbusy-cache"] = "cache", ["x-unbusy-target"] = "target" }

-- Few requests say anything, and LuaJIT compiles no walk through `names` into what is around it.
local function says_something(given)
  return given["x-unbusy-deadline"] or given["x-unbusy-priority"]
    or given["x-unbusy-cache"] or given["x-unbusy-target"]
end

-- One header's value as the call's option of that name; or what is wrong with it.
local function read(targets, header, name, value)
  if type(value) ~= "string" then return nil, header .. ": once is enough" end
  local option = readers[name](value)
  if option == nil then return nil, header .. ": a number expected" end
  local checked, message = options.field(config.call[name], option, header)
  if message then return nil, message end
  if name == "target" and not targets[value] then
    return nil, header .. ": no target has that name"
  end
  return checked
end

-- Adds what the headers say to the options of a call.
local function read_all(ctx, given)
  local allowed = ctx.gateway.controls
  for header, name in pairs(names) do
    local value = ctx.headers[header]
    if value ~= nil then
      if not allowed[name] then
        return errors.invalid(header .. ": not for clients of this gateway")
      end
      local option, message = read(ctx.gateway.targets, header, name, value)
      if message then return errors.invalid(message) end
      given[name] = option
    end
  end
end

-- Whose answers the request may have out of the cache, where these are kept apart by more than what
-- the request itself says.
local function tenant_of(ctx, per)
  if per == "tenant" then return ctx.key.tenant end
  local value = type(per) == "table" and ctx.headers[per.header]
  return type(value) == "string" and value ~= "" and value or nil
end

-- What concerns the cache.
local function add_cache(ctx, given)
  local per = ctx.client.caching.per
  if per then given.tenant = tenant_of(ctx, per) end
  local value = ctx.headers["cache-control"]
  if value ~= nil and ctx.gateway.controls["cache-control"] then
    cache_control.add(given, value)
  end
end

local function add_all(lines, name, values)
  for _, value in ipairs(values) do lines[#lines + 1] = name .. ": " .. value end
end

-- The headers that go on, as lines; nil for none. For many calls, without those that name one
-- request. nginx lets no line end into one.
local function forwarded(ctx, for_many)
  local lines
  for _, name in ipairs(ctx.gateway.options.forward) do
    local value = ctx.headers[name]
    if value ~= nil and not (for_many and headers.of_one_request[name]) then
      lines = lines or {}
      add_all(lines, name, type(value) == "table" and value or { value })
    end
  end
  return lines
end

-- The same browsers say the same again and again.
local accepted, kept = {}, 0
local MOST, LONG = 1000, 256 -- headers that are kept, and the longest of them

local function languages_of(header)
  local known = accepted[header]
  if known ~= nil then return known or nil end
  local tags = language.accepted(header)
  if type(header) == "string" and #header <= LONG then
    if kept >= MOST then accepted, kept = {}, 0 end
    accepted[header], kept = tags or false, kept + 1
  end
  return tags
end

--- The options for the call that a request asks for, or for its many calls.
---@param ctx table
---@param for_many boolean?
---@return table? given, table? refusal
function controls.read(ctx, for_many)
  local given = config.trusted {}
  local refusal = says_something(ctx.headers) and read_all(ctx, given)
  if refusal then return nil, refusal end
  if ctx.client.cache then add_cache(ctx, given) end
  given.headers = forwarded(ctx, for_many)
  if ctx.gateway.options.trace and not for_many then given.trace = true end
  local header = ctx.headers["accept-language"]
  if header then given.language = languages_of(header) end
  return given
end

return controls
