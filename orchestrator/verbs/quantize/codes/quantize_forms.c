/* SPDX-License-Identifier: MIT
 * Chooses the encoding of each target of a safetensors model. Loaders store the routed experts of a layer as one or two
 * stacked tensors, and transformers reads one encoding for the experts of all layers. So all routed experts get one
 * encoding; if none fits, organ quantize fails before it writes anything. */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/text.h"
#include "formats/tensor/module_names.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>

static organ_status check_model(const organ_quantize_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    if (model->gguf)
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: is GGUF, but %s is a scheme of safetensors models; those of GGUF: " ORGAN_GGUF_SCHEMES_TEXT,
            model->path, job->encoding->name);
    if (job->weights->packed || *job->weights->method)
        return organ_dequantize_first(model, error, "%.300s: is already quantised (%.100s)", model->path,
                                      *job->weights->method ? job->weights->method : "by its tensors");
    if (organ_output_is_file(job->options->write.output))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: %s is a scheme of safetensors models, whose config.json states it: name a directory; "
                          "files of GGUF have schemes such as q4_k",
                          job->options->write.output, job->encoding->name);
    if (!model->config.present)
        return organ_fail(error, ORGAN_USAGE, "%s: has no config.json, in which the scheme is recorded", model->path);
    return ORGAN_OK;
}

organ_status organ_quantize_open_safetensors(organ_quantize_job *job, organ_error *error)
{
    return organ_weights_find(job->model, &job->weights, error) ? error->status : check_model(job, error);
}

/* ---- what no encoding can represent ---- */

static uint64_t columns(const organ_weight *weight) { return weight->shape[weight->rank - 1]; }

/* Returns a constant sentence, whatever the length of the rows; NULL if there is no obstacle. */
static const char *kind_obstacle(const organ_quantize_job *job, const organ_weight *weight)
{
    if (weight->rank != 2 && !weight->made)
        return "it is a stack of matrices: loaders read quantised experts from a tensor for each, or stacks of other "
               "schemes (MXFP4).";
    if (!organ_ends_with(weight->name, ".weight"))
        return "its name does not end in '.weight', so there is no name for its scales.";
    if (!organ_target_is_float(weight->codes))
        return "its type is not BF16, F16 or F32.";
    return job->format->unreadable(job, weight);
}

const char *organ_quantize_obstacle(organ_quantize_job *job, const organ_weight *weight, organ_error *error)
{
    (void)error;
    const char *const kind = kind_obstacle(job, weight);
    if (job->untapped && job->untapped[weight->codes - job->model->tensors])
        return "no layer of the forward pass multiplies inputs by it, so there are no inputs to calibrate it on.";
    const organ_encoding *const scheme = organ_quantize_scheme_of(job, weight->codes);
    if (kind || organ_encoding_fitting(scheme, columns(weight)))
        return kind;
    if (scheme->grid.size == 16 || scheme->grid.bits == 0) /* schemes with one size of groups */
        return "its columns are not a whole number of groups.";
    return "its columns are not a whole number of groups of 32, the smallest; int8-channel and the FP8 schemes need no "
           "groups.";
}

/* ---- which encoding a target gets ---- */

const organ_encoding *organ_quantize_preferred(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return organ_quantize_is_target(job, tensor)
               ? organ_encoding_of_type(organ_quantize_scheme_of(job, tensor), tensor->dtype)
               : NULL;
}

typedef struct experts {
    /* Greatest common divisor of the lengths of the rows of those without a scheme of their own. 0: there are none */
    uint64_t row_divisor;
    int32_t *layers; /* layer of each of their tensors, ascending; a layer occurs once per tensor */
    size_t count;    /* number of their tensors, and entries of `layers` */
} experts;

/* `codes` of an unpacked weight is the weight itself, or the tensor of which it is made. */
static const organ_tensor *tensor_at(const organ_quantize_job *job, size_t k) { return job->weights->weights[k].codes; }

static bool is_packable(const organ_quantize_job *job, const organ_weight *weight)
{
    return organ_quantize_is_target(job, weight->codes) && !kind_obstacle(job, weight);
}

/* Routed experts with a scheme of their own do not count. */
static bool is_expert(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return organ_modules_is_routed(&tensor->anatomy) && !organ_quantize_has_own_scheme(job, tensor);
}

static int by_layer(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return ORGAN_ORDER(x, y);
}

/* The caller frees found->layers, also after an error. */
static organ_status list_experts(const organ_quantize_job *job, experts *found, organ_error *error)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    if (!(found->layers = calloc(job->weights->count + 1, sizeof *found->layers)))
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_tensor *const t = tensor_at(job, k);
        const organ_anatomy in_layer = organ_mtp_anatomy(t, trunk);
        if (!organ_modules_is_routed(&in_layer) || !is_packable(job, &job->weights->weights[k]))
            continue;
        if (is_expert(job, t))
            found->row_divisor = organ_common_divisor(found->row_divisor, columns(&job->weights->weights[k]));
        found->layers[found->count++] = in_layer.layer;
    }
    qsort(found->layers, found->count, sizeof *found->layers, by_layer);
    return ORGAN_OK;
}

