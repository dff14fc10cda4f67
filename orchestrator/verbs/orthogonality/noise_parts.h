/* SPDX-License-Identifier: MIT
 * Declarations that the sources of this room share. */
#ifndef ORGAN_VERBS_ORTHOGONALITY_NOISE_PARTS_H
#define ORGAN_VERBS_ORTHOGONALITY_NOISE_PARTS_H

#include "orchestrator/stream/read_rows.h"
#include "orchestrator/surgery/adapter/adapter.h"

#include <organ/stream.h>
#include <organ/weights.h>
#include <stddef.h>
#include <stdint.h>

/* Types and functions that both comparisons share: the inputs, the modules, and the comparison of
 * cosines with chance.
 *
 * Words: a clean model is unquantised, a noisy model is its quantised copy. The noise N = W_clean - W_noisy is the
 * quantisation error of a weight. The change is K = scale B A of an adapter; organ_noise_pairs calls it D and allows
 * two other kinds (organ_pair_change). |X| is the Frobenius norm, <X, Y> the sum of the products of corresponding
 * elements. z is a cosine divided by its standard deviation for random matrices. The leakage is |U_k^T N| / |N|: the
 * share of N in the output directions of K. Method A makes an adapter from an unquantised base and applies it to the
 * quantised base; Method B makes it from the quantised base. */

/* Limits of the verdicts; every report states them. */
#define ORGAN_Z_LIMIT        3.0  /* |z| up to which chance explains a cosine */
#define ORGAN_SMALL_COSINE   0.03 /* |cosine| up to which a relation is negligible: its square is 0.1 % of the energy */
#define ORGAN_LEAKAGE_ROOM   0.1  /* leakage that differs from its expectation by at most this share is isotropic */
#define ORGAN_SMALL_RATIO    0.5  /* |N| / |K| of a small noise: at cosine 0, |K|^2 is 80 % of |N|^2 + |K|^2 */
#define ORGAN_LARGE_RATIO    2.0  /* |N| / |K| of a large noise: at cosine 0, |K|^2 is 20 % of |N|^2 + |K|^2 */
#define ORGAN_MUCH_AGREEMENT 0.5  /* cosine of noises that are alike: one explains 25 % of the energy of the other */

/* Sums over the noise N of one noisy model in one module, in FP64. */
typedef struct organ_noise_sums {
    double square; /* |N|^2 */
    double dot;    /* <N, K> */
    double signs;  /* sum of N_ij^2 K_ij^2: the variance of <N, K> if only the signs of N were random */
    double inside; /* |U_k^T N|^2, where U_k are the first k left singular vectors of K */
} organ_noise_sums;

/* Sums over the weights of pair A and pair B (a clean and a noisy model each) in one module or several, in FP64. */
typedef struct organ_pair_sums {
    double weight[2];                    /* |W_clean|^2 of A and B */
    double clean_difference;             /* |W_clean_B - W_clean_A|^2 */
    double noise[2];                     /* |N_A|^2, |N_B|^2 */
    double between;                      /* <N_A, N_B> */
    double between_signs;                /* variance of `between` if only the signs of N_A were random */
    double noise_difference;             /* |N_A - N_B|^2 */
    double change;                       /* |D|^2 */
    double with_change[2];               /* <N_A, D>, <N_B, D> */
    double noise_difference_with_change; /* <N_A - N_B, D> */
} organ_pair_sums;

/* A module: one weight matrix that all models have. */
typedef struct organ_compared_module {
    const char *name; /* without ".weight" */
    char *own_name;   /* `name` if this struct owns it, else NULL */
    const organ_anatomy *anatomy;
    const organ_adapter_pair *pair;                /* its factors in the adapter; NULL without an adapter */
    const organ_weight *weight[ORGAN_ROW_SOURCES]; /* its weight in each model */
    size_t index; /* index in adapter->pairs, or in weights[0] without an adapter; also stream of its random cosines */
    bool transposed;   /* K = (B A)^T: embeddings, and layers that store their weight as in_features x out_features */
    size_t rows, cols; /* shape of the stored weight; stacked matrices are one below the other */
    /* The members from here on are measured; the processes of the run exchange them. */
    double drawn_mean, drawn_std; /* mean and standard deviation of the random cosines (organ_chance_baseline) */
    union {
        struct {                       /* of `orthogonality` */
            size_t k;                  /* number of left singular vectors of K that U_k has; 0 if K is zero */
            double change;             /* |K|^2 */
            double between;            /* <N_1, N_2> of the noises of two noisy models */
            organ_noise_sums noise[2]; /* of the first and the second noisy model */
        };
        organ_pair_sums sums; /* of --pairs */
    };
} organ_compared_module;

