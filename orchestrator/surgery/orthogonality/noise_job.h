/* SPDX-License-Identifier: MIT
 * Types that orthogonality.h and noise_pairs.h share: the inputs, the modules, and how cosines are judged. */
#ifndef ORGAN_NOISE_JOB_H
#define ORGAN_NOISE_JOB_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"
#include "orchestrator/stream/engine.h"
#include "orchestrator/stream/rows.h"

/* Thresholds of the words "a few", "about" and "much" in a verdict; every report states them. */
#define ORGAN_Z_LIMIT        3.0  /* |z| that chance seldom exceeds */
#define ORGAN_SMALL_COSINE   0.03 /* a cosine whose square is 0.1 % of the energy */
#define ORGAN_LEAKAGE_ROOM   0.1  /* leakage / expectation within 1 -+ this is as expected */
#define ORGAN_SMALL_RATIO    0.5  /* |N| / |K|: 80 % of the squared distance is the adapter's change */
#define ORGAN_LARGE_RATIO    2.0  /* 20 % of it */
#define ORGAN_MUCH_AGREEMENT 0.5  /* cosine of two noises: a quarter of the energy of one is a multiple of the other */

/* Sums over one noisy model in one module, in FP64. */
typedef struct organ_noise_sums {
    double square; /* |N|^2 */
    double dot;    /* <N, K> */
    double signs;  /* sum of N_ij^2 K_ij^2: the variance of <N, K> if the signs of N were random */
    double inside; /* |U_k^T N|^2 */
} organ_noise_sums;

/* Sums over one module of two pairs, or over several modules, in FP64. */
typedef struct organ_pair_sums {
    double weight[2];                    /* |W_clean|^2 of A and B */
    double clean_difference;             /* |W_clean_B - W_clean_A|^2 */
    double noise[2];                     /* |N_A|^2, |N_B|^2 */
    double between, between_signs;       /* <N_A, N_B>; sum of the squares of its terms */
    double noise_difference;             /* |N_A - N_B|^2 */
    double change;                       /* |D|^2 */
    double with_change[2];               /* <N_A, D>, <N_B, D> */
    double noise_difference_with_change; /* <N_A - N_B, D> */
} organ_pair_sums;

/* One matrix that all models have. */
typedef struct organ_compared_module {
    const char *name;
    char *own_name; /* `name` if no adapter owns it, else NULL */
    const organ_anatomy *anatomy;
    const organ_adapter_pair *pair;                /* NULL without an adapter */
    const organ_weight *weight[ORGAN_ROW_SOURCES]; /* in each model */
    size_t index;                                  /* in the adapter or model: selects the stream of random numbers */
    bool transposed;   /* K = (B A)^T: embeddings, and layers that store their weight as in_features x out_features */
    size_t rows, cols; /* of the stored weight */
    /* The measured members, which ranks exchange: all members from here to the end. */
    double drawn_mean, drawn_std;
    union {
        struct {            /* orthogonality.h */
            size_t k;       /* vectors in U_k; 0 if K is zero */
            double change;  /* |K|^2 */
            double between; /* <N_1, N_2> */
            organ_noise_sums noise[2];
        };
        organ_pair_sums sums; /* noise_pairs.h */
    };
} organ_compared_module;

typedef enum organ_pair_change { ORGAN_CHANGE_BETWEEN, ORGAN_CHANGE_TUNED, ORGAN_CHANGE_ADAPTER } organ_pair_change;

/* A run of orthogonality.h, which compares one clean model with one or two noisy ones, or of noise_pairs.h, which
 * compares two pairs. */
typedef struct organ_compared_job {
    const struct organ_orthogonality_options *options; /* NULL in a run of noise_pairs.h */
    const struct organ_noise_pairs_options *pairs;     /* NULL in a run of orthogonality.h */
    const organ_engine *engine;
    const organ_progress *progress;
    /* The inputs, in the order in which they are opened: the adapter, if there is one, then the models. */
    const char *adapter_path;
    const char *path[ORGAN_ROW_SOURCES];
    size_t sources;        /* models; the first is a clean one */
    const char *output;    /* directory of the reports; NULL: none */
    const char *requested; /* patterns on names of modules; NULL: all */
    unsigned draws;        /* of random matrices per module */
    unsigned seed;
    bool force;
    organ_pair_change change; /* noise_pairs.h */
    /* Set by organ_compared_open and later functions: */
    organ_model *model[ORGAN_ROW_SOURCES];
    organ_weights *weights[ORGAN_ROW_SOURCES];
    organ_adapter *adapter;
    organ_compared_module *modules; /* in the order of their layers, those in none first */
    size_t count;
    double seconds;
    uint64_t bytes; /* read */
} organ_compared_job;

/* Opens the inputs and notes what their headers report. ORGAN_USAGE for less than two draws, and for an output that
 * exists or contains an input; ORGAN_BAD_INPUT for an adapter of DoRA. The caller closes the job, also after an
 * error. */
organ_status organ_compared_open(organ_compared_job *job, const organ_model_access *access, organ_error *error);
void organ_compared_close(organ_compared_job *job);

/* Lists the modules, each with its weight in every model: those that the adapter changes, else the projections of the
 * first model. ORGAN_USAGE for a pattern that matches no module; ORGAN_BAD_INPUT, with all of them, for modules that a
 * model does not have in the same shape. */
organ_status organ_compared_match(organ_compared_job *job, organ_error *error);

/* Calls `measure` for each module, on one of the ranks, and gives the measured members to all. Sets `seconds` and
 * `bytes`, and checks that no input has changed meanwhile. */
