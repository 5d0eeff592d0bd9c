/*
** retry_after.h: how long a server asks to be left alone, read out of text.
**
**   "20", "1.5"                                  ub_retry_after_seconds
**   "1500", "0.5"           (milliseconds)       ub_retry_after_ms
**   "Sun, 06 Nov 1994 08:49:37 GMT"              ub_http_date
**   "6m0s", "12ms", "1h2m3.5s"                   ub_duration
**   "\"default\";r=0;t=30"                       ub_rate_limit
**   … "retryDelay": "20s" …, … try again in 20s  ub_retry_after_body
**
** Each is a function of its bytes (and what is named) and of nothing else:
** no locale, no time zone, no clock. Each gives 1 and the answer, or 0 and
** nothing for any other text. Each takes linear time. What is common to all:
**
**   number    digits, or digits "." digits; no sign, exponent or hex. Of a
**             fraction microunits count, further digits do not
**   blanks    (space, tab) may stand around the text, not in it
**   bounds    0 to ten years; more is no answer
*/
#ifndef UB_RETRY_AFTER_H
#define UB_RETRY_AFTER_H

#include <stddef.h>
#include <stdint.h>

#define UB_RETRY_AFTER_MOST   315576000.0  /* seconds; ten years */
#define UB_RETRY_AFTER_BODY   65536        /* bytes of a body that are read */

/*
** A number of seconds: "delay-seconds" of RFC 9110, 10.2.3, and fractions,
** which servers send too.
*/
int ub_retry_after_seconds (const char *bytes, size_t length, double *seconds);

/* A number of milliseconds, in seconds ("retry-after-ms", of OpenAI, Azure). */
int ub_retry_after_ms (const char *bytes, size_t length, double *seconds);

/*
** An HTTP-date of RFC 9110, 5.6.7, in Unix seconds, which may lie in the past
** (years 1 to 9999). Upper and lower case matter; that day and weekday agree
** does not. The forms:
**
**   Sun, 06 Nov 1994 08:49:37 GMT      today's
**   Sunday, 06-Nov-94 08:49:37 GMT     RFC 850: the year at most 50 ahead of
**                                      'now_s' (Unix seconds), else behind
**   Sun Nov  6 08:49:37 1994           asctime
*/
int ub_http_date (const char *bytes, size_t length, int64_t now_s, int64_t *unix_s);

/*
** A duration as Go prints it, in seconds: numbers with units h, m, s, ms, us
** (or µs), ns, in any order; or "0". OpenAI's "x-ratelimit-reset-*" and
** Google's RetryInfo ("20s") are written so.
*/
int ub_duration (const char *bytes, size_t length, double *seconds);

/*
** The header "RateLimit" of draft-ietf-httpapi-ratelimit-headers: the largest
** 't' of the items with r=0. Also its form of drafts 03 to 07, one dictionary:
** 'reset' if remaining=0. 0 when nothing is used up, or a quote is left open.
*/
int ub_rate_limit (const char *bytes, size_t length, double *seconds);

/*
** What an error's body says, in its first UB_RETRY_AFTER_BODY bytes. First
** any "retryDelay": with a duration in quotes, which may be escaped; then
** plain words: "again", "retry", "retrying", "reset" or "resets", and in the
** same sentence "in" or "after" with an amount: "try again in 1m30s", "Please
** retry after 20 seconds", "resets in 1 hour and 5 min". The case of letters
** does not matter. An amount at the very cut is none: it may be half of one.
*/
int ub_retry_after_body (const char *bytes, size_t length, double *seconds);

#endif
