/*
** redis_fuzz.c: whatever a server says that is taken for Redis, its replies are
** sound or refused, and nothing is left.
**
**   input:  [ replies expected | size of pieces | failure ] stream …
**
** The stream goes through hiredis' reader with our objects, in pieces. A reply is
** walked through, read as an entry and as the beginning of one, and its kind of
** error is asked; every other one is kept beyond the reader. With a failure named,
** one allocation fails.
*/
#include "fuzz.h"

#include "base/alloc.h"
#include "redis/frame.h"
#include "redis/reply.h"

static int left;  /* replies that are expected */

#define MOST 100000  /* bytes of one */

static int expects (void *self) {
  (void)self;
  return left > 0;
}

static void look_at_string (const redisReply *r) {
  char *bytes = fuzz_copy((const uint8_t *)r->str, (size_t)r->len);
  const char *tags, *tag;
  size_t size, at = 0, length, needed;
  ub_frame f;
  must(r->str[r->len] == '\0');
  if (ub_frame_read(bytes, (size_t)r->len, &f)) {
    char *again = malloc(ub_frame_size(&f));
    must(again != NULL && ub_frame_size(&f) == (size_t)r->len);
    ub_frame_write(&f, again);
    must(memcmp(again, bytes, (size_t)r->len) == 0);
    free(again);
  }
  needed = ub_frame_tags(bytes, (size_t)r->len, &tags, &size);
  must(needed == 0 || needed == UB_FRAME_HEAD + size);
  if (needed > 0 && needed <= (size_t)r->len)
    while (ub_frame_tag(tags, size, &at, &tag, &length))
      must(tag + length <= bytes + r->len);
  free(bytes);
}

static void look_at (const redisReply *r) {
  size_t i;
  must(r != NULL);
  switch (r->type) {
    case REDIS_REPLY_ARRAY:
      must(r->elements <= UB_REPLY_ITEMS);
      for (i = 0; i < r->elements; i++)
        look_at(r->element[i]);
      break;
    case REDIS_REPLY_ERROR: must(ub_reply_error(r)[0] != '\0');  /* fall through */
    case REDIS_REPLY_STRING: case REDIS_REPLY_STATUS: look_at_string(r); break;
    default: must(r->type == REDIS_REPLY_NIL || r->type == REDIS_REPLY_INTEGER);
  }
}

/* All replies that are there; 0 when the reader has given up. */
static int read_all (redisReader *reader) {
  void *reply = NULL;
  while (redisReaderGetReply(reader, &reply) == REDIS_OK) {
    if (reply == NULL)
      return 1;
    must(left-- > 0);
    look_at(reply);
    if (left % 2 == 0) {
      ub_reply_keep(reply);
      reader->fn->freeObject(reply);
      look_at(reply);
      ub_reply_free(reply);
    } else {
      reader->fn->freeObject(reply);
    }
  }
  return 0;
}

/* An entry as a GET gives it, made of the input: it must be read as it was written. */
static void there_and_back (const uint8_t *bytes, size_t size) {
  size_t tags = size / 4, key = size / 3;
  ub_frame f = {(const char *)bytes, (const char *)bytes, (const char *)bytes, key, tags, size,
                (uint32_t)size, (int64_t)key, (int64_t)size}, back;
  char *out = malloc(ub_frame_size(&f));
  must(out != NULL);
  ub_frame_write(&f, out);
  must(ub_frame_read(out, ub_frame_size(&f), &back));
  must(back.key_length == key && back.tags_length == tags && back.length == size);
  must(back.stored_us == f.stored_us && back.ttl_us == f.ttl_us && back.space == f.space);
  must(memcmp(back.value, bytes, size) == 0 && memcmp(back.key, bytes, key) == 0);
  out[size % ub_frame_size(&f)] ^= 1;
  must(!ub_frame_read(out, ub_frame_size(&f), &back));
  free(out);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size) {
  ub_reply_gate gate = {expects, NULL, MOST, 0, 0};
  redisReader *reader;
  size_t piece, at;
  if (size < 3)
    return 0;
  left = data[0];
  piece = (size_t)data[1] + 1;
  reader = redisReaderCreateWithFunctions(&ub_reply_functions);
  must(reader != NULL);
  reader->privdata = &gate;
  ub_alloc_fail_at(data[2]);
  for (at = 3; at < size; at += piece) {
    size_t length = size - at < piece ? size - at : piece;
    if (redisReaderFeed(reader, (const char *)data + at, length) != REDIS_OK || !read_all(reader))
      break;
    must(gate.bytes <= MOST);
  }
  redisReaderFree(reader);
  ub_alloc_fail_at(0);
  must(ub_alloc_live() == 0);
  there_and_back(data, size);
  return 0;
}
