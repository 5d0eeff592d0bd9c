-- degrade: rather a lesser answer than none. The model that was asked, then a smaller one, then the
-- last good answer, then a text.
local policy = {}

-- Model -> the smaller one. Names change: copy this file and write yours, or let the targets'
-- `models` say what `pro` and `flash` are.
local SMALLER = { ["pro"] = "flash", ["deepseek-v4-pro"] = "deepseek-flash" }

local TEXT = {
  zh = "系统繁忙,请 {retry_after|几} 秒后再试",
  en = "The service is busy, please try again in {retry_after|a few} seconds",
}

-- What another model of the same account does not cure.
local LASTING = { quota = true, auth = true }

-- Each rung is tried when the one before it gives nothing.
function policy.fallback(_, failure)
  local ladder = {}
  local smaller = SMALLER[failure.model]
  if smaller and not LASTING[failure.code] then ladder[1] = { model = smaller } end
  ladder[#ladder + 1] = "stale" -- where the client has a cache
  ladder[#ladder + 1] = { by_language = { zh = TEXT.zh, default = TEXT.en } }
  return ladder
end

-- The first model gets half of the time, so that some is left for the smaller one.
function policy.retry(try)
  local first = try.number == try.tries
  if first and try.elapsed > try.remaining then return nil end
  return "default"
end

return policy
