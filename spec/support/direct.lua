--- What specs do in their own process, since a program for it (`curl`, `sleep`) takes ten times the
--- work of what is tested.
--
--     direct.pause(0.02)                                   the whole process stands still
--     local body, status = direct.ask("GET", url)          "", 0: no whole answer came
--     local answer = direct.request { method =, url =, body =, headers = { "Name: value" } }
--     answer.status, answer.headers.name, answer.body      no answer came: it is nil itself
--     answer.code                                          why it is not whole, or nil
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

-- Takes what has come of a transfer; true once it has ended.
local function take(engine, id, answer)
  while true do
    local kind, a, b = engine:take(id)
    if kind == "head" then
      answer.status, answer.headers = a, b
    elseif kind == "data" then
      answer[#answer + 1] = a
    elseif kind == "end" then
      answer.code = a
      return true
    else
      return false
    end
  end
end

-- Steps until the transfer has ended.
local function fetch(engine, request)
  local id = assert(engine:submit(request))
  local limit, answer = core.now() + PATIENCE, { code = "late" }
  repeat
    assert(engine:step())
    if take(engine, id, answer) then break end
    engine:wait(limit - core.now())
  until core.now() > limit
  if not answer.status then return nil end
  answer.body = table.concat(answer)
  return answer
end

--- Sends one request, and waits for its answer, whatever certificate the server has.
---@param request table as of `core.engine():submit`; `headers` may be missing
---@return table? answer status, headers (by lower-case name), body; code: it is not whole
function direct.request(request)
  request.proxy, request.http1, request.headers = "", true, request.headers or {}
  request.insecure = true
  return with_engine(fetch, request)
end

--- The same in short: what it says of a whole answer.
---@param method string
---@param url string
---@param body string? JSON
---@return string body, integer status "" and 0 when there was no whole answer
function direct.ask(method, url, body)
  local answer = direct.request { method = method, url = url, body = body,
    headers = body and { "Content-Type: application/json" } }
  if not answer or answer.code then return "", 0 end
  return answer.body, answer.status
end

return direct
