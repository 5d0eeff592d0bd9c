--- `unbusy top`: which questions are asked most.
local arguments = require "unbusy.cli.arguments"
local json = require "unbusy.json"
local opened = require "unbusy.cli.opened"
local shell = require "unbusy.cli.shell"
local terminal = require "unbusy.cli.terminal"

local USAGE, FAULT = 2, 1 -- exit statuses

local top = {
  name = "top", usage = "[options]", most = 0, expects = "no words",
  summary = "shows which questions are asked most",
  about = [[Shows which questions are asked most lately: how often (counted less the longer ago it
    was), by a hash or, where the configuration allows it, in their own words. On a terminal the
    list is drawn again and again until Ctrl-C. It needs the option cache.top.]],
}

top.options = {
  opened.option,
  { name = "url", value = "URL", type = "string",
    doc = "ask a gateway's /status instead; a token is taken from UNBUSY_TOKEN" },
  { name = "count", short = "n", value = "N", type = "whole", min = 1, max = 1000, default = 20,
    doc = "so many questions" },
  { name = "show", doc = "the questions themselves, where cache.top.show allows it" },
  { name = "once", doc = "print the list once, also on a terminal" },
  { name = "every", value = "SECONDS", type = "number", min = 0.1, max = 86400, default = 2,
    doc = "between two drawings" },
  { name = "json", doc = "print one JSON object and nothing else" },
}

--- What its help page says besides.
function top.sections()
  return {
    opened.section,
    { "Examples:", "  unbusy top --config gateway.lua\n"
      .. "  unbusy top --url http://127.0.0.1:8080 --json -n 100\n"
      .. "  unbusy top --config gateway.lua --show --json | jq -c '.questions[]' > hot.jsonl" },
    { "Exit status:", arguments.columns {
      { "0", "printed" },
      { "1", "nobody has the cache open, or the gateway does not answer" },
      { "2", "wrong arguments or configuration, or the questions may not be shown" },
      { "130", "ended with Ctrl-C" },
    } },
  }
end

local function fail(status, message)
  error({ status = status, message = message }, 0)
end

-- {== Where it is known ===================================================

-- Of the processes that run with a configuration: a function that gives the list, and the counts.
local function of_region(values)
  local client = opened.client(values)
  if not client.hot then fail(USAGE, "nothing is counted: cache.top is off there") end
  if values.show and not client.hot.shows then
    fail(USAGE, "--show: the questions may not be shown: cache.top.show is off")
  end
  return function()
    local list = client:top(values.count or 20, { show = values.show })
    local s = client:status()
    return { questions = list, top = s.top, cache = s.cache }
  end, function() client:close() end
end

-- The gateway's base, without the paths that people copy along.
local function base_of(url)
  local base = url:gsub("/+$", ""):gsub("/status$", ""):gsub("/v1$", "")
  if not base:find "^https?://[^/%s]+" then fail(USAGE, "--url: http:// or https:// expected") end
  return base
end

local function told(body)
  local said = json.decode(body or "")
  local e = type(said) == "table" and said.error
  return said, type(e) == "table" and type(e.message) == "string" and e.message or nil
end

local function is_number(n)
  return type(n) == "number" and n - n == 0
end

-- Is it what a gateway says of a question? Whoever answers there is not trusted with the terminal.
local function is_question(e)
  return type(e) == "table" and type(e.hash) == "string" and e.hash:find "^%x+$" ~= nil
    and is_number(e.count) and is_number(e.error) and (e.model == nil or type(e.model) == "string")
    and (e.question == nil or type(e.question) == "string")
end

local function ask(client, path)
  local answer, message = client:pass({ path = path }, { deadline = 10 })
  if not answer then fail(FAULT, message) end
  local body
  body, message = answer:body()
  if not body then fail(FAULT, message) end
  local said, wrong = told(body)
  if answer.status ~= 200 then
    fail(answer.status < 500 and USAGE or FAULT, ("the gateway says %d: %s"):format(answer.status,
      wrong or "no more than that"))
  end
  if type(said) ~= "table" then fail(FAULT, "this is no status of a gateway") end
  if type(said.questions) ~= "table" then
    fail(USAGE, "nothing is counted: cache.top is off there")
  end
  for _, e in ipairs(said.questions) do
    if not is_question(e) then fail(FAULT, "this is no status of a gateway") end
  end
  return said
end

local function of_gateway(values)
  local token = os.getenv "UNBUSY_TOKEN"
  local ok, client = pcall(require("unbusy").new, { retry = false,
    targets = { { name = "gateway", url = base_of(values.url), keys = { token ~= "" and token
      or nil } } } })
  if not ok then fail(USAGE, (tostring(client):gsub("^unbusy: targets%[1%]%.url", "--url"))) end
  local path = ("/status?top=%d%s"):format(values.count or 20, values.show and "&show=1" or "")
  return function() return ask(client, path) end, function() client:close() end
end

-- }========================================================================

