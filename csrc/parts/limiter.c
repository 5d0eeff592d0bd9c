/*
** limiter.c: how many calls an account takes at once, found by trying.
**
** - A cut leaves 'ratio' of the limit. Where more calls were dropped since the
**   last cut, not three round trips ago, than this one would take away, it
**   halves, but leaves what the account holds (the edge, below).
** - Growth is spread over the round trip's successes (growth/limit each, and
**   no more than 'growth' in all), and only while at least half the limit is
**   in use: calls that nobody makes prove nothing. It doubles after every
**   three such round trips without a drop, up to limit/2. A drop sets it back
**   to 1 (limit/2 where that is less).
** - The fewest calls in flight beside a drop are the edge (none: no edge). The
**   limit does not grow over it before 50 calls went well. Else a limit of 5
**   is back over it within a round trip, and a third of all calls is dropped.
** - A dropped call's slot rests one round trip, so that a refusal that takes
**   a millisecond is not replaced by the next one at once.
** - A breaker that opens freezes the limit: a broken server teaches nothing.
*/
#include "parts/limiter.h"

#include <math.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/slots.h"

#define FIRST_TRIP_US  100000               /* until a call went well */
#define LEAST_TRIP_US  10000
#define MOST_TRIP_US   (10 * UB_SECOND_US)  /* minutes long calls must not stall */
#define SMOOTHING      8                    /* a sample's weight is 1/8, as in RFC 6298 */
#define PATIENCE       50                   /* good calls before the edge is tried again */
#define HARD_TRIPS     3                    /* how long a cut that missed is held against it */
#define QUIET_TRIPS    3                    /* without a drop, and growth doubles */
#define RAMP_STEP_US   (2 * UB_SECOND_US)
#define RAMP_STEPS     4
#define LONG_AGO       (INT64_MIN / 2)

static const double ramp[RAMP_STEPS] = {0.10, 0.25, 0.50, 1};

static ub_slots *slots (const ub_limiter *l) {
  return (ub_slots *)(l->dropped_us + l->config.max);
}

size_t ub_limiter_size (const ub_limiter_config *config) {
  return sizeof(ub_limiter) + config->max * sizeof(int64_t) + ub_slots_size(config->max);
}

static double *history_at (ub_limiter *l, int64_t second) {
  return &l->history[(uint64_t)second % UB_LIMITER_HISTORY];
}

/* Back to gentle growth; the round trip under way is not a quiet one. */
static void slow_down (ub_limiter *l) {
  l->growth = fmin(1, l->limit / 2);
  l->quiet = -1;
}

void ub_limiter_init (ub_limiter *l, const ub_limiter_config *config, int64_t now_us) {
  int i;
  l->config = *config;
  l->limit = l->held = l->edge = config->initial;
  l->grown = 0;
  l->trip_us = -1;
  l->good = PATIENCE;
  l->missed = 0;
  l->trip_at = now_us;
  l->cut_at = l->ramp_at = LONG_AGO;
  l->frozen = 0;
  ub_gradient_init(&l->gradient, now_us);
  ub_throttle_init(&l->throttle);
  l->second = now_us / UB_SECOND_US;
  for (i = 0; i < UB_LIMITER_HISTORY; i++)
    l->history[i] = l->limit;
  l->drops = l->refused = 0;
  l->resting = l->oldest = 0;
  slow_down(l);
  l->quiet = 0;
  ub_slots_init(slots(l), config->max);
}

int64_t ub_limiter_trip (const ub_limiter *l) {
  if (l->trip_us < 0) return FIRST_TRIP_US;
  if (l->trip_us < LEAST_TRIP_US) return LEAST_TRIP_US;
  return l->trip_us < MOST_TRIP_US ? (int64_t)l->trip_us : MOST_TRIP_US;
}

int ub_limiter_answered (const ub_limiter *l) {
  return l->trip_us >= 0;
}

/* Which step of the ramp is it? The last one is the whole limit. */
static int ramp_step (const ub_limiter *l, int64_t now) {
  int64_t step = (now - l->ramp_at) / RAMP_STEP_US;
  if (l->frozen || step >= RAMP_STEPS) return RAMP_STEPS - 1;
  return step < 0 ? 0 : (int)step;
}

static double limit_at (const ub_limiter *l, int step) {
  double limit = l->limit * ramp[step];
  return limit > l->config.min ? limit : l->config.min;
}

double ub_limiter_limit (const ub_limiter *l, int64_t now_us) {
  return limit_at(l, ramp_step(l, now_us));
}

uint32_t ub_limiter_in_flight (const ub_limiter *l) {
  return slots(l)->now.used;
}

