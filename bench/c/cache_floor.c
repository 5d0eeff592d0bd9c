/*
** cache_floor.c: what a hit costs in plain C, printed as nanoseconds.
**
** The least that any cache must do: hash the key (XXH3), look it up, compare
** the whole key, mark the entry as used last, copy the value out. No times,
** no limits, no Lua. Keys of 1 KB, values of 2 KB, 1000 entries, looked up in
** turn, each time under a key that lies elsewhere than the stored one.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"

#define ENTRIES  1000
#define BUCKETS  1024
#define KEY      1024
#define VALUE    2048
#define ROUNDS   200
#define TURNS    15

typedef struct entry {
  uint64_t hash;
  struct entry *chain, *newer, *older;
  char key[KEY], value[VALUE];
} entry;

static entry entries[ENTRIES], used;  /* 'used' is the ring of use */
static entry *bucket[BUCKETS];
static char asked[ENTRIES][KEY];

static void use (entry *e) {
  e->newer->older = e->older;
  e->older->newer = e->newer;
  e->older = used.older;
  e->newer = &used;
  used.older->newer = e;
  used.older = e;
}

static void build (void) {
  int i;
  used.newer = used.older = &used;
  for (i = 0; i < ENTRIES; i++) {
    entry *e = &entries[i], **b;
    memset(e->key, 'k', KEY);
    memset(e->value, 'v', VALUE);
    memcpy(e->key + KEY / 2, &i, sizeof i);
    memcpy(e->value + VALUE / 2, &i, sizeof i);
    memcpy(asked[i], e->key, KEY);
    e->hash = ub_hash(e->key, KEY, 1);
    b = &bucket[e->hash % BUCKETS];
    e->chain = *b;
    *b = e;
    e->newer = e->older = e;
    use(e);
  }
}

static int get (const char *key, char *out) {
  uint64_t hash = ub_hash(key, KEY, 1);
  entry *e = bucket[hash % BUCKETS];
  while (e != NULL && (e->hash != hash || memcmp(e->key, key, KEY) != 0))
    e = e->chain;
  if (e == NULL)
    return 0;
  use(e);
  memcpy(out, e->value, VALUE);
  return 1;
}

static double turn (void) {
  struct timespec from, to;
  char out[VALUE];
  int i, round, found = 0;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
  for (round = 0; round < ROUNDS; round++)
    for (i = 0; i < ENTRIES; i++) {
      found += get(asked[i], out);
      __asm__ volatile("" : : "r"(out) : "memory");  /* the copy is wanted */
    }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
  if (found != ROUNDS * ENTRIES)
    exit(1);
  return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec))
         / (ROUNDS * ENTRIES);
}

int main (void) {
  double best = 1e18;
  int i;
  build();
  for (i = 0; i < TURNS; i++) {
    double ns = turn();
    best = ns < best ? ns : best;
  }
  printf("%.1f\n", best);
  return 0;
}
