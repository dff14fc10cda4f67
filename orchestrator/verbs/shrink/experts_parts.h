/* SPDX-License-Identifier: MIT
 * Private to the room: state of the verb `experts` during a run. */
#ifndef ORGAN_VERBS_SHRINK_EXPERTS_PARTS_H
#define ORGAN_VERBS_SHRINK_EXPERTS_PARTS_H

#include "orchestrator/output/plan.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/verbs/shrink/cut_parts.h"

#include <jansson.h>
#include <organ/cut.h>
#include <organ/forward.h>
#include <organ/models.h>
#include <organ/options.h>
#include <organ/stream.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Refits the down projections of the kept experts (--refit). For each layer that loses experts, a ridge regression
 * on the calibration text fits them so that the hidden states after the layer approximate those with all experts.
 * Layers are refitted in order; the inputs of each are the outputs of the refitted layers before it. The result is
 * bit-identical on every machine, for any number of threads and ranks and for any memory limit. */

/* Every fourth window of the text is held out, to choose the ridge and to test whether the refit helps. */
#define ORGAN_EXPERT_HEAL_WINDOWS 4
/* The target of the regression is a weighted mean of two hidden states after the layer: the donor's, with this weight,
 * and the state that the layer with all experts computes from the outputs of the refitted layers before it. */
#define ORGAN_EXPERT_HEAL_DONOR_SHARE 0.75

/* Options of the caller. All pointers must stay valid until organ_expert_heal_close. */
typedef struct organ_expert_heal_options {
    const organ_model *model;
    const organ_cut_layer *layers;      /* for each layer of the donor, the experts to keep */
    size_t layer_count;                 /* how many of them may be refitted: those without blocks (trunk) */
    organ_calibration_text calibration; /* text must not be NULL */
    size_t largest;                     /* see organ_ridge_shape.largest; 0 except in tests */
    const organ_engine *engine;
    const organ_progress *progress;
} organ_expert_heal_options;

typedef struct organ_expert_heal organ_expert_heal;

/* Reads the text and checks that --memory suffices for the refit. Call organ_expert_heal_close even after an error.
 * Returns ORGAN_USAGE for fewer windows than ORGAN_EXPERT_HEAL_WINDOWS; for a model whose output is not linear in the
 * down projections of its experts, or whose router factors multiply the inputs of experts; and for a down projection
 * whose type cannot be rewritten (the message names the tensor). Other errors are those of organ_calibration_run_check
 * and organ_calibration_run_open. */
organ_status organ_expert_heal_open(const organ_expert_heal_options *options, organ_expert_heal **heal,
                                    organ_error *error);
void organ_expert_heal_close(organ_expert_heal *heal); /* NULL is allowed */

/* Adds the memory and the work of the refit to `plan`. */
void organ_expert_heal_estimate(const organ_expert_heal *heal, organ_plan *plan);

/* Refits layer by layer and writes the matrices to the output; the value of organ_cut_out.refit. If an interrupted run
 * has written all matrices of a layer, they are read back instead; layers with quantised blocks are always refitted. */
organ_status organ_expert_heal_run(void *heal, organ_cut_run *run, organ_error *error);

/* Implement organ_cut_out.results and .recall. The journal's object for a refitted tensor is {"before", "after",
 * "lambda"}, the regression's choice (organ_ridge_choice) for the layer of `tensor`. organ_expert_heal_recall returns
 * false if the object is malformed. */
json_t *organ_expert_heal_results(void *heal, const organ_tensor *tensor);
bool organ_expert_heal_recall(void *heal, const organ_tensor *tensor, const json_t *results);

/* Returns {"held_windows", "healed_layers", "calibration", "layers": [{"layer", "inputs", "solved_by", "before",
 * "after", "lambda", "healed"}]} with a row for each layer that loses experts. "before" and "after" are squared errors
 * per token over the held-out windows. "before", "after", "lambda" and "healed" are null for layers that were not
 * refitted yet. NULL if out of memory. */
json_t *organ_expert_heal_json(const organ_expert_heal *heal);

/* ---- scores of experts ---- */

/* Scores of the routed experts of a model on a calibration text, layer by layer. They are measured once and
 * stored in a file; the caller can then choose any number of experts to keep. */

#define ORGAN_EXPERT_SCORES_SCHEMA     "organ.expert_scores/1" /* format of the file */
#define ORGAN_EXPERT_SCORES_DEFINITION "experts/1"             /* how scores are computed; part of the identity */

