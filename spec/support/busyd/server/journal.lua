--- What the programme wants remembered of each request: a log, and how often a question came.
local cjson = require "cjson"
local counters = require "server.counters"

local log = ngx.shared.busyd_log

local KEPT = 200                 -- requests in the log
local BODY_KEPT = 64 * 1024      -- bytes of each body
local QUESTION_KEPT = 256        -- bytes of a question that are its name in the counts

local journal = {}

local function entry(call)
  return cjson.encode {
    method = call.method, path = ngx.var.request_uri, headers = ngx.req.get_headers(0),
    body = call.body:sub(1, BODY_KEPT), at = ngx.now(),
  }
end

local function write(call)
  local number = log:incr("last", 1, 0)
  log:set("request " .. number, entry(call))  -- a full dictionary drops the oldest
  log:delete("request " .. number - KEPT)
end

local function name_of(question)
  if #question <= QUESTION_KEPT then return question end
  return question:sub(1, QUESTION_KEPT - 33) .. " " .. ngx.md5(question)
end

local function track(call)
  if call.question then counters.add_named("question", name_of(call.question)) end
  local id = ngx.var.http_x_request_id
  if id and not counters.first_time("id", id) then counters.add "duplicates" end
end

--- Remembers a request as the programme wants.
function journal.note(call, fields)
  if fields.log then write(call) end
  if fields.track then track(call) end
end

--- The log as JSON, oldest first.
function journal.json()
  local lines, last = {}, log:get "last" or 0
  for number = math.max(1, last - KEPT + 1), last do
    lines[#lines + 1] = log:get("request " .. number)
  end
  return "[" .. table.concat(lines, ",") .. "]"
end

--- Forgets the log.
function journal.clear()
  log:flush_all()
  log:flush_expired()
end

return journal
