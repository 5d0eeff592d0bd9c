/*
** shared.c: operations on a machine that lies in a region.
*/
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/region_inner.h"
#include "base/region_peek.h"

#define LOOKS  16  /* at a head that is being written, before its lock is taken */

/* Keep the compiler from moving a store across: a process may die between the two. */
#define in_order() __asm__ volatile ("" ::: "memory")

static void *machine_of (ub_block *b) {
  return (char *)b + b->machine_at;
}

static void set_sequence (ub_block *b, uint64_t sequence) {
  in_order();
  __atomic_store_n(&b->sequence, sequence, __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  in_order();
}

/* Undo the operation at which its process died. May be done again, from any point. */
static void undo (ub_block *b, const ub_part_type *type) {
  memcpy(machine_of(b), (char *)b + b->image_at, b->head_bytes);
  if (type->repair != NULL)
    type->repair(machine_of(b));
  set_sequence(b, b->sequence + 1);
}

int ub_block_begin (ub_block *b, const ub_part_type *type, uint32_t process, int64_t most_us) {
  ub_locked how = most_us < 0 ? ub_lock_take(&b->lock) : ub_lock_try(&b->lock, most_us);
  if (how != UB_LOCK_TAKEN && how != UB_LOCK_ORPHANED)
    return 0;
  if ((b->sequence & 1) != 0)
    undo(b, type);
  if (type->begin != NULL)
    type->begin(machine_of(b), process);
  memcpy((char *)b + b->image_at, machine_of(b), b->head_bytes);
  set_sequence(b, b->sequence + 1);
  return how == UB_LOCK_ORPHANED ? 2 : 1;
}

void ub_block_end (ub_block *b) {
  set_sequence(b, b->sequence + 1);
  ub_lock_give(&b->lock);
}

int ub_block_release (ub_block *b, const ub_part_type *type, uint32_t process,
                      int64_t most_us) {
  int more = type->release != NULL;
  while (more) {
    if (!ub_block_begin(b, type, 0, most_us))
      return 0;
    more = type->release(machine_of(b), process);
    ub_block_end(b);
  }
  return 1;
}

void *ub_shared_enter (ub_shared *s) {
  ub_region *r = s->region;
  uint32_t process = ub_region_process(r);
  int how;
  ub_region_reap(r);
  if (s->block == NULL)
    return NULL;
  how = ub_block_begin(s->block, s->type, process, -1);
  if (how == 2) {  /* somebody died here: give back what he held first */
    ub_block_end(s->block);
    ub_region_died(r);
    how = ub_block_begin(s->block, s->type, process, -1);
  }
  return how == 0 ? NULL : s->machine;
}

ub_region *ub_shared_region (ub_shared *s) {
  return s->region;
}

void ub_shared_leave (ub_shared *s) {
  ub_block_end(s->block);
}

void *ub_shared_peek (ub_shared *s, uint32_t *process) {
  *process = ub_region_process(s->region);  /* a process just forked may have lost it */
  return s->block == NULL ? NULL : s->machine;
}

int ub_shared_look (ub_shared *s, void *copy, size_t bytes) {
  ub_block *b;
  int i;
  ub_region_process(s->region);  /* a process just forked may have lost the block */
  b = s->block;
  if (b == NULL)
    return 0;
  bytes = bytes < b->head_bytes ? bytes : b->head_bytes;
  for (i = 0; i < LOOKS; i++) {
    uint64_t before = __atomic_load_n(&b->sequence, __ATOMIC_ACQUIRE);
    memcpy(copy, s->machine, bytes);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((before & 1) == 0 && __atomic_load_n(&b->sequence, __ATOMIC_RELAXED) == before)
      return 1;
  }
  if (ub_shared_enter(s) == NULL)
    return 0;
  memcpy(copy, s->machine, bytes);
  ub_shared_leave(s);
  return 1;
}

/* {== Opening and closing ==================================================== */

static ub_shared *new_handle (ub_region *r, const char *name, size_t length,
                              const void *config, size_t config_bytes) {
  size_t room = (config_bytes + 7) & ~(size_t)7;
  ub_shared *s = ub_alloc(sizeof *s + room + length);
  if (s == NULL)
    return NULL;
  *s = (ub_shared){.region = r, .name_length = length};
  memcpy(s->config, config, config_bytes);
  s->name = (char *)s->config + room;
  memcpy(s->name, name, length);
  return s;
}

ub_shared *ub_region_part (ub_region *r, const ub_part_type *type, const char *name,
                           size_t length, uint64_t layout, const void *config,
                           size_t config_bytes, int64_t now_us, int *err) {
  ub_shared *s = new_handle(r, name, length, config, config_bytes);
  *err = UB_ENOMEM;
  if (s == NULL)
    return NULL;
  s->type = type;
  s->layout = layout;
  s->made_us = now_us;
  ub_region_process(r);
  ub_region_reap_now(r);  /* what the dead used may be the room we need */
  *err = UB_EINVALID;
  if (ub_directory_lock(r, -1)) {
    *err = ub_block_claim(r, s);
    ub_directory_unlock(r);
  }
  if (*err != UB_OK) {
    ub_free(s);
    return NULL;
  }
  s->next = r->parts;
  r->parts = s;
  r->users++;
  return s;
}

/* Does this process have that block open, by another handle? */
static int still_open (const ub_region *r, const ub_block *b) {
  const ub_shared *s;
  for (s = r->parts; s != NULL && s->block != b;)
    s = s->next;
  return s != NULL;
}

/* Give back what we hold in the part, which we do not use any more. */
static void forsake (ub_region *r, ub_shared *s) {
  ub_block_release(s->block, s->type, r->slot, -1);
  ub_set_remove(&s->block->users, r->slot);
}

void ub_shared_close (ub_shared *s) {
  ub_region *r = s->region;
  ub_shared **at;
  for (at = &r->parts; *at != s;)
    at = &(*at)->next;
  *at = s->next;
  if (s->block != NULL && r->slot != 0 && r->mark == ub_process_mark()
      && !still_open(r, s->block))
    forsake(r, s);
  ub_free(s);
  ub_region_close(r);
}

/* }============================================================================ */
