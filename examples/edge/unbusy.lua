-- An edge node: `unbusy serve examples/edge/unbusy.lua`. Routine questions are answered by a small
-- model on this machine, the others by a large one far away; where the small one's answer is weak,
-- the large one is asked in its place. The key comes from DEEPSEEK_API_KEY, or CENTRE_KEY.
return {
  targets = {
    { name = "small", url = os.getenv "EDGE_URL" or "http://127.0.0.1:8081/v1", pool = "edge",
      price = { input = 0, output = 0 }, proxy = false },
    { name = "deepseek", url = os.getenv "CENTRE_URL" or "https://api.deepseek.com",
      pool = "centre", key = os.getenv "CENTRE_KEY", models = { default = "deepseek-flash" } },
  },
  policy = "edge",
  escalate = { short = 4, hold = true },
  cache = { ttl = 600 },
  fallback = "系统繁忙,请稍后再试",
}
