/*
** key.c: canonical bytes of values.
*/
#include "parts/key.h"

#include <string.h>

#include "base/err.h"

typedef struct member {
  size_t at, length;  /* of its name and value, in the bytes so far */
} member;

void ub_key_init (ub_key_maker *k) {
  ub_buf_init(&k->out);
  ub_buf_init(&k->members);
}

void ub_key_fini (ub_key_maker *k) {
  ub_buf_fini(&k->out);
  ub_buf_fini(&k->members);
}

static int put (ub_key_maker *k, const void *bytes, size_t length) {
  if (length > UB_KEY_MOST_BYTES - ub_buf_length(&k->out))
    return UB_EFULL;
  return ub_buf_append(&k->out, bytes, length);
}

static int put_tagged (ub_key_maker *k, char tag, const void *bytes, size_t length) {
  char both[1 + sizeof(uint64_t)];
  both[0] = tag;
  memcpy(both + 1, bytes, length);
  return put(k, both, 1 + length);
}

int ub_key_string (ub_key_maker *k, const char *bytes, size_t length) {
  uint32_t short_length = (uint32_t)length;
  int err;
  if (length > UB_KEY_MOST_BYTES)
    return UB_EFULL;
  err = put_tagged(k, 's', &short_length, sizeof short_length);
  return err != UB_OK ? err : put(k, bytes, length);
}

int ub_key_integer (ub_key_maker *k, int64_t n) {
  return put_tagged(k, 'i', &n, sizeof n);
}

int ub_key_number (ub_key_maker *k, double n) {
  if (n >= -0x1p63 && n < 0x1p63 && n == (double)(int64_t)n)  /* -0.0 too */
    return ub_key_integer(k, (int64_t)n);
  return put_tagged(k, 'd', &n, sizeof n);
}

int ub_key_null (ub_key_maker *k) {
  return put(k, "n", 1);
}

int ub_key_boolean (ub_key_maker *k, int truth) {
  return put(k, truth ? "t" : "f", 1);
}

int ub_key_list (ub_key_maker *k) {
  return put(k, "[", 1);
}

int ub_key_end_list (ub_key_maker *k) {
  return put(k, "]", 1);
}

/* {== Objects ============================================================= */

/* The members from 'mark' on: nothing is ever taken from the front of these buffers. */
static member *members (ub_key_maker *k, size_t mark) {
  return (member *)(void *)(k->members.bytes + mark);
}

static size_t count (const ub_key_maker *k, size_t mark) {
  return (ub_buf_length(&k->members) - mark) / sizeof(member);
}

/* Where the object's last member ends: here. */
static void end_member (ub_key_maker *k, size_t mark) {
  size_t n = count(k, mark);
  member *last;
  if (n == 0)
    return;
  last = members(k, mark) + n - 1;
  last->length = ub_buf_length(&k->out) - last->at;
}

int ub_key_object (ub_key_maker *k, size_t *mark) {
  *mark = ub_buf_length(&k->members);
  return put(k, "{", 1);
}

int ub_key_name (ub_key_maker *k, size_t mark, const char *name, size_t length) {
  member m = {ub_buf_length(&k->out), 0};
  int err;
  end_member(k, mark);
  err = ub_buf_append(&k->members, (const char *)&m, sizeof m);
  return err != UB_OK ? err : ub_key_string(k, name, length);
}

/* The name of a member, behind the tag of a string. */
static const char *name_of (const ub_key_maker *k, const member *m, uint32_t *length) {
  const char *at = ub_buf_bytes(&k->out) + m->at + 1;
  memcpy(length, at, sizeof *length);
  return at + sizeof *length;
}

static int is_before (const ub_key_maker *k, const member *a, const member *b) {
  uint32_t la, lb;
  const char *na = name_of(k, a, &la), *nb = name_of(k, b, &lb);
  int order = memcmp(na, nb, la < lb ? la : lb);
  return order != 0 ? order < 0 : la < lb;
}

/* Of the heap of n members, the last name on top: put the i-th one where it belongs. */
static void sink (const ub_key_maker *k, member *m, size_t i, size_t n) {
  member moved = m[i];
  size_t child;
  while ((child = 2 * i + 1) < n) {
    if (child + 1 < n && is_before(k, &m[child], &m[child + 1]))
      child++;
    if (!is_before(k, &moved, &m[child]))
      break;
    m[i] = m[child];
    i = child;
  }
  m[i] = moved;
}

static void sort (const ub_key_maker *k, member *m, size_t n) {
  size_t i;
  for (i = n / 2; i-- > 0;)
    sink(k, m, i, n);
  for (i = n; i-- > 1;) {
    member last = m[0];
    m[0] = m[i];
    m[i] = last;
    sink(k, m, 0, i);
  }
}

static int is_sorted (const ub_key_maker *k, const member *m, size_t n) {
  size_t i;
  for (i = 1; i < n; i++)
    if (!is_before(k, &m[i - 1], &m[i]))
      return 0;
  return 1;
}

/* Put the members' bytes into the order of their names. */
static int arrange (ub_key_maker *k, size_t mark) {
  size_t i, n = count(k, mark), copy = ub_buf_length(&k->members);
  char *start = k->out.bytes + members(k, mark)->at;
  sort(k, members(k, mark), n);
  for (i = 0; i < n; i++) {
    member m = members(k, mark)[i];  /* they move when the buffer grows */
    int err = ub_buf_append(&k->members, k->out.bytes + m.at, m.length);
    if (err != UB_OK)
      return err;
  }
  memcpy(start, k->members.bytes + copy, ub_buf_length(&k->members) - copy);
  return UB_OK;
}

int ub_key_end_object (ub_key_maker *k, size_t mark) {
  size_t n = count(k, mark);
  int err = UB_OK;
  end_member(k, mark);
  if (n > 1 && !is_sorted(k, members(k, mark), n))
    err = arrange(k, mark);
  k->members.tail = mark;
  return err != UB_OK ? err : put(k, "}", 1);
}

/* }======================================================================== */
