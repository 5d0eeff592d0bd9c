/*
** balancer.c: which target the next call goes to.
*/
#include "parts/balancer.h"

#include <math.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/slots.h"

#define ONE            1000000  /* weight 1, as a share */
#define DEAR_US        1e15     /* a pending target without a sample */
#define STARTED        ((uint64_t)1 << 32)  /* in a slot's tag, beside its place */
#define RAMP_STEP_US   (2 * UB_SECOND_US)
#define RAMP_STEPS     4
#define LONG_AGO       (INT64_MIN / 2)

static const int64_t ramp[RAMP_STEPS] = {10, 25, 50, 100};  /* per cent, as of limits */

typedef struct target {
  int64_t share;     /* the weight in millionths; 0: a spare */
  int64_t credit;    /* of the round robin; of 'order', while it comes back */
  int64_t priority;
  uint64_t id;
  int64_t back_at;   /* when its ramp began */
  uint64_t picks;
  uint64_t pending;
  ub_peak cost;
  ub_room room;
} target;

struct ub_balancer {
  ub_balancer_kind kind;
  uint32_t targets, slots;
  int64_t decay_us;
  ub_rand rand;
  target target[];  /* behind them the slots */
};

static ub_slots *slots (const ub_balancer *b) {
  return (ub_slots *)(b->target + b->targets);
}

static size_t before_slots (const ub_balancer_config *config) {
  return sizeof(ub_balancer) + config->targets * sizeof(target);
}

size_t ub_balancer_config_size (uint32_t targets) {
  return sizeof(ub_balancer_config) + targets * sizeof(ub_balancer_spec);
}

size_t ub_balancer_size (const ub_balancer_config *config) {
  return before_slots(config) + ub_slots_size(config->slots);
}

int64_t ub_balancer_share (double weight) {
  int64_t share = (int64_t)floor(weight * ONE + 0.5);
  return weight > 0 && share == 0 ? 1 : share;
}

void ub_balancer_init (ub_balancer *b, const ub_balancer_config *config) {
  uint32_t i;
  *b = (ub_balancer){.kind = config->kind, .targets = config->targets, .slots = config->slots,
                     .decay_us = config->decay_us};
  ub_rand_init(&b->rand, config->seed);
  for (i = 0; i < config->targets; i++) {
    const ub_balancer_spec *spec = &config->spec[i];
    target *t = &b->target[i];
    *t = (target){.share = spec->share, .priority = spec->priority, .id = spec->id,
                  .back_at = LONG_AGO};
    ub_peak_init(&t->cost);
    ub_room_init(&t->room, spec->line_us, spec->hold_us);
  }
  ub_slots_init(slots(b), config->slots);
}

void ub_balancer_rule_out (ub_balancer_set *except, uint32_t place) {
  except->word[place / 64] |= (uint64_t)1 << place % 64;
}

/* {== Shares and loads ======================================================= */

/* Of its share, what a target takes now, in per cent. */
static int64_t ramp_of (const target *t, int64_t now) {
  int64_t step = (now - t->back_at) / RAMP_STEP_US;
  if (step >= RAMP_STEPS)
    return ramp[RAMP_STEPS - 1];
  return ramp[step < 0 ? 0 : step];
}

static int is_spare (const target *t) {
  return t->share == 0;
}

static int64_t share_of (const target *t, int64_t now) {
  int64_t share = (is_spare(t) ? ONE : t->share) * ramp_of(t, now) / 100;
  return share > 0 ? share : 1;
}

static double load_of (const ub_balancer *b, const target *t, int64_t now) {
  double cost = t->cost.us;
  if (cost < 0)
    cost = t->pending > 0 ? DEAR_US : 0;
  else if (t->pending == 0)
    cost *= ub_peak_left(&t->cost, b->decay_us, now);
  return cost * ((double)t->pending + 1) * ONE / (double)share_of(t, now);
}

ub_balancer_stats ub_balancer_read (const ub_balancer *b, uint32_t place, int64_t now_us) {
  const target *t = &b->target[place];
  int wide = ub_room_would_have(&t->room, UINT32_MAX, now_us);
  return (ub_balancer_stats){
    .picks = t->picks, .pending = t->pending, .cost_us = t->cost.us,
    .load_us = load_of(b, t, now_us), .room = wide ? INFINITY : t->room.room,
    .share = (double)ramp_of(t, now_us) / 100
  };
}

