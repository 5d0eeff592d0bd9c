/*
** json_fields.c: one pass over a JSON text, without recursion.
**
** Every function moves 'at' behind what it has read and gives 1, or gives 0.
*/
#include "parts/json_fields.h"

#include <stdint.h>
#include <string.h>

#include "base/err.h"

typedef struct scan {
  const char *at, *end;
  int depth;
  size_t names;  /* that have been read */
  uint64_t objects[UB_JSON_DEPTH / 64];  /* a bit a level: 1 for an object */
} scan;

/* {== Characters ========================================================== */

static void blanks (scan *s) {
  while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
    s->at++;
}

static int next_is (const scan *s, char c) {
  return s->at < s->end && *s->at == c;
}

static int character (scan *s, char c) {
  if (!next_is(s, c))
    return 0;
  s->at++;
  return 1;
}

static int is_digit (const scan *s) {
  return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

/* The bytes of a character that begins with 'lead', and what its second one may be. */
static int utf8_class (unsigned char lead, unsigned char *low, unsigned char *high) {
  *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;  /* no longer than needed */
  *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF; /* no surrogate; U+10FFFF at most */
  if (lead < 0xC2 || lead > 0xF4)
    return 0;
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* One character beyond ASCII (RFC 3629). */
static int utf8 (scan *s) {
  const unsigned char *c = (const unsigned char *)s->at;
  unsigned char low, high;
  int length = utf8_class(c[0], &low, &high), i;
  if (length == 0 || s->end - s->at < length || c[1] < low || c[1] > high)
    return 0;
  for (i = 2; i < length; i++)
    if (c[i] < 0x80 || c[i] > 0xBF)
      return 0;
  s->at += length;
  return 1;
}

/* }======================================================================== */

/* {== Strings ============================================================= */

static int hex (char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "\uXXXX", at its backslash. */
static int unit (scan *s, uint32_t *code) {
  int i;
  if (s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u')
    return 0;
  for (*code = 0, i = 2; i < 6; i++) {
    int digit = hex(s->at[i]);
    if (digit < 0)
      return 0;
    *code = *code << 4 | (uint32_t)digit;
  }
  s->at += 6;
  return 1;
}

/* The character that one or two units make. */
static int escaped_unicode (scan *s, uint32_t *code) {
  uint32_t low;
  if (!unit(s, code))
    return 0;
  if ((*code & 0xF800) != 0xD800)
    return 1;
  if ((*code & 0x0400) != 0 || !unit(s, &low) || (low & 0xFC00) != 0xDC00)
    return 0;  /* half a pair */
  *code = 0x10000 + ((*code & 0x3FF) << 10 | (low & 0x3FF));
  return 1;
}

/* An escape, at its backslash. */
static int escape (scan *s, uint32_t *code) {
  static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
  const char *letter;
  if (s->end - s->at < 2)
    return 0;
  if (s->at[1] == 'u')
    return escaped_unicode(s, code);
  letter = s->at[1] != '\0' ? strchr(letters, s->at[1]) : NULL;
  if (letter == NULL)
    return 0;
  *code = (unsigned char)means[letter - letters];
  s->at += 2;
  return 1;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))
#define HAS_ZERO(x) (((x) - EACH(0x01)) & ~(x) & EACH(0x80))

/* Pass over what stands for itself, eight bytes at a time: no quote, no backslash, no
** control character, nothing beyond ASCII. */
static void plain (scan *s) {
  while (s->end - s->at >= 8) {
    uint64_t x;
    memcpy(&x, s->at, sizeof x);
    if (((x & EACH(0x80)) | ((x - EACH(0x20)) & ~x & EACH(0x80))
         | HAS_ZERO(x ^ EACH('"')) | HAS_ZERO(x ^ EACH('\\'))) != 0)
      return;
    s->at += 8;
  }
}

static int continues (char c) {
  return (c & 0xC0) == 0x80;
}

/* Pass over what has three bytes and nothing to look at but them: most of what is
** not Latin, Greek, Cyrillic, Hebrew or Arabic. */
static void wide (scan *s) {
  const char *at = s->at;
  while (s->end - at >= 3 && (unsigned char)at[0] > 0xE0 && (unsigned char)at[0] < 0xED
         && continues(at[1]) && continues(at[2]))
    at += 3;
  s->at = at;
}

/* A string, at its opening quote. */
static int string (scan *s) {
  uint32_t code;
  if (!character(s, '"'))
    return 0;
  for (;;) {
    unsigned char c;
    plain(s);
    wide(s);
    if (s->at == s->end)
      return 0;
    c = (unsigned char)*s->at;
    if (c == '"')
      return character(s, '"');
    if (c < 0x20 || (c >= 0x80 && !utf8(s)) || (c == '\\' && !escape(s, &code)))
      return 0;
    if (c < 0x80 && c != '\\')
      s->at++;
  }
}

/* The bytes of a character (RFC 3629); how many. */
static size_t encode (uint32_t code, char *to) {
  if (code < 0x80) {
    to[0] = (char)code;
    return 1;
  }
  if (code < 0x800) {
    to[0] = (char)(0xC0 | code >> 6);
    to[1] = (char)(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    to[0] = (char)(0xE0 | code >> 12);
    to[1] = (char)(0x80 | (code >> 6 & 0x3F));
    to[2] = (char)(0x80 | (code & 0x3F));
    return 3;
  }
  to[0] = (char)(0xF0 | code >> 18);
  to[1] = (char)(0x80 | (code >> 12 & 0x3F));
  to[2] = (char)(0x80 | (code >> 6 & 0x3F));
  to[3] = (char)(0x80 | (code & 0x3F));
  return 4;
}

/* Do the sound bytes between two quotes say this name? */
static int says (const char *from, const char *to, const ub_json_field *field) {
  scan s = {.at = from, .end = to};
  const char *name = field->name, *end = name + field->name_length;
  if (memchr(from, '\\', (size_t)(to - from)) == NULL)
    return (size_t)(to - from) == field->name_length && memcmp(from, name, field->name_length) == 0;
  while (s.at < s.end && name < end) {
    char bytes[4];
    size_t length = 1;
    uint32_t code;
    bytes[0] = *s.at;
    if (*s.at != '\\')
      s.at++;
    else if (escape(&s, &code))
      length = encode(code, bytes);
    if ((size_t)(end - name) < length || memcmp(name, bytes, length) != 0)
      return 0;
    name += length;
  }
  return s.at == s.end && name == end;
}

/* }======================================================================== */

/* {== Values ============================================================== */

static int digits (scan *s) {
  if (!is_digit(s))
    return 0;
  while (is_digit(s))
    s->at++;
  return 1;
}

static int number (scan *s) {
  character(s, '-');
  if (!character(s, '0') && !digits(s))
    return 0;
  if (character(s, '.') && !digits(s))
    return 0;
  if (next_is(s, 'e') || next_is(s, 'E')) {
    s->at++;
    if (!character(s, '+'))
      character(s, '-');
    return digits(s);
  }
  return 1;
}

static int word (scan *s, const char *letters) {
  size_t length = strlen(letters);
  if ((size_t)(s->end - s->at) < length || memcmp(s->at, letters, length) != 0)
    return 0;
  s->at += length;
  return 1;
}

/* A value that has no others in it. */
static int scalar (scan *s) {
  if (s->at == s->end)
    return 0;
  switch (*s->at) {
    case '"': return string(s);
    case 't': return word(s, "true");
    case 'f': return word(s, "false");
    case 'n': return word(s, "null");
    default: return number(s);
  }
}

static int in_object (const scan *s) {
  return (int)(s->objects[(s->depth - 1) / 64] >> (s->depth - 1) % 64 & 1);
}

static int enter (scan *s, int object) {
  uint64_t bit = (uint64_t)1 << s->depth % 64, *level = &s->objects[s->depth / 64];
  if (s->depth == UB_JSON_DEPTH)
    return 0;
  *level = object ? *level | bit : *level & ~bit;
  s->depth++;
  return 1;
}

/* A name and its colon; then comes a value. */
static int name_and_colon (scan *s) {
  blanks(s);
  if (!string(s))
    return 0;
  blanks(s);
  s->names++;
  return character(s, ':');
}

/* Down to the first value that has no others in it: an empty list or object is one. */
static int descend (scan *s) {
  for (;;) {
    int object = next_is(s, '{');
    if (!object && !next_is(s, '['))
      return scalar(s);
    if (s->depth == UB_JSON_DEPTH)
      return 0;
    s->at++;
    blanks(s);
    if (character(s, object ? '}' : ']'))
      return 1;
    enter(s, object);
    if (object && !name_and_colon(s))
      return 0;
    blanks(s);
  }
}

/* A value is behind us. Out of all that ends here; 1 when one more value follows on
** level 'base' or below, else 0, with the depth at 'base' if all is well. */
static int ascend (scan *s, int base) {
  while (s->depth > base) {
    int object = in_object(s);
    blanks(s);
    if (character(s, ','))
      return object ? name_and_colon(s) : 1;
    if (!character(s, object ? '}' : ']'))
      return 0;
    s->depth--;
  }
  return 0;
}

/* Any value. */
static int value (scan *s) {
  int base = s->depth;
  do {
    blanks(s);
    if (!descend(s))
      return 0;
  } while (ascend(s, base));
  return s->depth == base;
}

/* }======================================================================== */

/* {== Members ============================================================= */

typedef struct member {
  const char *before, *name_at, *name_end, *value_at, *value_end;
} member;

static int read_member (scan *s, member *m) {
  m->name_at = s->at;
  if (!string(s))
    return 0;
  m->name_end = s->at;
  s->names++;
  blanks(s);
  if (!character(s, ':'))
    return 0;
  blanks(s);
  m->value_at = s->at;
  if (!value(s))
    return 0;
  m->value_end = s->at;
  return 1;
}

/* Behind a member: at the name of the next one, or at the "}". */
static int read_comma (scan *s) {
  blanks(s);
  if (next_is(s, '}'))
    return 1;
  if (!character(s, ','))
    return 0;
  blanks(s);
  return next_is(s, '"');
}

static void note (const char *text, const char *next, const member *m, ub_json_field *f) {
  f->times++;
  f->before = (size_t)(m->before - text);
  f->name_at = (size_t)(m->name_at - text);
  f->value_at = (size_t)(m->value_at - text);
  f->value_end = (size_t)(m->value_end - text);
  f->next = (size_t)(next - text);
}

/* All members, up to the "}". */
static int read_members (scan *s, const char *text, ub_json_field *fields, size_t count,
                         ub_json_object *object) {
  member m = {.before = s->at};
  blanks(s);
  while (!next_is(s, '}')) {
    size_t i;
    if (!read_member(s, &m) || !read_comma(s))
      return 0;
    for (i = 0; i < count; i++)
      if (says(m.name_at + 1, m.name_end - 1, &fields[i]))
        note(text, s->at, &m, &fields[i]);
    m.before = m.value_end;
    object->members++;
    object->end = (size_t)(m.value_end - text);
  }
  return 1;
}

int ub_json_fields (const char *text, size_t length, ub_json_field *fields, size_t count,
                    ub_json_object *object) {
  scan s = {.at = text, .end = text + length, .depth = 0};
  size_t i;
  for (i = 0; i < count; i++)
    fields[i].times = 0;
  object->members = 0;
  blanks(&s);
  if (!character(&s, '{'))
    return UB_EINVALID;
  enter(&s, 1);
  object->end = (size_t)(s.at - text);
  if (!read_members(&s, text, fields, count, object) || !character(&s, '}'))
    return UB_EINVALID;
  blanks(&s);
  object->all = s.names;
  return s.at == s.end ? UB_OK : UB_EINVALID;
}

/* }======================================================================== */