/* In a layer that has quantised routed experts, all of them must be quantised. Returns ORGAN_USAGE if --select
 * excludes one, ORGAN_BAD_INPUT if no scheme can represent one. */
static organ_status check_whole_layers(organ_quantize_job *job, const experts *found, organ_error *error)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_tensor *const t = tensor_at(job, k);
        const organ_anatomy in_layer = organ_mtp_anatomy(t, trunk);
        if (!organ_modules_is_routed(&in_layer) || is_packable(job, &job->weights->weights[k]))
            continue;
        if (!bsearch(&in_layer.layer, found->layers, found->count, sizeof *found->layers, by_layer))
            continue;
        if (!organ_quantize_is_target(job, t))
            return organ_fail(error, ORGAN_USAGE,
                              "`targets` selects some experts of layer %d, but not '%s': loaders store the routed "
                              "experts of a layer as one tensor, so all of their projections must be targets or none",
                              (int)in_layer.layer, t->name);
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': %s Loaders store the routed experts of layer %d as one tensor, and the others "
                          "can be quantised: exclude all experts with `targets`",
                          t->name, kind_obstacle(job, &job->weights->weights[k]), (int)in_layer.layer);
    }
    return ORGAN_OK;
}

/* Names the first expert whose rows are no whole groups; there must be one. */
static organ_status refuse_width(const organ_quantize_job *job, organ_error *error)
{
    const organ_weight *odd = NULL;
    const size_t least = organ_encoding_is_fp4(job->encoding) ? job->encoding->grid.size : ORGAN_MIN_GROUP;
    for (size_t k = 0; k < job->weights->count && !odd; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        odd = organ_modules_is_routed(&w->codes->anatomy) && is_packable(job, w) && columns(w) % least ? w : NULL;
    }
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: cannot be quantised as %s: the rows of expert tensor '%s' have %llu values, which is not a multiple of "
        "%zu, the smallest group, and loaders need one scheme for all routed experts; fp8-channel supports "
        "any width",
        job->model->path, job->encoding->name, odd->name, (unsigned long long)columns(odd), least);
}

/* The group is the largest that divides the length of all their rows. *encoding stays unchanged if no routed expert
 * is a target. */
static organ_status find_experts_encoding(organ_quantize_job *job, const organ_encoding **encoding, organ_error *error)
{
    experts found = {0};
    if (list_experts(job, &found, error) == ORGAN_OK)
        check_whole_layers(job, &found, error);
    free(found.layers);
    if (error->status || !found.row_divisor)
        return error->status;
    *encoding = organ_encoding_fitting(job->encoding, found.row_divisor);
    return *encoding ? ORGAN_OK : refuse_width(job, error);
}

organ_status organ_quantize_forms(organ_quantize_job *job, organ_error *error)
{
    const organ_encoding *of_experts = NULL;
    if (find_experts_encoding(job, &of_experts, error))
        return error->status;
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        const organ_tensor *const t = w->codes;
        if (is_packable(job, w)) {
            const organ_encoding *const fitting =
                is_expert(job, t) ? of_experts : organ_encoding_fitting(organ_quantize_scheme_of(job, t), columns(w));
            job->encodings[t - job->model->tensors] = fitting ? organ_encoding_of_type(fitting, t->dtype) : NULL;
        }
    }
    return ORGAN_OK;
}

size_t organ_quantize_packed_experts(const organ_quantize_job *job)
{
    size_t count = 0;
    for (size_t k = 0; k < job->list.part_count; k++)
        count += organ_modules_is_routed(&organ_quantize_next_part(job, k)->weight->codes->anatomy);
    return count;
}

size_t organ_quantize_plain_experts(const organ_quantize_job *job)
{
    size_t count = 0;
    for (size_t k = 0; k < job->weights->count; k++) {
        count += organ_modules_is_routed(&tensor_at(job, k)->anatomy) && tensor_at(job, k)->rank == 2;
        organ_rows_passed();
    }
    return count - organ_quantize_packed_experts(job);
}

/* ---- notes ---- */

void organ_quantize_note_regrouped(const organ_quantize_job *job)
{
    const organ_quantize_part *first = NULL;
    if (!job->list.regrouped)
        return;
    for (size_t k = 0; k < job->list.part_count && !first; k++)
        first = job->list.parts[k].encoding != job->list.parts[k].preferred ? &job->list.parts[k] : NULL;
    organ_progress_note(job->progress,
                        "%zu tensor%s a smaller group than %zu, which does not divide the rows: %s is stored as %s; "
                        "the report lists all",
                        job->list.regrouped, job->list.regrouped == 1 ? " has" : "s have", job->encoding->grid.size,
                        first->weight->name, first->encoding->name);
}
