--- For specs of the engine: requests, and driving an engine by hand.
local core = require "unbusy.core"
local files = require "spec.support.files"

local engines = {}

local PATIENCE = 60 -- seconds until a transfer counts as hanging

--- A chat request to a busy upstream; `more` adds to it or replaces fields.
function engines.chat(up, text, more)
  local r = {
    url = up.url .. "/v1/chat/completions", method = "POST",
    headers = { "Content-Type: application/json", "Authorization: Bearer key-1" },
    body = ('{"model":"m","messages":[{"role":"user","content":"%s"}]}'):format(text or "hi"),
  }
  for k, v in pairs(more or {}) do r[k] = v end
  return r
end

--- The same over TLS.
function engines.secure(up, text, more)
  local r = engines.chat(up, text, { url = up.tls_url .. "/v1/chat/completions", ca_file = up.ca })
  for k, v in pairs(more or {}) do r[k] = v end
  return r
end

--- The same as a stream.
function engines.stream(up, text, more)
  local r = engines.chat(up, text, more)
  r.body = r.body:gsub("^{", '{"stream":true,')
  return r
end

--- A request whose answer will be `answer`, byte for byte.
function engines.raw(server, answer, more)
  local r = { url = server.url, method = "POST", headers = {}, body = answer }
  for k, v in pairs(more or {}) do r[k] = v end
  return r
end

--- Takes all news of `id` that are there; true when it has ended.
---@param got table filled: status headers pieces (list) code message info heads
function engines.take(e, id, got)
  while true do
    local kind, a, b, c = e:take(id)
    if not kind then return false end
    if kind == "head" then
      got.heads = (got.heads or 0) + 1
      got.status, got.headers = a, b
    elseif kind == "data" then
      got.pieces[#got.pieces + 1] = a
    else
      got.code, got.message, got.info = a, b, c
      got.body = table.concat(got.pieces)
      return true
    end
  end
end

--- Drives an engine until `done()`; raises when that takes too long.
function engines.drive(e, done)
  local limit = core.now() + PATIENCE
  while not done() do
    if core.now() > limit then error("the engine hangs", 2) end
    e:wait(1)
    assert(e:step())
  end
end

--- Drives an engine until all of `ids` have ended: their results in the same order. Only
--- transfers that the engine names are looked at, so a forgotten name shows as a hang.
function engines.finish_all(e, ids)
  local results, of, open = {}, {}, #ids
  for i, id in ipairs(ids) do
    results[i] = { pieces = {} }
    of[id] = results[i]
  end
  engines.drive(e, function()
    for id in e.next, e do
      if of[id] and not of[id].info and engines.take(e, id, of[id]) then open = open - 1 end
    end
    return open == 0
  end)
  return results
end

--- Submits one request and drives it to its end.
function engines.fetch(e, request)
  return engines.finish_all(e, { assert(e:submit(request)) })[1]
end

--- Drives an engine until `id` has sent its head, and takes that: status, headers.
function engines.await_head(e, id)
  local status, headers
  engines.drive(e, function()
    for named in e.next, e do
      if named == id then
        local kind, a, b = e:take(id)
        if kind == "head" then status, headers = a, b end
      end
    end
    return status
  end)
  return status, headers
end

--- Lets an engine work for some rounds of at most 10 ms each.
function engines.work(e, rounds)
  for _ = 1, rounds do
    e:wait(0.01)
    e:step()
  end
end

--- Resident memory of this process in bytes.
function engines.memory()
  local file = assert(io.open("/proc/self/status"))
  local status = file:read "*a"
  file:close()
  return tonumber(status:match "VmRSS:%s+(%d+)") * 1024
end

--- Runs Lua code in a process of its own; `env` is put before the command. Gives what it prints.
function engines.child(code, env, ...)
  local lua = os.getenv "UNBUSY_LUA" or (_VERSION == "Lua 5.4" and "lua5.4" or "luajit")
  local path = os.tmpname()
  files.write(path, code)
  local words = {}
  for i, word in ipairs { ... } do words[i] = files.quote(word) end
  local out = files.output(("env %s %s %s %s 2>&1; echo \"status $?\""):format(env or "", lua, path,
    table.concat(words, " ")))
  os.remove(path)
  return out
end

return engines
