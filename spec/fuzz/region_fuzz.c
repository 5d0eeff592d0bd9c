/*
** region_fuzz.c: a file that is taken for a region with a cache in it, changed in
** any places.
**
**   input:  [ mode ] { where (3) | size | bytes … } …
**
** mode & 1: it is of an earlier boot; any of it may be damaged. What is then had
**           under a key is what was kept there, or nothing.
** mode & 2: with it: an entry's fields are changed, and its sum made to fit, as
**           somebody would who knows how.
** neither:  it is of this boot, so its owner's processes may be at work in it; its
**           stamp and what its blocks say of themselves may be anything.
**
** It is opened or refused; then all is read, written, purged and walked through,
** and nothing is left.
*/
#include "fuzz.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/region_inner.h"
#include "parts/cache_parts.h"

#define NAME     "c"
#define LAYOUT   7
#define KEYS     24
#define MOST     4000   /* bytes of a value */
#define NOW      INT64_C(1700000000000000)
#define FRONT    64     /* bytes of the stamp and the id, up to the lock */

static const ub_cache_config config = {
  .bytes = 100000, .seed = 42, .ttl_us = 1000000000, .entries = 40, .wall = 1
};

static char path[] = "/dev/shm/unbusy-fuzz-region-XXXXXX";
static char *sound;   /* the file as it was written */
static size_t size, block_at, machine_at;

int LLVMFuzzerInitialize (int *argc, char ***argv);

/* {== The file =============================================================== */

static size_t value_of (int i, char *out) {
  size_t length = (size_t)(i * 167 % MOST), at;
  for (at = 0; at < length; at++)
    out[at] = (char)('a' + (i + (int)(at / 7)) % 26);
  return length;
}

static ub_cache_key key_of (int i, char *room) {
  ub_cache_key key = {.bytes = room, .space = (uint32_t)i % 3};
  key.length = (size_t)snprintf(room, 32, "question %d", i);
  return key;
}

static ub_region *open_region (ub_fault *f) {
  ub_place place = {.path = path, .bytes = UB_REGION_LEAST, .lasting = 1};
  return ub_region_open(&place, f);
}

static ub_shared *open_cache (ub_region *r, int *err) {
  return ub_region_part(r, &ub_cache_part, NAME, 1, LAYOUT, &config, sizeof config, NOW, err);
}

static void keep_all (ub_shared *s) {
  char room[32], bytes[MOST];
  int i;
  ub_cache *c = ub_shared_enter(s);
  must(c != NULL);
  for (i = 0; i < KEYS; i++) {
    ub_cache_key key = key_of(i, room);
    ub_cache_value value = {.bytes = bytes, .length = value_of(i, bytes), .tags = "\1t",
                            .tags_length = i % 2 ? 2 : 0};
    must(ub_cache_set(c, &key, &value, -1, 0, NOW) == UB_OK);
  }
  ub_shared_leave(s);
}

static void remove_file (void) {
  unlink(path);
}

static void read_file (void) {
  int fd = open(path, O_RDONLY);
  off_t length = lseek(fd, 0, SEEK_END);
  must(fd >= 0 && length > 0);
  size = (size_t)length;
  sound = malloc(size);
  must(sound != NULL && pread(fd, sound, size, 0) == (ssize_t)size);
  close(fd);
}

int LLVMFuzzerInitialize (int *argc, char ***argv) {
  ub_fault f;
  ub_region *r;
  ub_shared *s;
  int err, fd = mkstemp(path);
  (void)argc;
  (void)argv;
  must(fd >= 0);
  close(fd);
  atexit(remove_file);
  ub_part_type_add(&ub_cache_part);
  r = open_region(&f);
  must(r != NULL);
  s = open_cache(r, &err);
  must(s != NULL);
  keep_all(s);
  block_at = (size_t)((char *)s->block - (char *)r->header);
  machine_at = (size_t)((char *)s->machine - (char *)r->header);
  ub_shared_close(s);
  ub_region_close(r);
  read_file();
  return 0;
}

