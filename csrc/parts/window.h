/*
** window.h: what the latest calls came to: of the last seconds, or the last
** so many.
**
**   seconds   | bucket | bucket | bucket | … |     number n lies at n % places;
**                 ^present       ^oldest          one with another number is empty
**   count     | call | call | call | … |           one word per call, a ring
**                 ^newest  ^oldest
**
** The sum of all that lies in the window is kept beside it, and so is the present
** bucket or the newest call: it is written to its place, where nothing is read
** before, when the next one begins. So putting the head back undoes whatever was
** done to a window. One of n buckets reaches back between n - 1 and n bucket
** widths. Every function wants times that do not go backwards.
*/
#ifndef UB_WINDOW_H
#define UB_WINDOW_H

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#define UB_WINDOW_BUCKETS  1000    /* at most */
#define UB_WINDOW_COUNT    100000  /* at most */

typedef struct ub_tally {
  uint64_t calls;
  uint64_t ok;        /* calls reported as gone well, cut later or not */
  uint64_t failures;  /* calls reported as failed, and later cuts */
  uint64_t slow;      /* calls that went well or failed, but slowly */
} ub_tally;

typedef struct ub_window_config {
  int64_t length_us;  /* of the window; at least one per bucket */
  uint32_t buckets;   /* 1 to UB_WINDOW_BUCKETS */
  uint32_t count;     /* 1 to UB_WINDOW_COUNT: so many calls; 0: seconds */
} ub_window_config;

typedef struct ub_bucket {
  uint64_t number;    /* counted from the window's beginning */
  ub_tally tally;
} ub_bucket;

typedef struct ub_window {
  ub_tally sum;       /* of the window as it was at the last write */
  ub_bucket present;
  uint64_t first;     /* number of the first bucket since all was forgotten */
  int64_t width_us;   /* of a bucket */
  int64_t start_us;   /* when the present bucket began */
  uint32_t places;    /* buckets, or calls */
  uint32_t at;        /* of the newest call */
  uint32_t filled;    /* calls in the ring, 'places' at most */
  uint16_t newest;    /* the newest call, if there is one */
  uint16_t by_count;
  alignas(ub_bucket) unsigned char room[];
} ub_window;

/* Bytes for such a window, a multiple of eight. */
size_t ub_window_size (const ub_window_config *config);

void ub_window_init (ub_window *w, const ub_window_config *config, int64_t now_us);

/* Forget every call. */
void ub_window_clear (ub_window *w);

/* Drop the buckets whose time is over from the window and its sum. */
void ub_window_advance (ub_window *w, int64_t now_us);

/* One call more, now. */
void ub_window_add (ub_window *w, int64_t now_us, int failed, int slow);

/*
** One failure more, no call more: the cut of a call counted before. Gives 0
** when it could not be counted (a ring without calls, or with 16,383 cuts
** since its newest one).
*/
int ub_window_cut (ub_window *w, int64_t now_us);

/* What lies in the window now; nothing is written. */
ub_tally ub_window_read (const ub_window *w, int64_t now_us);

#endif
