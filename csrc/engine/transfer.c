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
#define RCVBUF_BYTES (256 * 1024)  /* bounds what the kernel buffers for a paused one */

/* {== Callbacks: append, and nothing else ================================= */

/* Refuse the rest of the answer; libcurl ends the transfer. */
static size_t refuse (ub_transfer *t, int err, const char *message) {
  t->err = err;
  t->message = message;
  return 0;
}

static void note_first_byte (ub_transfer *t) {
  if (t->first_us == 0)
    t->first_us = ub_clock_us();
}

static int is_blank (const char *line, size_t length) {
  return length == 0 || line[0] == '\r' || line[0] == '\n';
}

/* A blank line: is this the final answer's header, or only a "100 Continue"? */
static size_t end_header (ub_transfer *t, size_t length) {
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  t->in_header = 0;
  if (status >= 200) {
    t->status = (int)status;
    t->head_done = 1;
    ub_engine_list(t);
  }
  return length;
}

static size_t on_header (char *line, size_t one, size_t length, void *self) {
  ub_transfer *t = self;
  (void)one;
  note_first_byte(t);
  if (t->head_done)
    return length;  /* a trailer */
  if (!t->in_header) {  /* a status line opens a block of its own */
    t->in_header = 1;
    ub_buf_take(&t->head, ub_buf_length(&t->head));
    return length;
  }
  if (is_blank(line, length))
    return end_header(t, length);
  if (++t->head_lines > HEAD_LINES)
    return refuse(t, UB_EUPSTREAM, "the answer's header has too many lines");
  if (ub_buf_length(&t->head) + length > HEAD_BYTES)
    return refuse(t, UB_EUPSTREAM, "the answer's header is too long");
  if (ub_buf_append(&t->head, line, length) != UB_OK)
    return refuse(t, UB_ENOMEM, NULL);
  return length;
}

static size_t on_body (char *bytes, size_t one, size_t length, void *self) {
  ub_transfer *t = self;
  (void)one;
  note_first_byte(t);
  if (ub_buf_length(&t->data) >= t->window_bytes && !t->resuming) {
    t->paused = 1;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (t->most_bytes > 0 && t->got_bytes + length > t->most_bytes)
    return refuse(t, UB_EUPSTREAM, "the answer is larger than allowed");
  if (ub_buf_append(&t->data, bytes, length) != UB_OK)
    return refuse(t, UB_ENOMEM, NULL);
  t->got_bytes += length;
  ub_engine_list(t);
  return length;
}

static size_t on_send (char *to, size_t one, size_t room, void *self) {
  ub_transfer *t = self;
  size_t left = t->body_size - t->body_sent;
  size_t length = left < room * one ? left : room * one;
  memcpy(to, t->body + t->body_sent, length);
  t->body_sent += length;
  return length;
}

/* libcurl wants to send the body again: a kept connection was dead, or the
** server refused the HTTP/2 stream. Once, or it would be a second retry layer. */
static int on_resend (void *self, curl_off_t offset, int origin) {
  ub_transfer *t = self;
  if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->body_size || t->resent++ > 0)
    return CURL_SEEKFUNC_FAIL;
  t->body_sent = (size_t)offset;
  return CURL_SEEKFUNC_OK;
}

static int on_socket (void *self, curl_socket_t fd, curlsocktype purpose) {
  int bytes = RCVBUF_BYTES;
  (void)self;
  if (purpose == CURLSOCKTYPE_IPCXN)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  return CURL_SOCKOPT_OK;
}

/* }======================================================================== */

/* {== Setting up ========================================================== */

/* Set an option; once one has failed the others are passed over. */
#define SET(option, value) \
  do { if (*err == CURLE_OK) *err = curl_easy_setopt(t->easy, option, value); } while (0)

static void set_tls (ub_transfer *t, const ub_request *r, CURLcode *err) {
  const char *file = r->ca_file, *path = r->ca_path;
  if (file == NULL && path == NULL) {  /* the library itself does not look there */
    file = getenv("SSL_CERT_FILE");
    path = getenv("SSL_CERT_DIR");
  }
  if (file != NULL && *file != '\0')
    SET(CURLOPT_CAINFO, file);
  if (path != NULL && *path != '\0')
    SET(CURLOPT_CAPATH, path);
  if (r->cert_file != NULL)
    SET(CURLOPT_SSLCERT, r->cert_file);
  if (r->key_file != NULL)
    SET(CURLOPT_SSLKEY, r->key_file);
  SET(CURLOPT_SSL_VERIFYPEER, r->insecure ? 0L : 1L);
  SET(CURLOPT_SSL_VERIFYHOST, r->insecure ? 0L : 2L);
  SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  SET(CURLOPT_HTTP_VERSION, (long)(r->http1 ? CURL_HTTP_VERSION_1_1
                                            : CURL_HTTP_VERSION_2TLS));
  SET(CURLOPT_PIPEWAIT, strncasecmp(r->url, "https:", 6) == 0 ? 1L : 0L);
}

static void set_callbacks (ub_transfer *t, CURLcode *err) {
  SET(CURLOPT_PRIVATE, t);
  SET(CURLOPT_ERRORBUFFER, t->error);
  SET(CURLOPT_HEADERFUNCTION, on_header);
  SET(CURLOPT_HEADERDATA, t);
  SET(CURLOPT_WRITEFUNCTION, on_body);
  SET(CURLOPT_WRITEDATA, t);
  SET(CURLOPT_SOCKOPTFUNCTION, on_socket);
}

static long connect_ms (const ub_request *r) {
  int64_t ms = r->connect_us / 1000 + (r->connect_us % 1000 > 0);
  return ms > 0 && ms < INT_MAX ? (long)ms : INT_MAX;  /* 0 would be libcurl's own 300 s */
}

