-- Routine questions to the small model of this node, the others to the centre; where the small
-- one's answer is weak, the centre is asked in its place, and if that fails, it is still there.
return {
  targets = {
    { name = "small", url = os.getenv "SERVICE_URL", pool = "edge", proxy = false,
      key = os.getenv "SERVICE_KEY", price = { input = 0, output = 0 } },
    { name = "deepseek", url = os.getenv "CENTRE_URL", pool = "centre",
      key = os.getenv "CENTRE_KEY", models = { default = "deepseek-flash" } },
  },
  policy = "edge",
  escalate = { short = 4, hold = true },
  clocks = { total = 120 },
  cache = { entries = 5000, bytes = 16 * 1024 * 1024, ttl = 600 },
  fallback = "系统繁忙,请稍后再试",
  gateway = {
    keys = { { key = os.getenv "CLIENT_KEY", name = "apps" } },
    status = { token = os.getenv "OPERATOR_TOKEN" },
    metrics = { token = os.getenv "OPERATOR_TOKEN" },
  },
}
