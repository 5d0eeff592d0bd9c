/*
** frame.c: frames and names.
*/
#include "redis/frame.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

static const char magic[4] = {'u', 'b', 'c', 1};

/* A second hash, so that a name has 128 bits. */
#define OTHER_SEED UINT64_C(0x9e3779b97f4a7c15)

static void put (char *out, uint64_t n, int bytes) {
  int i;
  for (i = 0; i < bytes; i++)
    out[i] = (char)(n >> 8 * i & 0xff);
}

static uint64_t get (const char *in, int bytes) {
  uint64_t n = 0;
  while (bytes-- > 0)
    n = n << 8 | (unsigned char)in[bytes];
  return n;
}

static uint64_t check_of (const char *frame, size_t length, uint32_t space) {
  return ub_hash(frame + 16, length - 16, space);
}

size_t ub_frame_size (const ub_frame *f) {
  return UB_FRAME_HEAD + f->tags_length + f->key_length + f->length;
}

void ub_frame_write (const ub_frame *f, char *out) {
  char *at = out + UB_FRAME_HEAD;
  memcpy(out, magic, sizeof magic);
  put(out + 4, f->space, 4);
  put(out + 16, (uint64_t)f->stored_us, 8);
  put(out + 24, (uint64_t)f->ttl_us, 8);
  put(out + 32, f->key_length, 4);
  put(out + 36, f->tags_length, 4);
  memcpy(at, f->tags, f->tags_length);
  at += f->tags_length;
  memcpy(at, f->key, f->key_length);
  at += f->key_length;
  memcpy(at, f->value, f->length);
  put(out + 8, check_of(out, ub_frame_size(f), f->space), 8);
}

static int begins_frame (const char *bytes, size_t length) {
  return length >= UB_FRAME_HEAD && memcmp(bytes, magic, sizeof magic) == 0;
}

int ub_frame_read (const char *bytes, size_t length, ub_frame *f) {
  size_t inside;
  if (!begins_frame(bytes, length))
    return 0;
  inside = length - UB_FRAME_HEAD;
  f->space = (uint32_t)get(bytes + 4, 4);
  f->stored_us = (int64_t)get(bytes + 16, 8);
  f->ttl_us = (int64_t)get(bytes + 24, 8);
  f->key_length = (size_t)get(bytes + 32, 4);
  f->tags_length = (size_t)get(bytes + 36, 4);
  if (f->tags_length > inside || f->key_length > inside - f->tags_length || f->ttl_us < 0)
    return 0;
  if (get(bytes + 8, 8) != check_of(bytes, length, f->space))
    return 0;
  f->tags = bytes + UB_FRAME_HEAD;
  f->key = f->tags + f->tags_length;
  f->value = f->key + f->key_length;
  f->length = inside - f->tags_length - f->key_length;
  return 1;
}

size_t ub_frame_tags (const char *bytes, size_t length, const char **tags, size_t *size) {
  *tags = bytes;
  *size = 0;
  if (!begins_frame(bytes, length))
    return 0;
  *tags = bytes + UB_FRAME_HEAD;
  *size = (size_t)get(bytes + 36, 4);
  if (*size > UB_FRAME_TAGS * (UB_FRAME_TAG + 1))
    *size = 0;  /* no frame of ours */
  return UB_FRAME_HEAD + *size;
}

int ub_frame_tag (const char *tags, size_t size, size_t *at, const char **tag, size_t *length) {
  size_t left = size - *at;
  if (left == 0)
    return 0;
  *length = (unsigned char)tags[*at];
  if (*length > left - 1)
    return 0;
  *tag = tags + *at + 1;
  *at += 1 + *length;
  return 1;
}

void ub_frame_name (const char *key, size_t length, uint32_t space, char *out) {
  snprintf(out, UB_FRAME_NAME + 1, "%016llx%016llx",
           (unsigned long long)ub_hash(key, length, space),
           (unsigned long long)ub_hash(key, length, space ^ OTHER_SEED));
}