/* The scores by which experts are ranked. organ_expert_layer has the values of each under its name. */
typedef enum organ_expert_score {
    ORGAN_EXPERT_LOSS,
    ORGAN_EXPERT_REAP,
    ORGAN_EXPERT_SUM,
    ORGAN_EXPERT_FREQUENCY
} organ_expert_score;

/* Returns ORGAN_USAGE for a name other than loss, reap, sum, frequency. */
organ_status organ_expert_score_named(const char *name, organ_expert_score *score, organ_error *error);
const char *organ_expert_score_name(organ_expert_score score); /* returns the name, a constant string */

/* The measured values of one layer's experts. */
typedef struct organ_expert_layer {
    bool known;          /* the other members are set */
    uint64_t *frequency; /* number of tokens routed to each expert */
    double *sum, *reap;  /* sum and mean over these tokens of gate times output norm; 0 if an expert has no token */
    double power;        /* sum over tokens of the squared norm of the routed experts' weighted sum; 0 if the loss was
                          * not measured */
    /* `removed` has the numbers of experts in the order of their removal, until organ_expert_scores.least are left.
     * loss[k] is the squared error of the layer's output after experts removed[0] to removed[k] are removed, summed
     * over tokens. With groups, each group loses one expert before any group loses a second one. Only the first
     * experts - least entries of both arrays are used, and none if the loss was not measured. */
    uint32_t *removed;
    double *loss;
    bool dense; /* the layer has no experts: `known` is set and no other member is used */
} organ_expert_layer;

/* The measured values of all layers of a model. */
typedef struct organ_expert_scores {
    size_t layers;    /* layers of the forward pass, then those of its blocks for multi-token prediction, if they have
                       * experts; a block that it does not run is not counted */
    size_t trunk;     /* layers without those of blocks */
    uint32_t experts; /* routed experts of each layer with experts */
    uint32_t used;    /* experts that the router chooses for a token */
    uint32_t least;   /* smallest number of experts that a layer can keep (organ_forward_min_experts) */
    uint32_t groups;  /* groups of experts that the router chooses from, which all keep the same number; 1: no groups */
    bool with_loss;   /* the loss and the order of removal are measured too */
    uint64_t tokens;  /* tokens of the calibration text */
    organ_expert_layer *of; /* one for each layer */
    json_t *calibration;    /* "calibration" of the document, from organ_calibration_run_json; NULL until it is known */
} organ_expert_scores;

/* Allocates scores for `model`, with no layer known except dense ones. Call organ_expert_scores_release even after an
 * error. Returns ORGAN_USAGE for a model without experts, and the errors of organ_forward_config_read. `engine` opens
 * the forward pass of a model with a block that has experts. */
organ_status organ_expert_scores_open(const organ_model *model, const organ_engine *engine, bool with_loss,
                                      organ_expert_scores *scores, organ_error *error);
void organ_expert_scores_release(organ_expert_scores *scores);

/* Writes the numbers of the `keep` kept experts of a layer to `kept`, ascending. With ORGAN_EXPERT_LOSS these are the
 * experts that are removed last; otherwise those with the largest scores of each group, and the lower number wins a
 * tie. `keep` must be at least `least` and a multiple of `groups`. */
void organ_expert_scores_choose(const organ_expert_scores *scores, size_t layer, organ_expert_score score,
                                uint32_t keep, uint32_t *kept);

/* Returns the relative error of a layer that keeps `keep` experts chosen by loss: its squared error, summed over
 * tokens, divided by `power`. */
double organ_expert_scores_missed(const organ_expert_scores *scores, size_t layer, uint32_t keep);

/* Divides a budget of `budget` experts, the total over all layers, and writes the number of kept experts of each layer
 * to `keep`. Starting from all experts, the function repeatedly removes one expert of each group from the layer whose
 * relative error grows least. Each mixture layer keeps at least `least` experts; dense layers get 0. The loss of all
 * layers must be known. */
void organ_expert_scores_divide(const organ_expert_scores *scores, uint64_t budget, uint32_t *keep);

/* ---- the file ---- */

/* In these functions `identity` states what the scores were measured on: {"definition", "model", "text", "samples",
 * "context"}. organ_expert_scores_read accepts scores of any text if the last three are omitted. */

/* Returns the document of the scores, for the caller to release: {"schema", "organ", members of the identity, "loss",
 * "calibration", "experts", "used", "tokens", "layers": [{"layer", "frequency", "sum", "reap", "power", "removed",
 * "loss"}]}. The row of a layer that was not measured is null. NULL if out of memory. */
