/* SPDX-License-Identifier: MIT
 * Input statistics of a linear layer over the calibration tokens: the second moments that pruning and quantisation use.
 * Results are bit-identical on every machine, for any number of threads and ranks, and for any division of the tokens
 * into calls. With an arithmetic other than exact (organ_engine.compute) they are so only on machines with the same
 * instructions for it. */
#ifndef ORGAN_SURGERY_CALIBRATION_CALIBRATION_H
#define ORGAN_SURGERY_CALIBRATION_CALIBRATION_H

#include "orchestrator/machine/buffers.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/surgery/calibration/calibration_states.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/forward.h>
#include <organ/kernels.h>
#include <organ/options.h>
#include <organ/stream.h>
#include <organ/tokenizer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Importance of an input, apart from its weight: strength, stability under noise, and the share that the other inputs
 * cannot explain. */

#define ORGAN_INPUT_NOISE    0.1           /* sigma: the deviation of the noise as a share of act_norm, the RMS of x */
#define ORGAN_SALIENCY_BLOCK ((size_t)256) /* greatest number of features per call */

/* The noise of a layer's inputs: for each token and feature a value of `levels`, at the index that organ_saliency_noise
 * computes. */
typedef struct organ_input_noise {
    const float *levels; /* organ_normal_levels() */
    uint64_t seed;
    uint32_t layer; /* index of the layer; layers with different indices have different noise */
} organ_input_noise;

/* Sums over tokens, one for each feature, in FP64. x is the input, n its noise of deviation 1, and e = sigma act_norm n
 * the scaled noise. The sum of (x + e)^2 follows from xx, xn and nn for any act_norm, so one pass suffices although
 * act_norm is known only at the end. |x + e| is s (x + e) with s the sign of x + e. The sign is computed with the
 * act_norm of the tokens so far: the error of sx and sn is of second order in the later change of act_norm. */
typedef struct organ_saliency_sums {
    double *xx, *xn, *nn, *sx, *sn; /* sums of x^2, x n, n^2, s x and s n: a value for each feature */
} organ_saliency_sums;

/* Divides the normal distribution of mean 0 and deviation 1 into 65,536 equal shares and returns a value for each
 * share, ascending. The caller frees them; NULL if memory cannot be allocated. */
float *organ_normal_levels(void);
/* Writes these ORGAN_NORMAL_LEVELS values to `levels`. */
#define ORGAN_NORMAL_LEVELS 65536
void organ_normal_levels_fill(float *levels);

/* Computes the noise of features first .. first + n - 1 for a token, as indices of the levels: Philox4x32-10 with key =
 * seed and counter = (feature / 8, layer, token, token >> 32), 16 bits each, low half of a word first. `first` is a
 * multiple of 8. */
void organ_saliency_noise(uint64_t seed, uint32_t layer, uint64_t token, size_t first, uint16_t *noise, size_t n);

/* Adds tokens [token, token + tokens) to the sums of features [first, first + n), n <= ORGAN_SALIENCY_BLOCK and first a
 * multiple of it. `inputs` has a row of `stride` features for each of these tokens, from feature 0 on. Tokens must be
 * added in order. */
void organ_saliency_add(const organ_saliency_sums *sums, const organ_input_noise *noise, uint64_t token, size_t tokens,
                        const float *inputs, size_t stride, size_t first, size_t n);

/* Computes act_norm and stability of one feature from its sums over `tokens` tokens. */
void organ_saliency_finish(const organ_saliency_sums *sums, size_t feature, uint64_t tokens, float *act_norm,
                           float *stability);

/* Computes the contribution (organ_input_moments in calibration.h) of `width` inputs, at most ORGAN_SALIENCY_BLOCK,
 * from the upper triangle of their H, a sum over `tokens` tokens. A row of H has `stride` values. `damping` is added to
 * the diagonal of H / tokens. Returns false if the damped matrix is not positive definite, or memory cannot be
 * allocated. */
bool organ_saliency_contribution(const organ_kernels *kernels, const double *h, size_t stride, size_t width,
                                 uint64_t tokens, double damping, float *contribution);

/* Counts of inputs by magnitude: bin b has those whose FP32 bits without the sign, shifted right by
 * ORGAN_MAGNITUDE_SHIFT, are b. There are 512 bins for each power of 2. */
#define ORGAN_MAGNITUDE_SHIFT 14
#define ORGAN_MAGNITUDES      ((size_t)1 << (31 - ORGAN_MAGNITUDE_SHIFT))
/* Returns the middle of a bin. */
static inline float organ_magnitude_middle(size_t bin)
{
    const uint32_t bits = (uint32_t)bin << ORGAN_MAGNITUDE_SHIFT | 1u << (ORGAN_MAGNITUDE_SHIFT - 1);
    float middle;
    memcpy(&middle, &bits, sizeof middle);
    return middle;
}

