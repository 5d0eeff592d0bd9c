/*
** breaker.h: stops calling a target that has stopped answering.
**
**              rate or row reached           open time over
**     CLOSED ----------------------> OPEN ------------------> HALF_OPEN <--+
**       ^ ^                            ^                        |   |      |
**       | |                            +---- probes failed -----+   |      |
**       | +------------------------------- probes went well --------+      |
**       +--- DISABLED, METRICS_ONLY                      FORCED_OPEN ------+
**              (if they were given a time, and it is over)
**
** METRICS_ONLY is CLOSED that never opens; DISABLED counts nothing. Nothing
** wakes up: a time that is over shows at the next call. Time that goes
** backwards stands still. Each entry into a state begins a generation; a
** ticket is good for its own: an answer that comes late moves nothing.
**
** HALF_OPEN lets 'permits' probes out; one not back after the open time makes
** room for another, and still counts once if it comes back. Decided by the
** rates over min(min_calls, permits) results: open as soon as these must reach
** a threshold, else closed when all are in.
*/
#ifndef UB_BREAKER_H
#define UB_BREAKER_H

#include "base/rand.h"
#include "base/region.h"
#include "base/slots.h"
#include "parts/window.h"

#define UB_BREAKER_FOREVER  INT64_MAX

typedef enum ub_breaker_state {
  UB_CLOSED, UB_OPEN, UB_HALF_OPEN, UB_FORCED_OPEN, UB_DISABLED, UB_METRICS_ONLY
} ub_breaker_state;

typedef enum ub_breaker_outcome {
  UB_BREAKER_OK, UB_BREAKER_FAIL,
  UB_BREAKER_NEUTRAL,     /* says nothing about the target */
  UB_BREAKER_BUSY         /* refused by a target that may only be full */
} ub_breaker_outcome;

typedef struct ub_breaker_config {
  ub_window_config window;
  uint64_t min_calls;     /* no rate is judged over fewer; 1 or more */
  double failure_rate;    /* opens at this share; above 0, to 1 */
  int64_t slow_us;        /* a call of this length is slow; FOREVER: none is */
  double slow_rate;       /* opens at this share; above 1: never */
  uint64_t consecutive;   /* opens after so many failures in a row; 0: never */
  int64_t open_us;        /* how long it stays open; up to 9e15 */
  double open_growth;     /* times this at each re-opening in a row; 1 or more */
  int64_t open_cap_us;    /* but no longer than this, which is no less */
  double open_jitter;     /* share of the open time that chance adds; 0 to 1 */
  uint32_t permits;       /* probes out at once; 1 to 'slots' */
  uint32_t slots;         /* calls under way told apart; to UB_SLOTS_MOST */
  uint64_t seed;
} ub_breaker_config;

typedef struct ub_breaker {
  ub_breaker_config config;
  ub_breaker_state state;
  uint32_t slots_at;      /* bytes from here to the slots */
  uint64_t generation;
  uint64_t fence;         /* sequence of the last ticket before it */
  int64_t latest_us;      /* the time now, as far as it has been seen */
  int64_t until_us;       /* when the state ends by itself, or FOREVER */
  int64_t cooling_us;     /* the open time as it has grown, chance apart */
  uint64_t row;           /* failures in a row */
  uint64_t out;           /* tickets of this generation under way */
  uint64_t loose, loose_back;  /* of them without a slot: given out, returned */
  uint64_t refused, opened;  /* calls; how often OPEN was entered */
  ub_tally trial;         /* results of this half-open time */
  ub_rand rand;           /* the window lies behind, then the slots */
} ub_breaker;

typedef struct ub_breaker_stats {
  ub_breaker_state state;
  ub_tally tally;         /* of the window; of the probes in HALF_OPEN */
  double failure_rate;    /* at most 1, however many cuts */
  uint64_t refused, opened;  /* since the start */
  uint64_t outstanding;   /* tickets of this generation under way */
} ub_breaker_stats;

size_t ub_breaker_size (const ub_breaker_config *config);
void ub_breaker_init (ub_breaker *b, const ub_breaker_config *config, int64_t now_us);

/*
** UB_OK: call, and give '*ticket' back through 'ub_breaker_report', once.
** UB_EOPEN: do not call. When all slots are taken (and it is not HALF_OPEN)
** the ticket has none: then a second report of it may count.
*/
int ub_breaker_allow (ub_breaker *b, int64_t now_us, uint64_t *ticket);

/*
** What became of the call, and how long it took (to the first token, for a
** stream; below 0: not known). BUSY is NEUTRAL when CLOSED while the window
** holds a success, or a call let in earlier, less than a window ago, is under
** way; else FAIL. 1: accepted; 0: unknown, returned, or of another generation.
*/
int ub_breaker_report (ub_breaker *b, uint64_t ticket, ub_breaker_outcome outcome,
                       int64_t took_us, int64_t now_us);

/* The cut of a stream whose ticket was reported before: one failure more, no call
   more. 1 when counted; 0 for a ticket still out or of another generation, and
   unless CLOSED or METRICS_ONLY. Call it once: a second cannot be seen. */
int ub_breaker_record (ub_breaker *b, uint64_t ticket, int64_t now_us);

/* Enter any state but HALF_OPEN, for 'for_us' (in OPEN chance comes on top), or
   below 0: OPEN for its own time, others without end. CLOSED forgets the window. */
void ub_breaker_force (ub_breaker *b, ub_breaker_state state, int64_t for_us, int64_t now_us);

/* What a call made now would find, and when next to try; nothing is written. A copy
   of the struct alone serves for the first, and unless HALF_OPEN for the second. */
ub_breaker_state ub_breaker_state_now (const ub_breaker *b, int64_t now_us);
int64_t ub_breaker_retry_after (const ub_breaker *b, int64_t now_us);
ub_breaker_stats ub_breaker_read (const ub_breaker *b, int64_t now_us);

/* In a region; a dead process's tickets come back NEUTRAL. */
extern const ub_part_type ub_breaker_part;

#endif
