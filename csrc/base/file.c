/*
** file.c: tells one version of a file from the next.
*/
#include "base/file.h"

#include <errno.h>
#include <sys/stat.h>

#define SECOND_NS 1000000000

static int64_t to_ns (struct timespec t) {
  return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

int ub_file_look (const char *path, ub_file *file) {
  struct stat st;
  if (stat(path, &st) != 0)
    return errno;
  if (!S_ISREG(st.st_mode))
    return S_ISDIR(st.st_mode) ? EISDIR : EOPNOTSUPP;
  file->written_ns = to_ns(st.st_mtim);
  file->changed_ns = to_ns(st.st_ctim);
  file->size = (uint64_t)st.st_size;
  file->inode = (uint64_t)st.st_ino;
  file->device = (uint64_t)st.st_dev;
  return 0;
}
