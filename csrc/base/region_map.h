/*
** region_map.h: a region's memory: how it is got, and whether it may be used.
**
**   anonymous   shared by this process and those forked from it
**   name        /dev/shm/unbusy-<uid>-<name>, of any process of this user; gone
**               when its last user has closed it
**   path        a file, that stays
**
** A file's locks (of the open file, fcntl(2) F_OFD_SETLK; so children keep them):
** byte 0 is held while somebody opens, byte 1 is shared by all users. Whoever
** gets byte 1 alone may begin anew what is of another boot, version or size. (What is
** to last is taken over from an earlier boot: the caller writes the new 'world' into
** the stamp once that is done. And whoever gets it alone looks through all of it.)
**
** A file is ours only with the right first word, owner and mode; any other is
** refused and left as it is. All of its space is taken at once, so that a disk
** that is full later kills nobody. (Cutting it short by hand still does.)
*/
#ifndef UB_REGION_MAP_H
#define UB_REGION_MAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/process.h"

#define UB_REGION_LEAST    262144          /* bytes */
#define UB_REGION_MOST     1099511627776   /* 1 TiB */
#define UB_REGION_DEFAULT  8388608
#define UB_REGION_NAME     64              /* characters of a name, at most */

/* What stands at the front of every region. */
typedef struct ub_stamp {
  uint64_t magic;          /* written last */
  uint32_t version;        /* of the layout of all that follows */
  uint32_t header_bytes;
  uint64_t size;
  ub_process_world world;
} ub_stamp;

typedef struct ub_place {
  const char *name;  /* or NULL: letters, digits, '-', '_', '.'; no '.' first */
  const char *path;  /* or NULL; both NULL: anonymous */
  uint64_t bytes;    /* 0: as it is, or UB_REGION_DEFAULT */
  int lasting;       /* what is of an earlier boot is not begun anew */
} ub_place;

/* What went wrong: an error, what was tried, and the system's errno or 0. */
typedef struct ub_fault {
  int err;
  const char *what;
  int system;
} ub_fault;

typedef struct ub_map {
  void *memory;
  size_t size;
  int fresh;        /* all zeros but for the stamp, which has no magic yet */
  int earlier;      /* of an earlier boot (or container), and only we have it */
  int alone;        /* it is to last and of this boot, and only we have it */
  int fd;           /* -1: anonymous */
  dev_t device;     /* of the file */
  ino_t inode;
  char name[UB_REGION_NAME + 1];  /* "": not of a name */
} ub_map;

/*
** Find or make the file and lock it for opening (nothing to do when anonymous).
** Then either 'ub_map_drop', when this process has that file mapped already,
** or 'ub_map_memory'.
*/
int ub_map_open (ub_map *m, const ub_place *place, ub_fault *f);
void ub_map_drop (ub_map *m);

/*
** Map it; 'want' says what the stamp has to be (its magic, version, header_bytes
** and world). Fresh memory gets the stamp but for its magic: the caller fills
** in the rest, writes the magic and calls 'ub_map_ready', which lets others in.
*/
int ub_map_memory (ub_map *m, const ub_place *place, const ub_stamp *want, ub_fault *f);
void ub_map_ready (ub_map *m);

/* Give it back; a named one disappears with its last user. */
void ub_map_close (ub_map *m);

/*
** Remove the files of all regions of this user whose names begin so and that nobody uses: their
** last users were killed, or were no longer allowed to. 'prefix' has UB_REGION_NAME characters at
** most.
*/
void ub_map_sweep (const char *prefix);

#endif
