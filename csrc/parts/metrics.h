/*
** metrics.h: series of numbers in which many processes count at once, without a lock.
**
**   block:   [ ub_metrics | index | records ....... | free ]
**   record:  [ hash, kind, lengths | name{label="value",…} | cells ]
**
** A series is made under the part's lock, where it is missing, and stays where it
** is: it never moves and never ends. So whoever has found it once counts in it by
** single atomic operations in no order (relaxed), and whoever reads sees each cell
** as it is at some moment. A process that dies between two cells of a histogram has
** counted a value in a bucket and not in the sum; 'count' is the sum of the buckets.
**
** A level (what is going on just now) has cells that processes take, each its own:
** [ process + 1 | value ], written by one store. What a dead process has left there
** is taken back. Of more processes than cells at a time, some are not told of.
**
** The room has a bound: a series for which there is none is refused, and whoever
** counts has one ready in which the rest goes together.
*/
#ifndef UB_METRICS_H
#define UB_METRICS_H

#include "base/region.h"

#define UB_METRICS_LEAST  (16u * 1024)
#define UB_METRICS_MOST   (1u << 30)
#define UB_METRICS_KEY    1024  /* bytes of a name with its labels, at most; at least 1 */
#define UB_METRICS_BOUNDS 24    /* bounds of buckets that a kind may have, at most */
#define UB_METRICS_SHARED 64    /* cells of a level that processes share */

typedef enum ub_metrics_kind {
  UB_COUNTER,    /* a sum that never falls */
  UB_LEVEL,      /* what each process has just now (whole, under 2^32); their sum */
  UB_SECONDS,    /* histograms: durations up to ten minutes */
  UB_MOMENTS,    /* durations of our own work, from 10 microseconds on */
  UB_TOKENS,     /* tokens of a call */
  UB_SIZES,      /* how many go together */
  UB_METRICS_KINDS
} ub_metrics_kind;

typedef struct ub_metrics_config {
  uint32_t bytes;      /* for records: UB_METRICS_LEAST to UB_METRICS_MOST */
  uint32_t processes;  /* cells of a level; 1: no other process counts, nor another thread */
  uint64_t seed;       /* of the hash */
  int64_t began_us;    /* since 1970: when counting began */
} ub_metrics_config;

typedef struct ub_metrics {
  ub_metrics_config config;
  uint32_t mask;     /* places of the index, a power of two, less one */
  uint32_t used;     /* bytes of the records; written last, by which a series is there */
  uint32_t series;
  uint32_t refused;  /* series for which there was no room */
  uint64_t stamp;    /* of this part, and of none that was made before in its place */
} ub_metrics;

/* A series that was found, in a part of that stamp. */
typedef struct ub_metric {
  uint32_t cells_at;     /* 0: none */
  ub_metrics_kind kind;
} ub_metric;

/* A series as it is read: 'name_length' of the key's bytes are its name. */
typedef struct ub_metric_view {
  const char *key;
  size_t length, name_length;
  ub_metrics_kind kind;
  int quiet;                     /* nothing to be told of as long as nothing is in it */
  double sum;                    /* of a counter and a level the value */
  uint64_t count;                /* of a histogram */
  uint64_t buckets[UB_METRICS_BOUNDS + 1];  /* the last: beyond all bounds */
} ub_metric_view;

typedef struct ub_metric_key {
  const char *bytes;
  size_t length, name_length;
} ub_metric_key;

/* The upper bounds of a histogram's buckets, and how many; 0 for another kind. */
uint32_t ub_metrics_bounds (ub_metrics_kind kind, const double **bounds);

size_t ub_metrics_size (const ub_metrics_config *config);
void ub_metrics_init (ub_metrics *m, const ub_metrics_config *config);

/*
** The series of that key, made where it is missing: UB_OK; UB_EFULL without room;
** UB_EINVALID where one of another kind has its key. 'quiet' is for a new one.
*/
int ub_metrics_open (ub_metrics *m, ub_metrics_kind kind, const ub_metric_key *key, int quiet,
                     ub_metric *found);

/*
** Count: add to a counter, count in a histogram, or set the level of 'process'. No
** lock is needed. What is not finite, or below 0, is left out, and so is all for a
** 'which' of none. The part must have the stamp that it had when this was found.
*/
void ub_metrics_note (ub_metrics *m, const ub_metric *which, uint32_t process, double value);

/*
** The first series of that name from 'at' on (0: from the first series) is read,
** without a lock: where to go on; 0 where there is none. Another 'at' than 0 and what
** this gave, for this part, is seen, and there is none.
*/
uint32_t ub_metrics_read (const ub_metrics *m, uint32_t at, const char *name, size_t length,
                          ub_metric_view *view);

/* In a region: levels of processes that have died go. */
extern const ub_part_type ub_metrics_part;

#endif
