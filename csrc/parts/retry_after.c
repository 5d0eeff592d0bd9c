/*
** retry_after.c: how long a server asks to be left alone, read out of text.
*/
#include "parts/retry_after.h"

#include <string.h>

/* What is still to be read. */
typedef struct text {
  const char *at, *end;
} text;

typedef struct unit {
  const char *name;
  double times, over;  /* seconds = n × times / over */
} unit;

static const unit go_units[] = {
  {"h", 3600, 1}, {"m", 60, 1}, {"s", 1, 1}, {"ms", 1, 1e3}, {"us", 1, 1e6},
  {"\xC2\xB5s", 1, 1e6}, {"\xCE\xBCs", 1, 1e6}, {"ns", 1, 1e9}, {NULL, 0, 0}
};

static const unit words[] = {
  {"s", 1, 1}, {"sec", 1, 1}, {"secs", 1, 1}, {"second", 1, 1}, {"seconds", 1, 1},
  {"m", 60, 1}, {"min", 60, 1}, {"mins", 60, 1}, {"minute", 60, 1}, {"minutes", 60, 1},
  {"h", 3600, 1}, {"hr", 3600, 1}, {"hrs", 3600, 1}, {"hour", 3600, 1}, {"hours", 3600, 1},
  {"d", 86400, 1}, {"day", 86400, 1}, {"days", 86400, 1},
  {"ms", 1, 1e3}, {"millisecond", 1, 1e3}, {"milliseconds", 1, 1e3},
  {"us", 1, 1e6}, {"ns", 1, 1e9}, {NULL, 0, 0}
};

/* ---- bytes ---- */

static int is_digit (char c) {
  return c >= '0' && c <= '9';
}

static int is_blank (char c) {
  return c == ' ' || c == '\t';
}

