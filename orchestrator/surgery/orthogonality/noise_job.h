/* SPDX-License-Identifier: MIT
 * Types and functions that orthogonality.h and noise_pairs.h share: the inputs, the modules, and the comparison of
 * cosines with chance. Both compare noises N = W_clean - W_noisy (quantisation errors) with a change K, or D, of the
 * weights. */
#ifndef ORGAN_NOISE_JOB_H
#define ORGAN_NOISE_JOB_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"
#include "orchestrator/stream/engine.h"
#include "orchestrator/stream/rows.h"

/* Limits of the verdicts; every report states them. */
#define ORGAN_Z_LIMIT        3.0  /* |z| up to which chance explains a cosine (z: its size in standard deviations) */
#define ORGAN_SMALL_COSINE   0.03 /* |cosine| up to which a relation is negligible: its square is 0.1 % of the energy */
#define ORGAN_LEAKAGE_ROOM   0.1  /* leakage within this share of its expectation is isotropic */
#define ORGAN_SMALL_RATIO    0.5  /* |N| / |K| of a small noise: at cosine 0, K is 80 % of |N|^2 + |K|^2 */
#define ORGAN_LARGE_RATIO    2.0  /* |N| / |K| of a large noise: K is 20 % of it */
#define ORGAN_MUCH_AGREEMENT 0.5  /* cosine of noises that are alike: one explains 25 % of the energy of the other */

/* Sums over the noise N of one noisy model in one module, in FP64. */
typedef struct organ_noise_sums {
    double square; /* |N|^2 */
    double dot;    /* <N, K> */
    double signs;  /* sum of N_ij^2 K_ij^2: the variance of <N, K> if the signs of N were random */
    double inside; /* |U_k^T N|^2, where U_k are the first k left singular vectors of K */
} organ_noise_sums;

/* Sums over the pairs A and B in one module, or in several modules, in FP64. D is the change (noise_pairs.h). */
typedef struct organ_pair_sums {
    double weight[2];                    /* |W_clean|^2 of A and B */
    double clean_difference;             /* |W_clean_B - W_clean_A|^2 */
    double noise[2];                     /* |N_A|^2, |N_B|^2 */
    double between, between_signs;       /* <N_A, N_B>; the sum of the squares of its terms */
    double noise_difference;             /* |N_A - N_B|^2 */
    double change;                       /* |D|^2 */
    double with_change[2];               /* <N_A, D>, <N_B, D> */
    double noise_difference_with_change; /* <N_A - N_B, D> */
} organ_pair_sums;

/* A module: one weight matrix that all models have. */
typedef struct organ_compared_module {
    const char *name;
    char *own_name; /* `name` if this struct owns it, else NULL */
    const organ_anatomy *anatomy;
    const organ_adapter_pair *pair;                /* its factors in the adapter; NULL without an adapter */
    const organ_weight *weight[ORGAN_ROW_SOURCES]; /* its weight in each model */
    size_t index;    /* index in the adapter, or in the weights of the first model; the stream of its random numbers */
    bool transposed; /* K = (B A)^T: embeddings, and layers that store their weight as in_features x out_features */
    size_t rows, cols; /* shape of the stored weight; stacked matrices are one below the other */
    /* The members from here on are measured, and ranks exchange them. */
    double drawn_mean, drawn_std; /* mean and standard deviation of the random cosines (organ_chance_baseline) */
    union {
        struct {            /* orthogonality.h */
            size_t k;       /* number of vectors in U_k; 0 if K is zero */
            double change;  /* |K|^2 */
            double between; /* <N_1, N_2> of the noises of two noisy models */
            organ_noise_sums noise[2];
        };
        organ_pair_sums sums; /* noise_pairs.h */
    };
} organ_compared_module;

/* The change D: between the clean models, from the clean model A to a tuned model, or of an adapter. */
typedef enum organ_pair_change { ORGAN_CHANGE_BETWEEN, ORGAN_CHANGE_TUNED, ORGAN_CHANGE_ADAPTER } organ_pair_change;

/* A run of orthogonality.h, which compares one clean model with one or two noisy ones, or of noise_pairs.h, which
 * compares two pairs of models. */
