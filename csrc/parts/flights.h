/*
** flights.h: who asks a question for all processes, while the others wait.
**
**     claim ─┬─► lead ───► finish: kept, failed or apart ──► followers are told
**            ├─► follow: another process leads; look now and then what comes
**            └─► alone: there is nobody to wait for, and no room
**
** A table of entries in sets of UB_FLIGHTS_WAYS; a question's hash says in which
** set it may be. So the table is bounded, and a claim touches one set. Only the
** hash is kept: whoever followed takes the answer out of the cache under its own
** whole key, and so never another one's.
**
** - One leads at a time. A claim holds until its process finishes it or dies,
**   or its time is up; then the next one that claims it leads.
** - Nobody follows a leader of its own process (who could not move while it
**   waits), nor one that is less urgent.
** - What came of it is known for a while afterwards.
*/
#ifndef UB_FLIGHTS_H
#define UB_FLIGHTS_H

#include "base/process_set.h"
#include "base/region.h"

#define UB_FLIGHTS_WAYS   8
#define UB_FLIGHTS_MOST   32768
#define UB_FLIGHTS_KNOWN_US  2000000  /* how long an end is known */

typedef struct ub_flights_config {
  uint32_t flights;  /* entries; a multiple of UB_FLIGHTS_WAYS, up to UB_FLIGHTS_MOST */
} ub_flights_config;

typedef enum ub_flight_state {
  UB_FLIGHT_GONE,    /* nothing is known of it any more */
  UB_FLIGHT_LED,
  UB_FLIGHT_KEPT,    /* its answer is in the cache */
  UB_FLIGHT_FAILED,  /* or its process died, or its time was up */
  UB_FLIGHT_APART    /* it is of no use to others */
} ub_flight_state;

typedef enum ub_flight_part {
  UB_FLIGHT_ALONE, UB_FLIGHT_LEAD, UB_FLIGHT_FOLLOW
} ub_flight_part;

typedef struct ub_flights {
  ub_flights_config config;
  uint32_t process;    /* that works on it now */
  uint64_t sequence;   /* of the last claim */
  int64_t latest_us;   /* time never goes back here */
  uint64_t led, followed, refused, orphaned;
} ub_flights;  /* behind it: the log of one entry, and the entries */

typedef struct ub_flight_claim {
  ub_flight_part part;
  uint64_t ticket;  /* one's own, or the leader's; 0 when alone */
  int kept;         /* leads: but just now somebody else's answer was kept */
} ub_flight_claim;

size_t ub_flights_size (const ub_flights_config *config);
void ub_flights_init (ub_flights *f, const ub_flights_config *config);

/*
** Ask for a question with this hash, with a priority (0 is the most urgent), no
** longer than until that time.
*/
ub_flight_claim ub_flights_claim (ub_flights *f, uint64_t hash, uint32_t priority,
                                  int64_t until_us, int64_t now_us);

/* What has become of a leader; and of one that leads, in '*process' who it is. */
ub_flight_state ub_flights_look (ub_flights *f, uint64_t ticket, int64_t now_us,
                                 uint32_t *process);

/*
** A claim of this process ends: 1, and those that have followed; 0 when it was
** over already. 'orphan': whose leader's process is gone, whoever it was.
*/
int ub_flights_finish (ub_flights *f, uint64_t ticket, ub_flight_state how, int64_t now_us,
                       ub_process_set *followers);
int ub_flights_orphan (ub_flights *f, uint64_t ticket);

/* Claims under way. */
uint32_t ub_flights_open (const ub_flights *f);

/* In a region; a dead process's claims have failed. */
extern const ub_part_type ub_flights_part;

#endif
