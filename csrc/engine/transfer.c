/*
** transfer.c: one request and its answer.
*/
#include "engine/transfer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"

#define HEAD_BYTES (256 * 1024)    /* most bytes of an answer's header */
#define HEAD_LINES 1000
#define LENGTH_NAME "content-length:"
#define MOST_LENGTH (INT64_MAX / 16)
#define TRUSTED (64 * 1024 * 1024) /* bytes for which room is made when a header announces them */
#define STREAM_BYTES 2048          /* that are read of a stream at once: ten pieces or more. libcurl
                                      keeps so much room for each while it is open */
#define UPLOAD_BYTES 65536         /* libcurl's own default; and so is the next */
#define IDLE_SECONDS 118           /* a connection may be kept unused, */
#define ONCE_SECONDS 1             /* and for what is sent but once: less than the five seconds
                                      after which many servers close theirs, in whole ones */
#define RCVBUF_BYTES (256 * 1024)  /* bounds what the kernel buffers for a paused one */

/* {== Callbacks: append, and nothing else ================================= */

/* Refuse the rest of the answer; libcurl ends the transfer. What is refused for
** its size is so again when the same server is asked the same. */
static size_t refuse (ub_transfer *t, int err, const char *message) {
  t->err = err;
  t->message = message;
  t->lasting = err == UB_EUPSTREAM;
  return 0;
}

static void note_bytes (ub_transfer *t) {
  int64_t now = ub_clock_us();
  if (t->first_us == 0)
    t->first_us = now;
  ub_engine_hear(t, now);
}

static int is_blank (const char *line, size_t length) {
  return length == 0 || line[0] == '\r' || line[0] == '\n';
}

