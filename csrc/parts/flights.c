/*
** flights.c: who asks a question for all processes.
*/
#include "parts/flights.h"

#include <string.h>

#define NONE      UINT32_MAX
#define INDEX     16  /* bits of a ticket that are the entry's place */
#define SEQUENCE  ((UINT64_C(1) << 37) - 1)

/* Keep the compiler from moving a store across: a process may die between the two. */
#define in_order() __asm__ volatile ("" ::: "memory")

typedef struct entry {
  uint64_t hash;
  uint64_t sequence;   /* 0: never used */
  int64_t until_us;    /* led: no longer than that; else: known so long */
  uint32_t process;    /* who leads */
  uint16_t state;
  uint16_t priority;
  ub_process_set followers;
} entry;

/* The entry that an operation changes, as it was, for 'part_repair'. */
typedef struct undo_log {
  uint32_t which;
  entry old;
} undo_log;

static undo_log *log_of (const ub_flights *f) {
  return (undo_log *)(f + 1);
}

static entry *entries (const ub_flights *f) {
  return (entry *)(log_of(f) + 1);
}

size_t ub_flights_size (const ub_flights_config *config) {
  return sizeof(ub_flights) + sizeof(undo_log) + config->flights * sizeof(entry);
}

void ub_flights_init (ub_flights *f, const ub_flights_config *config) {
  memset(f, 0, ub_flights_size(config));
  f->config = *config;
  f->latest_us = INT64_MIN;
  f->process = 1;
  log_of(f)->which = NONE;
}

static int64_t moved_on (ub_flights *f, int64_t now_us) {
  if (now_us > f->latest_us)
    f->latest_us = now_us;
  return f->latest_us;
}

/* This is the entry that the operation is going to change. */
static void note (ub_flights *f, const entry *e) {
  undo_log *u = log_of(f);
  u->which = NONE;
  in_order();
  u->old = *e;
  in_order();
  u->which = (uint32_t)(e - entries(f));
  in_order();
}

static uint64_t ticket_of (const ub_flights *f, const entry *e) {
  return (e->sequence & SEQUENCE) << INDEX | (uint64_t)(e - entries(f));
}

/* The entry that the ticket was given for, or NULL. */
static entry *find (const ub_flights *f, uint64_t ticket) {
  uint64_t i = ticket & ((UINT64_C(1) << INDEX) - 1);
  entry *e = &entries(f)[i < f->config.flights ? i : 0];
  return e->sequence != 0 && ticket_of(f, e) == ticket ? e : NULL;
}

/* {== Claiming =============================================================== */

static entry *set_of (const ub_flights *f, uint64_t hash) {
  return &entries(f)[hash % (f->config.flights / UB_FLIGHTS_WAYS) * UB_FLIGHTS_WAYS];
}

static int is_led (const entry *e, int64_t now_us) {
  return e->state == UB_FLIGHT_LED && now_us < e->until_us;
}

/* Which of two entries that nobody leads is given away first? */
static int is_older (const entry *a, const entry *b) {
  return b == NULL || a->sequence == 0 || (b->sequence != 0 && a->until_us < b->until_us);
}

/* The question's entry, or one that may become it; NULL: the set is full. */
static entry *place_for (const ub_flights *f, uint64_t hash, int64_t now_us) {
  entry *e = set_of(f, hash), *best = NULL;
  int i;
  for (i = 0; i < UB_FLIGHTS_WAYS; i++, e++) {
    if (e->sequence != 0 && e->hash == hash)
      return e;
    if (!is_led(e, now_us) && is_older(e, best))
      best = e;
  }
  return best;
}

static ub_flight_claim follow (ub_flights *f, entry *e, uint32_t priority) {
  if (e->process == f->process || priority < e->priority) {
    f->refused++;
    return (ub_flight_claim){.part = UB_FLIGHT_ALONE};
  }
  note(f, e);
  ub_set_add(&e->followers, f->process);
  f->followed++;
  return (ub_flight_claim){.part = UB_FLIGHT_FOLLOW, .ticket = ticket_of(f, e)};
}

