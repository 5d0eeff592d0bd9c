/*
** cache_inner.h: what the files of the cache share: its block. Not for others.
**
**   queue S   new entries, a small part of all ──► asked for meanwhile: to M,
**                                                  else out; the ghosts know it
**   queue M   the others ──► asked for meanwhile: to its front again, else out
**
** What is read without the lock is read and written by atomic operations.
*/
#ifndef UB_CACHE_INNER_H
#define UB_CACHE_INNER_H

#include "parts/cache_read.h"
#include "parts/chunks.h"

#define NONE     UINT32_MAX
#define READERS  512       /* that count reads apart: no lock, no shared cache line */
#define SPARE    1         /* entry more than may be kept: for one in place of another */
#define MOST_HITS  3       /* of an entry, that count */

enum { QUEUE_S, QUEUE_M, QUEUES };

typedef struct entry {
  uint64_t sequence;            /* odd: free, or at work; even: whole */
  uint64_t hash;
  uint64_t key_length, value_length;
  int64_t stored_us, stale_us;  /* when stored; when no longer fresh */
  uint32_t first;               /* of its chunks */
  uint32_t space;
  uint32_t chain;               /* next in the bucket, or in the free list */
  uint32_t hits;                /* since it came to its place, at most MOST_HITS */
  /* the second cache line: seldom of interest to who reads */
  uint64_t stamp;               /* grows: the order within the queue */
  uint64_t check;               /* of all that is kept of it */
  uint64_t tag_bits;            /* a bit for each tag, by its hash */
  uint32_t tags_length;
  uint32_t queue;
  uint32_t newer, older;        /* neighbours in it */
  uint64_t spare[3];
} entry;

_Static_assert(sizeof(entry) == 128, "two cache lines");

/* Evicted of late: known by its hash. */
typedef struct ghost {
  uint64_t hash;
  uint32_t chain;
  uint32_t queue;               /* that it was put out of; QUEUES: no ghost any more */
} ghost;

typedef struct fifo {
  uint64_t bytes;
  uint32_t count;
  uint32_t newest, oldest;
  uint32_t spare;
} fifo;

typedef struct reads {
  uint64_t count[3];            /* by ub_cache_state */
  uint64_t spare[5];
} reads;

struct ub_cache {
  /* The head, kept twice in a region. */
  ub_cache_config config;
  uint64_t config_check;        /* of what never changes in it */
  ub_cache_stats stats;         /* but for the reads */
  uint64_t changes;             /* how often an entry came or went */
  uint64_t stamp;               /* the last one given */
  uint64_t ghosts;              /* ghosts that there ever were */
  uint64_t entries_at, ghosts_at, haunts_at, marks_at, chunks_at;  /* from this header */
  uint32_t mask;                /* buckets - 1 */
  uint32_t free;                /* first of the entries given back */
  uint32_t share;               /* of all room that S may have, in 65536ths */
  uint32_t unused;
  fifo queue[QUEUES];
  /* Not kept twice. */
  uint64_t epoch;               /* odd: being built anew */
  uint32_t high;                /* entries that were ever in use */
  uint32_t more;
  reads reads[READERS + 1];     /* the last: of who has the lock */
  uint32_t bucket[];
};

#define HEAD_BYTES offsetof(ub_cache, epoch)

#define load(at)          __atomic_load_n(at, __ATOMIC_RELAXED)
#define load_first(at)    __atomic_load_n(at, __ATOMIC_ACQUIRE)
#define store(at, value)  __atomic_store_n(at, value, __ATOMIC_RELAXED)
#define store_last(at, value)  __atomic_store_n(at, value, __ATOMIC_RELEASE)

static inline entry *entry_at (const ub_cache *c, uint32_t i) {
  return (entry *)(void *)((char *)c + c->entries_at) + i;
}

static inline ub_chunks *chunks (const ub_cache *c) {
  return (ub_chunks *)(void *)((char *)c + c->chunks_at);
}

static inline uint64_t bytes_of (const entry *e) {
  return e->key_length + e->value_length + e->tags_length;
}

static inline int is_whole (uint64_t sequence) {
  return (sequence & 1) == 0;
}

#endif
