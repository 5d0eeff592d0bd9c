/*
** histogram.c: durations in log-linear buckets.
*/
#include "parts/histogram.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/err.h"

#define STEPS          UB_HISTOGRAM_STEPS
#define STEP_BITS      6     /* STEPS is 2^6 */
#define FRACTION_BITS  52    /* of a double (IEEE 754) */
#define EXPONENT_BIAS  1023
#define FIRST_EXPONENT (-20)
#define BEYOND         (UB_HISTOGRAM_BUCKETS - 1)

void ub_histogram_init (ub_histogram *h) {
  memset(h, 0, sizeof *h);
}

/* Sign, exponent and the first bits of the fraction, as one number; value > 0. */
static uint64_t leading_bits (double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits >> (FRACTION_BITS - STEP_BITS);
}

static uint32_t bucket_of (double seconds) {
  const uint64_t first = (uint64_t)(EXPONENT_BIAS + FIRST_EXPONENT) << STEP_BITS;
  uint64_t bits = leading_bits(seconds);
  if (bits < first)
    return 0;
  return bits - first < BEYOND - 1 ? (uint32_t)(bits - first) + 1 : BEYOND;
}

/* The middle of a bucket; of the last one, which has no end, the greatest value. */
static double middle (const ub_histogram *h, uint32_t bucket) {
  uint32_t octave = (bucket - 1) / STEPS, step = (bucket - 1) % STEPS;
  if (bucket == 0)
    return ldexp(0.5, FIRST_EXPONENT);
  if (bucket == BEYOND)
    return h->max;
  return ldexp(1 + (step + 0.5) / STEPS, FIRST_EXPONENT + (int)octave);
}

/* A sum that stays finite. */
static double plus (double sum, double more) {
  return fmin(sum + more, DBL_MAX);
}

static void widen (ub_histogram *h, double min, double max) {
  h->min = h->count > 0 ? fmin(h->min, min) : min;
  h->max = fmax(h->max, max);
}

int ub_histogram_record (ub_histogram *h, double seconds) {
  double value = seconds > 0 ? seconds : 0;
  if (h->count >= UB_HISTOGRAM_MOST)
    return UB_EFULL;
  widen(h, value, value);
  h->count++;
  h->sum = plus(h->sum, value);
  h->buckets[bucket_of(value)]++;
  return UB_OK;
}

int ub_histogram_merge (ub_histogram *h, const ub_histogram *other) {
  uint32_t i;
  if (other->count > UB_HISTOGRAM_MOST - h->count)
    return UB_EFULL;
  if (other->count == 0)
    return UB_OK;
  widen(h, other->min, other->max);
  h->count += other->count;
  h->sum = plus(h->sum, other->sum);
  for (i = 0; i < UB_HISTOGRAM_BUCKETS; i++)
    h->buckets[i] += other->buckets[i];
  return UB_OK;
}

/* The place of a quantile in the sorted list, from 1; a hair of rounding adds none. */
static uint64_t place_of (const ub_histogram *h, double q) {
  double place = ceil(q * (double)h->count * (1 - 2 * DBL_EPSILON));
  if (place <= 1) return 1;
  return place < (double)h->count ? (uint64_t)place : h->count;
}

double ub_histogram_quantile (const ub_histogram *h, double q) {
  uint64_t place = place_of(h, q), passed = h->buckets[0];
  uint32_t bucket = 0;
  if (place == 1) return h->min;
  if (place == h->count) return h->max;
  while (passed < place)
    passed += h->buckets[++bucket];
  return fmin(fmax(middle(h, bucket), h->min), h->max);
}
