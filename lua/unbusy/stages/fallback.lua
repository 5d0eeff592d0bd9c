--- The last resort: what stands in when nothing else has worked.
--
-- A plan (see `unbusy.fallback.options`) is climbed rung by rung until one gives an answer. A text
-- and a reply are made here, in a valid shape; a model or a pool is asked by way of all stages
-- below, with tries of its own in what is left of the call's time. The reply says what went wrong
-- (`failure`, always of the question as it was asked) and what stands in (`fallback`).
--
-- Not for failures that the caller caused or asked for (see `fallback` in `unbusy.codes`), and only
-- where a text can stand for the answer: chat, complete and responses.
local again = require "unbusy.fallback.again"
local answers = require "unbusy.providers.answers"
local codes = require "unbusy.codes"
local json = require "unbusy.json"
local language = require "unbusy.fallback.language"
local last_good = require "unbusy.caching.last_good"
local reply = require "unbusy.reply"
local template = require "unbusy.fallback.template"

local speaks = { chat = true, complete = true, responses = true }

-- {== What is known =======================================================

-- The languages of the caller, the best first.
local function languages_of(call)
  local given = call.options.language
  if type(given) == "table" then return given end
  return { given or language.guess(call.request) }
end

-- The failure, as templates and policies are told it.
local function facts_of(way)
  local call, detail = way.call, way.failure.detail
  way.languages = way.languages or languages_of(call)
  return { code = way.failure.code, message = way.failure.message, status = detail.status,
    target = detail.target, retry_after = detail.retry_after, tries = call:tries_made(),
    language = way.languages[1], model = call.model, kind = call.kind, stream = call.streaming }
end

-- A message is masked by its own target; a text for the public, by all of them.
local function hide_all(call, text)
  for _, t in ipairs(call.client.targets) do text = t.secrets.hide(text) end
  return text
end

-- }========================================================================

-- {== Rungs ===============================================================

-- A rung gives a reply; or nil, and true when the ladder ends there.
local rungs = {}

local function climb(way, node)
  return rungs[node.kind](way, node)
end

local function tell(way, kind, fields)
  local event = { kind = kind, code = way.failure.code, message = way.failure.message }
  for name, value in pairs(fields or {}) do event[name] = value end
  way.call:emit("fallback", event)
end

-- Notes in the reply what it stands in for.
local function marked(way, made, kind, fields)
  local mark = { kind = kind }
  for name, value in pairs(fields or {}) do mark[name] = value end
  way.failure.detail = way.call:detail(way.failure.detail)
  made.failure, made.fallback = way.failure, mark
  return made
end

function rungs.none()
  return nil, true
end

function rungs.list(way, node)
  for _, rung in ipairs(node) do
    local made, ends = climb(way, rung)
    if made or ends then return made, ends end
  end
end

function rungs.by_code(way, node)
  local chosen = node.nodes[way.failure.code] or node.nodes.default
  if chosen then return climb(way, chosen) end
end

function rungs.by_language(way, node)
  way.languages = way.languages or languages_of(way.call)
  local chosen = language.pick(node.nodes, way.languages)
  if chosen then return climb(way, chosen) end
end

-- Would its reader fail on the text? Who asked for JSON gets JSON, or a status that says failure.
local function is_unreadable(way, node, text)
  return node.status < 400 and answers.wants_json(way.call.request) and json.decode(text) == nil
end

function rungs.text(way, node)
  local facts = facts_of(way)
  facts.message = hide_all(way.call, facts.message)
  local text = template.render(node.parts, facts)
  if is_unreadable(way, node, text) then return nil end
  tell(way, "text")
  local said = { text = text, reasoning = node.reasoning, finish = node.finish,
    usage = node.usage }
  return marked(way, reply.of_text(way.call, said, node.status), "text")
end

function rungs.reply(way, node)
  if not node.kinds[way.call.kind] then return nil end
  tell(way, "reply")
  return marked(way, reply.of_body(way.call, json.decode(node.text), node.status), "reply")
end

function rungs.stale(way, node)
  local made = last_good.stand_in(way.call, way.key, way.failure, node.most)
  return made and marked(way, made, "stale")
end

function rungs.ask(way, node)
  local kind = node.pool and "pool" or "model"
  local fields = { model = node.model, pool = node.pool }
  local made = again.ask(way, node, function() tell(way, kind, fields) end)
  if made then return marked(way, made, kind, fields) end
  return nil, way.call.stopped and true
end

-- }========================================================================

-- The plan of what the policy wants to stand in; nil for whatever the client has, false for none.
local function plan_of_policy(way)
  local call = way.call
  if not call.policy or not call.policy:decides "fallback" then return nil end
  local decided, given, plan =
    call.policy:ask(call, "fallback", nil, call:shown_request(), facts_of(way))
  if decided then return given and plan end
end

-- The answer in place of a failed call's; or nil.
local function stand_in(way, own)
  local plan = plan_of_policy(way)
  if plan == false then return nil end
  local says_when = plan and plan.stale or own and own.stale
  if way.call.stale_later and not says_when then
    local made = rungs.stale(way, {})
    if made then return made end
  end
  local made, ends
  if plan then made, ends = climb(way, plan.root) end
  if not made and not ends and own then made = climb(way, own.root) end
  return made
end

---@param next function the rest of the call's way
---@param client table
---@param plain boolean? see `unbusy.flow`
---@return fun(call: table): table?, string?, string?, table?
return function(next, client, plain)
  local own = client.fallback
  if plain and not own then return next end
  return function(call)
    if not own and not call.policy or not speaks[call.kind] or call.ahead then
      return next(call)
    end
    if own and own.stale or call.policy and call.policy:decides "fallback" then
      call.stale_later = true
    end
    local answer, message, code, detail = next(call)
    if answer or not codes[code].fallback then return answer, message, code, detail end
    local failure = { message = message, code = code, detail = detail or {} }
    answer = stand_in({ call = call, next = next, failure = failure, key = call.key }, own)
    if answer then return answer end
    if call.stopped then return call:refusal() end
    return nil, message, code, failure.detail
  end
end
