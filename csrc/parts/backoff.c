/*
** backoff.c: how long to wait before the n-th retry.
*/
#include "parts/backoff.h"

#include <math.h>

void ub_backoff_init (ub_backoff *b, const ub_backoff_config *config) {
  b->config = *config;
  ub_rand_init(&b->rand, config->seed);
}

static double capped (const ub_backoff_config *c, double delay) {
  return delay < c->cap ? delay : c->cap;  /* so that inf and nan are capped */
}

static double between (ub_backoff *b, double low, double high) {
  return low + (high - low) * ub_rand_unit(&b->rand);
}

/* The delay without chance. Nothing stays nothing: 0 × inf would be no number. */
static double steady (const ub_backoff_config *c, int64_t n) {
  switch (c->kind) {
    case UB_BACKOFF_CONSTANT: return c->base;
    case UB_BACKOFF_LINEAR: return capped(c, c->base * (double)n);
    default: return c->base > 0 ? capped(c, c->base * pow(c->factor, (double)(n - 1))) : 0;
  }
}

static double decorrelated (ub_backoff *b, double previous) {
  const ub_backoff_config *c = &b->config;
  double high = 3 * (previous > c->base ? previous : c->base);
  return capped(c, between(b, c->base, high));
}

double ub_backoff_delay (ub_backoff *b, int64_t n, double previous) {
  double delay = steady(&b->config, n < 1 ? 1 : n);
  switch (b->config.kind) {
    case UB_BACKOFF_FULL: return between(b, 0, delay);
    case UB_BACKOFF_EQUAL: return between(b, delay / 2, delay);
    case UB_BACKOFF_DECORRELATED: return decorrelated(b, previous);
    default: return between(b, delay, delay * (1 + b->config.jitter));
  }
}
