/*
** process_set.h: sets of process slots, changed by many processes at once.
**
** Adding and removing are single operations, so a process that dies leaves the
** set as it was or as it was to be. Slot 0 stands for a process without a slot.
*/
#ifndef UB_PROCESS_SET_H
#define UB_PROCESS_SET_H

#include <stdint.h>

#define UB_PROCESSES  512  /* slots, the 0 included */
#define UB_SET_WORDS  (UB_PROCESSES / 64)

typedef struct ub_process_set {
  uint64_t word[UB_SET_WORDS];
} ub_process_set;

static inline void ub_set_add (ub_process_set *s, uint32_t i) {
  __atomic_or_fetch(&s->word[i / 64], (uint64_t)1 << i % 64, __ATOMIC_SEQ_CST);
}

static inline void ub_set_remove (ub_process_set *s, uint32_t i) {
  __atomic_and_fetch(&s->word[i / 64], ~((uint64_t)1 << i % 64), __ATOMIC_SEQ_CST);
}

static inline uint64_t ub_set_word (const ub_process_set *s, uint32_t i) {
  return __atomic_load_n(&s->word[i / 64], __ATOMIC_SEQ_CST);
}

static inline int ub_set_has (const ub_process_set *s, uint32_t i) {
  return (ub_set_word(s, i) >> i % 64 & 1) != 0;
}

static inline int ub_set_empty (const ub_process_set *s) {
  uint64_t any = 0;
  uint32_t i;
  for (i = 0; i < UB_PROCESSES; i += 64)
    any |= ub_set_word(s, i);
  return any == 0;
}

/* The first member above 'i', or 0. */
static inline uint32_t ub_set_next (const ub_process_set *s, uint32_t i) {
  for (i++; i < UB_PROCESSES; i = (i / 64 + 1) * 64) {
    uint64_t rest = ub_set_word(s, i) >> i % 64;
    if (rest != 0)
      return i + (uint32_t)__builtin_ctzll(rest);
  }
  return 0;
}

#endif
