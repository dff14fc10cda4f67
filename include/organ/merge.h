/* SPDX-License-Identifier: MIT
 * Merges models. */
#ifndef ORGAN_API_MERGE_H
#define ORGAN_API_MERGE_H

#include <organ/base.h>
#include <organ/merge_methods.h>
#include <organ/models.h>
#include <organ/options.h>
#include <organ/stream.h>

#include <jansson.h>
#include <stdbool.h>

ORGAN_API_BEGIN

/* Options of organ merge: either a recipe, or models and a method. */
typedef struct organ_merge_options {
    size_t size;               /* see ORGAN_DEFAULTS */
    const char *recipe;        /* path of a recipe in mergekit's YAML; NULL: the members up to `dtype` are the recipe */
    const char *const *models; /* paths, names or URLs of models */
    size_t model_count;
    const char *method; /* a name of ORGAN_MERGE_METHODS */
    const char *base;   /* the model whose changes are merged, or NULL */
    /* Parameters of the method as texts, NULL: the default. `weight` and `density` may have a value for each model but
     * the base, separated by commas. */
    const char *weight, *density, *t;
    const char *router_weight;   /* `weight` of the routers of mixtures; NULL: as of other tensors */
    const char *const *settings; /* further parameters, "NAME=VALUE" */
    size_t setting_count;
    const char *const *texts; /* of the method moments: a text for each model but the base, or one for all */
    size_t text_count;
    const char *dtype;         /* type of the output: "bf16", "f16", "f32"; NULL: that of each tensor of the base */
    unsigned seed;             /* of methods that choose at random */
    const char *missing;       /* tensors that only some models have: "error", "base" or "any"; NULL: "error" */
    const char *match_experts; /* "auto": experts of models in another order are matched; "off"; NULL: "auto" */
    /* --keep-tied: if the head of the base is its embedding, that of the output is, too, also if other models have a
     * head of their own or an adapter changes the embedding */
    bool keep_tied;
    bool other_architecture;            /* merge models of different architectures, too */
    organ_calibration_text calibration; /* of moments: windows of each text; its member `text` is not used */
    organ_write_options write;
    /* a scheme of organ_quantize without a text or a budget, to which the merged model is quantised; NULL: none */
    const char *then;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_merge_options;
ORGAN_DEFAULTS(merge, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.missing = "error"; o.match_experts = "auto";
               o.calibration.samples = ORGAN_SAMPLES_DEFAULT; o.calibration.context = ORGAN_CONTEXT_DEFAULT)

/* A recipe with `experts` composes a mixture: the feed-forwards of dense models become its experts, everything else is
 * that of base_model. Without them models of the same shapes are merged.
 *
 * Writes the directory options->write.output, or one .safetensors file: the merged model, with the configuration and
 * tokenizer of the base (without one, of the first model), and the recipe with all defaults filled in as
 * organ/recipe.yaml. Sums are FP32 or FP64, and each value is rounded once. The bytes of the tensors do not depend on
 * the number of threads or ranks, the memory or the CPU. *report has schema organ.merge/1; the caller releases it; NULL
 * on error.
 *
 * If a run is interrupted or fails for lack of disk or memory, its finished tensors and a journal remain; `resume`
 * continues it to the same bytes. After any other error no output remains.
 *
 * Returns
 *   - ORGAN_USAGE if options are invalid or contradict each other, or the output exists or is an input; also if an
 *     unfinished run is found and neither `resume` nor `force` is given, or `resume` finds a run with other parameters;
 *   - ORGAN_BAD_INPUT if the recipe or a model is malformed; the recipe has an unknown key, a value out of its range or
 *     layers that a model lacks; shapes, tensors or vocabularies differ, or architectures without `other_architecture`;
 *     or a tensor has NaN or an infinite value;
 *   - ORGAN_IO if reading, writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_merge(const organ_merge_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

/* ---- organ audit --recipe: recomputes tensors of a merged model ---- */

typedef struct organ_merge_audit_options {
    size_t size;        /* see ORGAN_DEFAULTS */
    const char *recipe; /* path of the recipe with which the model was merged */
    const char *model;  /* path of the merged model */
    unsigned tensors;   /* number of merged tensors that are recomputed, evenly spread; 0: all */
} organ_merge_audit_options;
ORGAN_DEFAULTS(merge_audit, o.tensors = 32)

/* Plans the merge again, with the seed and the options that the model's report states, checks that the model has its
 * tensors, types and shapes, and compares recomputed tensors with the stored values. Returns ORGAN_CHECK_FAILED if
 * anything differs; the member "problems" of *report (schema organ.audit_merge/1) lists it. Returns the errors of
 * organ_merge for recipe and donors; *report is NULL then. The caller releases *report. */
organ_status organ_merge_audit(const organ_merge_audit_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