static void set_request (ub_transfer *t, const ub_request *r, CURLcode *err) {
  SET(CURLOPT_URL, r->url);
  SET(CURLOPT_PROTOCOLS_STR, "http,https");
  SET(CURLOPT_FOLLOWLOCATION, 0L);  /* a redirect must not carry the key away */
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_ACCEPT_ENCODING, "");
  SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(CURLOPT_TCP_KEEPALIVE, 1L);
  if (t->body != NULL) {
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_size);
    SET(CURLOPT_READFUNCTION, on_send);
    SET(CURLOPT_READDATA, t);
    SET(CURLOPT_SEEKFUNCTION, on_resend);
    SET(CURLOPT_SEEKDATA, t);
  }
  SET(CURLOPT_CUSTOMREQUEST, r->method);
  if (strcmp(r->method, "HEAD") == 0)
    SET(CURLOPT_NOBODY, 1L);
  SET(CURLOPT_HTTPHEADER, t->lines);
  SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms(r));
#if LIBCURL_VERSION_NUM >= 0x075700
  SET(CURLOPT_QUICK_EXIT, 1L);  /* do not wait for the system's resolver when it ends */
#endif
  if (r->proxy != NULL)
    SET(CURLOPT_PROXY, r->proxy);
}

#undef SET

/* The request's header lines, and no "Expect: 100-continue" of libcurl's. */
static int copy_lines (ub_transfer *t, const char *const *headers) {
  struct curl_slist *longer = curl_slist_append(NULL, "Expect:");
  for (t->lines = longer; longer != NULL && *headers != NULL; headers++) {
    longer = curl_slist_append(t->lines, *headers);
    if (longer != NULL)
      t->lines = longer;
  }
  return longer != NULL ? UB_OK : UB_ENOMEM;
}

static int copy_body (ub_transfer *t, const ub_request *r) {
  if (r->body == NULL)
    return UB_OK;
  t->body = ub_alloc(r->body_size + 1);
  if (t->body == NULL)
    return UB_ENOMEM;
  memcpy(t->body, r->body, r->body_size);
  t->body_size = r->body_size;
  return UB_OK;
}

static int set_up (ub_transfer *t, const ub_request *r) {
  CURLcode code = CURLE_OK;
  int err = copy_lines(t, r->headers);
  if (err == UB_OK)
    err = copy_body(t, r);
  if (err != UB_OK)
    return err;
  set_request(t, r, &code);
  set_callbacks(t, &code);
  set_tls(t, r, &code);
  if (code == CURLE_OUT_OF_MEMORY)
    return UB_ENOMEM;
  return code == CURLE_OK ? UB_OK : UB_EINVALID;
}

ub_transfer *ub_transfer_new (const ub_request *r, CURL *easy, int *err) {
  ub_transfer *t = ub_alloc(sizeof *t);
  *err = UB_ENOMEM;
  if (t == NULL)
    return NULL;
  memset(t, 0, sizeof *t);
  ub_buf_init(&t->head);
  ub_buf_init(&t->data);
  t->easy = easy;
  t->window_bytes = r->window_bytes;
  t->most_bytes = r->most_bytes;
  t->started_us = ub_clock_us();
  *err = set_up(t, r);
  if (*err == UB_OK)
    return t;
  ub_transfer_free(t);
  return NULL;
}

void ub_transfer_free (ub_transfer *t) {
  if (t == NULL)
    return;
  curl_slist_free_all(t->lines);
  ub_free(t->body);
  ub_buf_fini(&t->head);
  ub_buf_fini(&t->data);
  ub_free(t);
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
  int answered = strcmp(t->phase, "connect") != 0;
  if (result == CURLE_OK || t->err != UB_OK)
    return t->err;
  if (is_tls(result))
    return UB_ETLS;
  switch (result) {
    case CURLE_OPERATION_TIMEDOUT: return UB_ETIMEOUT;
    case CURLE_OUT_OF_MEMORY: return UB_ENOMEM;
    case CURLE_BAD_CONTENT_ENCODING: case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_WRITE_ERROR: return UB_EUPSTREAM;
    case CURLE_UNSUPPORTED_PROTOCOL: return answered ? UB_EUPSTREAM : UB_EINVALID;
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

void ub_transfer_end (ub_transfer *t, CURLcode result) {
  t->ended = 1;
  t->ended_us = ub_clock_us();
  t->phase = phase_of(t);
  note_header_fault(t, result);
  t->err = err_of(t, result);
  if (t->message == NULL)
    t->message = t->error[0] != '\0' ? t->error : curl_easy_strerror(result);
  ub_engine_list(t);
}

/* }======================================================================== */

/* {== Header lines ======================================================== */

static const char *end_of_line (const char *at, const char *end) {
  const char *newline = memchr(at, '\n', (size_t)(end - at));
  return newline != NULL ? newline : end;
}

static int is_space (char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

int ub_header_next (const char *block, size_t length, size_t *at, ub_header *h) {
  const char *end = block + length;
  while (*at < length) {
    const char *line = block + *at, *stop = end_of_line(line, end), *colon;
    *at = (size_t)(stop - block) + 1;
    colon = memchr(line, ':', (size_t)(stop - line));
    if (colon == NULL || colon == line || is_space(*line))
      continue;
    for (h->value = colon + 1; h->value < stop && is_space(*h->value);)
      h->value++;
    for (; stop > h->value && is_space(stop[-1]);)
      stop--;
    h->name = line;
    h->name_length = (size_t)(colon - line);
    h->value_length = (size_t)(stop - h->value);
    return 1;
  }
  return 0;
}

/* }======================================================================== */
