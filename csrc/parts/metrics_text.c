/*
** metrics_text.c: series as text.
*/
#include "parts/metrics_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define NUMBER  32               /* bytes of a number as text, its end included */
#define LINE    (2 * NUMBER + 24)  /* of a line beside its key */
#define EXACT   9007199254740992.0  /* 2^53 */

/* A value: whole, or as few digits as say it. */
static void write_number (char *text, double n) {
  if (n == floor(n) && fabs(n) < EXACT) {
    snprintf(text, NUMBER, "%.0f", n);
    return;
  }
  snprintf(text, NUMBER, "%.15g", n);
}

static void write_bound (char *text, double bound) {
  snprintf(text, NUMBER, bound == floor(bound) ? "%.1f" : "%.15g", bound);
}

/* A line of a series: 'suffix' behind its name, 'le' (or NULL) behind its labels. */
static int line (ub_buf *out, const ub_metric_view *v, const char *suffix, const char *le,
                 const char *value) {
  char text[UB_METRICS_KEY + LINE];
  size_t inner = v->length > v->name_length ? v->length - v->name_length - 2 : 0;
  const char *labels = v->key + v->name_length + 1;
  int n = snprintf(text, sizeof text, "%.*s%s", (int)v->name_length, v->key, suffix);
  if (inner > 0 || le != NULL)
    n += snprintf(text + n, sizeof text - (size_t)n, "{%.*s%s%s%s%s}", (int)inner,
                  inner > 0 ? labels : "", inner > 0 && le != NULL ? "," : "",
                  le != NULL ? "le=\"" : "", le != NULL ? le : "", le != NULL ? "\"" : "");
  n += snprintf(text + n, sizeof text - (size_t)n, " %s\n", value);
  return ub_buf_append(out, text, (size_t)n);
}

static int number_line (ub_buf *out, const ub_metric_view *v, const char *suffix,
                        const char *le, double n) {
  char value[NUMBER];
  write_number(value, n);
  return line(out, v, suffix, le, value);
}

static int histogram (ub_buf *out, const ub_metric_view *v, const double *bounds,
                      uint32_t count) {
  char le[NUMBER];
  uint64_t so_far = 0;
  uint32_t i;
  int err = UB_OK;
  for (i = 0; i < count && err == UB_OK; i++) {
    so_far += v->buckets[i];
    write_bound(le, bounds[i]);
    err = number_line(out, v, "_bucket", le, (double)so_far);
  }
  if (err == UB_OK)
    err = number_line(out, v, "_bucket", "+Inf", (double)v->count);
  if (err == UB_OK)
    err = number_line(out, v, "_sum", NULL, v->sum);
  return err == UB_OK ? number_line(out, v, "_count", NULL, (double)v->count) : err;
}

static int series (ub_buf *out, const ub_metric_view *v) {
  const double *bounds;
  uint32_t count = ub_metrics_bounds(v->kind, &bounds);
  if (count > 0)
    return histogram(out, v, bounds, count);
  return number_line(out, v, "", NULL, v->sum);
}

int ub_metrics_text (const ub_metrics *m, const char *name, size_t length, ub_buf *out) {
  ub_metric_view v;
  uint32_t at, next;
  int err = UB_OK;
  for (at = 0; err == UB_OK && (next = ub_metrics_read(m, at, &v)) != 0; at = next) {
    if (v.name_length != length || memcmp(v.key, name, length) != 0)
      continue;
    if (!v.quiet || v.sum > 0 || v.count > 0)
      err = series(out, &v);
  }
  return err;
}
