/*
** blocks.c: a region's room, cut into blocks that lie side by side.
**
** A block is free while it is not taken. So nothing here has to be undone: a
** block is cut by writing the rest's front into free room and then its own
** shorter length, joined by one longer length, filled while it is free, taken
** by one word. All of it under the directory's lock.
*/
#include <string.h>

#include "base/err.h"
#include "base/processes.h"
#include "base/region_inner.h"
#include "base/region_peek.h"

#define MOST_TYPES  16
#define PATIENCE_US 5000  /* for a part's lock, while we hold the directory's */

static const ub_part_type *types[MOST_TYPES];

void ub_part_type_add (const ub_part_type *type) {
  int i;
  for (i = 0; i < MOST_TYPES && types[i] != NULL && types[i] != type;)
    i++;
  if (i < MOST_TYPES)
    types[i] = type;
}

/* The type of a block's machine; NULL when this process knows none like it. */
static const ub_part_type *type_of (const ub_block *b) {
  int i;
  for (i = 0; i < MOST_TYPES && types[i] != NULL; i++) {
    if (memcmp(types[i]->kind, b->kind, sizeof b->kind) == 0
        && types[i]->version == b->version)
      return types[i];
  }
  return NULL;
}

static size_t grains (size_t bytes) {
  return (bytes + UB_GRAIN - 1) & ~(size_t)(UB_GRAIN - 1);
}

static size_t first_at (void) {
  return grains(sizeof(ub_region_header));
}

static size_t place_of (const ub_region *r, const ub_block *b) {
  return (size_t)((const char *)b - (const char *)r->header);
}

static ub_block *block_at (ub_region *r, size_t at) {
  return (ub_block *)(void *)((char *)r->header + at);
}

/* The next block, the first for NULL; NULL behind the last or at damage. */
static ub_block *next (ub_region *r, ub_block *b) {
  size_t at = b == NULL ? first_at() : place_of(r, b) + b->bytes;
  size_t left = r->map.size - at;
  if (left < sizeof(ub_block))
    return NULL;
  b = block_at(r, at);
  if (b->bytes < sizeof(ub_block) || b->bytes > left || b->bytes % UB_GRAIN != 0)
    return NULL;
  return b;
}

void ub_blocks_init (ub_region *r) {
  ub_block *b = block_at(r, first_at());
  b->bytes = (r->map.size - first_at()) & ~(size_t)(UB_GRAIN - 1);
  b->taken = 0;
}

/* Does all that a block has lie within it? */
static int is_sound (const ub_block *b) {
  return b->taken == 0
         || (b->name_length <= UB_PART_NAME && sizeof *b + b->name_length <= b->image_at
             && b->image_at <= b->machine_at && b->machine_at < b->bytes
             && b->head_bytes <= b->machine_at - b->image_at
             && b->head_bytes <= b->bytes - b->machine_at && b->machine_at % UB_GRAIN == 0);
}

int ub_blocks_sound (ub_region *r) {
  ub_block *b, *last = NULL;
  for (b = next(r, NULL); b != NULL; b = next(r, b)) {
    if (!is_sound(b))
      return 0;
    last = b;
  }
  return last != NULL && r->map.size - (place_of(r, last) + last->bytes) < UB_GRAIN;
}

void ub_blocks_read (ub_region *r, ub_region_stats *stats) {
  ub_block *b;
  stats->used = first_at();
  for (b = next(r, NULL); b != NULL; b = next(r, b)) {
    if (b->taken == 0)
      continue;
    stats->used += b->bytes;
    stats->parts++;
  }
}

/* {== Finding and making ===================================================== */

static int same_name (const ub_block *b, const ub_shared *s) {
  return b->taken != 0 && memcmp(b->kind, s->type->kind, sizeof b->kind) == 0
         && b->name_length == s->name_length
         && memcmp(b->name, s->name, s->name_length) == 0;
}

static ub_block *find (ub_region *r, const ub_shared *s) {
  ub_block *b;
  for (b = next(r, NULL); b != NULL; b = next(r, b)) {
    if (same_name(b, s) && b->layout == s->layout && b->version == s->type->version)
      return b;
  }
  return NULL;
}

/* Give up the parts that nobody uses: of this name, or ('s' is NULL) all. */
static void give_up (ub_region *r, const ub_shared *s) {
  ub_block *b;
  for (b = next(r, NULL); b != NULL; b = next(r, b)) {
    if (b->taken != 0 && ub_set_empty(&b->users) && (s == NULL || same_name(b, s)))
      __atomic_store_n(&b->taken, 0, __ATOMIC_SEQ_CST);
  }
}

/* A free block of 'bytes' or more, after joining those side by side; or NULL. */
static ub_block *find_free (ub_region *r, size_t bytes) {
  ub_block *b, *behind;
  for (b = next(r, NULL); b != NULL; b = next(r, b)) {
    if (b->taken != 0)
      continue;
    while ((behind = next(r, b)) != NULL && behind->taken == 0)
      __atomic_store_n(&b->bytes, b->bytes + behind->bytes, __ATOMIC_SEQ_CST);
    if (b->bytes >= bytes)
      return b;
  }
  return NULL;
}

