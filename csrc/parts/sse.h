/*
** sse.h: server-sent events, out of chunks cut anywhere.
**
**   feed(chunk) ─► lines (LF, CR, CRLF) ─► fields ─► next() ─► an event
**
**     data: {"a":1}      in one chunk, one data line: a pointer into the
**                        chunk, nothing is copied
**     data: {"a" | :1}   what a chunk's end leaves unfinished is copied, once
**
** The format is WHATWG HTML, "9.2 Server-sent events": one byte order mark
** in front is passed over; a CR at a chunk's end ends the line at once and
** an LF after it belongs to it; one space behind the colon is dropped; an
** 'id' with NUL in it and a 'retry' of other than digits are ignored, so is
** a 'retry' over ten years; an event without data is not given. Bytes are
** passed on as they are: NUL, invalid UTF-8, U+0085 and U+2028 are data.
** Each byte is looked at once or twice, however the chunks are cut.
**
** The one part that takes heap memory while it runs. A failure is for good,
** since bytes are lost: UB_EUPSTREAM (an event over the limit), UB_ENOMEM
** (also when a chunk was left before 'next' gave 0), UB_ECLOSED (finished).
** All memory has been given back then (of a chunk left, only with 'fini': who
** fed again in the middle of it may still read its last event). Events
** completed before the failure are given first.
*/
#ifndef UB_SSE_H
#define UB_SSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define UB_SSE_NO_RETRY (-1)

typedef struct ub_sse_span {
  const char *bytes;  /* never NULL */
  size_t length;
} ub_sse_span;

/* Lies in the chunk or the parser: good until the next call of either kind. */
typedef struct ub_sse_event {
  ub_sse_span data;  /* its lines, joined with LF */
  ub_sse_span type;  /* empty: none, which the standard calls "message" */
  ub_sse_span id;    /* the last one the stream named; empty: none */
  int64_t retry_ms;  /* named since the event before, or UB_SSE_NO_RETRY */
} ub_sse_event;

/* A text in the chunk (span), or in memory of its own (held). */
typedef struct ub_sse_text {
  ub_sse_span span;
  ub_buf held;
  int is_held;  /* else 'held' is waste, or what the last event points to */
} ub_sse_text;

typedef struct ub_sse {
  size_t limit;
  int err;              /* UB_OK, or why no byte is taken any more */
  int bom;              /* bytes of a byte order mark seen; 3: past it */
  int after_cr;         /* the last chunk ended with CR: pass over an LF */
  int in_comment;       /* the line under way is a comment (and not held) */
  int has_data;
  const char *chunk;    /* NULL between chunks */
  size_t length;        /* of the chunk */
  size_t at;            /* place of the next byte in it */
  size_t torn;          /* bytes in lines since the last blank line */
  int64_t comments;
  int64_t retry_ms;
  ub_buf line;          /* the line under way, out of earlier chunks */
  ub_sse_text data, type, id;
} ub_sse;

/*
** A parser that owns no memory yet. 'limit' is the most bytes an event may
** hold: data, type and id, and of the line under way all but the first six
** bytes (as many as "data: " has). Comments are not held and may be endless.
*/
void ub_sse_init (ub_sse *p, size_t limit);

/* Gives the memory back; the parser is closed. May be called twice. */
void ub_sse_fini (ub_sse *p);

/*
** Hand in the next bytes, which must stay where they are until 'next' has
** given 0. Gives UB_OK, or the failure the parser is in.
*/
int ub_sse_feed (ub_sse *p, const char *bytes, size_t length);

/* 1 and the next event of the chunk; 0: none, or failed ('ub_sse_error'). */
int ub_sse_next (ub_sse *p, ub_sse_event *event);

/* UB_OK, or the failure the parser is in. */
int ub_sse_error (const ub_sse *p);

/* Comment lines so far: servers send them to keep a connection alive. */
int64_t ub_sse_comments (const ub_sse *p);

/*
** The stream is over. UB_OK and in '*torn' the bytes that stood in lines of
** an event never ended by a blank line, which the standard drops (comments
** and line ends apart; 0: a clean end). Or the failure. May be called twice.
*/
int ub_sse_finish (ub_sse *p, size_t *torn);

#endif
