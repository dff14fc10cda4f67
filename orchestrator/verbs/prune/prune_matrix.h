/* SPDX-License-Identifier: MIT
 * Pruning of one matrix by its input statistics: physarum v2 and v3, and the methods they are compared with
 * (docs/definitions/pruning.md). Results are bit-identical for any number of threads; the C library's exp2 and log2,
 * with which the flow of v2 and v3 searches its gain, may differ between CPUs (docs/definitions/determinism.md).
 *
 * H are the second moments of the inputs, C those between the donor's inputs and the inputs here
 * (organ_input_moments). */
#ifndef ORGAN_VERBS_PRUNE_PRUNE_MATRIX_H
#define ORGAN_VERBS_PRUNE_PRUNE_MATRIX_H

#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <organ/stream.h>
#include <stddef.h>
#include <stdint.h>

/* A matrix in bands of rows, in its stored type: either completely in memory, or read from a model one band at a time.
 * The caller may read the bands several times.
 *
 * stream/read_rows.h also reads rows in sets, but calls a function for each set. Here the caller requests a band: a
 * pruning method works on a band in several steps of all workers, decides from the results whether it needs the band
 * again, and changes the stored weights in place. */

/* A matrix that is read in bands: groups of consecutive rows. */
typedef struct organ_matrix_bands {
    const char *name; /* for messages */
    size_t rows, cols;
    organ_dtype dtype; /* F32, F16 or BF16 */
    size_t band_rows;  /* rows of each band; the last may have fewer. At least 1. If equal to `rows`, the matrix is read
                        * once and stays in memory */
    void *values;      /* buffer for a band, of the caller; if `model` is NULL, the whole matrix */
    const organ_model *model; /* the model that the matrix is read from; NULL: it is in memory */
    uint32_t file;            /* number of the model's file that contains the matrix */
    uint64_t offset;          /* offset of the matrix in this file, in bytes */
    /* Set by organ_matrix_band; all 0 at first. */
    bool loaded;    /* `values` contains the band that begins at row `at` */
    size_t at;      /* first row of the loaded band */
    size_t checked; /* the weights of rows [0, checked) were found to be finite */
} organ_matrix_bands;

/* Return the number of rows, and of bytes in the stored type, of the band that begins at row `first`. */
size_t organ_matrix_band_rows(const organ_matrix_bands *bands, size_t first);
size_t organ_matrix_band_bytes(const organ_matrix_bands *bands, size_t first);

/* Loads the band that begins at row `first`, a multiple of band_rows, into bands->values unless it is there already.
 * Checks the weights of rows that were not checked before. Returns ORGAN_BAD_INPUT if a weight is not finite, with its
 * row and column; ORGAN_INTERRUPTED if the engine is stopped; errors of reading. */
organ_status organ_matrix_band(const organ_engine *engine, organ_matrix_bands *bands, size_t first, organ_error *error);

/* Returns n weights of the loaded band as FP32, from element `at` (row in the band times cols, plus column) on: a
 * pointer into the band if it is FP32, else `scratch` (n values), into which it converts them. */
const float *organ_matrix_band_values(const organ_engine *engine, const organ_matrix_bands *bands, size_t at, size_t n,
                                      float *scratch);

/* ---- masks from the flow of physarum v1 ---- */

/* Masks for a requested sparsity from the flow of physarum v1 (docs/definitions/pruning.md), run over importances in
 * place of magnitudes; and patterns that keep N of M neighbours. The flow gives each weight a conductivity and removes
 * the weights with a low one. Its parameter, the gain, decides how many: a higher gain removes fewer weights. */

#define ORGAN_FLOW_TILE ((size_t)256) /* rows and columns of a tile */
/* Accepted distances from the requested sparsity, in percentage points: for the final mask, and for the stages before
 * it. The distance is larger only if no tried gain comes nearer. The final value is far
 * below the digits that reports show, because small changes of the mask change the refitted weights. */
