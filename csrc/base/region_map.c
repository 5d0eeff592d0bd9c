/*
** region_map.c: a region's memory.
*/
#include "base/region_map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/err.h"

#define HALF_MADE    0x666c61685f626e75u  /* instead of a magic: "unb_half": not whole yet */
#define OPENING      0                    /* bytes of the file that are locked */
#define USERS        1
#define MOST_TRIES   100

/* What the system's error means for us. */
static int err_of (int system) {
  switch (system) {
    case ENOSPC: case EDQUOT: case EFBIG: return UB_EFULL;
    case ENOMEM: case EMFILE: case ENFILE: return UB_ENOMEM;
    default: return UB_EINVALID;
  }
}

/* Gives 0, for 'return fault(...)'. */
static int fault (ub_fault *f, int err, const char *what) {
  *f = (ub_fault){.err = err, .what = what};
  return 0;
}

static int system_fault (ub_fault *f, const char *what, int system) {
  *f = (ub_fault){.err = err_of(system), .what = what, .system = system};
  return 0;
}

/* {== The file =============================================================== */

static void path_of_name (char *path, size_t size, const char *name) {
  snprintf(path, size, "/unbusy-%lu-%s", (unsigned long)geteuid(), name);
}

static int open_file (const ub_place *place, int more) {
  int how = O_RDWR | O_CLOEXEC | O_NOFOLLOW | more;
  char path[UB_REGION_NAME + 40];
  if (place->path != NULL)
    return ub_above_standard(open(place->path, how | O_NONBLOCK | O_NOCTTY, 0600));
  path_of_name(path, sizeof path, place->name);
  return ub_above_standard(shm_open(path, how, 0600));
}

/* Lock one byte of the file. Gives 0 when another open file holds it. */
static int lock_byte (int fd, short type, off_t byte, int wait) {
  struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  int answer;
  do
    answer = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &l);
  while (answer != 0 && errno == EINTR);
  return answer == 0;
}

/* Is it a file that only we may have written? */
static int is_ours (const struct stat *st, ub_fault *f) {
  if (!S_ISREG(st->st_mode))
    return fault(f, UB_EINVALID, "it is no plain file");
  if (st->st_uid != geteuid())
    return fault(f, UB_EINVALID, "the file belongs to another user");
  if ((st->st_mode & 077) != 0)
    return fault(f, UB_EINVALID, "others may read or write the file; its mode has to be 0600");
  return 1;
}

/* As 'ub_map_open', once: -1 when the file was removed while we waited. */
static int open_once (ub_map *m, const ub_place *place, ub_fault *f) {
  struct stat st;
  m->fd = open_file(place, O_CREAT);
  if (m->fd < 0)
    return system_fault(f, "open", errno);
  if (fstat(m->fd, &st) != 0)
    return system_fault(f, "fstat", errno);
  if (!is_ours(&st, f))
    return 0;
  if (!lock_byte(m->fd, F_WRLCK, OPENING, 1))
    return system_fault(f, "lock", errno);
  if (fstat(m->fd, &st) != 0 || st.st_nlink == 0)
    return -1;
  m->device = st.st_dev;
  m->inode = st.st_ino;
  return 1;
}

int ub_map_open (ub_map *m, const ub_place *place, ub_fault *f) {
  int tries, done;
  *m = (ub_map){.fd = -1};
  if (place->name == NULL && place->path == NULL)
    return 1;
  if (place->name != NULL)
    snprintf(m->name, sizeof m->name, "%s", place->name);
  for (tries = 0; tries < MOST_TRIES; tries++) {
    if ((done = open_once(m, place, f)) == 1)
      return 1;
    ub_map_drop(m);
    if (done == 0)
      return 0;
  }
  return fault(f, UB_EINVALID, "the file is removed again and again");
}

void ub_map_drop (ub_map *m) {
  if (m->fd >= 0)
    close(m->fd);  /* the locks go with it */
  m->fd = -1;
}

/* }============================================================================ */

/* {== What is in it ========================================================== */

