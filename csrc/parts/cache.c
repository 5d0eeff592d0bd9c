/*
** cache.c: hash chains, a list of use, and chains of bytes in one block.
*/
#include "parts/cache.h"

#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "parts/chunks.h"

#define NONE UINT32_MAX

typedef struct entry {
  uint64_t hash;
  uint64_t key_length, value_length;
  int64_t stored_us, stale_us;  /* when stored; when no longer fresh */
  uint32_t first;               /* of its chunks */
  uint32_t space;
  uint32_t chain;               /* next in the bucket, or in the free list */
  uint32_t newer, older;        /* neighbours in the list of use */
} entry;

struct ub_cache {
  ub_cache_config config;
  ub_cache_stats stats;
  uint64_t changes;             /* how often an entry came or went */
  uint64_t entries_at, chunks_at;  /* from the start of this header */
  uint32_t mask;                /* buckets - 1 */
  uint32_t high;                /* entries that were ever in use */
  uint32_t free;                /* first of those given back */
  uint32_t newest, oldest;      /* ends of the list of use */
  uint32_t bucket[];
};

/* {== The block =========================================================== */

/* So no size below overflows, and no index reaches NONE. */
_Static_assert(sizeof(size_t) == 8, "sizes of 64 bits");
_Static_assert(UB_CACHE_MOST_BYTES / UB_CHUNK_BYTES + UB_CACHE_MOST_ENTRIES < NONE,
               "chunks can be counted");

static uint32_t buckets_for (uint32_t entries) {
  uint32_t n = 2;  /* an even number, so that the entries are aligned */
  while (n < entries)
    n *= 2;
  return n;
}

/*
** n entries of b bytes take at most b/C chunks and one more each; they are
** not more than b, since an entry without bytes takes none.
*/
static uint32_t chunks_for (const ub_cache_config *config) {
  uint64_t n = config->entries < config->bytes ? config->entries : config->bytes;
  return (uint32_t)((config->bytes + n * (UB_CHUNK_BYTES - 1)) / UB_CHUNK_BYTES);
}

static size_t entries_at (const ub_cache_config *config) {
  return sizeof(ub_cache) + buckets_for(config->entries) * sizeof(uint32_t);
}

static size_t chunks_at (const ub_cache_config *config) {
  return entries_at(config) + config->entries * sizeof(entry);
}

size_t ub_cache_size (const ub_cache_config *config) {
  return chunks_at(config) + ub_chunks_size(chunks_for(config));
}

static entry *entry_at (ub_cache *c, uint32_t i) {
  return (entry *)((char *)c + c->entries_at) + i;
}

static ub_chunks *chunks (ub_cache *c) {
  return (ub_chunks *)((char *)c + c->chunks_at);
}

void ub_cache_clear (ub_cache *c) {
  memset(c->bucket, 0xff, (c->mask + (size_t)1) * sizeof *c->bucket);  /* all NONE */
  ub_chunks_clear(chunks(c));
  c->high = 0;
  c->free = c->newest = c->oldest = NONE;
  c->stats.entries = 0;
  c->stats.bytes = 0;
  c->changes++;
}

void ub_cache_init (ub_cache *c, const ub_cache_config *config) {
  c->config = *config;
  c->stats = (ub_cache_stats){0};
  c->changes = 0;
  c->entries_at = entries_at(config);
  c->chunks_at = chunks_at(config);
  c->mask = buckets_for(config->entries) - 1;
  ub_chunks_init(chunks(c), chunks_for(config));
  ub_cache_clear(c);
}

/* }======================================================================== */

/* {== Entries ============================================================= */

/* Take out of the list of use. */
static void unlist (ub_cache *c, entry *e) {
  if (e->newer != NONE)
    entry_at(c, e->newer)->older = e->older;
  else
    c->newest = e->older;
  if (e->older != NONE)
    entry_at(c, e->older)->newer = e->newer;
  else
    c->oldest = e->newer;
}

