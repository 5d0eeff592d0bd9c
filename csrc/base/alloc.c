/*
** alloc.c: heap memory with a count and a planted failure.
*/
#include "base/alloc.h"

#include <stdlib.h>

static int64_t live;     /* blocks taken and not yet freed */
static int64_t fail_in;  /* allocations until the planted failure; 0: none */

static int planted_failure (void) {
  return fail_in > 0 && --fail_in == 0;
}

void *ub_alloc (size_t size) {
  void *block = planted_failure() ? NULL : malloc(size);
  if (block != NULL)
    live++;
  return block;
}

void *ub_realloc (void *block, size_t size) {
  void *grown;
  if (block == NULL)
    return ub_alloc(size);
  grown = planted_failure() ? NULL : realloc(block, size);
  return grown;
}

void ub_free (void *block) {
  if (block == NULL)
    return;
  live--;
  free(block);
}

int64_t ub_alloc_live (void) {
  return live;
}

int64_t ub_alloc_fail_at (int64_t n) {
  int64_t left = fail_in;
  fail_in = n;
  return left;
}
