/*
** resolve.h: the addresses of a host's name, without waiting for them.
**
** The system's resolver waits for its servers. So each name is looked up by a
** thread of its own, which does nothing else, and tells by a descriptor.
*/
#ifndef UB_RESOLVE_H
#define UB_RESOLVE_H

#define UB_ADDRESS_BYTES 64  /* of an address as a text */
#define UB_ADDRESSES     8   /* of a name, at most: those that the system would try first */

typedef struct ub_resolve ub_resolve;

typedef struct ub_addresses {
  int count;
  char text[UB_ADDRESSES][UB_ADDRESS_BYTES];
} ub_addresses;

/* Is it an address already, so that nobody needs to be asked? */
int ub_resolve_is_address (const char *host);

/* Begin. NULL and '*err': UB_ENOMEM (no thread either), UB_ENETWORK (no descriptor). */
ub_resolve *ub_resolve_begin (const char *host, int *err);

/* Becomes readable when it has ended. */
int ub_resolve_fd (const ub_resolve *r);

/* It has ended: the addresses; none, when there is no such name. */
const ub_addresses *ub_resolve_look (const ub_resolve *r);

/*
** It is not wanted any more, ended or not. 'orphan': we are a child that was
** forked meanwhile, in which there is no such thread. NULL is allowed.
*/
void ub_resolve_drop (ub_resolve *r, int orphan);

#endif
