/* SPDX-License-Identifier: MIT
 * What the parts of a quantisation share. */
#ifndef ORGAN_QUANTIZE_JOB_H
#define ORGAN_QUANTIZE_JOB_H

#include "formats/base/arena.h"
#include "formats/weights/weights.h"
#include "orchestrator/surgery/output/targets.h"
#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/precision/gptq.h"
#include "orchestrator/surgery/precision/quantize.h"
#include "orchestrator/surgery/precision/quantize_pruned.h"
#include "orchestrator/surgery/write/write.h"

#define ORGAN_LEAST_GROUP 32 /* columns */

typedef struct organ_quantize_scheme {
    const char *name;
    organ_grid grid;
    bool packed; /* codes are in words of 32 bits, else a byte each */
} organ_quantize_scheme;

/* A target. */
typedef struct organ_quantize_part {
    const organ_weight *weight;
    const organ_quantize_scheme *scheme; /* that of the job, or one of its widths */
    uint64_t rows, cols, groups;         /* groups: scales along a row */
    uint64_t scale_shape[2], words[2];   /* shapes of the scales and, of packed codes, of the words */
    size_t codes, scale, shape;          /* pieces of the output; shape only where codes are packed */
    size_t unit;                         /* of them */
    float greatest;                      /* magnitude, of the whole tensor; where a scale is for all of it */
    double squares, error_squares;       /* sums over its values, over what they lost */
    /* By a calibration: tr(E H E^T) of the weights, of GPTQ's error, of the error in the end; tokens that it was
     * calibrated with. */
    double energy, gptq_loss, loss;
    uint64_t tokens;
    bool block_diagonal;
    json_t *fallback;       /* the number of an expert that was calibrated on all tokens; NULL: not such an expert */
    uint64_t masked, zeros; /* of a pruning: weights that it has left out; codes that mean 0, these among them */
} organ_quantize_part;

/* A target that stays as it is. */
typedef struct organ_quantize_left {
    const organ_tensor *tensor;
    const char *why;
} organ_quantize_left;

typedef struct organ_quantize_widths organ_quantize_widths;

typedef struct organ_quantize_job {
    const organ_quantize_options *options;
    const organ_quantize_pruning *pruning; /* NULL: none */
    const organ_quantize_scheme *scheme;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    organ_targets targets;
    organ_quantize_widths *widths;           /* of a mixed scheme; NULL: all targets have the same */
    const organ_quantize_scheme **scheme_of; /* of each tensor of the model; NULL: the tensor stays unchanged */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_unit *units; /* item: the part */
    size_t unit_count;
    organ_quantize_part *parts;
    size_t part_count;
    size_t regrouped; /* number of parts with a smaller group than the job's scheme; 0 for mixed widths */
    size_t partial;   /* number of parts with blocks clipped at their edges, which DeepSeek's code and vLLM read and
                         transformers does not */
    organ_quantize_left *left;
    size_t left_count;
    organ_arena arena; /* names of new tensors */
    organ_along_options walk;
    organ_along_work work;
    organ_targets aimed;        /* the parts' tensors, in their order */
    organ_along_text *along;    /* NULL: each code is the nearest to its weight */
    organ_gptq_inputs inputs;   /* of the calibration that was used last */
    organ_plan plan;            /* of a dry run: the work beside reading and writing */
    organ_writing *run;         /* while the passes run, */
    organ_quantize_part **todo; /* and the parts that are not done, by the items of a pass */
} organ_quantize_job;

/* Puts codes and scales of all parts into place, each code the nearest to its weight. */
organ_status organ_quantize_pass(organ_quantize_job *job, organ_error *error);

/* Adds the memory and the work of that to job->plan. */
organ_status organ_quantize_foresee_pass(organ_quantize_job *job, organ_error *error);

/* ORGAN_BAD_INPUT: its values are not finite. */
organ_status organ_quantize_refuse_values(const char *tensor, organ_error *error);

/* Where codes are packed, the shape of what they are of. */
organ_status organ_quantize_put_shape(organ_quantize_job *job, const organ_quantize_part *part, organ_error *error);

/* Each target has a width of its own; grid.bits is the greatest. */
bool organ_quantize_is_mixed(const organ_quantize_scheme *scheme);
/* NULL: there is none of that name. */
const organ_quantize_scheme *organ_quantize_scheme_named(const char *name);
/* Returns `scheme` if `cols` is a multiple of its group, else the scheme with the same bits and the widest smaller
 * group that divides `cols`; NULL if there is none. Schemes without groups fit all widths. */
