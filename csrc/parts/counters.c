/*
** counters.c: named numbers.
*/
#include "parts/counters.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

#define NONE UINT32_MAX
#define MOST_LINKS 3  /* counters whose neighbours one operation changes */

/* Keep the compiler from moving a store across: a process may die between the two. */
#define in_order() __asm__ volatile ("" ::: "memory")

typedef enum counter_kind { SUM, SLIDING, PEAK } counter_kind;

typedef struct counter {
  uint32_t next;       /* in its chain, or in the list of free ones */
  uint16_t length;     /* of the name; 0: free */
  uint16_t kind;
  int64_t window_us;   /* of a sliding sum; how long a peak is kept */
  int64_t start_us;    /* of this window; when the peak was kept */
  uint32_t newer, older;  /* neighbours in the list of use */
  double now, before;
  char name[UB_COUNTERS_NAME];
} counter;

typedef struct links {
  uint32_t counter, newer, older;
} links;

/* What an operation changes, as it was, for 'part_repair': a counter (NONE: none), and
** places in the list of use. */
typedef struct undo_log {
  uint32_t which, count;
  links links[MOST_LINKS];
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

static void begin_log (ub_counters *c) {
  log_of(c)->which = NONE;
  log_of(c)->count = 0;
}

static void clear_chains (ub_counters *c) {
  memset(heads(c), 0xff, (c->mask + 1) * sizeof(uint32_t));  /* NONE everywhere */
}

void ub_counters_init (ub_counters *c, const ub_counters_config *config) {
  memset(c, 0, sizeof *c);
  c->config = *config;
  c->mask = chains_for(config->counters) - 1;
  c->latest_us = INT64_MIN;
  c->free = c->newest = c->oldest = NONE;
  begin_log(c);
  clear_chains(c);
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

static uint32_t index_of (const ub_counters *c, const counter *k) {
  return (uint32_t)(k - counters(c));
}

static void link_in (ub_counters *c, counter *k) {
  uint32_t *head = chain_of(c, k->name, k->length);
  k->next = *head;
  *head = index_of(c, k);
}

static void unlink_from (ub_counters *c, counter *k) {
  uint32_t *at = chain_of(c, k->name, k->length);
  while (*at != index_of(c, k))
    at = &counters(c)[*at].next;
  *at = k->next;
}

/* }============================================================================ */

/* {== The log and the list of use ============================================== */

/* An operation begins: this is the counter that it is going to change. */
static void note (ub_counters *c, const counter *k) {
  undo_log *u = log_of(c);
  begin_log(c);
  in_order();
  u->old = *k;
  in_order();
  u->which = index_of(c, k);
  in_order();
}

/* Counter i for a change of its neighbours. */
static counter *linked (ub_counters *c, uint32_t i) {
  undo_log *u = log_of(c);
  counter *k = &counters(c)[i];
  u->links[u->count] = (links){i, k->newer, k->older};
  in_order();
  u->count++;
  in_order();
  return k;
}

/* Take a counter that was noted out of the list. */
static void unlist (ub_counters *c, const counter *k) {
  if (k->newer != NONE)
    linked(c, k->newer)->older = k->older;
  else
    c->newest = k->older;
  if (k->older != NONE)
    linked(c, k->older)->newer = k->newer;
  else
    c->oldest = k->newer;
}

/* Put one that was noted at the list's new end. */
static void enlist (ub_counters *c, counter *k) {
  k->newer = NONE;
  k->older = c->newest;
  if (c->newest != NONE)
    linked(c, c->newest)->newer = index_of(c, k);
  else
    c->oldest = index_of(c, k);
  c->newest = index_of(c, k);
}

/* One that was noted is used now. */
static void touch (ub_counters *c, counter *k) {
  if (c->newest == index_of(c, k))
    return;
  unlist(c, k);
  enlist(c, k);
}

/* }============================================================================ */

/* A counter for one name more: a free one, or that of the name not used for the longest. */
static counter *make_room (ub_counters *c) {
  counter *all = counters(c), *k;
  if (c->used == c->config.counters) {
    k = &all[c->oldest];
    note(c, k);
    unlink_from(c, k);
    unlist(c, k);
    c->evicted++;
    return k;
  }
  k = &all[c->free != NONE ? c->free : c->high];
  note(c, k);
  if (c->free != NONE)
    c->free = k->next;
  else
    c->high++;
  c->used++;
  return k;
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
    enlist(c, k);
    begin_anew(k, kind, window_us, now_us);
  } else {
    note(c, k);
    touch(c, k);
    if (k->kind != kind || (kind == SLIDING && k->window_us != window_us))
      begin_anew(k, kind, window_us, now_us);
  }
  return k;
}

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

/* How much of a window must have passed for 'older', of the one before, to count as no more
** than 'room'. */
static double share_passed (double older, double room) {
  return older > room ? 1 - (room > 0 ? room : 0) / older : 0;
}

/* Until the sum, which has just slid, has room for one more. */
static int64_t wait_of (const counter *k, double most, int64_t now_us) {
  int64_t past = now_us - k->start_us;
  double window = (double)k->window_us;
  if (k->now + 1 <= most)  /* the one before has to go */
    return (int64_t)ceil(share_passed(k->before, most - k->now - 1) * window) - past;
  return k->window_us - past + (int64_t)ceil(share_passed(k->now, most - 1) * window);
}

int64_t ub_counters_take (ub_counters *c, ub_counter_name name, double n, double most,
                          int64_t window_us, int64_t now_us) {
  double need = n > 1 ? n : 1;
  counter *k;
  int64_t wait;
  now_us = moved_on(c, now_us);
  k = open_counter(c, name, SLIDING, window_us, now_us);
  slide(k, now_us);
  if (value_at(k, now_us) + need <= most) {
    k->now += n;
    return 0;
  }
  wait = wait_of(k, most - (need - 1), now_us);
  return wait > 0 ? wait : 1;
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
  note(c, k);
  touch(c, k);
  return value_at(k, now_us);
}

int ub_counters_delete (ub_counters *c, ub_counter_name name) {
  counter *k = find(c, name);
  if (k == NULL)
    return 0;
  note(c, k);
  unlink_from(c, k);
  unlist(c, k);
  k->length = 0;
  k->next = c->free;
  c->free = index_of(c, k);
  c->used--;
  return 1;
}

ub_counter_name ub_counters_at (const ub_counters *c, uint32_t i, int64_t now_us,
                                double *value) {
  const counter *k = &counters(c)[i];
  if (now_us < c->latest_us)
    now_us = c->latest_us;
  if (i >= c->high || k->length == 0)  /* never used, or not now */
    return (ub_counter_name){.bytes = k->name};
  *value = value_at(k, now_us);
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
  begin_log(c);
}

/* The counter and the places that were being changed as they were; the index made anew. */
static void part_repair (void *machine) {
  ub_counters *c = machine;
  const undo_log *u = log_of(c);
  counter *all = counters(c);
  uint32_t i;
  for (i = u->count; i > 0; i--) {  /* the first of a counter's is the true one */
    const links *l = &u->links[i - 1];
    all[l->counter].newer = l->newer;
    all[l->counter].older = l->older;
  }
  if (u->which != NONE)
    all[u->which] = u->old;
  clear_chains(c);
  for (i = 0; i < c->high; i++)
    if (all[i].length > 0)
      link_in(c, &all[i]);
}

const ub_part_type ub_counters_part = {
  .kind = "counter", .version = 1, .size = part_size, .head = part_head, .init = part_init,
  .begin = part_begin, .repair = part_repair
};

/* }============================================================================ */
