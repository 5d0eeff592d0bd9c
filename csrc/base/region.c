/*
** region.c: opening and closing regions.
*/
#include "base/region.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/processes.h"
#include "base/rand.h"
#include "base/region_inner.h"

#define PAGE 4096

static ub_region *regions;  /* open in this process */

int64_t ub_region_count (void) {
  const ub_region *r;
  int64_t n = 0;
  for (r = regions; r != NULL; r = r->next)
    n++;
  return n;
}

int64_t ub_region_now (void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return (int64_t)t.tv_sec * UB_SECOND_US + t.tv_nsec / 1000;
}

int ub_directory_lock (ub_region *r, int64_t most_us) {
  ub_lock *l = &r->header->lock;
  ub_locked how = most_us < 0 ? ub_lock_take(l) : ub_lock_try(l, most_us);
  return how == UB_LOCK_TAKEN || how == UB_LOCK_ORPHANED;  /* there is nothing to undo */
}

void ub_directory_unlock (ub_region *r) {
  ub_lock_give(&r->header->lock);
}

/* The region that has this file mapped already, or NULL. */
static ub_region *find (const ub_map *m) {
  ub_region *r;
  for (r = regions; r != NULL; r = r->next) {
    if (m->fd >= 0 && r->map.fd >= 0 && r->map.device == m->device && r->map.inode == m->inode)
      return r;
  }
  return NULL;
}

/* Fill in fresh memory; its magic comes last. */
static int begin_anew (ub_region *r) {
  ub_region_header *h = r->header;
  h->id = ub_rand_seed();
  ub_blocks_init(r);
  if (!ub_lock_init(&h->lock))
    return 0;
  __atomic_store_n(&h->stamp.magic, UB_REGION_MAGIC, __ATOMIC_SEQ_CST);
  return 1;
}

/*
** Is there a process that has it open, though it has lost the file's lock, as a daemon has that
** closes all descriptors? (What is damaged names none that there is.)
*/
static int is_used (const ub_region *r) {
  uint32_t i;
  for (i = 1; i < UB_PROCESSES; i++) {
    const ub_process_slot *p = &r->header->process[i];
    ub_process process = {.pid = p->pid, .start = p->start};
    if (p->pid != 0 && p->pid <= INT32_MAX && p->start != 0 && ub_process_lives(&process))
      return 1;
  }
  return 0;
}

/*
** Bring back what nobody uses: it is of an earlier boot, or was closed, and may have been damaged
** since. Whatever cannot be is given up. May be done again, from any point.
*/
static int bring_back (ub_region *r, const ub_process_world *world) {
  ub_region_header *h = r->header;
  memset((char *)h + sizeof h->stamp, 0, sizeof *h - sizeof h->stamp);
  h->id = ub_rand_seed();
  if (!ub_lock_init(&h->lock))
    return 0;
  if (!ub_blocks_sound(r))
    ub_blocks_init(r);
  if (!ub_blocks_revive(r, !r->map.earlier))
    return 0;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  h->stamp.world = *world;
  return 1;
}

/* Look at what is there; it may be another's half-done work, but no damage. */
static int take_over (ub_region *r) {
  int sound;
  if (!ub_directory_lock(r, -1))
    return 0;
  sound = ub_blocks_sound(r);
  ub_directory_unlock(r);
  return sound;
}

static int is_to_revive (const ub_region *r) {
  return r->map.earlier || (r->map.alone && !is_used(r));
}

static int map_it (ub_region *r, const ub_place *place, ub_fault *f) {
  ub_stamp want = {.magic = UB_REGION_MAGIC, .version = UB_REGION_VERSION,
                   .header_bytes = sizeof(ub_region_header)};
  ub_process_world_read(&want.world);
  if (!ub_map_memory(&r->map, place, &want, f))
    return 0;
  r->header = r->map.memory;
  if (r->map.fresh ? begin_anew(r)
      : is_to_revive(r) ? bring_back(r, &want.world) : take_over(r)) {
    ub_map_ready(&r->map);
    return 1;
  }
  *f = (ub_fault){.err = UB_EINVALID, .what = "its memory is damaged"};
  ub_map_close(&r->map);
  return 0;
}

static ub_region *new_region (ub_map *m, const ub_place *place, ub_fault *f) {
  ub_region *r = ub_alloc(sizeof *r);
  if (r == NULL) {
    *f = (ub_fault){.err = UB_ENOMEM, .what = "not enough memory"};
    ub_map_drop(m);
    return NULL;
  }
  *r = (ub_region){.map = *m, .wake_fd = -1, .users = 1, .next = regions};
  if (!map_it(r, place, f)) {
    ub_free(r);
    return NULL;
  }
  regions = r;
  return r;
}

ub_region *ub_region_open (const ub_place *wanted, ub_fault *f) {
  ub_place place = *wanted;
  ub_region *r;
  ub_map m;
  place.bytes = (place.bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
  if (!ub_map_open(&m, &place, f))
    return NULL;
  r = find(&m);
  if (r == NULL)
    return new_region(&m, &place, f);
  ub_map_drop(&m);
  if (place.bytes != 0 && place.bytes != r->map.size) {
    *f = (ub_fault){.err = UB_EINVALID, .what = "this process has it open in another size"};
    return NULL;
  }
  r->users++;
  return r;
}

void ub_region_close (ub_region *r) {
  ub_region **at;
  if (--r->users > 0)
    return;
  for (at = &regions; *at != r;)
    at = &(*at)->next;
  *at = r->next;
  if (r->mark == ub_process_mark())
    ub_processes_leave(r);
  if (r->wake_fd >= 0)
    close(r->wake_fd);
  ub_map_close(&r->map);
  ub_free(r);
}

ub_region_stats ub_region_read (ub_region *r) {
  ub_region_stats stats = {.bytes = r->map.size};
  uint32_t i;
  ub_region_reap_now(r);
  if (!ub_directory_lock(r, -1))
    return stats;
  ub_blocks_read(r, &stats);
  for (i = 1; i < UB_PROCESSES; i++)
    stats.processes += r->header->process[i].pid != 0;
  stats.waiting = ub_region_waiters(r);
  ub_directory_unlock(r);
  return stats;
}
