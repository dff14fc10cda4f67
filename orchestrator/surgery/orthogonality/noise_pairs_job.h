/* SPDX-License-Identifier: MIT
 * What the parts of noise_pairs.h share. */
#ifndef ORGAN_NOISE_PAIRS_JOB_H
#define ORGAN_NOISE_PAIRS_JOB_H

#include "formats/adapter/adapter.h"
#include "orchestrator/surgery/orthogonality/job.h"
#include "orchestrator/surgery/orthogonality/noise_pairs.h"

/* Where the verdict on the premise begins; every report states it. */
#define ORGAN_PREMISE_HOLDS 0.5  /* |N_A - N_B| / |N_A|: a quarter of the energy of N_A is left */
#define ORGAN_FACTOR_ROOM   0.25 /* sizes whose quotient is within 1 -+ this are told as one */

/* The models, in the order in which they are given. */
typedef enum organ_pair_source {
    ORGAN_CLEAN_A,
    ORGAN_NOISY_A,
    ORGAN_CLEAN_B,
    ORGAN_NOISY_B,
    ORGAN_TUNED,
    ORGAN_PAIR_SOURCES
} organ_pair_source;

typedef enum organ_pair_change { ORGAN_CHANGE_BETWEEN, ORGAN_CHANGE_TUNED, ORGAN_CHANGE_ADAPTER } organ_pair_change;

/* Over one module or more, in FP64. */
typedef struct organ_pair_sums {
    double weight[2];              /* |W_clean|^2 of A and B */
    double apart;                  /* |W_clean_B - W_clean_A|^2 */
    double noise[2];               /* |N_A|^2, |N_B|^2 */
    double between, between_signs; /* <N_A, N_B>; sum of the squares of its terms */
    double rest;                   /* |N_A - N_B|^2 */
    double change;                 /* |D|^2 */
    double along[2];               /* <N_A, D>, <N_B, D> */
    double rest_along;             /* <N_A - N_B, D> */
} organ_pair_sums;

typedef struct organ_pairs_module {
    char *name; /* owned */
    const organ_anatomy *anatomy;
    const organ_adapter_pair *pair;                 /* of an adapter, else NULL */
    const organ_weight *weight[ORGAN_PAIR_SOURCES]; /* that of the tuned model is NULL if there is none */
    size_t index;                                   /* in the whole model or adapter: its stream of random numbers */
    bool transposed;                                /* K = (B A)^T */
    size_t rows, cols;
    organ_pair_sums sums; /* from here on what is measured */
    double drawn_mean, drawn_std;
} organ_pairs_module;

typedef struct organ_pairs_job {
    const organ_noise_pairs_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model[ORGAN_PAIR_SOURCES];
    organ_weights *weights[ORGAN_PAIR_SOURCES];
    organ_adapter *adapter;
    organ_pair_change change;
    size_t sources; /* 4, or 5 with a tuned model */
    organ_pairs_module *modules;
    size_t count;
    double seconds;
    uint64_t bytes; /* read */
} organ_pairs_job;

/* The modules of the job, each with its weight in every model. */
organ_status organ_pairs_match(organ_pairs_job *job, organ_error *error);

/* ORGAN_USAGE where the memory holds one of the modules not. */
organ_status organ_pairs_check_memory(const organ_pairs_job *job, organ_error *error);

/* The sums of a module. */
organ_status organ_pairs_measure(organ_pairs_job *job, organ_pairs_module *module, organ_error *error);

/* Modules told together: their sums, and how their cosines stand beside chance. */
typedef struct organ_pairs_fold {
    organ_pair_sums sums;
    organ_noise_fold noises;   /* N_A with N_B */
    organ_noise_fold along[3]; /* N_A, N_B and N_A - N_B with the change */
} organ_pairs_fold;

/* The report; NULL without memory. */
json_t *organ_pairs_document(const organ_pairs_job *job);

/* Levels and sentences of the modules that the verdict is about; `same`: how many were left out, as both clean models
 * have the same values there. NULL without memory. */
json_t *organ_pairs_verdict(const organ_pairs_fold *all, uint64_t same, organ_pair_change change);

#endif
