/*
** throttle.c: no more calls than a few for each that is let in.
*/
#include "parts/throttle.h"

#include <math.h>

#include "base/clock.h"

#define CREDIT   100
#define NEXT_US  UB_SECOND_US  /* without credit, from one call to the next */

void ub_throttle_init (ub_throttle *t) {
  t->credit = CREDIT;
  t->next_at = INT64_MIN / 2;
}

int64_t ub_throttle_wait (const ub_throttle *t, int64_t now_us) {
  return t->credit >= 1 || now_us >= t->next_at ? 0 : t->next_at - now_us;
}

void ub_throttle_start (ub_throttle *t, int64_t now_us) {
  if (t->credit < 1)
    t->next_at = now_us + NEXT_US;
}

void ub_throttle_report (ub_throttle *t, double ratio, int dropped) {
  t->credit = fmax(0, fmin(CREDIT, t->credit + (dropped ? -1 : ratio - 1)));
}
