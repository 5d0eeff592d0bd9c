/*
** throttle.h: no more calls than a few for each that is let in.
**
**   drop ──── - 1 ────┐
**                  [ 0 ..... credit ..... 100 ]     used up: one call a second
**   success ─ + K-1 ──┘
**
** "Client-side throttling" (Site Reliability Engineering, 2016, ch. 21: requests
** beyond K times the accepted ones are refused by chance, over two minutes, with
** K = 2). There a call that is held back has failed; here it waits, so a credit
** that knows no time does, and says when the next call may start. The sum is the
** same: where less than one call in K is let in, K are sent for each one, and one
** a second more.
*/
#ifndef UB_THROTTLE_H
#define UB_THROTTLE_H

#include <stdint.h>

typedef struct ub_throttle {
  double credit;    /* 0 to 100 */
  int64_t next_at;  /* without it: when the next call may start */
} ub_throttle;

void ub_throttle_init (ub_throttle *t);

/* Microseconds until a call may start; 0: now. */
int64_t ub_throttle_wait (const ub_throttle *t, int64_t now_us);

/* A call starts. */
void ub_throttle_start (ub_throttle *t, int64_t now_us);

/* It was let in, or dropped. 'ratio' is K. */
void ub_throttle_report (ub_throttle *t, double ratio, int dropped);

#endif