/* Features of a tile, the unit of the computation, and of a diagonal block of H if H is not whole. */
#define ORGAN_CALIBRATION_BLOCK ORGAN_SALIENCY_BLOCK
/* The number added to the diagonal of H / tokens before the contribution is computed, as a share of the diagonal's
 * mean. */
#define ORGAN_CALIBRATION_DAMPING 0.01

/* The layer whose inputs a calibration gets, and the statistics to compute. H and C: see organ_input_moments. */
typedef struct organ_calibration_options {
    size_t features;  /* inputs of the layer, 1 .. 2^20 */
    const char *name; /* for messages; must outlive the calibration */
    uint64_t seed;    /* seed of the input noise, together with `layer` */
    uint32_t layer;
    bool moments_only;   /* do not compute stability and contribution: they are 1, and seed, layer and levels are
                          * ignored */
    bool blocks;         /* H and C are only their diagonal blocks of ORGAN_CALIBRATION_BLOCK features */
    bool magnitudes;     /* also count the inputs by magnitude */
    bool ranges_only;    /* of the moments only `tokens`, `greatest` and `magnitudes`; with one stream */
    bool two_streams;    /* organ_calibration_add also gets the donor's inputs, and C is summed; false: C is H */
    const float *levels; /* organ_normal_levels(), shared by several calibrations; must outlive organ_calibration_add.
                          * NULL: allocated here */
    unsigned char *scratch; /* organ_calibration_scratch(engine) bytes, aligned to 64, shared by calibrations that are
                             * not used at the same time; must outlive organ_calibration_finish. NULL: allocated here */
    size_t tokens;          /* upper bound of the number of tokens that will be added; 0: none is known */
    /* With two streams: the weights W, rows x features, of the matrix with these inputs, if it is the only one; else
     * weights.values is NULL. If H is whole and organ_calibration_takes_weights, W (C - H) is summed instead of C. The
     * weights must outlive the last organ_calibration_add and not change. */
    organ_product_operand weights;
    size_t rows; /* rows of W */
} organ_calibration_options;

/* Returns true if a calibration with options.weights of `rows` rows would sum W (C - H), because that is less work than
 * C: `rows` is below half of `features`. */
bool organ_calibration_takes_weights(size_t rows, size_t features);

/* Returns the bytes of the sums in FP64 and of their FP32 copies while a matrix is pruned. `undivided`: H is one
 * matrix; false: diagonal blocks. `rows`: rows of options.weights, 0 without weights. */
uint64_t organ_calibration_memory(uint64_t features, uint64_t rows, bool two_streams, bool undivided);

/* The results of organ_calibration_finish. X_p are the inputs in the pruned model, tokens x features, and X_d those in
 * the donor. H = X_p^T X_p and C = X_d^T X_p are sums over tokens, not means, in FP64. H and C are each stored as
 * consecutive blocks of the diagonal, each block row-major: one block of features x features, or with
 * organ_calibration_options.blocks those of ORGAN_CALIBRATION_BLOCK. Block k begins at entry k * block * block; the
 * last block has the remaining features. */
typedef struct organ_input_moments {
    size_t features, block; /* inputs; width of a diagonal block of H and C: `features` if they are whole */
    uint64_t tokens;        /* number of tokens in the sums */
    const double *h;        /* H, only the upper triangle of each block; finite. NULL with ranges_only and after
                             * organ_calibration_from_norms */
    const double *c;        /* C, both triangles of each block; NULL with one stream or if `drift` is set */
    const double *drift;    /* W (X_d - X_p)^T X_p, rows x features; NULL without weights, or if they were not used */
    size_t rows;            /* rows of `drift`; else 0 */
    double mean_diagonal;   /* mean of the diagonal of H / tokens; 0 with ranges_only */
    float greatest; /* greatest magnitude of an input in the pruned model; 0 after organ_calibration_from_norms */
    const uint64_t *magnitudes; /* counts of these inputs, ORGAN_MAGNITUDES; NULL: none */
    const float *act_norm; /* per feature: sqrt(mean x^2). NULL with ranges_only, like stability and contribution */
    /* per feature: 1 / (1 + CV^2), where CV is standard deviation / mean of |x + noise|, in (0, 1]; 1 for an input that
     * is always zero */
    const float *stability;
    const float *contribution; /* per feature j: 1 / sqrt(T_jj [T^-1]_jj), where T is the damped tile of H with feature
                                  j; in (0, 1] */
} organ_input_moments;

