-- A gateway for DeepSeek: `unbusy serve examples/gateway/unbusy.lua`.
-- The key comes from DEEPSEEK_API_KEY; clients need none while it listens on loopback only.
return {
  targets = {
    { name = "deepseek", url = os.getenv "DEEPSEEK_URL" or "https://api.deepseek.com",
      models = { default = "deepseek-flash" } },
  },
  clocks = { total = 120 },
  cache = { entries = 10000, ttl = 300 }, -- one for all workers
  fallback = "系统繁忙,请稍后再试",
  gateway = {
    body = 8 * 1024 * 1024, -- the largest request
  },
}
