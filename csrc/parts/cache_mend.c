/*
** cache_mend.c: a cache after a death.
**
** An entry is whole or not by one word of its own, and whole ones share nothing.
** So all the rest (chains, queues, lists of what is free, sums) can be made anew
** out of them, in place, and again from the beginning if that dies, too. Ghosts
** are forgotten. The order in the queues comes back by the stamps, sorted by
** merging lists of 1, 2, 4, … entries.
**
** What a reboot left may be of different times, page by page, and what lay in a file
** that nobody had open may be damaged: then each entry has to have its sum, too.
*/
#include <stddef.h>

#include "base/hash.h"
#include "parts/cache_parts.h"

/* {== Sums =================================================================== */

uint64_t ub_entry_check (const ub_cache *c, const entry *e) {
  uint64_t words[] = {
    e->hash, e->key_length, e->value_length, (uint64_t)e->stored_us, (uint64_t)e->stale_us,
    (uint64_t)e->first << 32 | e->space, e->tag_bits, e->tags_length, 0
  };
  ub_chunk_place place = {e->first, 0};
  if (!ub_chunks_sum(chunks(c), &place, bytes_of(e), &words[8]))
    return 0;
  return ub_hash(words, sizeof words, c->config.seed) | 1;  /* never 0 */
}

uint64_t ub_cache_config_check (const ub_cache_config *config) {
  uint64_t words[] = {config->bytes, config->seed, config->entries, config->wall};
  return ub_hash(words, sizeof words, 0);
}

/* }============================================================================ */

/* {== The order ============================================================== */

/* Two lists along 'older', each by growing stamps, become one. */
static uint32_t merge (ub_cache *c, uint32_t a, uint32_t b) {
  uint32_t first = NONE, *end = &first;
  while (a != NONE && b != NONE) {
    uint32_t *least = entry_at(c, a)->stamp <= entry_at(c, b)->stamp ? &a : &b;
    *end = *least;
    end = &entry_at(c, *least)->older;
    *least = *end;
  }
  *end = a != NONE ? a : b;
  return first;
}

/* 'bin[n]' is empty, or a sorted list of 2^n entries. */
static uint32_t sort (ub_cache *c, uint32_t list) {
  uint32_t bin[32], n, sorted = NONE;
  for (n = 0; n < 32; n++)
    bin[n] = NONE;
  while (list != NONE) {
    uint32_t one = list;
    list = entry_at(c, one)->older;
    entry_at(c, one)->older = NONE;
    for (n = 0; bin[n] != NONE; n++) {
      one = merge(c, bin[n], one);
      bin[n] = NONE;
    }
    bin[n] = one;
  }
  for (n = 0; n < 32; n++)
    sorted = merge(c, bin[n], sorted);
  return sorted;
}

/* }============================================================================ */

static uint64_t *marks (const ub_cache *c) {
  return (uint64_t *)(void *)((char *)c + c->marks_at);
}

/* Chunks that all of it takes; NONE where its lengths cannot be. */
static uint32_t chunks_of (const ub_cache *c, const entry *e) {
  uint64_t most = c->config.bytes;
  if (e->key_length > most || e->value_length > most || bytes_of(e) > most)
    return NONE;
  return ub_chunks_for(bytes_of(e));
}

/* Is it an entry? Then its chunks are marked. */
static int is_sound (ub_cache *c, const entry *e, int verify) {
  uint32_t n = chunks_of(c, e);
  if (!is_whole(e->sequence) || n == NONE || e->queue >= QUEUES)
    return 0;
  if (verify && ub_entry_check(c, e) != e->check)
    return 0;
  return ub_chunks_mark(chunks(c), marks(c), e->first, n);
}

static void give_entry (ub_cache *c, uint32_t i) {
  entry *e = entry_at(c, i);
  store_last(&e->sequence, e->sequence | 1);
  store(&e->chain, c->free);
  c->free = i;
}

/* The whole entries as a list along 'older'; the others are free. */
static uint32_t gather (ub_cache *c, int verify) {
  uint32_t i = c->high, list = NONE;
  while (i-- > 0) {
    entry *e = entry_at(c, i);
    if (is_sound(c, e, verify)) {
      e->older = list;
      list = i;
    } else {
      give_entry(c, i);
    }
  }
  return list;
}

