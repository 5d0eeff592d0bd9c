/*
** metrics_text.h: series as Prometheus' text format has them.
**
**   name{labels} 12
**   name_bucket{labels,le="0.005"} 3 …  name_sum{labels} 0.25  name_count{labels} 7
**
** The lines are those of the format 0.0.4 as well as of OpenMetrics 1.0; what
** stands above them ('# TYPE') and the end is the caller's. A bound that is whole
** is written as "1.0": OpenMetrics wants it so, and a bound has one name.
*/
#ifndef UB_METRICS_TEXT_H
#define UB_METRICS_TEXT_H

#include "base/buf.h"
#include "parts/metrics.h"

/*
** Append the lines of the series of a name from '*at' on (see 'ub_metrics_read'),
** whole series, until there are 'most' bytes: UB_OK, with where to go on in '*at' or 0
** there; or UB_ENOMEM.
*/
int ub_metrics_text (const ub_metrics *m, const char *name, size_t length, uint32_t *at,
                     size_t most, ub_buf *out);

#endif
