--- What each cause is called, and what to do about it.
return {
  burst = { "a burst over their capacity", {
    "let calls wait rather than fail: queue.size, queue.max_wait, and deadlines to match",
    "join what is asked alike (cache, coalesce), and batch what is small",
    "send a part elsewhere: another account or provider, a pool to spill to (docs/routing.md)",
    "of a service of your own: more replicas (docs/autoscale.md)",
  } },
  capacity = { "less room on their side than usual", {
    "noisy neighbours, or replicas that are gone: of a service of your own look at those first",
    "send a part elsewhere until it is over (docs/routing.md)",
    "more gateways, or more retries, do not help: both only ask more often",
  } },
  slow = { "slow inference", {
    "of a service of your own: longer prompts, a larger model, fewer replicas, a busy GPU?",
    "ask a second target beside slow ones (docs/hedging.md), or a smaller model (docs/edge.md)",
    "bound the start: clocks.start, and what a policy says in `queued`",
    "each call holds its place for longer: what was enough for our limits may be no more",
  } },
  account = { "the limit of the account", {
    "set what the account has: its `limits` per minute, and limiter.max for calls at once",
    "another account or provider beside it (docs/routing.md); more gateways add nothing",
    "keep batch jobs from the others' places: priority = \"batch\"",
  } },
  pool = { "our own pool or line", {
    "the targets would have answered: raise limiter.max (and limiter.initial) of the account",
    "if callers need not know at once: a longer queue.max_wait",
    "find who holds places for long: streams that nobody reads, calls that wait for others",
  } },
  dead = { "a dead target", {
    "look at it from here: unbusy diagnose --probe --config FILE",
    "its breaker keeps calls from it meanwhile; a second target answers them (docs/routing.md)",
    "if it will not come back, take it out of the configuration",
  } },
  network = { "the network", {
    "name, route, proxy and certificate, from this machine: unbusy diagnose --probe",
    "connections that break in between: an idle timeout of a proxy or a load balancer?",
  } },
  money = { "a key or an account that is refused", {
    "top the account up, or renew the key: waiting does not help",
    "a second account or provider takes over by itself where there is one (docs/routing.md)",
  } },
  none = { "nothing is wrong in it", {
    "what callers see may come from before the gateway: its load balancer, their own clocks",
  } },
}
