/*
** region_inner.h: what the files of the region share: the layout of the memory,
** and a process's view of it. Not for others.
*/
#ifndef UB_REGION_INNER_H
#define UB_REGION_INNER_H

#include "base/lock.h"
#include "base/process_set.h"
#include "base/region.h"
#include "base/turns.h"

#define UB_REGION_MAGIC    0x315f797375626e75u  /* "unbusy_1" */
#define UB_REGION_VERSION  3

#define UB_GRAIN           64  /* blocks begin and end on cache lines */

typedef struct ub_process_slot {
  uint64_t start;       /* ub_process's; written before 'pid' */
  uint64_t address;     /* of its wake-up socket; 0: none */
  int64_t since_us[UB_TURNS];  /* since when its oldest waiter waits, by priority */
  uint32_t waiters[UB_TURNS];
  uint32_t pid;         /* 0: free */
  uint32_t woken, spare;  /* wake-ups sent to it that it has not taken yet */
} ub_process_slot;

typedef struct ub_region_header {
  ub_stamp stamp;
  uint64_t id;               /* by chance: part of the socket's addresses */
  int64_t reap_at_us;        /* when to look for dead processes next */
  ub_lock lock;              /* of blocks and slots */
  ub_process_set waiting;    /* who has waiters */
  ub_turns turns;            /* of their priorities */
  ub_process_slot process[UB_PROCESSES];
} ub_region_header;

typedef struct ub_block {
  uint64_t bytes;            /* this block's, a multiple of UB_GRAIN */
  uint64_t taken;            /* 0: free; written last, by which the part is there */
  char kind[8];
  uint64_t layout;
  uint64_t sequence;         /* odd: in an operation */
  uint64_t image_at, machine_at;  /* from the block's front */
  uint32_t head_bytes;
  uint32_t version;          /* of the machine's layout */
  uint32_t name_length;
  ub_process_set users;
  ub_lock lock;
  char name[];
} ub_block;

struct ub_region {
  ub_map map;
  ub_region_header *header;  /* what is mapped */
  ub_region *next;           /* of this process */
  ub_shared *parts;          /* that this process has open */
  int64_t mark;              /* of the process that holds 'slot'; 0: none */
  uint32_t slot;
  uint32_t users;            /* handles and parts */
  int wake_fd;               /* its socket, or -1 */
};

struct ub_shared {
  ub_region *region;
  ub_shared *next;           /* of the region, in this process */
  const ub_part_type *type;
  ub_block *block;           /* NULL: it has lost its room */
  void *machine;             /* in it */
  uint64_t layout;
  int64_t made_us;
  size_t name_length;
  char *name;                /* behind the config */
  uint64_t config[];         /* a copy: the part may have to be made again */
};

/* Now, to a few milliseconds, but cheap. */
int64_t ub_region_now (void);

/* The lock of blocks and slots; 0 when not had within 'most_us' (below 0: no limit). */
int ub_directory_lock (ub_region *r, int64_t most_us);
void ub_directory_unlock (ub_region *r);

/* {== blocks.c, under the directory's lock ==================================== */

/* The whole room as one free block; is what stands there sound? */
void ub_blocks_init (ub_region *r);
int ub_blocks_sound (ub_region *r);
int ub_blocks_revive (ub_region *r, int same_boot);  /* what nobody uses; 0: no locks */
void ub_blocks_read (ub_region *r, ub_region_stats *stats);

/* Give back, in every part, what slot 'process' holds (0: who has none). 0: not in all of them. */
int ub_blocks_release (ub_region *r, uint32_t process);

/* Find or make the block of 's' and say that we use it; an error, or UB_OK. */
int ub_block_claim (ub_region *r, ub_shared *s);

/* The same for all parts that this process, new here, has open. */
void ub_blocks_claim (ub_region *r);

/* }============================================================================ */

/*
** Begin an operation on a block's machine, with its lock: 1; 2 when the last
** owner died at one, which is undone; 0: not had within 'most_us'. Then end it.
*/
int ub_block_begin (ub_block *b, const ub_part_type *type, uint32_t process, int64_t most_us);
void ub_block_end (ub_block *b);

/* Give back what slot 'process' holds in one machine; 0: its lock was not had. */
int ub_block_release (ub_block *b, const ub_part_type *type, uint32_t process,
                      int64_t most_us);

/* As 'ub_region_reap', whenever it was done last; and again, once the dead are seen to be. */
void ub_region_reap_now (ub_region *r);
void ub_region_died (ub_region *r);

/* This process has no use for the region any more: free its slot. */
void ub_processes_leave (ub_region *r);

#endif
