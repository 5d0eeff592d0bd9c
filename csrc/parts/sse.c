/*
** sse.c: server-sent events, out of chunks cut anywhere.
*/
#include "parts/sse.h"

#include <string.h>

#include "base/err.h"

#define NAME 6                         /* bytes in "data: " */
#define KEEP (1 << 20)                 /* a larger buffer is not kept */
#define MOST_RETRY_MS 315576000000     /* ten years */

static const char bom[] = "\xEF\xBB\xBF";

/* The text's bytes, wherever they lie. */
static ub_sse_span text_span (const ub_sse_text *t) {
  ub_sse_span span = t->span;
  if (t->is_held && t->span.length > 0)
    span.bytes = ub_buf_bytes(&t->held);
  return span;
}

/* The text is 'length' bytes that stay where they are for a while. */
static void text_set (ub_sse_text *t, const char *bytes, size_t length) {
  t->span.bytes = bytes;
  t->span.length = length;
  t->is_held = 0;
}

/* Copy the text into its own memory, if it is not there. */
static int text_hold (ub_sse_text *t) {
  int err;
  if (t->is_held)
    return UB_OK;
  ub_buf_take(&t->held, ub_buf_length(&t->held));
  err = ub_buf_append(&t->held, t->span.bytes, t->span.length);
  text_set(t, "", t->span.length);
  t->is_held = 1;
  return err;
}

static void text_fini (ub_sse_text *t) {
  ub_buf_fini(&t->held);
  text_set(t, "", 0);
}

static void release (ub_sse *p) {
  ub_buf_fini(&p->line);
  text_fini(&p->data);
  text_fini(&p->type);
  text_fini(&p->id);
  p->chunk = NULL;
  p->at = p->length = 0;
}

/* Take no byte from now on. */
static void fail (ub_sse *p, int err) {
  release(p);
  p->err = err;
}

/* A chunk was left: fail, but touch nothing that its last event may point to. */
static void abandon (ub_sse *p) {
  p->chunk = NULL;
  p->at = p->length = 0;
  p->err = UB_ENOMEM;
}

void ub_sse_init (ub_sse *p, size_t limit) {
  memset(p, 0, sizeof(*p));
  p->limit = limit;
  p->retry_ms = UB_SSE_NO_RETRY;
  release(p);
}

void ub_sse_fini (ub_sse *p) {
  fail(p, UB_ECLOSED);
}

int ub_sse_error (const ub_sse *p) {
  return p->err;
}

int64_t ub_sse_comments (const ub_sse *p) {
  return p->comments;
}

/* ---- lines under way ---- */

static size_t event_size (const ub_sse *p) {
  return p->data.span.length + p->type.span.length + p->id.span.length;
}

/* Would a line of 'length' bytes be too much for this event? */
static int too_long (const ub_sse *p, size_t length) {
  return length > NAME && length - NAME > p->limit - event_size(p);
}

/* Keep a piece of a line whose end has not come yet. */
static void hold_line (ub_sse *p, const char *bytes, size_t length) {
  size_t before = ub_buf_length(&p->line);
  if (p->in_comment || length == 0)
    return;
  if (before == 0 && bytes[0] == ':')
    p->in_comment = 1;
  else if (too_long(p, before + length))
    fail(p, UB_EUPSTREAM);
  else if (ub_buf_append(&p->line, bytes, length) != UB_OK)
    fail(p, UB_ENOMEM);
}

/* ---- fields ---- */

/* One more data line. Only from the second on is anything copied. */
static int add_data (ub_sse *p, ub_sse_span value) {
  ub_sse_text *data = &p->data;
  if (!p->has_data) {
    p->has_data = 1;
    text_set(data, value.bytes, value.length);
    return UB_OK;
  }
  if (text_hold(data) != UB_OK || ub_buf_append(&data->held, "\n", 1) != UB_OK ||
      ub_buf_append(&data->held, value.bytes, value.length) != UB_OK)
    return UB_ENOMEM;
  data->span.length = ub_buf_length(&data->held);
  return UB_OK;
}

static void set_id (ub_sse *p, ub_sse_span value) {
  if (memchr(value.bytes, '\0', value.length) == NULL)
    text_set(&p->id, value.bytes, value.length);
}

static void set_retry (ub_sse *p, ub_sse_span value) {
  int64_t ms = 0;
  size_t i;
  for (i = 0; i < value.length && ms <= MOST_RETRY_MS; i++) {
    if (value.bytes[i] < '0' || value.bytes[i] > '9')
      return;
    ms = ms * 10 + (value.bytes[i] - '0');
  }
  if (i > 0 && ms <= MOST_RETRY_MS)
    p->retry_ms = ms;
}

