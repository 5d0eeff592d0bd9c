-- Our own service first. A call goes on to the cloud where it would wait here for more than half a
-- second, where answers begin late, and where the service is out; and comes back when it is not.
return {
  targets = {
    { name = "deepseek-service", url = os.getenv "SERVICE_URL", key = os.getenv "SERVICE_KEY",
      pool = "own", proxy = false },
    { name = "cloud", url = os.getenv "CLOUD_URL", key = os.getenv "CLOUD_KEY", pool = "cloud" },
  },
  pools = {
    own = { priority = 1, spill = { queue = 0.5, start = 2, hold = 5 } },
    cloud = { priority = 2 },
  },
  clocks = { total = 120 },
  cache = { entries = 10000, bytes = 32 * 1024 * 1024 },
  fallback = "系统繁忙,请稍后再试",
  gateway = {
    keys = { { key = os.getenv "CLIENT_KEY", name = "apps" } },
    status = { token = os.getenv "OPERATOR_TOKEN" },
    metrics = { token = os.getenv "OPERATOR_TOKEN" },
  },
}
