/*
** topk.c: which keys come most often, in a fixed number of counters.
*/
#include "parts/topk.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/rand.h"

#define NONE UINT32_MAX

#define STEPS     64            /* of a half-life, in which time is taken */
#define SPAN      (32 * STEPS)  /* after which the weights begin anew */
#define SURELY    1.5           /* times that a key came for certain before a note is wanted:
                                   twice, perhaps a half-life apart */
#define TOO_LONG  UINT32_MAX    /* a note that there is no room for */

typedef struct counter {
  uint64_t hash, second;  /* of the whole key; second: 0 when all of it is kept */
  uint64_t mark;          /* a hash that can be shown */
  uint64_t length;        /* of the whole key */
  double error;           /* what its count may be too high by */
  uint64_t arrival;       /* 'arrivals' when the key took the counter */
  uint32_t space;         /* of the key */
  uint32_t note;          /* bytes of its note; 0: none; or TOO_LONG */
  uint32_t place;         /* in the heap, where its count is */
  uint32_t next;          /* in its chain of the index */
} counter;

typedef struct place {
  double count;
  uint32_t counter;
} place;

typedef struct identity {
  const ub_topk_key *key;
  size_t kept;
  uint64_t hash, second;
} identity;

/* {== The block ============================================================ */

static counter *counters (const ub_topk *t) {
  return (counter *)(t + 1);
}

static place *heap (const ub_topk *t) {
  return (place *)(counters(t) + t->config.counters);
}

static uint32_t *heads (const ub_topk *t) {
  return (uint32_t *)(heap(t) + t->config.counters);
}

static char *key_of (const ub_topk *t, uint32_t i) {
  return (char *)(heads(t) + t->mask + 1) + (size_t)i * t->config.key_bytes;
}

static char *note_of (const ub_topk *t, uint32_t i) {
  return key_of(t, t->config.counters) + (size_t)i * t->config.note_bytes;
}

static double count_of (const ub_topk *t, uint32_t i) {
  return heap(t)[counters(t)[i].place].count;
}

/* Chains of the index: as many as counters, or up to twice as many. */
static uint32_t chains (uint32_t n) {
  uint32_t power = 1;
  while (power < n)
    power *= 2;
  return power;
}

size_t ub_topk_size (const ub_topk_config *config) {
  size_t each = sizeof(counter) + sizeof(place) + config->key_bytes + config->note_bytes;
  return sizeof(ub_topk) + config->counters * each
         + chains(config->counters) * sizeof(uint32_t);
}

void ub_topk_init (ub_topk *t, const ub_topk_config *config, int64_t now_us) {
  ub_rand seeds;
  ub_rand_init(&seeds, config->seed);
  t->config = *config;
  t->seeds[0] = ub_rand_next(&seeds);
  t->seeds[1] = ub_rand_next(&seeds);
  t->mask = chains(config->counters) - 1;
  t->start_us = now_us;
  t->step = 0;
  t->weight = 1;
  t->used = 0;
  ub_topk_clear(t);
}

/* What was noted of the counter's key is nowhere any more. */
static void wipe_note (ub_topk *t, uint32_t i) {
  counter *c = &counters(t)[i];
  if (c->note > 0 && c->note != TOO_LONG)
    memset(note_of(t, i), 0, t->config.note_bytes);
  c->note = 0;
}

void ub_topk_clear (ub_topk *t) {
  uint32_t i;
  for (i = 0; t->config.note_bytes > 0 && i < t->used; i++) {
    memset(note_of(t, i), 0, t->config.note_bytes);  /* also one that a process died at */
    counters(t)[i].note = 0;
  }
  t->total = 0;
  t->arrivals = 0;
  t->used = 0;
  memset(heads(t), 0xff, (t->mask + (size_t)1) * sizeof(uint32_t));  /* NONE */
}

/* }========================================================================= */

/* {== The index ============================================================ */

static identity identify (const ub_topk *t, const ub_topk_key *key) {
  identity who = {key, key->length, 0, 0};
  who.hash = ub_hash(key->bytes, key->length, t->seeds[0]);
  if (key->length > t->config.key_bytes) {
    who.kept = t->config.key_bytes;
    who.second = ub_hash(key->bytes, key->length, t->seeds[1]);
  }
  return who;
}

static int is (const ub_topk *t, uint32_t i, const identity *who) {
  const counter *c = &counters(t)[i];
  return c->hash == who->hash && c->second == who->second && c->length == who->key->length
         && c->space == who->key->space && memcmp(key_of(t, i), who->key->bytes, who->kept) == 0;
}

