/*
** cache_read.c: reading a cache without its lock.
**
** Who reads goes from link to link, and makes sure of each: that the entry it
** led from is still the same, and still leads to the one at hand, whose sequence
** is known by then. So what is not found was not there, at least for a moment.
** What is found is copied, and taken for nothing if the sequence has changed
** meanwhile: then the bytes may be anybody's. Boehm, Can seqlocks get along with
** programming language memory models? (MSPC 2012) has the fences.
*/
#include <string.h>

#include "base/clock.h"
#include "parts/cache_parts.h"

#define TRIES      8            /* before somebody asks for the lock */
#define BIG        0x100000     /* bytes; of more the first one counts */
#define STEPS      256          /* of a chain: nobody's is that long */

typedef struct seen {
  const entry *e;
  uint64_t sequence;
} seen;

static int still (const seen *s) {
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return load(&s->e->sequence) == s->sequence;
}

typedef enum walk { FOUND, NOTHING, LOST } walk;

/*
** Follow a link, out of the bucket ('s->e' is NULL) or of an entry that was seen:
** the next one, which then has been seen in its place.
*/
static walk follow (const ub_cache *c, const uint32_t *link, seen *s) {
  uint32_t i = load_first(link);
  seen next;
  if (i != NONE && i > c->config.entries)
    return LOST;
  if (i == NONE)
    return s->e == NULL || still(s) ? NOTHING : LOST;
  next.e = entry_at(c, i);
  next.sequence = load_first(&next.e->sequence);
  if (!is_whole(next.sequence) || load_first(link) != i || (s->e != NULL && !still(s)))
    return LOST;
  *s = next;
  return FOUND;
}

static walk search (const ub_cache *c, const ub_cache_key *key, uint64_t hash, seen *s) {
  const uint32_t *link = &c->bucket[hash & c->mask];
  int steps;
  s->e = NULL;
  for (steps = 0; steps < STEPS; steps++) {
    walk went = follow(c, link, s);
    if (went != FOUND)
      return went;
    if (ub_entry_is_under(c, s->e, key, hash))
      return still(s) ? FOUND : LOST;
    link = &s->e->chain;  /* whether it was another one shows at the next step */
  }
  return LOST;
}

/* What is said of an entry, if it is still the one that was seen. */
static int describe (const ub_cache *c, const seen *s, int64_t now_us, ub_cache_found *f) {
  int64_t stored = load(&s->e->stored_us), stale = load(&s->e->stale_us);
  f->length = load(&s->e->value_length);
  f->key_length = load(&s->e->key_length);
  f->tags_length = load(&s->e->tags_length);
  f->space = load(&s->e->space);
  f->left_us = ub_time_minus(stale, now_us);
  f->state = ub_entry_state(c, stored, stale, now_us, &f->age_us);
  return still(s);
}

/* Copy some of its bytes, if it is still the one that was seen. */
static int copy (const ub_cache *c, const seen *s, size_t skip, char *out, size_t length) {
  ub_chunk_place place = {load(&s->e->first), 0};
  return ub_chunks_skip(chunks(c), &place, skip)
      && ub_chunks_read(chunks(c), &place, out, length) && still(s);
}

static void count_use (ub_cache *c, entry *e, ub_cache_state state, uint32_t reader) {
  uint64_t *count;
  uint32_t hits = e != NULL ? load(&e->hits) : MOST_HITS;
  if (hits < MOST_HITS)
    store(&e->hits, hits + 1);  /* perhaps another's by now, whom it does not harm */
  count = &c->reads[reader % READERS].count[state];
  if (reader > 0 && reader < READERS)
    store(count, *count + 1);  /* nobody else's, and much cheaper */
  else
    __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

/* As 'ub_cache_peek', once; UB_CACHE_UNSURE: something has changed. */
static ub_cache_state peek (ub_cache *c, const ub_cache_key *key, uint64_t hash,
                            int64_t now_us, char *room, size_t size, uint32_t reader,
                            ub_cache_found *f) {
  uint64_t epoch = load_first(&c->epoch);
  seen s;
  walk went = search(c, key, hash, &s);
  f->length = 0;
  if (went == NOTHING) {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((epoch & 1) != 0 || load(&c->epoch) != epoch)
      return UB_CACHE_UNSURE;
    count_use(c, NULL, UB_CACHE_MISS, reader);
    return UB_CACHE_MISS;
  }
  if (went == LOST || !describe(c, &s, now_us, f) || f->state == UB_CACHE_MISS)
    return UB_CACHE_UNSURE;
  if (f->length > size)
    return f->state;
  if (!copy(c, &s, key->length, room, f->length))
    return UB_CACHE_UNSURE;
  count_use(c, entry_at(c, (uint32_t)(s.e - entry_at(c, 0))), f->state, reader);
  return f->state;
}

ub_cache_state ub_cache_peek (ub_cache *c, const ub_cache_key *key, int64_t now_us,
                              char *room, size_t size, uint32_t reader,
                              ub_cache_found *found) {
  uint64_t hash = ub_cache_hash(c, key);
  int tries = 0;
  do
    found->state = peek(c, key, hash, now_us, room, size, reader, found);
  while (found->state == UB_CACHE_UNSURE && ++tries < TRIES && found->length < BIG);
  return found->state;
}

/* As 'ub_cache_next' of entry i; 2: it has changed just now, 3: there is none. */
static int next_at (ub_cache *c, uint32_t i, int64_t now_us, char *room, size_t size,
                    ub_cache_found *f) {
  seen s = {.e = entry_at(c, i)};
  size_t bytes;
  s.sequence = load_first(&s.e->sequence);
  if (!is_whole(s.sequence))
    return 3;
  if (!describe(c, &s, now_us, f))
    return 2;
  if (f->state == UB_CACHE_MISS)
    return 3;
  bytes = f->key_length + f->length + f->tags_length;
  if (bytes > size)
    return -1;
  f->entry = i;
  return copy(c, &s, 0, room, bytes) ? 1 : 2;
}

int ub_cache_next (ub_cache *c, uint32_t *cursor, int64_t now_us, char *room, size_t size,
                   ub_cache_found *found) {
  uint32_t i, high = load_first(&c->high);
  for (i = *cursor; i < high; i++) {
    int how, tries = 0;
    do
      how = next_at(c, i, now_us, room, size, found);
    while (how == 2 && ++tries < TRIES);
    *cursor = how == -1 ? i : i + 1;
    if (how < 2)
      return how;
  }
  *cursor = high;
  return 0;
}

ub_cache_stats ub_cache_read (const ub_cache *c) {
  ub_cache_stats stats = c->stats;
  int i;
  for (i = 0; i <= READERS; i++) {
    stats.misses += load(&c->reads[i].count[UB_CACHE_MISS]);
    stats.hits += load(&c->reads[i].count[UB_CACHE_FRESH]);
    stats.stale += load(&c->reads[i].count[UB_CACHE_STALE]);
  }
  return stats;
}

uint64_t ub_cache_bytes (const ub_cache *c) {
  return c->config.bytes;
}

int ub_cache_wall (const ub_cache *c) {
  return (int)c->config.wall;
}

void ub_cache_retime (ub_cache *c, int64_t ttl_us, int64_t stale_us) {
  c->config.ttl_us = ttl_us;
  store(&c->config.stale_us, stale_us);
}