json_t *organ_expert_scores_json(const organ_expert_scores *scores, const json_t *identity);
/* Writes the document of organ_expert_scores_json to `path`, replacing an existing file in one rename. Only the first
 * of several ranks writes; all have the same scores. Returns ORGAN_IO if the file cannot be written. */
organ_status organ_expert_scores_write(const organ_expert_scores *scores, const json_t *identity, const char *path,
                                       organ_ranks *ranks, organ_error *error);

/* Reads the file of organ_expert_scores_write, or the member "scores" of a report of organ experts. *whole is set to
 * whether all layers are known then: false if there is no file or a layer is missing. Returns ORGAN_BAD_INPUT if the
 * file is no such document or has invalid values, and ORGAN_USAGE if the identity differs or if with_loss is set and
 * the file has no losses. Messages of ORGAN_USAGE end with `advice`, which says how the user can measure again. After
 * an error the scores must not be used. */
organ_status organ_expert_scores_read(organ_expert_scores *scores, const json_t *identity, const char *path,
                                      const char *advice, bool *whole, organ_error *error);

/* Returns the journal line with the scores of a known layer. NULL if out of memory. */
json_t *organ_expert_scores_line(const organ_expert_scores *scores, size_t layer);
/* Sets the scores of the layer that a journal line has. Returns whether the line has such scores. */
bool organ_expert_scores_recall(organ_expert_scores *scores, const json_t *line);

/* ---- scoring experts ---- */

/* Scores routed experts on a calibration text. The donor's hidden states pass through the model layer by layer;
 * the scores of a layer come from the inputs of its router and the outputs of its experts. Packed weights are used
 * unchanged. The scores are bit-identical on every machine, for any number of threads and ranks and for any memory
 * limit. */

/* Options of the caller. All pointers must stay valid until organ_expert_measure_close. */
typedef struct organ_expert_measure_options {
    const organ_model *model;
    organ_calibration_text calibration;
    const organ_engine *engine;
    const organ_progress *progress;
    size_t reserve; /* tokens of the text to leave for organ_calibration_cut_test_windows; 0: none */
} organ_expert_measure_options;

typedef struct organ_expert_measure organ_expert_measure;

/* Reads the text and checks that --memory suffices to measure the unknown layers of `scores`, which the caller has
 * opened with organ_expert_scores_open. Sets scores->tokens and scores->calibration. Call organ_expert_measure_close
 * even after an error. Errors are those of organ_calibration_run_check and organ_calibration_run_open. */
organ_status organ_expert_measure_open(const organ_expert_measure_options *options, organ_expert_scores *scores,
                                       organ_expert_measure **measure, organ_error *error);
void organ_expert_measure_close(organ_expert_measure *measure); /* NULL is allowed */

/* Measures the layers that `scores` lacks. After each layer rank 0 appends its scores to the journal of `writing`
 * (NULL: there is none) and writes all scores to `file` (NULL: no file is written). Returns ORGAN_BAD_INPUT if a value
 * is not finite, ORGAN_IO if memory or a file fails, or ORGAN_INTERRUPTED if the engine is stopped. */
organ_status organ_expert_measure_run(organ_expert_measure *measure, organ_writing *writing, const char *file,
                                      organ_error *error);

/* A run of the verb `experts`. */
typedef struct organ_experts_job {
    const organ_experts_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_expert_score score; /* the score by which experts are chosen */
    bool global;              /* --per-layer global: the scores decide how many experts each layer keeps */
    organ_expert_scores scores;
    bool known;                    /* `scores` has every layer */
    json_t *identity;              /* model, text and windows that the scores belong to; without --calibration only the
                                    * model */
    organ_plan plan;               /* dry run: the estimated work, except reading and writing */
    json_t *needs;                 /* dry run: memory that the measurement would need; NULL: no measurement is needed */
    organ_expert_measure *measure; /* open until the run has decided; NULL: --scores has all scores */
    uint32_t keep;                 /* experts to keep in each layer; with a global budget their average */
    bool drops_blocks;             /* the blocks have experts, but the forward pass does not run them */
    organ_cut_layer *layers;       /* for each layer of the donor, what the output keeps of it */
    size_t layer_count;            /* layers of the donor, including those for multi-token prediction */
    organ_expert_heal *heal;       /* NULL: kept experts are copied unchanged */
    uint32_t *counts;              /* for each layer in `scores`, how many experts it keeps */
    uint32_t *kept; /* for each layer in `scores`, the numbers of its kept experts: `scores.experts` entries each, of
                     * which the first counts[layer] are used */
} organ_experts_job;

