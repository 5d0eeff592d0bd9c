/*
** secrets.h: does a text hold one of these strings?
**
**   block:  [ ub_secrets | length, bytes | length, bytes | … ]
**
** For keys that a server may repeat in an answer's header: nearly always there
** is none, and that is to be known soon. The block has no pointers.
*/
#ifndef UB_SECRETS_H
#define UB_SECRETS_H

#include <stddef.h>
#include <stdint.h>

typedef struct ub_secrets {
  size_t shortest;  /* bytes of the shortest string; SIZE_MAX without any */
  size_t used;      /* bytes of the block behind this */
} ub_secrets;

/* Bytes of the block for 'count' strings that have 'bytes' bytes together. */
size_t ub_secrets_size (size_t count, size_t bytes);

void ub_secrets_init (ub_secrets *s);

/* One string more, of at least one byte; the block must have room for it. */
void ub_secrets_add (ub_secrets *s, const char *bytes, size_t length);

/* Is one of them in the text? */
int ub_secrets_in (const ub_secrets *s, const char *text, size_t length);

#endif