static int is_space (char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

/* After these, and no others, libcurl reads on for the final answer's header. */
static int is_interim (long status) {
  return status >= 100 && status < 200 && status != 101;
}

/* A blank line: is this the final answer's header, or only a "100 Continue"? */
static size_t end_header (ub_transfer *t, size_t length) {
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  t->in_header = 0;
  if (is_interim(status))
    return length;
  if (status < 200 || status > 999)  /* libcurl would hand on its body */
    return refuse(t, UB_EUPSTREAM, "the answer's status makes no sense");
  t->status = (int)status;
  t->head_done = 1;
  ub_engine_list(t);
  return length;
}

/* A Content-Length line: is it a number, and the only one? Else nobody can say
** where the answer ends (RFC 9112 6.3), and libcurl would just take the last, or
** none when it is beyond its numbers: a cut would look like the end. */
static int is_sound_length (ub_transfer *t, const char *line, size_t length) {
  int64_t bytes = 0;
  size_t at = strlen(LENGTH_NAME);
  while (at < length && is_space(line[at])) at++;
  for (; at < length && line[at] >= '0' && line[at] <= '9'; at++)
    bytes = bytes < MOST_LENGTH ? bytes * 10 + (line[at] - '0') : MOST_LENGTH;
  while (at < length && (is_space(line[at]) || line[at] == '\n')) at++;
  if (at < length || bytes >= MOST_LENGTH || (t->length >= 0 && t->length != bytes))
    return 0;
  t->length = bytes;
  return 1;
}

static int is_length (const char *line, size_t length) {
  return length > strlen(LENGTH_NAME) &&
    strncasecmp(line, LENGTH_NAME, strlen(LENGTH_NAME)) == 0;
}

static size_t on_header (char *line, size_t one, size_t length, void *self) {
  ub_transfer *t = self;
  (void)one;
  if (t->head_lines == 0)  /* once is enough: its lines come together */
    note_bytes(t);
  if (++t->head_lines > HEAD_LINES)  /* with those of interim answers and trailers */
    return refuse(t, UB_EUPSTREAM, "the answer's header has too many lines");
  if (t->head_done)
    return length;  /* a trailer */
  if (!t->in_header) {  /* a status line opens a block of its own */
    t->in_header = 1;
    t->length = -1;
    ub_buf_take(&t->head, ub_buf_length(&t->head));
    return length;
  }
  if (is_blank(line, length))
    return end_header(t, length);
  if (is_length(line, length) && !is_sound_length(t, line, length))
    return refuse(t, UB_EUPSTREAM, "the answer's length is no number, or two");
  if (ub_buf_length(&t->head) + length > HEAD_BYTES)
    return refuse(t, UB_EUPSTREAM, "the answer's header is too long");
  if (ub_buf_append(&t->head, line, length) != UB_OK)
    return refuse(t, UB_ENOMEM, ub_err_text(UB_ENOMEM));
  return length;
}

/* Room for all of a body that is gathered, if its length is to be believed: it would be copied from
** one block to the next as it grows. Of one that is compressed there is more: then it grows. */
static void make_room (ub_transfer *t) {
  uint64_t length = t->length > 0 ? (uint64_t)t->length : 0, most = TRUSTED;
  if (t->most_bytes > 0 && t->most_bytes < most)
    most = t->most_bytes;
  if (length > most)
    length = most;
  if (length > ub_buf_length(&t->data))
    (void)ub_buf_reserve(&t->data, (size_t)length - ub_buf_length(&t->data));
}

static size_t on_body (char *bytes, size_t one, size_t length, void *self) {
  ub_transfer *t = self;
  (void)one;
  note_bytes(t);
  if (ub_buf_length(&t->data) >= t->window_bytes && !t->resuming && !t->gathers) {
    t->paused = 1;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (t->most_bytes > 0 && t->got_bytes + length > t->most_bytes)
    return refuse(t, UB_EUPSTREAM, "the answer is larger than allowed");
  if (t->gathers)
    make_room(t);
  if (ub_buf_append(&t->data, bytes, length) != UB_OK)
    return refuse(t, UB_ENOMEM, ub_err_text(UB_ENOMEM));
  t->got_bytes += length;
  if (!t->gathers)
    ub_engine_list(t);
  return length;
}

/* libcurl is about to send the request. A second time, when a kept connection was
** dead or the server refused the HTTP/2 stream: not where it may be sent but once, and
** on a new connection, for the other kept ones may be dead as well. A third time would
** be a retry layer. */
static int on_sending (void *self, char *to, char *from, int to_port, int from_port) {
  ub_transfer *t = self;
  (void)to; (void)from; (void)to_port;
  ub_engine_leave_line(t);
  t->port = from_port;
  t->sent_us = ub_clock_us();
  if (++t->sent > 1)
    t->marked = 1;  /* libcurl counts it in the handle, and after five it does it no more */
  curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);  /* from here on: see above */
  if (t->sent <= t->most_sent)
    return CURL_PREREQFUNC_OK;
  refuse(t, UB_ENETWORK, t->most_sent > 1 ? "the connection was lost twice before an answer"
                                          : "the connection was lost before an answer");
  return CURL_PREREQFUNC_ABORT;
}

/* libcurl begins to connect: it looks for the server's name first, or makes a socket at once. */
static int on_resolving (void *resolver, void *reserved, void *self) {
  ub_transfer *t = self;
  (void)resolver; (void)reserved;
  t->begun = 1;
  return 0;
}

static int on_socket (void *self, curl_socket_t fd, curlsocktype purpose) {
  ub_transfer *t = self;
  int bytes = RCVBUF_BYTES;
  t->begun = 1;
  if (purpose == CURLSOCKTYPE_IPCXN)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  return CURL_SOCKOPT_OK;
}

/* }======================================================================== */

/* {== Setting up ========================================================== */

/* Set an option; once one has failed the others are passed over. */
#define SET(option, value) \
  do { if (*err == CURLE_OK) *err = curl_easy_setopt(easy, option, value); } while (0)

/* What no request changes, or what 'set_special' says that it has changed. */
static void set_common (CURL *easy, CURLcode *err) {
  SET(CURLOPT_PROTOCOLS_STR, "http,https");
  SET(CURLOPT_FOLLOWLOCATION, 0L);  /* a redirect must not carry the key away */
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_ACCEPT_ENCODING, "");
  SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(CURLOPT_TCP_KEEPALIVE, 1L);
  SET(CURLOPT_HEADERFUNCTION, on_header);
  SET(CURLOPT_WRITEFUNCTION, on_body);
  SET(CURLOPT_PREREQFUNCTION, on_sending);
  SET(CURLOPT_SOCKOPTFUNCTION, on_socket);
  SET(CURLOPT_RESOLVER_START_FUNCTION, on_resolving);
  SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
#if LIBCURL_VERSION_NUM >= 0x075700
  SET(CURLOPT_QUICK_EXIT, 1L);  /* do not wait for the system's resolver when it ends */
#endif
}

