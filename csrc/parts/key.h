/*
** key.h: values as bytes that are the same when the values are.
**
** What a question is kept under. It is built from outside, value by value;
** objects and lists are opened, filled and closed:
**
**   string    s length bytes             length: 32 bits
**   number    i whole number, 64 bits    what is whole and fits
**             d double, 64 bits          any other
**   words     n, t, f                    null, true, false
**   list      [ value … ]
**   object    { name value … }           by the bytes of their names, sorted
**                                        when it closes; a name is a string
**
** No value's bytes begin another's, so that rows of values differ when the
** values do: ("a", "bc") is not ("ab", "c"), and 1 is not "1". The order in
** which an object's members come does not matter (heapsort: n log n whatever
** they are), nor whether 1 came as a whole number or a double.
**
** On any failure the maker is good for nothing but 'ub_key_fini'.
*/
#ifndef UB_KEY_H
#define UB_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define UB_KEY_MOST_BYTES 0x4000000  /* 64 MiB */

typedef struct ub_key_maker {
  ub_buf out;      /* the bytes so far */
  ub_buf members;  /* of the objects still open, where each member lies */
} ub_key_maker;

/* Makes an empty maker, which owns nothing; gives the memory back, empty again. */
void ub_key_init (ub_key_maker *k);
void ub_key_fini (ub_key_maker *k);

/* Each of the following is UB_OK, UB_ENOMEM, or UB_EFULL over UB_KEY_MOST_BYTES. */
int ub_key_string (ub_key_maker *k, const char *bytes, size_t length);
int ub_key_integer (ub_key_maker *k, int64_t n);
int ub_key_number (ub_key_maker *k, double n);  /* finite */
int ub_key_null (ub_key_maker *k);
int ub_key_boolean (ub_key_maker *k, int truth);

int ub_key_list (ub_key_maker *k);
int ub_key_end_list (ub_key_maker *k);

/*
** Open an object: 'mark' goes back to the calls for its members and its end.
** Before each member's value comes its name, no name twice.
*/
int ub_key_object (ub_key_maker *k, size_t *mark);
int ub_key_name (ub_key_maker *k, size_t mark, const char *name, size_t length);
int ub_key_end_object (ub_key_maker *k, size_t mark);

#endif
