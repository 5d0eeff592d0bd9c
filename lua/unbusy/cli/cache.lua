--- `unbusy cache`: what is in the cache of those who run, and out with it.
local answers = require "unbusy.providers.answers"
local arguments = require "unbusy.cli.arguments"
local cache_part = require "unbusy.cache"
local calls = require "unbusy.call"
local config = require "unbusy.config"
local entries = require "unbusy.cli.entries"
local json = require "unbusy.json"
local opened = require "unbusy.cli.opened"
local options = require "unbusy.options"
local questions = require "unbusy.caching.questions"
local stored = require "unbusy.caching.stored"
local terminal = require "unbusy.cli.terminal"

local FAULT, USAGE, NOTHING = 1, 2, 3 -- exit statuses
local SETTLE = 5 -- seconds that Redis may take to hear of it

local cache = {
  name = "cache", usage = "ACTION [options] [WORDS]", most = 17, expects = "at most 16 words",
  summary = "looks into the cache, and takes answers out",
  about = [[Works on the cache of the processes that run with a configuration. ACTION is one of
    stats, get, delete, export, import, clear and purge. A question is a text, or a request as JSON
    with --request, or what `unbusy top` shows as its hash with --hash.]],
}

cache.options = {
  opened.option,
  { name = "model", value = "NAME", type = "string",
    doc = "of the question; of purge: what this model has answered" },
  { name = "target", value = "NAME", type = "string",
    doc = "of purge: what this target has answered" },
  { name = "system", value = "TEXT", type = "string",
    doc = "a system message before the question" },
  { name = "request", value = "FILE", type = "string",
    doc = "the whole request, as JSON (- is standard input), in place of a question" },
  { name = "hash", value = "HEX", type = "string", doc = "the question's hash, in its place" },
  { name = "yes", doc = "of clear: do not ask whether you mean it" },
  { name = "json", doc = "print one JSON object and nothing else" },
}

--- What its help page says besides.
function cache.sections()
  return {
    { "Actions:", arguments.columns {
      { "stats", "how much is in it, and how often it was of use" },
      { "get QUESTION", "print the answer that is kept" },
      { "delete QUESTION", "take it out" },
      { "export [FILE]", "all entries, as lines of JSON; to standard output by default" },
      { "import [FILE]", "such lines; from standard input by default. What is older than it may "
        .. "be, or than what is there, is left out" },
      { "clear", "take everything out" },
      { "purge TAG...", "take out what has one of these tags; or --model, --target" },
    } },
    opened.section,
    { "Examples:", "  unbusy cache stats --config gateway.lua\n"
      .. '  unbusy cache get --config gateway.lua --model deepseek-flash "天气如何"\n'
      .. "  unbusy cache export --config gateway.lua | gzip > cache.jsonl.gz\n"
      .. "  unbusy cache purge --config gateway.lua --model deepseek-flash" },
    { "Exit status:", arguments.columns {
      { "0", "done" },
      { "1", "nobody has the cache open, a file cannot be written, or a fault of unbusy itself" },
      { "2", "wrong arguments, configuration or file" },
      { "3", "there is nothing under that question, or with that tag" },
    } },
  }
end

local function fail(status, message)
  error({ status = status, message = message }, 0)
end

local function print_json(object)
  terminal.write(assert(json.encode(object)) .. "\n")
end

-- {== The question ========================================================

local function read_all(path)
  local file, message = io.stdin, nil
  if path ~= "-" then file, message = io.open(path, "rb") end
  if not file then fail(USAGE, "--request: " .. message) end
  local text
  text, message = file:read "*a"
  if path ~= "-" then file:close() end
  return text or fail(USAGE, ("--request: %s: %s"):format(path, message))
end

-- The question of the command line, as a request.
local function request_of(values)
  if values.request then
    return json.decode(read_all(values.request)) or fail(USAGE, "--request: not JSON")
  end
  local text = values[2]
  if not text then fail(USAGE, "a question expected (or --request, or --hash)") end
  if not values.system then return text end
  return { messages = { { role = "system", content = values.system },
    { role = "user", content = text } } }
end

-- Asks the cache and nobody else, as a call does: what is kept, and under which key.
local function look(client, values)
  local list, wrong = questions.of_list({ request_of(values) }, values.model)
  if not list then fail(USAGE, wrong) end
  local c = calls.new(client, list[1].kind, list[1].request,
    config.trusted { only_cached = true, max_stale = true, cache = true })
  return opened.run(function(loop)
    client.calls[c] = true
    c:begin(loop)
    local reply, key = client.flow(c), c.key
    c:finish()
    return reply or nil, key or nil
  end)
end

local function near_of(client)
  return client.cache.near
end

-- The entry with that hash: its key, value, and what else is known of it.
local function find(client, hash)
  if not hash:find "^%x+$" then fail(USAGE, "--hash: hexadecimal digits expected") end
  local near, cursor = near_of(client), nil
  repeat
    local bytes, value, about
    cursor, bytes, value, about = near:next(cursor)
    local key = bytes and cache_part.key_of_bytes(bytes)
    if key and tostring(key):match ": (%x+)" == hash:lower() then return key, value, about end
  until not cursor
end

-- }========================================================================

