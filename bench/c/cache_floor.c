/*
** cache_floor.c: what a hit costs in plain C, printed as nanoseconds.
**
** The least that any cache must do: hash the key (XXH3), look it up, compare
** the whole key, mark the entry as used last, copy the value out. No times,
** no limits, no Lua. Looked up in turn, each time under a key that lies elsewhere
** than the stored one: 20,000 at most, spread over all entries.
**
**   cache_floor [entries [key bytes [value bytes]]]    1000, 1024, 2048
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"

#define GETS     100000  /* of a turn */
#define TURNS    7
#define MOST_ASKED  20000
#define MOST_VALUE  65536

typedef struct entry {
  uint64_t hash;
  struct entry *chain, *newer, *older;
  char bytes[];  /* key, then value */
} entry;

static size_t count = 1000, key_bytes = 1024, value_bytes = 2048;
static size_t buckets = 1, asked_count;
static char *memory, *asked;
static entry used;  /* the ring of use */
static entry **bucket;

static entry *entry_at (size_t i) {
  size_t size = (sizeof(entry) + key_bytes + value_bytes + 63) / 64 * 64;
  return (entry *)(void *)(memory + i * size);
}

static void *allocate (size_t size) {
  void *block = aligned_alloc(64, (size + 63) / 64 * 64);
  if (block == NULL)
    exit(1);
  memset(block, 0, size);
  return block;
}

static void use (entry *e) {
  e->newer->older = e->older;
  e->older->newer = e->newer;
  e->older = used.older;
  e->newer = &used;
  used.older->newer = e;
  used.older = e;
}

static void add (size_t i) {
  entry *e = entry_at(i), **b;
  memset(e->bytes, 'k', key_bytes);
  memset(e->bytes + key_bytes, 'v', value_bytes);
  memcpy(e->bytes + key_bytes / 2, &i, sizeof i);
  e->hash = ub_hash(e->bytes, key_bytes, 1);
  b = &bucket[e->hash % buckets];
  e->chain = *b;
  *b = e;
  e->newer = e->older = e;
  use(e);
}

static void build (void) {
  size_t i, size = (sizeof(entry) + key_bytes + value_bytes + 63) / 64 * 64;
  while (buckets < count)
    buckets *= 2;
  asked_count = count < MOST_ASKED ? count : MOST_ASKED;
  memory = allocate(count * size);
  bucket = allocate(buckets * sizeof *bucket);
  asked = allocate(asked_count * key_bytes);
  used.newer = used.older = &used;
  for (i = 0; i < count; i++)
    add(i);
  for (i = 0; i < asked_count; i++)
    memcpy(asked + i * key_bytes, entry_at(i * 7919 % count)->bytes, key_bytes);
}

static int get (const char *key, char *out) {
  uint64_t hash = ub_hash(key, key_bytes, 1);
  entry *e = bucket[hash % buckets];
  while (e != NULL && (e->hash != hash || memcmp(e->bytes, key, key_bytes) != 0))
    e = e->chain;
  if (e == NULL)
    return 0;
  use(e);
  memcpy(out, e->bytes + key_bytes, value_bytes);
  return 1;
}

static double turn (void) {
  struct timespec from, to;
  static char out[MOST_VALUE];
  int i, found = 0;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
  for (i = 0; i < GETS; i++) {
    found += get(asked + i % asked_count * key_bytes, out);
    __asm__ volatile("" : : "r"(out) : "memory");  /* the copy is wanted */
  }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
  if (found != GETS)
    exit(1);
  return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / GETS;
}

int main (int argc, char **argv) {
  double best = 1e18;
  int i;
  count = argc > 1 ? strtoul(argv[1], NULL, 10) : count;
  key_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : key_bytes;
  value_bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : value_bytes;
  if (count == 0 || key_bytes < 2 * sizeof count || value_bytes > MOST_VALUE)
    return 1;
  build();
  for (i = 0; i < TURNS; i++) {
    double ns = turn();
    best = ns < best ? ns : best;
  }
  printf("%.1f\n", best);
  return 0;
}