/* ---- measure_scores.c ---- */

/* Opens job->measure if there is a calibration text, and sets job->identity. Returns the errors of
 * organ_expert_measure_open. */
organ_status organ_experts_open_scores(organ_experts_job *job, organ_error *error);
/* Fills job->scores from the journal and the file of --scores and, if there is a calibration text, measures the layers
 * that these lack. Sets job->known. A dry run does not measure: job->known stays false if layers are missing, and
 * job->needs and job->plan describe the measurement. Returns ORGAN_USAGE if the file lacks layers and there is no text,
 * and the errors of organ_expert_scores_read and organ_expert_measure_run. */
organ_status organ_experts_load_scores(organ_experts_job *job, organ_writing *writing, organ_error *error);
/* Opens the measurement and closes it again. Returns the error if memory or text do not suffice for it. */
organ_status organ_experts_try(organ_experts_job *job, organ_error *error);

/* ---- predict.c ---- */

/* Makes the report of --predict (schema organ.experts_prediction/1). job->scores is open. Returns ORGAN_USAGE if
 * --memory is too small or --keep lists no valid numbers, ORGAN_BAD_INPUT if the text has no room for held-out windows,
 * and the errors of the measurement and of the forward pass. */
organ_status organ_experts_predict(organ_experts_job *job, json_t **report, organ_error *error);
/* Sets *keep to the number of experts that `text`, a number or a share such as "50%", stands for. Returns ORGAN_USAGE
 * if a layer cannot keep that many. */
organ_status organ_experts_read_keep(const char *text, const organ_expert_scores *scores, uint32_t *keep,
                                     organ_error *error);

/* ---- state of --refit ---- */

/* State of --refit, shared by its sources: experts_heal.c runs the calibration text through the layers (the walk;
 * organ_calibration_run), heal_chunk.c collects the rows of the regression. */

/* Rows of the regression for the tokens of a chunk, as organ_ridge_add takes them. `used` is the number of experts that
 * the router chooses for a token, `width` their number of hidden channels. */
typedef struct organ_heal_rows {
    uint32_t *blocks; /* tokens x used: the token's experts, as indices among the kept experts of the layer */
    float *inputs;    /* tokens x used x width: inputs of these experts' down projections times their router weights */
    float *target; /* tokens x hidden: what must be added to the state after the layer with kept experts, to reach the
                    * weighted mean of states that ORGAN_EXPERT_HEAL_DONOR_SHARE defines */
} organ_heal_rows;

/* A layer of the donor. Arrays are NULL if it has no experts. */
typedef struct organ_heal_layer {
    bool cut;                     /* the layer loses experts */
    bool known;                   /* `choice` is set: by the regression, or from the journal of an interrupted run */
    bool *kept;                   /* for each expert of the donor, whether it is kept; all false unless `cut` */
    uint32_t *kept_index;         /* for each expert of the donor that is kept, its index among the kept ones */
    size_t count;                 /* number of kept experts */
    const organ_tensor **tensors; /* for each expert of the donor, the tensor of its down projection */
    uint64_t *matrices;           /* for each expert, the index of its matrix in that tensor */
    organ_ridge_choice choice;    /* the chosen lambda, and the held-out errors before and after */
} organ_heal_layer;

/* The refit of the kept experts of all layers. */
struct organ_expert_heal {
    organ_expert_heal_options options;
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_targets targets; /* empty: layers are processed as a whole, without target matrices */
    organ_calibration_run *calib;
    const organ_forward_config *config;
    organ_heal_layer *layers; /* layers of the donor */
    size_t layer_count;       /* includes layers of multi-token prediction */
    bool *refitted;           /* a flag for each tensor of the model: its values change */
    organ_cut_run *run;       /* the output; valid during organ_expert_heal_run */
    /* Set while a layer is refitted: */
    bool refitting; /* the current layer is refitted; false: it loses no experts, or its refitted matrices are read back
                     */
    organ_ridge *ridge; /* the regression of the layer; NULL unless `refitting` */
    /* Buffers for the tokens of one chunk: */
    float *normed;   /* normalised inputs of router and experts: tokens x hidden */
    float *logits;   /* router logits: tokens x experts; routing overwrites them */
    float *unpruned; /* states after the layer with all experts, computed from the refitted layers before it: tokens x
                      * hidden */
    float *gathered; /* inputs of the tokens that the router sends to one expert: at most tokens x hidden */
    float *inner;    /* inputs of this expert's down projection for these tokens: at most tokens x width */
    organ_expert_choice *chosen; /* the kept experts that the router chooses for each token: tokens x used */
    size_t *choice_indices;      /* for each row of `gathered`, the index in `chosen` of its token and expert */
    organ_heal_rows rows[2]; /* rows of this rank's chunk; rows received from another rank, allocated only if there are
                              * several ranks */
    size_t tokens, sets;     /* greatest number of tokens of a chunk; number of `rows` */
    organ_buffers buffers;
};

