/*
** balancer.h: which target the next call goes to.
**
**   pick(except) ──► target, ticket ──► pending ──report──► its cost
**
** Who is asked: the targets that are not ruled out; of these, those with a
** weight, if any has one; of these, for 'priority', the lowest number.
**
** - weighted: smooth weighted round robin (I. Sysoev, nginx 1.3.1). Each one
**   asked gains its weight, the highest is taken and pays the sum of all. So
**   shares are exact over a cycle, and spread evenly within it. Weights count
**   in millionths, as whole numbers: nothing is lost by rounding.
** - p2c: two are drawn by chance and the one with less load is taken, which
**   keeps the crowd from running to the same best one (M. Mitzenmacher: "The
**   power of two choices in randomized load balancing", 2001).
** - priority: the lowest number; by weight, as above, among equal ones (the
**   order of SRV records, RFC 2782).
**
** The cost of a target is a peak-EWMA of the time to the first token, as in
** Finagle and Linkerd: a higher sample is taken at once, a lower one draws
** the cost down, by more the longer ago the last sample was:
**
**   cost = max(sample, sample + (cost - sample) × e^(-since/decay))
**   load = cost × (pending + 1) / weight
**
** What is different here, each with its reason:
**
** - The load of a target with nothing pending fades by e^(-since/decay), so
**   that a slow one is tried again; while its probe is out, the whole cost
**   counts. (Where the cost itself fades, one that hangs gets ever more.)
** - A target with no sample yet is asked first, and counts 1e9 seconds while
**   something is pending there: it is probed, not flooded.
** - A quick failure must not look like a quick server, or a broken one draws
**   all calls ("sinkholing", Site Reliability Engineering, ch. 20). A failure
**   counts as the time it took, but as twice the cost at least, and never
**   under 1 s; doubling ends at 60 s. Of calls that were out together only
**   the first failure doubles: the others speak of the same trouble.
*/
#ifndef UB_BALANCER_H
#define UB_BALANCER_H

#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"

#define UB_BALANCER_TARGETS  1024    /* at most */
#define UB_BALANCER_WEIGHT   1000000 /* at most */
#define UB_BALANCER_NO_COST  (-1.0)  /* a cost: no sample yet */

typedef enum ub_balancer_kind {
  UB_BALANCER_WEIGHTED, UB_BALANCER_P2C, UB_BALANCER_PRIORITY
} ub_balancer_kind;

typedef enum ub_balancer_outcome {
  UB_BALANCER_OK, UB_BALANCER_FAIL, UB_BALANCER_NEUTRAL
} ub_balancer_outcome;

typedef struct ub_balancer_config {
  ub_balancer_kind kind;
  uint32_t targets;  /* 1 to UB_BALANCER_TARGETS */
  uint32_t slots;    /* tickets out at once; 1 to UB_SLOTS_MOST */
  int64_t decay_us;  /* above 0 */
  uint64_t seed;
} ub_balancer_config;

typedef struct ub_balancer_target {
  int64_t share;     /* the weight in millionths; 0: a spare */
  int64_t credit;    /* of the round robin; all together are 0 */
  int64_t priority;  /* the lowest is asked first */
  double cost_us;    /* or UB_BALANCER_NO_COST */
  int64_t cost_at;   /* when the last sample came */
  int64_t fail_at;   /* when a failure last doubled the cost */
  uint64_t picks;
  uint32_t pending;
} ub_balancer_target;

typedef struct ub_balancer {
  ub_balancer_config config;
  ub_rand rand;
  ub_balancer_target target[];  /* behind them the slots */
} ub_balancer;

/* A set of targets, by their places. */
typedef struct ub_balancer_set {
  uint64_t word[UB_BALANCER_TARGETS / 64];
} ub_balancer_set;

void ub_balancer_rule_out (ub_balancer_set *except, uint32_t place);

size_t ub_balancer_size (const ub_balancer_config *config);

/* All weights are 1 and all priorities 1, until 'ub_balancer_set_target'. */
void ub_balancer_init (ub_balancer *b, const ub_balancer_config *config);

/* 'weight': 0 to UB_BALANCER_WEIGHT. 0 is a spare: asked when no other is left. */
void ub_balancer_set_target (ub_balancer *b, uint32_t place, double weight, int64_t priority);

/*
** The next call's target. On UB_OK '*ticket' must go back through
** 'ub_balancer_report' once, at the call's end. UB_EOPEN: all are ruled out;
** then nothing changes. When every slot is taken, the oldest ticket is given
** up as lost.
*/
int ub_balancer_pick (ub_balancer *b, const ub_balancer_set *except, int64_t now_us,
                      uint32_t *place, uint64_t *ticket);

/*
** The call is over. 'took_us' is the time to its first token; below 0: as
** long as the ticket was out. Of UB_BALANCER_NEUTRAL no time is taken note.
** 1, or 0 for a ticket that is not out; then nothing changes.
*/
int ub_balancer_report (ub_balancer *b, uint64_t ticket, ub_balancer_outcome outcome,
                        int64_t took_us, int64_t now_us);

/* The target's load, in microseconds; the least is asked first (p2c). */
double ub_balancer_load (const ub_balancer *b, uint32_t place, int64_t now_us);

#endif
