/*
** breaker.c: stops calling a target that has stopped answering.
*/
#include "parts/breaker.h"

#include "base/err.h"

#define LONGEST_US  9000000000000000  /* 285 years: no sum of two overflows */
#define SEQUENCE    0x1fffffffffu  /* the bits a ticket has for it */

static ub_window *window (ub_breaker *b) {
  return (ub_window *)(void *)(b + 1);
}

static ub_slots *slots (ub_breaker *b) {
  return (ub_slots *)(void *)((char *)b + b->slots_at);
}

static const ub_slots *slots_read (const ub_breaker *b) {
  return (const ub_slots *)(const void *)((const char *)b + b->slots_at);
}

static size_t before_slots (const ub_breaker_config *config) {
  return sizeof(ub_breaker) + ub_window_size(&config->window);
}

size_t ub_breaker_size (const ub_breaker_config *config) {
  return before_slots(config) + ub_slots_size(config->slots);
}

/* Begin a generation in 'state', which does not end by itself. */
static void enter (ub_breaker *b, ub_breaker_state state) {
  b->state = state;
  b->until_us = UB_BREAKER_FOREVER;
  b->generation++;
  b->opened += state == UB_OPEN;
  b->fence = slots(b)->now.sequence;
  b->row = b->out = b->loose = b->loose_back = 0;
  b->trial = (ub_tally){0};
}

static void become_closed (ub_breaker *b) {
  ub_window_clear(window(b));
  b->cooling_us = b->config.open_us;
  enter(b, UB_CLOSED);
}

static int64_t within (int64_t us) {
  return us < LONGEST_US ? us : LONGEST_US;
}

/* Open for 'us', and up to 'open_jitter' of it on top: not all wake at once. */
static void become_open (ub_breaker *b, int64_t us) {
  double chance = b->config.open_jitter * ub_rand_unit(&b->rand);
  enter(b, UB_OPEN);
  us = within(us);
  b->until_us = b->latest_us + us + (int64_t)((double)us * chance);
}

static void reopen (ub_breaker *b) {
  double us = (double)b->cooling_us * b->config.open_growth;
  int64_t cap = b->config.open_cap_us;
  b->cooling_us = us < (double)cap ? (int64_t)us : cap;
  become_open(b, b->cooling_us);
}

void ub_breaker_init (ub_breaker *b, const ub_breaker_config *config, int64_t now_us) {
  *b = (ub_breaker){.config = *config, .latest_us = now_us};
  b->slots_at = (uint32_t)before_slots(config);
  ub_rand_init(&b->rand, config->seed);
  ub_window_init(window(b), &config->window, now_us);
  ub_slots_init(slots(b), config->slots);
  become_closed(b);
}

/* Where a state leads whose time is over. */
static ub_breaker_state after (ub_breaker_state state) {
  return state == UB_OPEN || state == UB_FORCED_OPEN ? UB_HALF_OPEN : UB_CLOSED;
}

/* Take note of the time. */
static void step (ub_breaker *b, int64_t now_us) {
  if (now_us > b->latest_us)
    b->latest_us = now_us;
  if (b->latest_us < b->until_us)
    return;
  if (after(b->state) == UB_CLOSED)
    become_closed(b);
  else
    enter(b, UB_HALF_OPEN);
}

/* The time now for those that may not write it down. */
static int64_t seen (const ub_breaker *b, int64_t now_us) {
  return now_us > b->latest_us ? now_us : b->latest_us;
}

/* Is slot 'i' of this generation, and younger than 'us'? (UB_SLOT_NONE: no.) */
static int young (const ub_breaker *b, uint16_t i, int64_t now_us, int64_t us) {
  const ub_slot *slot = slots_read(b)->slot;
  return i != UB_SLOT_NONE && slot[i].tag == b->generation
         && now_us - slot[i].issued_us < us;
}

/*
** Probes that hold a permit: the newest ones, up to the first that has been
** out for the open time. '*first_us' is when the oldest of them was let out.
*/
static uint32_t probes (const ub_breaker *b, int64_t now_us, int64_t *first_us) {
  const ub_slots *s = slots_read(b);
  uint32_t n = 0;
  uint16_t i;
  for (i = s->now.newest; young(b, i, now_us, b->cooling_us); i = s->slot[i].prev) {
    *first_us = s->slot[i].issued_us;
    n++;
  }
  return n;
}

static int admits (const ub_breaker *b) {
  int64_t first_us;
  switch (b->state) {
    case UB_OPEN: case UB_FORCED_OPEN: return 0;
    case UB_HALF_OPEN: return probes(b, b->latest_us, &first_us) < b->config.permits;
    default: return 1;
  }
}