int ub_balancer_back (ub_balancer *b, uint32_t place, int64_t now_us) {
  target *t = &b->target[place];
  if (place >= b->targets)
    return 0;
  t->back_at = now_us;
  if (b->kind == UB_BALANCER_ORDER)
    t->credit = 0;
  ub_peak_init(&t->cost);
  return 1;
}

/* }============================================================================ */

/* {== Who is asked =========================================================== */

/* 'count' targets of the one kind that comes first. */
typedef struct choice {
  const ub_balancer_set *except;
  uint32_t count;
  int spare;         /* 1: they are spares, no other is left */
  int64_t priority;  /* the one they all have; 0 where it does not matter */
} choice;

static int64_t priority_of (const ub_balancer *b, const target *t) {
  return b->kind == UB_BALANCER_PRIORITY ? t->priority : 0;
}

static int is_ruled_out (const ub_balancer_set *except, uint32_t place) {
  return (int)(except->word[place / 64] >> place % 64 & 1);
}

/* Below 0: the target comes before those of the choice; 0: it is one of them. */
static int compared (const ub_balancer *b, const target *t, const choice *c) {
  int64_t priority = priority_of(b, t);
  if (is_spare(t) != c->spare)
    return is_spare(t) - c->spare;
  return (priority > c->priority) - (priority < c->priority);
}

static void consider (const ub_balancer *b, const target *t, choice *c) {
  int order = c->count == 0 ? -1 : compared(b, t, c);
  if (order < 0) {
    c->count = 0;
    c->spare = is_spare(t);
    c->priority = priority_of(b, t);
  }
  c->count += order <= 0;
}

static choice who (ub_balancer *b, ub_balancer_ask *ask, int64_t now) {
  choice c = {&ask->except, 0, 0, 0};
  uint32_t i;
  for (i = 0; i < b->targets; i++) {
    target *t = &b->target[i];
    if (is_ruled_out(&ask->except, i))
      continue;
    if (ask->late || ub_room_has(&t->room, (uint32_t)t->pending, now))
      consider(b, t, &c);
    else
      ub_balancer_rule_out(&ask->except, i);
  }
  return c;
}

static int is_asked (const ub_balancer *b, const choice *c, uint32_t place) {
  return !is_ruled_out(c->except, place) && compared(b, &b->target[place], c) == 0;
}

/* The place of the n-th of those asked; n counts from 0. */
static uint32_t nth (const ub_balancer *b, const choice *c, uint32_t n) {
  uint32_t i = 0;
  while (!is_asked(b, c, i) || n-- > 0)
    i++;
  return i;
}

/* }============================================================================ */

/* {== Choices ================================================================ */

static uint32_t by_weight (ub_balancer *b, const choice *c, int64_t now) {
  uint32_t i, best = b->targets;
  int64_t sum = 0;
  for (i = 0; i < b->targets; i++) {
    target *t = &b->target[i];
    int64_t share;
    if (!is_asked(b, c, i))
      continue;
    share = share_of(t, now);
    t->credit += share;
    sum += share;
    if (best == b->targets || t->credit > b->target[best].credit)
      best = i;
  }
  b->target[best].credit -= sum;
  return best;
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
  return load_of(b, &b->target[other], now) < load_of(b, &b->target[one], now) ? other : one;
}

/* The first; of one that comes back a part of the calls, and the others pass it. */
static uint32_t by_order (ub_balancer *b, const choice *c, int64_t now) {
  uint32_t i, n;
  for (n = 0; n + 1 < c->count; n++) {
    target *t = &b->target[i = nth(b, c, n)];
    int64_t part = ramp_of(t, now);
    t->credit = part < 100 ? t->credit + part : 100;
    if (t->credit >= 100) {
      t->credit -= 100;
      return i;
    }
  }
  return nth(b, c, n);
}

