/* SPDX-License-Identifier: MIT
 * Outputs for compressed-tensors, and in the form of DeepSeek-V3. */
#ifndef ORGAN_VERBS_QUANTIZE_COMPRESSED_QUANTIZE_COMPRESSED_H
#define ORGAN_VERBS_QUANTIZE_COMPRESSED_QUANTIZE_COMPRESSED_H

#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

extern const organ_quantize_format organ_quantize_compressed;

/* ---- rounded inputs (quantize_inputs.c) ---- */

/* Checks the options --activation-* and --activations. Returns ORGAN_USAGE if they are invalid. */
organ_status organ_quantize_inputs_check(const organ_quantize_options *options, organ_error *error);

/* Returns the row that the options choose; NULL: servers do not round inputs, or no row has these options. */
const organ_quantize_inputs *organ_quantize_inputs_wanted(const organ_quantize_options *options);
/* Sets job->inputs. Returns ORGAN_USAGE if no loader knows the inputs that the options ask for. */
organ_status organ_quantize_inputs_find(organ_quantize_job *job, organ_error *error);
/* Returns ORGAN_USAGE if routed experts are quantised and no loader multiplies them by such inputs. */
organ_status organ_quantize_inputs_check_experts(organ_quantize_job *job, organ_error *error);
/* Returns the member input_activations of config_groups; JSON null if `kind` is NULL: inputs are not rounded. */
json_t *organ_quantize_inputs_json(const organ_quantize_job *job, const organ_quantize_inputs *kind);
/* Returns the member "activations" of the report, NULL if inputs are not rounded. */
json_t *organ_quantize_inputs_document(const organ_quantize_job *job);
/* Notes the loaders of inputs that options ask for. */
void organ_quantize_inputs_note(const organ_quantize_job *job);

/* ---- measured scales of inputs (quantize_activations.c) ---- */

/* Open, run and close the run that measures the inputs of the parts, in the unquantised model; do nothing if there is
 * nothing to measure, and for NVFP4 with method gptq, whose run sets `greatest_input`. Return the errors of
 * organ_calibration_run_open and _layers, and ORGAN_BAD_INPUT if the text reaches no expert of a layer. */
organ_status organ_quantize_activations_open(organ_quantize_job *job, organ_error *error);
organ_status organ_quantize_activations_run(organ_quantize_job *job, organ_error *error);
void organ_quantize_activations_close(organ_quantize_job *job);

/* ---- scales of the KV cache (quantize_cache.c) ---- */

/* Checks the value of --kv-cache. Returns ORGAN_USAGE if it is unknown, or there is no text. */
organ_status organ_quantize_cache_check(const organ_quantize_options *options, organ_error *error);
/* Open, run and close the run that measures keys and values; do nothing without --kv-cache. If a run measures inputs,
 * it serves both, and is opened before and closed after. Opening adds the tensors to
 * job->list as one unit, which the run writes. Return the errors of organ_calibration_run_open and _layers;
 * ORGAN_USAGE for a model without keys and values of heads; ORGAN_BAD_INPUT if it has such scales, or if keys or values
 * are not finite. */
organ_status organ_quantize_cache_open(organ_quantize_job *job, organ_error *error);
organ_status organ_quantize_cache_run(organ_quantize_job *job, organ_error *error);
void organ_quantize_cache_close(organ_quantize_job *job);
/* `enter`, `leave` and `extra` of the work that measures keys and values; `context` is the job. Every rank calls
 * `leave`, also after an error. */
organ_status organ_quantize_cache_enter(void *context, const organ_calibration_layer *layer, organ_error *error);
organ_status organ_quantize_cache_leave(void *context, const organ_calibration_layer *layer, organ_error *error);
uint64_t organ_quantize_cache_memory(void *context, const organ_calibration_run *calib, bool scratch);
/* Returns the member kv_cache_scheme of quantization_config; JSON null without --kv-cache. */
json_t *organ_quantize_cache_config(const organ_quantize_job *job);
/* Returns the member "kv_cache" of the report; NULL without --kv-cache. */
json_t *organ_quantize_cache_document(const organ_quantize_job *job);
/* Notes the loaders of the scales. */
void organ_quantize_cache_note(const organ_quantize_job *job);

/* ---- sets of matrices that servers multiply as one ---- */

/* Checks that all parts of a set are targets or none, and sets job->fused to the sets that fp8-block128 leaves
 * unquantised; does nothing for GGUF and MLX. Called when the targets are selected. Returns ORGAN_USAGE if --select has
 * a part of a set, ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_fused_open(organ_quantize_job *job, organ_error *error);
void organ_quantize_fused_close(organ_quantize_job *job);
/* Returns whether the tensor is part of a set that stays unquantised. */
bool organ_quantize_fused_keeps(const organ_quantize_job *job, const organ_tensor *tensor);
/* Notes such sets. */
void organ_quantize_fused_note(const organ_quantize_job *job);
/* Returns the member "kept_sets" of the report; NULL: there are none. */
json_t *organ_quantize_fused_document(const organ_quantize_job *job);

static inline bool organ_quantize_is_embedding(const organ_tensor *tensor)
{
    return tensor->anatomy.role == ORGAN_ROLE_EMBED;
}

/* ---- config.json ---- */