/*
** Free the oldest slot, if its ticket is worth nothing any more. A probe may
** be given up too: so many are out that the first ones will not come back.
*/
static void reclaim (ub_breaker *b) {
  ub_slot *oldest = ub_slots_oldest(slots(b));
  if (oldest->tag == b->generation) {
    if (b->state != UB_HALF_OPEN)
      return;
    b->out--;
  }
  ub_slots_release(slots(b), oldest);
}

static uint64_t issue (ub_breaker *b) {
  uint64_t ticket = ub_slots_issue(slots(b), b->latest_us, b->generation);
  if (ticket == 0) {
    reclaim(b);
    ticket = ub_slots_issue(slots(b), b->latest_us, b->generation);
  }
  b->out++;
  if (ticket != 0)
    return ticket;
  b->loose++;
  return (b->generation & SEQUENCE) << 16 | UB_SLOT_NONE;
}

int ub_breaker_allow (ub_breaker *b, int64_t now_us, uint64_t *ticket) {
  step(b, now_us);
  if (!admits(b)) {
    b->refused++;
    return UB_EOPEN;
  }
  *ticket = issue(b);
  return UB_OK;
}

/* Do so many of 'n' calls reach this share? None never do: it is above 0. */
static int reaches (uint64_t some, uint64_t n, double share) {
  return some > 0 && (double)some / (double)n >= share;
}

static int over (const ub_breaker_config *c, const ub_tally *t, uint64_t n) {
  return reaches(t->failures, n, c->failure_rate) || reaches(t->slow, n, c->slow_rate);
}

/* Open if the window or the row of failures says so. */
static void judge (ub_breaker *b) {
  const ub_breaker_config *c = &b->config;
  const ub_tally *sum = &window(b)->sum;
  if (b->state != UB_CLOSED)
    return;
  if ((c->consecutive > 0 && b->row >= c->consecutive)
      || (sum->calls >= c->min_calls && over(c, sum, sum->calls)))
    become_open(b, b->cooling_us);
}

/* A probe is back: decide when it can be decided. */
static void judge_probe (ub_breaker *b, int failed, int slow) {
  const ub_breaker_config *c = &b->config;
  uint64_t wanted = c->min_calls < c->permits ? c->min_calls : c->permits;
  b->trial.calls++;
  b->trial.ok += !failed;
  b->trial.failures += (unsigned)failed;
  b->trial.slow += (unsigned)slow;
  if (over(c, &b->trial, wanted))
    reopen(b);
  else if (b->trial.calls >= wanted)
    become_closed(b);
}

static void count (ub_breaker *b, int failed, int slow) {
  if (b->state == UB_HALF_OPEN)
    judge_probe(b, failed, slow);
  else if (b->state != UB_DISABLED) {
    ub_window_add(window(b), b->latest_us, failed, slow);
    b->row = failed ? b->row + 1 : 0;
    judge(b);
  }
}

/*
** Is a refusal of the call before which 'earlier' was let in no failure? The
** list of slots is in the order of issue, so its neighbour is the youngest
** of all earlier calls. (For a ticket without a slot the newest one stands in.)
*/
static int only_full (ub_breaker *b, uint16_t earlier) {
  if (b->state == UB_HALF_OPEN)
    return 0;
  ub_window_advance(window(b), b->latest_us);
  return window(b)->sum.ok > 0
         || young(b, earlier, b->latest_us, b->config.window.length_us);
}

/* Take back a ticket without a slot. Gives 0 when none is under way. */
static int take_loose (ub_breaker *b, uint64_t ticket) {
  if (ticket >> 16 != (b->generation & SEQUENCE) || b->loose_back == b->loose)
    return 0;
  b->loose_back++;
  return 1;
}

/* Take back any ticket; '*earlier' is the slot of the one issued before. */
static int take (ub_breaker *b, uint64_t ticket, uint16_t *earlier) {
  ub_slots *s = slots(b);
  ub_slot *slot = ub_slots_find(s, ticket);
  int current;
  *earlier = slot != NULL ? slot->prev : s->now.newest;
  if (slot == NULL)
    current = (ticket & 0xffff) == UB_SLOT_NONE && take_loose(b, ticket);
  else {
    current = slot->tag == b->generation;
    ub_slots_release(s, slot);
  }
  b->out -= (unsigned)current;
  return current;
}