#define ORGAN_FLOW_TOLERANCE       0.004
#define ORGAN_FLOW_STAGE_TOLERANCE 0.25

#define ORGAN_PATTERN_MAX 16 /* greatest number of neighbours in a group of a pattern */

/* Keeps `keep` of each `of` neighbours in a row, a group. Groups begin at columns 0, of, 2 of, ... of = 0: no
 * pattern. */
typedef struct organ_pattern {
    unsigned keep, of;
} organ_pattern;

/* The importances over which the flow runs: importance(i, j) = |weights(i, j)| * food[j]. */
typedef struct organ_flow {
    organ_matrix_bands *weights; /* band_rows is a multiple of ORGAN_FLOW_TILE, or the matrix is one band */
    const float *food;           /* importance of each input (column), >= 0 and at most about 1 */
    organ_pattern pattern; /* if the flow removes more weights of a group than the pattern would, the most important of
                              them are kept; of = 0: no pattern */
    double tolerance;      /* accepted distance from the requested sparsity, in percentage points */
} organ_flow;

typedef struct organ_flow_gain {
    double gain;   /* INFINITY: removing all weights without importance was enough */
    double killed; /* percent of zeros in the resulting mask */
    double fall;   /* percentage points by which the sparsity falls if the gain doubles; 0: unknown, and the next search
                      first tries an infinite gain */
    bool mask_written; /* `kept` of organ_flow_search contains the mask for `gain`; false: organ_flow_mask must compute
                        * it */
} organ_flow_gain;

/* Searches for the gain with which the flow leaves `percent` percent of the mask at zero.
 *
 * The flow (30 iterations, beta 2, coupling 1) runs in tiles of ORGAN_FLOW_TILE rows and columns; with a pattern, in as
 * many columns as make whole groups. On entry *found is the start of the search: a gain with `fall` 0, or the result of
 * a search for a lower sparsity. On return it is the result. With percent = 0 the flow runs once, at found->gain.
 *
 * Masks are 1 for kept weights and cover a matrix of one band. `before` is the mask before the flow, NULL if all
 * weights are kept; weights that it removes are zero in the matrix and stay removed. A tile whose importances are all 0
 * loses no weight. `kept` receives the mask of the last tried gain (found->mask_written); NULL if only the gain is
 * needed.
 *
 * Returns ORGAN_BAD_INPUT if a weight is not finite, ORGAN_INTERRUPTED if stopped, ORGAN_IO if memory cannot be
 * allocated; errors of organ_matrix_band. */
organ_status organ_flow_search(const organ_engine *engine, const organ_flow *flow, double percent,
                               const uint8_t *before, uint8_t *kept, organ_flow_gain *found, organ_error *error);

/* Computes the mask `kept` of the band that begins at row `first`: runs the flow at `gain` over the weights that
 * `before` keeps (NULL: all). Returns the errors of organ_flow_search. */
organ_status organ_flow_mask(const organ_engine *engine, const organ_flow *flow, double gain, size_t first,
                             const uint8_t *before, uint8_t *kept, organ_error *error);

/* Applies flow->pattern to the mask `keep` of the band that begins at row `first`: of each group, the most important
 * weights that `keep` keeps stay, of equal ones the first. The number of columns is a multiple of pattern.of. Returns
 * errors of organ_matrix_band. */
organ_status organ_flow_pattern(const organ_engine *engine, const organ_flow *flow, size_t first, uint8_t *keep,
                                organ_error *error);

/* Returns the bytes that a search or a mask needs, without the band and its masks. */
uint64_t organ_flow_memory(size_t workers);

/* Applies the pattern to one group, whose `scores` and mask `keep` have pattern->of values: of the weights with keep 1,
 * those with the pattern->keep highest scores stay at 1, the first ones if scores are equal. All others become 0. */
void organ_pattern_group(const organ_pattern *pattern, const float *scores, uint8_t *keep);

/* ---- ADMM ---- */

