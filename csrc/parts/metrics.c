/*
** metrics.c: series of numbers.
*/
#include "parts/metrics.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/rand.h"

#define BY_RECORD  128  /* bytes of room for which the index has a place, doubled */

typedef struct record {
  uint64_t hash;        /* of the key */
  uint32_t bytes;       /* of all of it, a multiple of 8 */
  uint16_t length, name_length;
  uint8_t kind, quiet;
  char key[];           /* the cells begin at the next multiple of 8 */
} record;

static const double seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2.5, 5, 10,
                                 20, 30, 60, 120, 300, 600};
static const double moments[] = {1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
                                 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1};
static const double tokens[] = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576,
                                4194304, 16777216, 67108864};
static const double sizes[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};

#define BOUNDS(list) {list, sizeof list / sizeof *list}

static const struct {
  const double *bounds;
  uint32_t count;
} kinds[UB_METRICS_KINDS] = {
  [UB_SECONDS] = BOUNDS(seconds), [UB_MOMENTS] = BOUNDS(moments), [UB_TOKENS] = BOUNDS(tokens),
  [UB_SIZES] = BOUNDS(sizes)
};

uint32_t ub_metrics_bounds (ub_metrics_kind kind, const double **bounds) {
  *bounds = kinds[kind].bounds;
  return kinds[kind].count;
}

/* {== The block ============================================================= */

static uint32_t places_for (uint32_t bytes) {
  uint32_t n = 2;
  while (n < bytes / BY_RECORD * 2)
    n *= 2;
  return n;
}

/* Of each place where a record is, and 1 more; 0: nothing. */
static uint32_t *index_of (const ub_metrics *m) {
  return (uint32_t *)(m + 1);
}

static record *record_at (const ub_metrics *m, uint32_t at) {
  return (record *)((char *)(index_of(m) + m->mask + 1) + at);
}

size_t ub_metrics_size (const ub_metrics_config *config) {
  return sizeof(ub_metrics) + places_for(config->bytes) * sizeof(uint32_t) + config->bytes;
}

static void clear_index (ub_metrics *m) {
  memset(index_of(m), 0, ((size_t)m->mask + 1) * sizeof(uint32_t));
}

void ub_metrics_init (ub_metrics *m, const ub_metrics_config *config) {
  memset(m, 0, sizeof *m);
  m->config = *config;
  m->config.bytes &= ~(uint32_t)7;
  m->stamp = config->seed;
  m->mask = places_for(config->bytes) - 1;
  clear_index(m);
}

/* }============================================================================ */

/* {== Cells ================================================================= */

static size_t eights (size_t bytes) {
  return (bytes + 7) & ~(size_t)7;
}

static uint64_t *cells_of (const record *r) {
  return (uint64_t *)(uintptr_t)((const char *)r + eights(sizeof *r + r->length));
}

/* Of a histogram: the sum, a cell for each bucket, one beyond them. */
static uint32_t cells_for (const ub_metrics *m, ub_metrics_kind kind) {
  if (kinds[kind].count > 0)
    return kinds[kind].count + 2;
  return kind == UB_LEVEL ? m->config.processes : 1;
}

static double as_number (uint64_t bits) {
  double n;
  memcpy(&n, &bits, sizeof n);
  return n;
}

static uint64_t as_bits (double n) {
  uint64_t bits;
  memcpy(&bits, &n, sizeof bits);
  return bits;
}

static double number_in (const uint64_t *cell) {
  return as_number(__atomic_load_n(cell, __ATOMIC_RELAXED));
}

/* Does nobody else count? Then no operation has to be a locked one, which takes
** about five times as long. */
static int is_alone (const ub_metrics *m) {
  return m->config.processes == 1;
}

