/*
** process.h: which process is this, and does another one live?
*/
#ifndef UB_PROCESS_H
#define UB_PROCESS_H

#include <stdint.h>

/*
** A number that stays the same in this process, and that no process has which
** this one was forked from, or which is forked from it. Never 0. Asked at
** every call, so it makes no system call.
*/
int64_t ub_process_mark (void);

/*
** A process as others know it. Its start time tells it from a later one that
** was given the same number.
*/
typedef struct ub_process {
  uint64_t start;  /* clock ticks since boot; 0: not known */
  uint32_t pid;
} ub_process;

ub_process ub_process_self (void);

/*
** 0 when it has ended, as a zombie too; 1 when it lives, or nobody can tell.
** Only processes of our own pid namespace can be asked about.
*/
int ub_process_lives (const ub_process *p);

/*
** What two processes must have in common to know each other by their numbers:
** the boot and the pid namespace. Zeros where the system does not say.
*/
typedef struct ub_process_world {
  unsigned char boot[16];
  uint64_t pids;  /* inode of the pid namespace */
} ub_process_world;

void ub_process_world_read (ub_process_world *w);

#endif
