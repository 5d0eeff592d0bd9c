--- The models that may be asked for.
--
-- Where every target names its models, those names are the list. Else a target is asked for its
-- own, and what it says is kept for a minute; and beyond that while another is asked for, or no
-- target says any.
local answers = require "unbusy.gateway.answers"
local errors = require "unbusy.gateway.errors"
local json = require "unbusy.json"
local log = require "unbusy.gateway.log"

local models = {}

local KEPT, AGAIN = 60, 5 -- seconds: until it is asked for anew, and after that has failed

local no_name = { default = true, ["*"] = true }

-- Names of the configuration, sorted; and whether every target has some.
local function configured(client)
  local names, seen, all = {}, {}, true
  for _, target in ipairs(client.targets) do
    local any = false
    for name in pairs(target.models) do
      if not no_name[name] then
        any = true
        if not seen[name] then names[#names + 1] = name end
        seen[name] = true
      end
    end
    all = all and any
  end
  table.sort(names)
  return names, all
end

local function new_model(name)
  return { id = name, object = "model", created = 0, owned_by = "unbusy" }
end

-- What a server says of a model; of what could not be told on as JSON (1e999) only its name.
local function as_told(model)
  return json.encode(model) and model or new_model(model.id)
end

-- The objects of the names that are not among `known`, behind those.
local function with_names(known, names)
  local list, seen = json.array(), {}
  for _, model in ipairs(known) do
    if type(model) == "table" and type(model.id) == "string" and not seen[model.id] then
      list[#list + 1], seen[model.id] = as_told(model), true
    end
  end
  for _, name in ipairs(names) do
    if not seen[name] then list[#list + 1] = new_model(name) end
  end
  return list
end

-- What the first target says that answers; or a refusal.
local function ask(ctx)
  local answer, message, code, detail = ctx.client:pass({ path = "/models" },
    { cancel = ctx:canceller() })
  local text
  if answer then
    log.answer(ctx, answer)
    text, message, code, detail = answer:body()
  end
  if not text then
    log.failure(ctx, code, detail)
    return nil, errors.of_call(message, code, detail, ctx.gateway.retries)
  end
  local body = answer.status < 300 and json.decode(text)
  if type(body) ~= "table" or type(body.data) ~= "table" then
    return nil, errors.of_call(("%s: %d without a list of models"):format(answer.target,
      answer.status), "upstream", { tries = answer.tries, target = answer.target },
      ctx.gateway.retries)
  end
  return body.data
end

--- The list as it is now.
---@param ctx table
---@return table? list, table? refusal
function models.current(ctx)
  local kept, now = ctx.gateway.models, ctx.client.now()
  if kept and now < kept.stale_at then return kept.list end
  if kept then kept.stale_at = now + AGAIN end -- the others have it meanwhile
  local names, all = configured(ctx.client)
  local known, refusal = {}, nil
  if not all then known, refusal = ask(ctx) end
  if not known then
    if kept then return kept.list end
    if names[1] then return with_names({}, names) end -- better than none, until somebody answers
    return nil, refusal
  end
  kept = { list = with_names(known, names), stale_at = all and math.huge or now + KEPT }
  ctx.gateway.models = kept
  return kept.list
end

--- Serves the list, or one model of it.
---@param ctx table
---@param id string?
---@return table? refusal
function models.serve(ctx, _, id)
  ctx.kind = "models"
  local list, refusal = models.current(ctx)
  if not list then return refusal end
  if not id then
    return answers.send(ctx, 200, assert(json.encode { object = "list", data = list }))
  end
  for _, model in ipairs(list) do
    if model.id == id then return answers.send(ctx, 200, assert(json.encode(model))) end
  end
  return errors.new(404, "there is no model of that name", { param = "model",
    code = "model_not_found" })
end

return models
