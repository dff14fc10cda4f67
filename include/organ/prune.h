/* SPDX-License-Identifier: MIT
 * Sets weights of a model to zero, and verifies models that were pruned or cut. */
#ifndef ORGAN_API_PRUNE_H
#define ORGAN_API_PRUNE_H

#include <organ/base.h>
#include <organ/stream.h>
#include <organ/options.h>

#include <jansson.h>
#include <stdbool.h>

ORGAN_API_BEGIN

/* ---- pruning ---- */

#define ORGAN_PRUNE_EFFORTS 0, 100 /* range of `effort`; 0 itself is not allowed */

/* The options of organ_prune that choose and control a method. */
typedef struct organ_prune_calibrated_options {
    /* "physarum-v1", "physarum-v2", "physarum-v3", "alps", "magnitude", "wanda", "sparsegpt"; NULL: physarum-v3 with
     * `calibration`, else physarum-v1 */
    const char *method;
    organ_calibration_text calibration;
    bool all_experts; /* calibrate every expert on all tokens of its layer, not only on those that the router sends to
                         it */
    const char *imatrix; /* an importance matrix instead of a text, for physarum-v2 and wanda; NULL: none */
    const char *pattern; /* "N:M", N kept of M neighbours, 1 <= N < M <= 16; NULL: none */
    bool no_compensate;  /* physarum-v2: keep the bits of the remaining weights */
    double effort; /* factor of the number of products with second moments (physarum-v2) or of iterations (physarum-v3),
                      in (0, 100]; 0: 1 */
    unsigned seed; /* physarum-v2: seed of the noise that stability is measured with; default 0 */
    const char *then; /* a safetensors scheme of organ_quantize that quantises the remaining weights; NULL: they
                       * are not quantised */
    organ_allocate_options allocate; /* one budget for all targets, in percent; every method measures it on
                                      * `calibration` */
} organ_prune_calibrated_options;

/* Ranges and defaults of organ_prune_options. */
#define ORGAN_PRUNE_BLOCK_SIZES        16, 4096
#define ORGAN_PRUNE_ITERATIONS         1, 100000
#define ORGAN_PRUNE_BETAS              0, 64 /* 0 itself is not allowed */
#define ORGAN_PRUNE_COUPLINGS          0, 8
#define ORGAN_PRUNE_PERCENTS           0, 100 /* neither 0 nor 100 is allowed */
#define ORGAN_PRUNE_BLOCK_SIZE_DEFAULT 256
#define ORGAN_PRUNE_ITERATIONS_DEFAULT 30

/* Options of organ_prune. */
typedef struct organ_prune_options {
    size_t size;         /* see ORGAN_DEFAULTS */
    const char *donor;   /* path of the model to prune */
    unsigned block_size; /* rows and columns of a tile, within ORGAN_PRUNE_BLOCK_SIZES; 0: 256 */
    unsigned iterations; /* iterations of the flow, within ORGAN_PRUNE_ITERATIONS; 0: 30 */
    double beta;         /* exponent of the flow's response, > 0, <= 64; 0: 2 */
    double coupling;     /* 0 .. 8: 0 ranks by magnitude alone, 1 conserves flow per row and column; default 1 */
    /* Requested percent of zeros in each target, 0 < S < 100; negative: the gain is fixed and the flow decides. */
    double sparsity;
    const char *targets; /* comma-separated globs on tensor names; NULL: the projections of the anatomy table */
    organ_write_options write;
    organ_prune_calibrated_options calibrated; /* the method and its options */
    /* second moments of the inputs on a text: "whole" (also NULL), or "blocks" of 256 inputs, which need less memory */
    const char *moments;
} organ_prune_options;
ORGAN_DEFAULTS(prune, o.block_size = ORGAN_PRUNE_BLOCK_SIZE_DEFAULT; o.iterations = ORGAN_PRUNE_ITERATIONS_DEFAULT;
               o.beta = 2; o.coupling = 1; o.sparsity = -1; o.calibrated.effort = 1;
               o.calibrated.calibration.samples = ORGAN_SAMPLES_DEFAULT;
               o.calibrated.calibration.context = ORGAN_CONTEXT_DEFAULT)

