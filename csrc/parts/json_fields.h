/*
** json_fields.h: where the members of a JSON object lie in its text.
**
**   { "model" : "m" ,  "stream" : true }
**    ^ ^        ^  ^   ^               ^
**    | name_at  |  |   next            (next of the last one)
**    before     |  value_end
**               value_at
**
** The text is looked through once, and is to be JSON as RFC 8259 has it, to its
** last byte: UTF-8 without a byte order mark, no control characters in strings,
** escapes of surrogates in pairs only. So whoever changes some bytes of it by
** these places leaves JSON.
*/
#ifndef UB_JSON_FIELDS_H
#define UB_JSON_FIELDS_H

#include <stddef.h>

#define UB_JSON_DEPTH 128  /* objects and arrays in each other, as unbusy.json */

typedef struct ub_json_field {
  const char *name;        /* that is looked for, on the first level; UTF-8 */
  size_t name_length;
  size_t times;            /* how often it comes; the rest is of the last one */
  size_t before;           /* the end of the member before it, or of the "{" */
  size_t name_at;          /* the quote that opens its name */
  size_t value_at, value_end;
  size_t next;             /* the name of the member behind it, or the "}" */
} ub_json_field;

typedef struct ub_json_object {
  size_t members;
  size_t all;              /* with those of the objects in it */
  size_t end;              /* of the last member, or of the "{" */
} ub_json_object;

/*
** Look through a text for these names, written in whatever way ("mod\u0065l"
** too). UB_OK; or UB_EINVALID when it is no JSON object, or nested too deeply.
*/
int ub_json_fields (const char *text, size_t length, ub_json_field *fields, size_t count,
                    ub_json_object *object);

#endif
