/*
** peak.h: a smoothed time that believes the worse at once (peak-EWMA).
**
** As in Finagle and Linkerd: a higher sample is taken at once, a lower one
** draws it down, by more the longer ago the last sample was:
**
**   us = max(sample, sample + (us - sample) × e^(-since/decay))
**
** A quick failure must not look like a quick server, or a broken one draws
** all calls ("sinkholing", Site Reliability Engineering, ch. 20). A failure
** counts as the time it took, but as twice 'us' at least, and never under
** 1 s; doubling ends at 60 s. Of calls that were out together only the first
** failure doubles: the others speak of the same trouble.
*/
#ifndef UB_PEAK_H
#define UB_PEAK_H

#include <stdint.h>

#define UB_PEAK_NONE  (-1.0)  /* no sample yet */

typedef struct ub_peak {
  double us;        /* or UB_PEAK_NONE */
  int64_t at;       /* when the last sample came */
  int64_t fail_at;  /* when a failure last doubled it */
} ub_peak;

void ub_peak_init (ub_peak *p);

/* What is left of 1 since the last sample: e^(-since/decay). */
double ub_peak_left (const ub_peak *p, int64_t decay_us, int64_t now_us);

void ub_peak_sample (ub_peak *p, double us, int64_t decay_us, int64_t now_us);

/* At least so much: a lower one changes nothing. */
void ub_peak_raise (ub_peak *p, double us, int64_t now_us);

/* What the failure of a call issued then counts as; to be sampled. */
double ub_peak_failure (ub_peak *p, double us, int64_t issued_us, int64_t now_us);

#endif
