/*
** process.c: which process is this, and does another one live?
**
** The mark lies in a page that the kernel wipes in a forked child (madvise(2),
** MADV_WIPEONFORK), however it was forked. The child counts on from the last mark
** it has inherited. Where the kernel cannot do that, the mark is the process id.
*/
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

/* Read a small file into 'text' as a string: its length, or -1. */
static int read_text (const char *path, char *text, int size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int length;
  if (fd < 0)
    return -1;
  length = (int)read(fd, text, (size_t)size - 1);
  close(fd);
  if (length >= 0)
    text[length] = '\0';
  return length;
}

/*
** The state letter and the start time from /proc/PID/stat (proc(5)), where the
** name in brackets may hold anything, brackets too. Gives 0 when it cannot be read.
*/
static int look_up (uint32_t pid, char *state, uint64_t *start) {
  char path[32], text[1024], *at;
  int field;
  snprintf(path, sizeof path, "/proc/%u/stat", (unsigned)pid);
  if (read_text(path, text, sizeof text) <= 0 || (at = strrchr(text, ')')) == NULL)
    return 0;
  if (at[1] != ' ')
    return 0;
  *state = at[2];
  for (field = 2, at++; field < 22; field++) {  /* starttime is field 22 */
    at = strchr(at, ' ');
    if (at++ == NULL)
      return 0;
  }
  *start = strtoull(at, NULL, 10);
  return 1;
}

ub_process ub_process_self (void) {
  ub_process p = {.pid = (uint32_t)getpid()};
  char state;
  if (!look_up(p.pid, &state, &p.start))
    p.start = 0;
  return p;
}

int ub_process_lives (const ub_process *p) {
  uint64_t start;
  char state;
  if (kill((pid_t)p->pid, 0) != 0 && errno == ESRCH)
    return 0;
  if (!look_up(p->pid, &state, &start))
    return 1;
  if (state == 'Z' || state == 'X')
    return 0;
  return p->start == 0 || p->start == start;
}

/* 32 hexadecimal digits, with dashes between. */
static void parse_boot (const char *text, unsigned char boot[16]) {
  int n = 0;
  for (; *text != '\0' && n < 32; text++) {
    const char *digits = "0123456789abcdef", *digit = strchr(digits, *text);
    if (digit == NULL)
      continue;
    boot[n / 2] = (unsigned char)(boot[n / 2] << 4 | (digit - digits));
    n++;
  }
}

void ub_process_world_read (ub_process_world *w) {
  char text[64];
  struct stat st;
  *w = (ub_process_world){0};
  if (read_text("/proc/sys/kernel/random/boot_id", text, sizeof text) > 0)
    parse_boot(text, w->boot);
  if (stat("/proc/self/ns/pid", &st) == 0)
    w->pids = (uint64_t)st.st_ino;
}
