/*
** json_fields_fuzz.c: whatever the text, places lie in it and in order; a value
** that was found is JSON by itself; and a text with a value changed, a member
** added or one taken away is as good as before.
**
**   input:  [ length of a name ] name … text …
*/
#include "fuzz.h"

#include "base/err.h"
#include "parts/json_fields.h"

#define NAMES 3

/* a + b + c in a block of exactly their size. */
static char *joined (const char *a, size_t la, const char *b, size_t lb, const char *c, size_t lc) {
  char *out = malloc(la + lb + lc);
  must(out != NULL || la + lb + lc == 0);
  if (la > 0) memcpy(out, a, la);
  if (lb > 0) memcpy(out + la, b, lb);
  if (lc > 0) memcpy(out + la + lb, c, lc);
  return out;
}

/* The text with 'size' bytes instead of those from 'from' to 'to': is it an object? */
static int holds (const char *text, size_t length, size_t from, size_t to, const char *bytes,
                  size_t size, size_t members) {
  ub_json_object object;
  char *other = joined(text, from, bytes, size, text + to, length - to);
  int err = ub_json_fields(other, from + size + length - to, NULL, 0, &object);
  free(other);
  return err == UB_OK && object.members == members;
}

static void check_value (const char *text, const ub_json_field *f) {
  ub_json_object object;
  size_t size = f->value_end - f->value_at;
  char *alone = joined("{\"x\":", 5, text + f->value_at, size, "}", 1);
  must(ub_json_fields(alone, size + 6, NULL, 0, &object) == UB_OK && object.members == 1);
  free(alone);
}

static void check_field (const char *text, size_t length, const ub_json_field *f,
                         const ub_json_object *object) {
  int last = text[f->next] == '}';
  must(f->times <= object->members);
  must(f->before >= 1 && f->before <= f->name_at && f->name_at < f->value_at);
  must(f->value_at < f->value_end && f->value_end <= f->next && f->next < length);
  must(text[f->name_at] == '"' && (last || text[f->next] == '"'));
  must(!last || f->value_end == object->end);
  check_value(text, f);
  must(holds(text, length, f->value_at, f->value_end, "[1]", 3, object->members));
  if (last)
    must(holds(text, length, f->before, f->value_end, "", 0, object->members - 1));
  else
    must(holds(text, length, f->name_at, f->next, "", 0, object->members - 1));
}

static void check (const char *text, size_t length, const ub_json_field *fields,
                   const ub_json_object *object) {
  int i;
  must(object->end >= 1 && object->end < length);
  must(object->members > 0
         ? holds(text, length, object->end, object->end, ",\"y\":0", 6, object->members + 1)
         : holds(text, length, object->end, object->end, "\"y\":0", 5, 1));
  for (i = 0; i < NAMES; i++)
    if (fields[i].times > 0)
      check_field(text, length, &fields[i], object);
}

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length) {
  fuzz_input in = {bytes, bytes + length};
  size_t size = fuzz_byte(&in) % 16;
  ub_json_field fields[NAMES] = {{.name = "a", .name_length = 1},
                                 {.name = "model", .name_length = 5}};
  ub_json_object object, again;
  char *name, *text;
  size = size < fuzz_left(&in) ? size : fuzz_left(&in);
  name = fuzz_copy(in.at, size);
  in.at += size;
  fields[2].name = name;
  fields[2].name_length = size;
  length = fuzz_left(&in);
  text = fuzz_copy(in.at, length);
  if (ub_json_fields(text, length, fields, NAMES, &object) == UB_OK)
    check(text, length, fields, &object);
  else
    must(ub_json_fields(text, length, NULL, 0, &again) == UB_EINVALID);
  free(text);
  free(name);
  return 0;
}