-- {== The list ============================================================

local function number(n)
  if n >= 99.5 then return ("%.0f"):format(n) end
  return ("%.1f"):format(n)
end

-- A question as one line of the terminal; of a long one, its beginning.
local function brief(text, columns)
  text = terminal.clean(text):gsub("%s+", " ")
  local most = math.max(columns, 10)
  if #text <= most then return text end
  return (text:sub(1, most - 3):gsub("[\194-\244][\128-\191]*$", "")) .. "..."
end

local function count(n)
  return is_number(n) and n or 0
end

local function hit_rate(cache)
  if type(cache) ~= "table" then return nil end
  local near = type(cache.near) == "table" and cache.near or cache
  local all = count(near.hits) + count(near.stale) + count(near.misses)
  return all > 0 and ("; %.1f %% of all lookups found a fresh answer"):format(
    100 * count(near.hits) / all) or nil
end

local function lines_of(said, columns)
  local counts = type(said.top) == "table" and said.top or {}
  local out = { ("%s questions lately, %.0f of them told apart%s"):format(
    number(count(counts.asked)), count(counts.used), hit_rate(said.cache) or "") }
  if not said.questions[1] then return out end
  out[2] = "   #     asked  +-     hash              model"
  for i, e in ipairs(said.questions) do
    local line = ("%4d  %8s  %-5s  %s  %s"):format(i, number(e.count),
      e.error > 0.05 and "-" .. number(e.error) or "", e.hash, terminal.clean(e.model or ""))
    if e.question then line = line .. "  " .. brief(e.question, columns - #line - 2) end
    out[#out + 1] = line:match "^(.-)%s*$"
  end
  return out
end

local function text_of(said, columns)
  return table.concat(lines_of(said, columns), "\n") .. "\n"
end

-- The list as JSON says it; the questions only where they are shown.
local function json_of(said)
  return assert(json.encode { questions = json.array(said.questions), top = said.top }) .. "\n"
end

-- }========================================================================

local function columns_of_output()
  local pipe = io.popen "stty size <&1 2>/dev/null"
  local columns = pipe and (pipe:read "*a"):match "^%d+ (%d+)"
  if pipe then pipe:close() end
  return tonumber(columns) or 100
end

local HOME = "\27[H\27[J" -- to the first line, and all of it empty

local function watch(read, every)
  while true do
    terminal.write(HOME .. text_of(read(), columns_of_output()))
    if not shell.succeeds(("sleep %.3g"):format(every)) then fail(130) end
  end
end

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function top.run(values)
  if values.url and values.config then fail(USAGE, "--url or --config, not both") end
  local read, close
  if values.url then read, close = of_gateway(values) else read, close = of_region(values) end
  if values.json then
    terminal.write(json_of(read()))
  elseif values.once or not terminal.is_terminal(1) then
    terminal.write(text_of(read(), terminal.is_terminal(1) and columns_of_output() or 1000))
  else
    watch(read, values.every or 2)
  end
  close()
  return 0
end

return top
