/* SPDX-License-Identifier: MIT
 * What is learned of a weight by reading it once: strips are examined by any thread and folded in order. */
#ifndef ORGAN_AUTOPSY_SCAN_H
#define ORGAN_AUTOPSY_SCAN_H

#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/health/autopsy_jumps.h"
#include "orchestrator/surgery/health/autopsy_levels.h"

#define ORGAN_VITALS_ROWS 4 /* rows at fault that are named */

/* Rows of the stacked matrices that have a fault: how many, and which. */
typedef struct organ_faulty_rows {
    uint64_t count, first, last;
    uint64_t row[ORGAN_VITALS_ROWS]; /* the first of them */
} organ_faulty_rows;

/* How far a weight is from its counterpart: sums over pairs of finite values. */
typedef struct organ_distance {
    uint64_t pairs, skipped;                /* skipped: not finite in one of the two */
    double difference, own, other, product; /* sums of (a - b)^2, a^2, b^2, a b */
    double most;                            /* largest |a - b| */
} organ_distance;

typedef struct organ_vitals {
    const organ_weight *weight, *other; /* other: NULL where there is nothing to compare with */
    const char *unread;                 /* why it was not read, one sentence; NULL: it was */
    char *note;                         /* of the reader, or NULL */
    organ_moments moments;              /* from here on numbers alone */
    organ_faulty_rows sick, dead;       /* rows with values that are not finite; rows of zeros */
    uint64_t dead_columns;              /* of zeros, each in its matrix */
    uint32_t levels;                    /* distinct finite values; ORGAN_AUTOPSY_LEVELS + 1: more */
    organ_level_kind kind;
    unsigned row_period, column_period; /* lines across which the spread of values jumps; 0: it does not */
    double row_factor, column_factor;   /* by how much */
    organ_distance distance;
} organ_vitals;

uint64_t organ_vitals_bytes(const organ_vitals *v);  /* that are read; 0 where it is not */
double organ_vitals_std(const organ_vitals *v);      /* of the finite values, not of a sample; 0 where there are none */
double organ_vitals_kurtosis(const organ_vitals *v); /* excess; 0 where all are the same */

typedef struct organ_scan_progress {
    void (*advance)(void *context, uint64_t bytes,
                    const organ_vitals *done); /* `done`: a weight is finished, else NULL */
    void *context;
} organ_scan_progress;

/* Examines vitals[0 .. count): weight, other and unread are set, the rest is zero. Those with an `unread` are passed
 * over. Of several ranks each examines some, and all learn of all. Errors as organ_weight_pass_run and
 * organ_ranks_agree. */
organ_status organ_vitals_take(const organ_model *model, const organ_model *other, organ_vitals *vitals, size_t count,
                               const organ_engine *engine, const organ_scan_progress *progress, organ_error *error);

#endif