static void add_number (const ub_metrics *m, uint64_t *cell, double n) {
  uint64_t old = __atomic_load_n(cell, __ATOMIC_RELAXED);
  if (is_alone(m))
    *cell = as_bits(as_number(old) + n);
  else if (n > 0)  /* 0 changes nothing */
    while (!__atomic_compare_exchange_n(cell, &old, as_bits(as_number(old) + n), 1,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      continue;
}

static void add_one (const ub_metrics *m, uint64_t *cell) {
  if (is_alone(m))
    ++*cell;
  else
    __atomic_fetch_add(cell, 1, __ATOMIC_RELAXED);
}

/* The first cell from 'at' on that 'owner' has (0: nobody); or NULL. */
static uint64_t *cell_of (uint64_t *cells, uint32_t count, uint32_t at, uint64_t owner) {
  uint32_t i;
  for (i = 0; i < count; i++, at = (at + 1) % count)
    if (__atomic_load_n(&cells[at], __ATOMIC_RELAXED) >> 32 == owner)
      return &cells[at];
  return NULL;
}

/* Set what a process has: in its cell, or in one that nobody has. */
static void set_level (uint64_t *cells, uint32_t count, uint32_t process, double value) {
  uint64_t owner = (uint64_t)process + 1;
  uint64_t wanted = owner << 32 | (value < UINT32_MAX ? (uint32_t)value : UINT32_MAX);
  uint32_t home = process % count;  /* where it is found at once, if it was free */
  uint64_t *cell = cell_of(cells, count, home, owner), none = 0;
  while (cell == NULL && (cell = cell_of(cells, count, home, 0)) != NULL) {
    if (__atomic_compare_exchange_n(cell, &none, wanted, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return;
    none = 0;
    cell = NULL;  /* another process was quicker: there may be one more */
  }
  if (cell != NULL)
    __atomic_store_n(cell, wanted, __ATOMIC_RELAXED);
}

static double level_of (const uint64_t *cells, uint32_t count) {
  double sum = 0;
  uint32_t i;
  for (i = 0; i < count; i++)
    sum += (uint32_t)__atomic_load_n(&cells[i], __ATOMIC_RELAXED);
  return sum;
}

/* The bucket of a value: of the first bound that is not below it. */
static uint32_t bucket_of (ub_metrics_kind kind, double value) {
  const double *bounds = kinds[kind].bounds;
  uint32_t i = 0;
  while (i < kinds[kind].count && bounds[i] < value)
    i++;
  return i;
}

/* }============================================================================ */

/* {== Finding and making ==================================================== */

static int is_of (const record *r, uint64_t hash, const ub_metric_key *key) {
  return r->hash == hash && r->length == key->length
      && memcmp(r->key, key->bytes, key->length) == 0;
}

/* The index's place of the key: where it is, or would be. */
static uint32_t *place_of (const ub_metrics *m, uint64_t hash, const ub_metric_key *key) {
  uint32_t *index = index_of(m), i = (uint32_t)hash & m->mask;
  while (index[i] != 0 && (key == NULL || !is_of(record_at(m, index[i] - 1), hash, key)))
    i = (i + 1) & m->mask;
  return &index[i];
}

/* Of a record whose key has that length. */
static size_t bytes_for (const ub_metrics *m, ub_metrics_kind kind, size_t length) {
  return eights(sizeof(record) + length) + cells_for(m, kind) * sizeof(uint64_t);
}

/* A record behind the others, with its place in the index; or NULL. */
static record *make (ub_metrics *m, ub_metrics_kind kind, const ub_metric_key *key,
                     uint32_t *place) {
  size_t bytes = bytes_for(m, kind, key->length);
  record *r;
  if (bytes > m->config.bytes - m->used || m->series >= m->mask / 4 * 3) {
    m->refused++;
    return NULL;
  }
  r = record_at(m, m->used);
  memset(r, 0, bytes);
  r->bytes = (uint32_t)bytes;
  r->length = (uint16_t)key->length;
  r->name_length = (uint16_t)key->name_length;
  r->kind = (uint8_t)kind;
  memcpy(r->key, key->bytes, key->length);
  *place = m->used + 1;
  return r;
}

int ub_metrics_open (ub_metrics *m, ub_metrics_kind kind, const ub_metric_key *key, int quiet,
                     ub_metric *found) {
  uint64_t hash = ub_hash(key->bytes, key->length, m->config.seed);
  uint32_t *place = place_of(m, hash, key);
  record *r;
  if (*place == 0) {
    r = make(m, kind, key, place);
    if (r == NULL)
      return UB_EFULL;
    r->hash = hash;
    r->quiet = (uint8_t)quiet;
    m->series++;
    __atomic_store_n(&m->used, m->used + r->bytes, __ATOMIC_RELEASE);
  }
  r = record_at(m, *place - 1);
  if (r->kind != (uint8_t)kind)
    return UB_EINVALID;
  *found = (ub_metric){.kind = kind,
                       .cells_at = (uint32_t)((char *)cells_of(r) - (char *)m)};
  return UB_OK;
}

/* }============================================================================ */

/* {== Counting and reading ================================================== */

void ub_metrics_note (ub_metrics *m, const ub_metric *which, uint32_t process, double value) {
  uint64_t *cells = (uint64_t *)(void *)((char *)m + which->cells_at);
  if (which->cells_at == 0 || !(value >= 0) || value - value != 0)
    return;
  if (kinds[which->kind].count > 0) {
    add_one(m, &cells[1 + bucket_of(which->kind, value)]);
    add_number(m, cells, value);
  } else if (which->kind == UB_COUNTER)
    add_number(m, cells, value);
  else
    set_level(cells, m->config.processes, process, value);
}

static void read_cells (const ub_metrics *m, const record *r, ub_metric_view *view) {
  const uint64_t *cells = cells_of(r);
  uint32_t i, count = kinds[r->kind].count;
  view->count = 0;
  if (count == 0) {
    view->sum = r->kind == UB_LEVEL ? level_of(cells, m->config.processes) : number_in(cells);
    return;
  }
  for (i = 0; i <= count; i++) {
    view->buckets[i] = __atomic_load_n(&cells[1 + i], __ATOMIC_RELAXED);
    view->count += view->buckets[i];
  }
  view->sum = number_in(cells);
}

/* Is what is there a record, or might be one: may it be read as one? */
static int is_record (const ub_metrics *m, uint32_t at, uint32_t used) {
  const record *r = record_at(m, at);
  if (at % 8 != 0 || at > used || used - at < sizeof *r || r->bytes > used - at)
    return 0;
  return r->kind < UB_METRICS_KINDS && r->name_length <= r->length
      && r->length <= UB_METRICS_KEY && r->bytes == bytes_for(m, r->kind, r->length);
}

static int has_name (const record *r, const char *name, size_t length) {
  return r->name_length == length && memcmp(r->key, name, length) == 0;
}

uint32_t ub_metrics_read (const ub_metrics *m, uint32_t at, const char *name, size_t length,
                          ub_metric_view *view) {
  uint32_t used = __atomic_load_n(&m->used, __ATOMIC_ACQUIRE);
  const record *r;
  if (!is_record(m, at, used))
    return 0;
  for (r = record_at(m, at); !has_name(r, name, length); r = record_at(m, at)) {
    at += r->bytes;
    if (at >= used)
      return 0;
  }
  view->key = r->key;
  view->length = r->length;
  view->name_length = r->name_length;
  view->kind = r->kind;
  view->quiet = r->quiet;
  read_cells(m, r, view);
  return at + r->bytes;
}

/* }============================================================================ */

/* {== In a region ============================================================ */

static size_t part_size (const void *config) {
  return ub_metrics_size(config);
}

static size_t part_head (const void *config) {
  (void)config;
  return sizeof(ub_metrics);
}

static void part_init (void *m, const void *config, int64_t now_us) {
  (void)now_us;
  ub_metrics_init(m, config);
  ((ub_metrics *)m)->stamp = ub_rand_seed();
}

/* The head says again which records there are: the index of these. */
static void part_repair (void *machine) {
  ub_metrics *m = machine;
  uint32_t at;
  clear_index(m);
  for (at = 0; at < m->used; at += record_at(m, at)->bytes)
    *place_of(m, record_at(m, at)->hash, NULL) = at + 1;
}

/* Take a process's cell of a level back: had it one? */
static int give_back (uint64_t *cells, uint32_t count, uint32_t process) {
  uint64_t *cell = cell_of(cells, count, process % count, (uint64_t)process + 1);
  if (cell != NULL)
    __atomic_store_n(cell, 0, __ATOMIC_RELAXED);
  return cell != NULL;
}

/* The level of a process, of one series that has one. */
static int part_release (void *machine, uint32_t process) {
  ub_metrics *m = machine;
  uint32_t at;
  for (at = 0; at < m->used; at += record_at(m, at)->bytes) {
    const record *r = record_at(m, at);
    if (r->kind == UB_LEVEL && give_back(cells_of(r), m->config.processes, process))
      return 1;
  }
  return 0;
}

const ub_part_type ub_metrics_part = {
  .kind = "metrics", .version = 1, .size = part_size, .head = part_head, .init = part_init,
  .repair = part_repair, .release = part_release
};

/* }============================================================================ */
