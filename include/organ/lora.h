/* SPDX-License-Identifier: MIT
 * LoRA adapters: extracts, merges, resizes and repairs them. */
#ifndef ORGAN_API_LORA_H
#define ORGAN_API_LORA_H

#include <organ/base.h>
#include <organ/stream.h>
#include <organ/options.h>

#include <jansson.h>
#include <stdbool.h>

ORGAN_API_BEGIN

/* ---- lora extract: the difference of a fine-tuned model from its base as an adapter ---- */

/* Options of organ lora extract. */
typedef struct organ_lora_extract_options {
    size_t size;              /* see ORGAN_DEFAULTS */
    const char *base, *tuned; /* paths of the base and of the fine-tuned model */
    unsigned rank;            /* largest rank of a module; at least 1 */
    /* --rank-by. NULL: each module has `rank`. "energy=0.95", or "energy" with `share`: each module has the smallest
     * rank that explains this share of the squared norm of its change. */
    const char *rank_by;
    const char *share;   /* the share, above 0 and at most 1, if rank_by is "energy"; else NULL */
    const char *modules; /* comma-separated shell patterns of weights that get factors; a pattern matches the name of
                          * the weight, its module, or the module's last word ("q_proj"). NULL: projections */
    const char *dtype;   /* type of the factors: "bf16", "f16", "f32" */
    unsigned seed;       /* seed of the random vectors that start the decomposition */
    bool exact;          /* decompose each change completely, in memory */
    bool save_full;      /* --save-full: store changed weights that get no factors whole in the adapter */
    organ_write_options write;
    /* A text: the factors minimise the error of each layer's outputs on it, rather than that of the weights, so that
     * the adapter repairs a base that was quantised or pruned; `tuned` is the plain original. text NULL: none. */
    organ_calibration_text calibration;
    const char *moments; /* --moments: "whole" (NULL) or "blocks" */
    bool all_experts;    /* --all-experts: every expert is calibrated on all tokens */
} organ_lora_extract_options;
ORGAN_DEFAULTS(lora_extract, o.rank = 256; o.dtype = "bf16"; o.calibration.samples = ORGAN_SAMPLES_DEFAULT;
               o.calibration.context = ORGAN_CONTEXT_DEFAULT)

/* Writes the directory options->write.output with adapter_model.safetensors and adapter_config.json (or, for GGUF
 * models, adapter_model.gguf), and the report in its folder organ/. The change of a weight is W_tuned - W_base in FP32.
 * A packed base (FP8, INT4) is dequantised first, so that the adapter also corrects its quantisation error. The report
 * lists the norms of all changes that the adapter does not contain. The bytes of the adapter do not depend on the
 * number of threads or the memory, on one kind of CPU. *report has schema organ.lora_extract/1; the caller releases it;
 * NULL on error.
 *
 * If a run is interrupted or fails for lack of disk or memory, its finished modules and a journal remain; `resume`
 * continues it and gives the same bytes. After any other error no output remains.
 *
 * Returns
 *   - ORGAN_USAGE if options are invalid, the output exists or is an input, a pattern matches no linear layer, or a
 *     module needs more memory than the engine has; also if an unfinished run is found and neither `resume` nor
 *     `force` is given, or `resume` finds a run with other parameters;
 *   - ORGAN_BAD_INPUT if files are malformed, values are not finite, a weight that gets factors has different shapes
 *     in the two models, no such weight changed, or the models have no such weight in common;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_extract(const organ_lora_extract_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

/* ---- lora merge: merges an adapter into its base: W + scale B A in FP32, rounded once ---- */

/* Options of organ lora merge. */
typedef struct organ_lora_merge_options {
    size_t size;                /* see ORGAN_DEFAULTS */
    const char *base, *adapter; /* paths */
    double scale; /* --scale: factor of the adapter's change, in addition to the adapter's own scale; 1: as trained */
    /* Type of all merged and dequantised weights: "bf16", "f16", "f32". NULL: merged weights keep their F32, BF16 or
     * F16, packed weights become BF16. */
    const char *dtype;
    organ_write_options write;
    /* --feedback: merged weights of BF16 and F16 are rounded so that the errors of a row cancel in the directions of
     * the adapter; false: each value to the nearest */
    bool feedback;
    /* --keep-tied: a head that is the base's embedding stays it, also if the adapter changes the embedding */
    bool keep_tied;
} organ_lora_merge_options;
ORGAN_DEFAULTS(lora_merge, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.scale = 1)

