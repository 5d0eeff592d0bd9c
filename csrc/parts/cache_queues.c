/*
** cache_queues.c: who goes when room is needed.
**
** S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues are all you need for cache
** eviction, SOSP 2023). New entries begin in a small queue; who is not asked for
** until its end leaves, so that a scan passes through without moving anybody else.
** Those that are go on to the main queue, whose oldest goes to the front again
** as often as it was asked for. A hit changes nothing but the entry's own count,
** which is why who reads needs no lock. Who was put out leaves a ghost (its hash);
** who comes back while that is there begins in the main queue.
**
** The paper's small queue has a tenth of the room. Here it grows with each key
** that comes back to a ghost of the small queue, and shrinks with each that was
** put out of the main one, as in ARC (Megiddo and Modha, FAST 2003): there is
** traffic that asks again soon or never. It shrinks eight times as fast, which is
** what keeps it small on what is popular for long (bench/hits.lua has the figures:
** with one step for both, Zipf falls below LRU; without any, drifting traffic does).
*/
#include "parts/cache_parts.h"

#define ALL        65536          /* the room, in units of 'share' */
#define LEAST      (ALL / 100)
#define BEGIN      (ALL / 10)
#define MOST       (ALL / 10 * 9)
#define LOOKS      128            /* entries that are spared before one goes whatever it is */
#define S_HITS     1              /* more of them take an entry from S to M */
#define GROW       2              /* entries that S grows by with a ghost of its own */
#define SHRINK     16             /* and that it loses with one of M's */

/* {== The queues ============================================================= */

void ub_queue_remove (ub_cache *c, uint32_t i) {
  entry *e = entry_at(c, i);
  fifo *q = &c->queue[e->queue];
  if (e->newer != NONE)
    entry_at(c, e->newer)->older = e->older;
  else
    q->newest = e->older;
  if (e->older != NONE)
    entry_at(c, e->older)->newer = e->newer;
  else
    q->oldest = e->newer;
  q->count--;
  q->bytes -= bytes_of(e);
}

void ub_queue_add (ub_cache *c, uint32_t i, uint32_t to) {
  entry *e = entry_at(c, i);
  fifo *q = &c->queue[to];
  e->queue = to;
  e->newer = NONE;
  e->older = q->newest;
  if (q->newest != NONE)
    entry_at(c, q->newest)->newer = i;
  else
    q->oldest = i;
  q->newest = i;
  q->count++;
  q->bytes += bytes_of(e);
}

/* To the new end of a queue, with so many hits. */
static void move (ub_cache *c, uint32_t i, uint32_t to, uint32_t hits) {
  entry *e = entry_at(c, i);
  ub_queue_remove(c, i);
  store(&e->hits, hits);
  e->stamp = ++c->stamp;
  ub_queue_add(c, i, to);
}

/* }============================================================================ */

/* {== The ghosts ============================================================= */

/* A ring of as many as there may be entries, and chains by hash. */
static ghost *ghost_at (const ub_cache *c, uint32_t i) {
  return (ghost *)(void *)((char *)c + c->ghosts_at) + i;
}

static uint32_t *haunt_of (const ub_cache *c, uint64_t hash) {
  return (uint32_t *)(void *)((char *)c + c->haunts_at) + (hash & c->mask);
}

void ub_ghosts_forget (ub_cache *c) {
  uint32_t *haunt = haunt_of(c, 0), i;
  for (i = 0; i <= c->mask; i++)
    haunt[i] = NONE;
  c->ghosts = 0;
  c->share = BEGIN;
}

static void unchain (ub_cache *c, uint32_t i) {
  ghost *g = ghost_at(c, i);
  uint32_t *link = haunt_of(c, g->hash);
  while (*link != i)
    link = &ghost_at(c, *link)->chain;
  *link = g->chain;
  g->queue = QUEUES;
}

static void leave_ghost (ub_cache *c, const entry *e) {
  uint32_t i = (uint32_t)(c->ghosts % c->config.entries), *haunt = haunt_of(c, e->hash);
  ghost *g = ghost_at(c, i);
  if (c->ghosts >= c->config.entries && g->queue != QUEUES)
    unchain(c, i);
  *g = (ghost){.hash = e->hash, .chain = *haunt, .queue = e->queue};
  *haunt = i;
  c->ghosts++;
}

/* The queue that the hash was put out of of late, or QUEUES; the ghost goes. */
static uint32_t take_ghost (ub_cache *c, uint64_t hash) {
  uint32_t i = *haunt_of(c, hash), last, age, from;
  while (i != NONE && ghost_at(c, i)->hash != hash)
    i = ghost_at(c, i)->chain;
  if (i == NONE)
    return QUEUES;
  last = (uint32_t)((c->ghosts - 1) % c->config.entries);
  age = last >= i ? last - i : last + c->config.entries - i;
  from = ghost_at(c, i)->queue;
  unchain(c, i);
  return age < c->stats.entries ? from : QUEUES;
}

/* }============================================================================ */

/* S is to have room for so many entries more. */
static void grow (ub_cache *c, int64_t entries) {
  int64_t share = c->share + entries * (ALL / ((int64_t)c->stats.entries + 1) + 1);
  c->share = (uint32_t)(share < LEAST ? LEAST : share > MOST ? MOST : share);
}

uint32_t ub_queue_for (ub_cache *c, uint64_t hash) {
  uint32_t from = take_ghost(c, hash);
  if (from == QUEUES)
    return QUEUE_S;
  grow(c, from == QUEUE_S ? GROW : -SHRINK);
  return QUEUE_M;
}

/* The queue that has more than its share. */
static uint32_t longer_queue (const ub_cache *c, int for_bytes) {
  const fifo *s = &c->queue[QUEUE_S], *m = &c->queue[QUEUE_M];
  double have = for_bytes ? (double)s->bytes : s->count;
  double all = for_bytes ? (double)(s->bytes + m->bytes) : s->count + m->count;
  if (s->count == 0 || m->count == 0)
    return s->count == 0 ? QUEUE_M : QUEUE_S;
  return have * ALL >= all * c->share ? QUEUE_S : QUEUE_M;
}

/* May the oldest of a queue stay? Then it has been moved. */
static int spare (ub_cache *c, uint32_t i, uint32_t of) {
  uint32_t hits = load(&entry_at(c, i)->hits);
  if (of == QUEUE_S && hits > S_HITS)
    move(c, i, QUEUE_M, 0);
  else if (of == QUEUE_M && hits > 0)
    move(c, i, QUEUE_M, hits - 1);
  else
    return 0;
  return 1;
}

void ub_cache_evict (ub_cache *c, int for_bytes, int64_t now_us) {
  uint32_t i, of, looks = 0;
  do {
    of = longer_queue(c, for_bytes);
    i = c->queue[of].oldest;
    if (ub_entry_is_gone(c, entry_at(c, i), now_us)) {
      c->stats.expired++;
      ub_entry_drop(c, i);
      return;
    }
  } while (looks++ < LOOKS && spare(c, i, of));
  leave_ghost(c, entry_at(c, i));
  c->stats.evicted++;
  ub_entry_drop(c, i);
}
