/*
** process.h: which process is this? Asked at every call, so without a system call.
*/
#ifndef UB_PROCESS_H
#define UB_PROCESS_H

#include <stdint.h>

/*
** A number that stays the same in this process, and that no process has which
** this one was forked from, or which is forked from it. Never 0.
*/
int64_t ub_process_mark (void);

#endif
