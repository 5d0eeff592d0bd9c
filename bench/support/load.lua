--- Load on servers, by wrk, and what it costs their processes.
local files = require "spec.support.files"

local load = {}

local BODY = '{"model":"m","temperature":0.7,%s"messages":[{"role":"system","content":'
  .. '"You are a helpful assistant."},{"role":"user","content":"%s"}]}'

--- A request of 500 bytes.
---@param stream boolean?
---@return string
function load.body(stream)
  local empty = BODY:format(stream and '"stream":true,' or "", "")
  return BODY:format(stream and '"stream":true,' or "", ("word "):rep(100):sub(1, 500 - #empty))
end

--- The shell command that loads a site.
---@param site table url, headers
---@param given table connections, seconds, stream; file: that has the body, in place of 500 bytes
---@return string
function load.command(site, given)
  local words = { "wrk -t1 -s bench/support/wrk_post.lua --timeout 60s -c", given.connections, "-d",
    given.seconds .. "s", files.quote(given.url or site.url), "--",
    files.quote(given.file and "@" .. given.file or load.body(given.stream)) }
  for _, line in ipairs(site.headers) do words[#words + 1] = files.quote(line) end
  return table.concat(words, " ")
end

--- Is a request answered well?
---@param site table
---@param stream boolean?
---@return boolean
function load.works(site, stream)
  local words = { "curl -q -s -m 30 -o /dev/null -w '%{http_code}' -H 'content-type:"
    .. " application/json' -d", files.quote(load.body(stream)), site.url }
  for _, line in ipairs(site.headers) do words[#words + 1] = "-H " .. files.quote(line) end
  local status = files.output(table.concat(words, " "))
  return status == "200"
end

--- Seconds of CPU that a process has used, user and system, in all of its threads.
---@param pid integer
---@return number
function load.cpu(pid)
  local ns = 0
  local pipe = assert(io.popen(("cat /proc/%d/task/*/schedstat"):format(pid)))
  for line in pipe:lines() do ns = ns + tonumber(line:match "^%d+") end
  pipe:close()
  return ns / 1e9
end

--- Resident memory of a process, in bytes.
---@param pid integer
---@return integer
function load.memory(pid)
  return 1024 * (tonumber(files.text(("/proc/%d/status"):format(pid)):match "VmRSS:%s+(%d+)") or 0)
end

--- What a run of wrk has printed.
---@param pipe file*
---@return table told requests, seconds, rate, p50, p99, max (µs), errors
function load.told(pipe)
  local out = pipe:read "*a"
  pipe:close()
  local requests, us, p50, p99, max, errors =
    out:match "told (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)"
  if not requests then error("wrk: " .. out) end
  local told = { requests = tonumber(requests), seconds = us / 1e6, p50 = tonumber(p50),
    p99 = tonumber(p99), max = tonumber(max), errors = tonumber(errors) }
  told.rate = told.requests / told.seconds
  return told
end

--- Loads a site; its answers must be good ones.
---@param site table
---@param given table connections, seconds, stream
---@return table told with cpu (µs a request) and memory (bytes) of the site's process
function load.run(site, given)
  local before = site.pid and load.cpu(site.pid) or 0
  local told = load.told(assert(io.popen(load.command(site, given) .. " 2>&1")))
  if told.errors > 0 then
    error(("%s: %d of %d requests failed"):format(site.name, told.errors, told.requests))
  end
  if site.pid then
    told.cpu = (load.cpu(site.pid) - before) / told.requests * 1e6
    told.memory = load.memory(site.pid)
  end
  return told
end

return load
