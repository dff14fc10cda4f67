/* SPDX-License-Identifier: MIT
 * What the parts of orthogonality.h share. */
#ifndef ORGAN_ORTHOGONALITY_JOB_H
#define ORGAN_ORTHOGONALITY_JOB_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"
#include "orchestrator/stream/engine.h"
#include "orchestrator/surgery/orthogonality/orthogonality.h"

#include <pthread.h>

/* Where "a few", "about" and "much" begin; every report states them. */
#define ORGAN_Z_LIMIT        3.0  /* |z| that chance seldom exceeds */
#define ORGAN_SMALL_COSINE   0.03 /* a cosine whose square is 0.1 % of the energy */
#define ORGAN_LEAKAGE_ROOM   0.1  /* leakage / expectation within 1 -+ this is as expected */
#define ORGAN_SMALL_RATIO    0.5  /* |N| / |K|: 80 % of the squared distance is the adapter's change */
#define ORGAN_LARGE_RATIO    2.0  /* 20 % of it */
#define ORGAN_MUCH_AGREEMENT 0.5  /* cosine of two noises: a quarter of the energy of one is a multiple of the other */

/* Of one noisy model in one module, summed in FP64. */
typedef struct organ_noise_sums {
    double square; /* |N|^2 */
    double dot;    /* <N, K> */
    double signs;  /* sum of N_ij^2 K_ij^2: the variance of <N, K> if the signs of N were random */
    double inside; /* |U_k^T N|^2 */
} organ_noise_sums;

typedef struct organ_noise_module {
    const organ_adapter_pair *pair;
    const organ_weight *clean, *noisy[2];
    size_t index;      /* of the pair in the adapter: its stream of random numbers */
    bool transposed;   /* K = (B A)^T: embeddings, and layers that keep their weight as in_features x out_features */
    size_t rows, cols; /* of the weight as it is stored */
    /* From here on what is measured. */
    size_t k;       /* vectors in U_k; 0 where K is zero */
    double change;  /* |K|^2 */
    double between; /* <N_1, N_2> */
    organ_noise_sums noise[2];
    double drawn_mean, drawn_std;
} organ_noise_module;

typedef struct organ_orthogonality_job {
    const organ_orthogonality_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *clean, *noisy[2];
    organ_weights *clean_weights, *noisy_weights[2];
    organ_adapter *adapter;
    size_t noises; /* 1 or 2 */
    organ_noise_module *modules;
    size_t count;
    double seconds;
    uint64_t bytes; /* read */
} organ_orthogonality_job;

/* ORGAN_USAGE where the memory holds one of the modules not. */
organ_status organ_orthogonality_check_memory(const organ_orthogonality_job *job, organ_error *error);

/* The modules of a run, each measured by one of the ranks. */
typedef struct organ_compared_modules {
    const organ_engine *engine;
    const organ_progress *progress;
    size_t count;
    void *job;
    uint64_t (*bytes)(const void *job, size_t module); /* that are read */
    organ_status (*measure)(void *job, size_t module, organ_error *error);
    void *found;                /* of the first module: what `measure` sets, */
    size_t found_bytes, stride; /* so many bytes, of each other module `stride` bytes behind */
} organ_compared_modules;

/* Measures all of them; *seconds and *bytes: how long that took, and what was read. As organ_ranks_agree. */
organ_status organ_compared_modules_measure(const organ_compared_modules *modules, double *seconds, uint64_t *bytes,
                                            organ_error *error);

/* Everything of a module that its values tell. */
organ_status organ_orthogonality_measure(organ_orthogonality_job *job, organ_noise_module *module, organ_error *error);

/* ORGAN_BAD_INPUT: a value of that row of a weight is NaN or infinite. */
organ_status organ_noise_not_finite(const organ_model *model, const organ_weight *weight, uint64_t row, float value,
                                    organ_error *error);

/* Of several faults that of the first unit is told, whoever met it first. */
typedef struct organ_unit_faults {
    pthread_mutex_t lock;
    size_t unit;
    organ_error first;
} organ_unit_faults;
void organ_unit_faults_keep(organ_unit_faults *faults, size_t unit, const organ_error *error);

/* What `count` weights are stored in, "... and others" where not all alike: *first is that of the first module, the
 * next stands `stride` bytes behind. */
void organ_stored_as(const organ_weight *const *first, size_t stride, size_t count, char out[160]);

/* The report; NULL without memory. */
json_t *organ_orthogonality_document(const organ_orthogonality_job *job);

/* Modules told together. A module in which K or N is zero has no cosine and counts only for norms. */
typedef struct organ_noise_fold {
    uint64_t modules, elements;
    double change, square; /* |K|^2, |N|^2 of all */
    uint64_t defined;      /* modules with a cosine; of these: */
    double defined_change, defined_square, dot, variance, signs;
    double inside, inside_expected, inside_base; /* of those with k > 0 and noise: |U^T N|^2, (k / out) |N|^2, |N|^2 */
    uint64_t telling;                            /* of those with k < out: others cannot leak more or less */
    uint64_t beyond;                             /* |z| above the limit */
    double largest, largest_beyond;              /* |cosine|; of those beyond */
} organ_noise_fold;

/* Two matrices that are compared: their squares and their product. */
typedef struct organ_noise_comparison {
    double square, change, dot;
    double signs; /* the variance of `dot` if the signs of the first were random; 0: not told */
} organ_noise_comparison;

bool organ_is_compared(const organ_noise_comparison *c); /* whether there is a cosine: neither is zero */
double
organ_compared_cosine(const organ_noise_comparison *c); /* at most 1: the rounding of the sums is not of interest */
void organ_noise_fold_add(organ_noise_fold *fold, const organ_noise_comparison *c, uint64_t elements);

/* The verdict on one noise (0 or 1), and on how the two agree, from the fold of all modules: levels and sentences. NULL
 * without memory. */
json_t *organ_noise_verdict(const organ_noise_fold *all);
json_t *organ_agreement_verdict(const organ_noise_fold *all);

#endif
