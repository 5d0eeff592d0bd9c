/*
** clock.c: monotonic and wall time from the system.
*/
#include "base/clock.h"

#include <time.h>

static int64_t read_us (clockid_t which) {
  struct timespec t;
  clock_gettime(which, &t);  /* cannot fail for the clocks used here */
  return (int64_t)t.tv_sec * UB_SECOND_US + t.tv_nsec / 1000;
}

int64_t ub_clock_us (void) {
  return read_us(CLOCK_MONOTONIC);
}

int64_t ub_clock_wall_us (void) {
  return read_us(CLOCK_REALTIME);
}

int64_t ub_clock_used_us (void) {
  return read_us(CLOCK_THREAD_CPUTIME_ID);
}