/* Put at the list's new end. */
static void enlist (ub_cache *c, uint32_t i) {
  entry *e = entry_at(c, i);
  e->newer = NONE;
  e->older = c->newest;
  if (c->newest != NONE)
    entry_at(c, c->newest)->newer = i;
  else
    c->oldest = i;
  c->newest = i;
}

static void touch (ub_cache *c, uint32_t i) {
  if (c->newest == i)
    return;
  unlist(c, entry_at(c, i));
  enlist(c, i);
}

static uint64_t bytes_of (const entry *e) {
  return e->key_length + e->value_length;
}

static void give_bytes (ub_cache *c, const entry *e) {
  ub_chunks_give(chunks(c), e->first, ub_chunks_for(bytes_of(e)));
  c->stats.bytes -= bytes_of(e);
}

/* The link that leads to entry i: its bucket's or its forerunner's. */
static uint32_t *link_to (ub_cache *c, uint32_t i) {
  uint32_t *link = &c->bucket[entry_at(c, i)->hash & c->mask];
  while (*link != i)
    link = &entry_at(c, *link)->chain;
  return link;
}

/* Take an entry out and free it. */
static void drop (ub_cache *c, uint32_t i) {
  entry *e = entry_at(c, i);
  *link_to(c, i) = e->chain;
  unlist(c, e);
  give_bytes(c, e);
  e->chain = c->free;
  c->free = i;
  c->stats.entries--;
  c->changes++;
}

/* An entry that is in the bucket of its hash, used last, and has no bytes. */
static uint32_t add (ub_cache *c, uint64_t hash) {
  uint32_t i = c->free, *bucket = &c->bucket[hash & c->mask];
  entry *e = entry_at(c, i == NONE ? c->high : i);
  if (i == NONE)
    i = c->high++;
  else
    c->free = e->chain;
  e->hash = hash;
  e->chain = *bucket;
  *bucket = i;
  enlist(c, i);
  c->stats.entries++;
  return i;
}

static int is_gone (const ub_cache *c, const entry *e, int64_t now) {
  return now >= e->stale_us + c->config.stale_us;
}

static void evict (ub_cache *c, int64_t now) {
  if (is_gone(c, entry_at(c, c->oldest), now))
    c->stats.expired++;
  else
    c->stats.evicted++;
  drop(c, c->oldest);
}

/* }======================================================================== */

static uint64_t hash_of (const ub_cache *c, const ub_cache_key *key) {
  return ub_hash(key->bytes, key->length, c->config.seed ^ key->space);
}

/* Is this the key's entry? Equal hashes prove nothing: the whole key is compared. */
static int is_under (ub_cache *c, const entry *e, const ub_cache_key *key, uint64_t hash) {
  ub_chunk_place place = {e->first, 0};
  return e->hash == hash && e->key_length == key->length && e->space == key->space
      && ub_chunks_same(chunks(c), &place, key->bytes, key->length);
}

/* The key's entry, or NONE. One that is gone is taken out. */
static uint32_t lookup (ub_cache *c, const ub_cache_key *key, uint64_t hash, int64_t now) {
  uint32_t i = c->bucket[hash & c->mask];
  while (i != NONE && !is_under(c, entry_at(c, i), key, hash))
    i = entry_at(c, i)->chain;
  if (i == NONE || !is_gone(c, entry_at(c, i), now))
    return i;
  drop(c, i);
  c->stats.expired++;
  return NONE;
}

ub_cache_state ub_cache_find (ub_cache *c, const ub_cache_key *key, int64_t now_us,
                              ub_cache_found *found) {
  uint32_t i = lookup(c, key, hash_of(c, key), now_us);
  const entry *e;
  if (i == NONE) {
    c->stats.misses++;
    return found->state = UB_CACHE_MISS;
  }
  e = entry_at(c, i);
  found->changes = c->changes;
  found->entry = i;
  found->length = e->value_length;
  found->age_us = now_us > e->stored_us ? now_us - e->stored_us : 0;
  return found->state = now_us < e->stale_us ? UB_CACHE_FRESH : UB_CACHE_STALE;
}