/* The change D: between the clean models, from the clean model A to a tuned model, or of an adapter. */
typedef enum organ_pair_change { ORGAN_CHANGE_BETWEEN, ORGAN_CHANGE_TUNED, ORGAN_CHANGE_ADAPTER } organ_pair_change;

struct organ_compared_job;

/* What organ_orthogonality and organ_noise_pairs each do in their own way. */
typedef struct organ_comparison {
    /* Returns ORGAN_USAGE for models that cannot be compared. NULL: all can. */
    organ_status (*check)(const struct organ_compared_job *job, organ_error *error);
    /* Computes from the headers the memory in bytes that one worker needs to measure a module. */
    organ_status (*need)(const struct organ_compared_job *job, const organ_compared_module *module, uint64_t *bytes,
                         organ_error *error);
    const char *room[2]; /* what that memory is for, before and after the name of the module */
    /* Sets the measured members of a module. Returns errors of reading, ORGAN_BAD_INPUT for values that are not finite,
     * ORGAN_IO if memory runs out, ORGAN_INTERRUPTED if a stop was requested. */
    organ_status (*measure)(const struct organ_compared_job *job, organ_compared_module *module, organ_error *error);
    /* Writes what the progress says of a module with a cosine; returns false if it has none. */
    bool (*remark)(const organ_compared_module *module, char text[64]);
    json_t *(*document)(const struct organ_compared_job *job); /* returns the report; NULL if memory runs out */
    organ_more_reports *more;                                  /* of organ_reports_make; may be NULL */
} organ_comparison;

/* A run of organ_orthogonality, which compares one clean model with one or two noisy ones, or of organ_noise_pairs,
 * which compares two pairs of models. */
typedef struct organ_compared_job {
    const struct organ_orthogonality_options *options; /* NULL in a run of organ_noise_pairs */
    const struct organ_noise_pairs_options *pairs;     /* NULL in a run of organ_orthogonality */
    const organ_comparison *comparison;
    const organ_engine *engine;
    const organ_progress *progress;
    /* The inputs, in the order in which they are opened: the adapter, if there is one, then the models. */
    const char *adapter_path; /* NULL: none */
    const char *path[ORGAN_ROW_SOURCES];
    size_t sources;           /* number of models; the first is a clean one */
    const char *output;       /* directory of the reports; NULL: none */
    const char *requested;    /* --select: patterns of names of modules; NULL: all */
    unsigned draws;           /* number of random cosines for each module */
    unsigned seed;            /* seed of the random cosines */
    bool force;               /* replace an existing output */
    organ_pair_change change; /* the kind of D; only organ_noise_pairs */
    /* Set by organ_compared_run: */
    organ_model *model[ORGAN_ROW_SOURCES];
    organ_weights *weights[ORGAN_ROW_SOURCES];
    organ_adapter *adapter;
    organ_lora_orientation orientation; /* of the first model, with an adapter */
    organ_compared_module *modules;     /* `count` modules, ordered by layer; modules outside all layers first */
    size_t count;
    double seconds; /* duration of the measurement */
    uint64_t bytes; /* bytes of the weights that are read */
} organ_compared_job;

/* Opens the inputs, finds the modules that all of them have, measures each in one process of the run, and makes the
 * report. The caller has set the members of the job down to `change`. The other arguments are those of the verb and of
 * its options. Returns
 *   - ORGAN_USAGE for fewer than two draws, for an output that exists or contains an input, for a pattern of --select
 *     that matches no module, and if a module needs more memory than the engine has;
 *   - ORGAN_BAD_INPUT for an adapter with DoRA, if no module remains, or if a model lacks a module or has it in another
 *     shape: the message then has as many of these mismatches as fit, and the number of the others;
 *   - the errors of opening and measuring, and an error if an input has changed meanwhile. */
organ_status organ_compared_run(organ_compared_job *job, const organ_model_access *access,
                                const organ_progress *progress, json_t **report, organ_error *error);

/* Returns the weights of a module in all models as sources of rows, which are not open yet. */
organ_row_sources organ_compared_sources(const organ_compared_job *job, const organ_compared_module *module);

