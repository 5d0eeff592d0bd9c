/*
** alloc.h: the one seam through which the core takes heap memory.
**
** It counts what is live, so that a leak shows in 'core.stats()', and can be
** told to fail the n-th allocation from now, so that a spec can drive every
** out-of-memory path once. Nothing here locks: the core has no threads that
** allocate.
*/
#ifndef UB_ALLOC_H
#define UB_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* 'size' bytes, or NULL. Free with 'ub_free'. */
void *ub_alloc (size_t size);

/* As realloc: on failure NULL, and the old block stays as it was. */
void *ub_realloc (void *block, size_t size);

/* NULL is allowed. */
void ub_free (void *block);

/* Blocks taken and not yet freed. */
int64_t ub_alloc_live (void);

/*
** Let the n-th allocation from now fail (1 is the next), once; 0: never. Gives
** the count that the failure planted before still had to go; 0: it has come.
*/
int64_t ub_alloc_fail_at (int64_t n);

#endif