/* Number added to the diagonal of H, as a share of the mean of its diagonal: at least ORGAN_GPTQ_DAMPING, and at least
 * ORGAN_GPTQ_FEW_TOKENS times the inputs per token, which counts the columns of a block if H has diagonal blocks: the
 * moments of few tokens are those of the text rather than those of the model. */
#define ORGAN_GPTQ_DAMPING    0.01
#define ORGAN_GPTQ_FEW_TOKENS 0.25
static inline double organ_moments_damping(const organ_input_moments *moments)
{
    const double share = ORGAN_GPTQ_FEW_TOKENS * (double)moments->block / (double)moments->tokens;
    return share > ORGAN_GPTQ_DAMPING ? share : ORGAN_GPTQ_DAMPING;
}

typedef struct organ_calibration organ_calibration;

/* Returns the bytes of organ_calibration_options.scratch: those of products, and with an arithmetic other than exact
 * those of a panel of sums for each worker. */
size_t organ_calibration_scratch(const organ_engine *engine);

/* Creates a calibration without tokens. `engine` must outlive the calibration. Returns ORGAN_USAGE if the number of
 * features is out of range, ORGAN_IO if memory cannot be allocated. */
organ_status organ_calibration_create(const organ_calibration_options *options, const organ_engine *engine,
                                      organ_calibration **calibration, organ_error *error);
void organ_calibration_destroy(organ_calibration *calibration); /* NULL is allowed */

/* Adds the inputs of the next tokens, tokens x features, row-major: those in the pruned model and those in the donor
 * (NULL with one stream). Returns ORGAN_BAD_INPUT, naming token and feature, if a value is not finite or beyond 1e15;
 * then no more tokens may be added. Returns ORGAN_USAGE after organ_calibration_finish, if donor_inputs contradict
 * `two_streams`, or if there are more tokens than `tokens`. */
organ_status organ_calibration_add(organ_calibration *calibration, const float *pruned_inputs,
                                   const float *donor_inputs, size_t tokens, organ_error *error);

/* Sends the sums of each rank to all other ranks: each rank gets all tokens, but sums only its share of the entries of
 * the moments. All ranks call it after the last token, once they have agreed that none has failed. Returns ORGAN_IO if
 * a rank cannot be reached. Does nothing with one rank. */
organ_status organ_calibration_complete(organ_calibration *calibration, organ_error *error);

/* Computes the results; called once, after the last token. Returns ORGAN_BAD_INPUT if there was no token, if all inputs
 * were zero, or if a damped tile of H has no inverse. */
organ_status organ_calibration_finish(organ_calibration *calibration, organ_error *error);

/* Creates a finished calibration that has only act_norm: no H and no C, stability and contribution 1. `norms`
 * are the act_norm of options->features features: finite, none negative, not all 0 (else ORGAN_BAD_INPUT; the message
 * names the feature). `tokens` is the number of tokens that the caller states for them. Seed, layer and streams of the
 * options are ignored. */
organ_status organ_calibration_from_norms(const organ_calibration_options *options, const float *norms, uint64_t tokens,
                                          organ_calibration **calibration, organ_error *error);

/* Returns the results, which belong to the calibration; NULL before organ_calibration_finish. */
const organ_input_moments *organ_calibration_moments(const organ_calibration *calibration);

/* ---- the second moments of a calibration as a matrix of FP32 ---- */

/* Returns (c C + h H) / tokens + damping I in FP32: both triangles, in blocks like H (organ_input_moments). `c` and `h`
 * are the factors of C and H; if there is no C, H replaces it. The result is in `buffers`; NULL if memory cannot be
 * allocated. */
float *organ_expand_moments(const organ_engine *engine, const organ_input_moments *moments, double c, double h,
                            double damping, organ_buffers *buffers);

/* ---- the walk ---- */

/* Room surgery/calibration: the walk, which changes a model layer by layer while a calibration text runs through it. In
 * each layer the walk gathers the inputs of target matrices (calibration.h), a function of the caller changes the
 * matrices, and the hidden states of the text pass through the changed layer. Pruning, quantisation, allocation and
 * healing use this walk. A stream is the hidden states of all windows in one model: the changed model or the donor.
 *
 * Results are bit-identical on every machine, for any number of threads and any --memory. Hidden states in a scratch
 * file do not count as memory. */

/* The inputs that a matrix is calibrated on. */
typedef enum organ_calibration_inputs_of {
    ORGAN_INPUTS_CHANGED, /* inputs that the already changed layers compute */
    ORGAN_INPUTS_BOTH, /* inputs of the changed layers, and the donor's at the same positions (experts: only inputs of
                          the changed layers) */
    ORGAN_INPUTS_DONOR /* inputs in the donor: changes do not affect later layers. Each layer runs once, unless
                        * `reruns` */
} organ_calibration_inputs_of;

