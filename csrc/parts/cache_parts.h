/*
** cache_parts.h: what the files of the cache do for each other. Not for others.
*/
#ifndef UB_CACHE_PARTS_H
#define UB_CACHE_PARTS_H

#include "parts/cache_inner.h"

/* {== cache.c ================================================================ */

uint64_t ub_cache_hash (const ub_cache *c, const ub_cache_key *key);

/* What an entry with these times is now; UB_CACHE_MISS: gone. */
ub_cache_state ub_entry_state (const ub_cache *c, int64_t stored_us, int64_t stale_us,
                               int64_t now_us, int64_t *age_us);

int ub_entry_is_gone (const ub_cache *c, const entry *e, int64_t now_us);

/* The entry's key: is it this one? */
int ub_entry_is_under (const ub_cache *c, const entry *e, const ub_cache_key *key,
                       uint64_t hash);

/* Take a listed entry out, which frees it and its chunks. */
void ub_entry_drop (ub_cache *c, uint32_t i);

/* Divide the block as its configuration says, with all chunks free. */
void ub_cache_lay_out (ub_cache *c);

/* Make the buckets, queues and lists empty, and forget the ghosts. */
void ub_cache_empty (ub_cache *c);

/* }== cache_queues.c ========================================================== */

void ub_queue_add (ub_cache *c, uint32_t i, uint32_t queue);  /* at its new end */
void ub_queue_remove (ub_cache *c, uint32_t i);

/* In which queue does a new entry begin? */
uint32_t ub_queue_for (ub_cache *c, uint64_t hash);

/* Put one entry out: for room for bytes, or for an entry. */
void ub_cache_evict (ub_cache *c, int for_bytes, int64_t now_us);

void ub_ghosts_forget (ub_cache *c);

/* }== cache_mend.c ============================================================ */

/* A sum over all that is kept of an entry. */
uint64_t ub_entry_check (const ub_cache *c, const entry *e);

uint64_t ub_cache_config_check (const ub_cache_config *config);

/* }============================================================================ */

#endif
