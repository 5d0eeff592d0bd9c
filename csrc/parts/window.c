/*
** window.c: a sliding window over the outcomes of calls.
*/
#include "parts/window.h"

#include <string.h>

/* A call in the ring: two marks, and how often a cut fell on it. */
#define FAILED     1u
#define SLOW       2u
#define CUT        4u
#define MOST_CUTS  0x3fffu

static ub_tally *buckets (ub_window *w) {
  return (ub_tally *)(void *)w->room;
}

static uint16_t *calls (ub_window *w) {
  return (uint16_t *)(void *)w->room;
}

static size_t room_for (const ub_window_config *config) {
  if (config->count > 0)
    return (config->count * sizeof(uint16_t) + 7) & ~(size_t)7;
  return config->buckets * sizeof(ub_tally);
}

size_t ub_window_size (const ub_window_config *config) {
  return sizeof(ub_window) + room_for(config);
}

void ub_window_init (ub_window *w, const ub_window_config *config, int64_t now_us) {
  w->by_count = config->count > 0;
  w->places = w->by_count ? config->count : config->buckets;
  w->width_us = (config->length_us + config->buckets - 1) / config->buckets;
  w->start_us = now_us;
  ub_window_clear(w);
}

void ub_window_clear (ub_window *w) {
  w->sum = (ub_tally){0};
  w->at = w->filled = 0;
  if (w->by_count)
    memset(w->room, 0, w->places * sizeof(uint16_t));
  else
    memset(w->room, 0, w->places * sizeof(ub_tally));
}

static void subtract (ub_tally *from, const ub_tally *t) {
  from->calls -= t->calls;
  from->ok -= t->ok;
  from->failures -= t->failures;
  from->slow -= t->slow;
}

static uint32_t next (const ub_window *w, uint32_t place) {
  return place + 1 == w->places ? 0 : place + 1;
}

/* Buckets begun since the present one. */
static int64_t missed (const ub_window *w, int64_t now_us) {
  return now_us - w->start_us < w->width_us ? 0 : (now_us - w->start_us) / w->width_us;
}

void ub_window_advance (ub_window *w, int64_t now_us) {
  int64_t steps = w->by_count ? 0 : missed(w, now_us);
  if (steps == 0)
    return;
  w->start_us += steps * w->width_us;
  if (steps >= w->places)
    ub_window_clear(w);
  else for (; steps > 0; steps--) {
    w->at = next(w, w->at);
    subtract(&w->sum, &buckets(w)[w->at]);
    buckets(w)[w->at] = (ub_tally){0};
  }
}

ub_tally ub_window_read (const ub_window *w, int64_t now_us) {
  const ub_tally *bucket = (const ub_tally *)(const void *)w->room;
  int64_t steps = w->by_count ? 0 : missed(w, now_us);
  ub_tally sum = w->sum;
  uint32_t at = w->at;
  if (steps >= w->places && steps > 0)
    return (ub_tally){0};
  for (; steps > 0; steps--) {
    at = next(w, at);
    subtract(&sum, &bucket[at]);
  }
  return sum;
}

static void add (ub_tally *t, int failed, int slow) {
  t->calls++;
  t->ok += !failed;
  t->failures += (unsigned)failed;
  t->slow += (unsigned)slow;
}

/* Take the oldest call out of a full ring. */
static void evict (ub_window *w) {
  unsigned call = calls(w)[w->at];
  unsigned failed = call & FAILED;
  w->sum.calls--;
  w->sum.ok -= !failed;
  w->sum.failures -= failed + call / CUT;
  w->sum.slow -= (call & SLOW) != 0;
}

static void push (ub_window *w, int failed, int slow) {
  if (w->filled == w->places)
    evict(w);
  else
    w->filled++;
  calls(w)[w->at] = (uint16_t)((failed ? FAILED : 0) | (slow ? SLOW : 0));
  w->at = next(w, w->at);
}

void ub_window_add (ub_window *w, int64_t now_us, int failed, int slow) {
  failed = failed != 0;
  slow = slow != 0;
  if (w->by_count)
    push(w, failed, slow);
  else {
    ub_window_advance(w, now_us);
    add(&buckets(w)[w->at], failed, slow);
  }
  add(&w->sum, failed, slow);
}

/* The newest call of the ring takes the cut, so that both leave together. */
static int cut_newest (ub_window *w) {
  uint16_t *newest = &calls(w)[(w->at > 0 ? w->at : w->places) - 1];
  if (w->filled == 0 || *newest / CUT == MOST_CUTS)
    return 0;
  *newest = (uint16_t)(*newest + CUT);
  return 1;
}

int ub_window_cut (ub_window *w, int64_t now_us) {
  if (w->by_count) {
    if (!cut_newest(w))
      return 0;
  }
  else {
    ub_window_advance(w, now_us);
    buckets(w)[w->at].failures++;
  }
  w->sum.failures++;
  return 1;
}
