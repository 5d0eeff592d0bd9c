--- An answer that is passed on as it is, whatever it is.
--
--     local answer = assert(client:pass { path = "/files/f-1/content" })
--     for bytes in answer.read, answer do io.write(bytes) end
--
-- `status` is the server's, `headers` are those that concern who asked (see `unbusy.headers`).
local news = require "unbusy.news"

---@class unbusy.passed
---@field status integer
---@field headers table<string, string>
---@field target string
---@field tries integer
---@field times unbusy.times
---@field trace? unbusy.trace
local passed = {}
passed.__index = passed
passed.__name = "unbusy.passed"

-- {== Where its bytes come from ===========================================

local source = {}
source.__index = source

--- The body of an exchange whose head has been taken, as the pieces of a stream: `data`.
---@param loop table
---@param x table exchange
---@return table pieces as `unbusy.source`
---@package
function passed.source(loop, x)
  return setmetatable({ loop = loop, exchange = x, ended = false }, source)
end

function source:read(deadline)
  if self.ended then return nil end
  local kind, a, b, c = news.await(self.loop, self.exchange, deadline)
  if kind == "late" then return nil, "late", "late", {} end
  if kind == "data" then return { data = a, started = true } end
  self.ended = true
  if a then return nil, b, a, { phase = c.phase, lasting = c.lasting or nil } end
  return nil
end

function source.answer()
  return {}
end

function source:move(loop)
  self.loop, self.exchange.event = loop, loop.event()
end

function source:close()
  self.ended = true
  self.exchange:abort()
end

-- }========================================================================

local function of(known)
  return setmetatable({ status = known.status, headers = known.headers, source = known.source,
    target = known.target, tries = known.tries, times = known.times, trace = known.trace,
    hedged = known.hedged }, passed)
end

--- The answer whose body a stream gives.
---@package
function passed.of_stream(stream)
  local self = of(stream)
  self.stream = stream
  return self
end

--- The answer whose body is there: `raw` of a reply.
---@package
function passed.of_reply(reply)
  local self = of(reply)
  self.rest = reply.raw ~= "" and reply.raw or nil
  return self
end

--- The next bytes of the body; nil at its end; nil, message, code, detail when it was cut.
---@return string? bytes, string? message, unbusy.code? code, unbusy.detail? detail
function passed:read()
  if not self.stream then
    local rest = self.rest
    self.rest = nil
    return rest
  end
  local piece, message, code, detail = self.stream:read()
  if piece then return piece.data end
  return nil, message, code, detail
end

--- The body, or what is left of it.
---@return string? bytes, string? message, unbusy.code? code, unbusy.detail? detail
function passed:body()
  local parts = {}
  while true do
    local bytes, message, code, detail = self:read()
    if code then return nil, message, code, detail end
    if not bytes then return table.concat(parts) end
    parts[#parts + 1] = bytes
  end
end

--- Cancels what has not come yet; the server sees it. May be called twice.
function passed:close()
  self.rest = nil
  if self.stream then self.stream:close() end
end

passed.__close = passed.close

return passed
