/* SPDX-License-Identifier: MIT
 * Lists the projections that lose columns, and the kept units of each layer for surgery/cut. */
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/width/width_job.h"

#include <stdlib.h>

/* Down projections lose channels, and the output projections of attention lose heads. */
organ_width_kind organ_width_kind_of(const organ_tensor *t)
{
    if (t->anatomy.layer < 0 || (t->anatomy.role != ORGAN_ROLE_DOWN && t->anatomy.role != ORGAN_ROLE_O))
        return ORGAN_WIDTH_KINDS;
    if (t->anatomy.role == ORGAN_ROLE_O)
        return ORGAN_WIDTH_HEADS;
    if (t->anatomy.experts == ORGAN_EXPERTS_NONE)
        return ORGAN_WIDTH_CHANNELS;
    return t->anatomy.experts == ORGAN_EXPERTS_SHARED ? ORGAN_WIDTH_SHARED : ORGAN_WIDTH_EXPERTS;
}

organ_matrices organ_width_matrices(const organ_width_job *job, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    return organ_tensor_is_crossed(job->model, tensor) ? (organ_matrices){m.count, m.cols, m.rows} : m;
}

static organ_status parts_check_shape(const organ_width_job *job, const organ_tensor *t, const organ_width_share *share,
                                      organ_error *error)
{
    const organ_width_kind kind = organ_width_kind_of(t);
    const uint64_t experts = kind == ORGAN_WIDTH_EXPERTS ? organ_cut_experts(job->model, (size_t)t->anatomy.layer) : 0;
    const bool stack = kind == ORGAN_WIDTH_EXPERTS && t->anatomy.expert < 0;
    static const char *const what[] = {"channels", "channels of an expert", "channels of a shared expert",
                                       "heads of K and V"};
    if (t->rank != (stack ? 3 : 2) || organ_width_matrices(job, t).cols != share->total * share->columns)
        return organ_fail(error, ORGAN_USAGE, "%s: '%s' does not have the %zu columns of %zu %s", job->model->path,
                          t->name, share->total * share->columns, share->total, what[kind]);
    if (kind == ORGAN_WIDTH_EXPERTS && (stack ? t->shape[0] != experts : (uint64_t)t->anatomy.expert >= experts))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s' does not have the %llu experts of its layer's router",
                          job->model->path, t->name, (unsigned long long)experts);
    return ORGAN_OK;
}

/* Only BF16, F16 and F32 can be refitted. */
static organ_status check_part(const organ_width_job *job, const organ_tensor *t, const organ_width_share *share,
                               organ_error *error)
{
    static const char format[] = "%.300s: tensor '%.200s': dtype %s cannot be refitted; only BF16, F16 and F32 can";
    const organ_model *const model = job->model;
    const char *const file = model->files[t->file].path, *const dtype = organ_dtype_describe(t->dtype)->name;
    if (parts_check_shape(job, t, share, error) != ORGAN_OK)
        return error->status;
    if (organ_dtype_is_blocks(t->dtype))
        return organ_dequantize_first(model, error, format, file, t->name, dtype);
    return organ_target_is_float(t) ? ORGAN_OK : organ_fail(error, ORGAN_BAD_INPUT, format, file, t->name, dtype);
}

/* Until its units are chosen, the part keeps the first ones. */
static organ_status add_part(organ_width_job *job, const organ_tensor *t, uint64_t matrix, organ_error *error)
{
    const organ_width_kind kind = organ_width_kind_of(t);
    organ_width_part *const part = &job->parts[job->part_count];
    const organ_width_share *const share = &job->shares[kind];
    *part = (organ_width_part){.tensor = t,
                               .matrix = matrix,
                               .share = share,
                               .rows = organ_width_matrices(job, t).rows,
                               .kind = kind,
                               .at = job->choices.bytes};
    if (!(part->kept = calloc(share->keep, sizeof *part->kept)))
        return organ_fail_memory(error, job->model->path);
    job->part_count++;
    for (size_t k = 0; k < share->keep; k++)
        part->kept[k] = (uint32_t)k;
    job->choices.bytes += organ_width_rows(part) * organ_width_columns(part) * sizeof(float);
    return ORGAN_OK;
}

