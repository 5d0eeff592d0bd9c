/*
** rate.h: how many requests and tokens an account takes in a minute.
**
** Two pairs of buckets, each for requests and for tokens; a call needs room in
** all of them that are there:
**
**            own: what the options allow          told: what the server says
**         ┌──────────────────────────────┐     ┌──────────────────────────────┐
**   most  │ a tenth of the minute's      │     │ its limit                    │
**   flow  │ the rest of it, in a minute  │     │ (limit - left) / reset       │
**         └──────────────────────────────┘     └──────────────────────────────┘
**             take: - 1, - the tokens foreseen;  correct: + foreseen - used
**
** A bucket is the leaky bucket as a meter (ITU-T I.371, its generic cell rate
** algorithm; Turner: "New directions in communications", 1986): it holds 'most',
** is refilled evenly, and gives what is in it. Of the options' numbers, a tenth
** may go at once and the rest flows evenly, so that no minute sees more than
** the number. What needs more than a bucket holds goes when that is full,
** and the others wait until its debt is paid.
**
** The server's word replaces what was thought of its bucket: what it says is left,
** less what was taken since that request. Where it says when all will be
** there again, the bucket is full then: evenly until then, or ('window') at once.
** Where it does not, its limit is one of a minute.
*/
#ifndef UB_RATE_H
#define UB_RATE_H

#include "base/region.h"

#define UB_RATE_MOST      1e12                     /* of a limit, or of tokens */
#define UB_RATE_LONGEST   ((int64_t)86400000000)   /* a day: no reset is believed beyond */

typedef enum ub_rate_kind { UB_RATE_REQUESTS, UB_RATE_TOKENS, UB_RATE_KINDS } ub_rate_kind;

typedef struct ub_rate_config {
  double per_minute[UB_RATE_KINDS];  /* of the options; 0: no such limit, or 1 or more */
} ub_rate_config;

typedef struct ub_rate_bucket {
  double most;      /* 0: there is no bucket */
  double level;     /* at 'at_us'; below 0: a debt */
  double per_us;
  int64_t at_us;
  int64_t full_us;  /* the end of the server's window; INT64_MAX: none */
  double later;     /* 'per_us' behind that */
} ub_rate_bucket;

typedef struct ub_rate {
  ub_rate_config config;
  ub_rate_bucket own[UB_RATE_KINDS], told[UB_RATE_KINDS];
  double taken[UB_RATE_KINDS];  /* in all */
  uint64_t refused;
} ub_rate;

/* What a request took, and what had been taken in all when it had: see 'ub_rate_tell'. */
typedef struct ub_rate_mark {
  double at[UB_RATE_KINDS];
} ub_rate_mark;

/* What a server says of one kind. */
typedef struct ub_rate_word {
  double limit;      /* 0: not said: as it was; without one, nothing is changed */
  double left;       /* below 0: not said: as it was */
  int64_t reset_us;  /* until all is there again; below 0: not said */
  int window;        /* 1: all at once then, not evenly until then */
} ub_rate_word;

void ub_rate_init (ub_rate *r, const ub_rate_config *config, int64_t now_us);

/*
** May a request of so many tokens (0 or more) go? UB_OK, and it is counted; or
** UB_EFULL, and '*wait_us' is when it may, if nobody else takes anything.
*/
int ub_rate_take (ub_rate *r, double tokens, ub_rate_mark *mark, int64_t *wait_us,
                  int64_t now_us);

/* Microseconds until it may; 0: now. Nothing is counted. */
int64_t ub_rate_wait (ub_rate *r, double tokens, int64_t now_us);

/* It has used so many tokens, and not what was foreseen. */
void ub_rate_correct (ub_rate *r, double foreseen, double used, int64_t now_us);

/* The server's answer to the request of that mark has said this of one kind. */
void ub_rate_tell (ub_rate *r, ub_rate_kind kind, const ub_rate_word *word,
                   const ub_rate_mark *mark, int64_t now_us);

/* What is left of a kind, by its tighter bucket, and what that holds; 0: there is none. */
double ub_rate_left (ub_rate *r, ub_rate_kind kind, double *most, int64_t now_us);

/* In a region; nothing here belongs to a process. */
extern const ub_part_type ub_rate_part;

#endif