/* An option that not every request sets: the handle must be cleaned afterwards. */
#define MARK(option, value) do { t->marked = 1; SET(option, value); } while (0)

static int is_https (const char *url) {
  return strncasecmp(url, "https:", 6) == 0;
}

static const char *variable (const char *name) {
  const char *value = getenv(name);
  return value != NULL && *value != '\0' ? value : NULL;
}

/* No file, with a directory given: libcurl's own must go. Since 8.17 it comes back with NULL; then
** one that holds no certificate fails each connection, which beats trusting anybody. */
static const char *no_file (void) {
  return curl_version_info(CURLVERSION_NOW)->version_num < 0x081100 ? NULL : "/dev/null";
}

/* The file or directory that was given is all that is trusted: the ones built into libcurl stand
** beside what is set, until the other is set too. Nothing is ever found below "/dev/null". */
static void set_trust (ub_transfer *t, const ub_request *r, CURLcode *err) {
  CURL *easy = t->easy;
  const char *file = r->ca_file, *path = r->ca_path;
  if (file == NULL && path == NULL) {  /* the library itself does not look there */
    file = variable("SSL_CERT_FILE");
    path = variable("SSL_CERT_DIR");
  }
  if (file != NULL || path != NULL) {
    MARK(CURLOPT_CAINFO, file != NULL ? file : no_file());
    MARK(CURLOPT_CAPATH, path != NULL ? path : "/dev/null");
  }
  if (r->insecure) {
    MARK(CURLOPT_SSL_VERIFYPEER, 0L);
    MARK(CURLOPT_SSL_VERIFYHOST, 0L);
  }
}

static void set_special (ub_transfer *t, const ub_request *r, CURLcode *err) {
  CURL *easy = t->easy;
  t->marked = strchr(r->url, '@') != NULL;  /* a name and a password, perhaps */
  if (is_https(r->url))
    set_trust(t, r, err);
  if (r->cert_file != NULL)
    MARK(CURLOPT_SSLCERT, r->cert_file);
  if (r->key_file != NULL)
    MARK(CURLOPT_SSLKEY, r->key_file);
  if (r->proxy != NULL)
    MARK(CURLOPT_PROXY, r->proxy);
  if (r->http1)
    MARK(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
}

/* What 'curl_easy_reset' leaves at 0 when it lacks memory, without a word: no byte
** would ever be read. The first is refused where a buffer of that size is there. */
static void set_defaults (CURL *easy) {
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)CURL_MAX_WRITE_SIZE);
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BYTES);
  curl_easy_setopt(easy, CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS, CURL_HET_DEFAULT);
}

static long connect_ms (const ub_request *r) {
  int64_t ms = r->connect_us / 1000 + (r->connect_us % 1000 > 0);
  return ms > 0 && ms < INT_MAX ? (long)ms : INT_MAX;  /* 0 would be libcurl's own 300 s */
}

/* What every request sets. HTTPGET and POST undo each other, and NOBODY. */
static void set_request (ub_transfer *t, const ub_request *r, const char *body, CURLcode *err) {
  CURL *easy = t->easy;
  SET(CURLOPT_URL, r->url);
  if (body != NULL) {
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_size);
    SET(CURLOPT_POSTFIELDS, body);
  } else {
    SET(CURLOPT_HTTPGET, 1L);
  }
  SET(CURLOPT_CUSTOMREQUEST, r->method);
  if (strcmp(r->method, "HEAD") == 0)
    SET(CURLOPT_NOBODY, 1L);
  SET(CURLOPT_HTTPHEADER, &t->lines[0]);
  SET(CURLOPT_CONNECTTIMEOUT_MS, t->connect_ms);
  SET(CURLOPT_PIPEWAIT, is_https(r->url) ? 1L : 0L);
  SET(CURLOPT_FRESH_CONNECT, 0L);
  SET(CURLOPT_MAXAGE_CONN, r->once ? (long)ONCE_SECONDS : (long)IDLE_SECONDS);
  SET(CURLOPT_PRIVATE, t);
  SET(CURLOPT_ERRORBUFFER, t->error);
  SET(CURLOPT_HEADERDATA, t);
  SET(CURLOPT_WRITEDATA, t);
  SET(CURLOPT_PREREQDATA, t);
  SET(CURLOPT_SOCKOPTDATA, t);
  SET(CURLOPT_RESOLVER_START_DATA, t);
}

