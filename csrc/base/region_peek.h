/*
** region_peek.h: parts that may be read while others are at work, and parts that
** have a region of their own.
*/
#ifndef UB_REGION_PEEK_H
#define UB_REGION_PEEK_H

#include "base/region.h"

/*
** The machine, unlocked, for what it allows while others are at work; and this
** process's slot. NULL as of 'ub_shared_enter'.
*/
void *ub_shared_peek (ub_shared *s, uint32_t *process);

/* Bytes of a region that has just the room for one part with a name of this length. */
uint64_t ub_region_room (const ub_part_type *type, const void *config, size_t length);

#endif