ub_flight_claim ub_flights_claim (ub_flights *f, uint64_t hash, uint32_t priority,
                                  int64_t until_us, int64_t now_us) {
  entry *e;
  int kept;
  now_us = moved_on(f, now_us);
  e = place_for(f, hash, now_us);
  if (e != NULL && e->hash == hash && is_led(e, now_us))
    return follow(f, e, priority);
  if (e == NULL || f->process == 0) {
    f->refused++;
    return (ub_flight_claim){.part = UB_FLIGHT_ALONE};
  }
  kept = e->hash == hash && e->state == UB_FLIGHT_KEPT && now_us < e->until_us;
  note(f, e);
  f->sequence++;
  f->led++;
  *e = (entry){.hash = hash, .sequence = f->sequence, .until_us = until_us,
               .process = f->process, .state = UB_FLIGHT_LED, .priority = (uint16_t)priority};
  return (ub_flight_claim){.part = UB_FLIGHT_LEAD, .ticket = ticket_of(f, e), .kept = kept};
}

/* }============================================================================ */

/* {== Ends =================================================================== */

ub_flight_state ub_flights_look (ub_flights *f, uint64_t ticket, int64_t now_us,
                                 uint32_t *process) {
  const entry *e = find(f, ticket);
  if (e == NULL)
    return UB_FLIGHT_GONE;
  *process = e->process;
  if (e->state == UB_FLIGHT_LED && !is_led(e, moved_on(f, now_us)))
    return UB_FLIGHT_FAILED;
  return (ub_flight_state)e->state;
}

static void end (ub_flights *f, entry *e, ub_flight_state how) {
  note(f, e);
  e->state = (uint16_t)how;
  e->until_us = f->latest_us + UB_FLIGHTS_KNOWN_US;
}

int ub_flights_finish (ub_flights *f, uint64_t ticket, ub_flight_state how, int64_t now_us,
                       ub_process_set *followers) {
  entry *e = find(f, ticket);
  moved_on(f, now_us);
  if (e == NULL || e->state != UB_FLIGHT_LED || e->process != f->process)
    return 0;
  end(f, e, how);
  *followers = e->followers;
  return 1;
}

int ub_flights_orphan (ub_flights *f, uint64_t ticket) {
  entry *e = find(f, ticket);
  if (e == NULL || e->state != UB_FLIGHT_LED)
    return 0;
  end(f, e, UB_FLIGHT_FAILED);
  f->orphaned++;
  return 1;
}

uint32_t ub_flights_open (const ub_flights *f) {
  uint32_t i, open = 0;
  for (i = 0; i < f->config.flights; i++)
    open += is_led(&entries(f)[i], f->latest_us);
  return open;
}

/* }============================================================================ */

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_flights_size(config);
}

static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_flights);
}

static void part_init (void *f, const void *config, int64_t now_us) {
  (void)now_us;
  ub_flights_init(f, config);
}

static void part_begin (void *machine, uint32_t process) {
  ub_flights *f = machine;
  log_of(f)->which = NONE;
  f->process = process;
}

static void part_repair (void *f) {
  const undo_log *u = log_of(f);
  if (u->which != NONE)
    entries(f)[u->which] = u->old;
}

/* One claim of that process, which is gone. */
static int part_release (void *machine, uint32_t process) {
  ub_flights *f = machine;
  uint32_t i;
  for (i = 0; i < f->config.flights; i++) {
    entry *e = &entries(f)[i];
    if (e->state == UB_FLIGHT_LED && e->process == process) {
      end(f, e, UB_FLIGHT_FAILED);
      f->orphaned++;
      return 1;
    }
  }
  return 0;
}

const ub_part_type ub_flights_part = {
  .kind = "flights", .version = 1, .size = part_size, .head = part_head, .init = part_init,
  .begin = part_begin, .repair = part_repair, .release = part_release
};

/* }============================================================================ */
