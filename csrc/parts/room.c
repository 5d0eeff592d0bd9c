/*
** room.c: how many calls a target takes before its answers begin too late.
*/
#include "parts/room.h"

#include <math.h>

#define LEAST_LEFT  0.5       /* of the calls under way, after a cut */
#define MOST_LEFT   0.9
#define EARLY       0.7       /* of the line: starts below it widen the room */
#define GROWTH      0.05      /* of the room, for as many early starts as it has calls */
#define LONG_AGO    (INT64_MIN / 2)

void ub_room_init (ub_room *r, int64_t line_us, int64_t hold_us) {
  *r = (ub_room){.line_us = line_us, .hold_us = hold_us, .room = INFINITY,
                 .cut_at = LONG_AGO, .turned_at = LONG_AGO};
}

/* Has all been well for long enough? */
static int is_over (const ub_room *r, int64_t now) {
  int64_t last = r->turned_at > r->cut_at ? r->turned_at : r->cut_at;
  return now - last >= r->hold_us;
}

int ub_room_would_have (const ub_room *r, uint32_t pending, int64_t now_us) {
  return pending == 0 || pending < r->room || is_over(r, now_us);
}

int ub_room_has (ub_room *r, uint32_t pending, int64_t now_us) {
  if (isinf(r->room))
    return 1;
  if (is_over(r, now_us)) {
    r->room = INFINITY;
    return 1;
  }
  if (pending == 0 || pending < r->room)
    return 1;
  r->turned_at = now_us;
  return 0;
}

static void cut (ub_room *r, double took, uint32_t pending, int64_t now) {
  double left = fmax(LEAST_LEFT, fmin(MOST_LEFT, (double)r->line_us / took));
  r->room = fmax(1, fmin(r->room, pending) * left);
  r->cut_at = now;
}

void ub_room_started (ub_room *r, double took_us, int64_t issued_us, uint32_t pending,
                      int64_t now_us) {
  if (r->line_us == 0)
    return;
  if (took_us > (double)r->line_us) {
    if (issued_us > r->cut_at || now_us < r->cut_at)  /* a clock may be set back */
      cut(r, took_us, pending, now_us);
  } else if (!isinf(r->room) && issued_us > r->cut_at && 2.0 * pending >= r->room
             && took_us <= EARLY * (double)r->line_us)
    r->room += fmax(GROWTH, 1 / r->room);
}
