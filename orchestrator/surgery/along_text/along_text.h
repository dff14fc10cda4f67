/* SPDX-License-Identifier: MIT
 * Room surgery/along_text: a model is changed layer by layer along a text. In go a model, a text and the targets; the
 * inputs of each target matrix are gathered (calibration.h), a function of the caller changes the matrix, and the text
 * goes on through the layer as it is then. One walk for whatever goes by the inputs of linear layers: pruning,
 * quantisation, allocation, healing.
 *
 * The same bits on every machine and for any number of threads. What depends on --memory is whether second moments are
 * one block (organ_input_moments.block), by a rule that does not look at the number of threads. Hidden states that lie
 * in a scratch file do not count. */
#ifndef ORGAN_ALONG_TEXT_H
#define ORGAN_ALONG_TEXT_H

#include "formats/tokenizer/tokenizer.h"
#include "orchestrator/forward/forward.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/along_text/calibration.h"
#include "orchestrator/surgery/along_text/states.h"
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/output/targets.h"
#include "orchestrator/surgery/along_text/calibration_text.h"

#include <jansson.h>

/* Whose inputs a matrix is calibrated on. */
typedef enum organ_along_streams {
    ORGAN_ALONG_CHANGED, /* those it sees behind what is changed already */
    ORGAN_ALONG_BOTH,    /* those, and in place of each the one that it has in the donor (experts: the former alone) */
    ORGAN_ALONG_DONOR /* those of the donor: changes do not reach later layers. Each layer runs once, unless `reruns` */
} organ_along_streams;

typedef struct organ_along_options {
    organ_calibration_text calibration; /* organ_along_open lowers `samples` if the text is too short */
    const char *method;                 /* for messages: "physarum-v2", */
    const char *verb;                   /* "prune", */
    const char *doing;                  /* "pruning" */
    const char *counted;                /* the option that sets `samples`, for messages; NULL: "--samples" */
    unsigned least;                     /* windows that the caller needs; 0: one is enough */
    size_t reserve;                     /* tokens that the windows must leave for organ_along_rest_cut; 0: none */
    organ_along_streams streams;
    bool moments_only; /* stability and contribution are not wanted: they are 1, and `seed` has no meaning */
    bool reruns; /* ORGAN_ALONG_DONOR: a layer with experts may run twice (ORGAN_ALONG_LEAST_TOKENS), on a copy of a
                    chunk of the states */
    bool all_experts; /* calibrate every expert on all tokens; the output of a layer still comes from the routed experts
                       */
    uint64_t seed;    /* of the noise with which stability is measured */
} organ_along_options;

/* An expert that gets fewer routed tokens than this is calibrated on all tokens of its layer, as if the router had sent
 * them to it: fewer tokens do not determine how the expert's inputs correlate. The walk runs the layer a second time
 * for such experts, without more memory.
 */
#define ORGAN_ALONG_LEAST_TOKENS 8

typedef struct organ_along_text organ_along_text;

/* A layer while its matrices are worked on. */
typedef struct organ_along_layer {
    const organ_along_text *along;
    int32_t number;
    organ_layer *loaded; /* organ_layer_read and organ_layer_write go by the names of matrices */
} organ_along_layer;

/* A target matrix. What is pointed to is valid during the call. */
typedef struct organ_along_matrix {
    const organ_along_layer *layer;
    size_t target;   /* index of its tensor in the targets */
    uint64_t matrix; /* which of a stack; else 0 */
    uint64_t rows, cols;
    const char *name; /* in the forward pass: that of the tensor, "NAME[E]" of a stack */
    /* What its inputs are like, finished. Matrices that see the same inputs (q, k, v; gate, up) have one and the same,
     * which lives until `leave`: what is computed of it may be kept by its address until then. NULL where `restore` is
     * called, and of an expert without tokens (organ_along_work.mixtures). */
    const organ_calibration *calibration;
    size_t after;   /* how many matrices with this calibration are still to be changed, */
    uint64_t spare; /* and bytes of --memory that may be kept until then, whatever the number of threads */
    /* Ranks that change it together, each its rows, so that all have all of it; NULL: this one does alone. */
    struct organ_ranks *ranks;
    bool own;      /* this rank puts it into the output */
    bool fallback; /* an expert with fewer than ORGAN_ALONG_LEAST_TOKENS routed tokens: its inputs are those of all
                      tokens */
} organ_along_matrix;