/* Have two entries the same key? */
static int same_key (const ub_cache *c, const entry *a, const entry *b) {
  ub_chunk_place p = {a->first, 0}, q = {b->first, 0};
  return a->hash == b->hash && a->space == b->space && a->key_length == b->key_length
      && ub_chunks_equal(chunks(c), &p, &q, a->key_length);
}

/* One that was to be replaced by entry i, and was not taken out any more. */
static void drop_twin (ub_cache *c, uint32_t i) {
  const entry *e = entry_at(c, i);
  uint32_t *link = &c->bucket[e->hash & c->mask], twin;
  while (*link != NONE && !same_key(c, entry_at(c, *link), e))
    link = &entry_at(c, *link)->chain;
  twin = *link;
  if (twin == NONE)
    return;
  store_last(link, entry_at(c, twin)->chain);
  ub_queue_remove(c, twin);
  e = entry_at(c, twin);
  c->stats.bytes -= bytes_of(e);
  c->stats.entries--;
  ub_chunks_unmark(chunks(c), marks(c), e->first, ub_chunks_for(bytes_of(e)));
  give_entry(c, twin);
}

/* Bring the list's entries to their places, in its order. */
static void place_all (ub_cache *c, uint32_t list) {
  while (list != NONE) {
    uint32_t i = list, *bucket;
    entry *e = entry_at(c, i);
    list = e->older;
    bucket = &c->bucket[e->hash & c->mask];
    drop_twin(c, i);
    store(&e->chain, *bucket);
    store_last(bucket, i);
    ub_queue_add(c, i, e->queue);
    c->stats.bytes += bytes_of(e);
    c->stats.entries++;
    c->stamp = e->stamp;
  }
}

static void mend (ub_cache *c, int verify) {
  size_t i, words = ub_chunks_marks_size(chunks(c)->count) / sizeof(uint64_t);
  store(&c->epoch, c->epoch | 1);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  /* before anything is moved */
  for (i = 0; i < words; i++)
    marks(c)[i] = 0;
  ub_cache_empty(c);
  place_all(c, sort(c, gather(c, verify)));
  ub_chunks_sweep(chunks(c), marks(c));
  while (c->stats.entries > c->config.entries || c->stats.bytes > c->config.bytes)
    ub_cache_evict(c, c->stats.entries <= c->config.entries, INT64_MIN);
  c->stats.rebuilt++;
  store_last(&c->epoch, c->epoch + 1);
}

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_cache_size(config);
}

static size_t part_head (const void *config) {
  (void)config;
  return HEAD_BYTES;
}

static void part_init (void *c, const void *config, int64_t now_us) {
  (void)now_us;
  ub_cache_init(c, config);
}

static void part_repair (void *c) {
  mend(c, 0);
}

/* Is it a configuration that a cache of so many bytes was made with? */
static int is_config (const ub_cache_config *config, uint64_t check, size_t room) {
  return ub_cache_config_check(config) == check && config->wall
      && config->entries >= 1 && config->entries <= UB_CACHE_MOST_ENTRIES
      && config->bytes >= 1 && config->bytes <= UB_CACHE_MOST_BYTES
      && ub_cache_size(config) <= room;
}

static int part_revive (void *memory, size_t room, int same_boot) {
  ub_cache *c = memory;
  ub_cache_stats before;
  if (room < sizeof *c || !is_config(&c->config, c->config_check, room))
    return 0;
  ub_cache_lay_out(c);
  if (c->high > c->config.entries + SPARE)
    c->high = c->config.entries + SPARE;
  before = c->stats;
  mend(c, 1);
  if (same_boot && before.entries == c->stats.entries && before.bytes == c->stats.bytes)
    c->stats.rebuilt = before.rebuilt;  /* it was in order */
  return 1;
}

const ub_part_type ub_cache_part = {
  .kind = "cache", .version = 2, .size = part_size, .head = part_head, .init = part_init,
  .repair = part_repair, .revive = part_revive
};

/* }============================================================================ */
