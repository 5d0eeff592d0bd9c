/*
** header.c: the lines of an answer's header.
*/
#include "engine/header.h"

#include <string.h>

static int is_space (char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

static const char *end_of_line (const char *at, const char *end) {
  const char *newline = memchr(at, '\n', (size_t)(end - at));
  return newline != NULL ? newline : end;
}

int ub_header_next (const char *block, size_t length, size_t *at, ub_header *h) {
  const char *end = block + length;
  while (*at < length) {
    const char *line = block + *at, *stop = end_of_line(line, end), *colon;
    *at = (size_t)(stop - block) + 1;
    colon = memchr(line, ':', (size_t)(stop - line));
    if (colon == NULL || colon == line || is_space(*line))
      continue;
    for (h->value = colon + 1; h->value < stop && is_space(*h->value);)
      h->value++;
    for (; stop > h->value && is_space(stop[-1]);)
      stop--;
    h->name = line;
    h->name_length = (size_t)(colon - line);
    h->value_length = (size_t)(stop - h->value);
    return 1;
  }
  return 0;
}