/* The text and the kind of calibration, and words for messages. */
typedef struct organ_calibration_run_options {
    organ_calibration_text calibration; /* organ_calibration_run_open lowers `samples` if the text is too short */
    const char *method;                 /* name of the method for messages: "physarum-v2" */
    const char *verb;                   /* for messages: "prune" */
    const char *doing;                  /* for messages: "pruning" */
    const char *counted;                /* the option that sets `samples`, for messages; NULL: "--samples" */
    unsigned min_windows;               /* least number of windows that the caller needs; 0: one */
    /* tokens of the text that the windows must not use, for organ_calibration_cut_test_windows; 0: none */
    size_t reserve;
    organ_calibration_inputs_of streams;
    bool moments_only; /* do not compute stability and contribution: they are 1, and `seed` is ignored */
    /* with ORGAN_INPUTS_DONOR: gather the inputs of layers with experts on copies of the states, so that such a layer
     * can run again for experts with too few tokens (ORGAN_CALIBRATION_MIN_TOKENS) */
    bool reruns;
    /* layers of the forward pass must be those of the file: opening returns ORGAN_USAGE for LongCat-Flash, whose layers
     * run as two each (organ_forward_layer_of) */
    bool file_layers;
    bool all_experts; /* calibrate every expert on all tokens; a layer's output still uses only the routed experts */
    bool magnitudes;  /* also count inputs by magnitude (organ_input_moments) */
    bool ranges_only; /* no second moments: only the greatest magnitude of inputs, and `magnitudes` */
    bool unpacked; /* layers hold packed weights in FP32, so that targets may be packed (organ_forward_open_unpacked) */
    bool blocks;   /* --moments blocks: second moments are diagonal blocks, except those of work->mixtures */
    /* with work->every and ORGAN_INPUTS_DONOR: the blocks for multi-token prediction that the forward pass runs follow
     * the layers as further ones. Each chunk runs through them with the inputs that they have in use; the row of the
     * last token of a window, which no token follows, has no meaning. */
    bool drafts;
    uint64_t seed; /* seed of the noise that stability is measured with */
} organ_calibration_run_options;

/* An expert that gets fewer routed tokens than this is calibrated on all tokens of its layer, as if the router had sent
 * them to it: fewer tokens do not determine how the expert's inputs correlate. The walk runs the layer a second time
 * for such experts, without more memory. */
#define ORGAN_CALIBRATION_MIN_TOKENS 8

typedef struct organ_calibration_run organ_calibration_run;

typedef struct organ_calibration_layer {
    const organ_calibration_run *calib;
    int32_t number;      /* index of the layer in the model */
    organ_layer *loaded; /* for organ_layer_read and organ_layer_write, which address matrices by name */
} organ_calibration_layer;

/* A target matrix. Pointers are valid during the call. */
typedef struct organ_calibration_matrix {
    const organ_calibration_layer *layer;
    size_t target;       /* index of the matrix's tensor in the targets */
    uint64_t matrix;     /* index of the matrix in a stack; else 0 */
    uint64_t rows, cols; /* out_features, in_features */
    const char *name;    /* name in the forward pass: the tensor's name, or "NAME[E]" for a stack */
    /* Finished input statistics. Matrices with the same inputs (q, k, v; gate, up) have the same calibration, which is
     * valid until `leave` or work->forget; the caller may cache results by its address until then. NULL in calls of
     * `restore`, and for an expert without tokens (organ_calibration_work.mixtures). */
    const organ_calibration *calibration;
    size_t users_left; /* number of matrices with the same calibration that this rank changes after this one */
    uint64_t spare;    /* bytes of --memory available for caches until `leave`, independent of the number of threads */
    /* Ranks that share the rows of the matrix, so that each gets all rows; NULL: this rank changes it alone. */
    struct organ_ranks *ranks;
    bool own; /* this rank writes the matrix to the output */
    /* an expert with fewer than ORGAN_CALIBRATION_MIN_TOKENS routed tokens: it is calibrated on all tokens */
    bool fallback;
    void *solved; /* of organ_calibration_solving; NULL: `change` solves the matrix itself */
} organ_calibration_matrix;

/* A matrix that organ_calibration_work.solve solves. */
typedef struct organ_calibration_solving {
    organ_calibration_matrix matrix;
    float *weights; /* as in `change` */
    void *solved;   /* result, for `change`; not NULL if the matrix was solved */
} organ_calibration_solving;

