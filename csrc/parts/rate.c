/*
** rate.c: how many requests and tokens an account takes in a minute.
*/
#include "parts/rate.h"

#include <math.h>

#include "base/clock.h"
#include "base/err.h"

#define MINUTE_US   (60.0 * UB_SECOND_US)
#define AT_ONCE     0.1  /* of the options' number */
#define NEVER       INT64_MAX

/* {== Buckets ================================================================ */

/* Of requests, which are whole, the first one of a minute needs no refilling. */
static void init_own (ub_rate_bucket *b, double per_minute, double first, int64_t now) {
  b->most = b->level = per_minute > 0 ? fmax(per_minute * AT_ONCE, 1) : 0;
  b->per_us = (per_minute + first - b->most) / MINUTE_US;
  b->at_us = now;
  b->full_us = NEVER;
  b->later = 0;
}

static void init_told (ub_rate_bucket *b, int64_t now) {
  *b = (ub_rate_bucket){.at_us = now, .full_us = NEVER};
}

static void flow (ub_rate_bucket *b, int64_t now) {
  if (now <= b->at_us)
    return;  /* a clock may slip back */
  b->level = fmin(b->most, b->level + b->per_us * (double)(now - b->at_us));
  b->at_us = now;
}

static void refill (ub_rate_bucket *b, int64_t now) {
  if (now >= b->full_us) {  /* the window is over */
    flow(b, b->full_us);
    b->level = b->most;
    b->per_us = b->later;
    b->full_us = NEVER;
  }
  flow(b, now);
}

/* Microseconds until there is room for so much; 0: now. */
static int64_t wait_for (ub_rate_bucket *b, double amount, int64_t now) {
  double us, need = fmin(amount, b->most);
  if (b->most <= 0)
    return 0;
  refill(b, now);
  if (b->level >= need * (1 - 1e-9))  /* what was waited for is there, whatever is rounded */
    return 0;
  us = b->per_us > 0 ? ceil((need - b->level) / b->per_us) : (double)UB_RATE_LONGEST;
  if (b->full_us != NEVER)
    us = fmin(us, (double)(b->full_us - now));
  return us < 1 ? 1 : us < (double)UB_RATE_LONGEST ? (int64_t)us : UB_RATE_LONGEST;
}

/* Takes so much, at most what a whole minute gives; for less than nothing: gives it back. */
static void change (ub_rate_bucket *b, double amount, double limit) {
  if (b->most > 0)
    b->level = fmin(b->most, b->level - fmin(amount, limit));
}

/* }=========================================================================== */

void ub_rate_init (ub_rate *r, const ub_rate_config *config, int64_t now_us) {
  int k;
  r->config = *config;
  for (k = 0; k < UB_RATE_KINDS; k++) {
    init_own(&r->own[k], config->per_minute[k], k == UB_RATE_REQUESTS, now_us);
    init_told(&r->told[k], now_us);
    r->taken[k] = 0;
  }
  r->refused = 0;
}

static double amount_of (int kind, double tokens) {
  return kind == UB_RATE_REQUESTS ? 1 : fmin(tokens, UB_RATE_MOST);
}

int64_t ub_rate_wait (ub_rate *r, double tokens, int64_t now_us) {
  int64_t longest = 0;
  int k;
  for (k = 0; k < UB_RATE_KINDS; k++) {
    double amount = amount_of(k, tokens);
    int64_t own = wait_for(&r->own[k], amount, now_us);
    int64_t told = wait_for(&r->told[k], amount, now_us);
    longest = own > longest ? own : longest;
    longest = told > longest ? told : longest;
  }
  return longest;
}

int ub_rate_take (ub_rate *r, double tokens, ub_rate_mark *mark, int64_t *wait_us,
                  int64_t now_us) {
  int k;
  *wait_us = ub_rate_wait(r, tokens, now_us);
  if (*wait_us > 0) {
    r->refused++;
    return UB_EFULL;
  }
  for (k = 0; k < UB_RATE_KINDS; k++) {
    double amount = amount_of(k, tokens);
    change(&r->own[k], amount, r->config.per_minute[k]);
    change(&r->told[k], amount, r->told[k].most);
    r->taken[k] += amount;
    mark->at[k] = r->taken[k];
  }
  return UB_OK;
}

/* The server counts in its own way: only our own bucket is mended. */
void ub_rate_correct (ub_rate *r, double foreseen, double used, int64_t now_us) {
  ub_rate_bucket *b = &r->own[UB_RATE_TOKENS];
  double limit = r->config.per_minute[UB_RATE_TOKENS];
  refill(b, now_us);
  change(b, fmin(used, limit) - fmin(foreseen, limit), limit);
}

/* How quickly the bucket is refilled by what the server says. */
static void set_flow (ub_rate_bucket *b, const ub_rate_word *word, int64_t now) {
  double missing = b->most - word->left, by_minute = b->most / MINUTE_US;
  b->full_us = NEVER;
  b->later = by_minute;
  if (word->reset_us < 0 || word->left < 0) {
    if (b->per_us <= 0)
      b->per_us = by_minute;
  } else if (word->window) {
    b->per_us = 0;
    b->full_us = now + word->reset_us;
  } else if (missing > 0) {
    b->per_us = missing / (double)(word->reset_us > 0 ? word->reset_us : 1);
  } else if (b->per_us <= 0) {
    b->per_us = by_minute;
  }
}

void ub_rate_tell (ub_rate *r, ub_rate_kind kind, const ub_rate_word *word,
                   const ub_rate_mark *mark, int64_t now_us) {
  ub_rate_bucket *b = &r->told[kind];
  double since = fmax(r->taken[kind] - mark->at[kind], 0);  /* it knows nothing of these */
  int first = b->most <= 0;
  if (first && word->limit <= 0)
    return;
  refill(b, now_us);
  if (word->limit > 0)
    b->most = word->limit;
  if (word->left >= 0)
    b->level = fmin(word->left, b->most) - since;
  else
    b->level = first ? b->most - since : fmin(b->level, b->most);
  b->at_us = now_us;
  set_flow(b, word, now_us);
}

double ub_rate_left (ub_rate *r, ub_rate_kind kind, double *most, int64_t now_us) {
  ub_rate_bucket *own = &r->own[kind], *told = &r->told[kind];
  refill(own, now_us);
  refill(told, now_us);
  if (told->most > 0 && (own->most <= 0 || told->level < own->level))
    own = told;
  *most = own->most;
  return own->level;
}

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  (void)config;
  return sizeof(ub_rate);
}

static void part_init (void *r, const void *config, int64_t now_us) {
  ub_rate_init(r, config, now_us);
}

const ub_part_type ub_rate_part = {
  .kind = "rate", .version = 1, .size = part_size, .head = part_size, .init = part_init
};

/* }=========================================================================== */