/* Nothing of the transfer may be reached from the handle, nor its secrets. */
static void unset_request (CURL *easy, CURLcode *err) {
  SET(CURLOPT_URL, NULL);
  SET(CURLOPT_CURLU, NULL);
  SET(CURLOPT_POSTFIELDS, NULL);
  SET(CURLOPT_CUSTOMREQUEST, NULL);
  SET(CURLOPT_HTTPHEADER, NULL);
  SET(CURLOPT_PRIVATE, NULL);
  SET(CURLOPT_ERRORBUFFER, NULL);
  SET(CURLOPT_HEADERDATA, NULL);
  SET(CURLOPT_WRITEDATA, NULL);
  SET(CURLOPT_PREREQDATA, NULL);
  SET(CURLOPT_SOCKOPTDATA, NULL);
  SET(CURLOPT_RESOLVER_START_DATA, NULL);
}

static void set_reading (CURL *easy, int streams, CURLcode *err) {
  if (streams)
    SET(CURLOPT_BUFFERSIZE, (long)STREAM_BYTES);
}

#undef MARK
#undef SET

/* The handle when all went well, else NULL, and it is gone. */
static CURL *usable (CURL *easy, CURLcode err) {
  if (err == CURLE_OK)
    return easy;
  curl_easy_cleanup(easy);
  return NULL;
}

CURL *ub_transfer_easy (int streams) {
  CURLcode err = CURLE_OK;
  CURL *easy = curl_easy_init();
  if (easy == NULL)
    return NULL;
  set_common(easy, &err);
  set_reading(easy, streams, &err);
  return usable(easy, err);
}

/* One for streams is not reset: libcurl would forget how little room it has. */
static CURL *cleaned (CURL *easy, int marked, int streams) {
  CURLcode err = CURLE_OK;
  if (marked && streams)
    return usable(easy, CURLE_FAILED_INIT);
  if (marked) {
    curl_easy_reset(easy);
    set_defaults(easy);
    set_common(easy, &err);
  } else {
    unset_request(easy, &err);
  }
  return usable(easy, err);
}

static char *copy (char *to, const char *from, size_t length) {
  memcpy(to, from, length);
  to[length] = '\0';
  return to + length + 1;
}

/* "Expect:" keeps libcurl from asking with "100-continue" first. */
static const char no_expect[] = "Expect:";

/* A transfer and its copies in one block; 'text' gets the place for the body. */
static ub_transfer *allocate (const ub_request *r, char **text) {
  size_t count = 1, size = sizeof no_expect, i;
  ub_transfer *t;
  for (; r->headers[count - 1] != NULL; count++)
    size += strlen(r->headers[count - 1]) + 1;
  t = ub_alloc(sizeof *t + count * sizeof t->lines[0] + size + r->body_size + 1);
  if (t == NULL)
    return NULL;
  memset(t, 0, sizeof *t);
  *text = (char *)&t->lines[count];
  for (i = 0; i < count; i++) {
    const char *line = i == 0 ? no_expect : r->headers[i - 1];
    t->lines[i].data = *text;
    t->lines[i].next = i + 1 < count ? &t->lines[i + 1] : NULL;
    *text = copy(*text, line, strlen(line));
  }
  return t;
}

static int set_up (ub_transfer *t, const ub_request *r, char *text) {
  CURLcode code = CURLE_OK;
  if (r->body != NULL)
    copy(text, r->body, r->body_size);
  set_request(t, r, r->body != NULL ? text : NULL, &code);
  set_special(t, r, &code);
  if (code == CURLE_OUT_OF_MEMORY)
    return UB_ENOMEM;
  return code == CURLE_OK ? UB_OK : UB_EINVALID;
}

