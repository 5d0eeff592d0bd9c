/*
** chunks.c: chains of chunks of one size.
*/
#include "parts/chunks.h"

#include <string.h>

#include "base/hash.h"

#define ALIGN 64  /* chunks begin on a cache line when the header does */

static size_t bytes_at (uint32_t count) {
  size_t end = sizeof(ub_chunks) + (size_t)count * sizeof(uint32_t);
  return (end + ALIGN - 1) / ALIGN * ALIGN;
}

size_t ub_chunks_size (uint32_t count) {
  return bytes_at(count) + (size_t)count * UB_CHUNK_BYTES;
}

void ub_chunks_clear (ub_chunks *c) {
  c->used = 0;
  c->high = 0;
  c->free = UB_CHUNK_NONE;
}

void ub_chunks_init (ub_chunks *c, uint32_t count) {
  c->bytes_at = bytes_at(count);
  c->count = count;
  ub_chunks_clear(c);
}

/* Links are read while others write them. */
static uint32_t link_of (const ub_chunks *c, uint32_t chunk) {
  return __atomic_load_n(&c->link[chunk], __ATOMIC_RELAXED);
}

static void set_link (ub_chunks *c, uint32_t chunk, uint32_t next) {
  __atomic_store_n(&c->link[chunk], next, __ATOMIC_RELAXED);
}

/* A chunk that nobody uses. */
static uint32_t next_free (ub_chunks *c) {
  uint32_t i = c->free;
  if (i == UB_CHUNK_NONE)
    return c->high++;
  c->free = link_of(c, i);
  return i;
}

uint32_t ub_chunks_take (ub_chunks *c, uint32_t n) {
  uint32_t first, last;
  if (n == 0)
    return UB_CHUNK_NONE;
  c->used += n;
  first = last = next_free(c);
  while (--n > 0) {
    uint32_t next = next_free(c);
    set_link(c, last, next);
    last = next;
  }
  set_link(c, last, UB_CHUNK_NONE);
  return first;
}

void ub_chunks_give (ub_chunks *c, uint32_t first, uint32_t n) {
  uint32_t last = first;
  if (n == 0)
    return;
  c->used -= n;
  while (--n > 0)
    last = link_of(c, last);
  set_link(c, last, c->free);
  c->free = first;
}

static char *address (const ub_chunks *c, ub_chunk_place p) {
  return (char *)c + c->bytes_at + (size_t)p.chunk * UB_CHUNK_BYTES + p.skip;
}

/*
** Move the place over the bytes behind it that lie in one piece, at most
** 'length' (above 0): how many they are; 0 when the place is none.
*/
static size_t run (const ub_chunks *c, ub_chunk_place *p, size_t length) {
  uint32_t chunk = p->chunk, next;
  size_t piece = UB_CHUNK_BYTES - p->skip;
  if (chunk >= c->count)
    return 0;
  while ((next = link_of(c, chunk)) == chunk + 1 && piece < length && next < c->count) {
    piece += UB_CHUNK_BYTES;
    chunk = next;
  }
  if (piece > length) {
    p->skip = (uint32_t)(UB_CHUNK_BYTES - (piece - length));
    p->chunk = chunk;
    return length;
  }
  p->skip = 0;
  p->chunk = next;
  return piece;
}

void ub_chunks_write (ub_chunks *c, ub_chunk_place *p, const char *bytes, size_t length) {
  while (length > 0) {
    char *to = address(c, *p);
    size_t n = run(c, p, length);
    memcpy(to, bytes, n);
    bytes += n;
    length -= n;
  }
}

int ub_chunks_read (const ub_chunks *c, ub_chunk_place *p, char *bytes, size_t length) {
  while (length > 0) {
    const char *from = address(c, *p);
    size_t n = run(c, p, length);
    if (n == 0)
      return 0;
    memcpy(bytes, from, n);
    bytes += n;
    length -= n;
  }
  return 1;
}

int ub_chunks_skip (const ub_chunks *c, ub_chunk_place *p, size_t length) {
  while (length > 0) {
    size_t n = run(c, p, length);
    if (n == 0)
      return 0;
    length -= n;
  }
  return 1;
}

const char *ub_chunks_whole (const ub_chunks *c, ub_chunk_place p, size_t length) {
  const char *at;
  if (length == 0)
    return "";  /* the place may be behind the chain's end */
  at = address(c, p);
  return run(c, &p, length) == length ? at : NULL;
}

int ub_chunks_same (const ub_chunks *c, ub_chunk_place *p, const char *bytes, size_t length) {
  while (length > 0) {
    const char *at = address(c, *p);
    size_t n = run(c, p, length);
    if (n == 0 || memcmp(at, bytes, n) != 0)
      return 0;
    bytes += n;
    length -= n;
  }
  return 1;
}

int ub_chunks_equal (const ub_chunks *c, ub_chunk_place *p, ub_chunk_place *q,
                     size_t length) {
  while (length > 0) {
    const char *at = address(c, *p);
    size_t n = run(c, p, length);
    if (n == 0 || !ub_chunks_same(c, q, at, n))
      return 0;
    length -= n;
  }
  return 1;
}

int ub_chunks_sum (const ub_chunks *c, ub_chunk_place *p, size_t length, uint64_t *sum) {
  while (length > 0) {
    const char *at = address(c, *p);
    size_t n = run(c, p, length);
    if (n == 0)
      return 0;
    *sum = ub_hash(at, n, *sum);
    length -= n;
  }
  return 1;
}

/* {== After a death ========================================================== */

static int is_marked (const uint64_t *marks, uint32_t i) {
  return (marks[i / 64] >> i % 64 & 1) != 0;
}

void ub_chunks_unmark (const ub_chunks *c, uint64_t *marks, uint32_t first, uint32_t n) {
  for (; n > 0; n--) {
    marks[first / 64] &= ~((uint64_t)1 << first % 64);
    first = link_of(c, first);
  }
}

int ub_chunks_mark (const ub_chunks *c, uint64_t *marks, uint32_t first, uint32_t n) {
  uint32_t i = first, done;
  for (done = 0; done < n; done++) {
    if (i >= c->count || is_marked(marks, i)) {
      ub_chunks_unmark(c, marks, first, done);
      return 0;
    }
    marks[i / 64] |= (uint64_t)1 << i % 64;
    i = link_of(c, i);
  }
  return 1;
}

void ub_chunks_sweep (ub_chunks *c, const uint64_t *marks) {
  uint32_t i = c->count;
  ub_chunks_clear(c);
  while (i-- > 0) {
    if (is_marked(marks, i)) {
      c->high = c->high > 0 ? c->high : i + 1;
      c->used++;
    } else if (c->high > 0) {
      set_link(c, i, c->free);
      c->free = i;
    }
  }
}

/* }============================================================================ */