/* Pruning of a matrix to a given number of kept weights with the least quadratic loss, by ADMM (Meng et al. 2024, ALPS,
 * arXiv 2406.07831). ADMM alternates between two matrices. V is dense and solves a least-squares problem with the
 * penalty rho ||V - D||^2. D has the largest entries of V + U / rho, with U the multiplier, and is 0 elsewhere. The
 * caller chooses rho for each step; a larger rho makes V and D agree. Results are bit-identical on every machine and
 * for any number of threads. */

#define ORGAN_ADMM_FACTORS 4 /* number of factors that matrices can share */

/* Cholesky factors of H + rho I for several rho, which matrices with the same H share. The first matrix that needs a
 * factor computes it. All members are zero at first. */
typedef struct organ_admm_factors {
    size_t count;                      /* number of computed factors */
    float rho[ORGAN_ADMM_FACTORS];     /* rho of each factor */
    float *values[ORGAN_ADMM_FACTORS]; /* each factor, as diagonal blocks like organ_block_matrix.values */
    organ_buffers buffers;
} organ_admm_factors;

/* Returns the bytes of ORGAN_ADMM_FACTORS factors for an H of `size` columns whose diagonal blocks are `block`
 * wide. */
uint64_t organ_admm_factors_memory(uint64_t size, uint64_t block);
/* Frees the factors and sets all members to zero. */
void organ_admm_factors_release(organ_admm_factors *factors);

/* The problem: minimise tr(V H V^T) - 2 tr(T V^T) over matrices V (rows x H.size) that have a given number of nonzero
 * entries. With T = W H this is, except for a constant, the squared error of the layer's output
 * if V replaces W. */
typedef struct organ_admm_problem {
    const char *name; /* for messages */
    size_t rows;
    organ_block_matrix h;        /* positive definite; scaled in place to a diagonal of ones, and must outlive *admm */
    float *values;               /* the values of h, which organ_admm_create scales */
    float *target;               /* T, rows x H.size; overwritten with the scaled T, then with the residual of
                                  * organ_admm_finish */
    size_t killed;               /* number of weights to remove from the matrix; ignored if there is a pattern */
    organ_pattern pattern;       /* of = 0: none */
    organ_admm_factors *factors; /* shared factors for this H; NULL: the solver keeps one factor and recomputes it
                                  * when rho changes */
} organ_admm_problem;

typedef struct organ_admm organ_admm;

/* Creates a solver, and scales problem->values and problem->target in place. The caller destroys *admm. Returns
 * ORGAN_IO if memory cannot be allocated; *admm is NULL then. */
organ_status organ_admm_create(const organ_engine *engine, const organ_admm_problem *problem, organ_admm **admm,
                               organ_error *error);
void organ_admm_destroy(organ_admm *admm); /* NULL is allowed */

/* Starts the iterations: sets D to the kept values of `weights` (rows x H.size), and the multiplier to 0. `keep` is the
 * mask, rows x H.size, 1 for a kept weight. If `given` is false, organ_admm_begin first sets `keep`: it keeps the
 * weights w_ij with the largest |w_ij| sqrt(H_jj). May be called again to restart. */
void organ_admm_begin(organ_admm *admm, const float *weights, bool given, uint8_t *keep);

/* Runs one iteration with penalty `rho` and over-relaxation `relaxed` in [1, 2): V is replaced by relaxed V + (1 -
 * relaxed) D. `keep` (1 or 0, rows x H.size) is the mask of the last D on entry and that of the new D on return.
 * Returns ORGAN_BAD_INPUT if H + rho I is not positive definite, ORGAN_INTERRUPTED if the engine is stopped, ORGAN_IO
 * if memory cannot be allocated. */
organ_status organ_admm_step(organ_admm *admm, double rho, double relaxed, uint8_t *keep, organ_error *error);

/* Writes D of the last iteration to `weights`, 0 for removed weights. `keep` is the mask that organ_admm_step has set.
 * No other call on *admm may follow, except organ_admm_destroy. */