ub_transfer *ub_transfer_new (const ub_request *r, CURL *easy, int *err) {
  char *text;
  ub_transfer *t = allocate(r, &text);
  *err = UB_ENOMEM;
  if (t == NULL)
    return NULL;
  ub_buf_init(&t->head);
  ub_buf_init(&t->data);
  t->easy = easy;
  t->streams = r->streams;
  t->window_bytes = r->window_bytes;
  t->most_bytes = r->most_bytes;
  t->most_sent = r->once ? 1 : 2;
  t->started_us = ub_clock_us();
  t->connect_ms = connect_ms(r);
  *err = set_up(t, r, text);
  if (*err == UB_OK)
    return t;
  ub_free(t);
  return NULL;
}

int ub_transfer_alone (ub_transfer *t, long ms) {
  return curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, 0L) == CURLE_OK &&
    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, ms) == CURLE_OK;
}

CURL *ub_transfer_free (ub_transfer *t) {
  CURL *easy = cleaned(t->easy, t->marked, t->streams);
  ub_buf_fini(&t->head);
  ub_buf_fini(&t->data);
  ub_free(t);
  return easy;
}

/* }======================================================================== */

/* {== The end ============================================================= */

static const char *phase_of (const ub_transfer *t) {
  curl_off_t sent_us = 0;
  if (t->head_done)
    return "body";
  curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
  return sent_us > 0 ? "headers" : "connect";
}

static int is_tls (CURLcode result) {
  switch (result) {
    case CURLE_SSL_CONNECT_ERROR: case CURLE_SSL_CERTPROBLEM: case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION: case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR: case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED: case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CRL_BADFILE: case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS: case CURLE_SSL_CLIENTCERT:
      return 1;
    default:
      return 0;
  }
}

static int err_of (const ub_transfer *t, CURLcode result) {
  int connected = strcmp(t->phase, "connect") != 0;
  if (result == CURLE_OK || t->err != UB_OK)
    return t->err;
  if (connected && result == CURLE_SSL_CONNECT_ERROR)
    return UB_ENETWORK;  /* behind the handshake: the connection broke */
  if (is_tls(result))
    return UB_ETLS;
  switch (result) {
    case CURLE_OPERATION_TIMEDOUT: return UB_ETIMEOUT;
    case CURLE_OUT_OF_MEMORY: return UB_ENOMEM;
    case CURLE_BAD_CONTENT_ENCODING: case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_WRITE_ERROR: return UB_EUPSTREAM;
    case CURLE_UNSUPPORTED_PROTOCOL: return connected ? UB_EUPSTREAM : UB_EINVALID;
    case CURLE_URL_MALFORMAT: return UB_EINVALID;
    default: return t->head_done ? UB_ECUT : UB_ENETWORK;
  }
}

/* What libcurl has no good word for: a header cut short is no error to it, and
** one line beyond its bounds is "out of memory". */
static void note_header_fault (ub_transfer *t, CURLcode result) {
  if (t->err != UB_OK || strcmp(t->phase, "headers") != 0)
    return;
  if (result == CURLE_OK)
    refuse(t, UB_ENETWORK, "the connection ended within the answer's header");
  else if (result == CURLE_OUT_OF_MEMORY)
    refuse(t, UB_EUPSTREAM, "the answer's header is too long");
}

/*
** libcurl's words, but where it repeats a proxy's URL: that may hold a password. Where it has asked
** a second time, and the time ran out then, its words are still of the first connection.
*/
static const char *words_of (const ub_transfer *t, CURLcode result) {
  if (strncmp(t->error, "Unsupported proxy", 17) == 0)
    return "the proxy's URL cannot be used";
  if (result == CURLE_OPERATION_TIMEDOUT && strcmp(t->phase, "connect") != 0)
    return curl_easy_strerror(result);
  return t->error[0] != '\0' ? t->error : curl_easy_strerror(result);
}

void ub_transfer_end (ub_transfer *t, CURLcode result) {
  ub_engine_leave_line(t);
  if (result != CURLE_OK)
    t->marked = 1;  /* perhaps it was to be sent again, and found no connection */
  t->ended = 1;
  t->ended_us = ub_clock_us();
  t->phase = phase_of(t);
  note_header_fault(t, result);
  t->err = err_of(t, result);
  if (t->message == NULL)
    t->message = words_of(t, result);
  ub_engine_list(t);
}

/* }======================================================================== */
