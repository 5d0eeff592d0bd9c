/*
** clock.h: the clocks. Parts never read them: time is handed to them.
**
** All times inside the core are microseconds in an int64_t: fine enough for
** a local server, wide enough for 292,000 years, and below 2^53 (what a
** double of LuaJIT holds exactly) for 285 years.
*/
#ifndef UB_CLOCK_H
#define UB_CLOCK_H

#include <stdint.h>

#define UB_SECOND_US 1000000

/* Sums of times that may be anybody's, as in memory that was damaged: none overflows. */
static inline int64_t ub_time_plus (int64_t a, int64_t b) {
  int64_t sum;
  if (!__builtin_add_overflow(a, b, &sum))
    return sum;
  return b > 0 ? INT64_MAX : INT64_MIN;
}

static inline int64_t ub_time_minus (int64_t a, int64_t b) {
  int64_t difference;
  if (!__builtin_sub_overflow(a, b, &difference))
    return difference;
  return b < 0 ? INT64_MAX : INT64_MIN;
}

/* Monotonic time: never set, never jumps; its zero means nothing. */
int64_t ub_clock_us (void);

/* Wall time since 1970-01-01 00:00 UTC; an operator may set it back. */
int64_t ub_clock_wall_us (void);

/* What the calling thread has had of a processor; a system call. */
int64_t ub_clock_used_us (void);

#endif