/* Is the line a field of this name? Then '*value' is what it says. */
static inline int is_field (const ub_sse_span *line, const char *name, size_t length,
                            ub_sse_span *value) {
  if (line->length < length || memcmp(line->bytes, name, length) != 0)
    return 0;
  value->bytes = line->bytes + length;
  value->length = line->length - length;
  if (value->length == 0)  /* a name alone: the value is empty */
    return 1;
  if (value->bytes[0] != ':')
    return 0;
  length = value->length > 1 && value->bytes[1] == ' ' ? 2 : 1;
  value->bytes += length;
  value->length -= length;
  return 1;
}

/* A whole line, neither blank nor a comment. */
static void take_field (ub_sse *p, ub_sse_span line) {
  ub_sse_span value;
  int err = UB_OK;
  p->torn += line.length;
  if (too_long(p, line.length)) {
    fail(p, UB_EUPSTREAM);
    return;
  }
  if (is_field(&line, "data", 4, &value))
    err = add_data(p, value);
  else if (is_field(&line, "event", 5, &value))
    text_set(&p->type, value.bytes, value.length);
  else if (is_field(&line, "id", 2, &value))
    set_id(p, value);
  else if (is_field(&line, "retry", 5, &value))
    set_retry(p, value);
  if (err == UB_OK && event_size(p) > p->limit)
    err = UB_EUPSTREAM;
  if (err != UB_OK)
    fail(p, err);
}

/* The line's memory becomes that of the data, which stands at its end. */
static void adopt_line (ub_sse *p) {
  ub_buf line = p->line;
  p->line = p->data.held;
  p->data.held = line;
  ub_buf_take(&p->data.held, ub_buf_length(&line) - p->data.span.length);
  p->data.span.bytes = "";
  p->data.is_held = 1;
}

/* The end of a line that began in an earlier chunk. */
static void take_held_line (ub_sse *p, const char *bytes, size_t length) {
  int had_data = p->has_data;
  ub_sse_span line;
  hold_line(p, bytes, length);
  if (p->err != UB_OK)
    return;
  line.bytes = ub_buf_bytes(&p->line);
  line.length = ub_buf_length(&p->line);
  take_field(p, line);
  if (p->err != UB_OK)
    return;
  if (p->has_data && !had_data)  /* this very line is the data */
    adopt_line(p);
  if (text_hold(&p->type) != UB_OK || text_hold(&p->id) != UB_OK)
    fail(p, UB_ENOMEM);
  ub_buf_take(&p->line, ub_buf_length(&p->line));
}

/* ---- events ---- */

/* A blank line: gives 1 and the event, or 0 when it has no data. */
static int end_event (ub_sse *p, ub_sse_event *event) {
  int complete = p->has_data;
  if (complete) {
    event->data = text_span(&p->data);
    event->type = text_span(&p->type);
    event->id = text_span(&p->id);
    event->retry_ms = p->retry_ms;
    p->retry_ms = UB_SSE_NO_RETRY;
  }
  p->has_data = 0;
  p->torn = 0;
  text_set(&p->data, "", 0);  /* what is held stays, for the event's sake */
  text_set(&p->type, "", 0);
  return complete;
}

/* The last 'length' bytes of a line. Gives 1 when they end an event. */
static int end_line (ub_sse *p, const char *bytes, size_t length, ub_sse_event *event) {
  ub_sse_span line = {bytes, length};
  if (p->in_comment || (length > 0 && bytes[0] == ':' && ub_buf_length(&p->line) == 0)) {
    p->in_comment = 0;
    p->comments++;
  }
  else if (ub_buf_length(&p->line) > 0)
    take_held_line(p, bytes, length);
  else if (length == 0)
    return end_event(p, event);
  else
    take_field(p, line);
  return 0;
}

/* ---- chunks ---- */

/* So many bytes are looked at in one go. */
typedef uint8_t block __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

/* All bits of those bytes that are LF or CR. */
static inline halves ends_in (const char *bytes) {
  block b;
  memcpy(&b, bytes, sizeof(b));
  return (halves)((b == '\n') | (b == '\r'));
}

static inline int any (halves h) {
  return (h[0] | h[1]) != 0;
}

