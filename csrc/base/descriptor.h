/*
** descriptor.h: descriptors that are none of the standard three.
**
** A process that was started without its standard streams ('>&-') gets 0, 1
** and 2 for whatever it opens first, and prints there: into a region's file,
** or to a Redis server, for which each line is a command.
*/
#ifndef UB_DESCRIPTOR_H
#define UB_DESCRIPTOR_H

/*
** Gives what 'fd' leads to under a number above 2, closed on exec; 'fd' itself
** where it is one, or none. Negative, with errno, when it cannot: then it is
** closed.
*/
int ub_above_standard (int fd);

#endif
