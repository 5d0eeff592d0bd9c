/*
** balancer.c: which target the next call goes to.
*/
#include "parts/balancer.h"

#include <math.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/slots.h"

#define ONE            1000000               /* weight 1, as a share */
#define DEAR_US        1e15                  /* a pending target without a sample */
#define FAIL_LEAST_US  (1.0 * UB_SECOND_US)  /* what a failure counts at least */
#define FAIL_MOST_US   (60.0 * UB_SECOND_US) /* where doubling ends */
#define LONG_AGO       (INT64_MIN / 2)

static ub_slots *slots (const ub_balancer *b) {
  return (ub_slots *)(b->target + b->config.targets);
}

size_t ub_balancer_size (const ub_balancer_config *config) {
  return sizeof(ub_balancer) + config->targets * sizeof(ub_balancer_target)
         + ub_slots_size(config->slots);
}

void ub_balancer_init (ub_balancer *b, const ub_balancer_config *config) {
  uint32_t i;
  b->config = *config;
  ub_rand_init(&b->rand, config->seed);
  for (i = 0; i < config->targets; i++) {
    b->target[i] = (ub_balancer_target){0};
    b->target[i].cost_us = UB_BALANCER_NO_COST;
    b->target[i].cost_at = b->target[i].fail_at = LONG_AGO;
    ub_balancer_set_target(b, i, 1, 1);
  }
  ub_slots_init(slots(b), config->slots);
}

void ub_balancer_set_target (ub_balancer *b, uint32_t place, double weight, int64_t priority) {
  int64_t share = (int64_t)floor(weight * ONE + 0.5);
  b->target[place].share = weight > 0 && share == 0 ? 1 : share;
  b->target[place].priority = priority;
}

void ub_balancer_rule_out (ub_balancer_set *except, uint32_t place) {
  except->word[place / 64] |= (uint64_t)1 << place % 64;
}

/* ---- loads ---- */

/* What is left of 1 after so long. */
static double faded (const ub_balancer *b, const ub_balancer_target *t, int64_t now) {
  double since = (double)now - (double)t->cost_at;
  return since > 0 ? exp(-since / (double)b->config.decay_us) : 1;
}

static double load_of (const ub_balancer *b, const ub_balancer_target *t, int64_t now) {
  double weight = t->share > 0 ? (double)t->share / ONE : 1;
  double cost = t->cost_us;
  if (cost < 0)
    cost = t->pending > 0 ? DEAR_US : 0;
  else if (t->pending == 0)
    cost *= faded(b, t, now);
  return cost * (t->pending + 1.0) / weight;
}

double ub_balancer_load (const ub_balancer *b, uint32_t place, int64_t now_us) {
  return load_of(b, &b->target[place], now_us);
}

static void sample (ub_balancer *b, ub_balancer_target *t, double took, int64_t now) {
  if (took < t->cost_us)
    took += (t->cost_us - took) * faded(b, t, now);
  t->cost_us = took;
  t->cost_at = now;
}

/* A failure's sample, which is never below the cost. */
static double dearer (ub_balancer_target *t, double took, int64_t issued, int64_t now) {
  double least = fmax(t->cost_us, FAIL_LEAST_US);
  if (issued > t->fail_at || now < t->fail_at) {  /* a clock set back forgives nothing */
    least = fmax(least, fmin(2 * t->cost_us, FAIL_MOST_US));
    t->fail_at = now;
  }
  return fmax(took, least);
}

/* ---- choices ---- */

/* Who is asked: 'count' targets of the one kind that comes first. */
typedef struct choice {
  const ub_balancer_set *except;
  uint32_t count;
  int spare;         /* 1: they are spares, no other is left */
  int64_t priority;  /* the one they all have; 0 where it does not matter */
} choice;

static int is_spare (const ub_balancer_target *t) {
  return t->share == 0;
}

static int64_t priority_of (const ub_balancer *b, const ub_balancer_target *t) {
  return b->config.kind == UB_BALANCER_PRIORITY ? t->priority : 0;
}

static int is_ruled_out (const ub_balancer_set *except, uint32_t place) {
  return (int)(except->word[place / 64] >> place % 64 & 1);
}