/* The key's counter, or NONE. */
static uint32_t find (const ub_topk *t, const identity *who) {
  uint32_t i = heads(t)[who->hash & t->mask];
  while (i != NONE && !is(t, i, who))
    i = counters(t)[i].next;
  return i;
}

static void unlink_counter (ub_topk *t, uint32_t i) {
  const counter *c = &counters(t)[i];
  uint32_t *link = &heads(t)[c->hash & t->mask];
  while (*link != i)
    link = &counters(t)[*link].next;
  *link = c->next;
}

/* The counter is this key's from now on. Its count and place are not touched. */
static void assign (ub_topk *t, uint32_t i, const identity *who, double error) {
  const ub_topk_key *key = who->key;
  counter *c = &counters(t)[i];
  uint32_t *head = &heads(t)[who->hash & t->mask];
  c->hash = who->hash;
  c->second = who->second;
  c->mark = ub_hash(key->bytes, key->length, key->space);
  c->length = key->length;
  c->space = key->space;
  c->error = error;
  c->arrival = t->arrivals++;
  c->next = *head;
  *head = i;
  memcpy(key_of(t, i), key->bytes, who->kept);
}

/* }========================================================================= */

/* {== The heap ============================================================= */

static void put (ub_topk *t, uint32_t at, place p) {
  heap(t)[at] = p;
  counters(t)[p.counter].place = at;
}

/* A new place at the end: up to where its count belongs. */
static void rise (ub_topk *t, uint32_t at) {
  place moved = heap(t)[at];
  for (; at > 0 && heap(t)[(at - 1) / 2].count > moved.count; at = (at - 1) / 2)
    put(t, at, heap(t)[(at - 1) / 2]);
  put(t, at, moved);
}

/* A count has grown: down to where it belongs. */
static void sink (ub_topk *t, uint32_t at) {
  const place *h = heap(t);
  place moved = h[at];
  uint32_t child;
  while ((child = 2 * at + 1) < t->used) {
    if (child + 1 < t->used && h[child + 1].count < h[child].count)
      child++;
    if (h[child].count >= moved.count)
      break;
    put(t, at, h[child]);
    at = child;
  }
  put(t, at, moved);
}

/* }========================================================================= */

/* {== Time ================================================================= */

/* All counts less, by a power of two, and the weights with them. */
static void bring_down (ub_topk *t, int64_t halvings) {
  double factor = ldexp(1, halvings < 2000 ? -(int)halvings : -2000);  /* in the end, 0 */
  uint32_t i;
  for (i = 0; i < t->used; i++) {
    heap(t)[i].count *= factor;
    counters(t)[i].error *= factor;
  }
  t->total *= factor;
}

void ub_topk_move (ub_topk *t, int64_t now_us) {
  int64_t unit = t->config.half_life_us / STEPS, step, halvings;
  if (unit == 0 || (step = (now_us - t->start_us) / unit) <= t->step)
    return;
  if (step >= SPAN) {
    halvings = step / STEPS;
    bring_down(t, halvings);
    t->start_us += halvings * STEPS * unit;
    step -= halvings * STEPS;
  }
  t->step = step;
  t->weight = exp2((double)step / STEPS);
}

/* }========================================================================= */

static double plus (const ub_topk *t, double count, uint64_t n) {
  double sum = count + (double)n * t->weight, end = (double)UB_TOPK_END * t->weight;
  return sum < end ? sum : end;
}

/* A counter that nobody has had. */
static uint32_t list_new (ub_topk *t, const identity *who, uint64_t n) {
  uint32_t i = t->used++;
  counters(t)[i].note = 0;
  assign(t, i, who, 0);
  put(t, i, (place){plus(t, 0, n), i});
  rise(t, i);
  return i;
}

/* The counter of the least count, and that count with it. */
static uint32_t take_over (ub_topk *t, const identity *who, uint64_t n) {
  place *least = &heap(t)[0];
  uint32_t i = least->counter;
  unlink_counter(t, i);
  wipe_note(t, i);
  assign(t, i, who, least->count);
  least->count = plus(t, least->count, n);
  sink(t, 0);
  return i;
}

static int wants_note (const ub_topk *t, uint32_t i) {
  const counter *c = &counters(t)[i];
  return t->config.note_bytes > 0 && c->note == 0
         && count_of(t, i) - c->error >= SURELY * t->weight;
}