void organ_admm_write_result(organ_admm *admm, const uint8_t *keep, float *weights);

/* Refits the kept weights with `steps` conjugate-gradient steps towards their least-squares solution, starting from D
 * of the last iteration, and writes them to `weights`, 0 for removed weights. `keep` is the mask that organ_admm_step
 * has set. Returns ORGAN_INTERRUPTED if the engine is stopped, ORGAN_IO if memory cannot be allocated. No other call on
 * *admm may follow, except organ_admm_destroy. */
organ_status organ_admm_finish(organ_admm *admm, const uint8_t *keep, unsigned steps, float *weights,
                               organ_error *error);

/* Returns an upper bound of the bytes that *admm allocates for a matrix of rows x cols, without the factors. */
uint64_t organ_admm_memory(const organ_engine *engine, uint64_t rows, uint64_t cols);

#define ORGAN_PRUNE_STAGES 7 /* stages of physarum v2 */

typedef enum organ_prune_method {
    ORGAN_PRUNE_PHYSARUM_V2, /* flow over importances in stages, and after each stage least squares on kept weights */
    ORGAN_PRUNE_MAGNITUDE,   /* removes the weights of smallest |w| in the matrix; needs no calibration */
    ORGAN_PRUNE_WANDA,       /* removes the weights of smallest |w| act_norm in each row (Sun et al. 2023) */
    ORGAN_PRUNE_ALPS,        /* Meng et al. 2024: ADMM on the whole matrix */
    ORGAN_PRUNE_PHYSARUM_V3, /* ADMM for the error of v2, starting from the mask of a flow */
    ORGAN_PRUNE_SPARSEGPT /* Frantar & Alistarh 2023: blocks of 128 columns, damping 0.01 of the mean of the diagonal */
} organ_prune_method;

/* The factor of the inverse of H (organ_inverse_factor); all 0 at first. */
typedef struct organ_prune_inverse {
    float *values;
    organ_buffers buffers;
} organ_prune_inverse;

typedef struct organ_prune_matrix_options {
    organ_prune_method method;
    const char *name; /* of the tensor, for messages */
    double sparsity;  /* percent of zeros, in (0, 100); 0: physarum v2 and v3 remove as many weights as the flow at gain
                       * 6. Must be 0 with a pattern */
    organ_pattern pattern; /* of = 0: none */
    bool no_compensate;    /* physarum v2: one flow without least squares; kept weights keep their bits */
    double effort; /* in (0, 100]. v2: factor of the numbers of products with H after the seven stages, 1/4, 1/4, 1, 1,
                    * 1, 1 and 3; v3: factor of the iterations of ADMM */
    bool measure;  /* compute output_error, with two more products with H */
    /* Factors that organ_prune_share lets matrices with the same inputs use together; NULL: not shared. */
    organ_admm_factors *factors;  /* physarum v3 */
    organ_prune_inverse *inverse; /* sparsegpt; if its values are NULL, the matrix computes them */
} organ_prune_matrix_options;

typedef struct organ_prune_matrix_report {
    /* Numbers of weights: those that are zero before pruning, those that are zero after it, and all. */
    uint64_t zero_before, zero_after, elements;
    double sparsity;         /* percent of weights that the mask removes; above the request if more weights have
                              * importance 0 */
    double natural_sparsity; /* physarum v2 and v3 without a requested sparsity: percent of zeros of the flow; else 0 */
    unsigned stages; /* physarum v2: number of stages that ran. v3, and v2 without compensation: 1 (the flow), or
                      * 2 with a pattern. Else 0 */
    double gains[ORGAN_PRUNE_STAGES]; /* gain of the flow in each stage; infinite if removing the weights of importance
                                       * 0 was enough, 0 if the pattern decided */
    unsigned products;                /* products with H, or solutions with H + rho I, of all compensation steps */
    bool block_diagonal;              /* H had only diagonal blocks */
    double output_error; /* ||(V - W) X||^2 / ||W X||^2 with the weights W before pruning, the pruned weights V, and the
                            inputs X from pruned layers, where 0.03 of the mean of H's diagonal is added to this
                            diagonal; 0 for a matrix of zeros; NAN unless `measure` */
} organ_prune_matrix_report;