organ_status organ_compared_measure(organ_compared_job *job,
                                    organ_status (*measure)(void *job, size_t module, organ_error *error),
                                    organ_error *error);

/* Returns the weights of a module as sources of rows, which are not opened yet. */
organ_row_sources organ_compared_sources(const organ_compared_job *job, const organ_compared_module *module);

/* A function that computes, from headers, the memory needed to measure one module with one worker. */
typedef organ_status organ_compared_need(const organ_compared_job *job, const organ_compared_module *module,
                                         uint64_t *bytes, organ_error *error);

/* Sets *widest to the module that needs most memory, and *max to that amount, if it exceeds the engine's memory; else
 * *widest is NULL. */
organ_status organ_compared_widest(const organ_compared_job *job, organ_compared_need *need,
                                   const organ_compared_module **widest, uint64_t *max, organ_error *error);

/* Sets the mean and deviation of the module's random draws. */
void organ_compared_draw(const organ_compared_job *job, organ_compared_module *module);

/* Adds up 16 lanes, pairwise; changes them. */
double organ_compared_fold_lanes(double *lanes);

/* The functions of orthogonality.h: organ_orthogonality_check_memory returns ORGAN_USAGE if the memory is too small;
 * organ_orthogonality_measure measures a module. */
organ_status organ_orthogonality_check_memory(const organ_compared_job *job, organ_error *error);
organ_status organ_orthogonality_measure(const organ_compared_job *job, organ_compared_module *module,
                                         organ_error *error);

/* Fails with ORGAN_BAD_INPUT: `value`, in row `row` of the module's weight in model `source`, is NaN or infinite. */
organ_status organ_compared_not_finite(const organ_compared_job *job, const organ_compared_module *module,
                                       size_t source, uint64_t row, float value, organ_error *error);

/* Describes how `count` weights are stored, with "... and others" if they differ. *first is the weight of the first
 * module, and consecutive ones are `stride` bytes apart. */
void organ_stored_as(const organ_weight *const *first, size_t stride, size_t count, char out[160]);

/* Returns the report; NULL if out of memory. */
json_t *organ_orthogonality_document(const organ_compared_job *job);

/* Sums over several modules. A module in which K or N is zero has no cosine and counts only for norms. */
typedef struct organ_noise_fold {
    uint64_t modules, elements;
    double change, square; /* |K|^2, |N|^2 of all */
    uint64_t defined;      /* modules with a cosine; of these: */
    double defined_change, defined_square, dot, variance, signs;
    double inside, inside_expected, inside_base; /* of those with k > 0 and noise: |U^T N|^2, (k / out) |N|^2, |N|^2 */
    uint64_t informative;                        /* of those with k < out: others cannot leak more or less */
    uint64_t beyond;                             /* |z| above the limit */
    double largest, largest_beyond;              /* |cosine|; of those beyond */
} organ_noise_fold;

/* Two matrices that are compared: their squares and their product. */
typedef struct organ_noise_comparison {
    double square, change, dot;
    double signs; /* the variance of `dot` if the signs of the first were random; 0: unknown */
} organ_noise_comparison;

bool organ_is_compared(const organ_noise_comparison *c); /* returns whether there is a cosine: neither matrix is zero */
double organ_compared_cosine(const organ_noise_comparison *c); /* at most 1, even if the sums have rounding errors */
void organ_noise_fold_add(organ_noise_fold *fold, const organ_noise_comparison *c, uint64_t elements);

/* Sums over several modules, and their cosines compared with chance. */
typedef struct organ_compared_fold {
    organ_noise_fold noises; /* orthogonality.h: the noise or both noises, as `which` requests; noise_pairs.h: N_A with
                                N_B */
    /* noise_pairs.h alone: */
    organ_noise_fold with_change[3]; /* N_A, N_B and N_A - N_B with the change */
    organ_pair_sums sums;
} organ_compared_fold;

/* How a document folds modules. */
typedef struct organ_compared_folding {
    const organ_compared_job *job;
    int which; /* passed to both functions */
    void (*add)(organ_compared_fold *fold, const organ_compared_module *module, int which);
    /* Adds the numbers of a fold to the members in `name`, which it takes over and returns. */
    json_t *(*json)(json_t *name, const organ_compared_fold *fold, int which);
} organ_compared_folding;

organ_compared_fold organ_compared_fold_all(const organ_compared_folding *folding);
/* Return rows for plots and tables, without rows that sum no module: per projection; per layer, or with `places` per
 * projection in each layer. */
json_t *organ_compared_projections_json(const organ_compared_folding *folding);
json_t *organ_compared_layers_json(const organ_compared_folding *folding, bool places);
/* Adds the cosine of a fold compared with chance; with `signs` also with random signs. */
void organ_compared_add_cosine(json_t *row, const organ_noise_fold *fold, bool signs);

/* Parts of both documents: the random draws of a module; the matrices; the run, `inputs` first, which it takes over. */
json_t *organ_compared_chance_json(const organ_compared_job *job, const organ_compared_module *module);
json_t *organ_compared_matrices_json(const organ_compared_job *job);
json_t *organ_compared_run_json(const organ_compared_job *job, json_t *inputs);

/* Return the verdict on one noise (0 or 1), and on how the two agree, from the fold of all modules: levels and
 * sentences. NULL if out of memory. */
json_t *organ_noise_verdict(const organ_noise_fold *all);
json_t *organ_agreement_verdict(const organ_noise_fold *all);

#endif
