/*
** lock.c: a robust process-shared mutex.
*/
#include "base/lock.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(ub_lock), "a mutex has to fit");

static pthread_mutex_t *mutex (ub_lock *l) {
  return (pthread_mutex_t *)(void *)l->room;
}

int ub_lock_init (ub_lock *l) {
  pthread_mutexattr_t how;
  int made = 0;
  if (pthread_mutexattr_init(&how) != 0)
    return 0;
  if (pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED) == 0
      && pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST) == 0)
    made = pthread_mutex_init(mutex(l), &how) == 0;
  pthread_mutexattr_destroy(&how);
  return made;
}

/* What an answer of pthread_mutex_lock(3) and its like comes to. */
static ub_locked taken (ub_lock *l, int answer) {
  switch (answer) {
    case 0: return UB_LOCK_TAKEN;
    case EOWNERDEAD:
      pthread_mutex_consistent(mutex(l));  /* else it could never be taken again */
      return UB_LOCK_ORPHANED;
    case EBUSY: case ETIMEDOUT: return UB_LOCK_BUSY;
    default: return UB_LOCK_BROKEN;
  }
}

ub_locked ub_lock_take (ub_lock *l) {
  return taken(l, pthread_mutex_lock(mutex(l)));
}

ub_locked ub_lock_try (ub_lock *l, int64_t most_us) {
  int64_t until = ub_clock_us() + most_us;
  struct timespec t = {.tv_sec = until / UB_SECOND_US,
                       .tv_nsec = until % UB_SECOND_US * 1000};
  return taken(l, pthread_mutex_clocklock(mutex(l), CLOCK_MONOTONIC, &t));
}

void ub_lock_give (ub_lock *l) {
  pthread_mutex_unlock(mutex(l));
}