-- {== Actions =============================================================

local actions = {}

local names = { "stats", "get", "delete", "export", "import", "clear", "purge" }

local shown_counts = {
  { "entries", "entries" }, { "bytes", "bytes of keys and values" },
  { "hits", "lookups that found a fresh answer" }, { "stale", "… a stale one" },
  { "misses", "… none" }, { "stored", "answers stored" }, { "refused", "… too large" },
  { "evicted", "put out for room" }, { "expired", "found past their time" },
  { "purged", "taken out by a tag" }, { "rebuilt", "times put in order after a death" },
}

function actions.stats(client, values)
  local stats = client.cache:stats()
  if values.json then return print_json(stats) end
  local lines = {}
  for _, row in ipairs(shown_counts) do
    if stats[row[1]] then
      lines[#lines + 1] = ("%14.0f  %s"):format(stats[row[1]], row[2])
    end
  end
  for name, value in pairs(type(stats.redis) == "table" and stats.redis or {}) do
    lines[#lines + 1] = ("%14s  redis: %s"):format(tostring(value), name)
  end
  terminal.write(table.concat(lines, "\n") .. "\n")
end

-- An answer in words: those of a chat or a completion, else its JSON.
local function text_of(body)
  local decoded = json.decode(body)
  for _, kind in ipairs { "chat", "complete" } do
    local ok, answer = pcall(answers.of, kind, decoded)
    if ok and type(answer) == "table" and answer.text and answer.text ~= "" then
      return answer.text
    end
  end
  return body
end

local function show(body, about, values)
  if values.json then
    about.body = json.decode(body)
    return print_json(about)
  end
  local text = text_of(body)
  terminal.write((terminal.is_terminal(1) and terminal.clean(text) or text) .. "\n")
end

local function show_nothing(values)
  if values.json then print_json { body = json.null } end
  return NOTHING
end

local function get_by_hash(client, values)
  local _, value, about = find(client, values.hash)
  local target, body
  if value then target, body = stored.unpack(value) end
  if not target then return show_nothing(values) end
  show(body, { target = target, age = about.age, ttl = about.ttl, source = about.state == "fresh"
    and "cache" or "stale", tags = about.tags and json.array(about.tags) }, values)
end

function actions.get(client, values)
  if values.hash then return get_by_hash(client, values) end
  local reply = look(client, values)
  if not reply then return show_nothing(values) end
  show(reply.raw, { target = reply.target, age = reply.age, source = reply.source }, values)
end

-- What Redis is told too is told before the command ends.
local function settle(client)
  local ok, message = opened.run(function() return client.cache:settle(SETTLE) end)
  if not ok then terminal.say("redis: " .. tostring(message)) end
end

function actions.delete(client, values)
  local key, _
  if values.hash then key = find(client, values.hash) else _, key = look(client, values) end
  if key then
    client.cache:delete(key)
    settle(client)
  end
  if values.json then print_json { deleted = key and 1 or 0 } end
  return key and 0 or NOTHING
end

function actions.clear(client, values)
  if not values.yes then
    fail(USAGE, ("clear: it takes out all %.0f entries: say --yes if you mean it"):format(
      client.cache:stats().entries))
  end
  local count = client.cache:stats().entries
  client.cache:clear()
  settle(client)
  if values.json then print_json { cleared = count }
  else terminal.write(("took out %.0f\n"):format(count)) end
end

local function tags_of(values)
  local list = {}
  for i = 2, #values do list[#list + 1] = values[i] end
  if values.model then list[#list + 1] = stored.tag("model", values.model) end
  if values.target then list[#list + 1] = stored.tag("target", values.target) end
  if not list[1] then fail(USAGE, "purge: a TAG, --model or --target expected") end
  for _, tag in ipairs(list) do
    if #tag < 1 or #tag > 64 then fail(USAGE, "purge: a tag has 1 to 64 bytes") end
  end
  return list
end

function actions.purge(client, values)
  local count = 0
  for _, tag in ipairs(tags_of(values)) do count = count + client.cache:purge(tag) end
  settle(client)
  if values.json then print_json { purged = count }
  else terminal.write(("took out %.0f\n"):format(count)) end
  return count == 0 and NOTHING or 0
end

-- }========================================================================

-- {== Export and import ===================================================

local function open(path, mode, standard)
  if not path or path == "-" then return standard end
  local file, message = io.open(path, mode)
  return file or fail(mode == "rb" and USAGE or FAULT, message)
end

-- Writes to a file, or by way of the terminal, so that failures are seen.
local function writer(path)
  local file = open(path, "wb")
  if not file then return terminal.write, function() end end
  local function check(ok, message)
    if not ok then fail(FAULT, ("%s: %s"):format(path, message)) end
  end
  return function(text) check(file:write(text)) end, function() check(file:close()) end
end

function actions.export(client, values)
  local write, close = writer(values[2])
  local near, cursor, count = near_of(client), nil, 0
  write(entries.head() .. "\n")
  while true do
    local bytes, value, about
    cursor, bytes, value, about = near:next(cursor)
    if not cursor then break end
    write(entries.line(bytes, value, about) .. "\n")
    count = count + 1
  end
  close()
  if values[2] and values[2] ~= "-" then
    if values.json then print_json { exported = count }
    else terminal.write(("wrote %d\n"):format(count)) end
  end
end

-- Keeps what a line says: was it kept?
local function take(client, entry)
  local key = cache_part.key_of_bytes(entry.key)
  if not key then return nil, "this is no key of a cache" end
  local ttl = math.max(entry.age + entry.ttl, 0)
  if entry.age > ttl + client.caching.stale then return false end
  return near_of(client):set(key, entry.value, ttl, entry.tags, nil, entry.age) or false
end

-- Keeps what a line of an export says, if anything: true; false where it is too old; nil and what
-- is wrong with it.
local function take_line(client, text)
  if not text:find "%S" then return nil end
  local entry, wrong = entries.read(text)
  if not entry then return nil, wrong end
  return take(client, entry)
end

function actions.import(client, values)
  local file, n, count, left_out = open(values[2], "rb", io.stdin), 0, 0, 0
  local path = file == io.stdin and "standard input" or values[2]
  while true do
    local text, fault = file:read "*l" -- `file:lines` would raise: a folder can be opened, too
    if fault then fail(USAGE, ("%s: %s"):format(path, fault)) end
    if not text then break end
    n = n + 1
    local kept, wrong = take_line(client, text)
    if wrong then
      fail(USAGE, ("%s:%d: %s (%d were taken in before)"):format(path, n, wrong, count))
    end
    if kept then count = count + 1 elseif kept == false then left_out = left_out + 1 end
  end
  if file ~= io.stdin then file:close() end
  if values.json then print_json { imported = count, left_out = left_out }
  else terminal.write(("took in %d, left out %d\n"):format(count, left_out)) end
end

-- }========================================================================

local needs_words = { purge = 16, get = 1, delete = 1, export = 1, import = 1, stats = 0,
  clear = 0 }

-- The action that is meant.
local function action_of(values)
  local name = values[1]
  if not name then
    fail(USAGE, "an action expected: " .. table.concat(names, ", ") .. " (unbusy cache --help)")
  end
  if not actions[name] then
    local near = arguments.is_showable(name) and options.nearest(name, names)
    fail(USAGE, ("unknown action%s (unbusy cache --help)"):format(
      near and (", did you mean '%s'?"):format(near) or ""))
  end
  if #values - 1 > needs_words[name] then
    fail(USAGE, ("%s: %d words are too many: put a question in quotes"):format(name, #values - 1))
  end
  return name
end

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function cache.run(values)
  local name = action_of(values)
  local client = opened.client(values)
  if client.hot then client.hot.count = function() end end -- what we look up is nobody's question
  local ok, status = pcall(actions[name], client, values)
  client:close()
  if not ok then error(status, 0) end
  if status == NOTHING and not values.json then terminal.say "there is nothing" end
  return status or 0
end

return cache
