/*
** window.c: a sliding window over the outcomes of calls.
*/
#include "parts/window.h"

/* A call in the ring: two marks, and how often a cut fell on it. */
#define FAILED     1u
#define SLOW       2u
#define CUT        4u
#define MOST_CUTS  0x3fffu

/* The place of bucket 'number'. */
static ub_bucket *bucket (ub_window *w, uint64_t number) {
  return (ub_bucket *)(void *)w->room + number % w->places;
}

static uint16_t *calls (ub_window *w) {
  return (uint16_t *)(void *)w->room;
}

static size_t room_for (const ub_window_config *config) {
  if (config->count > 0)
    return (config->count * sizeof(uint16_t) + 7) & ~(size_t)7;
  return config->buckets * sizeof(ub_bucket);
}

size_t ub_window_size (const ub_window_config *config) {
  return sizeof(ub_window) + room_for(config);
}

void ub_window_init (ub_window *w, const ub_window_config *config, int64_t now_us) {
  uint32_t i;
  *w = (ub_window){.by_count = config->count > 0, .start_us = now_us};
  w->places = w->by_count ? config->count : config->buckets;
  w->width_us = (config->length_us + config->buckets - 1) / config->buckets;
  w->present.number = w->places;  /* that none below it is less than 0 */
  ub_window_clear(w);
  for (i = 0; i < w->places && !w->by_count; i++)
    *bucket(w, i) = (ub_bucket){0};
}

void ub_window_clear (ub_window *w) {
  w->sum = w->present.tally = (ub_tally){0};
  w->first = w->present.number;
  w->at = w->filled = 0;
}

static void subtract (ub_tally *from, const ub_tally *t) {
  from->calls -= t->calls;
  from->ok -= t->ok;
  from->failures -= t->failures;
  from->slow -= t->slow;
}

/* Buckets begun since the present one. */
static int64_t missed (const ub_window *w, int64_t now_us) {
  return now_us - w->start_us < w->width_us ? 0 : (now_us - w->start_us) / w->width_us;
}

/* Take the bucket out of a sum that leaves the window when 'number' begins. */
static void expire (const ub_window *w, uint64_t number, ub_tally *sum) {
  const ub_bucket *b = (const ub_bucket *)(const void *)w->room + number % w->places;
  number -= w->places;
  if (number >= w->first && b->number == number)
    subtract(sum, &b->tally);
}

void ub_window_advance (ub_window *w, int64_t now_us) {
  int64_t steps = w->by_count ? 0 : missed(w, now_us);
  if (steps == 0)
    return;
  w->start_us += steps * w->width_us;
  if (steps >= w->places) {
    w->present.number += (uint64_t)steps;
    ub_window_clear(w);
    return;
  }
  *bucket(w, w->present.number) = w->present;
  for (; steps > 0; steps--)
    expire(w, ++w->present.number, &w->sum);
  w->present.tally = (ub_tally){0};
}

ub_tally ub_window_read (const ub_window *w, int64_t now_us) {
  int64_t i, steps = w->by_count ? 0 : missed(w, now_us);
  ub_tally sum = w->sum;
  if (steps >= w->places && steps > 0)
    return (ub_tally){0};
  for (i = 1; i <= steps; i++)
    expire(w, w->present.number + (uint64_t)i, &sum);
  return sum;
}

static void add (ub_tally *t, int failed, int slow) {
  t->calls++;
  t->ok += !failed;
  t->failures += (unsigned)failed;
  t->slow += (unsigned)slow;
}

/* Take the oldest call out of a full ring. */
static void evict (ub_window *w, unsigned call) {
  unsigned failed = call & FAILED;
  w->sum.calls--;
  w->sum.ok -= !failed;
  w->sum.failures -= failed + call / CUT;
  w->sum.slow -= (call & SLOW) != 0;
}

static void push (ub_window *w, int failed, int slow) {
  if (w->filled > 0) {
    calls(w)[w->at] = w->newest;
    w->at = w->at + 1 == w->places ? 0 : w->at + 1;
  }
  if (w->filled == w->places)
    evict(w, calls(w)[w->at]);
  else
    w->filled++;
  w->newest = (uint16_t)((failed ? FAILED : 0) | (slow ? SLOW : 0));
}

void ub_window_add (ub_window *w, int64_t now_us, int failed, int slow) {
  failed = failed != 0;
  slow = slow != 0;
  if (w->by_count)
    push(w, failed, slow);
  else {
    ub_window_advance(w, now_us);
    add(&w->present.tally, failed, slow);
  }
  add(&w->sum, failed, slow);
}

/* The newest call of the ring takes the cut, so that both leave together. */
static int cut_newest (ub_window *w) {
  if (w->filled == 0 || w->newest / CUT == MOST_CUTS)
    return 0;
  w->newest = (uint16_t)(w->newest + CUT);
  return 1;
}

int ub_window_cut (ub_window *w, int64_t now_us) {
  if (w->by_count) {
    if (!cut_newest(w))
      return 0;
  }
  else {
    ub_window_advance(w, now_us);
    w->present.tally.failures++;
  }
  w->sum.failures++;
  return 1;
}
