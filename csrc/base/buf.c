/*
** buf.c: a growing buffer of bytes.
*/
#include "base/buf.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"

#define SMALLEST 512

void ub_buf_init (ub_buf *b) {
  b->bytes = NULL;
  b->head = b->tail = b->size = 0;
}

void ub_buf_fini (ub_buf *b) {
  ub_free(b->bytes);
  ub_buf_init(b);
}

/* Move what waits to the front. */
static void slide (ub_buf *b) {
  size_t length = ub_buf_length(b);
  if (b->head > 0 && length > 0)
    memmove(b->bytes, b->bytes + b->head, length);
  b->head = 0;
  b->tail = length;
}

int ub_buf_reserve (ub_buf *b, size_t more) {
  size_t length = ub_buf_length(b), size = b->size;
  char *grown;
  if (more <= b->size - b->tail)
    return UB_OK;
  if (more > SIZE_MAX / 4 - length)
    return UB_ENOMEM;
  if (length + more <= b->size / 2) {  /* half is free: no need to grow */
    slide(b);
    return UB_OK;
  }
  for (size = size < SMALLEST ? SMALLEST : size; size < length + more;)
    size *= 2;
  slide(b);
  grown = ub_realloc(b->bytes, size);
  if (grown == NULL)
    return UB_ENOMEM;
  b->bytes = grown;
  b->size = size;
  return UB_OK;
}

int ub_buf_append (ub_buf *b, const char *bytes, size_t length) {
  int err;
  if (length == 0)
    return UB_OK;
  err = ub_buf_reserve(b, length);
  if (err != UB_OK)
    return err;
  memcpy(b->bytes + b->tail, bytes, length);
  b->tail += length;
  return UB_OK;
}

void ub_buf_take (ub_buf *b, size_t length) {
  b->head += length < ub_buf_length(b) ? length : ub_buf_length(b);
  if (b->head == b->tail)
    b->head = b->tail = 0;
}
