/* SPDX-License-Identifier: MIT
 * Statistics of a weight from a single pass over its values: threads examine strips of rows, whose results are combined
 * in order. */
#ifndef ORGAN_AUTOPSY_SCAN_H
#define ORGAN_AUTOPSY_SCAN_H

#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/health/autopsy_jumps.h"
#include "orchestrator/surgery/health/autopsy_levels.h"

#define ORGAN_WEIGHT_STATS_ROWS 4 /* number of faulty rows that are listed */

/* Rows of a weight (those of all stacked matrices, numbered consecutively) that have a fault. */
typedef struct organ_faulty_rows {
    uint64_t count, first, last;           /* their number, and the indices of the first and the last one */
    uint64_t row[ORGAN_WEIGHT_STATS_ROWS]; /* indices of the first ones */
} organ_faulty_rows;

/* Distance of a weight a from its counterpart b: sums over pairs of finite values. */
typedef struct organ_distance {
    uint64_t pairs, skipped;                /* pairs that were counted, and pairs of which a value is not finite */
    double difference, own, other, product; /* sums of (a - b)^2, a^2, b^2, a b */
    double max;                             /* largest |a - b| */
} organ_distance;

/* Statistics of one weight. The members from `moments` on contain no pointers, so that ranks can exchange them. */
typedef struct organ_weight_stats {
    const organ_weight *weight, *other;     /* other: NULL if there is no counterpart */
    const char *unread;                     /* why the weight was not read, one sentence; NULL if it was */
    char *note;                             /* message of the reader, or NULL */
    organ_moments moments;                  /* of the dequantised values */
    organ_faulty_rows nonfinite_rows, dead; /* rows with values that are not finite; rows of zeros */
    uint64_t dead_columns;                  /* number of columns of zeros, each counted in its matrix */
    uint32_t levels;                        /* distinct finite values; ORGAN_AUTOPSY_LEVELS + 1: more */
    organ_level_kind kind;
    unsigned row_period, column_period; /* distance of the lines across which the spread of values jumps; 0: no jumps */
    double row_factor, column_factor;   /* factor by which the spread typically jumps */
    organ_distance distance;
} organ_weight_stats;

/* Returns the bytes of the codes (for a plain weight: of the values) of the weight and of its counterpart, without
 * scales; 0 if the weight is not read. */
uint64_t organ_weight_stats_bytes(const organ_weight_stats *v);
/* Returns the standard deviation of the n finite values (the sum of squared deviations is divided by n, not by n - 1);
 * 0 if there are none. */
double organ_weight_stats_std(const organ_weight_stats *v);
/* Returns the excess kurtosis of the finite values; 0 if all values are equal. */
double organ_weight_stats_kurtosis(const organ_weight_stats *v);

/* Callback of organ_weight_stats_compute: `bytes` more bytes were read; `done` is a weight that is complete, or
 * NULL. */
typedef struct organ_scan_progress {
    void (*advance)(void *context, uint64_t bytes, const organ_weight_stats *done);
    void *context;
} organ_scan_progress;

/* Examines stats[0 .. count). The caller sets weight, other and unread and zeroes the other members; weights with
 * `unread` are skipped. With several ranks each rank examines some weights, and all ranks receive all results. Errors
 * are those of organ_weight_pass_run and organ_ranks_agree. */
organ_status organ_weight_stats_compute(const organ_model *model, const organ_model *other, organ_weight_stats *stats,
                                        size_t count, const organ_engine *engine, const organ_scan_progress *progress,
                                        organ_error *error);

#endif
