--- Which provider's manners a target has.
--
--     local provider = providers.of { url = "https://api.deepseek.com" }
--     local path, body = provider.request("chat", body, true)
--
-- What a provider is, says `unbusy.providers.openai`.
local providers = {}

local known = {
  deepseek = require "unbusy.providers.deepseek",
  openai = require "unbusy.providers.openai",
}

--- The words that a target's `provider` may be.
providers.names = { "deepseek", "openai" }

--- The host of a URL in lower case, without user and port; nil when it has none.
---@param url string?
---@return string?
function providers.host(url)
  local authority = type(url) == "string" and url:match("^%a[%w+.-]*://([^/?#\\]*)")
  if not authority then return nil end
  local host = authority:gsub("^.*@", "")
  host = host:match("^%[[^%]]*%]") or host:gsub(":%d*$", "")
  return host ~= "" and host:lower():gsub("%.$", "") or nil
end

--- A target's provider: by its `provider`, else by the host of its `url`, else OpenAI's.
---@param target table provider, url
---@return table provider; raises for an unknown name
function providers.of(target)
  if target.provider then
    return known[target.provider] or error(("providers: one of %s expected, got '%s'"):format(
      table.concat(providers.names, ", "), tostring(target.provider)), 2)
  end
  local host = providers.host(target.url)
  for _, name in ipairs(providers.names) do
    if host == known[name].host then return known[name] end
  end
  return known.openai
end

return providers
