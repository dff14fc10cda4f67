/* SPDX-License-Identifier: MIT
 * Room surgery/calibration: the walk, which changes a model layer by layer while a calibration text runs through it. In
 * each layer the walk gathers the inputs of target matrices (calibration.h), a function of the caller changes the
 * matrices, and the hidden states of the text pass through the changed layer. Pruning, quantisation, allocation and
 * healing use this walk. A stream is the hidden states of all windows in one model: the changed model or the donor.
 *
 * Results are bit-identical on every machine and for any number of threads. --memory decides only whether second
 * moments are one block (organ_input_moments.block), independent of the number of threads. Hidden states in a scratch
 * file do not count as memory. */
#ifndef ORGAN_CALIBRATION_RUN_H
#define ORGAN_CALIBRATION_RUN_H

#include <organ/tokenizer.h>
#include <organ/forward.h>
#include <organ/stream.h>
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/calibration/states.h"
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include <organ/options.h>

#include <jansson.h>

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
    uint64_t seed;    /* seed of the noise that stability is measured with */
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
     * valid until `leave`; the caller may cache results by its address until then. NULL in calls of `restore`, and for
     * an expert without tokens (organ_calibration_work.mixtures). */
    const organ_calibration *calibration;
    size_t users_left; /* number of matrices with the same calibration that this rank changes after this one */
    uint64_t spare;    /* bytes of --memory available for caches until `leave`, independent of the number of threads */
    /* Ranks that share the rows of the matrix, so that each gets all rows; NULL: this rank changes it alone. */
    struct organ_ranks *ranks;
    bool own; /* this rank writes the matrix to the output */
    /* an expert with fewer than ORGAN_CALIBRATION_MIN_TOKENS routed tokens: it is calibrated on all tokens */
    bool fallback;
} organ_calibration_matrix;

/* Callbacks of the caller. All are called on the thread of the walk, layer by layer. The inputs of all matrices of a
 * layer are gathered before the first of them is changed. */
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
     * (organ_calibration_reordered_rows). The walk then writes the weights to the layer, in the donor's type. With
     * ORGAN_INPUTS_DONOR the walk discards `weights`, and a caller that writes to matrix->layer->loaded must restore
     * the donor's values. */
    organ_status (*change)(void *context, const organ_calibration_matrix *matrix, float *weights, organ_error *error);
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
    /* Called before the first and after the last matrix of a layer with targets. May be NULL. */
    organ_status (*enter)(void *context, const organ_calibration_layer *layer, organ_error *error);
    organ_status (*leave)(void *context, const organ_calibration_layer *layer, organ_error *error);
    /* For work on whole layers, with ORGAN_INPUTS_DONOR or with `compare`: calls `enter` and `leave` for every layer,
     * with or without targets; before the walk and after each of `enter`, the chunks and `leave`, an error of one rank
     * becomes that of all. `chunk_done` is called after a chunk of this rank's windows (organ_calibration_chunks_of)
     * has passed through the layer. */
    bool every;
    organ_status (*chunk_done)(void *context, const organ_calibration_layer *layer, size_t chunk, organ_error *error);
    /* With `every` and ORGAN_INPUTS_BOTH, before `leave` changes the layer: called with each chunk of this rank's
     * windows. `donor` has the chunk's states in the donor, which the callback must pass through the donor's layer;
     * `changed` is a copy of the chunk's states in the changed model, which the callback may overwrite. All ranks call
     * it at the same time, also after an error, which every rank then returns; a rank without a further chunk gets
     * windows->count 0. */
    organ_status (*compare)(void *context, const organ_calibration_layer *layer, const organ_windows *windows,
                            size_t chunk, float *donor, float *changed, organ_error *error);
    /* Returns the least bytes of memory that the caller uses during the whole walk, in addition to `memory`. `scratch`:
     * --scratch is given. May be NULL. */
    uint64_t (*extra)(void *context, const organ_calibration_run *calib, bool scratch);
} organ_calibration_work;

/* Returns ORGAN_USAGE unless `samples` is within ORGAN_SAMPLES and `context` within ORGAN_CONTEXTS. */
organ_status organ_calibration_run_check(unsigned samples, unsigned context, organ_error *error);

/* Reads the text, cuts its windows, opens tokenizer and forward pass and allocates the hidden states. Without `work`
 * (`targets` may be NULL then) no hidden states are allocated and organ_calibration_run_layers is not allowed: for
 * callers that run the windows through the model themselves. All arguments must outlive *calib. The caller closes
 * *calib also after an error; it may be NULL then. If the text has too few tokens for options->samples windows and
 * options->reserve further tokens, organ_calibration_run_open lowers options->samples and prints a note.
 *
 * Returns
 *   - ORGAN_USAGE if a target has no inputs, if the text has fewer than options->min_windows windows, or if --memory is
 *     too small for hidden states, a layer and the work on a matrix; the message has the least sufficient amount;
 *   - ORGAN_IO if the scratch directory has no room for hidden states or no file can be created in it;
 *   - ORGAN_BAD_INPUT if the text has no tokens, the model has no tokenizer or its architecture is unknown. */
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
 * windows of the walk. Returns ORGAN_USAGE, naming `option`, if the gaps have fewer tokens or if a gap is shorter than
 * ORGAN_CALIBRATION_MIN_REST. The caller releases *rest in any case. */
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

/* Returns how windows are assigned to chunks and chunks to ranks. */
const organ_calibration_chunks *organ_calibration_chunks_of(const organ_calibration_run *calib);
/* Returns the bytes of --memory that the second moments of a layer may use: the bytes that remain after hidden states,
 * the layer and the memory of the callbacks. Independent of the number of threads. */
uint64_t organ_calibration_run_spare_memory(const organ_calibration_run *calib);
/* Returns the least sufficient --memory for this walk, in bytes. */
uint64_t organ_calibration_run_min_memory(const organ_calibration_run *calib);
/* Returns an upper bound of the --memory, in bytes, with which all second moments are whole matrices; more memory does
 * not change the result. */
uint64_t organ_calibration_run_max_memory(const organ_calibration_run *calib);
/* Adds the memory and the work of this walk to a plan: its forward passes, its sums of second moments and the work of
 * the method on each matrix, which `solve` describes. If the second moments of a layer do not fit in memory together,
 * counts them as diagonal blocks; with `mixtures` counts them whole, and the additional runs of the layer instead. */
void organ_calibration_run_estimate(const organ_calibration_run *calib, const organ_plan_solve *solve,
                                    organ_plan *plan);
/* Returns an estimate of the operations per token in a layer (organ_plan.products), for windows of `context` tokens. */
double organ_calibration_token_products(const organ_forward *forward, const organ_model *model, int32_t layer,
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

/* Returns the rows of a head if the file stores rows of this tensor in another order than the forward pass (Q and K in
 * GGUF files of the llama kind); 0 if the order is the same. */
uint64_t organ_calibration_reordered_rows(const organ_calibration_run *calib, const organ_tensor *tensor);
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
