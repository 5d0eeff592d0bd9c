/*
** chunks.c: chains of chunks of one size.
*/
#include "parts/chunks.h"

#include <string.h>

#define ALIGN 64  /* chunks begin on a cache line when the header does */

static size_t bytes_at (uint32_t count) {
  size_t end = sizeof(ub_chunks) + (size_t)count * sizeof(uint32_t);
  return (end + ALIGN - 1) / ALIGN * ALIGN;
}

size_t ub_chunks_size (uint32_t count) {
  return bytes_at(count) + (size_t)count * UB_CHUNK_BYTES;
}

void ub_chunks_clear (ub_chunks *c) {
  c->high = 0;
  c->free = UB_CHUNK_NONE;
}

void ub_chunks_init (ub_chunks *c, uint32_t count) {
  c->bytes_at = bytes_at(count);
  ub_chunks_clear(c);
}

/* A chunk that nobody uses. */
static uint32_t next_free (ub_chunks *c) {
  uint32_t i = c->free;
  if (i == UB_CHUNK_NONE)
    return c->high++;
  c->free = c->link[i];
  return i;
}

uint32_t ub_chunks_take (ub_chunks *c, uint32_t n) {
  uint32_t first, last;
  if (n == 0)
    return UB_CHUNK_NONE;
  first = last = next_free(c);
  while (--n > 0)
    last = c->link[last] = next_free(c);
  c->link[last] = UB_CHUNK_NONE;
  return first;
}

void ub_chunks_give (ub_chunks *c, uint32_t first, uint32_t n) {
  uint32_t last = first;
  if (n == 0)
    return;
  while (--n > 0)
    last = c->link[last];
  c->link[last] = c->free;
  c->free = first;
}

static char *address (const ub_chunks *c, ub_chunk_place p) {
  return (char *)c + c->bytes_at + (size_t)p.chunk * UB_CHUNK_BYTES + p.skip;
}

/*
** Move the place over the bytes behind it that lie in one piece, at most
** 'length' (above 0): how many they are.
*/
static size_t run (const ub_chunks *c, ub_chunk_place *p, size_t length) {
  uint32_t chunk = p->chunk;
  size_t piece = UB_CHUNK_BYTES - p->skip;
  while (piece < length && c->link[chunk] == chunk + 1) {
    piece += UB_CHUNK_BYTES;
    chunk++;
  }
  if (piece > length) {
    p->skip = (uint32_t)(UB_CHUNK_BYTES - (piece - length));
    p->chunk = chunk;
    return length;
  }
  p->skip = 0;
  p->chunk = c->link[chunk];
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

void ub_chunks_read (const ub_chunks *c, ub_chunk_place *p, char *bytes, size_t length) {
  while (length > 0) {
    const char *from = address(c, *p);
    size_t n = run(c, p, length);
    memcpy(bytes, from, n);
    bytes += n;
    length -= n;
  }
}

void ub_chunks_skip (const ub_chunks *c, ub_chunk_place *p, size_t length) {
  while (length > 0)
    length -= run(c, p, length);
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
    if (memcmp(at, bytes, n) != 0)
      return 0;
    bytes += n;
    length -= n;
  }
  return 1;
}
