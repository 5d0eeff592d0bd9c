/*
** descriptor.c: descriptors that are none of the standard three.
*/
#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int ub_above_standard (int fd) {
  int other, system;
  if (fd < 0 || fd > STDERR_FILENO)
    return fd;
  other = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  system = errno;
  close(fd);
  errno = system;
  return other;
}
