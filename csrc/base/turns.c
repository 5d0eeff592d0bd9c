/*
** turns.c: whose turn it is, where three priorities share one way.
*/
#include "base/turns.h"

static const int64_t length[UB_TURNS] = {1, 4, 16};  /* of a turn: one over its share */

static int64_t load (const int64_t *n) {
  return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}

static void store (int64_t *n, int64_t value) {
  __atomic_store_n(n, value, __ATOMIC_SEQ_CST);
}

void ub_turns_init (ub_turns *t) {
  uint32_t i;
  for (i = 0; i < UB_TURNS; i++)
    store(&t->tag[i], 0);
  store(&t->clock, 0);
}

void ub_turns_join (ub_turns *t, uint32_t priority) {
  int64_t clock = load(&t->clock);
  if (load(&t->tag[priority]) < clock)
    store(&t->tag[priority], clock);
}

/* Where the next turn of a priority would end. However long others alone could have turns while
   it waited, it has a claim to one at once, and not to more. */
static int64_t end_of (const ub_turns *t, uint32_t priority) {
  int64_t end = load(&t->tag[priority]) + length[priority], clock = load(&t->clock);
  return end > clock ? end : clock;
}

uint32_t ub_turns_next (const ub_turns *t, uint32_t mask) {
  uint32_t i, best = 0;
  int64_t least = INT64_MAX;
  for (i = 0; i < UB_TURNS; i++) {
    int64_t end = end_of(t, i);
    if ((mask >> i & 1) != 0 && end < least) {
      least = end;
      best = i;
    }
  }
  return best;
}

void ub_turns_take (ub_turns *t, uint32_t priority) {
  int64_t end = end_of(t, priority);
  store(&t->tag[priority], end);
  if (load(&t->clock) < end)
    store(&t->clock, end);
}
