-- What the gateway does: one service of our own, the waiting line before it, and a fallback.
-- The variables are set in deployment.yaml; the keys come from the Secret unbusy-keys.
return {
  targets = {
    { name = "deepseek-service", url = os.getenv "SERVICE_URL", key = os.getenv "SERVICE_KEY",
      proxy = false },
  },
  clocks = { total = 120 },                                -- not longer than --drain
  cache = { entries = 10000, bytes = 32 * 1024 * 1024 },   -- in /dev/shm, as all that pods share
  fallback = "系统繁忙,请稍后再试",
  gateway = {
    keys = { { key = os.getenv "CLIENT_KEY", name = "apps" } },
    status = { token = os.getenv "OPERATOR_TOKEN" },
    metrics = { token = os.getenv "OPERATOR_TOKEN" },
  },
}