typedef enum found {
  FOUND_USABLE,
  FOUND_EARLIER,  /* of an earlier boot, or a container, and to last */
  FOUND_PAST,     /* likewise, and to begin anew */
  FOUND_OLD,      /* to begin anew for any other reason */
  FOUND_FAULT
} found;

/* Has nothing ever been written there, whatever its size? Asked before anything is read, which some
   file systems take for the same. */
static int is_blank (int fd) {
  return lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO;
}

/* Look at a file's stamp: is it what we want, an older one of ours, or neither? */
static found look (const ub_map *m, const ub_place *place, const ub_stamp *want,
                   uint64_t *size, ub_fault *f) {
  ub_stamp stamp = {0};
  struct stat st;
  int blank = is_blank(m->fd);
  ssize_t length = pread(m->fd, &stamp, sizeof stamp, 0);
  if (length < 0 || fstat(m->fd, &st) != 0) {
    system_fault(f, "read", errno);
    return FOUND_FAULT;
  }
  *size = stamp.size;
  if (blank || length == 0 || (length >= 8 && stamp.magic == HALF_MADE))
    return FOUND_OLD;
  if (length < (ssize_t)sizeof stamp || stamp.magic != want->magic)
    return fault(f, UB_EINVALID, "the file is no region of unbusy"), FOUND_FAULT;
  if (stamp.version != want->version || stamp.header_bytes != want->header_bytes)
    return FOUND_OLD;
  if (stamp.size != (uint64_t)st.st_size || stamp.size < UB_REGION_LEAST
      || stamp.size > UB_REGION_MOST)
    return fault(f, UB_EINVALID, "the file was cut short or is damaged"), FOUND_FAULT;
  if (place->bytes != 0 && place->bytes != stamp.size)
    return FOUND_OLD;
  if (memcmp(&stamp.world, &want->world, sizeof stamp.world) == 0)
    return FOUND_USABLE;
  return place->lasting ? FOUND_EARLIER : FOUND_PAST;
}

/*
** Is there that much space, besides what is reserved for root? Asked first, since some file systems
** take all there is before they say that it is not enough, and until then nobody else can write.
** One without a limit has no blocks.
*/
static int has_space (int fd, uint64_t size) {
  struct statvfs fs;
  return fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0 || fs.f_frsize == 0
         || size / fs.f_frsize <= (uint64_t)fs.f_bavail;
}

/* Gives an errno, or 0. */
static int take_space (int fd, uint64_t size) {
  int system;
  if (!has_space(fd, size))
    return ENOSPC;
  do
    system = posix_fallocate(fd, 0, (off_t)size);
  while (system == EINTR);
  return system;
}

/* May this process make a file so large? (The system ends whoever tries: SIGXFSZ.) */
static int is_allowed (uint64_t size) {
  struct rlimit most;
  return getrlimit(RLIMIT_FSIZE, &most) != 0 || size <= most.rlim_cur;
}

/*
** Make the file that large; gives an errno, or 0. That it is half made is on the disk before it has
** its size: else a power cut could leave it in its size and empty, as nobody's.
*/
static int fill_file (int fd, uint64_t size) {
  static const uint64_t half = HALF_MADE;
  int system;
  if (!is_allowed(size))
    return EFBIG;
  if (ftruncate(fd, 0) != 0 || pwrite(fd, &half, sizeof half, 0) != (ssize_t)sizeof half)
    return errno != 0 ? errno : ENOSPC;
  (void)fdatasync(fd);  /* where it cannot be done, all else can */
  system = take_space(fd, size);
  if (system != 0)
    (void)!ftruncate(fd, 0);  /* what could not be had whole is given back */
  return system;
}

static int map_file (ub_map *m, uint64_t size, ub_fault *f) {
  int flags = MAP_SHARED | (m->fd < 0 ? MAP_ANONYMOUS : 0);
  void *memory = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, flags, m->fd, 0);
  if (memory == MAP_FAILED)
    return system_fault(f, "mmap", errno);
  m->memory = memory;
  m->size = (size_t)size;
  return 1;
}

/* Remove a named region's file, which only its one user may. */
static void remove_name (const char *name) {
  char path[UB_REGION_NAME + 40];
  if (name[0] == '\0')
    return;
  path_of_name(path, sizeof path, name);
  shm_unlink(path);
}