/* Below 0: the target comes before those of the choice; 0: it is one of them. */
static int compared (const ub_balancer *b, const ub_balancer_target *t, const choice *c) {
  int64_t priority = priority_of(b, t);
  if (is_spare(t) != c->spare)
    return is_spare(t) - c->spare;
  return (priority > c->priority) - (priority < c->priority);
}

static choice who (const ub_balancer *b, const ub_balancer_set *except) {
  choice c = {except, 0, 0, 0};
  uint32_t i;
  for (i = 0; i < b->config.targets; i++) {
    const ub_balancer_target *t = &b->target[i];
    if (is_ruled_out(except, i))
      continue;
    if (c.count == 0 || compared(b, t, &c) < 0)
      c = (choice){except, 1, is_spare(t), priority_of(b, t)};
    else if (compared(b, t, &c) == 0)
      c.count++;
  }
  return c;
}

static int is_asked (const ub_balancer *b, const choice *c, uint32_t place) {
  return !is_ruled_out(c->except, place) && compared(b, &b->target[place], c) == 0;
}

static uint32_t by_weight (ub_balancer *b, const choice *c) {
  uint32_t i, best = b->config.targets;
  int64_t sum = 0;
  for (i = 0; i < b->config.targets; i++) {
    ub_balancer_target *t = &b->target[i];
    int64_t share = c->spare ? ONE : t->share;
    if (!is_asked(b, c, i))
      continue;
    t->credit += share;
    sum += share;
    if (best == b->config.targets || t->credit > b->target[best].credit)
      best = i;
  }
  b->target[best].credit -= sum;
  return best;
}

/* The place of the n-th of those asked; n counts from 0. */
static uint32_t nth (const ub_balancer *b, const choice *c, uint32_t n) {
  uint32_t i = 0;
  while (!is_asked(b, c, i) || n-- > 0)
    i++;
  return i;
}

static uint32_t below (ub_balancer *b, uint32_t n) {
  return (uint32_t)(ub_rand_unit(&b->rand) * n);
}

static uint32_t of_two (ub_balancer *b, const choice *c, int64_t now) {
  uint32_t one, other;
  if (c->count == 1)
    return nth(b, c, 0);
  one = below(b, c->count);
  other = below(b, c->count - 1);
  other += other >= one;
  one = nth(b, c, one);
  other = nth(b, c, other);
  return ub_balancer_load(b, other, now) < ub_balancer_load(b, one, now) ? other : one;
}

/* ---- calls ---- */

static void give_back (ub_balancer *b, ub_slot *slot) {
  b->target[slot->tag].pending--;
  ub_slots_release(slots(b), slot);
}

int ub_balancer_pick (ub_balancer *b, const ub_balancer_set *except, int64_t now_us,
                      uint32_t *place, uint64_t *ticket) {
  choice c = who(b, except);
  if (c.count == 0)
    return UB_EOPEN;
  if (slots(b)->now.used == b->config.slots)
    give_back(b, ub_slots_oldest(slots(b)));
  *place = b->config.kind == UB_BALANCER_P2C ? of_two(b, &c, now_us) : by_weight(b, &c);
  *ticket = ub_slots_issue(slots(b), now_us, *place);
  b->target[*place].picks++;
  b->target[*place].pending++;
  return UB_OK;
}

int ub_balancer_report (ub_balancer *b, uint64_t ticket, ub_balancer_outcome outcome,
                        int64_t took_us, int64_t now_us) {
  ub_slot *slot = ub_slots_find(slots(b), ticket);
  ub_balancer_target *t;
  double took = (double)took_us;
  if (slot == NULL)
    return 0;
  t = &b->target[slot->tag];
  if (took_us < 0)
    took = now_us > slot->issued_us ? (double)(now_us - slot->issued_us) : 0;
  if (outcome == UB_BALANCER_FAIL)
    took = dearer(t, took, slot->issued_us, now_us);
  if (outcome != UB_BALANCER_NEUTRAL)
    sample(b, t, took, now_us);
  give_back(b, slot);
  return 1;
}
