/*
** counters.c: named numbers.
*/
#include "parts/counters.h"

#include <string.h>

#include "base/hash.h"

#define NONE UINT32_MAX

typedef enum counter_kind { SUM, SLIDING, PEAK } counter_kind;

typedef struct counter {
  uint32_t next;       /* in its chain, or NONE */
  uint16_t length;     /* of the name; 0: free */
  uint16_t kind;
  int64_t window_us;   /* of a sliding sum; how long a peak is kept */
  int64_t start_us;    /* of this window; when the peak was kept */
  int64_t asked_us;    /* for the last time */
  double now, before;
  char name[UB_COUNTERS_NAME];
} counter;

/* The counter that an operation changes, as it was: for 'part_repair'. */
typedef struct undo_log {
  uint32_t which, room;  /* NONE: none */
  counter old;
} undo_log;

static undo_log *log_of (const ub_counters *c) {
  return (undo_log *)(c + 1);
}

static uint32_t *heads (const ub_counters *c) {
  return (uint32_t *)(log_of(c) + 1);
}

static uint32_t chains_for (uint32_t counters) {
  uint32_t n = 2;
  while (n < counters)
    n *= 2;
  return n;
}

static counter *counters (const ub_counters *c) {
  return (counter *)(heads(c) + c->mask + 1);
}

size_t ub_counters_size (const ub_counters_config *config) {
  return sizeof(ub_counters) + sizeof(undo_log) + chains_for(config->counters) * sizeof(uint32_t)
         + config->counters * sizeof(counter);
}

static void clear_chains (ub_counters *c) {
  memset(heads(c), 0xff, (c->mask + 1) * sizeof(uint32_t));  /* NONE everywhere */
}

void ub_counters_init (ub_counters *c, const ub_counters_config *config) {
  uint32_t i;
  memset(c, 0, sizeof *c);
  c->config = *config;
  c->mask = chains_for(config->counters) - 1;
  c->latest_us = INT64_MIN;
  log_of(c)->which = NONE;
  clear_chains(c);
  for (i = 0; i < config->counters; i++)
    counters(c)[i].length = 0;
}

/* {== Finding =============================================================== */

static uint32_t *chain_of (const ub_counters *c, const char *name, size_t length) {
  return &heads(c)[ub_hash(name, length, c->config.seed) & c->mask];
}

static counter *find (const ub_counters *c, ub_counter_name name) {
  counter *all = counters(c);
  uint32_t i = *chain_of(c, name.bytes, name.length);
  for (; i != NONE; i = all[i].next)
    if (all[i].length == name.length && memcmp(all[i].name, name.bytes, name.length) == 0)
      return &all[i];
  return NULL;
}

static void link_in (ub_counters *c, counter *k) {
  uint32_t *head = chain_of(c, k->name, k->length);
  k->next = *head;
  *head = (uint32_t)(k - counters(c));
}

static void unlink_from (ub_counters *c, counter *k) {
  uint32_t *at = chain_of(c, k->name, k->length);
  while (*at != (uint32_t)(k - counters(c)))
    at = &counters(c)[*at].next;
  *at = k->next;
}

/* The counter is going to change. */
static void note (ub_counters *c, const counter *k) {
  undo_log *u = log_of(c);
  __atomic_store_n(&u->which, NONE, __ATOMIC_SEQ_CST);
  u->old = *k;
  __atomic_store_n(&u->which, (uint32_t)(k - counters(c)), __ATOMIC_SEQ_CST);
}

/* Room for one name more: a free counter, or the one not asked for the longest. */
static counter *make_room (ub_counters *c) {
  counter *all = counters(c), *oldest = &all[0];
  uint32_t i;
  for (i = 0; i < c->config.counters; i++) {
    if (all[i].length == 0) {
      note(c, &all[i]);
      c->used++;
      return &all[i];
    }
    if (all[i].asked_us < oldest->asked_us)
      oldest = &all[i];
  }
  note(c, oldest);
  unlink_from(c, oldest);
  c->evicted++;
  return oldest;
}

static int64_t moved_on (ub_counters *c, int64_t now_us) {
  if (now_us > c->latest_us)
    c->latest_us = now_us;
  return c->latest_us;
}

static void begin_anew (counter *k, counter_kind kind, int64_t window_us, int64_t now_us) {
  k->kind = (uint16_t)kind;
  k->window_us = window_us;
  k->start_us = now_us;
  k->now = k->before = 0;
}