/* The place of an entry's value. */
static ub_chunk_place value_of (ub_cache *c, const entry *e) {
  ub_chunk_place place = {e->first, 0};
  ub_chunks_skip(chunks(c), &place, e->key_length);
  return place;
}

const char *ub_cache_whole (ub_cache *c, const ub_cache_found *found) {
  return ub_chunks_whole(chunks(c), value_of(c, entry_at(c, found->entry)), found->length);
}

int ub_cache_copy (ub_cache *c, const ub_cache_found *found, char *out) {
  ub_chunk_place place;
  if (found->changes != c->changes)
    return 0;
  place = value_of(c, entry_at(c, found->entry));
  ub_chunks_read(chunks(c), &place, out, found->length);
  return 1;
}

int ub_cache_use (ub_cache *c, const ub_cache_found *found) {
  if (found->changes != c->changes)
    return 0;
  touch(c, found->entry);
  if (found->state == UB_CACHE_FRESH)
    c->stats.hits++;
  else
    c->stats.stale++;
  return 1;
}

/* Put key and value into a listed entry that has no bytes. */
static void fill (ub_cache *c, entry *e, const ub_cache_key *key, const char *value,
                  size_t length) {
  ub_chunk_place place = {ub_chunks_take(chunks(c), ub_chunks_for(key->length + length)), 0};
  e->first = place.chunk;
  e->space = key->space;
  e->key_length = key->length;
  e->value_length = length;
  ub_chunks_write(chunks(c), &place, key->bytes, key->length);
  ub_chunks_write(chunks(c), &place, value, length);
  c->stats.bytes += bytes_of(e);
}

int ub_cache_set (ub_cache *c, const ub_cache_key *key, const char *value, size_t length,
                  int64_t ttl_us, int64_t now_us) {
  uint64_t hash, most = c->config.bytes;
  uint32_t i;
  entry *e;
  if (key->length > most || length > most - key->length) {
    c->stats.refused++;
    return UB_EFULL;
  }
  hash = hash_of(c, key);
  i = lookup(c, key, hash, now_us);
  if (i != NONE) {  /* used last now, and without bytes: no room is made at its own cost */
    touch(c, i);
    give_bytes(c, entry_at(c, i));
  } else {
    if (c->stats.entries == c->config.entries)
      evict(c, now_us);
    i = add(c, hash);
  }
  while (c->stats.bytes > most - key->length - length)
    evict(c, now_us);
  e = entry_at(c, i);
  fill(c, e, key, value, length);
  e->stored_us = now_us;
  e->stale_us = now_us + (ttl_us < 0 ? c->config.ttl_us : ttl_us);
  c->stats.stored++;
  c->changes++;
  return UB_OK;
}

int ub_cache_delete (ub_cache *c, const ub_cache_key *key, int64_t now_us) {
  uint32_t i = lookup(c, key, hash_of(c, key), now_us);
  if (i == NONE)
    return 0;
  drop(c, i);
  return 1;
}

ub_cache_stats ub_cache_read (const ub_cache *c) {
  return c->stats;
}

uint64_t ub_cache_bytes (const ub_cache *c) {
  return c->config.bytes;
}

/* {== In a region ======================================================== */

static size_t part_size (const void *config) {
  return ub_cache_size(config);
}

static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_cache);
}

static void part_init (void *c, const void *config, int64_t now_us) {
  (void)now_us;
  ub_cache_init(c, config);
}

static void part_repair (void *c) {
  ub_cache_clear(c);
}

const ub_part_type ub_cache_part = {
  .kind = "cache", .version = 1, .size = part_size, .head = part_head, .init = part_init,
  .repair = part_repair
};

/* }======================================================================== */
