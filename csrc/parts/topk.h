/*
** topk.h: which keys come most often, out of a stream that no table could hold.
**
**   block:  [ ub_topk | counters | heap | heads | keys ]
**
**   heads[hash] ──► counter ──► counter      the hash index: chains of counters
**                    │    ▲
**             place  ▼    │ counter
**                   heap[0] has the least count
**
** Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of
** frequent and top-k elements in data streams", ICDT 2005). A key that is
** listed is counted. One that is not takes over the counter of the least
** count: it gets that count, as it may have come so often before, plus its
** own; and the count taken over is its error. So always:
**
** - count - error <= the times it came <= count, for every listed key;
** - a key that came more than total / counters times is listed;
** - one that is not listed came at most 'least' times.
**
** The paper keeps the counters in a list of buckets, one for each count. Adding
** n at once would have to walk that list; here a heap has the least count on
** top, and an addition sinks by at most log2(counters) steps. A frequent key's
** counter lies low in the heap already and seldom moves.
**
** Whole keys are told apart. What is longer than 'key_bytes' is known by those
** first bytes, its whole length and two seeded 64-bit hashes of all of it: keys
** that share their beginning (prompts do) are counted apart.
**
** Counts end at 2^53, which a double holds exactly: what comes then changes
** nothing. Indices, no pointers: the block may lie anywhere.
*/
#ifndef UB_TOPK_H
#define UB_TOPK_H

#include "base/region.h"

#define UB_TOPK_MOST      (1u << 20)             /* counters */
#define UB_TOPK_MOST_KEY  (1u << 20)             /* bytes kept of a key */
#define UB_TOPK_END       ((uint64_t)1 << 53)    /* where counts end */

typedef struct ub_topk_config {
  uint32_t counters;   /* 1 to UB_TOPK_MOST */
  uint32_t key_bytes;  /* 1 to UB_TOPK_MOST_KEY */
  uint64_t seed;       /* of the hashes; nothing else depends on it */
} ub_topk_config;

typedef struct ub_topk {
  ub_topk_config config;
  uint64_t seeds[2];  /* of a key's two hashes */
  uint64_t total;     /* all that was added */
  uint64_t arrivals;  /* counters taken so far, by keys that were not listed */
  uint32_t used;      /* counters that have a key */
  uint32_t mask;      /* chains of the index, a power of two, less one */
} ub_topk;

/* A listed key. Its bytes stay where they are until the next 'add' or 'clear'. */
typedef struct ub_topk_entry {
  const char *key;
  size_t length;
  int cut;  /* 1: 'key' is only the beginning, up to a whole UTF-8 character */
  uint64_t count, error;
} ub_topk_entry;

/* The whole block; it never grows. Pages that no key came to are not touched. */
size_t ub_topk_size (const ub_topk_config *config);

void ub_topk_init (ub_topk *t, const ub_topk_config *config);

/* Forget all keys; the seeds stay. */
void ub_topk_clear (ub_topk *t);

/* The key came 'n' times; 1 to UB_TOPK_END. */
void ub_topk_add (ub_topk *t, const void *key, size_t length, uint64_t n);

/* How often a key that is not listed may have come. */
uint64_t ub_topk_least (const ub_topk *t);

/*
** The counters of the 'n' greatest counts to 'out', greatest first, and how
** many they are (n, or 'used' if that is less). Of equal counts the smaller
** error stands first, then the key that has been listed longer.
*/
uint32_t ub_topk_top (const ub_topk *t, uint32_t *out, uint32_t n);

/* What a counter that 'ub_topk_top' gave stands for. */
ub_topk_entry ub_topk_get (const ub_topk *t, uint32_t counter);

/* In a region; what a process died at clears it. */
extern const ub_part_type ub_topk_part;

#endif
