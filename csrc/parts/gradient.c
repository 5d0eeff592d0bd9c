/*
** gradient.c: a limit that follows the time to the first token.
*/
#include "parts/gradient.h"

#include <math.h>

#define TOLERANCE  1.5
#define SMOOTHING  0.4
#define SAMPLES    10   /* of a window, at least */
#define WINDOWS    50   /* from one probe to the next */
#define PROBE      2    /* windows: in the first one answers come that began before */

static void begin_window (ub_gradient *g, int64_t now) {
  g->sum_us = 0;
  g->samples = 0;
  g->began_us = now;
}

void ub_gradient_init (ub_gradient *g, int64_t now_us) {
  begin_window(g, now_us);
  g->base_us = g->next_us = g->kept = 0;
  g->windows = g->probe = 0;
}

static double least (double a, double b) {
  return a <= 0 || (b > 0 && b < a) ? b : a;
}

double ub_gradient_base (const ub_gradient *g) {
  return least(g->base_us, g->next_us);
}

void ub_gradient_break (ub_gradient *g, int64_t now_us) {
  g->probe = 0;
  begin_window(g, now_us);
}

static double begin_probe (ub_gradient *g, double limit) {
  g->base_us = g->next_us;
  g->next_us = 0;
  g->windows = 0;
  g->probe = PROBE;
  g->kept = limit;
  return limit / 2;
}

static double follow (const ub_gradient *g, double limit, int in_use, double mean) {
  double gradient = fmax(0.5, fmin(1, TOLERANCE * ub_gradient_base(g) / fmax(mean, 1)));
  double next = limit + SMOOTHING * (limit * gradient + sqrt(limit) - limit);
  return in_use ? next : fmin(next, limit);
}

double ub_gradient_sample (ub_gradient *g, double limit, int in_use, double took_us,
                           int64_t trip_us, int64_t now_us) {
  double mean;
  g->sum_us += took_us;
  g->samples++;
  if (g->samples < SAMPLES || now_us - g->began_us < trip_us)
    return limit;
  mean = g->sum_us / (double)g->samples;
  begin_window(g, now_us);
  g->next_us = least(g->next_us, mean);
  if (g->probe > 0)
    return --g->probe > 0 ? limit : g->kept;
  if (++g->windows >= WINDOWS)
    return begin_probe(g, limit);
  return follow(g, limit, in_use, mean);
}
