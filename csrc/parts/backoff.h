/*
** backoff.h: how long to wait before the n-th retry.
**
**   kind          delay before retry n = 1, 2, …          (b base, f factor)
**   exponential   min(b f^(n-1), cap), and up to 'jitter' of it on top
**   full          random in [0, min(b f^(n-1), cap)]
**   equal         half of min(b f^(n-1), cap), and up to as much on top
**   decorrelated  min(cap, random in [b, 3 × the delay before])
**   constant      b, and up to 'jitter' of it on top
**   linear        min(n b, cap), and up to 'jitter' of it on top
**
** The random kinds are those of M. Brooker, "Exponential Backoff And Jitter"
** (AWS Architecture Blog, 2015). Each object draws from a generator of its
** own: shared jitter would let clients retry in step.
*/
#ifndef UB_BACKOFF_H
#define UB_BACKOFF_H

#include <stdint.h>

#include "base/rand.h"

typedef enum ub_backoff_kind {
  UB_BACKOFF_EXPONENTIAL,
  UB_BACKOFF_FULL,
  UB_BACKOFF_EQUAL,
  UB_BACKOFF_DECORRELATED,
  UB_BACKOFF_CONSTANT,
  UB_BACKOFF_LINEAR
} ub_backoff_kind;

typedef struct ub_backoff_config {
  ub_backoff_kind kind;
  double base;    /* seconds; finite, 0 or more */
  double factor;  /* growth per retry; 1 or more */
  double cap;     /* seconds; the most, jitter apart; 'base' or more */
  double jitter;  /* share of the delay that chance may add; 0 to 1 */
  uint64_t seed;
} ub_backoff_config;

typedef struct ub_backoff {
  ub_backoff_config config;
  ub_rand rand;
} ub_backoff;

void ub_backoff_init (ub_backoff *b, const ub_backoff_config *config);

/*
** Seconds to wait before retry 'n' (below 1 counts as 1); 'previous' is the
** delay before this one, of which only 'decorrelated' takes note (0: none).
** Always finite and never negative, however large 'n' is.
*/
double ub_backoff_delay (ub_backoff *b, int64_t n, double previous);

#endif