static void write_file (const char *bytes) {
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  must(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
  must(pwrite(fd, bytes, size, 0) == (ssize_t)size);
  close(fd);
}

/* }============================================================================ */

/* {== Its damage ============================================================= */

/* Where a change begins, of those that this mode allows. */
static size_t place (uint32_t where, int mode) {
  size_t fields = offsetof(ub_block, users);
  if ((mode & 1) != 0)
    return where % 4 == 0 ? where / 4 % FRONT
         : where % 4 == 1 ? block_at + where / 4 % (size - block_at)
         : machine_at + where / 4 % (size - machine_at);
  where %= FRONT + (uint32_t)fields;
  return where < FRONT ? where : block_at + where - FRONT;
}

/* Change a field of an entry, and its sum with it. */
static void forge (fuzz_input *in, char *file) {
  ub_cache *c = (ub_cache *)(void *)(file + machine_at);
  entry *e = entry_at(c, fuzz_byte(in) % KEYS);
  char *field = (char *)e + fuzz_byte(in) % sizeof *e;
  int n = 1 + fuzz_byte(in) % 8;
  while (n-- > 0 && field < (char *)(e + 1))
    *field++ = (char)fuzz_byte(in);
  e->check = ub_entry_check(c, e);
}

static void change (fuzz_input *in, char *file, int mode) {
  uint32_t where = fuzz_byte(in);
  size_t at, n;
  where = where << 16 | (uint32_t)fuzz_byte(in) << 8;
  where |= fuzz_byte(in);
  at = place(where, mode);
  for (n = fuzz_byte(in) % 32u; n > 0 && at < size; n--, at++) {
    if ((mode & 1) == 0 && at >= FRONT
        && (at < block_at || at >= block_at + offsetof(ub_block, users)))
      return;  /* locks, and who uses it: who owns the file is at work there */
    file[at] = (char)fuzz_byte(in);
  }
}

/* }============================================================================ */

/* {== What is done with it =================================================== */

static void look_up (ub_cache *c, int forged) {
  char room[32], expected[MOST];
  int i;
  for (i = 0; i < KEYS; i++) {
    ub_cache_key key = key_of(i, room);
    ub_cache_found found;
    char *out;
    if (ub_cache_find(c, &key, NOW, &found) == UB_CACHE_MISS)
      continue;
    must(found.length <= config.bytes && found.age_us >= 0);
    out = malloc(found.length);
    must(out != NULL || found.length == 0);
    if (ub_cache_copy(c, &found, out) && !forged)
      must(found.length == value_of(i, expected) && memcmp(out, expected, found.length) == 0);
    ub_cache_use(c, &found);
    free(out);
  }
}

static void walk (ub_cache *c) {
  char *room = malloc(config.bytes);
  uint32_t cursor = 0, seen = 0;
  ub_cache_found found;
  must(room != NULL);
  while (ub_cache_next(c, &cursor, NOW, room, config.bytes, &found) == 1) {
    must(found.key_length + found.length + found.tags_length <= config.bytes);
    must(++seen <= config.entries + SPARE);
  }
  free(room);
}

static void change_all (ub_cache *c) {
  char room[32], bytes[MOST];
  uint32_t cursor = 0;
  int i;
  for (i = 0; i < 2 * KEYS; i++) {
    ub_cache_key key = key_of(i, room);
    ub_cache_value value = {.bytes = bytes, .length = value_of(i + 1, bytes)};
    if (i % 5 == 0)
      ub_cache_delete(c, &key, NOW);
    else
      must(ub_cache_set(c, &key, &value, -1, 0, NOW) == UB_OK);
  }
  while (cursor != UB_CACHE_END)
    ub_cache_purge(c, "t", 1, &cursor, NOW);
  must(ub_cache_read(c).entries <= config.entries);
  must(ub_cache_read(c).bytes <= config.bytes);
}

static void use (ub_region *r, int mode) {
  int err;
  ub_shared *s = open_cache(r, &err);
  ub_cache *c;
  must(s != NULL || err == UB_EFULL || err == UB_ENOMEM || err == UB_EINVALID);
  if (s == NULL)
    return;
  c = ub_shared_enter(s);
  must(c != NULL);
  look_up(c, mode & 2);
  walk(c);
  change_all(c);
  walk(c);
  ub_cache_clear(c);
  must(ub_cache_read(c).entries == 0);
  ub_shared_leave(s);
  ub_shared_close(s);
}

/* }============================================================================ */

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length) {
  fuzz_input in = {bytes, bytes + length};
  int mode = fuzz_byte(&in) & 3;
  int64_t live = ub_alloc_live();
  char *file = fuzz_copy(sound, size);
  ub_region *r;
  ub_fault f = {0};
  if ((mode & 1) != 0)
    memset(((ub_stamp *)(void *)file)->world.boot, 'x', sizeof((ub_stamp *)0)->world.boot);
  while (fuzz_left(&in) > 0) {
    if (mode == 3)
      forge(&in, file);
    else
      change(&in, file, mode);
  }
  write_file(file);
  free(file);
  r = open_region(&f);
  must(r != NULL || (f.err > UB_OK && f.err < UB_ERRORS_END && f.what != NULL));
  if (r != NULL) {
    ub_region_read(r);
    if ((mode & 1) != 0)
      use(r, mode);
    ub_region_close(r);
  }
  must(ub_region_count() == 0 && ub_alloc_live() == live);
  return 0;
}