/* Draws the random cosines of the module and sets its drawn_mean and drawn_std. */
void organ_compared_draw(const organ_compared_job *job, organ_compared_module *module);

/* Returns the sum of 16 lanes (partial sums), added pairwise in a fixed order. Overwrites the lanes. */
double organ_compared_fold_lanes(double *lanes);

/* `need` and `measure` of organ_orthogonality (noise.c). */
organ_status organ_orthogonality_need(const organ_compared_job *job, const organ_compared_module *module,
                                      uint64_t *bytes, organ_error *error);
organ_status organ_orthogonality_measure(const organ_compared_job *job, organ_compared_module *module,
                                         organ_error *error);

/* Fails with ORGAN_BAD_INPUT: `value`, in row `row` of the module's weight in model `source`, is NaN or infinite. */
organ_status organ_compared_not_finite(const organ_compared_job *job, const organ_compared_module *module,
                                       size_t source, uint64_t row, float value, organ_error *error);

/* Sets `out` to a text on how `count` weights are stored: that of the first weight, with " and others" if another
 * weight is stored differently. `first` is the address of the pointer to the first weight; the pointers to the next
 * weights follow at distances of `stride` bytes. */
void organ_stored_as(const organ_weight *const *first, size_t stride, size_t count, char out[160]);

/* Sums of the comparison of two matrices over several modules. The comments call the first matrix N and the second K;
 * for a comparison of two noises, K is the second noise. A module in which one of them is zero has no cosine and counts
 * only for the norms. */
typedef struct organ_noise_fold {
    uint64_t modules, elements; /* number of modules, and of the elements of one of their matrices */
    double change, square;      /* |K|^2 and |N|^2 over all modules */
    uint64_t defined;           /* number of modules with a cosine */
    /* Over the modules with a cosine: |K|^2, |N|^2, <N, K>, the variance of <N, K> for random matrices, and its
     * variance if only the signs of N are random. */
    double defined_change, defined_square, dot, variance, signs;
    /* Leakage, over the modules with noise and 0 < k < rows: |U_k^T N|^2, its expectation (k / rows) |N|^2 for random
     * N, and |N|^2. With k = rows the leakage is always 1. */
    double inside, inside_expected, inside_base;
    uint64_t informative;           /* number of modules that these three sums include */
    uint64_t beyond;                /* number of modules with |z| above ORGAN_Z_LIMIT */
    double largest, largest_beyond; /* largest |cosine| of a module, and of a module beyond the limit */
} organ_noise_fold;

/* The comparison of two matrices, such as N and K, in one module. */
typedef struct organ_noise_comparison {
    double square, change, dot; /* |N|^2, |K|^2 and <N, K> */
    double signs;               /* variance of `dot` if only the signs of the first matrix were random; 0: unknown */
} organ_noise_comparison;

/* Returns whether the two matrices have a cosine: neither is zero. */
bool organ_is_compared(const organ_noise_comparison *c);

/* Returns the cosine, limited to -1 .. 1. organ_is_compared must be true. */
double organ_compared_cosine(const organ_noise_comparison *c);

/* Adds the comparison of two matrices of `elements` values, those of one module, to a fold. */
void organ_noise_fold_add(organ_noise_fold *fold, const organ_noise_comparison *c, uint64_t elements);

/* All sums over several modules from which a report makes a row. */
typedef struct organ_compared_fold {
    /* organ_orthogonality: the comparison that organ_compared_folding.which selects; organ_noise_pairs: N_A with N_B */
    organ_noise_fold noises;
    /* Only organ_noise_pairs: N_A, N_B and N_A - N_B with D, and the sums over the modules. */
    organ_noise_fold with_change[3];
    organ_pair_sums sums;
} organ_compared_fold;

/* The functions with which a report sums modules and makes rows of the sums. */
typedef struct organ_compared_folding {
    const organ_compared_job *job;
    int which; /* argument of `add` and `json`: the comparison; not used by organ_noise_pairs */
    /* Adds a module to a fold. */
    void (*add)(organ_compared_fold *fold, const organ_compared_module *module, int which);
    /* Adds the numbers of a fold to `row`, an object with the projection and the layer, and returns `row`. */
    json_t *(*json)(json_t *row, const organ_compared_fold *fold, int which);
} organ_compared_folding;

/* Returns the sums over all modules. */
organ_compared_fold organ_compared_fold_all(const organ_compared_folding *folding);