typedef struct organ_compared_job {
    const struct organ_orthogonality_options *options; /* NULL in a run of noise_pairs.h */
    const struct organ_noise_pairs_options *pairs;     /* NULL in a run of orthogonality.h */
    const organ_engine *engine;
    const organ_progress *progress;
    /* The inputs, in the order in which they are opened: the adapter, if there is one, then the models. */
    const char *adapter_path; /* NULL: none */
    const char *path[ORGAN_ROW_SOURCES];
    size_t sources;        /* number of models; the first is a clean one */
    const char *output;    /* directory of the reports; NULL: none */
    const char *requested; /* patterns of names of modules; NULL: all */
    unsigned draws;        /* random matrices per module */
    unsigned seed;
    bool force;
    organ_pair_change change; /* the kind of D; only noise_pairs.h */
    /* Set by organ_compared_open and later functions: */
    organ_model *model[ORGAN_ROW_SOURCES];
    organ_weights *weights[ORGAN_ROW_SOURCES];
    organ_adapter *adapter;
    organ_compared_module *modules; /* `count` modules, ordered by layer; modules outside all layers first */
    size_t count;
    double seconds; /* duration of the measurement */
    uint64_t bytes; /* bytes of the weights that are read */
} organ_compared_job;

/* Opens the adapter and the models. Returns ORGAN_USAGE for fewer than two draws, or for an output that exists or
 * contains an input; ORGAN_BAD_INPUT for an adapter of DoRA. The caller closes the job, also after an error. */
organ_status organ_compared_open(organ_compared_job *job, const organ_model_access *access, organ_error *error);
void organ_compared_close(organ_compared_job *job);

/* Sets job->modules, each with its weight in every model: the modules that the adapter changes, or without one the
 * projections of the first model, restricted to the patterns. Returns ORGAN_USAGE for a pattern that matches no module;
 * ORGAN_BAD_INPUT, with all mismatches, if a model lacks a module or has it in another shape. */
organ_status organ_compared_match(organ_compared_job *job, organ_error *error);

/* Calls `measure` for each module, on one of the ranks, and exchanges the measured members among ranks. Sets seconds
 * and bytes, and checks that no input has changed meanwhile. */
organ_status organ_compared_measure(organ_compared_job *job,
                                    organ_status (*measure)(void *job, size_t module, organ_error *error),
                                    organ_error *error);

/* Returns the weights of a module in all models as sources of rows, which are not open yet. */
organ_row_sources organ_compared_sources(const organ_compared_job *job, const organ_compared_module *module);

/* Computes from the headers the memory in bytes that one worker needs to measure a module. */
typedef organ_status organ_compared_need(const organ_compared_job *job, const organ_compared_module *module,
                                         uint64_t *bytes, organ_error *error);

/* Sets *widest to the module that needs the most memory, and *max to its bytes, if these exceed the memory of the
 * engine; otherwise *widest is NULL. */
organ_status organ_compared_widest(const organ_compared_job *job, organ_compared_need *need,
                                   const organ_compared_module **widest, uint64_t *max, organ_error *error);

/* Sets drawn_mean and drawn_std of the module. */
void organ_compared_draw(const organ_compared_job *job, organ_compared_module *module);

/* Returns the sum of 16 lanes, added pairwise in a fixed order. Overwrites the lanes. */
double organ_compared_fold_lanes(double *lanes);

/* The measuring functions of orthogonality.h: organ_orthogonality_check_memory returns ORGAN_USAGE if the memory of the
 * engine is too small for a module; organ_orthogonality_measure measures a module. */
organ_status organ_orthogonality_check_memory(const organ_compared_job *job, organ_error *error);
organ_status organ_orthogonality_measure(const organ_compared_job *job, organ_compared_module *module,
                                         organ_error *error);

/* Fails with ORGAN_BAD_INPUT: `value`, in row `row` of the module's weight in model `source`, is NaN or infinite. */
organ_status organ_compared_not_finite(const organ_compared_job *job, const organ_compared_module *module,
                                       size_t source, uint64_t row, float value, organ_error *error);

/* Writes how `count` weights are stored: the text of the first one, followed by "and others" if they differ. *first is
 * the weight of the first module; the pointers of the next modules are each `stride` bytes further. */