/* Returns whether the configuration of a model in safetensors has at most one group of encodings. */
bool organ_quantize_has_one_group(const organ_quantize_job *job);
/* Prints a note if the model's type has quantised matrices that transformers opens only if it dequantises all weights
 * as it loads, which config.json then requests, and a warning if it does not open them. */
void organ_quantize_note_type(const organ_quantize_job *job);
/* Returns why transformers does not open the output as the model's type; NULL: it does. */
const char *organ_quantize_type_obstacle(const organ_quantize_job *job);
/* The same for experts of which some stay plain. */
const char *organ_quantize_experts_obstacle(const organ_quantize_job *job);
/* Implements organ_write.edit: adds quantization_config to config.json. */
organ_status organ_quantize_config(void *job, organ_json_edit *config, organ_error *error);

/* ---- state of mixed widths ---- */

/* Mixed widths: state shared by the sources that choose widths and report them.
 *
 *   level    index of organ_width_levels: a number of bits, with wide groups (even) or groups of 32 columns (odd)
 *   curve    cost of a tensor at each level, in nats per token; all routed experts of a layer and role share a curve
 *   choice   a set of targets that get the same level; its cost is the sum of the curves of its tensors */

/* Number of levels of a choice: those of organ_width_levels, and a last one that leaves its tensors unchanged. */
#define ORGAN_WIDTH_CHOICES (ORGAN_WIDTH_LEVELS + 1)

/* A choice: one tensor, or the experts of a layer and role; all routed experts are one choice. With --one-width
 * also the matrices that servers multiply as one (formats/tensor/fused.h). */
typedef struct organ_quantize_choice {
    const organ_tensor *first; /* its first tensor */
    size_t curve;              /* index in organ_quantize_widths.curves of the curve of its first tensor */
    size_t group; /* columns of a wide group: the largest of 128, 64 and 32 that divides the rows of all its tensors */
    double unchanged_bits; /* bits of its tensors in the source model */
} organ_quantize_choice;

/* State of the division of a budget of bits. */
struct organ_quantize_widths {
    organ_quantize_job *job;
    organ_targets targets;          /* the targets that the scheme can represent */
    organ_allocation curves;        /* one curve per tensor; the experts of a layer and role share one */
    organ_allocation choices;       /* costs of the choices; `sparsity` of a choice is a level while exchanges run */
    organ_quantize_choice *details; /* details[c] describes choice c */
    size_t *choice_of;              /* choice_of[k]: index of the choice of targets.tensors[k] */
    size_t *curve_of;               /* curve_of[k]: index of the curve of targets.tensors[k] */
    size_t *choice_of_curve;        /* choice_of_curve[t]: index of the choice of curve t */
    size_t *chosen;                 /* chosen[c]: level of choice c; ORGAN_WIDTH_LEVELS: unchanged */
    double *sizes; /* bits of the tensors of each choice at each level, [choices][ORGAN_WIDTH_CHOICES] */
    /* Bits that the targets may occupy, including scales; bits that they occupy at the chosen levels. */
    double budget, spent;
    size_t uniform;                     /* highest level that is within the budget if all choices have it */
    bool copied;                        /* the targets fit into the budget unquantised */
    bool provisional;                   /* a dry run does not know all costs, or has not made the exchanges */
    organ_curves_store store;           /* of the curves */
    organ_curves_work work;             /* callbacks of `walk` */
    organ_curves *walk;                 /* the run that measures curves; NULL: not open */
    organ_exchanges_work exchange_work; /* callbacks of the exchanges between pairs of choices */
    organ_exchanges_report exchanged;   /* results of the exchanges; zero if there were none */
    organ_gptq_inputs inputs;           /* second moments prepared for the last matrix */
    const organ_calibration *inputs_of; /* the calibration that `inputs` are prepared from; NULL: they are closed */
    int32_t layer;                      /* layer to which `inputs` belong */
};

/* Returns the cost of a curve or a choice at a level, in nats per token; 0 at level ORGAN_WIDTH_LEVELS (unchanged). */
static inline double organ_quantize_width_cost(const organ_allocation_tensor *tensor, size_t level)
{
    return level < ORGAN_WIDTH_LEVELS ? tensor->cost[level] : 0;
}

/* ---- mixed widths ---- */

/* Creates job->widths: lists the targets, and opens the text on which costs are measured. Returns ORGAN_USAGE if the
 * budget is too small, and the errors of organ_curves_open. */
organ_status organ_quantize_widths_open(organ_quantize_job *job, organ_error *error);
/* Finds the width of each target: takes the costs of widths from the journal or --allocation FILE, or measures them in
 * nats per token; then divides the budget of bits. Sets job->encodings. A dry run assumes costs that are not known, and
 * makes no exchanges. Returns the errors of organ_curves_run, organ_curves_recall and organ_exchanges_run. */
organ_status organ_quantize_widths_decide(organ_quantize_job *job, organ_error *error);
/* Returns the encoding of target k of widths->targets at a level; NULL: the weights stay unchanged. */
const organ_encoding *organ_quantize_width_encoding(const organ_quantize_widths *widths, size_t k, size_t level);
void organ_quantize_widths_close(organ_quantize_widths *widths); /* NULL is allowed */

#endif
