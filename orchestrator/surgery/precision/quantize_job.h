/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of quantisation share for all encodings (encoding.h):
 *
 *   quantize.c            checks options, opens the model, runs
 *   quantize_plan.c       lists the tensors of the output
 *   quantize_pass.c       writes the codes nearest to the weights
 *   quantize_calibrated.c      writes the codes of GPTQ for a calibration text, layer by layer
 *   quantize_document.c   the report; quantize_definitions.c, its texts; quantize_results.c,
 *                         the journal
 *   quantize_forms.c, quantize_config.c    encodings of safetensors models: the encoding of each tensor, config.json
 *   quantize_gguf.c       encodings of GGUF models: the same, key-values, importance matrix
 *   quantize_widths.c     mixed widths */
#ifndef ORGAN_QUANTIZE_JOB_H
#define ORGAN_QUANTIZE_JOB_H

#include "formats/base/arena.h"
#include "formats/base/paged_rows.h"
#include "formats/imatrix/imatrix.h"
#include "formats/weights/weights.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/precision/encoding.h"
#include "orchestrator/surgery/precision/gptq.h"
#include "orchestrator/surgery/precision/quantize.h"
#include "orchestrator/surgery/precision/quantize_pruned.h"
#include "orchestrator/surgery/write/write.h"

/* A target. If it is a stack of matrices, losses and counts are summed over them. */
typedef struct organ_quantize_part {
    const organ_weight *weight;
    const organ_encoding *encoding; /* encoding of its output */
    /* Encoding that --scheme means for it, before it was replaced because its rows are not whole groups or blocks. */
    const organ_encoding *meant;
    uint64_t rows, cols; /* shape of each of its matrices */
    uint64_t groups;     /* scales of a row in a separate tensor; 0: blocks contain the scales */
    /* Shapes of the tensor of scales and, if codes are packed, of the tensor of words. */
    uint64_t scale_shape[2], words[2];
    size_t codes, scale, shape; /* indices of its pieces; shape only if codes are packed */
    size_t unit;                /* index of the unit of these pieces */
    float greatest;             /* greatest magnitude in the tensor, if it has a single scale */
    const char *entry;          /* name of its imatrix entry; NULL: none */
    uint64_t unreached;         /* experts that no token of the imatrix's text reached */
    uint64_t experts;           /* number of experts by which the imatrix is read: organ_experts_of_role */
    organ_encoding_loss loss[ORGAN_LOSSES];
    bool by_text;                          /* true: calibrated on a text; false: each code is the nearest to its
                                            * weight */
    uint64_t made;                         /* number of matrices already encoded */
    double energy, gptq_loss, output_loss; /* as in organ_gptq */
    uint64_t tokens;                       /* calibration tokens; for a stack those of the matrix with the fewest */
    bool block_diagonal;    /* --memory was too small for whole second moments: they are diagonal blocks */
    json_t *fallback;       /* numbers of experts that were calibrated on all tokens; NULL: none */
    uint64_t masked, zeros; /* pruned weights; codes that mean 0, including these */
} organ_quantize_part;

/* A target that stays unchanged. */
typedef struct organ_quantize_left {
    const organ_tensor *tensor;
    const char *why; /* a sentence */
} organ_quantize_left;

typedef struct organ_quantize_widths organ_quantize_widths;

