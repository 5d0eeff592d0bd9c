/*
** wake.c: datagrams by which processes of a region wake each other.
*/
#include "base/wake.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/rand.h"

#define MOST_READ  1000  /* at once: a stranger who floods us does not hold us */

static int new_socket (void) {
  return socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* The abstract name "unbusy/<region>/<address>"; gives its length. */
static socklen_t name_it (struct sockaddr_un *to, uint64_t region, uint64_t address) {
  int length;
  *to = (struct sockaddr_un){.sun_family = AF_UNIX};
  length = snprintf(to->sun_path + 1, sizeof to->sun_path - 1, "unbusy/%016llx/%016llx",
                    (unsigned long long)region, (unsigned long long)address);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

int ub_wake_open (uint64_t region, uint64_t *address) {
  struct sockaddr_un own;
  int fd = new_socket();
  if (fd < 0)
    return -1;
  *address = ub_rand_seed() | 1;  /* never 0 */
  if (bind(fd, (struct sockaddr *)&own, name_it(&own, region, *address)) == 0)
    return fd;
  close(fd);
  return -1;
}

int ub_wake_send (int from, uint64_t region, uint64_t address) {
  struct sockaddr_un to;
  socklen_t length = name_it(&to, region, address);
  int fd = from >= 0 ? from : new_socket();
  int heard = 1;
  if (fd < 0)
    return -1;
  if (sendto(fd, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, length) < 0
      && errno != EAGAIN)
    heard = errno == ECONNREFUSED ? 0 : -1;
  if (from < 0)
    close(fd);
  return heard;
}

int ub_wake_drain (int fd) {
  char byte;
  int n;
  for (n = 0; n < MOST_READ; n++) {
    if (recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno != EINTR)
      break;
  }
  return n > 0;
}
