/* SPDX-License-Identifier: MIT
 * Statistics of a weight from a single pass over its values: threads examine strips, whose results are combined in
 * order. */
#ifndef ORGAN_AUTOPSY_SCAN_H
#define ORGAN_AUTOPSY_SCAN_H

#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/health/autopsy_jumps.h"
#include "orchestrator/surgery/health/autopsy_levels.h"

#define ORGAN_WEIGHT_STATS_ROWS 4 /* number of faulty rows that are listed */

/* Rows of the stacked matrices that have a fault: their number and indices. */
typedef struct organ_faulty_rows {
    uint64_t count, first, last;
    uint64_t row[ORGAN_WEIGHT_STATS_ROWS]; /* the first ORGAN_WEIGHT_STATS_ROWS of them */
} organ_faulty_rows;

/* Distance of a weight from its counterpart: sums over pairs of finite values. */
typedef struct organ_distance {
    uint64_t pairs, skipped;                /* skipped: not finite in one of the two */
    double difference, own, other, product; /* sums of (a - b)^2, a^2, b^2, a b */
    double max;                             /* largest |a - b| */
} organ_distance;

typedef struct organ_weight_stats {
    const organ_weight *weight, *other;     /* other: NULL if there is no counterpart */
    const char *unread;                     /* why the weight was not read, one sentence; NULL if it was */
    char *note;                             /* message of the reader, or NULL */
    organ_moments moments;                  /* all following members contain no pointers */
    organ_faulty_rows nonfinite_rows, dead; /* rows with values that are not finite; rows of zeros */
    uint64_t dead_columns;                  /* number of columns of zeros, each counted in its matrix */
    uint32_t levels;                        /* distinct finite values; ORGAN_AUTOPSY_LEVELS + 1: more */
    organ_level_kind kind;
    unsigned row_period, column_period; /* distance of the lines across which the spread of values jumps; 0: no jumps */
    double row_factor, column_factor;   /* size of these jumps */
    organ_distance distance;
} organ_weight_stats;

uint64_t organ_weight_stats_bytes(const organ_weight_stats *v); /* bytes to read; 0 if the weight is not read */
double
organ_weight_stats_std(const organ_weight_stats *v); /* of the finite values, as a population; 0 if there are none */
double organ_weight_stats_kurtosis(const organ_weight_stats *v); /* excess; 0 if all values are equal */

typedef struct organ_scan_progress {
    void (*advance)(void *context, uint64_t bytes,
                    const organ_weight_stats *done); /* `done`: a weight is finished, else NULL */
    void *context;
} organ_scan_progress;

/* Examines vitals[0 .. count): the caller sets weight, other and unread, and zeroes the rest. Weights with an
 * `unread` are skipped. With several ranks each rank examines some weights, and all ranks receive all results.
 * Errors as organ_weight_pass_run and organ_ranks_agree. */
organ_status organ_weight_stats_compute(const organ_model *model, const organ_model *other, organ_weight_stats *stats,
                                        size_t count, const organ_engine *engine, const organ_scan_progress *progress,
                                        organ_error *error);

#endif
