/*
** urls.c: a few of them, looked through one by one.
*/
#include "engine/urls.h"

#include <string.h>

static void drop (ub_url *url) {
  curl_url_cleanup(url->parts);
  memset(url, 0, sizeof *url);
}

void ub_urls_fini (ub_urls *urls) {
  int i;
  for (i = 0; i < UB_URLS; i++)
    drop(&urls->url[i]);
}

static ub_url *known (ub_urls *urls, const char *text) {
  int i;
  for (i = 0; i < UB_URLS; i++)
    if (urls->url[i].parts != NULL && strcmp(urls->url[i].text, text) == 0)
      return &urls->url[i];
  return NULL;
}

/* The place that is free, or that was used longest ago; NULL when all are in use. */
static ub_url *place_for (ub_urls *urls) {
  ub_url *oldest = NULL;
  int i;
  for (i = 0; i < UB_URLS; i++) {
    ub_url *url = &urls->url[i];
    if (url->users == 0 && (oldest == NULL || url->used < oldest->used))
      oldest = url;
  }
  return oldest;
}

/* Take it apart as libcurl itself would. */
static int fill (ub_url *url, const char *text, size_t length) {
  url->parts = curl_url();
  if (url->parts == NULL)
    return 0;
  memcpy(url->text, text, length + 1);
  return curl_url_set(url->parts, CURLUPART_URL, text,
                      CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
}

static ub_url *add (ub_urls *urls, const char *text) {
  size_t length = strlen(text);
  ub_url *url = place_for(urls);
  if (url == NULL || length >= UB_URL_BYTES || strchr(text, '@') != NULL)
    return NULL;
  drop(url);
  if (fill(url, text, length))
    return url;
  drop(url);
  return NULL;
}

ub_url *ub_urls_take (ub_urls *urls, const char *text) {
  ub_url *url = known(urls, text);
  if (url == NULL)
    url = add(urls, text);
  if (url == NULL)
    return NULL;
  url->users++;
  url->used = ++urls->clock;
  return url;
}

void ub_url_give (ub_url *url) {
  if (url != NULL)
    url->users--;
}
