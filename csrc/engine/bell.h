/*
** bell.h: tells an event loop that takes no descriptors that a step is due.
**
**   descriptor ──readable──► thread ──a byte──► unix socket, read by the host
**                              ▲                          │
**                              └── arm ◄── step ◄── heard ┘
**
** The thread does nothing else: it touches no engine, no memory of others and no
** Lua. It rings once, and again only after 'heard' and 'arm': so the socket never
** fills. The order that misses nothing: read the byte, 'heard', step, 'arm'. It also
** rings when nothing was to be told for half a second, so that the host can look around.
**
** The socket lies in a folder that only this user may enter, and is removed at once, so
** that a process that dies leaves none; the host reaches it by way of /proc (without
** that, the path stays until it has connected). Nobody else may connect. A bell belongs
** to the process that opened it; in a forked child closing it only gives the descriptors
** back.
*/
#ifndef UB_BELL_H
#define UB_BELL_H

typedef struct ub_bell ub_bell;

/* A bell for a descriptor that stays open longer. NULL and '*err': UB_ENOMEM, UB_ENETWORK. */
ub_bell *ub_bell_open (int fd, int *err);

/* Where the host connects, once; "" when it has. */
const char *ub_bell_path (const ub_bell *b);

/*
** The host has connected: begin. UB_OK; UB_ENETWORK where nobody has, or another
** process; UB_ENOMEM where there is no thread to be had.
*/
int ub_bell_begin (ub_bell *b);

/* Ring as soon as the descriptor is readable. */
void ub_bell_arm (ub_bell *b);

/* Ring now, if the last one has been heard. */
void ub_bell_ring (ub_bell *b);

/* The byte was read: the next one may come. */
void ub_bell_heard (ub_bell *b);

/* End the thread and free all. NULL is allowed. */
void ub_bell_close (ub_bell *b);

#endif
