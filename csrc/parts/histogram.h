/*
** histogram.h: durations in buckets, for quantiles that are at most 1/128 off.
**
**   0 s     2^-20 s (about 1 µs)                       2^18 s (about 3 days)
**   │ below │ 64 buckets │ 64 buckets │ …  38 octaves … │ beyond
**           └── octave ──┘
**
** Log-linear, as HdrHistogram (G. Tene) and "DDSketch" (Masson, Rim, Lee, VLDB
** 2019) have it: every power of two of a second is cut into 64 buckets of one
** width. A value's bucket is read off the bits of the double: its exponent and
** the first six bits of its fraction. A quantile is given as the middle of its
** bucket, so it is off by at most half the bucket's width:
**
** - within the octaves, by at most 1/128 (0.78 %) of the true value;
** - below them, by less than 2^-20 s;
** - beyond them the greatest value stands for all.
**
** Whatever the buckets say, a quantile lies within min and max, which are
** exact, as the count is; the sum is as exact as doubles add. A histogram
** holds 2^53 values. The size is fixed and nothing is a pointer; two
** histograms become one by adding bucket to bucket.
*/
#ifndef UB_HISTOGRAM_H
#define UB_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define UB_HISTOGRAM_OCTAVES 38
#define UB_HISTOGRAM_STEPS   64  /* buckets of an octave */
#define UB_HISTOGRAM_BUCKETS (UB_HISTOGRAM_OCTAVES * UB_HISTOGRAM_STEPS + 2)
#define UB_HISTOGRAM_MOST    ((uint64_t)1 << 53)  /* values */

typedef struct ub_histogram {
  uint64_t count;
  double sum;       /* in seconds, as are min and max */
  double min, max;  /* 0 when it is empty */
  uint64_t buckets[UB_HISTOGRAM_BUCKETS];
} ub_histogram;

/* An empty one; this is also how to clear it. */
void ub_histogram_init (ub_histogram *h);

/*
** Count a finite value. A negative one counts as 0: a clock may slip back.
** UB_OK, or UB_EFULL with nothing changed.
*/
int ub_histogram_record (ub_histogram *h, double seconds);

/*
** Add all values of 'other', which may be 'h' itself and stays as it is.
** UB_OK, or UB_EFULL with nothing changed: together they are too many.
*/
int ub_histogram_merge (ub_histogram *h, const ub_histogram *other);

/*
** The value that a share 'q' (0 to 1) of all values does not pass: the one at
** place ceil(q × count) of the sorted list. 0 gives min, 1 gives max. The
** histogram must not be empty.
*/
double ub_histogram_quantile (const ub_histogram *h, double q);

#endif
