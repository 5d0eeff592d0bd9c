/*
** counters.h: named numbers: sums, sums over a window of time, and peaks.
**
**   block:  [ ub_counters | log | heads | counters ]
**           heads[hash] ──► counter ──► counter      the index: chains of counters
**
** A sum over a window slides: of two fixed windows, this one and the one before,
** the older counts for the share of it that the sliding one still covers.
**
**     before          now
**   |---------------|-------->|        estimate = before × (1 - share) + now,
**             |===============|        share: how far this window has got
**
** So a burst at a window's border is not let through twice, and a counter takes two
** numbers however much it counts. (Sharma: "How we built rate limiting capable of
** scaling to millions of domains", 2017, measured 0.003 % of requests misjudged.)
**
** The table has a bound. When it is full, a new name takes the place of the one
** that was not asked for the longest. A name is kept whole.
*/
#ifndef UB_COUNTERS_H
#define UB_COUNTERS_H

#include "base/region.h"

#define UB_COUNTERS_MOST  (1u << 20)
#define UB_COUNTERS_NAME  128  /* bytes of a name, at most; at least 1 */

typedef struct ub_counters_config {
  uint32_t counters;  /* 1 to UB_COUNTERS_MOST */
  uint64_t seed;      /* of the hash */
} ub_counters_config;

typedef struct ub_counters {
  ub_counters_config config;
  uint32_t used;
  uint32_t mask;       /* chains of the index, a power of two, less one */
  uint32_t high;       /* counters that were ever in use */
  uint32_t free;       /* first of those given back */
  uint32_t newest, oldest;  /* ends of the list of use */
  int64_t latest_us;   /* time never goes back here */
  uint64_t evicted;    /* names put out for others */
} ub_counters;

typedef struct ub_counter_name {
  const char *bytes;
  size_t length;
} ub_counter_name;

size_t ub_counters_size (const ub_counters_config *config);
void ub_counters_init (ub_counters *c, const ub_counters_config *config);

/*
** Add to the sum (0 at first), over the last 'window_us', or for ever (0): the sum
** now. What was kept under that name in another way, or over another window,
** begins anew.
*/
double ub_counters_add (ub_counters *c, ub_counter_name name, double n, int64_t window_us,
                        int64_t now_us);

/*
** Add 'n' to the sum over the window if there is room for it, and for one at least, below
** 'most': 0. Or nothing, and the microseconds until there is room when nobody adds anything.
*/
int64_t ub_counters_take (ub_counters *c, ub_counter_name name, double n, double most,
                          int64_t window_us, int64_t now_us);

/* The higher of 'value' and what was kept: kept for 'ttl_us' from now, if it is 'value'. */
double ub_counters_peak (ub_counters *c, ub_counter_name name, double value, int64_t ttl_us,
                         int64_t now_us);

/* The sum or peak now; 0 for a name that is not there. */
double ub_counters_get (ub_counters *c, ub_counter_name name, int64_t now_us);

/* Forget a name: was it there? */
int ub_counters_delete (ub_counters *c, ub_counter_name name);

/* The i-th counter (0 to counters - 1), or a name without bytes when nothing is there. */
ub_counter_name ub_counters_at (const ub_counters *c, uint32_t i, int64_t now_us,
                                double *value);

/* In a region; counters belong to no process. */
extern const ub_part_type ub_counters_part;

#endif
