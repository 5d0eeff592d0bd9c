/*
** processes.h: the processes of a region wake each other.
**
** Each has a datagram socket when it wants to be woken, and says of each
** priority how many of its callers wait for a place and since when the oldest
** does. Whoever gives a place back wakes the process whose turn it is: of the
** priority that is next (turns.h, one account of turns for all processes), the
** one whose oldest waiter waits longest, of those with more waiters than wake-ups
** on their way. A woken process that has no use for the place has to wake the
** next one. When a process dies that held something, all that wait are woken.
*/
#ifndef UB_PROCESSES_H
#define UB_PROCESSES_H

#include "base/region.h"
#include "base/turns.h"

/*
** This process's socket, made when it is first asked for: readable once
** somebody has woken us. Or -1, with UB_EFULL (every slot is taken) or UB_ENOMEM.
*/
int ub_region_wake_fd (ub_region *r, int *err);

/* Read the socket empty. Gives 1 when somebody had woken us. */
int ub_region_drain (ub_region *r);

/* So many of this process's callers of a priority wait; the oldest since 'since_us'. */
void ub_region_waiting (ub_region *r, uint32_t priority, uint32_t count, int64_t since_us);

/* Callers that wait, of all processes. */
uint32_t ub_region_waiters (ub_region *r);

/* Is it the turn of another process's caller, before those of ours that wait? */
int ub_region_yields (ub_region *r);

/* The account of turns. */
ub_turns *ub_region_turns (ub_region *r);

/* Wake one other process. Gives 0 when none waits, which costs next to nothing. */
int ub_region_wake (ub_region *r);

/* Wake that process, if it wants to be told of anything. */
void ub_region_tell (ub_region *r, uint32_t process);

/* Does the process with this slot live? */
int ub_region_lives (ub_region *r, uint32_t process);

#endif
