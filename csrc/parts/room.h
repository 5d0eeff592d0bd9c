/*
** room.h: how many calls a target takes before its answers begin too late.
**
**            a start over the line
**   WIDE ------------------------------> NARROW: 'room' calls and no more
**    ^                                      |  late: room × line/start, once
**    +------- nobody turned away, and ------+        for those sent together
**             none late, for 'hold'            early, and in use: room grows
**
** A server with a line of its own refuses nobody: it only begins later and
** later. So the time to the first token is judged against a line, as drops
** are in limiter.h: a late start narrows the room to what the line allows
** (between half and nine tenths of the calls under way), and no call that was
** sent before the last cut cuts again, since it speaks of a line that is gone.
** Starts under 0.7 of the line widen it, a twentieth for each 'room' of them
** at least; what is between changes nothing, so that it does not flap. A
** target that has nothing under way has room, whatever was measured: else
** nobody would ever see that it is quick again.
*/
#ifndef UB_ROOM_H
#define UB_ROOM_H

#include <stdint.h>

typedef struct ub_room {
  int64_t line_us;    /* 0: no line; there is always room */
  int64_t hold_us;    /* how long all must be well before it is wide again */
  double room;        /* calls; infinite when wide */
  int64_t cut_at;     /* when it was last narrowed */
  int64_t turned_at;  /* when it last had no room */
} ub_room;

void ub_room_init (ub_room *r, int64_t line_us, int64_t hold_us);

/* May one more call go there, with so many under way? A refusal is noted. */
int ub_room_has (ub_room *r, uint32_t pending, int64_t now_us);

/* The same without noting anything. */
int ub_room_would_have (const ub_room *r, uint32_t pending, int64_t now_us);

/* An answer has begun 'took_us' after its call was sent, at 'issued_us'. */
void ub_room_started (ub_room *r, double took_us, int64_t issued_us, uint32_t pending,
                      int64_t now_us);

#endif