/* What the caller does. All functions are called on the thread that walks, layer by layer. The inputs of all matrices
 * of a layer are gathered before any of them is changed. */
typedef struct organ_along_work {
    void *context;
    /* Bytes that work on a matrix of this tensor takes at most beside its calibration and its weights in FP32: they are
     * kept free for it. Called in organ_along_open, once the forward pass is open. */
    uint64_t (*memory)(void *context, const organ_along_text *along, const organ_tensor *tensor);
    /* Whether an earlier run has done this target: its matrices are then given to `restore`, and where all of a layer
     * are done, nothing is gathered for it. NULL: none is. */
    bool (*done)(void *context, size_t target);
    /* Makes `weights` (of the donor when it is called) what the earlier run has made of them. NULL without
     * `done`. */
    organ_status (*restore)(void *context, const organ_along_matrix *matrix, float *weights, organ_error *error);
    /* Changes a matrix in place: rows x cols, row-major, rows in the order of the forward pass
     * (organ_along_turned_rows). The layer then holds them rounded to the type of the donor. With ORGAN_ALONG_DONOR
     * what is left in `weights` is dropped; who writes into matrix->layer->loaded puts the donor's values back. */
    organ_status (*change)(void *context, const organ_along_matrix *matrix, float *weights, organ_error *error);
    /* Matrices that see the same inputs follow one another: what is computed of their calibration serves all of them.
     * Else the order is that of targets and matrices. */
    bool grouped;
    /* Among ranks the matrices of a layer are shared: `change` is called for those of this rank, and the layer then has
     * all as they were made, on every rank. Targets for which this is the same go to one rank; NULL: each is for
     * itself. With ORGAN_ALONG_DONOR nothing is carried to the other ranks. */
    size_t (*together)(void *context, size_t target);
    bool alike; /* every rank changes all matrices */
    /* For one who changes down projections of experts, with ORGAN_ALONG_CHANGED and `alike`: their inputs come times
     * the weights that the tokens take the experts' outputs by. Their moments are always whole: where the memory does
     * not hold those of a layer at the same time, the layer is run several times, for some of them each. `memory`
     * counts those of one. An expert that no token was routed to is given to `change` with calibration NULL. */
    bool mixtures;
    bool rows;    /* `change` can share the rows of a matrix: where one has more to it than an even share of the layer,
                     ranks do so */
    bool crossed; /* `change` and `restore` reach the file by organ_along_strips, so that the file may have matrices as
                     in_features x out_features; false: such targets are refused */
    /* Before the first and after the last matrix of a layer that has targets. NULL: nothing. */
    organ_status (*enter)(void *context, const organ_along_layer *layer, organ_error *error);
    organ_status (*leave)(void *context, const organ_along_layer *layer, organ_error *error);
    /* For work on layers as a whole, with ORGAN_ALONG_DONOR or with `compare`: `enter` and `leave` are called for every
     * layer, targets or none, the latter once all ranks have come so far. `heard` once a chunk of this rank's windows
     * (organ_along_chunks_of) has gone through it. */
    bool every;
    organ_status (*heard)(void *context, const organ_along_layer *layer, size_t chunk, organ_error *error);
    /* With `every` and ORGAN_ALONG_BOTH, before `leave` changes the layer: a chunk of this rank's windows, with its
     * states in the donor, which this carries through the layer as the donor has it, and a copy of those behind what is
     * changed, for any use. By all ranks at the same time, also after an error, which is then that of all; a rank that
     * has no chunk left has windows->count 0. */
    organ_status (*compare)(void *context, const organ_along_layer *layer, const organ_windows *windows, size_t chunk,
                            float *donor, float *changed, organ_error *error);
    /* Bytes that this takes at least, with --scratch or without. NULL: none. */
    uint64_t (*beside)(void *context, const organ_along_text *along, bool scratch);
} organ_along_work;

