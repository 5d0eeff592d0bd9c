/*
** buf.h: a growing buffer of bytes, taken from the front.
**
**   bytes:  [ taken | waiting ........ | free ]
**             0      head             tail    size
*/
#ifndef UB_BUF_H
#define UB_BUF_H

#include <stddef.h>

typedef struct ub_buf {
  char *bytes;
  size_t head;  /* first byte not yet taken */
  size_t tail;  /* one behind the last byte */
  size_t size;  /* allocated */
} ub_buf;

/* An empty buffer that owns nothing. */
void ub_buf_init (ub_buf *b);

/* Gives the memory back; the buffer is empty and may be used again. */
void ub_buf_fini (ub_buf *b);

/* Make room for 'more' bytes behind what waits. UB_OK, or UB_ENOMEM with the buffer as it was. */
int ub_buf_reserve (ub_buf *b, size_t more);

/* The same failure. */
int ub_buf_append (ub_buf *b, const char *bytes, size_t length);

/* Forget the first 'length' waiting bytes (at most all of them). */
void ub_buf_take (ub_buf *b, size_t length);

static inline size_t ub_buf_length (const ub_buf *b) {
  return b->tail - b->head;
}

static inline const char *ub_buf_bytes (const ub_buf *b) {
  return b->bytes + b->head;
}

#endif