/* Returns an array with a row for each projection that has modules. */
json_t *organ_compared_projections_json(const organ_compared_folding *folding);

/* Returns an array with a row for each layer or, with `places`, for each projection of each layer. */
json_t *organ_compared_layers_json(const organ_compared_folding *folding, bool places);

/* Adds the cosine of a fold and its comparison with chance to `row`; with `signs` also z for random signs. */
void organ_compared_add_cosine(json_t *row, const organ_noise_fold *fold, bool signs);

/* Returns the member "chance" of a module's row: number, mean and standard deviation of its random cosines. */
json_t *organ_compared_chance_json(const organ_compared_job *job, const organ_compared_module *module);

/* Returns the member "matrices": the counts of the compared matrices (organ_matrices_among). */
json_t *organ_compared_matrices_json(const organ_compared_job *job);

/* Returns the member "run": the members of `inputs`, which it takes over, then output, time and machine. */
json_t *organ_compared_run_json(const organ_compared_job *job, json_t *inputs);

/* Returns the verdict on a noise and an adapter from the fold of all modules: an object with a level (a word) for each
 * of "direction", "leakage" and "magnitude", "beyond_allowed" (the number of modules whose |z| may exceed the limit by
 * chance), and "sentences". NULL if memory runs out. */
json_t *organ_noise_verdict(const organ_noise_fold *all);

/* Returns the verdict on the agreement of two noises from the fold of all modules: an object with "level" and
 * sentences. NULL if memory runs out. */
json_t *organ_agreement_verdict(const organ_noise_fold *all);

/* ---- two pairs ---- */

/* Declarations that the sources of noise_pairs share. */

/* Limits of the verdict on the premise of Method A, that N_A and N_B are equal and cancel. */
#define ORGAN_ASSUMPTION_HOLDS 0.5  /* largest |N_A - N_B| / |N_A|: a quarter of the energy of N_A remains */
#define ORGAN_FACTOR_ROOM      0.25 /* norms count as equal if their quotient differs from 1 by at most this */

/* Indices of the models of a job of organ_noise_pairs. ORGAN_TUNED is only used if the change is that of a tuned model.
 */
typedef enum organ_pair_source {
    ORGAN_CLEAN_A,
    ORGAN_NOISY_A,
    ORGAN_CLEAN_B,
    ORGAN_NOISY_B,
    ORGAN_TUNED
} organ_pair_source;

/* `need` and `measure` of organ_noise_pairs (noise_pairs_sums.c). */
organ_status organ_pairs_need(const organ_compared_job *job, const organ_compared_module *module, uint64_t *bytes,
                              organ_error *error);
organ_status organ_pairs_measure(const organ_compared_job *job, organ_compared_module *module, organ_error *error);

/* ---- random matrices ---- */

/* Statistics of random matrices. The cosine of a matrix G of n independent normal values with any fixed matrix K is t =
 * <G, K> / (|G| |K|). <G, K> / |K| is one normal value g, and the rest of |G|^2 is an independent chi-square value of n
 * - 1 degrees of freedom, so that t = g / sqrt(g^2 + chi^2(n-1)): two random numbers instead of n give an exact draw.
 * Its mean is 0 and its standard deviation 1 / sqrt(n), for any norm of G. */

/* Returns the cosine of a random matrix of `elements` normal values (at least 1) with a fixed matrix. It is draw number
 * `draw` of the sequence of `stream`: equal arguments give equal numbers, and each stream of a seed has another
 * sequence. */
double organ_chance_cosine(uint64_t seed, uint64_t stream, uint64_t draw, uint64_t elements);

/* Sets *mean and *std to the mean and the standard deviation (divisor draws - 1) of the cosines that
 * organ_chance_cosine returns for 0 .. draws - 1; `draws` is at least 2. */
void organ_chance_baseline(uint64_t seed, uint64_t stream, unsigned draws, uint64_t elements, double *mean,
                           double *std);

/* Returns the standard deviation of the share of its squared norm that a random m x n matrix has in k of its m output
 * directions. This share has the distribution Beta(k n / 2, (m - k) n / 2), with mean k / m. */
double organ_chance_share_std(double k, double m, double n);

/* Returns the smallest k such that, with a probability of at least 99 %, at most k of `count` independent standard
 * normal values have a magnitude above 3. */
size_t organ_chance_beyond(size_t count);

#endif
