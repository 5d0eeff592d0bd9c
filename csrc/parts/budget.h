/*
** budget.h: how many second tries a client may afford.
**
** Retries multiply load just when a server has none to spare. Here retries
** and hedges draw on one budget, and two things must be there for each:
**
**   a permit   at most max(ratio × calls under way, floor) are out at once,
**              held from the moment a retry is decided (it may sleep first)
**              until its outcome is known
**   tokens     a quota that each one is paid from, whatever the time:
**
**        take "retry", "hedge"  -14        give "ok"    +14 (what was paid)
**        take "throttle"         -5        give "fail"    0
**                 \                          /
**                  [ 0 ..... tokens ..... 500 ]
**                              |
**                     finish: +1 for a call whose first try was good
**
** The permits are what Envoy calls a retry budget (a share of the active
** requests, with a minimum concurrency); the tokens and their numbers are
** those of the AWS SDKs' standard retry mode. Kin: gRPC's retry throttling
** (proposal A6), the retry budgets of Finagle and Linkerd, and the per-client
** budget in "Handling Overload" (Site Reliability Engineering, ch. 21).
**
** A quota without time needs no clock: what an outage has used up comes back
** with the good calls after it, one token each.
*/
#ifndef UB_BUDGET_H
#define UB_BUDGET_H

#include "base/region.h"

#define UB_BUDGET_PERMITS 1024  /* out at once, whatever the ratio says */

typedef enum ub_budget_kind {
  UB_BUDGET_RETRY,     /* after a failure */
  UB_BUDGET_THROTTLE,  /* after "slow down": the server is well, only full */
  UB_BUDGET_HEDGE      /* a second try beside the first; costs as a retry */
} ub_budget_kind;

typedef struct ub_budget_config {
  double ratio;          /* permits per call under way; finite, 0 or more */
  double floor;          /* permits there always are; finite, 0 or more */
  double tokens;         /* the quota, full at the start; finite, 0 or more */
  double retry_cost;     /* tokens for a retry or a hedge; finite, 0 or more */
  double throttle_cost;  /* tokens for a retry after "slow down"; likewise */
} ub_budget_config;

typedef struct ub_budget {
  ub_budget_config config;
  double tokens;     /* left; 0 to config.tokens */
  int64_t active;    /* calls begun and not finished */
  uint64_t refused;  /* takes that got nothing */
} ub_budget;  /* behind it: who holds how many calls, and the permits (slots.h) */

/* Bytes for one budget. */
size_t ub_budget_size (void);

void ub_budget_init (ub_budget *b, const ub_budget_config *config);

/* A call starts; it ends in 'ub_budget_finish'. */
void ub_budget_begin (ub_budget *b);

/*
** May there be a second try? On UB_OK, '*permit' must go back through
** 'ub_budget_give' once its outcome is known. UB_EBUDGET means no: too many
** are out, or the tokens do not cover the cost. Then nothing is taken.
*/
int ub_budget_take (ub_budget *b, ub_budget_kind kind, uint64_t *permit);

/*
** A permit comes back; 'ok' (its try gave the answer, or was never sent) pays
** back what it cost, up to the full quota. 1, or 0 for a permit that is not out
** (given twice, or unknown): then nothing changes.
*/
int ub_budget_give (ub_budget *b, uint64_t permit, int ok);

/*
** A call ends; 'clean' (answered by its first try, with no permit taken)
** earns a token, up to the full quota. 1, or 0 when no call (of this process,
** in a region) is under way: then nothing changes.
*/
int ub_budget_finish (ub_budget *b, int clean);

/* Permits that are out. */
uint32_t ub_budget_permits (const ub_budget *b);

/* In a region; a dead process's calls end, and its permits come back unpaid. */
extern const ub_part_type ub_budget_part;

#endif
