/*
** rand.h: a small seeded generator, for jitter and random choices.
**
** SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
** generators", OOPSLA 2014): one word of state, every seed is good. Not for
** secrets. State belongs to whoever draws, so that two users never share a
** sequence and a seed repeats a run.
*/
#ifndef UB_RAND_H
#define UB_RAND_H

#include <stdint.h>

typedef struct ub_rand {
  uint64_t state;
} ub_rand;

/* A seed of the system's own entropy. */
uint64_t ub_rand_seed (void);

void ub_rand_init (ub_rand *r, uint64_t seed);

uint64_t ub_rand_next (ub_rand *r);

/* A number x with 0 <= x < 1, of 53 random bits. */
double ub_rand_unit (ub_rand *r);

#endif
