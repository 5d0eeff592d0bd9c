/*
** urls.h: URLs that were taken apart before.
**
** Nearly all requests go to a few URLs, and libcurl takes a URL apart and puts it
** together again for each: a ninth of its work. So the last ones are kept as it
** takes them too, taken apart. Those in use stay; the others make room, the one
** that was used longest ago first.
*/
#ifndef UB_URLS_H
#define UB_URLS_H

#include <curl/curl.h>
#include <stdint.h>

#define UB_URLS 16
#define UB_URL_BYTES 256  /* longer ones are not kept */

typedef struct ub_url {
  char text[UB_URL_BYTES];
  CURLU *parts;   /* NULL: a free place */
  uint64_t used;  /* when it was taken last */
  uint32_t users;
  int doubted;    /* local port of a connection that keeps silent; 0: none. See transfers.c */
  int64_t doubted_us;
} ub_url;

typedef struct ub_urls {
  ub_url url[UB_URLS];
  uint64_t clock;
} ub_urls;

/* Zeros are an empty one. */
void ub_urls_fini (ub_urls *urls);

/*
** The URL, to be given back; or NULL, and then libcurl takes the text: without
** memory or room, for what is no URL, a long one, and one with a name and a password.
*/
ub_url *ub_urls_take (ub_urls *urls, const char *text);

/* It is in use no longer; NULL is allowed. */
void ub_url_give (ub_url *url);

#endif
