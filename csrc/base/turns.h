/*
** turns.h: whose turn it is, where three priorities share one way.
**
**     interactive  16 of 21 turns     A priority that waits alone has all of them.
**     normal        4                 One that waits beside others has its share,
**     batch         1                 so nobody waits for ever.
**
** Fair queueing with its own clock (Golestani: "A self-clocked fair queueing
** scheme for broadband applications", INFOCOM 1994): every turn ends at a tag,
** as far behind the last one of its priority as that one's share is small; the
** lowest tag is next, and is the clock. Who has not waited gains no claim by that:
** its tag begins at the clock.
**
** Between two turns of 'batch' there are at most 16 of 'interactive' and 4 of
** 'normal'. All is done by single stores, without a lock: in a region, two
** processes at once may let one turn too many pass, and a process that dies
** leaves no harm.
*/
#ifndef UB_TURNS_H
#define UB_TURNS_H

#include <stdint.h>

#define UB_TURNS  3  /* priorities, the most urgent first: 0, 1, 2 */

typedef struct ub_turns {
  int64_t tag[UB_TURNS];  /* end of the priority's last turn */
  int64_t clock;          /* end of the last turn of all */
} ub_turns;

void ub_turns_init (ub_turns *t);

/* Somebody of this priority waits, and nobody did before. */
void ub_turns_join (ub_turns *t, uint32_t priority);

/* Whose turn is it, of the priorities in 'mask' (bit 0: priority 0; not 0)? */
uint32_t ub_turns_next (const ub_turns *t, uint32_t mask);

/* One of this priority has had a turn. */
void ub_turns_take (ub_turns *t, uint32_t priority);

#endif
