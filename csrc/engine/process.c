/*
** process.c: which process is this?
**
** The mark lies in a page that the kernel wipes in a forked child (madvise(2),
** MADV_WIPEONFORK), however it was forked. The child counts on from the last mark
** it has inherited. Where the kernel cannot do that, the mark is the process id.
*/
#include "engine/process.h"

#include <sys/mman.h>
#include <unistd.h>

static volatile int64_t *wiped;  /* in the page: this process's mark; 0: just forked */
static int64_t last_mark;
static int tried;

static void map_page (void) {
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tried = 1;
  if (page == MAP_FAILED)
    return;
  if (madvise(page, size, MADV_WIPEONFORK) == 0)
    wiped = page;
  else
    munmap(page, size);
}

int64_t ub_process_mark (void) {
  if (!tried)
    map_page();
  if (wiped == NULL)
    return getpid();
  if (*wiped == 0)
    *wiped = ++last_mark;
  return *wiped;
}