static int is_alone (const ub_map *m, found what, ub_fault *f) {
  return lock_byte(m->fd, F_WRLCK, USERS, 0)
      || fault(f, UB_EINVALID, what == FOUND_OLD
               ? "another process uses it, in another size or version"
               : "another process uses it, in another container or machine");
}

/* What was made of the file is of no use: its space is given back, and a name with it. */
static void give_up_file (const ub_map *m) {
  if (m->fd >= 0)
    (void)!ftruncate(m->fd, 0);
  remove_name(m->name);
}

/* Begin anew, which only the one user may. */
static int make_fresh (ub_map *m, const ub_place *place, const ub_stamp *want, found what,
                       ub_fault *f) {
  uint64_t size = place->bytes != 0 ? place->bytes : UB_REGION_DEFAULT;
  int system;
  if (m->fd >= 0) {
    if (!is_alone(m, what, f))
      return 0;
    errno = 0;
    if ((system = fill_file(m->fd, size)) != 0) {
      remove_name(m->name);
      return system_fault(f, "making the file", system);
    }
  }
  if (!map_file(m, size, f)) {
    give_up_file(m);
    return 0;
  }
  m->fresh = 1;
  *(ub_stamp *)m->memory = (ub_stamp){
    .magic = HALF_MADE, .version = want->version, .header_bytes = want->header_bytes,
    .size = size, .world = want->world
  };
  return 1;
}

int ub_map_memory (ub_map *m, const ub_place *place, const ub_stamp *want, ub_fault *f) {
  uint64_t size = 0;
  found what = m->fd < 0 ? FOUND_OLD : look(m, place, want, &size, f);
  int done = 0;
  if (what == FOUND_OLD || what == FOUND_PAST)
    done = make_fresh(m, place, want, what, f);
  else if (what != FOUND_FAULT)
    done = (what == FOUND_USABLE || is_alone(m, what, f)) && map_file(m, size, f);
  m->earlier = what == FOUND_EARLIER;
  m->alone = done && what == FOUND_USABLE && place->lasting
             && lock_byte(m->fd, F_WRLCK, USERS, 0);
  if (!done)
    ub_map_drop(m);
  return done;
}

void ub_map_ready (ub_map *m) {
  if (m->fd < 0)
    return;
  lock_byte(m->fd, F_RDLCK, USERS, 0);  /* never refused: byte 0 is ours */
  lock_byte(m->fd, F_UNLCK, OPENING, 0);
}

/* }============================================================================ */

/*
** Remove a named region's file, unless somebody uses or opens it. While we have both locks nobody
** else removes it: the name is still this file's.
*/
static void remove_unused (const char *name) {
  ub_place place = {.name = name};
  struct stat st;
  int fd = open_file(&place, 0);
  if (fd < 0)
    return;
  if (lock_byte(fd, F_WRLCK, OPENING, 0) && lock_byte(fd, F_WRLCK, USERS, 0)
      && fstat(fd, &st) == 0 && st.st_nlink != 0 && st.st_uid == geteuid())
    remove_name(name);
  close(fd);
}

void ub_map_sweep (const char *prefix) {
  char path[UB_REGION_NAME + 40];
  size_t whole, own;  /* bytes of how the files' names begin, of which are before the region's */
  struct dirent *entry;
  DIR *memory = opendir("/dev/shm");
  if (memory == NULL)
    return;
  path_of_name(path, sizeof path, prefix);
  whole = strlen(path) - 1;
  own = whole - strlen(prefix);
  while ((entry = readdir(memory)) != NULL) {
    if (strncmp(entry->d_name, path + 1, whole) == 0
        && strlen(entry->d_name + own) <= UB_REGION_NAME)
      remove_unused(entry->d_name + own);
  }
  closedir(memory);
}

void ub_map_close (ub_map *m) {
  if (m->memory != NULL)
    munmap(m->memory, m->size);
  m->memory = NULL;
  if (m->fd < 0)
    return;
  ub_map_drop(m);
  if (m->name[0] != '\0')
    remove_unused(m->name);
}
