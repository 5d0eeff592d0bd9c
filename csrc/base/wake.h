/*
** wake.h: datagrams by which processes of a region wake each other.
**
** The sockets lie in the abstract namespace (unix(7)), so nothing is left when a
** process dies. Their names are a region's number and one by chance. What a
** datagram says does not matter: who gets one looks whether there is news.
*/
#ifndef UB_WAKE_H
#define UB_WAKE_H

#include <stdint.h>

/* A new socket, which does not block, and its address; or -1. */
int ub_wake_open (uint64_t region, uint64_t *address);

/*
** Send one from socket 'from' (-1: any). Gives 1, also when so many wait there
** already that one more finds no room; 0 when nobody is there any more; -1 when
** it could not be sent.
*/
int ub_wake_send (int from, uint64_t region, uint64_t address);

/* Read what has come. Gives 1 when there was something. */
int ub_wake_drain (int fd);

#endif