/* ORGAN_USAGE unless samples are within ORGAN_SAMPLES and a context within ORGAN_CONTEXTS. */
organ_status organ_along_check(unsigned samples, unsigned context, organ_error *error);

/* Reads the text, cuts its windows, opens tokenizer and forward pass and takes the hidden states; without `work`
 * (targets may be NULL then) none are taken, and nothing can be run: for a caller that runs the windows through the
 * model itself. All arguments must outlive *along. The caller closes *along also after an error; it may be NULL then.
 * If the text has too few tokens for options->samples windows and options->reserve further tokens, organ_along_open
 * lowers options->samples and prints a note. ORGAN_USAGE if not even options->least windows fit, and if --memory does
 * not hold hidden states, a layer and the work on a matrix, with the least amount that is enough in the message.
 * ORGAN_IO if the scratch directory has no room for hidden states or no file can be created in it. ORGAN_BAD_INPUT for
 * a text without tokens, a model without tokenizer or an unknown architecture. */
organ_status organ_along_open(organ_along_options *options, const organ_model *model, const organ_targets *targets,
                              const organ_along_work *work, const organ_engine *engine, const organ_progress *progress,
                              organ_along_text **along, organ_error *error);
void organ_along_close(organ_along_text *along); /* NULL is allowed */

/* Runs all layers up to the last one with a target, once, and frees the hidden states. An error that a function of the
 * caller returns ends the walk; organ_along_run returns that error. ORGAN_USAGE for a target that belongs to no layer
 * or is not a linear layer of the forward pass; ORGAN_INTERRUPTED. */
organ_status organ_along_run(organ_along_text *along, organ_error *error);

/* ---- what of the text calibrates nothing ---- */

/* Windows between those of the walk, of one length: theirs, or the shortest stretch between two of them where that is
 * less. */
typedef struct organ_along_rest {
    uint32_t *tokens;
    size_t *begin;
    organ_windows windows;
    size_t length;
} organ_along_rest;

/* At least `wanted` tokens, and less than a window more, evenly spread over what the windows of the walk leave.
 * ORGAN_USAGE where that is fewer, or in stretches of fewer than ORGAN_ALONG_LEAST_REST tokens; `option` is what asked
 * for so many. To be released whatever it returns. */
#define ORGAN_ALONG_LEAST_REST ((size_t)16)
organ_status organ_along_rest_cut(const organ_along_text *along, size_t wanted, const char *option,
                                  organ_along_rest *rest, organ_error *error);
void organ_along_rest_release(organ_along_rest *rest);

/* ---- what is known ---- */

/* Bytes of memory that the hidden states of such a walk take, for a caller that shares the rest. */
uint64_t organ_along_memory(const organ_along_options *options, const organ_forward *forward);

/* What is known once it is open. */
typedef struct organ_along_facts {
    char digest[17]; /* XXH3 of the text */
    size_t bytes, tokens;
    organ_forward *forward;
    organ_tokenizer *tokenizer;
    organ_windows windows;
} organ_along_facts;
const organ_along_facts *organ_along_describe(const organ_along_text *along);

/* How the windows are dealt to chunks and these to ranks. */
const organ_along_chunks *organ_along_chunks_of(const organ_along_text *along);
/* Bytes of --memory that the walk leaves beside what the work asked for, whatever the number of threads. */
uint64_t organ_along_spare(const organ_along_text *along);
/* The least --memory that is enough for this walk. */
uint64_t organ_along_enough(const organ_along_text *along);
/* An upper bound of the --memory with which all second moments are whole matrices; more memory does not change the
 * result. */
uint64_t organ_along_good(const organ_along_text *along);
/* Adds the memory of this walk, its forward passes, its sums of second moments and the work on each matrix to a plan.
 * Matrices whose second moments do not fit the memory of a layer together are counted with blocks. */
