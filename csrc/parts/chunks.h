/*
** chunks.h: byte strings of any length in chains of chunks of one size.
**
**   header | link | link | … | chunk | chunk | chunk | chunk | …
**                              in use, or given    ^high: from here on
**                              back (a list)       never touched
**
** Chunks are known by their index and chained by 'link', which lies apart
** from the bytes: a chain of neighbours is one piece of memory and copied in
** one go. What was given back goes out again first, in its old order; so
** neighbours stay together where lengths repeat, and memory that was never
** needed is never touched.
**
** The owner counts: 'take' wants as many chunks as are free. And the owner sees
** to it that one process writes at a time. Others may read meanwhile: what
** they get may then be torn, but no reading leaves the chunks or goes on for
** ever, whatever it meets.
**
** After a writer's death the owner marks the chunks that it knows to be in
** use, a bit for each, and all others are free ('sweep').
*/
#ifndef UB_CHUNKS_H
#define UB_CHUNKS_H

#include <stddef.h>
#include <stdint.h>

#define UB_CHUNK_BYTES  512
#define UB_CHUNK_NONE   UINT32_MAX

typedef struct ub_chunks {
  uint64_t bytes_at;  /* of the first chunk, from the start of this header */
  uint32_t count;
  uint32_t used;
  uint32_t high;      /* chunks that were ever in use */
  uint32_t free;      /* first of those given back, or UB_CHUNK_NONE */
  uint32_t link[];
} ub_chunks;

/* A place in a chain, which reading and writing move on. */
typedef struct ub_chunk_place {
  uint32_t chunk;
  uint32_t skip;  /* bytes of that chunk that lie before the place */
} ub_chunk_place;

/* Bytes for 'count' chunks (under UB_CHUNK_NONE), a multiple of 8. */
size_t ub_chunks_size (uint32_t count);

void ub_chunks_init (ub_chunks *c, uint32_t count);

/* Chunks that 'length' bytes take. */
static inline uint32_t ub_chunks_for (size_t length) {
  return (uint32_t)((length + UB_CHUNK_BYTES - 1) / UB_CHUNK_BYTES);
}

/* The first of a chain of 'n' chunks, which must be free; UB_CHUNK_NONE for 0. */
uint32_t ub_chunks_take (ub_chunks *c, uint32_t n);

/* Give back the chain of 'n' chunks that begins with 'first'. */
void ub_chunks_give (ub_chunks *c, uint32_t first, uint32_t n);

/* Give back all. */
void ub_chunks_clear (ub_chunks *c);

/* Move the place over 'length' bytes, which the chain must have. */
void ub_chunks_write (ub_chunks *c, ub_chunk_place *p, const char *bytes, size_t length);

/* The same; 0 where the chain ends before that or is none. */
int ub_chunks_read (const ub_chunks *c, ub_chunk_place *p, char *bytes, size_t length);
int ub_chunks_skip (const ub_chunks *c, ub_chunk_place *p, size_t length);

/* The 'length' bytes at the place, when they lie in one piece; else NULL. */
const char *ub_chunks_whole (const ub_chunks *c, ub_chunk_place p, size_t length);

/* Do these bytes lie at the place? If not, the place stays somewhere between. */
int ub_chunks_same (const ub_chunks *c, ub_chunk_place *p, const char *bytes, size_t length);

/* Are the bytes at two places the same? */
int ub_chunks_equal (const ub_chunks *c, ub_chunk_place *p, ub_chunk_place *q, size_t length);

/*
** A sum over bytes where they lie and as they are divided, in '*sum'; 0 where the
** chain ends before.
*/
int ub_chunks_sum (const ub_chunks *c, ub_chunk_place *p, size_t length, uint64_t *sum);

/* Bytes for the marks of 'count' chunks, a multiple of 8. */
static inline size_t ub_chunks_marks_size (uint32_t count) {
  return ((size_t)count + 63) / 64 * 8;
}

/*
** Mark the chain of 'n' chunks from 'first'; 0, and nothing is marked, when it is
** none or one of them is marked already. Or take its marks away.
*/
int ub_chunks_mark (const ub_chunks *c, uint64_t *marks, uint32_t first, uint32_t n);
void ub_chunks_unmark (const ub_chunks *c, uint64_t *marks, uint32_t first, uint32_t n);

/* What is marked is in use, all else is free. */
void ub_chunks_sweep (ub_chunks *c, const uint64_t *marks);

#endif
