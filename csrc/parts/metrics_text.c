/*
** metrics_text.c: series as text.
**
** A page has thousands of lines that differ in their numbers: what is the same in
** all lines of a series, and of a kind, is written once and copied.
*/
#include "parts/metrics_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define NUMBER  32               /* bytes of a number as text, its end included */
#define LINE    (UB_METRICS_KEY + 2 * NUMBER + 32)
#define EXACT   9007199254740992.0  /* 2^53 */

typedef struct page {
  ub_buf *out;
  int kind;                           /* whose bounds are below; -1: none's */
  char bounds[UB_METRICS_BOUNDS][NUMBER];
} page;

/* {== Numbers =============================================================== */

static char *put (char *to, const char *bytes, size_t length) {
  memcpy(to, bytes, length);
  return to + length;
}

static char *put_text (char *to, const char *text) {
  return put(to, text, strlen(text));
}

static char *put_count (char *to, uint64_t n) {
  char digits[20];
  size_t i = sizeof digits;
  do {
    digits[--i] = (char)('0' + n % 10);
    n /= 10;
  } while (n > 0);
  return put(to, digits + i, sizeof digits - i);
}

/* Whole, or as few digits as say it. */
static char *put_number (char *to, double n) {
  if (n >= 0 && n < EXACT && n == floor(n))
    return put_count(to, (uint64_t)n);
  return to + snprintf(to, NUMBER, "%.15g", n);
}

static void write_bounds (page *p, ub_metrics_kind kind, const double *bounds,
                          uint32_t count) {
  uint32_t i;
  if (p->kind == (int)kind)
    return;
  p->kind = (int)kind;
  for (i = 0; i < count; i++)
    snprintf(p->bounds[i], NUMBER, bounds[i] == floor(bounds[i]) ? "%.1f" : "%.15g", bounds[i]);
}

/* }============================================================================ */

/* {== Lines ================================================================= */

/* A series' name with a suffix, and its labels without their end: "name_sum{a="b"". */
static char *put_key (char *to, const ub_metric_view *v, const char *suffix) {
  to = put(to, v->key, v->name_length);
  to = put_text(to, suffix);
  if (v->length > v->name_length)
    to = put(to, v->key + v->name_length, v->length - v->name_length - 1);
  return to;
}

static int number_line (page *p, const ub_metric_view *v, const char *suffix, double n) {
  char text[LINE], *end = put_key(text, v, suffix);
  end = put_text(end, v->length > v->name_length ? "} " : " ");
  end = put_number(end, n);
  *end++ = '\n';
  return ub_buf_append(p->out, text, (size_t)(end - text));
}

/* The lines of the buckets: each begins as the one before. */
static int bucket_lines (page *p, const ub_metric_view *v, uint32_t count) {
  char text[LINE], *from = put_key(text, v, "_bucket");
  uint64_t so_far = 0;
  uint32_t i;
  int err = UB_OK;
  from = put_text(from, v->length > v->name_length ? ",le=\"" : "{le=\"");
  for (i = 0; i <= count && err == UB_OK; i++) {
    char *end = put_text(from, i < count ? p->bounds[i] : "+Inf");
    so_far += v->buckets[i];
    end = put_count(put_text(end, "\"} "), so_far);
    *end++ = '\n';
    err = ub_buf_append(p->out, text, (size_t)(end - text));
  }
  return err;
}

static int series (page *p, const ub_metric_view *v) {
  const double *bounds;
  uint32_t count = ub_metrics_bounds(v->kind, &bounds);
  int err;
  if (count == 0)
    return number_line(p, v, "", v->sum);
  write_bounds(p, v->kind, bounds, count);
  err = bucket_lines(p, v, count);
  if (err == UB_OK)
    err = number_line(p, v, "_sum", v->sum);
  return err == UB_OK ? number_line(p, v, "_count", (double)v->count) : err;
}

/* }============================================================================ */

int ub_metrics_text (const ub_metrics *m, const char *name, size_t length, uint32_t *at,
                     size_t most, ub_buf *out) {
  page p;
  ub_metric_view v;
  int err = UB_OK;
  p.out = out;
  p.kind = -1;
  while (err == UB_OK && ub_buf_length(out) < most) {
    *at = ub_metrics_read(m, *at, name, length, &v);
    if (*at == 0)
      break;
    if (!v.quiet || v.sum > 0 || v.count > 0)
      err = series(&p, &v);
  }
  return err;
}
