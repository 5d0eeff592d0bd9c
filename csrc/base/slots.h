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
*/
#ifndef UB_SLOTS_H
#define UB_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#define UB_SLOTS_MOST  0xfffe
#define UB_SLOT_NONE   0xffff

typedef struct ub_slot {
  uint64_t sequence;    /* 0: free */
  int64_t issued_us;    /* when the ticket was given out */
  uint64_t tag;         /* the owner's own mark (a generation, a kind) */
  uint16_t next, prev;  /* neighbours in the order of issue, or free list */
} ub_slot;

typedef struct ub_slots {
  uint64_t sequence;      /* of the ticket issued last */
  uint32_t count;         /* slots in the table */
  uint32_t used;          /* tickets under way */
  uint16_t oldest, newest, free;
  ub_slot slot[];
} ub_slots;

/* Bytes for a table of 'count' slots (1 to UB_SLOTS_MOST). */
size_t ub_slots_size (uint32_t count);

void ub_slots_init (ub_slots *s, uint32_t count);

/* A new ticket, or 0 when every slot is taken. */
uint64_t ub_slots_issue (ub_slots *s, int64_t now_us, uint64_t tag);

/* The slot of a ticket under way, or NULL for any other number. */
ub_slot *ub_slots_find (ub_slots *s, uint64_t ticket);

/* Take back a slot that 'ub_slots_find' gave. */
void ub_slots_release (ub_slots *s, ub_slot *slot);

/* The oldest ticket's slot, or NULL; and the one issued after 'slot'. */
ub_slot *ub_slots_oldest (ub_slots *s);
ub_slot *ub_slots_after (ub_slots *s, const ub_slot *slot);

#endif