const organ_quantize_scheme *organ_quantize_scheme_fitting(const organ_quantize_scheme *asked, uint64_t cols);
/* Returns the reason why no scheme can represent the tensor, for any width; NULL if schemes can. */
const char *organ_quantize_kind_obstacle(const organ_tensor *tensor);
/* Returns whether the tensor is a projection of a routed expert, or a stack of such projections. */
bool organ_quantize_is_routed(const organ_tensor *tensor);
/* Counts the matrices of routed experts, except stacks, that stay plain. The caller has listed the parts before. */
size_t organ_quantize_plain_experts(const organ_quantize_job *job);
/* Returns whether parts have schemes other than job->scheme. */
bool organ_quantize_several(const organ_quantize_job *job);
/* Fills job->scheme_of. ORGAN_USAGE if --targets matches only some of the routed experts of a layer; ORGAN_BAD_INPUT if
 * no single scheme fits the routed experts. */
organ_status organ_quantize_forms(organ_quantize_job *job, organ_error *error);
/* Prints notes on the terminal: tensors with smaller groups than the scheme's, and features that loaders do not
 * support. The caller has listed the parts before. */
void organ_quantize_tell_loaders(const organ_quantize_job *job);
/* The same for one target and its width; NULL if the scheme can represent it. */
const char *organ_quantize_obstacle(const organ_quantize_job *job, const organ_tensor *tensor);

/* ---- mixed widths ---- */

/* Whether --allocate and scheme go together. ORGAN_USAGE. */
organ_status organ_quantize_widths_check(const organ_quantize_options *options, bool mixed, organ_error *error);
/* Measures or reads what each target costs at each width, and divides the budget: job->scheme_of. Errors of
 * organ_curves_open, organ_curves_run and organ_allocation_read; ORGAN_USAGE for a budget that is too little. */
organ_status organ_quantize_widths_find(organ_quantize_job *job, organ_error *error);
void organ_quantize_widths_close(organ_quantize_widths *widths); /* NULL is allowed */
/* "allocation" of the parameters and of the document; NULL without memory. */
json_t *organ_quantize_widths_parameters(const organ_quantize_options *options);
json_t *organ_quantize_widths_json(const organ_quantize_widths *widths);

/* Opens the text of --method gptq for these targets and closes it again: its errors before anything else is done. Parts
 * may be fewer. */
organ_status organ_quantize_try_text(organ_quantize_job *job, const organ_targets *targets, organ_error *error);
/* Opens the text of --method gptq; the parts are known. */
organ_status organ_quantize_open_text(organ_quantize_job *job, organ_error *error);
/* The work of the text on a matrix, for a plan. */
organ_plan_solve organ_quantize_solve(const organ_quantize_job *job);
/* Puts codes and scales of all parts into place, layer by layer along the text. */
organ_status organ_quantize_along(organ_quantize_job *job, organ_error *error);
void organ_quantize_close_text(organ_quantize_job *job);

/* ---- codes of a row ---- */

size_t organ_quantize_row_bytes(const organ_quantize_scheme *scheme, size_t cols);
/* The codes nearest to the values of a row, as they are stored, and what they mean; scales: of each group. */
void organ_quantize_row(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const float *values,
                        const float *scales, size_t cols, void *codes, float *back);
/* What stored codes mean. */
void organ_quantize_row_back(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const void *codes,
                             const float *scales, size_t cols, float *back);
/* Bytes of a stored scale, and scales as they are stored and back. */
size_t organ_quantize_scale_bytes(const organ_quantize_scheme *scheme);
void organ_quantize_store_scales(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const float *scales,
                                 size_t n, void *stored);
void organ_quantize_load_scales(const organ_quantize_scheme *scheme, const organ_kernels *kernels, const void *stored,
                                size_t n, float *scales);
/* Sums of squares over a row of values and of what they lost. */
typedef struct organ_quantize_loss {
    double squares, error_squares;
} organ_quantize_loss;
/* Adds those of a row; `back` is what its codes mean, and becomes what was lost. */
void organ_quantize_lose(const organ_kernels *kernels, const float *values, float *back, size_t cols,
                         organ_quantize_loss *sums);

/* Adds quantization_config. */
organ_status organ_quantize_config(void *job, organ_json_edit *config, organ_error *error);

/* For the journal: what a part has besides its bytes. */
json_t *organ_quantize_results(const organ_quantize_part *part);
bool organ_quantize_recall(void *job, size_t part, const json_t *results);

json_t *organ_quantize_parameters(void *job);
json_t *organ_quantize_identity(void *job);
json_t *organ_quantize_document(void *job, const organ_writing *made);

#endif
