/*
** slots.c: a table of tickets under way.
*/
#include "base/slots.h"

#define SEQUENCE_BITS 37  /* and 16 for the slot make a number under 2^53 */

size_t ub_slots_size (uint32_t count) {
  return sizeof(ub_slots) + count * sizeof(ub_slot);
}

void ub_slots_init (ub_slots *s, uint32_t count) {
  uint32_t i;
  s->sequence = 0;
  s->count = count;
  s->used = 0;
  s->oldest = s->newest = UB_SLOT_NONE;
  s->free = 0;
  for (i = 0; i < count; i++) {
    s->slot[i] = (ub_slot){0};
    s->slot[i].next = (uint16_t)(i + 1 < count ? i + 1 : UB_SLOT_NONE);
    s->slot[i].prev = UB_SLOT_NONE;
  }
}

static uint16_t index_of (const ub_slots *s, const ub_slot *slot) {
  return (uint16_t)(slot - s->slot);
}

uint64_t ub_slots_issue (ub_slots *s, int64_t now_us, uint64_t tag) {
  uint16_t i = s->free;
  ub_slot *slot = &s->slot[i];
  if (i == UB_SLOT_NONE)
    return 0;
  s->free = slot->next;
  if (++s->sequence >> SEQUENCE_BITS != 0)
    s->sequence = 1;
  slot->sequence = s->sequence;
  slot->issued_us = now_us;
  slot->tag = tag;
  slot->next = UB_SLOT_NONE;
  slot->prev = s->newest;
  if (s->newest != UB_SLOT_NONE)
    s->slot[s->newest].next = i;
  else
    s->oldest = i;
  s->newest = i;
  s->used++;
  return slot->sequence << 16 | i;
}

ub_slot *ub_slots_find (ub_slots *s, uint64_t ticket) {
  uint32_t i = ticket & 0xffff;
  if (ticket >> 16 == 0 || i >= s->count)
    return NULL;
  return s->slot[i].sequence == ticket >> 16 ? &s->slot[i] : NULL;
}

void ub_slots_release (ub_slots *s, ub_slot *slot) {
  uint16_t i = index_of(s, slot);
  if (slot->prev != UB_SLOT_NONE)
    s->slot[slot->prev].next = slot->next;
  else
    s->oldest = slot->next;
  if (slot->next != UB_SLOT_NONE)
    s->slot[slot->next].prev = slot->prev;
  else
    s->newest = slot->prev;
  slot->sequence = 0;
  slot->next = s->free;
  slot->prev = UB_SLOT_NONE;
  s->free = i;
  s->used--;
}

ub_slot *ub_slots_oldest (ub_slots *s) {
  return s->oldest == UB_SLOT_NONE ? NULL : &s->slot[s->oldest];
}

ub_slot *ub_slots_after (ub_slots *s, const ub_slot *slot) {
  return slot->next == UB_SLOT_NONE ? NULL : &s->slot[slot->next];
}
