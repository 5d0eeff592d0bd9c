/*
** slots.h: tickets for what is under way, each good for one return.
**
** A table of slots without pointers, so that it may lie in any memory. A
** ticket is a slot and a sequence number in one integer under 2^53:
**
**     52          16 15       0
**    +--------------+----------+      number 0 is never given out;
**    |   sequence   |   slot   |      slot 0xffff: the table was full
**    +--------------+----------+
**
** A ticket that comes back twice, late or from nowhere does not match its
** slot's sequence and is seen. Slots under way form a list in the order of
** their issue, oldest first.
**
** In shared memory each slot knows the process that owns it, and the table keeps
** a log of what one operation changes, so that it can be undone when its
** process died in the middle: 'ub_slots_log_begin' before the operation, and
** 'ub_slots_log_undo' after the death. Without a first begin nothing is logged.
*/
#ifndef UB_SLOTS_H
#define UB_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#define UB_SLOTS_MOST  0xfffe
#define UB_SLOT_NONE   0xffff
#define UB_SLOTS_LOG   8  /* slots that one operation may change */

typedef struct ub_slot {
  uint64_t sequence;    /* 0: free */
  int64_t issued_us;    /* when the ticket was given out */
  uint64_t tag;         /* the owner's own mark (a generation, a kind) */
  uint16_t next, prev;  /* neighbours in the order of issue, or free list */
  uint32_t owner;       /* process that issued it; 0: not told */
} ub_slot;

typedef struct ub_slots_head {
  uint64_t sequence;      /* of the ticket issued last */
  uint32_t used;          /* tickets under way */
  uint16_t oldest, newest, free;
} ub_slots_head;

typedef struct ub_slots {
  uint32_t count;         /* slots in the table */
  uint32_t owner;         /* the process at work, which issues tickets and returns them */
  ub_slots_head now;
  ub_slots_head before;   /* as it was when the log began */
  uint32_t logging;
  uint32_t logged;        /* of 'old' */
  uint32_t which[UB_SLOTS_LOG];
  ub_slot old[UB_SLOTS_LOG];
  ub_slot slot[];
} ub_slots;

/* Bytes for a table of 'count' slots (1 to UB_SLOTS_MOST). */
size_t ub_slots_size (uint32_t count);

void ub_slots_init (ub_slots *s, uint32_t count);

/* A new ticket, or 0 when every slot is taken. */
uint64_t ub_slots_issue (ub_slots *s, int64_t now_us, uint64_t tag);

/* The slot of a ticket under way that the process at work owns, or NULL for any other number. (A
   child has copies of its parent's tickets; they come back by the parent.) */
ub_slot *ub_slots_find (ub_slots *s, uint64_t ticket);

/* Is this ticket under way, whoever owns it? */
int ub_slots_has (const ub_slots *s, uint64_t ticket);

/* Take back a slot that 'ub_slots_find' gave. */
void ub_slots_release (ub_slots *s, ub_slot *slot);

/* The oldest ticket's slot, or NULL; and the one issued after 'slot'. */
ub_slot *ub_slots_oldest (ub_slots *s);
ub_slot *ub_slots_after (ub_slots *s, const ub_slot *slot);

/* The oldest ticket's slot that a process owns, or NULL. */
ub_slot *ub_slots_of (ub_slots *s, uint32_t owner);

/*
** An operation begins, of the process 'owner': issue and release are logged
** from here on. Whoever writes to a slot himself logs it before.
*/
void ub_slots_log_begin (ub_slots *s, uint32_t owner);
void ub_slots_log (ub_slots *s, const ub_slot *slot);

/* The table as it was at the last begin; may be done again, from any point. */
void ub_slots_log_undo (ub_slots *s);

#endif
