/*
** budget.c: how many second tries a client may afford.
*/
#include "parts/budget.h"

#include <string.h>

#include "base/err.h"
#include "base/process_set.h"
#include "base/slots.h"

#define HAIR 1e-9  /* 0.29 × 100 is a hair under 29 */

/* The calls under way by process. Of the process that an operation is of: its slot
** and, in the lower half, its calls before; one word, so that the pair is always true. */
typedef struct held {
  uint64_t before;
  uint32_t calls[UB_PROCESSES];
} held;

static held *held_by (const ub_budget *b) {
  return (held *)(b + 1);
}

static ub_slots *slots (const ub_budget *b) {
  return (ub_slots *)(held_by(b) + 1);
}

/* The calls of the process that is at work; 0 where the budget is private. */
static uint32_t *own_calls (const ub_budget *b) {
  return &held_by(b)->calls[slots(b)->owner];
}

size_t ub_budget_size (void) {
  return sizeof(ub_budget) + sizeof(held) + ub_slots_size(UB_BUDGET_PERMITS);
}

void ub_budget_init (ub_budget *b, const ub_budget_config *config) {
  b->config = *config;
  b->tokens = config->tokens;
  b->active = 0;
  b->refused = 0;
  memset(held_by(b), 0, sizeof(held));
  ub_slots_init(slots(b), UB_BUDGET_PERMITS);
}

void ub_budget_begin (ub_budget *b) {
  b->active++;
  ++*own_calls(b);
}

static double cost_of (const ub_budget *b, ub_budget_kind kind) {
  return kind == UB_BUDGET_THROTTLE ? b->config.throttle_cost : b->config.retry_cost;
}

/* Is one permit more within the share of the calls under way? */
static int has_permit (const ub_budget *b) {
  const ub_budget_config *c = &b->config;
  double share = c->ratio * (double)b->active;
  return slots(b)->now.used + 1 <= (share > c->floor ? share : c->floor) + HAIR;
}

int ub_budget_take (ub_budget *b, ub_budget_kind kind, uint64_t *permit) {
  double cost = cost_of(b, kind);
  if (b->tokens < cost || !has_permit(b)
      || (*permit = ub_slots_issue(slots(b), 0, kind)) == 0) {
    b->refused++;
    return UB_EBUDGET;
  }
  b->tokens -= cost;
  return UB_OK;
}

static void earn (ub_budget *b, double tokens) {
  b->tokens += tokens;
  if (b->tokens > b->config.tokens)
    b->tokens = b->config.tokens;
}

int ub_budget_give (ub_budget *b, uint64_t permit, int ok) {
  ub_slot *slot = ub_slots_find(slots(b), permit);
  if (slot == NULL)
    return 0;
  if (ok)
    earn(b, cost_of(b, (ub_budget_kind)slot->tag));
  ub_slots_release(slots(b), slot);
  return 1;
}

int ub_budget_finish (ub_budget *b, int clean) {
  if (*own_calls(b) == 0)
    return 0;
  b->active--;
  --*own_calls(b);
  if (clean)
    earn(b, 1);
  return 1;
}

uint32_t ub_budget_permits (const ub_budget *b) {
  return slots(b)->now.used;
}

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  (void)config;
  return ub_budget_size();
}

static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_budget);
}

static void part_init (void *b, const void *config, int64_t now_us) {
  (void)now_us;
  ub_budget_init(b, config);
}

/* The calls of this process are going to change: 'repair' puts them back. */
static void note_held (ub_budget *b, uint32_t process) {
  held *h = held_by(b);
  uint64_t before = (uint64_t)process << 32 | h->calls[process];
  __atomic_store_n(&h->before, before, __ATOMIC_SEQ_CST);
}

static void part_begin (void *b, uint32_t process) {
  ub_slots_log_begin(slots(b), process);
  note_held(b, process);
}

static void part_repair (void *b) {
  held *h = held_by(b);
  h->calls[h->before >> 32] = (uint32_t)h->before;
  ub_slots_log_undo(slots(b));
}

static int part_release (void *machine, uint32_t process) {
  ub_budget *b = machine;
  ub_slot *slot = ub_slots_of(slots(b), process);
  if (held_by(b)->calls[process] > 0) {
    note_held(b, process);
    b->active -= held_by(b)->calls[process];
    held_by(b)->calls[process] = 0;
  } else if (slot != NULL)
    ub_slots_release(slots(b), slot);
  else
    return 0;
  return 1;
}

const ub_part_type ub_budget_part = {
  .kind = "budget", .version = 1, .size = part_size, .head = part_head, .init = part_init,
  .begin = part_begin, .repair = part_repair, .release = part_release
};

/* }============================================================================ */