/* Implements organ_calibration_work.compare: passes the donor's states of a chunk through the layer. If the layer is
 * refitted, also adds the rows of the chunks of all ranks to the regression. */
organ_status organ_heal_compare(void *context, const organ_calibration_layer *layer, const organ_windows *windows,
                                size_t chunk, float *donor, float *changed, organ_error *error);

/* Implements organ_calibration_work.leave, after all chunks have passed through the layer: solves the regression and
 * writes the refitted down projections to the output, or reads back those of an interrupted run. The loaded layer then
 * has the weights and the kept experts of the output. */
organ_status organ_heal_finish(void *context, const organ_calibration_layer *layer, organ_error *error);

/* ---- measuring experts ---- */

/* Declarations that the sources of the measurement share: measure_scores.c runs the text, outputs.c computes the
 * outputs of experts for a chunk, greedy.c determines the order of removal. */

/* For each token the inner products f_i . f_j, i <= j, of the outputs f of all experts of a layer, in FP32. The
 * products of a token are the upper triangle of a matrix of experts x experts, row after row. They are in memory or in
 * a scratch file. */
typedef struct organ_expert_products {
    size_t experts, tokens; /* experts of the layer; tokens that there is room for */
    float *all;             /* NULL: the products are in `file` */
    organ_direct_file file; /* path NULL: no file */
} organ_expert_products;

size_t organ_expert_products_count(size_t experts); /* returns the number of products of a token */
/* Reserves room for the products of `tokens` tokens, in a file in the directory `scratch`, or in memory if `scratch` is
 * NULL. Returns ORGAN_IO if there is no memory, or no file of this size can be created. */
organ_status organ_expert_products_open(size_t experts, size_t tokens, const char *scratch,
                                        organ_expert_products *products, organ_error *error);
void organ_expert_products_close(organ_expert_products *products);
/* Returns the products of a token: a pointer into memory, or `scratch`, into which they were read from the file.
 * Returns NULL if the file cannot be read. `scratch` has room for the products of one token. Thread-safe. */
const float *organ_expert_products_of(const organ_expert_products *products, size_t token, float *scratch,
                                      organ_error *error);

/* An expert and the difference of its router weights in two choices of experts for one token. */
typedef struct organ_expert_difference {
    unsigned expert;
    double weight;
} organ_expert_difference;
/* Returns the squared distance between the layer's outputs for one token and two choices `a` and `b` of `used` experts:
 * |sum_i a_i f_i - sum_j b_j f_j|^2, where a_i and b_j are router weights and f the outputs of experts. `products` has
 * the inner products of the token. `b` NULL: returns |sum_i a_i f_i|^2. Both choices are sorted by expert number;
 * `room` has space for 2 * used entries. */
double organ_expert_products_apart(const float *products, size_t experts, const organ_expert_choice *a,
                                   const organ_expert_choice *b, unsigned used, organ_expert_difference *room);

/* Buffers of one worker thread. */
typedef struct organ_expert_worker {
    float *square;   /* inner products of all pairs of experts for one token: experts x experts */
    float *products; /* inner products of one token in the layout of organ_expert_products: the upper triangle */
    float *values;   /* scratch of organ_forward_route: one number for each expert */
    bool *kept;      /* a flag for each expert: true if the router may choose it */
    organ_expert_choice
        *chosen; /* the experts that the router chooses among the kept ones for a token: `used` entries */
    organ_expert_difference *differences; /* scratch of organ_expert_products_apart: 2 * used entries */
    void *scratch;                        /* scratch of kernels->product */
} organ_expert_worker;

/* The measurement of all layers. In the shapes below, `used` is the number of experts that the router chooses for a
 * token, and `tokens` and `chunk_tokens` are the members of this name. */
