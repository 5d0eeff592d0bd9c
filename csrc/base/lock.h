/*
** lock.h: a lock in shared memory that outlives whoever holds it.
**
** A robust process-shared mutex: when its owner dies, the kernel tells the
** next one that takes it, who then has to look after what the dead one left.
** An owner that is only stopped (SIGSTOP, a debugger) is waited for.
*/
#ifndef UB_LOCK_H
#define UB_LOCK_H

#include <stdint.h>

typedef struct ub_lock {
  uint64_t room[8];  /* what the system's mutex needs, and more */
} ub_lock;

typedef enum ub_locked {
  UB_LOCK_TAKEN,
  UB_LOCK_ORPHANED,  /* taken; but its last owner died while it held it */
  UB_LOCK_BUSY,      /* not taken within the time */
  UB_LOCK_BROKEN     /* not taken, and never will be: the memory is no lock */
} ub_locked;

/* 0 when the system has no such locks. */
int ub_lock_init (ub_lock *l);

ub_locked ub_lock_take (ub_lock *l);

/* As above, but waits no longer than 'most_us' microseconds. */
ub_locked ub_lock_try (ub_lock *l, int64_t most_us);

void ub_lock_give (ub_lock *l);

#endif