/* State of organ quantize. */
typedef struct organ_quantize_job {
    const organ_quantize_options *options;
    const organ_quantize_pruning *pruning; /* NULL: none */
    const organ_encoding *encoding;        /* encoding of --scheme */
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;    /* weights of a safetensors model; NULL for GGUF */
    organ_weight *plain;       /* of a GGUF model: each tensor as a weight; NULL for safetensors */
    const organ_weight *given; /* weights->weights or `plain` */
    size_t given_count;
    organ_targets targets;
    /* A flag for each tensor of the model: it is a target, but no layer multiplies inputs by it, so a text cannot
     * calibrate it. NULL: there is none. */
    bool *untapped;
    organ_imatrix *imatrix;           /* NULL: none */
    char digest[17];                  /* digest of the imatrix */
    organ_gguf_writer *writer;        /* key-values of a GGUF output; NULL: safetensors */
    organ_quantize_widths *widths;    /* mixed encodings; NULL: all targets have the same encoding */
    const organ_encoding **encodings; /* of each tensor of the model; NULL: the tensor stays unchanged */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_unit *units; /* organ_unit.item is the index of the part */
    size_t unit_count;
    organ_quantize_part *parts;
    size_t part_count;
    size_t regrouped; /* number of parts whose encoding differs from the intended one */
    size_t partial;   /* number of parts whose last FP8 blocks are clipped, which transformers cannot read */
    organ_quantize_left *left_out;
    size_t left_out_count;
    organ_arena arena; /* names of new tensors, reasons */
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_targets aimed;               /* the calibrated tensors */
    organ_quantize_part **aimed_parts; /* their parts: aimed_parts[k] is that of aimed.tensors[k] */
    organ_calibration_run *calib;      /* NULL: no part is calibrated */
    organ_gptq_inputs inputs;          /* second moments that the last matrix used */
    organ_plan plan;                   /* dry run: all work other than reading and writing */
    organ_writing *run;                /* valid while the passes run */
    organ_quantize_part **todo;        /* during a pass: todo[k] is the part that item k of the pass encodes */
} organ_quantize_job;

/* Returns whether --method is gptq, which needs a calibration text. */
bool organ_quantize_by_text(const organ_quantize_options *options);

/* Returns part k, for loops over all parts. Now and then releases the pages of the parts before it, which are in a file
 * if the model has very many tensors. */
static inline organ_quantize_part *organ_quantize_next_part(const organ_quantize_job *job, size_t k)
{
    organ_rows_passed();
    return &job->parts[k];
}

/* Lists pieces, units and parts of the output, and the targets that stay unchanged, after job->encodings is set.
 * Returns ORGAN_USAGE if a budget leaves all targets unchanged, ORGAN_BAD_INPUT if no target can be quantised. */
organ_status organ_quantize_list_parts(organ_quantize_job *job, organ_error *error);

/* Writes the codes and scales of the parts that are not calibrated; each code is the nearest to its weight. */
organ_status organ_quantize_pass(organ_quantize_job *job, organ_error *error);
/* Adds the memory and the work of organ_quantize_pass to job->plan. */
organ_status organ_quantize_estimate_pass(organ_quantize_job *job, organ_error *error);

/* Returns ORGAN_BAD_INPUT with the message that the values of the tensor are not finite. */
organ_status organ_quantize_refuse_values(const char *tensor, organ_error *error);

/* Writes the shape tensor of a part whose codes are packed; does nothing for other parts. */
organ_status organ_quantize_put_shape(organ_quantize_job *job, const organ_quantize_part *part, organ_error *error);

/* ---- a calibration text ---- */

/* Opens the text of --method gptq for `targets` and closes it, to return its errors before any work. The parts may
 * later be fewer than these targets. */
organ_status organ_quantize_check_text(organ_quantize_job *job, const organ_targets *targets, organ_error *error);
/* Opens the text of --method gptq for the parts, which are listed. */
organ_status organ_quantize_open_text(organ_quantize_job *job, organ_error *error);
/* Returns the work of calibration on a matrix, for a plan. */
organ_plan_solve organ_quantize_solve(const organ_quantize_job *job);
/* Quantises all calibrated parts and writes their codes and scales, layer by layer. */
organ_status organ_quantize_calibrated(organ_quantize_job *job, organ_error *error);
void organ_quantize_close_text(organ_quantize_job *job);

/* ---- encodings of safetensors models ---- */

/* Returns a sentence that says why a safetensors encoding cannot represent a target; NULL if the job's encoding, or one
 * with smaller groups, can. */
const char *organ_quantize_obstacle(const organ_quantize_job *job, const organ_tensor *tensor);
/* Returns whether the tensor is a projection of a routed expert, or a stack of such projections. */
bool organ_quantize_is_routed(const organ_tensor *tensor);
/* Returns the number of matrices of routed experts, without stacks, that stay plain. Valid after the parts are
 * listed. */