/* Factors that matrices with the same inputs share while they are pruned. All members are zero at first. */
typedef struct organ_prune_shared {
    const organ_calibration *of; /* the calibration that the factors were computed from; NULL: no factors */
    organ_admm_factors factors;  /* physarum v3: factors of H + rho I */
    organ_prune_inverse inverse; /* sparsegpt */
} organ_prune_shared;

/* Decides whether the matrix that will be pruned with *options uses shared factors: sets options->factors or
 * options->inverse to those of *shared, or both to NULL if
 *   - the method is neither physarum v3 nor sparsegpt;
 *   - no earlier matrix with this calibration has used them, and no later one will (`again` false);
 *   - they need more than `spare` bytes.
 * First frees the factors of another calibration. */
void organ_prune_share(organ_prune_shared *shared, organ_prune_matrix_options *options,
                       const organ_calibration *calibration, bool again, uint64_t spare);
/* Frees the shared factors. */
void organ_prune_share_end(organ_prune_shared *shared);

/* Prunes `weights`, rows x cols, row-major, in place: removed weights become 0, and compensation changes the kept ones.
 * Sets `keep` to the mask, rows x cols, 1 for kept weights.
 *
 * `calibration` is finished and has cols features. It may be NULL for magnitude; one created from norms is enough for
 * wanda and for physarum v2 without compensation. Physarum v2 solves V H = W (C / 2 + H / 2) on the kept weights, where
 * H and C are per token, and 0.03 of the mean of H's diagonal is added to the diagonal of H and to that of C. With a
 * pattern, its last stage keeps the most important weights of each group. Needs organ_prune_matrix_memory bytes;
 * methods that compensate also need FP32 copies of H, of up to 8 bytes per entry.
 *
 * Returns
 *   - ORGAN_USAGE if options do not fit together or with the shape;
 *   - ORGAN_BAD_INPUT if a weight is not finite or H cannot be inverted;
 *   - ORGAN_IO if memory cannot be allocated;
 *   - ORGAN_INTERRUPTED if the engine is stopped; then weights and keep are undefined. */
organ_status organ_prune_matrix(const organ_engine *engine, const organ_prune_matrix_options *options,
                                const organ_calibration *calibration, float *weights, size_t rows, size_t cols,
                                uint8_t *keep, organ_prune_matrix_report *report, organ_error *error);

/* Computes the mask of organ_prune_matrix for a matrix that may exceed the memory, with methods that leave kept weights
 * unchanged: magnitude, wanda, physarum v2 without compensation. Returns ORGAN_USAGE for other methods.
 *
 * The mask depends on the whole matrix, not on its division into bands. For each band in order, calls take(context,
 * first, error), where `first` is the band's first row. The band's unpruned weights are then in bands->values, which
 * `take` may change, and its mask is in `keep` (band_rows x cols). Sets only natural_sparsity, stages and gains of the
 * report; `take` can count zeros. Returns the errors of organ_prune_matrix, of reading, and of `take`. */
organ_status organ_prune_bands(const organ_engine *engine, const organ_prune_matrix_options *options,
                               const organ_calibration *calibration, organ_matrix_bands *bands, uint8_t *keep,
                               organ_status (*take)(void *context, size_t first, organ_error *error), void *context,
                               organ_prune_matrix_report *report, organ_error *error);

/* Sets bands->band_rows to the greatest number of rows that fit in the engine's memory, with their mask, the buffers of
 * the method and `extra` bytes of the caller. The caller has set bands->rows, cols and dtype. Returns false if not even
 * the smallest band fits. *least is always the memory in bytes that the smallest band needs. */
