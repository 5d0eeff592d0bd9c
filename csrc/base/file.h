/*
** file.h: tells one version of a file from the next.
*/
#ifndef UB_FILE_H
#define UB_FILE_H

#include <stdint.h>

typedef struct ub_file {
  int64_t written_ns;  /* since 1970: the last change of the bytes */
  int64_t changed_ns;  /* of anything, the name and the rights too */
  uint64_t size, inode, device;
} ub_file;

/*
** Looks at the regular file that 'path' leads to. Gives 0, or what errno
** says: EISDIR for a directory, EOPNOTSUPP for what else is no file (a pipe,
** which would be waited for; a device, which never ends).
*/
int ub_file_look (const char *path, ub_file *file);

#endif
