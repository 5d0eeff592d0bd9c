/*
** limiter.h: how many calls an account takes at once, found by trying.
**
**   allow ──► in flight ──ok──► free             limit:  × ratio at a drop, once
**               │  │                                     a round trip; grows by
**               │  └──neutral──► free                    'growth' a round trip
**               └──fail (a drop)──► resting ──one round trip──► free
**
**   a call may start while  in flight + resting + 1 <= limit
**
** The account says "too many" (429, 503) at once, so drops are the signal, as
** in TCP (Chiu, Jain: "Analysis of the increase and decrease algorithms for
** congestion avoidance", 1989). What is different here, each with its reason:
**
** - A round trip is the smoothed duration of the calls that went well, held
**   within 10 ms and 10 s; 100 ms until there was one. Of all drops in one
**   round trip only the first cuts, and none of a call that started before
**   the last cut: it speaks of a limit that is gone.
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
**
** Key it by account and model. With min = max it is fixed; drops still rest.
*/
#ifndef UB_LIMITER_H
#define UB_LIMITER_H

#include "base/region.h"

#define UB_LIMITER_MOST 0xfffe  /* slots; see slots.h */
#define UB_LIMITER_HISTORY 64   /* seconds of the limit that are remembered */

typedef enum ub_limiter_outcome {
  UB_LIMITER_OK, UB_LIMITER_FAIL, UB_LIMITER_NEUTRAL
} ub_limiter_outcome;

typedef struct ub_limiter_config {
  uint32_t min, max;  /* bounds of the limit; 1 to UB_LIMITER_MOST */
  double initial;     /* the limit at the start; min to max */
  double ratio;       /* what a cut leaves of it; above 0, under 1 */
} ub_limiter_config;

typedef struct ub_limiter {
  ub_limiter_config config;
  double limit;             /* min to max; the ramp apart */
  double growth, grown;     /* slots to gain in this round trip, and gained */
  double trip_us;           /* smoothed; -1: no call went well yet */
  int64_t trip_at;          /* start of the round trip that growth counts */
  double edge;              /* calls in flight beside one too many */
  int64_t good, missed;     /* successes since a drop; drops since the cut */
  int64_t quiet;            /* round trips since the last drop or doubling */
  int64_t cut_at, ramp_at;  /* last cut; last restore */
  int64_t frozen;           /* 1: the limit stands still */
  double held;              /* when frozen: the limit to go back to */
  int64_t second;           /* the last second that 'history' knows */
  double history[UB_LIMITER_HISTORY];  /* limit at second s, at s mod 64 */
  uint64_t drops, refused;
  uint32_t resting, oldest;  /* length and head of the ring 'dropped' */
  int64_t dropped_us[];      /* max times of drops; behind it the slots */
} ub_limiter;

size_t ub_limiter_size (const ub_limiter_config *config);
void ub_limiter_init (ub_limiter *l, const ub_limiter_config *config, int64_t now_us);

/*
** Ask to call. On UB_OK '*ticket' must go back through 'ub_limiter_report'
** once, at the call's end. UB_EFULL means: not now.
*/
int ub_limiter_allow (ub_limiter *l, uint64_t *ticket, int64_t now_us);

/*
** The call is over. 'took_us' is its duration (of a stream: to the first
** answer byte); below 0: as long as the ticket was out. 1, or 0 for a ticket
** that is not out; then nothing changes.
*/
int ub_limiter_report (ub_limiter *l, uint64_t ticket, ub_limiter_outcome outcome,
                       int64_t took_us, int64_t now_us);

/*
** The breaker opened. The limit stands still, rests end and no new ones
** begin (the breaker spaces the probes now). The limit of 'window_us' ago
** (to the second, at most 63 s) is kept to go back to, and what came after
** it is struck from history, so that a flapping breaker wears nothing down.
** 1, or 0 when it is frozen already: then nothing changes.
*/
int ub_limiter_freeze (ub_limiter *l, int64_t window_us, int64_t now_us);

/*
** The breaker closed. The limit is the kept one, of which 10, 25, 50 and then
** 100 % are in force for 2 s each, but never under 'min'. Calls from before do
** not cut it. 1, or 0 when it is not frozen: then nothing changes.
*/
int ub_limiter_restore (ub_limiter *l, int64_t now_us);

/* The limit in force, the ramp included. */
double ub_limiter_limit (const ub_limiter *l, int64_t now_us);

/* Calls in flight; slots that rest; the round trip in use. */
uint32_t ub_limiter_in_flight (const ub_limiter *l);
uint32_t ub_limiter_resting (ub_limiter *l, int64_t now_us);
int64_t ub_limiter_trip (const ub_limiter *l);

/* Microseconds until time alone makes room (0: now); -1: only a report can. */
int64_t ub_limiter_retry_after (ub_limiter *l, int64_t now_us);

/* In a region; a dead process's calls come back NEUTRAL. */
extern const ub_part_type ub_limiter_part;

#endif
