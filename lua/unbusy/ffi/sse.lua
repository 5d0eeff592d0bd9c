--- `feed` of the SSE parser through LuaJIT's FFI: compiled code makes the events' tables.
--
-- The core gives one event at a time, by pointers into the chunk and the parser. Both are in use to
-- the end of `feed`, since its last expression names them: so neither is collected before.
local ffi = require "unbusy.ffi"

local event = [[const struct {
  const char *data, *type, *id;
  int32_t data_length, type_length, id_length;
  double retry;
} *]]

local types = {
  feed = event .. "(*)(void *, const char *, size_t)",
  next = event .. "(*)(void *)",
  error = "int (*)(void *)",
}

ffi.install("sse", types, function(metatable, slow, call, lib)
  local metatable_of, type = debug.getmetatable, type
  local slow_feed = slow.feed
  local c_feed, c_next, c_error = call.feed, call.next, call.error
  local text = lib.string

  local function table_of(e)
    if e.type_length == 0 and e.id_length == 0 and e.retry < 0 then
      return { data = text(e.data, e.data_length) }
    end
    return {
      data = text(e.data, e.data_length),
      event = e.type_length > 0 and text(e.type, e.type_length) or nil,
      id = e.id_length > 0 and text(e.id, e.id_length) or nil,
      retry = e.retry >= 0 and e.retry or nil,
    }
  end

  -- The loop is a function of its own: most chunks of a live stream hold one event, and then all of
  -- `feed` is compiled as a part of its caller.
  local function add(events, self, e)
    local n = 1
    while e ~= nil do
      n = n + 1
      events[n] = table_of(e)
      e = c_next(self)
    end
  end

  local function feed(self, bytes)
    if metatable_of(self) ~= metatable or type(bytes) ~= "string" then
      return slow_feed(self, bytes)
    end
    local e = c_feed(self, bytes, #bytes)
    if e == nil then
      if c_error(self) ~= 0 then return slow_feed(self, "") end -- says which failure it is
      return {}
    end
    local events = { table_of(e) }
    e = c_next(self)
    if e ~= nil then add(events, self, e) end
    return self and bytes and events
  end

  return { feed = feed }
end)