/* Prunes the donor by a method. physarum-v1, a static magnitude flow per tile, and magnitude need no text. physarum v2
 * and v3, wanda, sparsegpt and ALPS use the inputs that a calibration text causes in each layer, and prune layer by
 * layer. An importance matrix of llama.cpp can replace the text for wanda and physarum-v2: matrices are then pruned
 * individually, without tokenizer and forward pass; physarum-v2 then uses neither stability nor contribution, and does
 * not compensate.
 *
 * The output is a directory, or a single file with its reports next to it if its name ends in .gguf
 * or .safetensors; then the donor must be one such file. *report is the content of prune.json (schema organ.prune/1),
 * which the caller releases; NULL on error. With dry_run nothing is written and the report describes the planned work.
 *
 * Returns ORGAN_USAGE if options are out of range, the method does not support an option, the output exists, or
 * the memory is too small for the hidden states; ORGAN_BAD_INPUT if the text is too short, the donor is malformed or
 * changed during the run, or the imatrix has no entry for a target or one of another size (no output remains); ORGAN_IO
 * or ORGAN_INTERRUPTED if reading, writing or memory failed or a stop was requested (the unfinished output remains and
 * can be resumed). With `evaluate` also errors of organ_perplexity; those that can be detected early are returned
 * before anything is written. After a later error of the evaluation the complete output remains, and *report gives the
 * reason why the output was not scored. */
organ_status organ_prune(const organ_prune_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

/* ---- audit: compares the bytes of a pruned or cut model with the donor's, without its report ---- */

/* The two models, and which differences are allowed. */
typedef struct organ_audit_options {
    size_t size;                /* see ORGAN_DEFAULTS */
    const char *donor, *pruned; /* paths of the two models */
    const char *targets;        /* tensors that may differ, as in organ_prune_options */
    bool compensated; /* --refitted: kept weights may differ from the donor's; the report counts them, and they are
                       * no problem */
    const char *const *texts; /* --text: files, of which the tokens, and logits of the first ones, are compared; only
                               * for an output of organ_vocabulary */
    size_t text_count;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_audit_options;
ORGAN_DEFAULTS(audit, )

/* Compares the two models. Returns ORGAN_OK if `pruned` differs from `donor` only as allowed. Otherwise returns
 * ORGAN_CHECK_FAILED, and the member "problems" of the report lists the other differences in sentences. In both cases
 * *report (schema organ.audit/1) is set, and the caller releases it. Any other status means that a model could not be
 * read or memory ran out; *report is NULL then.
 *
 * `pruned` may also have fewer blocks, experts, channels or heads than the donor. Then the function finds the kept
 * parts in the bytes and compares every tensor and config.json (or the key-values) with a cut of the donor to these
 * parts; the report has schema organ.audit_cut/1. With `compensated`, weights that a refit may change are counted and
 * are no problem; without it they must have the digests that the report of the cut in the copy states. Returns
 * ORGAN_CHECK_FAILED, with *report NULL, if the donor cannot be cut to these parts.
 *
 * If both are GGUF models with the same tensors, and `pruned` has a report of organ_gguf_split, _join or _edit, or
 * another number of files, or no matrix is of a type that can be pruned, the function compares all tensors and
 * key-values; the report has schema organ.audit_gguf/1.
 *
 * If `pruned` has a report of organ_vocabulary that lists kept tokens, the function compares rows, tokenizer and
 * settings with those of the donor for these tokens; the report has schema organ.audit_vocabulary/1. With `texts`, both
 * models also encode the texts and run the first 512 tokens of each: tokens, and logits of kept tokens, must be equal
 * bit by bit. ORGAN_USAGE for texts with any other pair of models.
 *
 * If such a report lists labels, the function compares their rows, all other tensors, tokenizer and settings; the
 * report has schema organ.audit_labels/1. Of new tokens the schema is organ.audit_vocabulary/1.
 */
organ_status organ_audit(const organ_audit_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