/* Writes a copy of the base in which the weight W of every module of the adapter is W + scale B A; with DoRA, the rows
 * of this sum are then scaled to the stored norms. Tensors that the adapter stores whole (modules_to_save, biases)
 * replace those of the base. A packed base (FP8, INT4) is dequantised: the output is a plain model. *report has schema
 * organ.lora_merge/1; the caller releases it.
 *
 * If a tensor of the adapter fits no weight of the base, the function writes nothing and returns ORGAN_BAD_INPUT, and
 * *report lists all such tensors. A run that ends with ORGAN_INTERRUPTED or ORGAN_IO after some of the tensors keeps
 * them, and `resume` continues it to the same bytes. After other errors nothing of the output remains, except after
 * errors of the evaluation.
 *
 * Returns
 *   - ORGAN_USAGE if the output exists or is an input, the base is behind a URL, or an adapter with DoRA is merged with
 *     a scale other than 1;
 *   - ORGAN_BAD_INPUT if files are malformed or changed during the run, factors are not finite, or values exceed the
 *     range of the type;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested;
 *   - errors of organ_perplexity if write.evaluate is set.
 *
 * *report is NULL after an error, with two exceptions: adapters that do not fit, and errors of the evaluation. After an
 * error of the evaluation the complete output remains, and *report gives the reason why the output was not scored. */