/* The counter of that name, ready to be changed. */
static counter *open_counter (ub_counters *c, ub_counter_name name, counter_kind kind,
                              int64_t window_us, int64_t now_us) {
  counter *k = find(c, name);
  if (k == NULL) {
    k = make_room(c);
    k->length = (uint16_t)name.length;
    memcpy(k->name, name.bytes, name.length);
    link_in(c, k);
    begin_anew(k, kind, window_us, now_us);
  } else {
    note(c, k);
    if (k->kind != kind || (kind == SLIDING && k->window_us != window_us))
      begin_anew(k, kind, window_us, now_us);
  }
  k->asked_us = now_us;
  return k;
}

/* }============================================================================ */

/* {== Counting ============================================================== */

/* Let the windows of a sliding sum pass. */
static void slide (counter *k, int64_t now_us) {
  int64_t passed = (now_us - k->start_us) / k->window_us;
  if (passed < 1)
    return;
  k->before = passed == 1 ? k->now : 0;
  k->now = 0;
  k->start_us += passed * k->window_us;
}

/* What the counter says at that time; nothing is written. */
static double value_at (const counter *k, int64_t now_us) {
  counter copy;
  if (k->kind == SUM)
    return k->now;
  if (k->kind == PEAK)
    return now_us - k->start_us < k->window_us ? k->now : 0;
  copy = *k;
  slide(&copy, now_us);
  return copy.now + copy.before
         * (1 - (double)(now_us - copy.start_us) / (double)copy.window_us);
}

double ub_counters_add (ub_counters *c, ub_counter_name name, double n, int64_t window_us,
                        int64_t now_us) {
  counter_kind kind = window_us > 0 ? SLIDING : SUM;
  counter *k;
  now_us = moved_on(c, now_us);
  k = open_counter(c, name, kind, window_us > 0 ? window_us : 0, now_us);
  if (kind == SLIDING)
    slide(k, now_us);
  k->now += n;
  return value_at(k, now_us);
}

double ub_counters_peak (ub_counters *c, ub_counter_name name, double value, int64_t ttl_us,
                         int64_t now_us) {
  counter *k;
  now_us = moved_on(c, now_us);
  k = open_counter(c, name, PEAK, ttl_us, now_us);
  if (value >= value_at(k, now_us)) {
    k->now = value;
    k->window_us = ttl_us;
    k->start_us = now_us;
  }
  return value_at(k, now_us);
}

double ub_counters_get (ub_counters *c, ub_counter_name name, int64_t now_us) {
  counter *k = find(c, name);
  if (k == NULL)
    return 0;
  now_us = moved_on(c, now_us);
  k->asked_us = now_us;  /* one store, harmless alone */
  return value_at(k, now_us);
}

int ub_counters_delete (ub_counters *c, ub_counter_name name) {
  counter *k = find(c, name);
  if (k == NULL)
    return 0;
  note(c, k);
  unlink_from(c, k);
  k->length = 0;
  c->used--;
  return 1;
}

ub_counter_name ub_counters_at (const ub_counters *c, uint32_t i, int64_t now_us,
                                double *value) {
  const counter *k = &counters(c)[i];
  if (now_us < c->latest_us)
    now_us = c->latest_us;
  *value = k->length > 0 ? value_at(k, now_us) : 0;
  return (ub_counter_name){.bytes = k->name, .length = k->length};
}

/* }============================================================================ */

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_counters_size(config);
}

static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_counters);
}

static void part_init (void *c, const void *config, int64_t now_us) {
  (void)now_us;
  ub_counters_init(c, config);
}

static void part_begin (void *c, uint32_t process) {
  (void)process;
  log_of(c)->which = NONE;
}

/* The one counter that was being changed as it was; and the index made anew. */
static void part_repair (void *machine) {
  ub_counters *c = machine;
  const undo_log *u = log_of(c);
  uint32_t i;
  if (u->which != NONE)
    counters(c)[u->which] = u->old;
  clear_chains(c);
  for (i = 0; i < c->config.counters; i++)
    if (counters(c)[i].length > 0)
      link_in(c, &counters(c)[i]);
}

const ub_part_type ub_counters_part = {
  .kind = "counter", .version = 1, .size = part_size, .head = part_head, .init = part_init,
  .begin = part_begin, .repair = part_repair
};

/* }============================================================================ */
