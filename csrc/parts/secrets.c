/*
** secrets.c: does a text hold one of these strings?
*/
#include "parts/secrets.h"

#include <string.h>

size_t ub_secrets_size (size_t count, size_t bytes) {
  return sizeof(ub_secrets) + count * sizeof(size_t) + bytes;
}

void ub_secrets_init (ub_secrets *s) {
  s->shortest = SIZE_MAX;
  s->used = 0;
}

void ub_secrets_add (ub_secrets *s, const char *bytes, size_t length) {
  char *end = (char *)(s + 1) + s->used;
  memcpy(end, &length, sizeof length);
  memcpy(end + sizeof length, bytes, length);
  s->used += sizeof length + length;
  s->shortest = length < s->shortest ? length : s->shortest;
}

int ub_secrets_in (const ub_secrets *s, const char *text, size_t length) {
  const char *at = (const char *)(s + 1), *end = at + s->used;
  size_t wanted;
  if (length < s->shortest)
    return 0;
  for (; at < end; at += wanted) {
    memcpy(&wanted, at, sizeof wanted);
    at += sizeof wanted;
    if (memmem(text, length, at, wanted) != NULL)
      return 1;
  }
  return 0;
}
