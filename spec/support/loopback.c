/*
** loopback.c: a server in the process of its client.
*/
#include "loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int loopback_open (loopback *l) {
  struct sockaddr_in address = {0};
  socklen_t size = sizeof address;
  memset(l, 0, sizeof *l);
  l->fd = -1;
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  l->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (l->listener < 0 || bind(l->listener, (struct sockaddr *)&address, size) != 0 ||
      listen(l->listener, 16) != 0 ||
      getsockname(l->listener, (struct sockaddr *)&address, &size) != 0)
    return -1;
  l->port = ntohs(address.sin_port);
  return 0;
}

void loopback_drop (loopback *l) {
  if (l->fd >= 0)
    close(l->fd);
  l->fd = -1;
  l->got = l->sent = l->pieces = 0;
}

/* Connections that nobody has taken are closed, too. */
static void drop_waiting (loopback *l) {
  int fd;
  while ((fd = accept(l->listener, NULL, NULL)) >= 0)
    close(fd);
}

void loopback_close (loopback *l) {
  loopback_drop(l);
  drop_waiting(l);
  close(l->listener);
}

void loopback_answer (loopback *l, const uint8_t *answer, size_t length, loopback_end end) {
  loopback_drop(l);
  drop_waiting(l);
  l->answer = answer;
  l->length = length;
  l->end = end;
  l->answered = 0;
}

void loopback_cut (loopback *l, const uint8_t *cuts, size_t count) {
  l->cuts = cuts;
  l->cut_count = count;
}

/* A new connection takes the place of the one before. */
static void take_connection (loopback *l) {
  int fd = accept4(l->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0)
    return;
  loopback_drop(l);
  l->fd = fd;
}

static int ends_with (const loopback *l, const char *tail) {
  size_t length = strlen(tail);
  return l->got >= length && memcmp(l->request + l->got - length, tail, length) == 0;
}

/* Read what has come; the connection is dropped when the client has left it. */
static void read_request (loopback *l) {
  ssize_t n;
  if (l->got == sizeof l->request)
    l->got = 0;
  n = recv(l->fd, l->request + l->got, sizeof l->request - l->got, 0);
  if (n == 0)
    loopback_drop(l);
  else if (n > 0)
    l->got += (size_t)n;
}

static void finish (loopback *l) {
  struct linger at_once = {1, 0};
  l->answered++;
  l->got = l->sent = 0;
  if (l->end == LOOPBACK_CLOSE) {
    shutdown(l->fd, SHUT_WR);
  } else if (l->end == LOOPBACK_RESET) {
    setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    loopback_drop(l);
  }
}

static void send_piece (loopback *l) {
  size_t size = l->length - l->sent;
  ssize_t n;
  if (l->cut_count > 0 && l->cuts[l->pieces % l->cut_count] < size)
    size = l->cuts[l->pieces % l->cut_count];
  l->pieces++;
  n = size > 0 ? send(l->fd, l->answer + l->sent, size, MSG_NOSIGNAL) : 0;
  if (n > 0)
    l->sent += (size_t)n;
  if (l->sent == l->length)
    finish(l);
}

void loopback_step (loopback *l, const char *tail) {
  take_connection(l);
  if (l->fd < 0)
    return;
  if (!ends_with(l, tail))
    read_request(l);
  else
    send_piece(l);
}
