/*
** fuzz.h: what the fuzz targets share.
**
** A target is one C file with 'LLVMFuzzerTestOneInput'. What must hold is said
** with 'must', which ends the process, so that libFuzzer keeps the input. An
** input is copied into a block of its own size: a read beyond it is seen.
*/
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(truth) \
  do { \
    if (!(truth)) { \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #truth); \
      abort(); \
    } \
  } while (0)

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length);

/* What an input is read from: each byte once, zeros behind its end. */
typedef struct fuzz_input {
  const uint8_t *at, *end;
} fuzz_input;

static inline uint8_t fuzz_byte (fuzz_input *in) {
  return in->at < in->end ? *in->at++ : 0;
}

static inline size_t fuzz_left (const fuzz_input *in) {
  return (size_t)(in->end - in->at);
}

/* A copy in a block of exactly this size; free it. */
static inline char *fuzz_copy (const void *bytes, size_t length) {
  char *block = malloc(length);
  must(block != NULL);
  if (length > 0)
    memcpy(block, bytes, length);
  return block;
}

#endif