organ_status organ_lora_merge(const organ_lora_merge_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

/* ---- lora combine: several adapters of one base as one ---- */

/* Options of organ lora combine. */
typedef struct organ_lora_combine_options {
    size_t size;                 /* see ORGAN_DEFAULTS */
    const char *const *adapters; /* `adapter_count` paths, 2 to 16 */
    size_t adapter_count;
    /* A combination_type of peft 0.21: "cat", "svd", "linear", "ties", "ties_svd", "dare_linear", "dare_linear_svd",
     * "dare_ties", "dare_ties_svd", "magnitude_prune", "magnitude_prune_svd". */
    const char *method;
    const char *weights;       /* factors of the adapters' changes, "0.7,0.3"; NULL: 1 for each */
    double density;            /* share of the values that stay, above 0 and at most 1; 0 for methods without one */
    const char *majority_sign; /* "total" or "frequency": sign election of TIES */
    unsigned rank;     /* largest rank of a module; 0: that of the method, for svd the largest of the adapters */
    uint64_t seed;     /* of the values that DARE drops */
    const char *dtype; /* "bf16", "f16", "f32". NULL: the adapters' type if it changes no value, else F32 */
    const char *to;    /* "peft", "mlx" or "gguf"; NULL: GGUF for GGUF adapters, else peft */
    organ_write_options write;
} organ_lora_combine_options;
ORGAN_DEFAULTS(lora_combine, o.method = "cat"; o.majority_sign = "total")

/* Writes one adapter with the combined changes of all of them, as peft's add_weighted_adapter makes it, but without the
 * base. A module that only some adapters change is combined from these. The output has one rank, padded with zeros, and
 * one scale: 1, or that of the adapters if it is the same for all and their factors are copied (cat). Adapters are
 * compared first: cosines and signs of their changes, module by module. *report has schema organ.lora_combine/1; the
 * caller releases it; NULL on error. write.dry_run only compares.
 *
 * Tensors that are no factors are copied if one adapter has them and its weight is 1, or if they are equal copies of
 * the base's embedding or head.
 *
 * Returns ORGAN_USAGE if options are invalid or do not fit each other, the output exists, or a matrix that is
 * decomposed whole exceeds the memory; ORGAN_BAD_INPUT if an adapter is malformed, uses DoRA or biases of factors, was
 * trained on a base that its initialisation changed, or has values that are not finite, if shapes or formats differ, if
 * ranks differ for a method that adds factors, or if two adapters store one tensor whole; ORGAN_IO if reading, writing
 * or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_combine(const organ_lora_combine_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

/* Options of organ audit --recipe for combined adapters. */
typedef struct organ_lora_combine_audit_options {
    size_t size;         /* see ORGAN_DEFAULTS */
    const char *recipe;  /* path of the report of organ lora combine: OUT/organ/lora_combine.json */
    const char *adapter; /* path of the combined adapter */
} organ_lora_combine_audit_options;
ORGAN_DEFAULTS(lora_combine_audit, )

/* Combines the adapters again, from the paths and with the options that the report states, and compares all factors bit
 * for bit, copied tensors and scales. For cat it also computes how far each change is from the weighted sum, from the
 * adapters alone. Returns ORGAN_CHECK_FAILED if anything differs; the member "problems" of *report (schema
 * organ.audit_combine/1) lists it. Returns the errors of organ_lora_combine for the report and the adapters; *report is
 * NULL then. The caller releases *report. */
organ_status organ_lora_combine_audit(const organ_lora_combine_audit_options *options, const organ_engine *engine,
                                      const organ_progress *progress, json_t **report, organ_error *error);

/* ---- lora resize: reduces the rank of an adapter ---- */

/* Options of organ lora resize. */
typedef struct organ_lora_resize_options {
    size_t size;                  /* see ORGAN_DEFAULTS */
    const char *adapter, *output; /* paths */
    unsigned rank;                /* largest rank of a module, at least 1 */
    /* Share of ||scale B A||^2 that every module keeps if `rank` allows it, in (0, 1]; 0: modules are only cut to
     * `rank`. */
    double energy;
    bool force;             /* --force: replace an existing output */
    bool resume;            /* --resume: continue an interrupted run */
    organ_figures *figures; /* as in organ_write_options, of the adapter */
} organ_lora_resize_options;
ORGAN_DEFAULTS(lora_resize, )

/* Writes the adapter with ranks of at most `rank`. Replaces scale B A of each module by its best approximation of the
 * new rank: a truncated singular value decomposition, computed from QR decompositions of the factors without forming
 * the product. Modules whose rank is not above `rank` keep their factors, unless `energy` is set. The scale is folded
 * into B, lora_alpha becomes r, and factors of lower rank are padded with zeros to a single r. Tensors that are not
 * factors are copied. *report has schema organ.lora_resize/1; the caller releases it; NULL on error.
 *
 * Returns ORGAN_USAGE if options are invalid or the output exists; ORGAN_BAD_INPUT if the adapter is malformed, has no
 * pair, has factors that are not finite, or changed during the run; ORGAN_IO if reading, writing or memory fails;
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_resize(const organ_lora_resize_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

/* ---- lora sanitize: makes an adapter that servers such as vLLM can load ---- */

/* The adapter has only the factors that servers support, one rank and one scale. */

/* Options of organ lora sanitize. */
typedef struct organ_lora_sanitize_options {
    size_t size;                  /* see ORGAN_DEFAULTS */
    const char *adapter, *output; /* paths; `output` must be NULL with `check` */
    const char *base;             /* path of the base; NULL: the adapter is not compared with a base */
    /* Largest rank. Writing cuts larger ranks (0: no limit); checking reports them (0: limit 512). */
    unsigned max_rank;
    bool check;                       /* --check: write nothing, only report findings */
    bool force;                       /* --force: replace an existing output */
    bool resume;                      /* --resume: continue an interrupted run */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    organ_figures *figures;           /* as in organ_write_options, of the adapter */
    /* "peft", "mlx" or "gguf": convert all factors, with their scale, to this format; NULL: sanitise them */
    const char *to;
} organ_lora_sanitize_options;
ORGAN_DEFAULTS(lora_sanitize, )

/* Writes the adapter without tensors that servers cannot load. target_modules loses entries that select no remaining
 * module, and modules_to_save becomes null. The scale of every module is folded into its B, so that lora_alpha = r;
 * factors of lower rank are padded with zeros to a single r; ranks above max_rank are cut to their best approximation.
 * If A and B are both F16 or both BF16, they keep this type; otherwise they become F32. Files such as the tokenizer are
 * copied. *report has schema organ.lora_sanitize/1; the caller releases it; NULL on errors other than
 * ORGAN_CHECK_FAILED.
 *
 * With `to` no factors are removed; if all have one scale, they are unchanged, and lora_alpha is r times that scale. A
 * format with other names needs a base of that format.
 *
 * With `check` writes nothing, and returns ORGAN_CHECK_FAILED if a server would reject the adapter.
 *
 * Returns also
 *   - ORGAN_USAGE if options are invalid or the output exists;
 *   - ORGAN_BAD_INPUT if the adapter is malformed or has factors that are not finite; without `check` also if the
 * adapter uses DoRA, was trained on a base that its initialisation changed, has no module that servers can load, or has
 * a module that the base lacks or has in another shape;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_lora_sanitize(const organ_lora_sanitize_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