bool organ_prune_bands_fit(const organ_engine *engine, organ_prune_method method, uint64_t extra,
                           organ_matrix_bands *bands, uint64_t *least);

/* Returns an upper bound of the bytes that organ_prune_matrix needs for a matrix of rows x cols. Includes `keep`;
 * excludes the weights, the calibration, the FP32 copies of H and the buffers of the threads. options->measure is
 * ignored; it needs 8 more bytes per weight. Sparsity and name make no difference. */
uint64_t organ_prune_matrix_memory(const organ_engine *engine, const organ_prune_matrix_options *options, uint64_t rows,
                                   uint64_t cols);

/* ---- least squares over kept weights ---- */

/* Least squares over kept weights: finds V with V H = T at the kept weights of each row and zeros elsewhere, by
 * preconditioned conjugate gradients. The mask of kept weights shrinks from one solve to the next. Results are
 * bit-identical on every machine and for any number of threads. */

typedef struct organ_masked_squares organ_masked_squares;

/* Creates a solver for matrices of rows x h->size with masks that keep all weights. h is positive definite; h and
 * `name` (for messages) must outlive *squares. Returns ORGAN_IO if memory cannot be allocated, ORGAN_BAD_INPUT if H is
 * not finite. */
organ_status organ_masked_squares_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_masked_squares **squares, organ_error *error);
void organ_masked_squares_destroy(organ_masked_squares *squares); /* NULL is allowed */

/* Returns the residual T - V H, rows x h.size, which belongs to *squares. The caller fills it in before the first
 * solve, for the V that it will pass to that solve. Each solve updates it: afterwards it is the residual of V as of the
 * last product with H, before the final step. */
float *organ_masked_squares_residual(organ_masked_squares *squares);

/* Sets the removed weights of v (rows x h.size; `keep` is 0) to zero and moves the kept ones towards the solution.
 * Computes `products` products with H for this.
 *
 * v is the result of the last solve, or in the first solve the V that the residual was filled in for. `keep` (1 or 0,
 * rows x h.size) may only remove weights from the mask of the last solve. First the preconditioner compensates the
 * removal approximately. The first product updates the residual for this change; each further product is one iteration
 * of conjugate gradients. Finally v moves by 0.7 of one more preconditioned step; the first product of the next solve
 * includes its effect on the residual.
 *
 * Products and vectors are FP32, dot products FP64. Each rank of the engine solves some of the rows, and all ranks get
 * all of v; the residual is updated for a rank's own rows. Returns ORGAN_INTERRUPTED if the engine is stopped; then v
 * is undefined. */
organ_status organ_masked_squares_solve(organ_masked_squares *squares, const uint8_t *keep, unsigned products, float *v,
                                        organ_error *error);

/* Returns an upper bound of the bytes for a matrix of rows x cols, without H. The bound is valid for a whole H, and for
 * a block-diagonal H with blocks of 256. */
uint64_t organ_masked_squares_memory(const organ_engine *engine, uint64_t rows, uint64_t cols);

/* ---- what the methods of prune_matrix.h share ---- */

#define ORGAN_SQUARES_DAMPING 0.03 /* added to H's diagonal by physarum v2 and v3, times the mean of the diagonal */
#define ORGAN_DONOR_SHARE     0.5  /* alpha of docs/definitions/pruning.md: share of earlier layers' error to correct */

/* The pruning of one matrix, as all methods get it. */
typedef struct organ_matrix_job {
    const organ_engine *engine;
    const organ_prune_matrix_options *options;
    const organ_input_moments *moments; /* NULL for magnitude without a calibration */
    organ_prune_matrix_report *report;
    /* The mask that the method computes, 1 for kept weights. Methods that compensate: of the whole matrix, all 1 at
     * first. Other methods: of the band for which they call `take`. */
    uint8_t *keep;
    float *weights;    /* the matrix, which methods that compensate change in place; NULL for organ_prune_bands */
    size_t rows, cols; /* shape of the matrix */
    organ_matrix_bands *bands; /* the matrix in bands: methods without compensation and the flow before ADMM read it */
    /* Methods that do not compensate call `take` for each band in order, once the band's mask is in `keep`. `first` is
     * the band's first row. */
    organ_status (*take)(void *context, size_t first, organ_error *error);
    void *context; /* first argument of `take` */
} organ_matrix_job;

