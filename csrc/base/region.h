/*
** region.h: memory that processes share, and the parts that live in it.
**
**   | header: stamp, lock, processes | block | block | block | … |
**   block:  | bytes, taken, name, users, lock, sequence | undo image | machine |
**
** Offsets only, no pointers. The blocks lie side by side to the end, taken or
** free. Every change of theirs becomes true by one store, so a
** process may be killed at any instruction.
**
** A part is a machine in a block. Whoever works on it takes the block's lock,
** copies the machine's head to the undo image and makes the sequence odd;
** when the work is done it is even again. Who finds it odd knows that somebody
** died at work, and puts the head back: the operation never was. A lock whose
** owner is only stopped is waited for.
**
** Each process has a slot, claimed when it first works on a part (so after a
** fork each has its own): what it holds in the machines is marked with it, and
** is given back once the process is gone.
*/
#ifndef UB_REGION_H
#define UB_REGION_H

#include <stddef.h>
#include <stdint.h>

#include "base/region_map.h"

typedef struct ub_region ub_region;
typedef struct ub_shared ub_shared;

/*
** What a region has to know of a kind of machine: functions of this process,
** never kept in shared memory. 'config' is what 'ub_region_part' was given.
*/
typedef struct ub_part_type {
  char kind[8];
  uint32_t version;                       /* of the machine's layout */
  size_t (*size)(const void *config);
  size_t (*head)(const void *config);     /* bytes from the front kept twice */
  void (*init)(void *machine, const void *config, int64_t now_us);
  /* Before each operation, or NULL; stores of which each is harmless alone. */
  void (*begin)(void *machine, uint32_t process);
  /* The head is back as before the operation: bring the rest there. Or NULL. */
  void (*repair)(void *machine);
  /* It lies in a file that nobody uses, in so many bytes: of an earlier boot, where any may
     be older than others, or ('same_boot') of this one, where some may be damaged. Make it
     whole, again from any point. 0: it cannot be. Or NULL. */
  int (*revive)(void *machine, size_t bytes, int same_boot);
  /* Give back one thing that a process held, at the machine's own time: was there
     one? Each is an operation of its own. Or NULL. */
  int (*release)(void *machine, uint32_t process);
} ub_part_type;

typedef struct ub_region_stats {
  uint64_t bytes, used;  /* in all; of them taken by parts and the header */
  uint32_t parts, processes, waiting;
} ub_region_stats;

/*
** Make a type known, once per process: a dead process may have worked on parts
** that this one has never opened.
*/
void ub_part_type_add (const ub_part_type *type);

/*
** A region, or NULL and the fault. The same file gives the same region within
** a process, whichever Lua state asks. Closed as often as it was opened.
*/
ub_region *ub_region_open (const ub_place *place, ub_fault *f);
void ub_region_close (ub_region *r);

/* Regions open in this process. */
int64_t ub_region_count (void);

/* Of the living: the dead are taken care of first. */
ub_region_stats ub_region_read (ub_region *r);

/*
** This process's slot, 1 or more; 0 when all are taken. What processes without a
** slot hold is given back, of the living too, once there is a slot to be had.
*/
uint32_t ub_region_process (ub_region *r);

/*
** The part of this type, name and layout, made where it is missing; NULL with
** UB_EFULL, UB_ENOMEM, or UB_EINVALID (damage) in '*err'. 'layout' tells one
** configuration from another: under one name each has a part of its own, and
** the room of those that no living process uses is given to newer ones. The
** 'config' is copied. The part keeps the region open.
*/
ub_shared *ub_region_part (ub_region *r, const ub_part_type *type, const char *name,
                           size_t length, uint64_t layout, const void *config,
                           size_t config_bytes, int64_t now_us, int *err);
void ub_shared_close (ub_shared *s);
ub_region *ub_shared_region (ub_shared *s);

#define UB_PART_NAME  255  /* bytes of a part's name, at most; at least 1 */

/*
** Lock the part for an operation: its machine. NULL, with nothing locked, when
** its room went to others while this process, just forked, had not claimed its
** slot, and there is none for a new one. No Lua error may pass until it is left.
*/
void *ub_shared_enter (ub_shared *s);
void ub_shared_leave (ub_shared *s);

/*
** Copy the machine's first 'bytes' as they are between two operations, at most
** its head: mostly without a lock. 0 where 'ub_shared_enter' gives NULL.
*/
int ub_shared_look (ub_shared *s, void *copy, size_t bytes);

/*
** Give back what processes that are gone held. Done at most once a second by
** whoever enters a part, and at once when a lock's owner has died.
*/
void ub_region_reap (ub_region *r);

#endif
