/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/workers.h"

#include <math.h>

/* Sorts by insertion: there are few pieces. */
void organ_workers_divide(const organ_workers *workers, const double *costs, size_t count, unsigned places,
                          size_t *order, size_t *sizes)
{
    const double most = (double)organ_workers_count(workers);
    double all = 0;
    for (size_t k = 0; k < count; k++) {
        size_t at = k;
        for (; at > 0 && costs[order[at - 1]] < costs[k]; at--)
            order[at] = order[at - 1];
        order[at] = k;
        all += costs[k];
    }
    for (size_t k = 0; k < count; k++)
        sizes[k] = (size_t)fmin(ceil(places * most * costs[order[k]] / all), most);
}