/* Sets to 0 the columns of job->weights whose inputs were zero for all tokens: these weights have no effect. */
void organ_clear_dead_inputs(const organ_matrix_job *job);

/* One function for each method: computes job->keep, and changes job->weights or calls job->take. Errors are those of
 * organ_prune_matrix. */
organ_status organ_prune_by_stages(organ_matrix_job *job, organ_error *error); /* physarum v2 */
organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error);  /* sparsegpt */
/* Returns the bytes that organ_prune_by_sweep allocates, without a factor. */
uint64_t organ_prune_sweep_memory(const organ_engine *engine, uint64_t rows, uint64_t cols);
organ_status organ_prune_by_alps(organ_matrix_job *job, organ_error *error);
organ_status organ_prune_by_flow_and_admm(organ_matrix_job *job, organ_error *error); /* physarum v3 */
organ_status organ_prune_by_flow(organ_matrix_job *job, organ_error *error); /* physarum v2 without compensation, in
                                                                              * bands; also the first mask of v3 */
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error); /* magnitude, wanda, in bands */

/* Returns the bytes that organ_prune_by_rank allocates with bands of bands->band_rows rows, without the band and its
 * mask. */
uint64_t organ_rank_memory(organ_matrix_bands *bands, size_t workers);

/* ---- preconditioner for least squares over masked weights ---- */

/* Preconditioner for least squares over masked weights: approximate inverses of the masked parts of one matrix H, with
 * a different mask for each row of weights. H is approximated by D (mu I + U (Lambda - mu) U^T) D. D is sqrt(diag H);
 * the k columns of U (the directions) are the eigenvectors of D^-1 H D^-1 with the largest eigenvalues, Lambda these
 * eigenvalues; mu stands for all other eigenvalues. The part of this approximation that belongs to the kept columns of
 * a row is inverted exactly by Woodbury's identity, with a k x k matrix for each row. For activations a few large
 * eigenvalues slow conjugate gradients down; the directions remove their effect. */

typedef struct organ_preconditioner organ_preconditioner;

/* Finds k directions by subspace iteration, which computes four products of k + 16 rows with H. k is 64 for a whole H,
 * 16 for each block of a block-diagonal H, but at most a quarter of the width. The masks of `rows` rows keep all
 * columns at first. h must outlive *made; `name` is for messages. Needs 4 k (k + 1) bytes per row and block, and 512
 * bytes per column. The caller destroys *made. Returns ORGAN_IO if memory cannot be allocated, ORGAN_BAD_INPUT if H is
 * not finite; *made is NULL then. */
organ_status organ_preconditioner_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_preconditioner **made, organ_error *error);
void organ_preconditioner_destroy(organ_preconditioner *preconditioner); /* NULL is allowed */

/* Returns an upper bound of the bytes that organ_preconditioner_create allocates, whatever the values of h. */
uint64_t organ_preconditioner_memory(const organ_block_matrix *h, size_t rows);
/* Returns the number of floats of `scratch` that the functions below need for `rows` rows: a multiple of 16. The caller
 * aligns `scratch` to 64 bytes. */
size_t organ_preconditioner_scratch(const organ_block_matrix *h, size_t rows);

/* Updates the k x k matrices of one row after its mask has lost columns. `before` is the old mask and `keep` the new
 * one, h.size values each; a lost column has `before` 1 and `keep` 0. Threads may call it for different rows at the
 * same time. */
void organ_preconditioner_remove(organ_preconditioner *preconditioner, size_t row, const uint8_t *before,
                                 const uint8_t *keep, float *scratch);