/* Cut a free block down to 'bytes'; the rest stays free. */
static void cut (ub_region *r, ub_block *b, size_t bytes) {
  ub_block *rest = block_at(r, place_of(r, b) + bytes);
  if (b->bytes - bytes < grains(sizeof *b))
    return;
  rest->taken = 0;
  rest->bytes = b->bytes - bytes;
  __atomic_store_n(&b->bytes, bytes, __ATOMIC_SEQ_CST);
}

/* Make the part of 's' in a free block. */
static int fill (ub_block *b, ub_shared *s, size_t image_at, size_t machine_at) {
  memcpy(b->kind, s->type->kind, sizeof b->kind);
  b->layout = s->layout;
  b->sequence = 0;
  b->image_at = image_at;
  b->machine_at = machine_at;
  b->head_bytes = (uint32_t)s->type->head(s->config);
  b->version = s->type->version;
  b->name_length = (uint32_t)s->name_length;
  b->users = (ub_process_set){{0}};
  memcpy(b->name, s->name, s->name_length);
  if (!ub_lock_init(&b->lock))
    return UB_ENOMEM;
  s->type->init((char *)b + machine_at, s->config, s->made_us);
  __atomic_store_n(&b->taken, 1, __ATOMIC_SEQ_CST);
  return UB_OK;
}

/* Where image and machine of a part lie in its block. */
static size_t places (const ub_part_type *type, const void *config, size_t name_length,
                      size_t *image_at) {
  *image_at = grains(sizeof(ub_block) + name_length);
  return grains(*image_at + type->head(config));
}

uint64_t ub_region_room (const ub_part_type *type, const void *config, size_t length) {
  size_t image_at, machine_at = places(type, config, length, &image_at);
  uint64_t bytes = first_at() + grains(machine_at + type->size(config));
  return bytes < UB_REGION_LEAST ? UB_REGION_LEAST : bytes;
}

static int make (ub_region *r, ub_shared *s, ub_block **made) {
  size_t head = s->type->head(s->config), size = s->type->size(s->config);
  size_t image_at, machine_at = places(s->type, s->config, s->name_length, &image_at);
  ub_block *b;
  if (size > r->map.size || head > size)
    return UB_EFULL;
  give_up(r, s);
  b = find_free(r, grains(machine_at + size));
  if (b == NULL) {
    give_up(r, NULL);
    b = find_free(r, grains(machine_at + size));
  }
  if (b == NULL)
    return UB_EFULL;
  cut(r, b, grains(machine_at + size));
  *made = b;
  return fill(b, s, image_at, machine_at);
}

static int revive (ub_block *b, int same_boot) {
  const ub_part_type *type = type_of(b);
  return type != NULL && type->revive != NULL && b->machine_at < b->bytes
      && type->revive((char *)b + b->machine_at, b->bytes - b->machine_at, same_boot);
}

int ub_blocks_revive (ub_region *r, int same_boot) {
  ub_block *b;
  for (b = next(r, NULL); b != NULL; b = next(r, b)) {
    if (b->taken == 0)
      continue;
    b->users = (ub_process_set){{0}};
    b->sequence = 0;
    if (!ub_lock_init(&b->lock))
      return 0;
    if (!revive(b, same_boot))
      __atomic_store_n(&b->taken, 0, __ATOMIC_SEQ_CST);
  }
  return 1;
}

int ub_block_claim (ub_region *r, ub_shared *s) {
  ub_block *b = find(r, s);
  int err = b != NULL ? UB_OK : make(r, s, &b);
  if (err != UB_OK) {
    s->block = NULL;
    return err;
  }
  ub_set_add(&b->users, r->slot);
  s->block = b;
  s->machine = (char *)b + b->machine_at;
  return UB_OK;
}

/* First what is there: else making one part might give up another of ours. */
void ub_blocks_claim (ub_region *r) {
  ub_shared *s;
  for (s = r->parts; s != NULL; s = s->next) {
    s->block = find(r, s);
    if (s->block != NULL)
      ub_block_claim(r, s);
  }
  for (s = r->parts; s != NULL; s = s->next) {
    if (s->block == NULL)
      ub_block_claim(r, s);
  }
}

/* }============================================================================ */

/* Does a process that lives use the part, besides that one? */
static int is_others (ub_region *r, const ub_block *b, uint32_t process) {
  uint32_t i;
  for (i = ub_set_next(&b->users, 0); i != 0; i = ub_set_next(&b->users, i)) {
    if (i != process && ub_region_lives(r, i))
      return 1;
  }
  return 0;
}

/* Give back what 'process' holds in one part; 0: it is busy, or of another version, whose
   processes will do it. */
static int release (ub_region *r, ub_block *b, uint32_t process) {
  const ub_part_type *type = type_of(b);
  if (type == NULL ? is_others(r, b, process)
                   : !ub_block_release(b, type, process, PATIENCE_US))
    return 0;
  if (process != 0)  /* nobody knows how many are without a slot, and use it */
    ub_set_remove(&b->users, process);
  return 1;
}

int ub_blocks_release (ub_region *r, uint32_t process) {
  ub_block *b;
  int all = 1;
  for (b = next(r, NULL); b != NULL; b = next(r, b)) {
    if (b->taken != 0 && ub_set_has(&b->users, process))
      all &= release(r, b, process);
  }
  return all;
}
