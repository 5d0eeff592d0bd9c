/*
** rand.c: SplitMix64.
*/
#include "base/rand.h"

#include <sys/random.h>

#include "base/clock.h"

uint64_t ub_rand_seed (void) {
  uint64_t seed;
  if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
    seed = (uint64_t)ub_clock_us() ^ (uint64_t)ub_clock_wall_us() << 20;
  return seed;
}

void ub_rand_init (ub_rand *r, uint64_t seed) {
  r->state = seed;
}

uint64_t ub_rand_next (ub_rand *r) {
  uint64_t z = r->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

double ub_rand_unit (ub_rand *r) {
  return (double)(ub_rand_next(r) >> 11) * 0x1p-53;
}