static int is_letter (char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower (char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void skip_blanks (text *t) {
  while (t->at < t->end && is_blank(*t->at))
    t->at++;
}

/* Pass over one byte, if it is this. */
static int skip (text *t, char c) {
  if (t->at == t->end || *t->at != c)
    return 0;
  t->at++;
  return 1;
}

static text trimmed (const char *bytes, size_t length) {
  text t = {bytes, bytes + length};
  skip_blanks(&t);
  while (t.end > t.at && is_blank(t.end[-1]))
    t.end--;
  return t;
}

/* Are the text's bytes just 'name'? */
static int is_name (text t, const char *name) {
  size_t length = (size_t)(t.end - t.at);
  return strlen(name) == length && memcmp(t.at, name, length) == 0;
}

/* The same, whatever the case of the text; 'name' is in lower case. */
static int is_word (text t, const char *name) {
  for (; t.at < t.end && *name != '\0' && lower(*t.at) == *name; t.at++)
    name++;
  return t.at == t.end && *name == '\0';
}

/* ---- numbers ---- */

/* Digits as a number; hundreds of them are infinite. */
static double digits (text *t) {
  double n = 0;
  for (; t->at < t->end && is_digit(*t->at); t->at++)
    n = n * 10 + (*t->at - '0');
  return n;
}

/* Digits after a point, as a number and the power of ten that it is over. */
static double fraction (text *t, double *power) {
  double n = 0;
  for (*power = 1; t->at < t->end && is_digit(*t->at); t->at++)
    if (*power < 1e6) {
      n = n * 10 + (*t->at - '0');
      *power *= 10;
    }
  return n;
}

/* Pass over a number; a point without digits behind it is not part of it. */
static int number (text *t, double *n) {
  double whole, part, power;
  if (t->at == t->end || !is_digit(*t->at))
    return 0;
  whole = digits(t);
  *n = whole;
  if (t->end - t->at < 2 || t->at[0] != '.' || !is_digit(t->at[1]))
    return 1;
  t->at++;
  part = fraction(t, &power);
  *n = (whole * power + part) / power;  /* rounded once, for common sizes */
  return 1;
}

static int usable (double found, double *seconds) {
  if (!(found >= 0 && found <= UB_RETRY_AFTER_MOST))
    return 0;
  *seconds = found;
  return 1;
}

/* The whole text is a number. */
static int is_number (text t, double *n) {
  return number(&t, n) && t.at == t.end;
}

int ub_retry_after_seconds (const char *bytes, size_t length, double *seconds) {
  double n;
  return is_number(trimmed(bytes, length), &n) && usable(n, seconds);
}

int ub_retry_after_ms (const char *bytes, size_t length, double *seconds) {
  double n;
  return is_number(trimmed(bytes, length), &n) && usable(n / 1000, seconds);
}

/* ---- dates ---- */

typedef struct moment {
  int year, month, day, hour, minute, second;  /* month: 0 to 11 */
} moment;

static const char *const weekdays[] = {
  "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", NULL
};

static const char *const months[] = {
  "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", NULL
};

/* Exactly 'count' digits. */
static int fixed (text *t, int count, int *n) {
  for (*n = 0; count > 0; count--, t->at++) {
    if (t->at == t->end || !is_digit(*t->at))
      return 0;
    *n = *n * 10 + (*t->at - '0');
  }
  return 1;
}

/* One of the names, or its first 'most' letters. */
static int one_of (text *t, const char *const names[], size_t most, int *place) {
  for (*place = 0; names[*place] != NULL; ++*place) {
    size_t length = strnlen(names[*place], most);
    if ((size_t)(t->end - t->at) >= length && memcmp(t->at, names[*place], length) == 0) {
      t->at += length;
      return 1;
    }
  }
  return 0;
}

static int clock_time (text *t, moment *m) {
  return fixed(t, 2, &m->hour) && skip(t, ':') && fixed(t, 2, &m->minute) && skip(t, ':') &&
         fixed(t, 2, &m->second);
}

#define MEAN_YEAR_S  31556952
#define LAST_YEAR    9999

/* The year with these last two digits that is at most 50 ahead of now. */
static int nearest_year (int two, int64_t now_s) {
  int64_t since = now_s < 0 ? 0 : now_s / MEAN_YEAR_S;
  int now = since > LAST_YEAR - 1970 ? LAST_YEAR : (int)(1970 + since);
  int year = now - now % 100 + two;
  if (year > now + 50)
    return year - 100;
  return year < now - 49 ? year + 100 : year;
}

/* One field of a form, named by a letter. */
static int date_field (text *t, char kind, int64_t now_s, moment *m) {
  int place;
  switch (kind) {
    case 'a': return one_of(t, weekdays, 3, &place);
    case 'A': return one_of(t, weekdays, 9, &place);
    case 'b': return one_of(t, months, 3, &m->month);
    case 'd': return fixed(t, 2, &m->day);
    case 'e': return fixed(t, skip(t, ' ') ? 1 : 2, &m->day);
    case 'T': return clock_time(t, m);
    case 'Y': return fixed(t, 4, &m->year);
    default:
      if (!fixed(t, 2, &m->year))
        return 0;
      m->year = nearest_year(m->year, now_s);
      return 1;
  }
}

/* Does the whole text have this form? '%' and a letter stand for a field. */
static int has_form (text t, const char *form, int64_t now_s, moment *m) {
  for (; *form != '\0'; form++) {
    if (*form == '%' ? !date_field(&t, *++form, now_s, m) : !skip(&t, *form))
      return 0;
  }
  return t.at == t.end;
}

static int is_leap (int year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int exists (const moment *m) {
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int last = lengths[m->month] + (m->month == 1 && is_leap(m->year));
  return m->year >= 1 && m->year <= LAST_YEAR && m->day >= 1 && m->day <= last &&
         m->hour <= 23 && m->minute <= 59 && m->second <= 60;  /* 60: a leap second */
}

static int64_t unix_time (const moment *m) {
  static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  int past = m->year - 1;
  int64_t days = (int64_t)past * 365 + past / 4 - past / 100 + past / 400;
  days += before[m->month] + (m->month > 1 && is_leap(m->year)) + m->day - 1;
  days -= 719162;  /* those before 1970 */
  return ((days * 24 + m->hour) * 60 + m->minute) * 60 + m->second;
}

int ub_http_date (const char *bytes, size_t length, int64_t now_s, int64_t *unix_s) {
  text t = trimmed(bytes, length);
  moment m;
  if (!has_form(t, "%a, %d %b %Y %T GMT", now_s, &m) &&
      !has_form(t, "%A, %d-%b-%y %T GMT", now_s, &m) &&
      !has_form(t, "%a %b %e %T %Y", now_s, &m))
    return 0;
  if (!exists(&m))
    return 0;
  *unix_s = unix_time(&m);
  return 1;
}

/* ---- durations ---- */

static double in_seconds (double n, const unit *u) {
  return n * u->times / u->over;
}

/* One number and its unit. */
static int go_part (text *t, double *seconds) {
  const unit *u = go_units;
  text name;
  double n;
  if (!number(t, &n))
    return 0;
  for (name.at = t->at; t->at < t->end && !is_digit(*t->at);)
    t->at++;
  name.end = t->at;
  while (u->name != NULL && !is_name(name, u->name))
    u++;
  *seconds = u->name != NULL ? in_seconds(n, u) : 0;
  return u->name != NULL;
}

static int is_duration (text t, double *seconds) {
  double sum = 0, part;
  if (t.at == t.end)
    return 0;
  while (t.at < t.end) {
    if (!go_part(&t, &part))
      return 0;
    sum += part;
  }
  return usable(sum, seconds);
}

int ub_duration (const char *bytes, size_t length, double *seconds) {
  text t = trimmed(bytes, length);
  if (is_name(t, "0"))
    return usable(0, seconds);
  return is_duration(t, seconds);
}

/* ---- the header RateLimit ---- */

#define UNKNOWN (-1.0)

typedef struct quota {
  double left, wait;
} quota;

static const quota nothing_known = {UNKNOWN, UNKNOWN};

/*
** The next piece up to ',' or ';' outside quotes, blanks around it taken off.
** Gives the byte that ended it, '\0' at the end, or '"' for an open quote.
*/
static char next_piece (text *t, text *piece) {
  const char *start = t->at;
  int quoted = 0;
  for (; t->at < t->end && (quoted || (*t->at != ',' && *t->at != ';')); t->at++) {
    if (*t->at == '"')
      quoted = !quoted;
    else if (quoted && *t->at == '\\' && t->end - t->at > 1)
      t->at++;
  }
  *piece = trimmed(start, (size_t)(t->at - start));
  if (quoted)
    return '"';
  return t->at < t->end ? *t->at++ : '\0';
}

/* If the piece is 'key=…', then what it says, or UNKNOWN if no number. */
static void read_key (text piece, const char *key, double *value) {
  text name = piece;
  const char *equals = memchr(piece.at, '=', (size_t)(piece.end - piece.at));
  if (equals == NULL)
    return;
  name.end = equals;
  piece.at = equals + 1;
  if (is_name(name, key) && !is_number(piece, value))
    *value = UNKNOWN;
}

/* A quota that is used up, and longer than any before? */
static void consider (const quota *q, double *longest) {
  if (q->left == 0 && q->wait <= UB_RETRY_AFTER_MOST && q->wait > *longest)
    *longest = q->wait;
}

int ub_rate_limit (const char *bytes, size_t length, double *seconds) {
  text t = {bytes, bytes + length}, piece;
  quota item = nothing_known, all = nothing_known;
  double longest = UNKNOWN;
  char end;
  do {
    end = next_piece(&t, &piece);
    if (end == '"')
      return 0;
    read_key(piece, "r", &item.left);
    read_key(piece, "t", &item.wait);
    read_key(piece, "remaining", &all.left);
    read_key(piece, "reset", &all.wait);
    if (end != ';') {  /* the item with its parameters is over */
      consider(&item, &longest);
      item = nothing_known;
    }
  } while (end != '\0');
  consider(&all, &longest);
  return usable(longest, seconds);
}

/* ---- bodies ---- */

/* Pass over a quote, which may be escaped: the body may hold JSON as text. */
static int skip_quote (text *t) {
  while (skip(t, '\\'))
    continue;
  return skip(t, '"');
}

static void skip_space (text *t) {
  while (t->at < t->end && (is_blank(*t->at) || *t->at == '\n' || *t->at == '\r'))
    t->at++;
}

/* What follows the word retryDelay: '": "20s"'. */
static int quoted_duration (text t, double *seconds) {
  text value;
  if (!skip_quote(&t))
    return 0;
  skip_space(&t);
  if (!skip(&t, ':'))
    return 0;
  skip_space(&t);
  if (!skip_quote(&t))
    return 0;
  for (value.at = t.at; t.at < t.end && *t.at != '"' && *t.at != '\\';)
    t.at++;
  value.end = t.at;
  return t.at < t.end && is_duration(value, seconds);
}

static int retry_delay (text t, double *seconds) {
  static const char key[] = "\"retryDelay";
  size_t length = sizeof(key) - 1;
  while ((t.at = memmem(t.at, (size_t)(t.end - t.at), key, length)) != NULL) {
    t.at += length;
    if (quoted_duration(t, seconds))
      return 1;
  }
  return 0;
}

/* The letters here; may be none. */
static text next_word (text *t) {
  text word = {t->at, t->at};
  while (t->at < t->end && is_letter(*t->at))
    t->at++;
  word.end = t->at;
  return word;
}

/* One number and its unit, as people write them. */
static int spoken_part (text *t, double *seconds) {
  const unit *u = words;
  text name;
  double n;
  skip_blanks(t);
  if (!number(t, &n))
    return 0;
  skip_blanks(t);
  name = next_word(t);
  while (u->name != NULL && !is_word(name, u->name))
    u++;
  *seconds = u->name != NULL ? in_seconds(n, u) : 0;
  return u->name != NULL;
}

static void skip_and (text *t) {
  text ahead = *t, word;
  skip_blanks(&ahead);
  word = next_word(&ahead);
  if (is_word(word, "and") || ahead.at == ahead.end)
    *t = ahead;
}

/*
** All parts of an amount ("1 minute and 30 seconds"). 'cut': the text goes
** on where it ends here, so that an amount which reaches its end is none.
*/
static int spoken (text t, int cut, double *seconds) {
  double sum = 0, part;
  int parts = 0;
  skip_blanks(&t);
  if (skip(&t, ':'))  /* "retry after: 20 s" */
    skip_blanks(&t);
  for (; spoken_part(&t, &part); parts++) {
    sum += part;
    skip_and(&t);
  }
  return parts > 0 && !(cut && t.at == t.end) && usable(sum, seconds);
}

/* Is the word in the NULL-ended list? */
static int is_any (text word, const char *const list[]) {
  while (*list != NULL && !is_word(word, *list))
    list++;
  return *list != NULL;
}

/* May this byte stand between "again" and "in"? */
static int within_sentence (char c) {
  return is_digit(c) || (c != '\0' && strchr(" \t,-:'()", c) != NULL);
}

static int plain_words (text t, int cut, double *seconds) {
  static const char *const promises[] = {"again", "retry", "retrying", "reset", "resets", NULL};
  static const char *const leads[] = {"in", "after", NULL};
  int promised = 0;
  while (t.at < t.end) {
    text word = next_word(&t);
    if (word.at == word.end)
      promised = within_sentence(*t.at++) && promised;
    else if (is_any(word, promises))
      promised = 1;
    else if (promised && is_any(word, leads) && spoken(t, cut, seconds))
      return 1;
  }
  return 0;
}

int ub_retry_after_body (const char *bytes, size_t length, double *seconds) {
  int cut = length > UB_RETRY_AFTER_BODY;
  text t = {bytes, bytes + (cut ? UB_RETRY_AFTER_BODY : length)};
  return retry_delay(t, seconds) || plain_words(t, cut, seconds);
}
