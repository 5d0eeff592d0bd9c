-- public.lua: the modules that users of unbusy call, in the order of `make docs`. Of these all is
-- told, as `make check` sees.
return {
  "unbusy", "unbusy.client", "unbusy.stream", "unbusy.passed", "unbusy.canceller",
  "unbusy.gateway", "unbusy.region", "unbusy.lua_openai",
  "unbusy.backoff", "unbusy.balancer", "unbusy.breaker", "unbusy.budget", "unbusy.cache",
  "unbusy.histogram", "unbusy.json_fields", "unbusy.limiter", "unbusy.rate",
  "unbusy.retry_after", "unbusy.sse", "unbusy.topk",
}