/* The place of the first byte set, of which there is one. */
static inline size_t first_set (halves h) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return h[0] != 0 ? (size_t)__builtin_ctzll(h[0]) / 8 : 8 + (size_t)__builtin_ctzll(h[1]) / 8;
#else
  return h[0] != 0 ? (size_t)__builtin_clzll(h[0]) / 8 : 8 + (size_t)__builtin_clzll(h[1]) / 8;
#endif
}

/*
** Where the first LF or CR is, or 'length'. One pass for both is quicker than
** two memchr where lines are short. The last block may overlap what is known
** to have none.
*/
static size_t find_end (const char *bytes, size_t length) {
  size_t at = 0;
  halves h;
  if (length > 0 && (bytes[0] == '\n' || bytes[0] == '\r'))
    return 0;  /* blank lines are common */
  for (; length - at >= 4 * sizeof(h); at += 4 * sizeof(h))
    if (any(ends_in(bytes + at) | ends_in(bytes + at + 16) |
            ends_in(bytes + at + 32) | ends_in(bytes + at + 48)))
      break;
  for (; length - at >= sizeof(h); at += sizeof(h)) {
    h = ends_in(bytes + at);
    if (any(h))
      return at + first_set(h);
  }
  if (length >= sizeof(h)) {
    at = length - sizeof(h);
    h = ends_in(bytes + at);
    return any(h) ? at + first_set(h) : length;
  }
  while (at < length && bytes[at] != '\n' && bytes[at] != '\r')
    at++;
  return at;
}

/* Go behind the line end at 'end'. */
static void pass_line_end (ub_sse *p, size_t end) {
  p->at = end + 1;
  if (p->chunk[end] == '\n')
    return;
  if (p->at == p->length)
    p->after_cr = 1;  /* its LF may be the next chunk's first byte */
  else if (p->chunk[p->at] == '\n')
    p->at++;
}

/* The text's chunk goes: copy what it has in it. */
static inline int text_outlive (ub_sse_text *t) {
  if (t->span.length > 0)
    return text_hold(t);
  t->span.bytes = "";
  return UB_OK;
}

/* The chunk is done: copy what an unfinished event has in it. */
static void leave_chunk (ub_sse *p) {
  p->chunk = NULL;
  if (p->err == UB_OK &&
      (text_outlive(&p->data) != UB_OK || text_outlive(&p->type) != UB_OK ||
       text_outlive(&p->id) != UB_OK))
    fail(p, UB_ENOMEM);
}

int ub_sse_next (ub_sse *p, ub_sse_event *event) {
  while (p->at < p->length) {
    const char *line = p->chunk + p->at;
    size_t length = find_end(line, p->length - p->at), end = p->at + length;
    if (end == p->length) {
      p->at = end;
      hold_line(p, line, length);
      break;
    }
    pass_line_end(p, end);
    if (end_line(p, line, length, event))
      return 1;
  }
  leave_chunk(p);
  return 0;
}

/* Pass over a byte order mark; what only looked like one is a line's. */
static void pass_bom (ub_sse *p) {
  while (p->bom < 3 && p->at < p->length) {
    int seen = p->bom;
    if (p->chunk[p->at] == bom[seen]) {
      p->bom++;
      p->at++;
    }
    else {
      p->bom = 3;
      hold_line(p, bom, (size_t)seen);
    }
  }
}

static void pass_lf (ub_sse *p) {
  if (p->after_cr && p->at < p->length) {
    p->after_cr = 0;
    p->at += p->chunk[p->at] == '\n';
  }
}

/* Give back what a very large event needed. */
static void slim (ub_sse *p) {
  if (!p->has_data && p->data.held.size > KEEP)
    text_fini(&p->data);
  if (p->line.size > KEEP && ub_buf_length(&p->line) == 0)
    ub_buf_fini(&p->line);
}

int ub_sse_feed (ub_sse *p, const char *bytes, size_t length) {
  if (p->chunk != NULL)
    abandon(p);
  if (p->err != UB_OK || length == 0)
    return p->err;
  slim(p);
  p->chunk = bytes;
  p->length = length;
  p->at = 0;
  pass_bom(p);
  if (p->err != UB_OK)
    return p->err;
  pass_lf(p);
  return UB_OK;
}

int ub_sse_finish (ub_sse *p, size_t *torn) {
  if (p->chunk != NULL)
    abandon(p);
  if (p->err == UB_OK) {
    p->torn += ub_buf_length(&p->line) + (p->bom < 3 ? (size_t)p->bom : 0);
    fail(p, UB_ECLOSED);
  }
  *torn = p->torn;
  return p->err == UB_ECLOSED ? UB_OK : p->err;
}
