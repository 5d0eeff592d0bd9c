/*
** balancer.h: which target the next call goes to.
**
**   choose ──► place ──begin──► ticket, pending ──started──► ──report──► cost
**
** Who is asked: the targets that are not ruled out; of these those with room
** (room.h), unless late ones are wanted too; of these those with a weight, if
** any has one; of these, for 'priority', the lowest number.
**
** - weighted: smooth weighted round robin (I. Sysoev, nginx 1.3.1). Each one
**   asked gains its weight, the highest is taken and pays the sum of all: the
**   shares are exact over a cycle, and spread evenly within it.
** - p2c: two are drawn by chance and the one with less load is taken, which
**   keeps the crowd from running to the same best one (M. Mitzenmacher: "The
**   power of two choices in randomized load balancing", 2001).
** - priority: the lowest number; by weight, as above, among equal ones (the
**   order of SRV records, RFC 2782).
** - order: the first of the list.
** - with a key, whatever the kind: weighted rendezvous (Thaler, Ravishankar:
**   "Using name-based mappings to increase hit rates", 1998). Each draws a
**   number from key and name, and the highest  weight / -ln(number)  is taken:
**   a target that comes or goes moves its own share of the keys, and no other.
**
** A target that has come back ('ub_balancer_back') takes 10, 25, 50 and then
** 100 % of its share, for 2 s each: under all of it, it might fall again.
**
**   load = cost × (pending + 1) / weight   cost: peak.h, of the first token's time
** With nothing pending the load fades by e^(-since/decay), so that a slow one
** is tried again; while its probe is out, the whole cost counts. (Where the
** cost itself fades, one that hangs gets ever more.) A target with no sample
** is asked first, and counts 1e9 seconds while something is pending there.
*/
#ifndef UB_BALANCER_H
#define UB_BALANCER_H

#include "base/rand.h"
#include "base/region.h"
#include "parts/peak.h"
#include "parts/room.h"

#define UB_BALANCER_TARGETS  1024    /* at most */
#define UB_BALANCER_WEIGHT   1000000 /* at most */

typedef enum ub_balancer_kind {
  UB_BALANCER_WEIGHTED, UB_BALANCER_P2C, UB_BALANCER_PRIORITY, UB_BALANCER_ORDER
} ub_balancer_kind;

typedef enum ub_balancer_outcome {
  UB_BALANCER_OK, UB_BALANCER_FAIL, UB_BALANCER_NEUTRAL
} ub_balancer_outcome;

typedef struct ub_balancer_spec {
  int64_t share, priority;   /* see 'ub_balancer_share'; the lowest is asked first */
  uint64_t id;               /* a hash of its name, for keys */
  int64_t line_us, hold_us;  /* as room.h has them */
} ub_balancer_spec;

typedef struct ub_balancer_config {
  ub_balancer_kind kind;
  uint32_t targets;  /* 1 to UB_BALANCER_TARGETS */
  uint32_t slots;    /* tickets out at once; 1 to UB_SLOTS_MOST */
  int64_t decay_us;  /* above 0 */
  uint64_t seed;
  ub_balancer_spec spec[];
} ub_balancer_config;

/* A set of targets, by their places; and what a choice is made by. */
typedef struct ub_balancer_set { uint64_t word[UB_BALANCER_TARGETS / 64]; } ub_balancer_set;
typedef struct ub_balancer_ask {
  ub_balancer_set except;  /* ruled out */
  int late, keyed;         /* 1: also those without room; 1: by 'key' */
  uint64_t key;
} ub_balancer_ask;

typedef struct ub_balancer ub_balancer;

/* A weight (0 to UB_BALANCER_WEIGHT) in millionths. 0: a spare, asked when no other is left. */
int64_t ub_balancer_share (double weight);
void ub_balancer_rule_out (ub_balancer_set *except, uint32_t place);

size_t ub_balancer_config_size (uint32_t targets);
size_t ub_balancer_size (const ub_balancer_config *config);
void ub_balancer_init (ub_balancer *b, const ub_balancer_config *config);

/* The next call's target. UB_EOPEN: nobody is asked; then no share changes. Those without
   room are added to 'ask->except', unless late ones are wanted. */
int ub_balancer_choose (ub_balancer *b, ub_balancer_ask *ask, int64_t now_us, uint32_t *place);

/*
** A call is sent there: a ticket, which must go back through 'ub_balancer_report'
** once, at the call's end; 0 for no place. With every slot taken, the oldest is given up.
*/
uint64_t ub_balancer_begin (ub_balancer *b, uint32_t place, int64_t now_us);

/* The first token came 'took_us' after the call was sent, or has not for so long: 1, or 0
   for a ticket that is not out. */
int ub_balancer_started (ub_balancer *b, uint64_t ticket, int64_t took_us, int64_t now_us);
int ub_balancer_waits (ub_balancer *b, uint64_t ticket, int64_t took_us, int64_t now_us);

/*
** The call is over. Of one that has not 'started', 'took_us' is that time; below 0:
** as long as the ticket was out. Of UB_BALANCER_NEUTRAL no time is taken note.
*/
int ub_balancer_report (ub_balancer *b, uint64_t ticket, ub_balancer_outcome outcome,
                        int64_t took_us, int64_t now_us);

/* The target has come back: its ramp begins, its times are forgotten. 0: there is none. */
int ub_balancer_back (ub_balancer *b, uint32_t place, int64_t now_us);

typedef struct ub_balancer_stats {
  uint64_t picks, pending;
  double cost_us, load_us;  /* cost: or UB_PEAK_NONE; the least load comes first (p2c) */
  double room, share;       /* room: or INFINITY; of its own share what it takes: 0.1 to 1 */
} ub_balancer_stats;
ub_balancer_stats ub_balancer_read (const ub_balancer *b, uint32_t place, int64_t now_us);

/* In a region; a dead process's calls come back NEUTRAL. */
extern const ub_part_type ub_balancer_part;

#endif
