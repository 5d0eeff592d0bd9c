/*
** cache_read.h: what may be done with a cache while another process changes it.
*/
#ifndef UB_CACHE_READ_H
#define UB_CACHE_READ_H

#include "parts/cache.h"

typedef struct ub_cache_stats {
  uint64_t hits, stale, misses;  /* gets: fresh, stale, not there */
  uint64_t stored, refused;      /* sets: done, too large */
  uint64_t evicted, expired;     /* entries put out for room, out of time */
  uint64_t purged;               /* by their tags */
  uint64_t rebuilt;              /* how often, after a death, a reboot, damage */
  uint64_t bytes;                /* of keys, values and tags now */
  uint32_t entries;              /* now */
} ub_cache_stats;

/*
** Look a key up and copy its value to 'room', if that has 'found->length' bytes
** (else nothing is copied or counted). 'reader' is a number that no other process has,
** or 0. UB_CACHE_UNSURE: others were at work too often just then, or it is to
** be taken out; 'ub_cache_find' knows, with the lock.
*/
ub_cache_state ub_cache_peek (ub_cache *c, const ub_cache_key *key, int64_t now_us,
                              char *room, size_t size, uint32_t reader,
                              ub_cache_found *found);

/*
** The next entry from '*cursor' (0 at first): 1, with key, value and tags one behind
** the other in 'room' and the cursor moved on; 0: there is none; -1: 'room' is too
** small for it. What comes or goes meanwhile may be seen or not.
*/
int ub_cache_next (ub_cache *c, uint32_t *cursor, int64_t now_us, char *room, size_t size,
                   ub_cache_found *found);

/* Nearly at one time; exactly, when nobody is at work. */
ub_cache_stats ub_cache_read (const ub_cache *c);

/* The limit on bytes; are times wall time? Neither ever changes. */
uint64_t ub_cache_bytes (const ub_cache *c);
int ub_cache_wall (const ub_cache *c);

/* Times of another configuration, for a cache that outlives it. */
void ub_cache_retime (ub_cache *c, int64_t ttl_us, int64_t stale_us);

/* In a region. */
extern const ub_part_type ub_cache_part;

#endif