size_t organ_quantize_plain_experts(const organ_quantize_job *job);
/* Returns whether config.json must name several encodings, because parts differ from job->encoding. */
bool organ_quantize_has_several_encodings(const organ_quantize_job *job);
/* Sets job->encodings of a safetensors model. Returns ORGAN_USAGE if --targets matches only some of the routed experts
 * of a layer, ORGAN_BAD_INPUT if no single encoding fits the routed experts. */
organ_status organ_quantize_forms(organ_quantize_job *job, organ_error *error);
/* Prints notes about tensors with smaller groups than the encoding's, and about features that loaders do not support.
 * Valid after the parts are listed. */
void organ_quantize_note_loaders(const organ_quantize_job *job);
/* Implements organ_write.edit: adds quantization_config. */
organ_status organ_quantize_config(void *job, organ_json_edit *config, organ_error *error);

/* ---- encodings of GGUF models ---- */

/* Returns the encoding that --scheme gives the tensor, or NULL if the tensor is not a target. Embeddings and head are
 * targets too; the head has its own encoding. */
const organ_encoding *organ_quantize_gguf_encoding_of(const organ_quantize_job *job, const organ_tensor *tensor);
/* Same as organ_quantize_obstacle for GGUF; the text is in the job's arena. Also returns NULL, and sets *error, if
 * memory cannot be allocated. */
const char *organ_quantize_gguf_obstacle(organ_quantize_job *job, const organ_tensor *tensor, organ_error *error);
/* Sets job->encodings of a GGUF model. */
organ_status organ_quantize_gguf_forms(organ_quantize_job *job, organ_error *error);
/* Opens --imatrix if the option is set, and finds the entries of the parts. Returns ORGAN_BAD_INPUT if a target needs
 * an entry and has none. */
organ_status organ_quantize_gguf_open_imatrix(organ_quantize_job *job, organ_error *error);
/* Computes the weights of the columns of a matrix by the imatrix, and their roots: `cols` numbers each. */
organ_status organ_quantize_gguf_weigh(const organ_quantize_job *job, const organ_quantize_part *part, uint64_t matrix,
                                       float *weights, float *roots, organ_error *error);
/* Makes job->writer: the key-values of the model with those that name the encoding and the imatrix. */
organ_status organ_quantize_gguf_metadata(organ_quantize_job *job, organ_error *error);
/* Prints notes about tensors that get another block type than the scheme's. */
void organ_quantize_gguf_note(const organ_quantize_job *job);

/* ---- mixed widths ---- */

/* Returns ORGAN_USAGE if --allocate and the scheme contradict each other. */
organ_status organ_quantize_widths_check(const organ_quantize_options *options, bool mixed, organ_error *error);
/* Measures what each width costs each target, in nats per token, or reads that from a file; divides the budget of bits
 * and sets job->encodings. Returns errors of organ_curves_open, organ_curves_run and organ_allocation_read; ORGAN_USAGE
 * if the budget is too small. */
organ_status organ_quantize_widths_find(organ_quantize_job *job, organ_error *error);
void organ_quantize_widths_close(organ_quantize_widths *widths); /* NULL is allowed */
/* Return the member "allocation" of the parameters and of the report; NULL without memory. */
json_t *organ_quantize_widths_parameters(const organ_quantize_options *options);
json_t *organ_quantize_widths_json(const organ_quantize_widths *widths);

/* ---- journal and report ---- */

/* Returns the results of a part for the journal; organ_quantize_recall restores them in a continued run and returns
 * false if they are malformed. */
json_t *organ_quantize_results(const organ_quantize_part *part);
bool organ_quantize_recall(void *job, size_t part, const json_t *results);

/* Implement `parameters`, `identity` and `document` of organ_write; `definitions` is a member of the last. */
json_t *organ_quantize_parameters(void *job);
json_t *organ_quantize_identity(void *job);
json_t *organ_quantize_definitions_json(const organ_quantize_job *job);
json_t *organ_quantize_document(void *job, const organ_writing *made);

#endif
