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
  s->count = count;
  s->owner = s->logging = s->logged = 0;
  s->now = (ub_slots_head){.oldest = UB_SLOT_NONE, .newest = UB_SLOT_NONE};
  for (i = 0; i < count; i++) {
    s->slot[i] = (ub_slot){0};
    s->slot[i].next = (uint16_t)(i + 1 < count ? i + 1 : UB_SLOT_NONE);
    s->slot[i].prev = UB_SLOT_NONE;
  }
}

static uint16_t index_of (const ub_slots *s, const ub_slot *slot) {
  return (uint16_t)(slot - s->slot);
}

/* {== The log ================================================================ */

/* Keep the compiler from moving a store across: a process may die between the two. */
#define in_order() __asm__ volatile ("" ::: "memory")

/* Slot 'i' (UB_SLOT_NONE: none) is going to change. */
static void log_at (ub_slots *s, uint16_t i) {
  if (!s->logging || i == UB_SLOT_NONE || s->logged >= UB_SLOTS_LOG)
    return;
  s->which[s->logged] = i;
  s->old[s->logged] = s->slot[i];
  in_order();
  s->logged++;
  in_order();
}

void ub_slots_log (ub_slots *s, const ub_slot *slot) {
  log_at(s, index_of(s, slot));
}

void ub_slots_log_begin (ub_slots *s, uint32_t owner) {
  s->logged = 0;
  s->logging = 1;
  s->owner = owner;
  s->before = s->now;
}

void ub_slots_log_undo (ub_slots *s) {
  uint32_t i;
  for (i = s->logged; i > 0; i--)  /* the first copy of a slot is the true one */
    s->slot[s->which[i - 1]] = s->old[i - 1];
  s->now = s->before;
}

/* }============================================================================ */

uint64_t ub_slots_issue (ub_slots *s, int64_t now_us, uint64_t tag) {
  uint16_t i = s->now.free;
  ub_slot *slot = &s->slot[i];
  if (i == UB_SLOT_NONE)
    return 0;
  log_at(s, i);
  log_at(s, s->now.newest);
  s->now.free = slot->next;
  if (++s->now.sequence >> SEQUENCE_BITS != 0)
    s->now.sequence = 1;
  slot->sequence = s->now.sequence;
  slot->issued_us = now_us;
  slot->tag = tag;
  slot->owner = s->owner;
  slot->next = UB_SLOT_NONE;
  slot->prev = s->now.newest;
  if (s->now.newest != UB_SLOT_NONE)
    s->slot[s->now.newest].next = i;
  else
    s->now.oldest = i;
  s->now.newest = i;
  s->now.used++;
  return slot->sequence << 16 | i;
}

int ub_slots_has (const ub_slots *s, uint64_t ticket) {
  uint32_t i = ticket & 0xffff;
  return ticket >> 16 != 0 && i < s->count && s->slot[i].sequence == ticket >> 16;
}

ub_slot *ub_slots_find (ub_slots *s, uint64_t ticket) {
  ub_slot *slot;
  if (!ub_slots_has(s, ticket))
    return NULL;
  slot = &s->slot[ticket & 0xffff];
  return slot->owner == s->owner ? slot : NULL;
}

void ub_slots_release (ub_slots *s, ub_slot *slot) {
  uint16_t i = index_of(s, slot);
  log_at(s, i);
  log_at(s, slot->prev);
  log_at(s, slot->next);
  if (slot->prev != UB_SLOT_NONE)
    s->slot[slot->prev].next = slot->next;
  else
    s->now.oldest = slot->next;
  if (slot->next != UB_SLOT_NONE)
    s->slot[slot->next].prev = slot->prev;
  else
    s->now.newest = slot->prev;
  slot->sequence = 0;
  slot->next = s->now.free;
  slot->prev = UB_SLOT_NONE;
  s->now.free = i;
  s->now.used--;
}

ub_slot *ub_slots_oldest (ub_slots *s) {
  return s->now.oldest == UB_SLOT_NONE ? NULL : &s->slot[s->now.oldest];
}

ub_slot *ub_slots_after (ub_slots *s, const ub_slot *slot) {
  return slot->next == UB_SLOT_NONE ? NULL : &s->slot[slot->next];
}

ub_slot *ub_slots_of (ub_slots *s, uint32_t owner) {
  ub_slot *slot = ub_slots_oldest(s);
  while (slot != NULL && slot->owner != owner)
    slot = ub_slots_after(s, slot);
  return slot;
}