/* When the i-th of the drops that still rest was, oldest first. */
static int64_t *rest (ub_limiter *l, uint32_t i) {
  return &l->dropped_us[((uint64_t)l->oldest + i) % l->config.max];
}

uint32_t ub_limiter_resting (ub_limiter *l, int64_t now_us) {
  while (l->resting > 0 && now_us - *rest(l, 0) >= ub_limiter_trip(l)) {
    l->oldest = (l->oldest + 1) % l->config.max;
    l->resting--;
  }
  return l->resting;
}

/* Slots that must come free before one more call may start under 'limit'. */
static int64_t missing (const ub_limiter *l, double limit) {
  return (int64_t)slots(l)->now.used + l->resting + 1 - (int64_t)floor(limit);
}

/* Microseconds until enough has been let in for another call; the breaker spaces the probes. */
static int64_t throttled (const ub_limiter *l, int64_t now) {
  return l->config.throttle > 0 && !l->frozen ? ub_throttle_wait(&l->throttle, now) : 0;
}

int ub_limiter_allow (ub_limiter *l, uint64_t *ticket, int64_t now_us) {
  ub_limiter_resting(l, now_us);
  if (missing(l, ub_limiter_limit(l, now_us)) > 0
      || throttled(l, now_us) > 0) {
    l->refused++;
    return UB_EFULL;
  }
  ub_throttle_start(&l->throttle, now_us);
  *ticket = ub_slots_issue(slots(l), now_us, 0);  /* never full: limit <= max */
  return UB_OK;
}

int64_t ub_limiter_retry_after (ub_limiter *l, int64_t now_us) {
  int64_t best = -1, held = throttled(l, now_us);
  int step = ramp_step(l, now_us), first = step;
  ub_limiter_resting(l, now_us);
  for (; step < RAMP_STEPS; step++) {
    int64_t need = missing(l, limit_at(l, step));
    int64_t wait = step == first ? 0 : l->ramp_at + step * RAMP_STEP_US - now_us;
    if (need > l->resting)
      continue;  /* calls in flight hold it, whatever rests */
    if (need > 0) {
      int64_t rested = *rest(l, (uint32_t)need - 1) + ub_limiter_trip(l) - now_us;
      wait = rested > wait ? rested : wait;
    }
    best = best < 0 || wait < best ? wait : best;
  }
  return best >= 0 && held > best ? held : best;
}

/* Fill in the seconds since the last change; what a freeze drags along is no history. */
static void remember (ub_limiter *l, int64_t now) {
  int64_t second = now / UB_SECOND_US;
  if (second - l->second > UB_LIMITER_HISTORY)
    l->second = second - UB_LIMITER_HISTORY;
  while (l->second < second)
    *history_at(l, ++l->second) = l->frozen ? l->held : l->limit;
}

static void smooth (ub_limiter *l, int64_t took) {
  double sample = took < MOST_TRIP_US ? (double)took : MOST_TRIP_US;
  if (l->trip_us < 0)
    l->trip_us = sample;
  else
    l->trip_us += (sample - l->trip_us) / SMOOTHING;
}

/* A round trip is over, and no drop was in it. */
static void next_trip (ub_limiter *l, int64_t now) {
  l->trip_at = now;
  l->grown = 0;
  if (++l->quiet >= QUIET_TRIPS) {
    l->quiet = 0;
    l->growth = fmin(2 * l->growth, l->limit / 2);
  }
}

/* Is there a number known to be too many? A call refused when alone shows none. */
static int has_edge (const ub_limiter *l) {
  return l->good < PATIENCE && l->edge >= 1;
}

/* How far the limit may grow: not over the edge before its time. */
static double top (const ub_limiter *l) {
  return has_edge(l) ? fmax(l->limit, l->edge) : l->config.max;
}

static void grow (ub_limiter *l, int64_t now) {
  double more;
  if (now - l->trip_at >= ub_limiter_trip(l))
    next_trip(l, now);
  remember(l, now);
  more = fmax(0, fmin(l->growth / l->limit, l->growth - l->grown));
  more = fmin(more, top(l) - l->limit);
  l->grown += more;
  l->limit += more;
}

/* In use: its calls prove something. */
static int in_use (const ub_limiter *l) {
  return 2 * slots(l)->now.used >= l->limit;
}

static void succeeded (ub_limiter *l, int64_t took, int64_t now) {
  smooth(l, took);
  if (l->frozen)
    return;
  l->good++;
  ub_throttle_pay(&l->throttle, l->config.throttle - 1);
  if (!l->config.gradient && in_use(l))
    grow(l, now);
}

