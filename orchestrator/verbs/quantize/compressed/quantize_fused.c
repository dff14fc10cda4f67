/* SPDX-License-Identifier: MIT
 * Sets of matrices of a safetensors model that servers multiply as one (formats/tensor/fused.h). All parts of a set are
 * targets or none. In fp8-block128 servers read the scales of a set as those of one matrix, whose blocks of rows follow
 * each other: if a part ends within a block, its last scales are those of the next part, without a message in vLLM.
 * Such sets stay unquantised. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/text.h"
#include "formats/tensor/fused.h"
#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>

typedef struct kept_set {
    const char *name;   /* of its first tensor; of experts any */
    size_t parent, set; /* length of the name of the parent with the dot, row of formats/tensor/fused.c */
    uint64_t bytes;     /* of its targets */
} kept_set;

struct organ_quantize_fused {
    bool *kept;     /* a flag for each tensor of the model; owned */
    kept_set *sets; /* owned */
    size_t count;
    uint64_t bytes; /* of all sets */
};

static const organ_weight *weight_of(const organ_quantize_job *job, const organ_fused_part *part)
{
    return &job->weights->weights[part->index];
}

static bool is_matrix(const organ_weight *weight) { return weight->rank == 2 || weight->made; }

/* Lists the matrices with a set, the parts of a set next to each other. */
static organ_fused_part *list_parts(const organ_quantize_job *job, size_t *count, organ_error *error)
{
    organ_fused_part *const parts = calloc(job->weights->count + 1, sizeof *parts);
    *count = 0;
    if (!parts) {
        organ_fail_memory(error, job->options->model);
        return NULL;
    }
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        parts[*count] = organ_fused_part_of(job->model->config.model_type, w->name, k);
        *count += is_matrix(w) && parts[*count].set != ORGAN_FUSED_NONE_SET;
        organ_rows_passed();
    }
    qsort(parts, *count, sizeof *parts, organ_fused_order);
    return parts;
}

/* Routed experts have a check of their own, because all of a layer are one tensor. */
static organ_status check_selected(const organ_quantize_job *job, const organ_fused_part *parts, size_t count,
                                   organ_error *error)
{
    char names[160];
    const organ_fused_part *chosen = NULL, *other = NULL;
    for (size_t k = 0; k < count; k++) {
        const organ_weight *const w = weight_of(job, &parts[k]);
        if (!organ_modules_is_routed(&w->codes->anatomy))
            *(organ_quantize_is_target(job, w->codes) ? &chosen : &other) = &parts[k];
    }
    if (!chosen || !other)
        return ORGAN_OK;
    organ_fused_name(parts->set, names, sizeof names);
    return organ_fail(
        error, ORGAN_USAGE,
        "`targets` selects '%s', but not '%s': servers (vLLM, SGLang) multiply %s of '%.*s' as one matrix "
        "with one scheme, so that all of them must be targets or none",
        weight_of(job, chosen)->name, weight_of(job, other)->name, names, (int)parts->parent - 1, parts->name);
}

/* ---- blocks of rows ---- */

static bool has_gap(const organ_quantize_job *job, const organ_fused_part *parts, size_t count)
{
    bool found = false;
    for (size_t k = 0; k < count && count > 1; k++) {
        const organ_weight *const w = weight_of(job, &parts[k]);
        found = found || organ_fused_splits_block(&parts[k], w->shape[w->rank - 2], job->encoding->grid.size);
    }
    return found;
}

static void keep_matrix(organ_quantize_job *job, kept_set *set, const organ_weight *weight)
{
    bool *const kept = &job->fused->kept[weight->codes - job->model->tensors];
    if (*kept || !organ_quantize_is_target(job, weight->codes))
        return;
    *kept = true;
    set->bytes += organ_quantize_source_bytes(weight);
}