struct organ_expert_measure {
    organ_expert_measure_options options;
    organ_expert_scores *scores;
    organ_targets targets; /* empty: the walk has no target matrices */
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_calibration_run *calib;
    const organ_forward_config *config;
    json_t *identity;       /* model and text of the scores: see organ_expert_scores_read */
    const char *file;       /* file to which the scores are written after each layer; NULL: none */
    organ_writing *writing; /* whose journal gets the scores of each layer; NULL: none */
    size_t windows;         /* windows of the text that this rank processes */
    size_t tokens;          /* their tokens; while a block is measured, without the last one of each window */
    size_t chunk_tokens;    /* largest number of tokens in a chunk, counted likewise */
    size_t batch;           /* number of tokens that experts run on together */
    organ_expert_worker *workers;
    organ_expert_products products;
    /* State of the current layer: */
    bool measuring; /* false: the scores of the layer are known already, so it only runs */
    organ_router router;
    size_t chunk_begin; /* index of the first token of the current chunk among the tokens of this rank */
    float *normed;      /* inputs of the router for the current chunk: chunk_tokens x hidden */
    float *logits;      /* router logits: tokens x experts */
    float *factors;     /* router factors that multiply the inputs of experts: tokens x experts; NULL without
                         * router.into_inputs */
    organ_expert_choice
        *choices;         /* tokens x used: the experts that the router chooses for each token among all experts */
    double *norms;        /* chunk_tokens x used: norms of the outputs of these experts for the current chunk */
    size_t *norm_indices; /* `batch` entries, used without the loss: for each row of a batch of one expert, the index in
                           * `norms` of its norm */
    double *powers;       /* chunk_tokens: squared norm of the sum of the routed experts' outputs; 0 without the loss */
    /* With the loss: the outputs of all experts for a batch (experts x batch x hidden); if `factors` is not NULL, the
     * scaled inputs of one expert (batch x hidden) follow. Without the loss: the inputs of one expert, followed by its
     * outputs (batch x hidden each). */
    float *outputs;
    float *products_buffer; /* the products of a batch before they are written to the file */
    double *rows; /* for each chunk of all ranks, its row: sums over its tokens, organ_expert_row_width() numbers */
    double *sums; /* the sum of all rows */
    bool spills;  /* the products are in a scratch file */
    size_t chunk_count;
    organ_buffers buffers;
};

/* Returns the number of extra rows per token that scaled inputs of experts need: 1 with router.into_inputs, else 0. A
 * row has a value for each expert in `factors`, and `hidden` values in `outputs`. */
static inline unsigned organ_expert_scaled_rows(const organ_forward_config *config)
{
    return config->router.into_inputs ? 1 : 0;
}
/* Chooses the experts of a token among the kept ones like organ_forward_route (`kept` NULL: among all). With
 * router.into_inputs the weights of the chosen experts are 1, because the router's factors multiply their inputs. */
void organ_expert_route(const organ_expert_measure *measure, const bool *kept, const float *logits, float *scratch,
                        organ_expert_choice *chosen);

/* Returns the length of a row of measure->rows: 2 * experts + 1. While the scores of a layer are measured, a row has
 * the member `sum` of organ_expert_layer for each expert, then `frequency` for each expert, and last `power`. During
 * the greedy removal it has the increase of the loss for each expert, then `experts` unused entries, and last the loss.
 */
size_t organ_expert_row_width(const organ_forward_config *config);
/* Returns, for the chunk that contains token number `token` of this rank, its row in measure->rows. */
double *organ_expert_row_of(const organ_expert_measure *measure, size_t token);
/* Measures the experts on the `tokens` tokens of the chunk that has just passed through the layer. Fills the row of the
 * chunk and, for the loss, stores the products of its tokens. Returns ORGAN_BAD_INPUT if an output is not finite. */
organ_status organ_expert_outputs_take(organ_expert_measure *measure, const organ_calibration_layer *layer,
                                       size_t tokens, organ_error *error);

/* Determines the order in which experts of layer `number` are removed, and the loss after each removal, from the stored
 * products: fills layer->removed and layer->loss. Every rank calls it. */
organ_status organ_expert_greedy(organ_expert_measure *measure, int32_t number, organ_expert_layer *layer,
                                 organ_error *error);
/* Returns the bytes that organ_expert_greedy needs for `tokens` tokens of this rank. */
uint64_t organ_expert_greedy_memory(const organ_forward_config *config, uint64_t tokens);

#endif
