/*
** hash.h: hashes of bytes, for tables of keys that anybody may choose.
**
** XXH3 of Yann Collet's xxHash, taken from its header when the core is
** compiled: nothing is linked. It is quick and not cryptographic. So whoever
** finds an entry by its hash compares the whole key as well, and a table is
** seeded by chance, that nobody outside can pick keys which collide in it.
*/
#ifndef UB_HASH_H
#define UB_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 64 bits that depend on every byte and on the seed. */
uint64_t ub_hash (const void *bytes, size_t length, uint64_t seed);

#endif