int ub_topk_add (ub_topk *t, const ub_topk_key *key, uint64_t n, int64_t now_us) {
  identity who = identify(t, key);
  uint32_t i = find(t, &who);
  ub_topk_move(t, now_us);
  t->total = plus(t, t->total, n);
  if (i != NONE) {
    uint32_t at = counters(t)[i].place;
    heap(t)[at].count = plus(t, heap(t)[at].count, n);
    sink(t, at);
  }
  else if (t->used < t->config.counters)
    i = list_new(t, &who, n);
  else
    i = take_over(t, &who, n);
  return wants_note(t, i);
}

int ub_topk_note (ub_topk *t, const ub_topk_key *key, const char *note, size_t length) {
  identity who = identify(t, key);
  uint32_t i = find(t, &who);
  if (i == NONE || t->config.note_bytes == 0)
    return 0;
  wipe_note(t, i);
  if (length == 0 || length > t->config.note_bytes) {
    counters(t)[i].note = TOO_LONG;
    return 0;
  }
  memcpy(note_of(t, i), note, length);
  counters(t)[i].note = (uint32_t)length;
  return 1;
}

double ub_topk_total (const ub_topk *t) {
  return t->total / t->weight;
}

double ub_topk_least (const ub_topk *t) {
  return t->used < t->config.counters ? 0 : heap(t)[0].count / t->weight;
}

/* {== The list ============================================================= */

/* Does counter 'a' stand before 'b'? */
static int before (const ub_topk *t, uint32_t a, uint32_t b) {
  const counter *x = &counters(t)[a], *y = &counters(t)[b];
  double left = count_of(t, a), right = count_of(t, b);
  if (left != right) return left > right;
  if (x->error != y->error) return x->error < y->error;
  return x->arrival < y->arrival;
}

/* Put 'moved' into the heap 'out' of n, at the top or below: the last stands on top. */
static void settle (const ub_topk *t, uint32_t *out, uint32_t n, uint32_t at, uint32_t moved) {
  uint32_t child;
  while ((child = 2 * at + 1) < n) {
    if (child + 1 < n && before(t, out[child], out[child + 1]))
      child++;
    if (!before(t, moved, out[child]))
      break;
    out[at] = out[child];
    at = child;
  }
  out[at] = moved;
}

uint32_t ub_topk_top (const ub_topk *t, uint32_t *out, uint32_t n) {
  uint32_t i;
  n = n < t->used ? n : t->used;
  for (i = 0; i < n; i++)
    out[i] = i;
  for (i = n / 2; i-- > 0;)
    settle(t, out, n, i, out[i]);
  for (i = n; n > 0 && i < t->used; i++)
    if (before(t, i, out[0]))
      settle(t, out, n, 0, i);
  for (i = n; i > 1;) {  /* the last one goes behind the rest, again and again */
    uint32_t moved = out[--i];
    out[i] = out[0];
    settle(t, out, i, 0, moved);
  }
  return n;
}

/* The length of the UTF-8 character that this byte begins; 0: it begins none. */
static size_t character (unsigned char byte) {
  if (byte < 0x80) return 1;
  if (byte < 0xc0) return 0;
  if (byte < 0xe0) return 2;
  return byte < 0xf0 ? 3 : 4;
}

/* 'length' less the last character, if it is not whole. */
static size_t whole_characters (const char *bytes, size_t length) {
  size_t back;
  for (back = 1; back < 4 && back <= length; back++) {
    size_t wanted = character((unsigned char)bytes[length - back]);
    if (wanted > 0)
      return wanted > back ? length - back : length;
  }
  return length;  /* no UTF-8: as it is */
}

ub_topk_entry ub_topk_get (const ub_topk *t, uint32_t i) {
  const counter *c = &counters(t)[i];
  ub_topk_entry e = {.key = key_of(t, i), .length = c->length, .mark = c->mark,
                     .count = count_of(t, i) / t->weight, .error = c->error / t->weight};
  if (c->note > 0 && c->note != TOO_LONG) {
    e.note = note_of(t, i);
    e.note_length = c->note;
  }
  if (c->length > t->config.key_bytes) {
    e.cut = 1;
    e.length = whole_characters(e.key, t->config.key_bytes);
  }
  return e;
}

/* }========================================================================= */

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_topk_size(config);
}

static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_topk);
}

static void part_init (void *t, const void *config, int64_t now_us) {
  ub_topk_init(t, config, now_us);
}

static void part_repair (void *t) {
  ub_topk_clear(t);
}

const ub_part_type ub_topk_part = {
  .kind = "topk", .version = 2, .size = part_size, .head = part_head, .init = part_init,
  .repair = part_repair
};

/* }============================================================================ */