/* All routed experts of a layer are one module. */
static void keep_experts(organ_quantize_job *job, kept_set *set, const organ_weight *expert)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model), layer = organ_mtp_anatomy(expert->codes, trunk).layer;
    const char *const word = strstr(expert->name, "experts.");
    set->parent = word ? (size_t)(word - expert->name) + strlen("experts.") : set->parent;
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_anatomy own = organ_mtp_anatomy(job->weights->weights[k].codes, trunk);
        if (organ_modules_is_routed(&own) && own.layer == layer && is_matrix(&job->weights->weights[k]))
            keep_matrix(job, set, &job->weights->weights[k]);
    }
}

static void keep_set(organ_quantize_job *job, const organ_fused_part *parts, size_t count)
{
    kept_set *const made = &job->fused->sets[job->fused->count];
    *made = (kept_set){.name = parts->name, .parent = parts->parent, .set = parts->set};
    if (organ_modules_is_routed(&weight_of(job, parts)->codes->anatomy))
        keep_experts(job, made, weight_of(job, parts));
    else
        for (size_t k = 0; k < count; k++)
            keep_matrix(job, made, weight_of(job, &parts[k]));
    job->fused->count += made->bytes > 0;
    job->fused->bytes += made->bytes;
}

static organ_status keep_sets(organ_quantize_job *job, const organ_fused_part *parts, size_t count, organ_error *error)
{
    organ_quantize_fused *const made = job->fused = calloc(1, sizeof *made);
    if (!made || !(made->kept = calloc(job->model->tensor_count + 1, sizeof *made->kept)) ||
        !(made->sets = calloc(count + 1, sizeof *made->sets)))
        return organ_fail_memory(error, job->options->model);
    for (size_t from = 0, length; from < count; from += length) {
        length = organ_fused_length(parts + from, count - from);
        if (has_gap(job, parts + from, length))
            keep_set(job, parts + from, length);
    }
    return ORGAN_OK;
}

/* ---- for the other sources ---- */

organ_status organ_quantize_fused_open(organ_quantize_job *job, organ_error *error)
{
    size_t count;
    ORGAN_OWNED organ_fused_part *const parts = list_parts(job, &count, error);
    for (size_t from = 0, length; from < count && !error->status; from += length) {
        length = organ_fused_length(parts + from, count - from);
        check_selected(job, parts + from, length, error);
    }
    return error->status || job->encoding->grid.scale_of != ORGAN_SCALE_BLOCK ? error->status
                                                                              : keep_sets(job, parts, count, error);
}

void organ_quantize_fused_close(organ_quantize_job *job)
{
    if (job->fused)
        ORGAN_FREE_ARRAYS(job->fused->kept, job->fused->sets);
    ORGAN_FREE_ARRAYS(job->fused);
}

bool organ_quantize_fused_keeps(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return job->fused && job->fused->kept[tensor - job->model->tensors];
}

void organ_quantize_fused_note(const organ_quantize_job *job)
{
    const organ_quantize_fused *const f = job->fused;
    char names[160];
    if (!f || !f->count)
        return;
    const kept_set *const first = f->sets;
    organ_fused_name(first->set, names, sizeof names);
    organ_progress_warn(job->progress,
                        "%zu set%s of matrices (%llu bytes) stay%s unquantised: servers multiply the parts of a set as "
                        "one matrix, and %zu does not divide their rows. %s of '%.*s' are the first; the report lists "
                        "all. fp8-channel has no such limit",
                        f->count, f->count == 1 ? "" : "s", (unsigned long long)f->bytes, f->count == 1 ? "s" : "",
                        job->encoding->grid.size, names, (int)first->parent - 1, first->name);
}

static json_t *set_json(const void *context, size_t k)
{
    const kept_set *const set = (const kept_set *)context + k;
    char names[160];
    organ_fused_name(set->set, names, sizeof names);
    return ORGAN_OBJECT(SET("parent", json_stringn(set->name, set->parent - 1)), SET_TEXT("modules", names),
                        SET_COUNT("bytes", set->bytes));
}

json_t *organ_quantize_fused_document(const organ_quantize_job *job)
{
    const organ_quantize_fused *const f = job->fused;
    if (!f || !f->count)
        return NULL;
    return ORGAN_OBJECT(SET_COUNT("count", f->count), SET_COUNT("bytes", f->bytes),
                        SET("sets", organ_json_rows(f->count, set_json, f->sets)));
}
