--- `unbusy warm`: asks questions ahead of time, into the cache of those who run.
local arguments = require "unbusy.cli.arguments"
local bar = require "unbusy.cli.bar"
local json = require "unbusy.json"
local opened = require "unbusy.cli.opened"
local options = require "unbusy.options"
local questions = require "unbusy.caching.questions"
local terminal = require "unbusy.cli.terminal"
local warm_up = require "unbusy.caching.warm"

local USAGE, SOME = 2, 3 -- exit statuses
local MOST_TOLD = 20     -- failures that are said one by one

local warm = {
  name = "warm", usage = "[options] [FILE | -]", most = 1, expects = "one file",
  summary = "asks questions ahead of time, so that their answers are in the cache",
  about = [[Asks the questions of FILE (- is standard input), of --question and the hottest of
    --top, as far as they are not in the cache. It is in nobody's way: a question goes only to a
    target with room to spare, while no call waits; it has one try, and none of the retry budget.
    Each line of FILE is a question, or a JSON object: a request (messages, prompt or input), or one
    with it as request or body. docs/warm_up.md says more.]],
}

warm.options = {
  opened.option,
  { name = "question", value = "TEXT", type = "string", many = true,
    doc = "this question; may be given again" },
  { name = "top", value = "N", type = "whole", min = 1, max = 100000,
    doc = "the N that are asked most, where the configuration counts them (cache.top)" },
  { name = "model", value = "NAME", type = "string", doc = "for questions that name none" },
  { name = "at-once", value = "N", type = "whole", min = 1, max = 1000, default = 4,
    doc = "questions asked at a time" },
  { name = "deadline", value = "SECONDS", type = "number", above = 0, max = 1e7,
    doc = "for each question, from when it is sent" },
  { name = "patience", value = "SECONDS", type = "number", min = 0, max = 1e7, default = 60,
    doc = "that a question waits for a target with room to spare" },
  { name = "before", value = "SECONDS", type = "number", min = 0, max = 1e7,
    doc = "ask also what is fresh for no longer than that" },
  { name = "refresh", doc = "ask also what is fresh" },
  { name = "off-peak", doc = "wait for the hours that the policy does not call peak" },
  { name = "json", doc = "print one JSON object and nothing else" },
  { name = "quiet", short = "q", doc = "no bar, and no word of what goes well" },
}

--- What its help page says besides.
function warm.sections()
  return {
    opened.section,
    { "Examples:", "  unbusy warm --config gateway.lua faq.txt\n"
      .. "  unbusy warm --config gateway.lua --top 20 --before 60\n"
      .. '  unbusy warm --config gateway.lua --question "天气如何" --model deepseek-flash' },
    { "Exit status:", arguments.columns {
      { "0", "all of them are in the cache" },
      { "1", "nobody has the cache open, or a fault of unbusy itself" },
      { "2", "wrong arguments, configuration or questions" },
      { "3", "some could not be asked, or their answers are not kept" },
      { "130", "ended with Ctrl-C; what was asked until then is in the cache" },
    } },
  }
end

-- {== The questions =======================================================

local function usage(message)
  error({ status = USAGE, message = message }, 0)
end

local function add_all(list, more)
  for _, question in ipairs(more) do list[#list + 1] = question end
end

-- Those that are named, without the hottest.
local function named(values)
  local path, model, list = values[1], values.model, {}
  if path then
    local more, message
    if path == "-" then more, message = questions.of_lines(io.stdin, "standard input", model)
    else more, message = questions.of_file(path, model) end
    if not more then usage(message) end
    add_all(list, more)
  end
  if values.question then
    local more, message = questions.of_list(values.question, model)
    if not more then usage("--question: " .. message) end
    add_all(list, more)
  end
  return list
end

local function hottest(client, n)
  if not client.hot then
    usage "--top: nothing is counted: cache.top is off there"
  end
  return client.hot:questions(n, client)
end

-- }========================================================================

-- {== What came of it =====================================================

-- What is not in the cache, and why: in words, each.
local function missing(result)
  local out = {}
  for _, f in ipairs(result.failures) do
    out[#out + 1] = ("question %d: %s: %s"):format(f.index, f.code, f.message)
  end
  for _, i in ipairs(result.unkept or {}) do
    out[#out + 1] = ("question %d: its answer is not kept"):format(i)
  end
  return out
end

local function print_json(result, all, seconds)
  local list = json.array()
  for i, f in ipairs(result.failures) do
    list[i] = { index = f.index, code = f.code, message = f.message }
  end
  terminal.write(assert(json.encode { all = all, asked = result.asked, fresh = result.fresh,
    failures = list, unkept = json.array(result.unkept), seconds = seconds }) .. "\n")
end

local function print_words(result, all, seconds, quiet)
  local lines = missing(result)
  for i = 1, math.min(#lines, MOST_TOLD) do terminal.say(lines[i]) end
  if #lines > MOST_TOLD then terminal.say(("and %d more"):format(#lines - MOST_TOLD)) end
  if quiet then return end
  terminal.write(("asked %d, fresh %d, failed %d%s of %d in %.1f s\n"):format(result.asked,
    result.fresh, #result.failures,
    result.unkept and (", not kept %d"):format(#result.unkept) or "", all, seconds))
end

local function report(result, all, seconds, values)
  if values.json then print_json(result, all, seconds)
  else print_words(result, all, seconds, values.quiet) end
  return (result.failures[1] or result.unkept) and SOME or 0
end

-- }========================================================================

local function settings_of(values, progress)
  return options.check(warm_up.schema, { model = values.model, at_once = values.at_once or 4,
    deadline = values.deadline, patience = values.patience or 60, before = values.before,
    refresh = values.refresh, off_peak = values.off_peak, on_progress = progress }, "warm")
end

--- Runs the command.
---@param values table see `arguments.parse`
---@return integer exit status
function warm.run(values)
  if not values[1] and not values.question and not values.top then
    terminal.say "questions expected: a FILE, --question or --top (unbusy warm --help)"
    return USAGE
  end
  local list = named(values)
  local client = opened.client(values)
  if values.top then add_all(list, hottest(client, values.top)) end
  local line = bar.new { columns = not values.quiet and not values.json and terminal.columns()
    or nil, write = function(text) io.stderr:write(text) end }
  local job = warm_up.job(client, list, settings_of(values, function(p) line:draw(p) end))
  local began = client.now()
  local ok, result = pcall(opened.run, function(loop) return job:run(loop) end)
  line:stop()
  client:close()
  if not ok then error(result, 0) end
  return report(result, #list, client.now() - began, values)
end

return warm
