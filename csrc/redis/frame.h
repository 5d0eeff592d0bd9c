/*
** frame.h: an answer as it lies in a Redis server: a string value.
**
**    0  "ubc" and the version   4 bytes
**    4  space of the key        u32
**    8  check                   u64: XXH3 of all that follows, seeded by the space
**   16  stored                  i64: wall time in microseconds
**   24  ttl                     i64: microseconds that it is fresh after that
**   32  length of the key       u32
**   36  length of the tags      u32
**   40  tags, key, value        a tag: its length in a byte, its bytes
**
** Numbers have their lowest byte first. The whole key is kept, since a name of
** Redis' is only a hash of it; the check finds what was cut or overwritten. The
** tags come first, so that the beginning of a frame shows them.
*/
#ifndef UB_FRAME_H
#define UB_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define UB_FRAME_HEAD  40
#define UB_FRAME_TAGS  16   /* most tags of one answer */
#define UB_FRAME_TAG   255  /* most bytes of a tag */

#define UB_FRAME_NAME  32   /* characters of 'ub_frame_name' */

typedef struct ub_frame {
  const char *key, *tags, *value;
  size_t key_length, tags_length, length;
  uint32_t space;     /* of the key */
  int64_t stored_us;  /* wall time */
  int64_t ttl_us;
} ub_frame;

/* Bytes of the whole. */
size_t ub_frame_size (const ub_frame *f);

/* Write all of them to 'out'. */
void ub_frame_write (const ub_frame *f, char *out);

/* Read one: 1, and '*f' points into the bytes; 0 for anything that is not whole. */
int ub_frame_read (const char *bytes, size_t length, ub_frame *f);

/*
** The tags in the beginning of a frame, for what is no frame none. Gives how
** many bytes of the frame it takes to have all of them: no more than 'length'
** means that they are there.
*/
size_t ub_frame_tags (const char *bytes, size_t length, const char **tags, size_t *size);

/* The next tag of 'size' bytes of tags; 0 at the end. '*at' starts at 0. */
int ub_frame_tag (const char *tags, size_t size, size_t *at, const char **tag, size_t *length);

/* What a key is called in Redis: UB_FRAME_NAME hexadecimal digits, a hash, and a NUL. */
void ub_frame_name (const char *key, size_t length, uint32_t space, char *out);

#endif
