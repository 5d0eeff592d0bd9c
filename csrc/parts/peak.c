/*
** peak.c: a smoothed time that believes the worse at once.
*/
#include "parts/peak.h"

#include <math.h>

#include "base/clock.h"

#define FAIL_LEAST_US  (1.0 * UB_SECOND_US)  /* what a failure counts at least */
#define FAIL_MOST_US   (60.0 * UB_SECOND_US) /* where doubling ends */
#define LONG_AGO       (INT64_MIN / 2)

void ub_peak_init (ub_peak *p) {
  p->us = UB_PEAK_NONE;
  p->at = p->fail_at = LONG_AGO;
}

double ub_peak_left (const ub_peak *p, int64_t decay_us, int64_t now_us) {
  double since = (double)now_us - (double)p->at;
  return since > 0 ? exp(-since / (double)decay_us) : 1;
}

void ub_peak_sample (ub_peak *p, double us, int64_t decay_us, int64_t now_us) {
  if (us < p->us)
    us += (p->us - us) * ub_peak_left(p, decay_us, now_us);
  p->us = us;
  p->at = now_us;
}

void ub_peak_raise (ub_peak *p, double us, int64_t now_us) {
  if (us <= p->us)
    return;
  p->us = us;
  p->at = now_us;
}

double ub_peak_failure (ub_peak *p, double us, int64_t issued_us, int64_t now_us) {
  double least = fmax(p->us, FAIL_LEAST_US);
  if (issued_us > p->fail_at || now_us < p->fail_at) {  /* a clock set back forgives nothing */
    least = fmax(least, fmin(2 * p->us, FAIL_MOST_US));
    p->fail_at = now_us;
  }
  return fmax(us, least);
}