/* Callbacks of the caller. All but `solve` are called on the thread of the walk, layer by layer. The inputs of all
 * matrices of a layer are gathered before the first of them is changed. */
typedef struct organ_calibration_work {
    void *context;
    /* Returns an upper bound of the bytes for work on a matrix of this tensor, without its calibration and its FP32
     * weights; the walk reserves them. Called in organ_calibration_run_open, once the forward pass is open. */
    uint64_t (*memory)(void *context, const organ_calibration_run *calib, const organ_tensor *tensor);
    /* Returns true if an earlier run has finished this target. Its matrices are then passed to `restore`; if all
     * targets of a layer are finished, no inputs are gathered for it. NULL: no target is finished. */
    bool (*done)(void *context, size_t target);
    /* Replaces `weights`, the donor's on entry, by the result of the earlier run. NULL without `done`. */
    organ_status (*restore)(void *context, const organ_calibration_matrix *matrix, float *weights, organ_error *error);
    /* Changes a matrix in place: rows x cols, row-major, rows in the order of the forward pass
     * (Q and K in GGUF files of the llama kind). The walk then writes the weights to the layer, in the donor's type.
     * With ORGAN_INPUTS_DONOR the walk discards `weights`, and a caller that writes to matrix->layer->loaded must
     * restore the donor's values. */
    organ_status (*change)(void *context, const organ_calibration_matrix *matrix, float *weights, organ_error *error);
    /* Does the part of `change` that needs most work and no file, for `count` matrices in order: changes their weights
     * and sets `solved`. With `grouped` these are matrices with the same inputs, else one. Called on several threads at
     * the same time, for other matrices, with an engine whose workers are a team (organ_workers_run_teams): it uses no
     * other workers. The walk does so for small matrices, if --memory has room, then calls `change` for each of them,
     * in the order that it would have without `solve`. If a matrix fails, the walk returns its error after `change` of
     * those before it. NULL: `change` does all the work. */
    organ_status (*solve)(void *context, const organ_engine *engine, organ_calibration_solving *solving, size_t count,
                          organ_error *error);
    void (*drop)(void *solved); /* frees a result of `solve`, after `change` or without it; NULL is allowed */
    /* Change matrices with the same inputs consecutively, so that results cached for their calibration serve all of
     * them. Else the order is that of targets and matrices. */
    bool grouped;
    /* Ranks share the matrices of a layer: `change` is called for those of this rank, and then every rank gets all
     * changed matrices. Targets with the same return value are assigned to one rank; NULL: each target is assigned
     * separately. With ORGAN_INPUTS_DONOR ranks do not exchange matrices. */
    size_t (*together)(void *context, size_t target);
    bool alike; /* every rank changes all matrices, and ranks exchange none */
    /* For targets that are experts' down projections, with ORGAN_INPUTS_CHANGED and `alike`: the walk multiplies the
     * inputs of an expert by the router weights of its tokens. Moments of experts are always whole; if those of a layer
     * exceed the memory, the layer runs several times, each time for some of the experts. `memory` must include the
     * moments of one expert. An expert without routed tokens is passed to `change` with calibration NULL. */
    bool mixtures;
    /* `change` can share the rows of a matrix among ranks (organ_calibration_matrix.ranks). The walk uses this for
     * matrices that need more work than an even share of the layer. */
    bool rows;
    /* `change` and `restore` access the file through organ_calibration_strips, so the file may have matrices as
     * in_features x out_features; false: organ_calibration_run_open rejects such targets */
    bool transposed;
    /* If not NULL, the calibrations of a layer with experts may end before `leave`: if its second moments exceed the
     * memory, the layer runs several times, each time for some of its experts. Called when the calibrations end that
     * were passed to `change` since the last call: no cache by their addresses may remain. */
    void (*forget)(void *context);
    /* Called before the first and after the last matrix of a layer with targets. May be NULL. */
    organ_status (*enter)(void *context, const organ_calibration_layer *layer, organ_error *error);
    organ_status (*leave)(void *context, const organ_calibration_layer *layer, organ_error *error);
    /* For work on whole layers, with ORGAN_INPUTS_DONOR or with `compare`: calls `enter` and `leave` for every layer,
     * with or without targets; before the walk and after each of `enter`, the chunks and `leave`, an error of one rank
     * becomes that of all. `chunk_done` is called after a chunk of this rank's windows (organ_calibration_chunks_of)
     * has passed through the layer. */
    bool every;
    organ_status (*chunk_done)(void *context, const organ_calibration_layer *layer, size_t chunk, organ_error *error);
    /* With `every` and without targets: receives the inputs of the matrices of all layers, on each rank those of its
     * chunks. NULL: nothing does. */
    const organ_tap *tap;
    /* With `every` and ORGAN_INPUTS_BOTH, before `leave` changes the layer: called with each chunk of this rank's
     * windows. `donor` has the chunk's states in the donor, which the callback must pass through the donor's layer;
     * `changed` is a copy of the chunk's states in the changed model, which the callback may overwrite. All ranks call
     * it at the same time, also after an error, which every rank then returns; a rank without a further chunk gets
     * windows->count 0. */
    organ_status (*compare)(void *context, const organ_calibration_layer *layer, const organ_windows *windows,
                            size_t chunk, float *donor, float *changed, organ_error *error);
    /* Called by organ_calibration_run_open when the forward pass is open, before `extra`; an error becomes that of
     * organ_calibration_run_open. May be NULL. */
    organ_status (*opened)(void *context, const organ_calibration_run *calib, organ_error *error);
    /* Returns the least bytes of memory that the caller uses during the whole walk, in addition to `memory`. `scratch`:
     * --scratch is given. May be NULL. */
    uint64_t (*extra)(void *context, const organ_calibration_run *calib, bool scratch);
} organ_calibration_work;

