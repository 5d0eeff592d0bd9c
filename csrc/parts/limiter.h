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
** congestion avoidance", 1989). What is different here, more in limiter.c:
**
** - A round trip is the smoothed duration of the calls that went well, held
**   within 10 ms and 10 s; 100 ms until there was one. Of all drops in one
**   round trip only the first cuts, and none of a call that started before
**   the last cut: it speaks of a limit that is gone.
**
** Whatever the limit, it is throttled (throttle.h). Of the kind 'gradient' the
** limit grows by the time to the first token (gradient.h); drops cut it as ever.
** Key it by account and model. With min = max it is fixed; drops still rest.
*/
#ifndef UB_LIMITER_H
#define UB_LIMITER_H

#include "base/region.h"
#include "parts/gradient.h"
#include "parts/throttle.h"

#define UB_LIMITER_MOST 0xfffe  /* slots; see slots.h */
#define UB_LIMITER_HISTORY 64   /* seconds of the limit that are remembered */

typedef enum ub_limiter_outcome {
  UB_LIMITER_OK, UB_LIMITER_FAIL, UB_LIMITER_NEUTRAL
} ub_limiter_outcome;

typedef struct ub_limiter_config {
  uint32_t min, max;  /* bounds of the limit; 1 to UB_LIMITER_MOST */
  double initial;     /* the limit at the start; min to max */
  double ratio;       /* what a cut leaves of it; above 0, under 1 */
  double throttle;    /* calls sent for each let in; 1 or more, or 0: any number */
  uint64_t gradient;  /* 1: by the time to the first token */
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
  ub_gradient gradient;
  ub_throttle throttle;
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
** The call's answer has begun, so long after it was sent: its first token. Moves a
** limit of the kind 'gradient'. 1, or 0 for a ticket that is not out, or has begun.
*/
int ub_limiter_started (ub_limiter *l, uint64_t ticket, int64_t took_us, int64_t now_us);

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

/* The limit in force, the ramp included; calls in flight; slots that rest. */
double ub_limiter_limit (const ub_limiter *l, int64_t now_us);
uint32_t ub_limiter_in_flight (const ub_limiter *l);
uint32_t ub_limiter_resting (ub_limiter *l, int64_t now_us);
/* The round trip in use; has a call gone well? */
int64_t ub_limiter_trip (const ub_limiter *l);
int ub_limiter_answered (const ub_limiter *l);

/* Microseconds until time alone makes room (0: now); -1: only a report can. */
int64_t ub_limiter_retry_after (ub_limiter *l, int64_t now_us);

/* In a region; a dead process's calls come back NEUTRAL. */
extern const ub_part_type ub_limiter_part;

#endif