/* Computes product = matrix * H with the approximate H; both are `rows` x h.size and may be the same array. */
void organ_preconditioner_multiply(const organ_preconditioner *preconditioner, size_t rows, const float *matrix,
                                   float *product, float *scratch);

/* Computes result = residual * (masked H)^-1 approximately for rows [first, first + rows) of the matrix. `residual`,
 * `keep` and `result` begin at row `first`. `keep` is the current mask of these rows (1: kept). `result` is zero for
 * removed columns and may be the same array as `residual`, whose values must be finite. */
void organ_preconditioner_solve(const organ_preconditioner *preconditioner, size_t first, size_t rows,
                                const float *residual, const uint8_t *keep, float *result, float *scratch);

/* ---- radix selection ---- */

/* Radix selection: finds the edge, the score of a given rank among many scores. Also computes masks, by comparison of
 * the scores with the edge.
 *
 * The 31 bits of a score without its sign are read as ORGAN_EDGE_DIGITS digits of 11 bits, the highest first. For digit
 * 0, 1 and 2 in turn, the search counts over all scores how often each value of the digit occurs, and derives that
 * digit of the edge from the counts. The result is exact. */

#define ORGAN_EDGE_DIGIT  2048 /* number of values of a digit of 11 bits */
#define ORGAN_EDGE_DIGITS 3    /* digits of a score; neighbouring digits overlap by one bit */

/* State of the search; all 0 at first. The sign of scores is ignored. */
typedef struct organ_score_edge {
    uint32_t bits;  /* the bits of the edge that are found so far, 0 elsewhere */
    uint32_t known; /* 1 for each bit that is found */
    uint64_t less;  /* number of scores that the digits found so far show to be below the edge */
} organ_score_edge;

/* Sets keep[k] to 0 for the `count` lowest of n scores (>= 0, no NaN), to 1 for all others. Of equal scores, the first
 * ones count as lower. */
void organ_mask_lowest(const float *scores, size_t n, size_t count, uint8_t *keep);

/* ---- on all workers: the mask that removes a given number of the lowest scores of an array ---- */

/* A search. Its mask depends only on the scores and the number, not on the division into strips. The caller sets the
 * members above the line, then calls organ_edge_search_lay_out. Strips are `strip` consecutive scores; the last may be
 * shorter. */
typedef struct organ_edge_search {
    const organ_engine *engine;
    size_t strip; /* scores of the work of one task */
    /* ---- */
    const float *scores;   /* the scores whose signs are ignored */
    size_t count, removed; /* number of scores, and of those to remove */
    uint8_t *keep;         /* the mask: 1 for kept scores */
    organ_score_edge edge; /* the digits of the largest removed score that are found so far */
    unsigned digit;        /* number of the digit that the current pass counts; 0: the highest */
    uint64_t *counts;      /* per worker: how many scores have each of the ORGAN_EDGE_DIGIT values of the digit */
    size_t used;           /* tables of workers [0, used) may have counts; atomic */
    uint64_t *equals;      /* per strip: number of scores equal to the edge; later, how many of these to remove */
} organ_edge_search;

/* Takes the buffers for at most `most` scores. */
void organ_edge_search_lay_out(organ_edge_search *search, size_t most, organ_buffers *buffers);

/* Begins a search over `count` scores, of which `removed` are removed, with the mask in `keep`. */
void organ_edge_search_begin(organ_edge_search *search, const float *scores, size_t count, size_t removed,
                             uint8_t *keep);
/* Counts the first digit of scores [at, at + n), as a task of `worker`. Every score is counted once, after
 * organ_edge_search_begin and before organ_edge_search_finish. */
void organ_edge_search_count(organ_edge_search *search, size_t at, size_t n, size_t worker);
/* Sets the mask: 0 for the `removed` lowest scores, 1 for all others. Of equal scores, the first count as lower. */
void organ_edge_search_finish(organ_edge_search *search);

#endif
