/*
** cache.h: answers kept under their questions, the least recently used out
** first.
**
**   set ──► fresh ──ttl──► stale ──'stale_us' more──► gone
**             get: value     get: value, marked         get: a miss
**
**   header | buckets | entries | chunks (chunks.h)
**              │          │         ▲
**              └─ chain ─►│ key, then value
**                         └─ list of use: newest ⇄ … ⇄ oldest
**
** One block without pointers, laid out for memory that processes share;
** everything in it is known by its index. Entries and chunks are used from
** the front, and what was never needed is never touched: a block of fresh
** memory costs what is in it, not what it may hold.
**
** - The limits are exact: never more than 'entries' entries, never more than
**   'bytes' bytes of keys and values together. Whatever their lengths, there
**   are chunks for that: each entry fills all of its chunks but one.
** - A key is found by a seeded hash of 64 bits and then compared whole.
** - An entry that is gone is taken out by whoever comes across it, and counts
**   as expired, not as evicted. Until then it takes its room.
** - Time may slip back: an age is never below 0.
*/
#ifndef UB_CACHE_H
#define UB_CACHE_H

#include "base/region.h"

#define UB_CACHE_MOST_ENTRIES  0x1000000          /* 2^24 */
#define UB_CACHE_MOST_BYTES    INT64_C(0x10000000000)  /* 1 TiB */

typedef struct ub_cache_config {
  uint64_t bytes;    /* of keys and values; 1 to UB_CACHE_MOST_BYTES */
  uint32_t entries;  /* 1 to UB_CACHE_MOST_ENTRIES */
  int64_t ttl_us;    /* how long an entry is fresh when 'set' does not say */
  int64_t stale_us;  /* how long it may still be had after that; 0 and more */
  uint64_t seed;     /* of the hash */
} ub_cache_config;

/* Keys of different spaces never meet, whatever their bytes. */
typedef struct ub_cache_key {
  const char *bytes;
  size_t length;
  uint32_t space;
} ub_cache_key;

typedef enum ub_cache_state {
  UB_CACHE_MISS, UB_CACHE_FRESH, UB_CACHE_STALE
} ub_cache_state;

/* What 'find' found. */
typedef struct ub_cache_found {
  uint64_t changes;  /* the cache's count at that time */
  uint32_t entry;
  ub_cache_state state;
  size_t length;     /* of the value */
  int64_t age_us;
} ub_cache_found;

typedef struct ub_cache_stats {
  uint64_t hits, stale, misses;  /* gets: fresh, stale, not there */
  uint64_t stored, refused;      /* sets: done, too large */
  uint64_t evicted, expired;     /* entries put out for room, out of time */
  uint64_t bytes;                /* of keys and values now */
  uint32_t entries;              /* now */
} ub_cache_stats;

typedef struct ub_cache ub_cache;

/* Bytes of the block for this configuration. */
size_t ub_cache_size (const ub_cache_config *config);

void ub_cache_init (ub_cache *c, const ub_cache_config *config);

/*
** Look a key up. A miss is counted; what is found waits for 'ub_cache_use'.
** Until entries come or go, 'found' is good for the three below.
*/
ub_cache_state ub_cache_find (ub_cache *c, const ub_cache_key *key, int64_t now_us,
                              ub_cache_found *found);

/*
** The value, when it lies in one piece; else NULL. It stays where it is until
** entries come or go; 'ub_cache_use' tells whether they did.
*/
const char *ub_cache_whole (ub_cache *c, const ub_cache_found *found);

/* Copy the value ('found->length' bytes). 1, or 0 when entries came or went. */
int ub_cache_copy (ub_cache *c, const ub_cache_found *found, char *out);

/* The value was handed out: count it and mark the entry as used last. 1, or 0
   when entries came or went; then nothing is counted. */
int ub_cache_use (ub_cache *c, const ub_cache_found *found);

/*
** Keep a value, in place of what was under that key. Room is made at the cost
** of the entries used least recently. 'ttl_us' below 0: the configured one.
** UB_OK, or UB_EFULL when key and value alone are over 'bytes'; then nothing
** changes, and what was under the key stays.
*/
int ub_cache_set (ub_cache *c, const ub_cache_key *key, const char *value, size_t length,
                  int64_t ttl_us, int64_t now_us);

/* 1, or 0 when there was nothing to be had under that key. */
int ub_cache_delete (ub_cache *c, const ub_cache_key *key, int64_t now_us);

/* Forget all entries; counts go on. */
void ub_cache_clear (ub_cache *c);

ub_cache_stats ub_cache_read (const ub_cache *c);

/* The limit on the bytes of keys and values. */
uint64_t ub_cache_bytes (const ub_cache *c);

/* In a region; what a process died at clears it: a torn entry is a miss. */
extern const ub_part_type ub_cache_part;

#endif
