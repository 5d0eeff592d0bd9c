/*
** transfer.h: one request and its answer. Private to the engine.
*/
#ifndef UB_TRANSFER_H
#define UB_TRANSFER_H

#include <curl/curl.h>
#include <stdint.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "engine/urls.h"

typedef struct ub_transfer {
  uint64_t id;
  ub_engine *engine;
  CURL *easy;
  ub_url *url;       /* taken apart; or NULL */
  int marked;        /* the handle has what not every request sets: see 'ub_transfer_free' */
  int streams;       /* of the request, and of the kind of its handle */
  int sent;          /* how often libcurl began to send the request, */
  int64_t sent_us;   /* when it did last, */
  int port;          /* and from which local port: the name of the connection */
  int most_sent;     /* and how often it may */
  ub_buf head, data;
  size_t window_bytes;
  uint64_t most_bytes, got_bytes;
  int status;
  int head_lines;
  int64_t length;    /* what the header says; -1: nothing yet */
  int in_header;     /* between a status line and its blank line */
  int head_done;     /* the final answer's header is whole */
  int head_taken;
  int gathers;       /* all of the body waits for its end: see 'ub_engine_gather' */
  int paused;
  int resuming;      /* libcurl hands over what it kept: take all of it, for
                        what is refused again it copies again */
  int ended;
  int err;           /* of the end; set early when a callback refuses */
  int lasting;       /* it would come again: see engine.h */
  int64_t started_us, first_us, ended_us;
  long connect_ms;   /* until the connection stands; see 'ub_engine_line_up' */
  int in_line;       /* it has not been sent */
  int begun;         /* and makes a connection of its own */
  int64_t look_us;   /* when it is looked at */
  struct ub_transfer *earlier, *later;  /* in that line */
  int listed;        /* on the engine's ready list */
  struct ub_transfer *next;
  const char *phase;
  const char *message;
  char error[CURL_ERROR_SIZE];
  struct curl_slist lines[]; /* request headers; behind them their text and the body */
} ub_transfer;

/*
** A handle with what is the same for every request; NULL when there is no memory. It
** keeps its room for reading as long as it lives: so one for streams is for no others.
*/
CURL *ub_transfer_easy (int streams);

/*
** A transfer ready to be added to a multi handle, over an easy handle as
** 'ub_transfer_easy' (of the request's kind) and 'ub_transfer_free' leave it. NULL and
** '*err' on failure; the handle is then to be thrown away.
*/
ub_transfer *ub_transfer_new (const ub_request *request, CURL *easy, int *err);

/*
** Free all but the easy handle, which is given back as it was before: nothing of
** this request is left in it. NULL when it could not be made so, and is gone.
*/
CURL *ub_transfer_free (ub_transfer *t);

/* libcurl is done with it: note how it ended. */
void ub_transfer_end (ub_transfer *t, CURLcode result);

/* Let it wait no more for the connection of another one, but make one within 'ms'. It is in
** no multi handle now. 0 where libcurl will not. */
int ub_transfer_alone (ub_transfer *t, long ms);

/* In transfers.c: something has come over its connection. */
void ub_engine_hear (ub_transfer *t, int64_t now_us);

/* In engine.c: this transfer has news. */
void ub_engine_list (ub_transfer *t);

/* In engine.c: it is sent, or ends. May be called twice. */
void ub_engine_leave_line (ub_transfer *t);

#endif
