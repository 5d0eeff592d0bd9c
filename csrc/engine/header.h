/*
** header.h: the lines of an answer's header.
*/
#ifndef UB_HEADER_H
#define UB_HEADER_H

#include <stddef.h>

typedef struct ub_header {
  const char *name, *value;
  size_t name_length, value_length;
} ub_header;

/*
** The next "name: value" line of a header block; 0 at the end. '*at' starts at
** 0. Lines without a colon are passed over, blanks around the value left out,
** folded lines joined to nothing (RFC 9112 5.2).
*/
int ub_header_next (const char *block, size_t length, size_t *at, ub_header *header);

#endif
