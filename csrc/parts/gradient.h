/*
** gradient.h: a limit that follows the time to the first token.
**
** A server with a line of its own refuses nobody: it answers later. So the sign
** of too much is the time to the first token (never the whole call's, which
** follows the answer's length), held against what it is when little is going on:
**
**     gradient = 1.5 × base / mean, within 0.5 and 1
**     limit   += 0.4 × (limit × gradient + sqrt(limit) - limit)
**
** once a window: a round trip, and ten samples at least. (Netflix's
** concurrency-limits, its Gradient limit; of TCP Vegas' kind: Brakmo, Peterson,
** 1995.) The limit settles where an answer begins after some 1.5 to 2 times
** 'base', which is the least mean of a window of late. Under a load that never
** ends it would creep up with the line that it measures: so after every fifty
** windows half the limit is in force for two, and a new base is taken ("ProbeRTT"
** of BBR: Cardwell and others, 2016). That costs a hundredth of what could flow.
*/
#ifndef UB_GRADIENT_H
#define UB_GRADIENT_H

#include <stdint.h>

typedef struct ub_gradient {
  double sum_us;           /* of the window under way */
  int64_t samples;
  int64_t began_us;
  double base_us, next_us; /* least mean before and since the last probe; 0: none yet */
  int64_t windows;         /* since the last probe */
  int64_t probe;           /* windows that the one under way still has */
  double kept;             /* the limit to go back to */
} ub_gradient;

void ub_gradient_init (ub_gradient *g, int64_t now_us);

/*
** An answer began after 'took_us' (0 or more). Gives the limit now: 'limit', or at
** the end of a window another one (the caller bounds it). 'in_use': is at least half
** of it in flight? Else it does not grow.
*/
double ub_gradient_sample (ub_gradient *g, double limit, int in_use, double took_us,
                           int64_t trip_us, int64_t now_us);

/* The limit has been changed otherwise: a probe under way ends. */
void ub_gradient_break (ub_gradient *g, int64_t now_us);

/* What answers take to begin when little is going on; 0: not known. */
double ub_gradient_base (const ub_gradient *g);

#endif
