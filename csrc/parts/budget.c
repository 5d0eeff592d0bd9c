/*
** budget.c: how many second tries a client may afford.
*/
#include "parts/budget.h"

#include "base/err.h"
#include "base/slots.h"

#define HAIR 1e-9  /* 0.29 × 100 is a hair under 29 */

static ub_slots *slots (const ub_budget *b) {
  return (ub_slots *)(b + 1);
}

size_t ub_budget_size (void) {
  return sizeof(ub_budget) + ub_slots_size(UB_BUDGET_PERMITS);
}

void ub_budget_init (ub_budget *b, const ub_budget_config *config) {
  b->config = *config;
  b->tokens = config->tokens;
  b->active = 0;
  b->refused = 0;
  ub_slots_init(slots(b), UB_BUDGET_PERMITS);
}

void ub_budget_begin (ub_budget *b) {
  b->active++;
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
  if (b->active == 0)
    return 0;
  b->active--;
  if (clean)
    earn(b, 1);
  return 1;
}

uint32_t ub_budget_permits (const ub_budget *b) {
  return slots(b)->now.used;
}