/* Returns ORGAN_USAGE unless `samples` is within ORGAN_SAMPLES and `context` within ORGAN_CONTEXTS. */
organ_status organ_calibration_run_check(unsigned samples, unsigned context, organ_error *error);
/* Sets *blocks from the option --moments: "whole" (also NULL) or "blocks"; returns ORGAN_USAGE for other values. */
organ_status organ_calibration_moments_parse(const char *moments, bool *blocks, organ_error *error);

/* Reads the text, cuts its windows, opens tokenizer and forward pass and allocates the hidden states. Without `work`
 * (`targets` may be NULL then) no hidden states are allocated and organ_calibration_run_layers is not allowed: for
 * callers that run the windows through the model themselves. All arguments must outlive *calib. The caller closes
 * *calib also after an error; it may be NULL then. If the text has too few tokens for options->samples windows and
 * options->reserve further tokens, organ_calibration_run_open lowers options->samples and prints a note.
 *
 * Returns
 *   - ORGAN_USAGE if this CPU has no instructions for options->calibration.compute or other ranks have different ones,
 *     if a target has no inputs, or if --memory is too small for hidden states, a layer and the work on a
 *     matrix; the message has the least sufficient amount;
 *   - ORGAN_IO if the scratch directory has no room for hidden states or no file can be created in it;
 *   - ORGAN_BAD_INPUT if the text has no options->min_windows windows, the model has no tokenizer or its architecture
 * is unknown. */
organ_status organ_calibration_run_open(organ_calibration_run_options *options, const organ_model *model,
                                        const organ_targets *targets, const organ_calibration_work *work,
                                        const organ_engine *engine, const organ_progress *progress,
                                        organ_calibration_run **calib, organ_error *error);
void organ_calibration_run_close(organ_calibration_run *calib); /* NULL is allowed */

/* Finds the targets without inputs (organ_forward_is_tapped), for methods that leave them out: sets *untapped to flags,
 * one for each tensor of the model, true for such targets. The caller frees them also after an error. Returns ORGAN_IO
 * if memory cannot be allocated, and the errors of organ_forward_open. */
organ_status organ_calibration_find_untapped(const organ_model *model, const organ_engine *engine,
                                             const organ_targets *targets, bool **untapped, organ_error *error);

/* Opens the blocks for multi-token prediction that the forward pass runs (organ_forward_drafts). None of a malformed
 * block is opened. Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_calibration_open_blocks(organ_forward *forward, organ_error *error);

/* Runs all layers up to the last one with a target, once, and frees the hidden states. With work->every, all ranks
 * call it, also after an error, which every rank then returns. If a callback returns an error,
 * the walk ends and returns it. Returns ORGAN_INTERRUPTED if the engine is stopped. */
organ_status organ_calibration_run_layers(organ_calibration_run *calib, organ_error *error);

/* ---- results of chunks that ranks exchange, for work on whole layers (organ_calibration_work.every) ---- */

/* Completes the rows of all chunks, `width` numbers each, of which this rank has computed those of its chunks, and sets
 * `sums` to their sum, added in the order of chunks, so that all ranks get the same bits. Every rank calls it, also
 * after an error, which every rank then returns. `where` names the work in messages. */
organ_status organ_calibration_sum_rows(const organ_calibration_run *calib, const char *where, double *rows,
                                        size_t width, double *sums, organ_error *error);

