/*
** header_fuzz.c: the lines of a header block. The input is the block.
**
** The reader always gets on, stays inside the block, gives no blank around a
** name or value and no line end within, and gives the lines in their order.
*/
#include "fuzz.h"

#include "engine/engine.h"
#include "engine/header.h"

static int is_space (char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

static void check_inside (const char *block, size_t length, const char *text, size_t size) {
  must(text >= block && size <= length && text + size <= block + length);
  must(memchr(text, '\n', size) == NULL);
}

static void check_header (const char *block, size_t length, const ub_header *h) {
  check_inside(block, length, h->name, h->name_length);
  check_inside(block, length, h->value, h->value_length);
  must(h->name_length > 0 && !is_space(h->name[0]));
  must(h->name == block || h->name[-1] == '\n');
  must(memchr(h->name, ':', h->name_length) == NULL);
  must(h->name[h->name_length] == ':');
  must(h->value > h->name + h->name_length);
  if (h->value_length > 0)
    must(!is_space(h->value[0]) && !is_space(h->value[h->value_length - 1]));
}

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length) {
  char *block = fuzz_copy(bytes, length);
  ub_header h, again;
  size_t at = 0, before = 0;
  while (ub_header_next(block, length, &at, &h)) {
    must(at > before && at <= length + 1);
    check_header(block, length, &h);
    must(ub_header_next(block, length, &before, &again) && before == at);
    must(again.name == h.name && again.value == h.value);
  }
  must(at >= before);
  free(block);
  return 0;
}