int ub_breaker_report (ub_breaker *b, uint64_t ticket, ub_breaker_outcome outcome,
                       int64_t took_us, int64_t now_us) {
  uint16_t earlier;
  step(b, now_us);
  if (!take(b, ticket, &earlier))
    return 0;
  if (outcome == UB_BREAKER_BUSY)
    outcome = only_full(b, earlier) ? UB_BREAKER_NEUTRAL : UB_BREAKER_FAIL;
  if (outcome != UB_BREAKER_NEUTRAL)
    count(b, outcome == UB_BREAKER_FAIL, took_us >= b->config.slow_us);
  return 1;
}

/* Was this ticket given out in this generation, and has it come back? */
static int returned (ub_breaker *b, uint64_t ticket) {
  uint64_t since = ((ticket >> 16) - b->fence) & SEQUENCE;
  uint64_t issued = (slots(b)->now.sequence - b->fence) & SEQUENCE;
  if ((ticket & 0xffff) == UB_SLOT_NONE)
    return ticket >> 16 == (b->generation & SEQUENCE) && b->loose_back > 0;
  return since > 0 && since <= issued && (ticket & 0xffff) < b->config.slots
         && !ub_slots_has(slots(b), ticket);
}

int ub_breaker_record (ub_breaker *b, uint64_t ticket, int64_t now_us) {
  step(b, now_us);
  if ((b->state != UB_CLOSED && b->state != UB_METRICS_ONLY) || !returned(b, ticket))
    return 0;
  if (!ub_window_cut(window(b), b->latest_us))
    return 0;
  b->row++;
  judge(b);
  return 1;
}

void ub_breaker_force (ub_breaker *b, ub_breaker_state state, int64_t for_us, int64_t now_us) {
  step(b, now_us);
  if (state == UB_CLOSED)
    become_closed(b);
  else if (state == UB_OPEN)
    become_open(b, for_us < 0 ? b->cooling_us : for_us);
  else {
    enter(b, state);
    if (for_us >= 0)
      b->until_us = b->latest_us + within(for_us);
  }
}

ub_breaker_state ub_breaker_state_now (const ub_breaker *b, int64_t now_us) {
  return seen(b, now_us) < b->until_us ? b->state : after(b->state);
}

int64_t ub_breaker_retry_after (const ub_breaker *b, int64_t now_us) {
  int64_t now = seen(b, now_us);
  int64_t first_us = now;
  if (now >= b->until_us)
    return 0;
  switch (b->state) {
    case UB_OPEN: return b->until_us - now;
    case UB_FORCED_OPEN:
      return b->until_us == UB_BREAKER_FOREVER ? UB_BREAKER_FOREVER : b->until_us - now;
    case UB_HALF_OPEN:
      if (probes(b, now, &first_us) < b->config.permits)
        return 0;
      return first_us + b->cooling_us - now;
    default: return 0;
  }
}

ub_breaker_stats ub_breaker_read (const ub_breaker *b, int64_t now_us) {
  ub_breaker_stats stats = {.refused = b->refused, .opened = b->opened};
  const ub_tally *t = &stats.tally;
  stats.state = ub_breaker_state_now(b, now_us);
  if (stats.state == b->state) {  /* else: a new state, with nothing in it */
    stats.outstanding = b->out;
    stats.tally = b->state == UB_HALF_OPEN ? b->trial
      : ub_window_read((const ub_window *)(const void *)(b + 1), seen(b, now_us));
  }
  if (t->failures > 0)
    stats.failure_rate = t->failures < t->calls ? (double)t->failures / (double)t->calls : 1;
  return stats;
}

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_breaker_size(config);
}

/* The breaker and its window's front; the slots have a log of their own. */
static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_breaker) + sizeof(ub_window);
}

static void part_init (void *b, const void *config, int64_t now_us) {
  ub_breaker_init(b, config, now_us);
}

static void part_begin (void *b, uint32_t process) {
  ub_slots_log_begin(slots(b), process);
}

static void part_repair (void *b) {
  ub_slots_log_undo(slots(b));
}

static int part_release (void *machine, uint32_t process) {
  ub_breaker *b = machine;
  ub_slot *slot = ub_slots_of(slots(b), process);
  if (slot == NULL)
    return 0;
  b->out -= slot->tag == b->generation;
  ub_slots_release(slots(b), slot);
  return 1;
}

const ub_part_type ub_breaker_part = {
  .kind = "breaker", .version = 2, .size = part_size, .head = part_head, .init = part_init,
  .begin = part_begin, .repair = part_repair, .release = part_release
};

/* }============================================================================ */
