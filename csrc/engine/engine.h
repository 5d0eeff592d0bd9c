/*
** engine.h: HTTP transfers without threads, locks or waiting.
**
** An engine is a libcurl multi handle behind one descriptor (epoll and a timer).
** The host waits until that is readable, then steps the engine; nothing here ever
** waits by itself but 'ub_engine_wait'.
**
**   submit ──► libcurl ◄── step          callbacks only append to a transfer
**                 │                      and put it on the ready list
**                 ▼
**   next ◄── ready list:  transfer { head | data … | end }  ──► take
**
** A transfer's news come in order: HEAD once, DATA any number of times, END
** once; taking END frees the transfer. Up to 'window_bytes' (and one read of
** libcurl) wait in it; beyond that it is paused until they are taken, or gathered.
**
** An engine and its connections belong to the process that opened it: in a forked
** child every call answers UB_ECLOSED, and closing only gives the descriptors back.
*/
#ifndef UB_ENGINE_H
#define UB_ENGINE_H

#include <stddef.h>
#include <stdint.h>

typedef struct ub_engine ub_engine;

typedef struct ub_request {
  const char *url;             /* http or https */
  const char *method;          /* "GET", "POST", … */
  const char *const *headers;  /* "Name: value" lines, NULL-ended */
  const char *body;            /* copied; NULL for none */
  size_t body_size;
  int64_t connect_us;          /* name, connection and TLS; 0: no limit */
  size_t window_bytes;         /* what may wait unread */
  uint64_t most_bytes;         /* of the expanded body; 0: no limit */
  const char *proxy;           /* NULL: from the environment; "": none */
  const char *ca_file, *ca_path;     /* trusted, and nobody else; both NULL: SSL_CERT_FILE and
                                        SSL_CERT_DIR instead, or else the system's */
  const char *cert_file, *key_file;  /* client certificate and key, PEM */
  int insecure, streams;       /* do not verify the server; 1: the answer comes bit by bit */
  int http1, once;             /* do not offer HTTP/2; never send it twice (see 'resent') */
} ub_request;

typedef enum ub_news_kind {
  UB_NEWS_NONE,  /* nothing now */
  UB_NEWS_HEAD,  /* 'status', and the header lines in 'bytes' */
  UB_NEWS_DATA,  /* body bytes */
  UB_NEWS_END    /* 'err' and, if that is not UB_OK, 'message' and 'phase' */
} ub_news_kind;

typedef struct ub_news {
  ub_news_kind kind;
  int status, err;
  const char *phase;    /* "connect", "headers" or "body" */
  const char *message;  /* what libcurl or we found; no secrets in it */
  const char *bytes;    /* valid until the next 'ub_engine_take' */
  size_t length;
  int64_t first_us, total_us;  /* END: from submit to the first byte, to the end */
  int reused, http2;    /* END: a kept connection served it; spoken over HTTP/2 */
  int resent;           /* HEAD, END: libcurl has sent the request twice */
  int lasting;          /* END: refused for its size, as it would be again */
} ub_news;

typedef struct ub_engine_totals {
  int64_t engines, transfers, descriptors;
} ub_engine_totals;

/* A new engine, or NULL and '*err' (UB_ENOMEM, UB_ENETWORK). */
ub_engine *ub_engine_open (int *err);

/* Cancel all, free all. NULL is allowed. */
void ub_engine_close (ub_engine *e);

/* Is this the process that opened it? */
int ub_engine_owned (const ub_engine *e);

/* The one descriptor: readable when a step is due. Never watch it edge-triggered. */
int ub_engine_fd (const ub_engine *e);

/* Start a request. UB_OK and '*id' (under 2^53, never 0); or nothing is started: UB_EINVALID
   (a URL or option that libcurl refuses), UB_ENOMEM, UB_ECLOSED. */
int ub_engine_submit (ub_engine *e, const ub_request *request, uint64_t *id);

/* Do what is due, without waiting, or a part of it: then another step is due at once, and
** others had their turn. UB_OK or UB_ECLOSED. */
int ub_engine_step (ub_engine *e);

/* Wait at most 'us' (negative: for ever) until a step is due or a signal comes. */
void ub_engine_wait (const ub_engine *e, int64_t us);

/* The next transfer with news, each once until more comes; 0: none. */
uint64_t ub_engine_next (ub_engine *e);

/* Take one piece of news. An unknown id is UB_NEWS_END with UB_ECANCELLED. */
void ub_engine_take (ub_engine *e, uint64_t id, ub_news *news);

/* The body is wanted whole: what was taken of it is given back, and all comes as one DATA
   when it has ended well. UB_OK; UB_ENOMEM, UB_ECANCELLED (no such id): nothing has changed. */
int ub_engine_gather (ub_engine *e, uint64_t id, const char *bytes, size_t length);

/* End a transfer and forget it; an unknown id is ignored. */
void ub_engine_cancel (ub_engine *e, uint64_t id);

/*
** Watch a descriptor of the host's too, or no longer. When one is readable a step is
** due, and 'ub_engine_heard' says so once; read them empty before asking. UB_OK,
** UB_ENOMEM, UB_ENETWORK (it cannot be watched) or UB_ECLOSED.
*/
int ub_engine_listen (ub_engine *e, int fd);
void ub_engine_ignore (ub_engine *e, int fd);
int ub_engine_heard (ub_engine *e);

/* Transfers not yet ended. */
int64_t ub_engine_active (const ub_engine *e);

/* What is open in this process, over all engines. */
ub_engine_totals ub_engine_count (void);

#endif