/* Values of the tokens of a chunk: a buffer for the chunk of this rank, one for that of another rank (NULL if
 * organ_calibration_chunks.step is 1), and the bytes of a token in them. */
typedef struct organ_calibration_buffer {
    void *own, *other;
    size_t token_bytes;
} organ_calibration_buffer;

/* Sends the `count` buffers of each rank's chunk to all ranks. Calls `take` for each of these chunks in order; its
 * values are in the buffers `own` or, if the argument `own` is false, in `other`. Every rank calls it in `compare`,
 * also after an error, which every rank then returns, and also without a chunk of its own. */
organ_status organ_calibration_take_chunks(
    const organ_calibration_run *calib, size_t chunk, const organ_calibration_buffer *buffers, size_t count,
    organ_status (*take)(void *context, size_t chunk, bool own, organ_error *error), void *context, organ_error *error);

/* ---- tokens outside the calibration windows ---- */

/* Windows of `length` tokens between the windows of the walk. The length is that of the walk's windows, or the shortest
 * gap between two of them if that is less. `windows` refers to `tokens` and `begin`. */
typedef struct organ_calibration_test_windows {
    uint32_t *tokens; /* ids of all windows, one window after another */
    size_t *begin;    /* index in `tokens` of each window's first token, and the end */
    organ_windows windows;
    size_t length;
} organ_calibration_test_windows;

/* Least tokens of a test window. */
#define ORGAN_CALIBRATION_MIN_REST ((size_t)16)
/* Cuts as few test windows as together have at least `requested` tokens, evenly spread over the gaps between the
 * windows of the walk. Returns ORGAN_BAD_INPUT, naming `option`, if the gaps have fewer tokens or if a gap is shorter
 * than ORGAN_CALIBRATION_MIN_REST. The caller releases *rest in any case. */
organ_status organ_calibration_cut_test_windows(const organ_calibration_run *calib, size_t requested,
                                                const char *option, organ_calibration_test_windows *rest,
                                                organ_error *error);
void organ_calibration_test_windows_release(organ_calibration_test_windows *rest);

/* ---- facts ---- */

/* Returns the bytes of memory that the hidden states of a walk with these options need. */
uint64_t organ_calibration_run_memory(const organ_calibration_run_options *options, const organ_forward *forward);

/* Text, forward pass, tokenizer and windows of an open walk. */
typedef struct organ_calibration_run_facts {
    char digest[17];      /* XXH3 of the text, in hexadecimal */
    size_t bytes, tokens; /* size of the text */
    organ_forward *forward;
    organ_tokenizer *tokenizer;
    organ_windows windows; /* the calibration windows */
} organ_calibration_run_facts;
const organ_calibration_run_facts *organ_calibration_run_facts_of(const organ_calibration_run *calib);

/* Returns the engine with the arithmetic of the walk, for other forward passes and calibrations on its text. */
const organ_engine *organ_calibration_engine(const organ_calibration_run *calib);
/* Returns how windows are assigned to chunks and chunks to ranks. */
const organ_calibration_chunks *organ_calibration_chunks_of(const organ_calibration_run *calib);
/* Returns the bytes of --memory that the second moments of a layer may use: the bytes that remain after hidden states,
 * the layer and the memory of the callbacks. Independent of the number of threads. */
uint64_t organ_calibration_run_spare_memory(const organ_calibration_run *calib);
/* Returns the least bytes of memory for the second moments of any layer. */
uint64_t organ_calibration_run_moments(const organ_calibration_run *calib);
/* Returns the least sufficient --memory for this walk, in bytes. */
uint64_t organ_calibration_run_min_memory(const organ_calibration_run *calib);
/* Returns the --memory, in bytes, with which no layer runs several times because of its experts' second moments. */
uint64_t organ_calibration_run_max_memory(const organ_calibration_run *calib);
/* Adds the memory and the work of this walk to a plan: its forward passes, its sums of second moments and the work of
 * the method on each matrix, which `solve` describes. If the second moments of a layer's experts do not fit in memory
 * together, counts the additional runs of the layer. */
void organ_calibration_run_estimate(const organ_calibration_run *calib, const organ_plan_solve *solve,
                                    organ_plan *plan);
/* Returns the operations per token in a layer, for windows of `context` tokens. */
organ_plan_work organ_calibration_token_products(const organ_forward *forward, const organ_model *model, int32_t layer,
                                                 size_t context);

/* Returns the member "calibration" of a document: text, tokenizer, windows. `streams` describes in words where the
 * inputs come from. Returns NULL if memory cannot be allocated. */
json_t *organ_calibration_run_json(const organ_calibration_run *calib, const char *streams);

/* ---- rows in file order ---- */

