/*
** retry_after_fuzz.c: whatever a header or body says, the wait read out of it
** is a finite number of seconds from 0 to ten years, or there is none.
**
** The input is the text. Each reader gets it in a block of its own size, twice,
** and with blanks around it, which must change nothing. A body is also put where
** the part that is read ends.
*/
#include "fuzz.h"

#include "parts/retry_after.h"

#define UNTOUCHED 12345.5
#define FIRST_S (-62135596800)  /* of the year 1 */
#define LAST_S 253402300800     /* of the year 9999, and a leap second */

typedef int reader (const char *bytes, size_t length, double *seconds);

/* What a reader says; UNTOUCHED for no answer. */
static double ask (reader *read, const char *bytes, size_t length) {
  double seconds = UNTOUCHED, again = UNTOUCHED;
  int found = read(bytes, length, &seconds);
  must(found == 0 || found == 1);
  must(read(bytes, length, &again) == found && again == seconds);
  if (found)
    must(seconds >= 0 && seconds <= UB_RETRY_AFTER_MOST);
  else
    must(seconds == UNTOUCHED);
  return seconds;
}

static int64_t ask_date (const char *bytes, size_t length, int64_t now_s) {
  int64_t unix_s = INT64_MIN, again = INT64_MIN;
  int found = ub_http_date(bytes, length, now_s, &unix_s);
  must(ub_http_date(bytes, length, now_s, &again) == found && again == unix_s);
  if (found)
    must(unix_s >= FIRST_S && unix_s <= LAST_S);
  else
    must(unix_s == INT64_MIN);
  return unix_s;
}

/* The text in a block of its own size, with blanks around it. */
static char *padded (const char *text, size_t length) {
  char *block = malloc(length + 4);
  must(block != NULL);
  memcpy(block, " \t", 2);
  memcpy(block + 2, text, length);
  memcpy(block + 2 + length, "\t ", 2);
  return block;
}

static void ask_headers (const char *text, size_t length) {
  static reader *const readers[] = {
    ub_retry_after_seconds, ub_retry_after_ms, ub_duration, ub_rate_limit, NULL
  };
  static const int64_t nows[] = {INT64_MIN, 0, 1700000000, INT64_MAX};
  char *block = padded(text, length);
  size_t i;
  for (i = 0; readers[i] != NULL; i++)
    must(ask(readers[i], text, length) == ask(readers[i], block, length + 4));
  for (i = 0; i < 4; i++)
    must(ask_date(text, length, nows[i]) == ask_date(block, length + 4, nows[i]));
  free(block);
}

/* The text at the end of what is read of a body, and 'over' bytes beyond it. */
static void ask_at_end (const char *text, size_t length, size_t over) {
  size_t blanks = UB_RETRY_AFTER_BODY + over - length;
  char *body = malloc(blanks + length);
  must(body != NULL);
  memset(body, ' ', blanks);
  memcpy(body + blanks, text, length);
  ask(ub_retry_after_body, body, blanks + length);
  free(body);
}

/* One text in 256: what is slow is not to be done for each. */
static int is_chosen (const uint8_t *bytes, size_t length) {
  uint8_t sum = 0;
  size_t i;
  for (i = 0; i < length; i++)
    sum = (uint8_t)(sum * 31 + bytes[i]);
  return length > 0 && length < 256 && sum == 0;
}

int LLVMFuzzerTestOneInput (const uint8_t *bytes, size_t length) {
  char *text = fuzz_copy(bytes, length);
  ask_headers(text, length);
  ask(ub_retry_after_body, text, length);
  if (is_chosen(bytes, length))
    ask_at_end(text, length, bytes[0] % length);
  free(text);
  return 0;
}