int ub_limiter_started (ub_limiter *l, uint64_t ticket, int64_t took_us, int64_t now_us) {
  ub_slot *slot = ub_slots_find(slots(l), ticket);
  double limit, most = l->gradient.probe > 0 ? l->config.max : top(l);
  if (slot == NULL || slot->tag != 0)
    return 0;
  ub_slots_log(slots(l), slot);
  slot->tag = 1;
  if (!l->config.gradient || l->frozen)
    return 1;
  remember(l, now_us);
  limit = ub_gradient_sample(&l->gradient, l->limit, in_use(l),
                             (double)(took_us > 0 ? took_us : 0), ub_limiter_trip(l), now_us);
  l->limit = fmax(l->config.min, fmin(most, limit));
  return 1;
}

static void cut (ub_limiter *l, int64_t now) {
  double low = l->limit * l->config.ratio;
  if (has_edge(l) && l->missed > l->limit - low
      && now - l->cut_at < HARD_TRIPS * ub_limiter_trip(l))
    low = fmin(low, fmax(l->limit / 2, l->edge));
  remember(l, now);
  l->limit = fmax(low, l->config.min);
  ub_gradient_break(&l->gradient, now);
  l->cut_at = now;
  l->missed = 0;
}

/* One slot more rests, no shorter than those before it, though a clock may slip back. */
static void start_rest (ub_limiter *l, int64_t now) {
  int64_t last = l->resting > 0 ? *rest(l, l->resting - 1) : now;
  *rest(l, l->resting++) = now > last ? now : last;  /* there is room: in flight + resting <= max */
}

static void dropped (ub_limiter *l, int64_t issued, int64_t now) {
  double others = slots(l)->now.used - 1.0;  /* those the account may be holding */
  l->drops++;
  if (l->frozen)
    return;
  ub_throttle_pay(&l->throttle, -1);
  start_rest(l, now);
  l->edge = l->good < PATIENCE ? fmin(l->edge, others) : others;
  if (issued > l->cut_at && now - l->cut_at >= ub_limiter_trip(l))
    cut(l, now);
  else
    l->missed++;
  l->good = 0;
  slow_down(l);
}

int ub_limiter_report (ub_limiter *l, uint64_t ticket, ub_limiter_outcome outcome,
                       int64_t took_us, int64_t now_us) {
  ub_slot *slot = ub_slots_find(slots(l), ticket);
  int64_t issued;
  if (slot == NULL)
    return 0;
  issued = slot->issued_us;
  if (took_us < 0)
    took_us = now_us > issued ? now_us - issued : 0;
  if (outcome == UB_LIMITER_OK)
    succeeded(l, took_us, now_us);
  else if (outcome == UB_LIMITER_FAIL)
    dropped(l, issued, now_us);
  ub_slots_release(slots(l), slot);
  return 1;
}

int ub_limiter_freeze (ub_limiter *l, int64_t window_us, int64_t now_us) {
  int64_t second, oldest;
  if (l->frozen)
    return 0;
  remember(l, now_us);
  oldest = l->second - (UB_LIMITER_HISTORY - 1);
  window_us = window_us > 0 ? window_us : 0;
  second = (now_us - window_us) / UB_SECOND_US;
  second = second > oldest ? second : oldest;
  l->held = window_us == 0 ? l->limit : *history_at(l, second);
  while (second <= l->second)
    *history_at(l, second++) = l->held;
  l->resting = 0;
  l->missed = 0;
  l->frozen = 1;
  return 1;
}

int ub_limiter_restore (ub_limiter *l, int64_t now_us) {
  if (!l->frozen)
    return 0;
  remember(l, now_us);
  l->frozen = 0;
  l->limit = l->held;
  l->cut_at = l->ramp_at = now_us;
  ub_throttle_init(&l->throttle);
  ub_gradient_break(&l->gradient, now_us);
  slow_down(l);
  return 1;
}

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_limiter_size(config);
}

/* All but the ring of drops, of which an operation writes only what was not in use,
** and the slots, which have a log of their own. */
static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_limiter);
}

static void part_init (void *l, const void *config, int64_t now_us) {
  ub_limiter_init(l, config, now_us);
}

static void part_begin (void *l, uint32_t process) {
  ub_slots_log_begin(slots(l), process);
}

static void part_repair (void *l) {
  ub_slots_log_undo(slots(l));
}

static int part_release (void *l, uint32_t process) {
  ub_slot *slot = ub_slots_of(slots(l), process);
  if (slot == NULL)
    return 0;
  ub_slots_release(slots(l), slot);
  return 1;
}

const ub_part_type ub_limiter_part = {
  .kind = "limiter", .version = 2, .size = part_size, .head = part_head, .init = part_init,
  .begin = part_begin, .repair = part_repair, .release = part_release
};

/* }============================================================================ */
