/*
** cache.c: hash chains and chains of bytes in one block; who changes them.
**
** Nothing here may be seen half done by who reads meanwhile, nor be found half
** done after a death: an entry is written while its sequence is odd, and even
** before the first link leads to it; it is odd again once the last link to it is
** gone, and before its chunks go to others.
*/
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "parts/cache_parts.h"

#define PURGE_STEPS 512  /* entries looked at in one go */

/* {== The block =========================================================== */

/* So no size below overflows, and no index reaches NONE. */
_Static_assert(sizeof(size_t) == 8, "sizes of 64 bits");
_Static_assert(UB_CACHE_MOST_BYTES / UB_CHUNK_BYTES + UB_CACHE_MOST_ENTRIES < NONE,
               "chunks can be counted");

typedef struct places {
  uint64_t haunts, entries, ghosts, marks, chunks, end;
  uint32_t chunk_count;
} places;

static uint32_t buckets_for (uint32_t entries) {
  uint32_t n = 16;  /* whole cache lines, so that the entries are aligned */
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

static places places_of (const ub_cache_config *config) {
  uint64_t buckets = buckets_for(config->entries) * (uint64_t)sizeof(uint32_t);
  places p = {.haunts = sizeof(ub_cache) + buckets, .chunk_count = chunks_for(config)};
  p.entries = p.haunts + buckets;
  p.ghosts = p.entries + (config->entries + SPARE) * sizeof(entry);
  p.marks = p.ghosts + config->entries * sizeof(ghost);
  p.chunks = (p.marks + ub_chunks_marks_size(p.chunk_count) + 63) / 64 * 64;
  p.end = p.chunks + ub_chunks_size(p.chunk_count);
  return p;
}

size_t ub_cache_size (const ub_cache_config *config) {
  return places_of(config).end;
}

void ub_cache_empty (ub_cache *c) {
  size_t i, buckets = c->mask + (size_t)1;
  int q;
  for (i = 0; i < buckets; i++)
    store(&c->bucket[i], NONE);
  for (q = 0; q < QUEUES; q++)
    c->queue[q] = (fifo){.newest = NONE, .oldest = NONE};
  c->free = NONE;
  c->stats.entries = 0;
  c->stats.bytes = 0;
  c->changes++;
  ub_ghosts_forget(c);
}

/* The entries end before what is theirs goes to others. */
void ub_cache_clear (ub_cache *c) {
  uint32_t i, high = c->high;
  ub_cache_empty(c);
  for (i = 0; i < high; i++) {
    entry *e = entry_at(c, i);
    store(&e->sequence, e->sequence | 1);
    e->chain = i + 1 < high ? i + 1 : NONE;
  }
  __atomic_thread_fence(__ATOMIC_RELEASE);
  c->free = high > 0 ? 0 : NONE;
  ub_chunks_clear(chunks(c));
}

void ub_cache_lay_out (ub_cache *c) {
  places p = places_of(&c->config);
  c->haunts_at = p.haunts;
  c->entries_at = p.entries;
  c->ghosts_at = p.ghosts;
  c->marks_at = p.marks;
  c->chunks_at = p.chunks;
  c->mask = buckets_for(c->config.entries) - 1;
  ub_chunks_init(chunks(c), p.chunk_count);
}

void ub_cache_init (ub_cache *c, const ub_cache_config *config) {
  memset(c, 0, sizeof *c);
  c->config = *config;
  c->config_check = ub_cache_config_check(config);
  ub_cache_lay_out(c);
  ub_cache_empty(c);
}

/* }======================================================================== */

/* {== Entries ============================================================= */

uint64_t ub_cache_hash (const ub_cache *c, const ub_cache_key *key) {
  return ub_hash(key->bytes, key->length, c->config.seed ^ key->space);
}

ub_cache_state ub_entry_state (const ub_cache *c, int64_t stored_us, int64_t stale_us,
                               int64_t now_us, int64_t *age_us) {
  int from_future = c->config.wall && now_us < ub_time_minus(stored_us, UB_SECOND_US);
  *age_us = now_us > stored_us ? ub_time_minus(now_us, stored_us) : 0;
  if (now_us >= ub_time_plus(stale_us, load(&c->config.stale_us)))
    return UB_CACHE_MISS;
  return now_us < stale_us && !from_future ? UB_CACHE_FRESH : UB_CACHE_STALE;
}

int ub_entry_is_gone (const ub_cache *c, const entry *e, int64_t now_us) {
  int64_t age_us;
  return ub_entry_state(c, e->stored_us, e->stale_us, now_us, &age_us) == UB_CACHE_MISS;
}

/* The link that leads to entry i: its bucket's or its forerunner's. */
static uint32_t *link_to (ub_cache *c, uint32_t i) {
  uint32_t *link = &c->bucket[entry_at(c, i)->hash & c->mask];
  while (*link != i)
    link = &entry_at(c, *link)->chain;
  return link;
}

/* No link leads to it any more: what is its own may be others'. */
static void retire (ub_cache *c, uint32_t i) {
  entry *e = entry_at(c, i);
  store_last(&e->sequence, e->sequence + 1);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  ub_chunks_give(chunks(c), e->first, ub_chunks_for(bytes_of(e)));
  c->stats.bytes -= bytes_of(e);
  c->stats.entries--;
  store(&e->chain, c->free);
  c->free = i;
  c->changes++;
}

void ub_entry_drop (ub_cache *c, uint32_t i) {
  store_last(link_to(c, i), entry_at(c, i)->chain);
  ub_queue_remove(c, i);
  retire(c, i);
}

/* An entry to write into: no link leads to it, and its sequence is odd. */
static uint32_t take_entry (ub_cache *c) {
  uint32_t i = c->free;
  entry *e = entry_at(c, i == NONE ? c->high : i);
  if (i != NONE) {
    c->free = e->chain;
    return i;
  }
  store(&e->sequence, 1);
  i = c->high;
  store_last(&c->high, i + 1);
  return i;
}

/* }======================================================================== */

/* {== Finding ============================================================= */

/* Equal hashes prove nothing: the whole key is compared. */
int ub_entry_is_under (const ub_cache *c, const entry *e, const ub_cache_key *key,
                       uint64_t hash) {
  ub_chunk_place place = {load(&e->first), 0};
  return load(&e->hash) == hash && load(&e->key_length) == key->length
      && load(&e->space) == key->space
      && ub_chunks_same(chunks(c), &place, key->bytes, key->length);
}

/* The key's entry, or NONE. One that is gone is taken out. */
static uint32_t lookup (ub_cache *c, const ub_cache_key *key, uint64_t hash, int64_t now) {
  uint32_t i = c->bucket[hash & c->mask];
  while (i != NONE && !ub_entry_is_under(c, entry_at(c, i), key, hash))
    i = entry_at(c, i)->chain;
  if (i == NONE || !ub_entry_is_gone(c, entry_at(c, i), now))
    return i;
  ub_entry_drop(c, i);
  c->stats.expired++;
  return NONE;
}

/* Of who has the lock, and nobody else. */
static void count_read (ub_cache *c, ub_cache_state state) {
  uint64_t *count = &c->reads[READERS].count[state];
  store(count, *count + 1);
}

ub_cache_state ub_cache_find (ub_cache *c, const ub_cache_key *key, int64_t now_us,
                              ub_cache_found *found) {
  uint32_t i = lookup(c, key, ub_cache_hash(c, key), now_us);
  const entry *e;
  if (i == NONE) {
    count_read(c, UB_CACHE_MISS);
    return found->state = UB_CACHE_MISS;
  }
  e = entry_at(c, i);
  found->changes = c->changes;
  found->entry = i;
  found->length = e->value_length;
  return found->state = ub_entry_state(c, e->stored_us, e->stale_us, now_us, &found->age_us);
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
  return ub_chunks_read(chunks(c), &place, out, found->length);
}

int ub_cache_use (ub_cache *c, const ub_cache_found *found) {
  uint32_t *hits = &entry_at(c, found->entry)->hits;
  if (found->changes != c->changes)
    return 0;
  if (*hits < MOST_HITS)
    store(hits, *hits + 1);
  count_read(c, found->state);
  return 1;
}

/* }======================================================================== */

/* {== Keeping ============================================================= */

static uint64_t bit_of (const char *tag, size_t length) {
  return (uint64_t)1 << ub_hash(tag, length, 0) % 64;
}

static uint64_t bits_of (const ub_cache_value *v) {
  uint64_t bits = 0;
  uint32_t at = 0;
  while (at < v->tags_length) {
    unsigned char length = (unsigned char)v->tags[at];
    bits |= bit_of(v->tags + at + 1, length);
    at += 1u + length;
  }
  return bits;
}

/* Write all that is kept of it; then it is whole, though no link leads there. */
static void fill (ub_cache *c, entry *e, const ub_cache_key *key, const ub_cache_value *v) {
  size_t bytes = key->length + v->length + v->tags_length;
  ub_chunk_place place = {ub_chunks_take(chunks(c), ub_chunks_for(bytes)), 0};
  store(&e->first, place.chunk);
  store(&e->space, key->space);
  store(&e->key_length, key->length);
  store(&e->value_length, v->length);
  store(&e->tags_length, v->tags_length);
  e->tag_bits = bits_of(v);
  ub_chunks_write(chunks(c), &place, key->bytes, key->length);
  ub_chunks_write(chunks(c), &place, v->bytes, v->length);
  ub_chunks_write(chunks(c), &place, v->tags, v->tags_length);
  e->check = c->config.wall ? ub_entry_check(c, e) : 0;
  c->stats.bytes += bytes;
  c->stats.entries++;
}

/* Make room for that many bytes: of the limit, and chunks, which are enough for it. */
static void make_room (ub_cache *c, uint64_t need, uint64_t own, int64_t now_us) {
  while (c->stats.bytes - own > c->config.bytes - need)
    ub_cache_evict(c, 1, now_us);
}

/* Let the link lead to entry i, which is in its queue then. */
static void publish (ub_cache *c, uint32_t i, uint32_t *link, uint32_t behind,
                     uint32_t queue) {
  entry *e = entry_at(c, i);
  e->stamp = ++c->stamp;
  e->queue = queue;
  store(&e->chain, behind);
  store_last(&e->sequence, e->sequence + 1);
  store_last(link, i);
  ub_queue_add(c, i, queue);
  c->stats.stored++;
  c->changes++;
}

/* Put the value in place of entry 'old', which stays until then, where there is room. */
static void replace (ub_cache *c, uint32_t old, const ub_cache_key *key,
                     const ub_cache_value *v, uint32_t i) {
  entry *was = entry_at(c, old), *e = entry_at(c, i);
  uint32_t queue = was->queue, behind = was->chain, *link = link_to(c, old);
  uint64_t need = key->length + v->length + v->tags_length;
  ub_chunks *all = chunks(c);
  int early = ub_chunks_for(need) > all->count - all->used;
  store(&e->hits, was->hits);
  if (early) {
    store_last(link, behind);
    retire(c, old);
  }
  fill(c, e, key, v);
  publish(c, i, link, behind, queue);
  if (!early)
    retire(c, old);
}

static void keep (ub_cache *c, const ub_cache_key *key, const ub_cache_value *v,
                  uint64_t hash, int64_t stale_us, int64_t now_us) {
  uint64_t need = key->length + v->length + v->tags_length;
  uint32_t old = lookup(c, key, hash, now_us), i, queue = QUEUE_S;
  uint32_t *link = &c->bucket[hash & c->mask];
  entry *e;
  if (old != NONE) {
    ub_queue_remove(c, old);  /* so that it is not put out for itself */
    make_room(c, need, bytes_of(entry_at(c, old)), now_us);
  } else {
    queue = ub_queue_for(c, hash);
    if (c->stats.entries == c->config.entries)
      ub_cache_evict(c, 0, now_us);
    make_room(c, need, 0, now_us);
  }
  i = take_entry(c);
  e = entry_at(c, i);
  store(&e->hash, hash);
  store(&e->stored_us, now_us);
  store(&e->stale_us, stale_us);
  if (old != NONE) {
    replace(c, old, key, v, i);
    return;
  }
  store(&e->hits, 0);
  fill(c, e, key, v);
  publish(c, i, link, *link, queue);
}

/* Was it kept later (though not in the future), and is it as good? */
static int is_better (const entry *e, int64_t stored_us, int64_t stale_us, int64_t now_us) {
  return e->stored_us > stored_us && e->stored_us <= now_us
      && (now_us < e->stale_us || now_us >= stale_us);
}

int ub_cache_set (ub_cache *c, const ub_cache_key *key, const ub_cache_value *v,
                  int64_t ttl_us, int64_t age_us, int64_t now_us) {
  uint64_t most = c->config.bytes, hash = ub_cache_hash(c, key);
  int64_t stored_us = now_us - age_us;
  int64_t stale_us = stored_us + (ttl_us < 0 ? c->config.ttl_us : ttl_us);
  uint32_t old;
  if (key->length > most || v->length > most - key->length
      || v->tags_length > most - key->length - v->length) {
    c->stats.refused++;
    return UB_EFULL;
  }
  old = age_us > 0 ? lookup(c, key, hash, now_us) : NONE;
  if (old == NONE || !is_better(entry_at(c, old), stored_us, stale_us, now_us))
    keep(c, key, v, hash, stale_us, stored_us);
  return UB_OK;
}

/* }======================================================================== */

int ub_cache_delete (ub_cache *c, const ub_cache_key *key, int64_t now_us) {
  uint32_t i = lookup(c, key, ub_cache_hash(c, key), now_us);
  if (i == NONE)
    return 0;
  ub_entry_drop(c, i);
  return 1;
}

/* {== Tags ================================================================ */

/* Is that one of the tags at the place, which are so many bytes? */
static int is_tagged (const ub_cache *c, ub_chunk_place place, uint32_t bytes,
                      const char *tag, size_t length) {
  while (bytes > 0) {
    unsigned char own;
    ub_chunk_place at;
    if (!ub_chunks_read(chunks(c), &place, (char *)&own, 1))
      return 0;
    at = place;
    if (own == length && ub_chunks_same(chunks(c), &at, tag, length))
      return 1;
    ub_chunks_skip(chunks(c), &place, own);
    bytes -= 1u + own;
  }
  return 0;
}

static int has_tag (ub_cache *c, const entry *e, const char *tag, size_t length,
                    uint64_t bit) {
  ub_chunk_place place = {e->first, 0};
  if (!is_whole(e->sequence) || (e->tag_bits & bit) == 0)
    return 0;
  ub_chunks_skip(chunks(c), &place, e->key_length + e->value_length);
  return is_tagged(c, place, e->tags_length, tag, length);
}

uint32_t ub_cache_purge (ub_cache *c, const char *tag, size_t length, uint32_t *cursor,
                         int64_t now_us) {
  uint64_t bit = bit_of(tag, length);
  uint32_t i = *cursor, end, purged = 0;
  end = i < c->high && c->high - i > PURGE_STEPS ? i + PURGE_STEPS : c->high;
  for (; i < end; i++) {
    const entry *e = entry_at(c, i);
    if (!has_tag(c, e, tag, length, bit))
      continue;
    if (ub_entry_is_gone(c, e, now_us))
      c->stats.expired++;
    else
      purged++;
    ub_entry_drop(c, i);
  }
  c->stats.purged += purged;
  *cursor = end < c->high ? end : UB_CACHE_END;
  return purged;
}

/* }======================================================================== */
