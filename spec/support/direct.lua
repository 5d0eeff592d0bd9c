--- What specs do in their own process, since a program for it (`curl`, `sleep`) takes ten times the
--- work of what is tested.
--
--     direct.pause(0.02)                                   the whole process stands still
--     local body, status = direct.ask("GET", url)          "", 0: no answer came
local core = require "unbusy.core"

local direct = {}

local PATIENCE = 30 -- seconds for an answer

-- Runs `f` with an engine that is gone afterwards, for whoever counts them.
local function with_engine(f, ...)
  local engine = assert(core.engine())
  local a, b = f(engine, ...)
  engine:close()
  return a, b
end

local function wait(engine, seconds) engine:wait(seconds) end

--- Nothing happens in this process for so many seconds.
function direct.pause(seconds)
  with_engine(wait, seconds)
end

-- Steps until the transfer has ended; gives what came.
local function fetch(engine, request)
  local id = assert(engine:submit(request))
  local limit, pieces, status = core.now() + PATIENCE, {}, 0
  while core.now() < limit do
    assert(engine:step())
    local kind, a = engine:take(id)
    while kind do
      if kind == "head" then status = a end
      if kind == "data" then pieces[#pieces + 1] = a end
      if kind == "end" then
        if a then return "", 0 end
        return table.concat(pieces), status
      end
      kind, a = engine:take(id)
    end
    engine:wait(limit - core.now())
  end
  return "", 0
end

--- Sends one request, and waits for its answer.
---@param method string
---@param url string
---@param body string? JSON
---@return string body, integer status "" and 0 when there was no whole answer
function direct.ask(method, url, body)
  return with_engine(fetch, { method = method, url = url, body = body, proxy = "", http1 = true,
    headers = body and { "Content-Type: application/json" } or {} })
end

return direct
