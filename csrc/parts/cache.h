/*
** cache.h: answers kept under their questions; what is asked for seldom goes.
**
**   set ──► fresh ──ttl──► stale ──'stale_us' more──► gone
**             get: value     get: value, marked         get: a miss
**
**   header | counts of reads | buckets | entries | ghosts | marks | chunks
**                                 └─ chain ─►│ ─► key, value, tags (chunks.h)
**
** One block without pointers, for memory that processes share. What was never
** needed is never touched.
**
** - The limits are exact, on entries and on bytes of keys, values and tags.
** - A key is found by a seeded hash of 64 bits and then compared whole.
** - Who goes for room is decided by S3-FIFO (cache_queues.c).
** - An entry that is gone is taken out by whoever comes across it (and counts as
**   expired), and takes its room until then.
** - Time may slip back: an age is never below 0. By wall time, what was stored
**   in the future (by a second and more) is stale.
** - One process changes it at a time, others may read meanwhile (cache_read.h): each
**   entry has a sequence, odd while it is none, which they look at before and after.
** - A writer may die at any instruction: an entry becomes whole by one store, and
**   ends by one, and out of the whole ones all the rest is made anew (cache_mend.c).
*/
#ifndef UB_CACHE_H
#define UB_CACHE_H

#include "base/region.h"

#define UB_CACHE_END           UINT32_MAX         /* of 'ub_cache_purge' */
#define UB_CACHE_MOST_ENTRIES  0x1000000          /* 2^24 */
#define UB_CACHE_MOST_BYTES    INT64_C(0x10000000000)  /* 1 TiB */
#define UB_CACHE_MOST_TAGS     16                 /* of an entry, of 255 bytes each */

typedef struct ub_cache_config {
  uint64_t bytes;    /* of keys, values and tags; 1 to UB_CACHE_MOST_BYTES */
  uint64_t seed;     /* of the hash */
  int64_t ttl_us;    /* how long an entry is fresh when 'set' does not say */
  int64_t stale_us;  /* how long it may still be had after that; 0 and more */
  uint32_t entries;  /* 1 to UB_CACHE_MOST_ENTRIES */
  uint32_t wall;     /* the times are wall time: it may be read after a reboot */
} ub_cache_config;

/* Keys of different spaces never meet, whatever their bytes. */
typedef struct ub_cache_key {
  const char *bytes;
  size_t length;
  uint32_t space;
} ub_cache_key;

typedef struct ub_cache_value {
  const char *bytes, *tags;
  size_t length;
  uint32_t tags_length;  /* each tag behind its length in a byte */
} ub_cache_value;

typedef enum ub_cache_state { UB_CACHE_MISS, UB_CACHE_FRESH, UB_CACHE_STALE,
                              UB_CACHE_UNSURE } ub_cache_state;

/* What was found. */
typedef struct ub_cache_found {
  uint64_t changes;  /* the cache's count at that time ('find') */
  uint32_t entry;
  ub_cache_state state;
  size_t length;     /* of the value */
  int64_t age_us;
  size_t key_length, tags_length;  /* only of 'next', as the rest */
  uint32_t space;
  int64_t left_us;   /* how long it is still fresh; below 0: no more */
} ub_cache_found;

typedef struct ub_cache ub_cache;

/* Bytes of the block for this configuration. */
size_t ub_cache_size (const ub_cache_config *config);

void ub_cache_init (ub_cache *c, const ub_cache_config *config);

/* For one at a time; what others may do meanwhile stands in cache_read.h. */

/*
** Look a key up. A miss is counted; what is found waits for 'ub_cache_use'.
** Until entries come or go, 'found' is good for the three below.
*/
ub_cache_state ub_cache_find (ub_cache *c, const ub_cache_key *key, int64_t now_us,
                              ub_cache_found *found);

/* The value, when it lies in one piece (else NULL), while 'ub_cache_use' is still 1. */
const char *ub_cache_whole (ub_cache *c, const ub_cache_found *found);

/* Copy the value ('found->length' bytes). 1, or 0 when entries came or went. */
int ub_cache_copy (ub_cache *c, const ub_cache_found *found, char *out);

/* The value was handed out: count it. 1, or 0 when entries came or went. */
int ub_cache_use (ub_cache *c, const ub_cache_found *found);

/*
** Keep a value of that age (0: a new one) in place of what was under that key, but
** of what is younger and no staler. Room is made at the cost of others. 'ttl_us'
** below 0: the configured one. UB_OK, or UB_EFULL when it is more than 'bytes'
** alone; then nothing changes, and what was there stays.
*/
int ub_cache_set (ub_cache *c, const ub_cache_key *key, const ub_cache_value *value,
                  int64_t ttl_us, int64_t age_us, int64_t now_us);

/* 1, or 0 when there was nothing to be had under that key. */
int ub_cache_delete (ub_cache *c, const ub_cache_key *key, int64_t now_us);

/*
** Take out what has that tag, looking at a bounded number of entries from
** '*cursor' (0 at first), which is moved on; UB_CACHE_END: that was all. Gives how
** many there were to be had.
*/
uint32_t ub_cache_purge (ub_cache *c, const char *tag, size_t length, uint32_t *cursor,
                         int64_t now_us);

/* Forget all entries; counts go on. */
void ub_cache_clear (ub_cache *c);

#endif
