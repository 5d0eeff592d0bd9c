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

#include "base/clock.h"

#define UB_THROTTLE_CREDIT  100
#define UB_THROTTLE_NEXT    UB_SECOND_US  /* without credit, from one call to the next */

typedef struct ub_throttle {
  double credit;    /* 0 to UB_THROTTLE_CREDIT */
  int64_t next_at;  /* without it: when the next call may start */
} ub_throttle;

static inline void ub_throttle_init (ub_throttle *t) {
  t->credit = UB_THROTTLE_CREDIT;
  t->next_at = INT64_MIN / 2;
}

/* Microseconds until a call may start; 0: now. */
static inline int64_t ub_throttle_wait (const ub_throttle *t, int64_t now_us) {
  return t->credit >= 1 || now_us >= t->next_at ? 0 : t->next_at - now_us;
}

/* A call starts. */
static inline void ub_throttle_start (ub_throttle *t, int64_t now_us) {
  if (t->credit < 1)
    t->next_at = now_us + UB_THROTTLE_NEXT;
}

/* It was let in ('credit' is K - 1), or dropped (-1). */
static inline void ub_throttle_pay (ub_throttle *t, double credit) {
  credit += t->credit;
  t->credit = credit < 0 ? 0 : credit < UB_THROTTLE_CREDIT ? credit : UB_THROTTLE_CREDIT;
}

#endif
