/*
** glance.c: two walks through the text: over its members, and over its choice's.
*/
#include "parts/glance.h"

#include <string.h>

#include "base/err.h"
#include "parts/json_fields.h"

#define NAMED(text) {.name = text, .name_length = sizeof text - 1}

/* {== Values ============================================================== */

static int says (ub_span s, const char *text) {
  return s.at != NULL && s.length == strlen(text) && memcmp(s.at, text, s.length) == 0;
}

/* A member's value; none where there is no such member, or it is null. */
static ub_span value_of (const char *text, const ub_json_field *f) {
  ub_span s = {NULL, 0};
  if (f->times == 0)
    return s;
  s.at = text + f->value_at;
  s.length = f->value_end - f->value_at;
  if (says(s, "null"))
    s.at = NULL;
  return s;
}

static int begins (ub_span s, char c) {
  return s.at != NULL && s.at[0] == c;
}

/* Takes the quotes away; 0 for what is no string, or has an escape in it. */
static int unquote (ub_span *s) {
  if (s->at == NULL)
    return 1;
  if (!begins(*s, '"') || memchr(s->at, '\\', s->length) != NULL)
    return 0;
  s->at++;
  s->length -= 2;
  return 1;
}

static int is_blank (char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What stands between a list's brackets. */
static ub_span inside (ub_span list) {
  ub_span s = {list.at + 1, list.length - 2};
  while (s.length > 0 && is_blank(s.at[0])) {
    s.at++;
    s.length--;
  }
  return s;
}

static int none_twice (const ub_json_field *fields, size_t count) {
  size_t i;
  for (i = 0; i < count; i++)
    if (fields[i].times > 1)
      return 0;
  return 1;
}

static int members (ub_span s, ub_json_field *fields, size_t count) {
  ub_json_object object;
  return ub_json_fields(s.at, s.length, fields, count, &object) == UB_OK &&
    none_twice(fields, count);
}

/* }======================================================================== */

/* The list's one item is an object that holds an answer of that kind. */
static int read_choice (ub_glance_kind kind, ub_span list, ub_glance_answer *a) {
  enum { MESSAGE, TEXT, FINISH, NAMES };
  ub_json_field f[NAMES] = {NAMED("message"), NAMED("text"), NAMED("finish_reason")};
  ub_span item;
  if (!begins(list, '['))
    return 0;
  item = inside(list);
  if (!members(item, f, NAMES))  /* no object, or more than one */
    return 0;
  a->finish = value_of(item.at, &f[FINISH]);
  if (!unquote(&a->finish))
    return 0;
  return kind == UB_GLANCE_CHAT ? begins(value_of(item.at, &f[MESSAGE]), '{')
                                : begins(value_of(item.at, &f[TEXT]), '"');
}

static int read_data (ub_span list) {
  return begins(list, '[') && inside(list).at[0] != ']';
}

int ub_glance (ub_glance_kind kind, const char *text, size_t length, ub_glance_answer *a) {
  enum { ERROR, TYPE, OBJECT, CHOICES, DATA, MODEL, USAGE, NAMES };
  ub_json_field f[NAMES] = {NAMED("error"), NAMED("type"), NAMED("object"), NAMED("choices"),
                            NAMED("data"), NAMED("model"), NAMED("usage")};
  ub_span all = {text, length}, object;
  memset(a, 0, sizeof *a);
  if (!members(all, f, NAMES))
    return 0;
  object = value_of(text, &f[OBJECT]);
  a->model = value_of(text, &f[MODEL]);
  a->usage = value_of(text, &f[USAGE]);
  if (value_of(text, &f[ERROR]).at != NULL || value_of(text, &f[TYPE]).at != NULL ||
      !unquote(&object) || says(object, "error") || !unquote(&a->model) ||
      (a->usage.at != NULL && !begins(a->usage, '{')))
    return 0;
  return kind == UB_GLANCE_EMBED ? read_data(value_of(text, &f[DATA]))
                                 : read_choice(kind, value_of(text, &f[CHOICES]), a);
}