static organ_status add_parts_of_target(organ_width_job *job, const organ_tensor *t, organ_error *error)
{
    const uint64_t matrices = organ_tensor_matrices(t).count;
    if (check_part(job, t, &job->shares[organ_width_kind_of(t)], error) != ORGAN_OK)
        return error->status;
    for (uint64_t m = 0; m < matrices && !error->status; m++)
        add_part(job, t, m, error);
    job->targets.tensors[job->targets.count++] = t;
    job->first[job->targets.count] = job->part_count;
    job->targets.elements += t->elements;
    job->targets.bytes += t->bytes;
    return error->status;
}

static organ_status allocate_parts(organ_width_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    uint64_t matrices = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        if (job->targets.chosen[t])
            matrices += organ_tensor_matrices(&model->tensors[t]).count;
    job->parts = calloc((size_t)matrices + 1, sizeof *job->parts);
    return job->parts ? ORGAN_OK : organ_fail_memory(error, model->path);
}

static organ_status list_parts(organ_width_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    const size_t capacity = model->tensor_count + 1;
    job->targets.tensors = calloc(capacity, sizeof *job->targets.tensors);
    job->targets.chosen = calloc(capacity, sizeof *job->targets.chosen);
    job->first = calloc(capacity, sizeof *job->first);
    if (!job->targets.tensors || !job->targets.chosen || !job->first)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_width_kind kind = organ_width_kind_of(&model->tensors[t]);
        job->targets.chosen[t] = kind < ORGAN_WIDTH_KINDS && job->shares[kind].keep;
    }
    if (organ_require_plain(model, job->targets.chosen, error) != ORGAN_OK || allocate_parts(job, error) != ORGAN_OK)
        return error->status;
    for (size_t t = 0; t < model->tensor_count && !error->status; t++)
        if (job->targets.chosen[t])
            add_parts_of_target(job, &model->tensors[t], error);
    return error->status;
}

static organ_status parts_list_experts(organ_width_job *job, organ_error *error)
{
    uint64_t all = 0;
    for (size_t l = 0; l < job->layer_count; l++)
        all += organ_cut_experts(job->model, l);
    if (!(job->experts = calloc((size_t)all + 1, sizeof *job->experts)))
        return organ_fail_memory(error, job->model->path);
    organ_cut_keep *next = job->experts;
    for (size_t l = 0; l < job->layer_count; l++) {
        const uint64_t experts = organ_cut_experts(job->model, l);
        job->layers[l].expert_channels = experts ? next : NULL;
        next += experts;
    }
    return ORGAN_OK;
}

static void enter_kept_channels(organ_width_job *job, const organ_width_part *part)
{
    const organ_anatomy *const a = &part->tensor->anatomy;
    organ_cut_layer *const layer = &job->layers[a->layer];
    const organ_cut_keep keep = {part->kept, part->share->keep};
    if (part->kind == ORGAN_WIDTH_EXPERTS)
        job->experts[(size_t)(layer->expert_channels - job->experts) +
                     (a->expert < 0 ? (size_t)part->matrix : (size_t)a->expert)] = keep;
    else if (part->kind == ORGAN_WIDTH_HEADS)
        layer->kv_heads = keep;
    else if (part->kind == ORGAN_WIDTH_SHARED)
        layer->shared_channels = keep;
    else
        layer->channels = keep;
}

/* The layers point to the parts' kept units, which are chosen later. */
static organ_status list_layers(organ_width_job *job, organ_error *error)
{
    job->layer_count = organ_cut_layers(job->model);
    if (!(job->layers = calloc(job->layer_count + 1, sizeof *job->layers)))
        return organ_fail_memory(error, job->model->path);
    if (job->shares[ORGAN_WIDTH_EXPERTS].keep && parts_list_experts(job, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->part_count; k++)
        enter_kept_channels(job, &job->parts[k]);
    return ORGAN_OK;
}

organ_status organ_width_list(organ_width_job *job, organ_error *error)
{
    return list_parts(job, error) ? error->status : list_layers(job, error);
}