void organ_stored_as(const organ_weight *const *first, size_t stride, size_t count, char out[160]);

/* Returns the report of orthogonality.h; NULL if memory runs out. */
json_t *organ_orthogonality_document(const organ_compared_job *job);

/* Sums of a comparison of two matrices over several modules. A module in which one of them is zero has no cosine and
 * counts only for the norms. In the comparison of N with K, "square" is of N and "change" of K. */
typedef struct organ_noise_fold {
    uint64_t modules, elements;
    double change, square; /* |K|^2 and |N|^2 over all modules */
    uint64_t defined;      /* number of modules with a cosine */
    /* Over these modules: |K|^2, |N|^2, <N, K>, its variance for random matrices, and its variance if only the signs of
     * N are random. */
    double defined_change, defined_square, dot, variance, signs;
    /* Leakage, over the modules with noise and 0 < k < out, `informative` in number: |U^T N|^2, its expectation
     * (k / out) |N|^2, and |N|^2. With k = out the leakage is always 1. */
    double inside, inside_expected, inside_base;
    uint64_t informative;
    uint64_t beyond;                /* number of modules with |z| above ORGAN_Z_LIMIT */
    double largest, largest_beyond; /* largest |cosine| of all modules, and of those beyond the limit */
} organ_noise_fold;

/* Sums of two compared matrices, such as N and K: |N|^2 (square), |K|^2 (change) and <N, K> (dot). */
typedef struct organ_noise_comparison {
    double square, change, dot;
    double signs; /* variance of `dot` if only the signs of the first matrix were random; 0: unknown */
} organ_noise_comparison;

bool organ_is_compared(const organ_noise_comparison *c);       /* true if there is a cosine: neither matrix is zero */
double organ_compared_cosine(const organ_noise_comparison *c); /* at most 1, even if the sums have rounding errors */
/* Adds the comparison in a module of `elements` values to a fold. */
void organ_noise_fold_add(organ_noise_fold *fold, const organ_noise_comparison *c, uint64_t elements);

/* The folds of several modules. */
typedef struct organ_compared_fold {
    /* orthogonality.h: a noise with K, or both noises with each other, as `which` requests; noise_pairs.h: N_A with N_B
     */
    organ_noise_fold noises;
    /* Only noise_pairs.h: N_A, N_B and N_A - N_B with D, and the sums over the modules. */
    organ_noise_fold with_change[3];
    organ_pair_sums sums;
} organ_compared_fold;

/* The functions by which a report folds its modules. */
typedef struct organ_compared_folding {
    const organ_compared_job *job;
    int which; /* passed to both functions; selects a comparison */
    void (*add)(organ_compared_fold *fold, const organ_compared_module *module, int which);
    /* Adds the numbers of a fold to the object `name`, whose reference it takes, and returns it. */
    json_t *(*json)(json_t *name, const organ_compared_fold *fold, int which);
} organ_compared_folding;

/* Folds all modules. */
organ_compared_fold organ_compared_fold_all(const organ_compared_folding *folding);
/* Return rows for plots and tables, without rows that have no module: one per projection; one per layer, or with
 * `places` one per projection in each layer. */
json_t *organ_compared_projections_json(const organ_compared_folding *folding);
json_t *organ_compared_layers_json(const organ_compared_folding *folding, bool places);
/* Adds the cosine of a fold and its comparison with chance to `row`; with `signs` also z for random signs. */
void organ_compared_add_cosine(json_t *row, const organ_noise_fold *fold, bool signs);

/* Return parts of both reports: the random draws of a module; the counts of matrices; and the run, which begins with
 * the members of `inputs`, whose reference is taken. */
json_t *organ_compared_chance_json(const organ_compared_job *job, const organ_compared_module *module);
json_t *organ_compared_matrices_json(const organ_compared_job *job);
json_t *organ_compared_run_json(const organ_compared_job *job, json_t *inputs);

/* Return the verdict on one noise, and on the agreement of two noises, from the fold of all modules: levels and
 * sentences. NULL if memory runs out. */
json_t *organ_noise_verdict(const organ_noise_fold *all);
json_t *organ_agreement_verdict(const organ_noise_fold *all);

#endif
