/*
** ends.h: hears that a request of nginx has ended, however it did.
**
** A client that goes away ends its request where it stands: its coroutines are never
** resumed, and no line of Lua runs. But nginx runs the request's cleanup handlers. The
** one that is put there notes the request's address, and does nothing else.
**
** And it looks whether a request's client has gone. nginx is told of that once, and then
** takes what has come before it for a sign of life; so it misses who goes before its
** request is read, and who has said something since: the next request, or TLS' good-bye.
**
** Another request may get the same address as soon as the first has ended: read the
** list ('next', until NULL) before an address is looked up.
*/
#ifndef UB_ENDS_H
#define UB_ENDS_H

typedef struct ub_ends ub_ends;

/* NULL and '*err': UB_ENOMEM, or UB_EINVALID where this process is no nginx. */
ub_ends *ub_ends_open (int *err);

/* Note it when 'request' (an ngx_http_request_t that lives) ends. UB_OK, UB_ENOMEM. */
int ub_ends_watch (ub_ends *e, void *request);

/* A request that has ended since, each once; NULL: none. */
void *ub_ends_next (ub_ends *e);

/* Has the client of 'request' (which lives) said, or has the network, that no more will
** come from it? 0 also where that cannot be found out. */
int ub_ends_left (void *request);

/* Requests may end later than this is closed. NULL is allowed. */
void ub_ends_close (ub_ends *e);

#endif