/* Returns number and shape of the tensor's matrices, as organ_tensor_matrices does, but with rows and cols as in a
 * loaded layer: out_features x in_features, also if the file has them the other way round
 * (organ_forward_is_transposed). */
organ_matrices organ_calibration_matrices(const organ_calibration_run *calib, const organ_tensor *tensor);

/* Matrix `matrix` of the tensor belongs to an expert: adds the expert's number to *experts, a sorted array without
 * duplicates. Creates the array if *experts is NULL; the caller releases it. */
void organ_calibration_note_expert(json_t **experts, const organ_tensor *tensor, uint64_t matrix);
/* Calls organ_calibration_note_expert for the matrix if matrix->fallback is set. */
void organ_calibration_note_fallback(json_t **experts, const organ_calibration_matrix *matrix);

/* A function of the caller: sets *tensor to the tensor of row k of the caller's table and returns the row's array of
 * experts (organ_calibration_note_expert), or NULL if it has none. */
typedef const json_t *organ_calibration_fallback_row(const void *context, size_t k, const organ_tensor **tensor);
/* Returns the member "fallback" of a document, the experts that were calibrated on all tokens of their layer:
 * {"experts": number, "layers": [{"layer", "experts": [numbers]}], "names": ["layer 2: 5, 7"]}. `row` is called for
 * rows 0 .. count - 1. NULL if there are no such experts, or if memory cannot be allocated. */
json_t *organ_calibration_fallback_json(organ_calibration_fallback_row *row, const void *context, size_t count);

/* Reorders `count` rows, a whole number of heads, from the order of the forward pass to that of the file, or back. Does
 * nothing if the orders are equal. */
organ_status organ_calibration_reorder_rows(const organ_calibration_run *calib, const organ_tensor *tensor,
                                            float *weights, uint64_t count, bool to_file, organ_error *error);

/* Rows of a matrix that are stored together: at most 4 MiB, or the least group of rows that must stay together. */
typedef struct organ_calibration_strip {
    const organ_tensor *tensor;
    uint64_t matrix, first, rows; /* index of the matrix in its tensor; rows [first, first + rows) */
    size_t count, bytes;          /* number of weights, and their bytes in the file */
    uint64_t at;                  /* offset of the strip in the tensor, in bytes */
    float *weights;               /* weights from row `first` on, in the order of the forward pass */
    void *donor, *stored; /* buffers for the bytes in the file before and after the change; `stored` is page-aligned */
} organ_calibration_strip;

/* Returns the bytes of the buffers of a strip of that tensor. */
uint64_t organ_calibration_strip_memory(const organ_calibration_run *calib, const organ_tensor *tensor);
/* Calls `each` for the strips of matrix `matrix` of the tensor, in order. `weights` are all its weights, out_features x
 * in_features; `each` may change those of its strip. If the file has the matrix transposed, strips belong to a
 * transposed copy, which is transposed back into `weights` at the end. Returns ORGAN_IO if memory cannot be allocated,
 * or the error of `each`. */
organ_status organ_calibration_strips(
    const organ_calibration_run *calib, const organ_tensor *tensor, uint64_t matrix, float *weights, void *context,
    organ_status (*each)(void *context, const organ_calibration_strip *strip, organ_error *error), organ_error *error);
/* Returns the rows of a piece of a strip, which a worker stores at a time: about 64 KiB, or the least group of rows
 * that must stay together. */
uint64_t organ_calibration_piece_rows(const organ_calibration_run *calib, const organ_tensor *tensor);
/* Returns the piece of the strip that has the `rows` rows from the strip's row `skipped` on, or fewer at the end of the
 * strip. A piece is a strip itself, in the buffers of the whole strip. */
organ_calibration_strip organ_calibration_piece(const organ_calibration_strip *strip, uint64_t skipped, uint64_t rows);
/* Rounds the weights of a strip to the type of the tensor: writes the result to strip->stored in the order of the file,
 * and to strip->weights in FP32. Returns ORGAN_BAD_INPUT if a weight is beyond the range of the type. */
organ_status organ_calibration_round(const organ_calibration_run *calib, const organ_calibration_strip *strip,
                                     organ_error *error);
/* Converts strip->stored, in the type and order of the file, to FP32 in strip->weights, in the order of the forward
 * pass. */
organ_status organ_calibration_widen(const organ_calibration_run *calib, const organ_calibration_strip *strip,
                                     organ_error *error);

/* Allocates a page-aligned buffer for file output, so that the division of a write depends only on its offset. The
 * caller frees it; NULL if memory cannot be allocated. */
void *organ_calibration_aligned_alloc(size_t bytes);

#endif