void organ_along_foresee(const organ_along_text *along, const organ_plan_solve *solve, organ_plan *plan);
/* Operations of a token in a layer, in windows of `context` tokens. */
double organ_along_token_products(const organ_forward *forward, const organ_model *model, int32_t layer,
                                  size_t context);

/* "calibration" of a document: text, tokenizer, windows; `streams` in words. NULL without memory. */
json_t *organ_along_json(const organ_along_text *along, const char *streams);

/* ---- rows as the file has them ---- */

/* Like organ_tensor_matrices, with rows and cols as in a loaded layer: out_features x in_features, also if the file has
 * them the other way round (organ_forward_is_crossed). */
organ_matrices organ_along_matrices(const organ_along_text *along, const organ_tensor *tensor);

/* organ_along_note_expert adds the number of the expert whose weights are matrix `matrix` of the tensor to *experts, a
 * sorted array; it creates the array for the first expert. organ_along_note_fallback does the same if matrix->fallback
 * is set. */
void organ_along_note_expert(json_t **experts, const organ_tensor *tensor, uint64_t matrix);
void organ_along_note_fallback(json_t **experts, const organ_along_matrix *matrix);

/* A function of the caller: sets *tensor to the tensor of row k of a table and returns the row's array of experts or
 * NULL. */
typedef const json_t *organ_along_fallback_row(const void *context, size_t k, const organ_tensor **tensor);
/* Returns "fallback" of a document, the experts that were calibrated on all tokens of their layer: {"experts": how
 * many, "layers":
 * [{"layer", "experts": [numbers]}], "names": ["layer 2: 5, 7"]}. NULL if there are none, or without memory. */
json_t *organ_along_fallback_json(organ_along_fallback_row *row, const void *context, size_t count);

/* Rows of a head where the file has them in another order than the forward pass: Q and K of GGUF files of the llama
 * kind. 0: the same. */
uint64_t organ_along_turned_rows(const organ_along_text *along, const organ_tensor *tensor);
/* Puts `count` rows, a whole number of heads, from the order of the forward pass into that of the file, or back.
 * Nothing where they agree.
 */
organ_status organ_along_turn(const organ_along_text *along, const organ_tensor *tensor, float *weights, uint64_t count,
                              bool to_file, organ_error *error);

/* Rows of a matrix that are stored together: at most 4 MiB, or what must be. */
typedef struct organ_along_strip {
    const organ_tensor *tensor;
    uint64_t matrix, first, rows;
    size_t count, bytes;  /* weights, and what they take in the file, */
    uint64_t at;          /* from that byte of the tensor on */
    float *weights;       /* of its first row on, in the order of the forward pass */
    void *donor, *stored; /* room for its bytes in the file before and after; `stored` begins a page */
} organ_along_strip;

/* Bytes of the room of a strip of that tensor. */
uint64_t organ_along_strip_memory(const organ_along_text *along, const organ_tensor *tensor);
/* Calls `each` with the strips of a matrix, from the first row on. `weights` are rows of a loaded layer. If the file
 * has the matrix the other way round, the strips are of a transposed copy, which is transposed back into `weights`. */
organ_status organ_along_strips(const organ_along_text *along, const organ_tensor *tensor, uint64_t matrix,
                                float *weights, void *context,
                                organ_status (*each)(void *context, const organ_along_strip *strip, organ_error *error),
                                organ_error *error);
/* Rounds the weights of a strip to the type of the tensor: strip->stored, in the order of the file, and the weights
 * themselves. ORGAN_BAD_INPUT for one beyond the range of the type. */
organ_status organ_along_round(const organ_along_text *along, const organ_along_strip *strip, organ_error *error);
/* The weights of a strip from strip->stored. */
organ_status organ_along_widen(const organ_along_text *along, const organ_along_strip *strip, organ_error *error);

/* Room for bytes that are written, on a page: where a write is cut into pieces then depends on nothing but its place.
 * To be freed; NULL without memory. */
void *organ_along_room(size_t bytes);

#endif