static uint64_t mixed (uint64_t z) {  /* the end of SplitMix64 (rand.h) */
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static uint32_t by_key (const ub_balancer *b, const choice *c, uint64_t key, int64_t now) {
  uint32_t i, best = 0;
  double most = -1;
  for (i = 0; i < b->targets; i++) {
    const target *t = &b->target[i];
    double drawn, score;
    if (!is_asked(b, c, i))
      continue;
    drawn = ((double)(mixed(mixed(key) ^ t->id) >> 11) + 0.5) * 0x1p-53;
    score = (double)share_of(t, now) / -log(drawn);
    if (score > most) {
      most = score;
      best = i;
    }
  }
  return best;
}

int ub_balancer_choose (ub_balancer *b, ub_balancer_ask *ask, int64_t now_us, uint32_t *place) {
  choice c = who(b, ask, now_us);
  if (c.count == 0)
    return UB_EOPEN;
  if (ask->keyed)
    *place = by_key(b, &c, ask->key, now_us);
  else if (b->kind == UB_BALANCER_P2C)
    *place = of_two(b, &c, now_us);
  else if (b->kind == UB_BALANCER_ORDER)
    *place = by_order(b, &c, now_us);
  else
    *place = by_weight(b, &c, now_us);
  return UB_OK;
}

/* }============================================================================ */

/* {== Calls ================================================================== */

static target *target_of (ub_balancer *b, const ub_slot *slot) {
  return &b->target[slot->tag & ~STARTED];
}

static void give_back (ub_balancer *b, ub_slot *slot) {
  target_of(b, slot)->pending--;
  ub_slots_release(slots(b), slot);
}

uint64_t ub_balancer_begin (ub_balancer *b, uint32_t place, int64_t now_us) {
  if (place >= b->targets)
    return 0;
  if (slots(b)->now.used == b->slots)
    give_back(b, ub_slots_oldest(slots(b)));
  b->target[place].picks++;
  b->target[place].pending++;
  return ub_slots_issue(slots(b), now_us, place);
}

static void begun (ub_balancer *b, target *t, double took, int64_t issued, int64_t now) {
  ub_peak_sample(&t->cost, took, b->decay_us, now);
  ub_room_started(&t->room, took, issued, (uint32_t)t->pending, now);
}

int ub_balancer_started (ub_balancer *b, uint64_t ticket, int64_t took_us, int64_t now_us) {
  ub_slot *slot = ub_slots_find(slots(b), ticket);
  if (slot == NULL)
    return 0;
  if ((slot->tag & STARTED) == 0) {
    begun(b, target_of(b, slot), (double)took_us, slot->issued_us, now_us);
    ub_slots_log(slots(b), slot);
    slot->tag |= STARTED;
  }
  return 1;
}

int ub_balancer_waits (ub_balancer *b, uint64_t ticket, int64_t took_us, int64_t now_us) {
  ub_slot *slot = ub_slots_find(slots(b), ticket);
  target *t;
  if (slot == NULL)
    return 0;
  t = target_of(b, slot);
  ub_peak_raise(&t->cost, (double)took_us, now_us);
  if (took_us > t->room.line_us)
    ub_room_started(&t->room, (double)took_us, slot->issued_us, (uint32_t)t->pending, now_us);
  return 1;
}

int ub_balancer_report (ub_balancer *b, uint64_t ticket, ub_balancer_outcome outcome,
                        int64_t took_us, int64_t now_us) {
  ub_slot *slot = ub_slots_find(slots(b), ticket);
  double took = (double)took_us;
  target *t;
  if (slot == NULL)
    return 0;
  t = target_of(b, slot);
  if (took_us < 0)
    took = now_us > slot->issued_us ? (double)(now_us - slot->issued_us) : 0;
  if (outcome == UB_BALANCER_FAIL) {
    took = ub_peak_failure(&t->cost, took, slot->issued_us, now_us);
    ub_peak_sample(&t->cost, took, b->decay_us, now_us);
  } else if (outcome == UB_BALANCER_OK && (slot->tag & STARTED) == 0)
    begun(b, t, took, slot->issued_us, now_us);
  give_back(b, slot);
  return 1;
}

/* }============================================================================ */

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_balancer_size(config);
}

/* All but the slots, which have a log of their own. */
static size_t part_head (const void *config) {
  return before_slots(config);
}

static void part_init (void *b, const void *config, int64_t now_us) {
  (void)now_us;
  ub_balancer_init(b, config);
}

static void part_begin (void *b, uint32_t process) {
  ub_slots_log_begin(slots(b), process);
}

static void part_repair (void *b) {
  ub_slots_log_undo(slots(b));
}

static int part_release (void *b, uint32_t process) {
  ub_slot *slot = ub_slots_of(slots(b), process);
  if (slot == NULL)
    return 0;
  give_back(b, slot);
  return 1;
}

const ub_part_type ub_balancer_part = {
  .kind = "balance", .version = 1, .size = part_size, .head = part_head, .init = part_init,
  .begin = part_begin, .repair = part_repair, .release = part_release
};

/* }============================================================================ */
