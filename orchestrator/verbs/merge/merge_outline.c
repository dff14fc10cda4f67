/* SPDX-License-Identifier: MIT
 * Plans the tensors of the output: for each slice and layer those of a model whose names they have (the host, or the
 * first source), with the same tensors of the other sources. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "formats/config/model_config.h"
#include "formats/base/rows.h"
#include "formats/tensor/tensor_list.h"

#include <stdlib.h>
#include <string.h>

/* The part of a model that the tensors of one step belong to: a layer, or what is before or after the layers. */
typedef enum merge_part_kind { PART_BEFORE, PART_LAYER, PART_AFTER } merge_part_kind;

typedef struct merge_step {
    const merge_slice *slice;
    merge_part_kind part;
    uint64_t layer; /* within the slice */
    double t;
    size_t model; /* source whose names the tensors have */
    merge_orders orders;
} merge_step;

/* ---- parts ---- */

static bool is_in_part(const merge_step *step, const merge_donor *donor, size_t source, const organ_anatomy *anatomy)
{
    const bool before = anatomy->role == ORGAN_ROLE_EMBED || anatomy->role == ORGAN_ROLE_POSITION;
    if (organ_merge_is_apart(donor, anatomy))
        return false;
    if (step->part == PART_LAYER)
        return anatomy->layer >= 0 && (uint64_t)anatomy->layer == step->slice->sources[source].first + step->layer;
    return anatomy->layer < 0 && before == (step->part == PART_BEFORE);
}

/* Writes the name that a tensor of source `from` has in source `to`, or for MERGE_NONE in the output. */
static organ_status name_in(const merge_step *step, const char *name, size_t from, size_t to, char out[MERGE_NAME],
                            organ_error *error)
{
    const uint64_t first = to == MERGE_NONE ? step->slice->first : step->slice->sources[to].first;
    const int32_t layer = step->part == PART_LAYER ? (int32_t)(first + step->layer) : -1;
    int32_t expert = step->orders.of ? organ_anatomy_of(name).expert : -1;
    expert = expert < 0 ? -1 : (int32_t)organ_merge_expert_in(&step->orders, from, to, (size_t)expert);
    if (!organ_anatomy_renumber(name, layer, expert, out, MERGE_NAME))
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its name is too long", name);
    return ORGAN_OK;
}

/* ---- one tensor ---- */

static organ_dtype type_of(const model_merge *job, const organ_weight *like)
{
    if (job->recipe.dtype != ORGAN_DTYPE_COUNT)
        return job->recipe.dtype;
    return like->scheme == ORGAN_SCHEME_PLAIN && organ_target_is_float(like->codes) ? like->codes->dtype : ORGAN_BF16;
}

/* Puts the tensor of a source of the step as an input, in the order of the output's experts. */
static organ_status put_source(model_merge *job, const merge_step *step, merge_tensor *t, size_t at, size_t source,
                               const organ_weight *weight, organ_error *error)
{
    organ_merge_input *const list = (organ_merge_input *)t->item.inputs;
    organ_merge_put_input(job, t, at, step->slice->sources[source].donor, weight);
    list[at].experts = step->orders.experts;
    return organ_merge_order_of(&step->orders, source, weight, &list[at].order, error);
}

static organ_status check_shape(const model_merge *job, const merge_tensor *t, size_t donor, const organ_weight *weight,
                                organ_error *error)
{
    char is[ORGAN_SHAPE_TEXT], was[ORGAN_SHAPE_TEXT];
    const bool tokens = organ_merge_has_tokens(job, donor, weight) && organ_merge_has_tokens(job, t->from, t->like);
    if (ORGAN_SAME_SHAPE(weight, t->like) ||
        (tokens && weight->rank == t->like->rank && (weight->rank == 1 || weight->shape[1] == t->like->shape[1])))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its shape is %s in %s and %s in %s", weight->name,
                      organ_shape_text(weight->rank, weight->shape, is), job->donors[donor].path,
                      organ_shape_text(t->like->rank, t->like->shape, was), job->donors[t->from].path);
}

/* ---- tensors that only some models have ---- */

static organ_status note_lacking(model_merge *job, const char *name, const char *what, organ_error *error)
{
    if (json_array_append_new(job->lacking, ORGAN_OBJECT(SET_TEXT("tensor", name), SET_TEXT("becomes", what))))
        organ_fail_memory(error, name);
    return error->status;
}

/* With --missing base the tensor, which is the last one so far, is the base's, and left out if the base has none. Its
 * `inputs` inputs are followed by the base, if that is no input. */
static organ_status take_of_base(model_merge *job, merge_tensor *t, size_t inputs, organ_error *error)
{
    for (size_t k = 0; k <= inputs; k++)
        if (t->item.inputs[k].weight && t->donors[k] == job->host) {
            note_lacking(job, t->name, "the base's", error);
            return organ_merge_pass_through(t, k, "other models lack it", error);
        }
    job->tensor_count--;
    return note_lacking(job, t->name, "left out: the base lacks it", error);
}

/* Fewer models than the method needs: the base's tensor, else that of the first model. */
static organ_status take_of_any(model_merge *job, merge_tensor *t, size_t inputs, organ_error *error)
{
    const size_t at = t->item.task.base ? inputs : 0; /* the base follows the inputs */
    note_lacking(job, t->name, t->item.task.base ? "the base's" : "that of the first model that has it", error);
    return organ_merge_pass_through(t, at, "too few models have it", error);
}

/* ---- the inputs of a tensor ---- */

/* Names of the inputs, and the sources that they are, for parameters. */
typedef struct merge_found {
    const char *names[ORGAN_MERGE_INPUTS + 1];
    size_t sources[ORGAN_MERGE_INPUTS + 1];
    size_t count, lacking;
    const char *lacks; /* path of the first model that lacks the tensor */
} merge_found;

/* Puts the inputs in the order of the recipe, and the base after them. t->like is a weight of source `model`. */
static organ_status find_inputs(model_merge *job, const merge_step *step, merge_tensor *t, size_t model,
                                merge_found *found, organ_error *error)
{
    const merge_recipe *const r = &job->recipe;
    const bool apart = r->method->base != ORGAN_MERGE_BASE_INPUT;
    const organ_weight *base = NULL;
    size_t of_base = 0;
    char name[MERGE_NAME];
    for (size_t k = 0; k < step->slice->source_count && !error->status; k++) {
        const size_t donor = step->slice->sources[k].donor;
        if (name_in(step, t->like->name, model, k, name, error))
            break;
        const organ_weight *const weight = organ_merge_find_weight(job, &job->donors[donor], name, &t->like->anatomy);
        if (!weight) {
            found->lacks = found->lacking++ ? found->lacks : job->donors[donor].path;
            continue;
        }
        if (check_shape(job, t, donor, weight, error))
            break;
        if (apart && donor == r->base) {
            base = weight;
            of_base = k;
            continue;
        }
        put_source(job, step, t, found->count, k, weight, error);
        found->names[found->count] = weight->name;
        found->sources[found->count++] = k;
    }
    if (base && !error->status)
        put_source(job, step, t, found->count, of_base, base, error);
    t->item.task.base = base != NULL;
    t->item.task.inputs = found->count;
    return error->status;
}

static organ_status check_parameters(model_merge *job, const merge_step *step, merge_tensor *t,
                                     const merge_found *found, organ_error *error)
{
    const merge_recipe *const r = &job->recipe;
    double *const values =
        organ_merge_take(job, (r->method->parameter_count + 1) * found->count * sizeof *values, error);
    const merge_place place = {.slice = step->slice,
                               .t = step->t,
                               .output = t->name,
                               .inputs = found->names,
                               .sources = found->sources,
                               .count = found->count};
    if (error->status || organ_merge_evaluate(r, &place, values, error))
        return error->status;
    t->item.task.values = values;
    organ_error fault = {0};
    return r->method->check && r->method->check(&t->item.task, &fault)
               ? organ_merge_check_fault(r, t->name, fault.message, error)
               : ORGAN_OK;
}

static organ_status add_by_layer(model_merge *job, const organ_weight *made, organ_error *error)
{
    merge_tensor *const t = organ_merge_add_tensor(job, made->name, made, job->host, 1, error);
    if (!t)
        return error->status;
    organ_merge_put_input(job, t, 0, job->host, made);
    return organ_merge_pass_through(t, 0, "each layer's part is that of its model", error);
}

/* Adds the tensor of the output that has the name of `like`, a weight of the source `model`. */
static organ_status merge_one(model_merge *job, const merge_step *step, const organ_weight *like, size_t model,
                              organ_error *error)
{
    const merge_slice *const slice = step->slice;
    const organ_merge_method *const method = job->recipe.method;
    const char *const policy = job->options->missing;
    merge_found found = {.count = 0};
    char name[MERGE_NAME];
    const organ_weight *const made = organ_merge_by_layer(job, like, error);
    if (made)
        return add_by_layer(job, made, error);
    if (error->status || name_in(step, like->name, model, MERGE_NONE, name, error))
        return error->status;
    merge_tensor *const t =
        organ_merge_add_tensor(job, name, like, slice->sources[model].donor, slice->source_count, error);
    if (!t || find_inputs(job, step, t, model, &found, error))
        return error->status;
    if (found.lacking && strcmp(policy, "error") == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s' of %s is missing in %s; `missing` base or any merges the models nevertheless",
                          like->name, job->donors[t->from].path, found.lacks);
    if (found.lacking && strcmp(policy, "base") == 0)
        return take_of_base(job, t, found.count, error);
    if (found.count < method->least || (method->base == ORGAN_MERGE_BASE_REQUIRED && !t->item.task.base))
        return take_of_any(job, t, found.count, error);
    if (found.lacking)
        note_lacking(job, t->name, "merged from the models that have it", error);
    return check_parameters(job, step, t, &found, error);
}

/* ---- the tensors of a step ---- */

static bool is_head(const organ_weight *weight)
{
    return weight->anatomy.role == ORGAN_ROLE_OUTPUT && weight->anatomy.layer < 0 && weight->rank == 2;
}

/* Returns whether neither the model of the step nor an earlier source has a tensor of this name. */
static bool is_new(const model_merge *job, const merge_step *step, size_t source, const organ_weight *weight,
                   organ_error *error)
{
    char name[MERGE_NAME];
    const merge_donor *const donor = &job->donors[step->slice->sources[source].donor];
    if (donor->across && organ_across_kind_of(donor->across, weight->name) != ORGAN_ACROSS_OWN &&
        !job->donors[step->slice->sources[step->model].donor].across)
        return false;                     /* its rows have the form of the host */
    for (size_t k = 0; k < source; k++) { /* of the model, and of sources that have added it */
        const merge_donor *const other = &job->donors[step->slice->sources[k].donor];
        if (name_in(step, weight->name, source, k, name, error) || organ_merge_weight_named(other, name))
            return false;
    }
    return !name_in(step, weight->name, source, step->model, name, error) &&
           !organ_merge_weight_named(&job->donors[step->slice->sources[step->model].donor], name);
}

/* A tensor of a GGUF file that no tensor of the host has values of cannot be merged. */
static organ_status check_unpaired(model_merge *job, const merge_donor *donor, const organ_weight *weight,
                                   organ_error *error)
{
    const organ_across_kind kind = organ_across_kind_of(donor->across, weight->name);
    if (kind == ORGAN_ACROSS_PAIRED || kind == ORGAN_ACROSS_LEFT_OUT || (is_head(weight) && job->has_head))
        return ORGAN_OK;
    if (strcmp(job->options->missing, "error") == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s' of %s is missing in %s; `missing` base or any leaves it out", weight->name,
                          donor->path, job->donors[job->host].path);
    return note_lacking(job, weight->name, "left out: the base lacks it", error);
}

/* Merges the tensors of the part that the step is for. */
static organ_status add_step_tensors(model_merge *job, const merge_step *step, organ_error *error)
{
    for (size_t k = 0; k < step->slice->source_count && !error->status; k++) {
        const size_t source = k == 0 ? step->model : k - (k <= step->model); /* the model comes first */
        const merge_donor *const donor = &job->donors[step->slice->sources[source].donor];
        const bool gguf = organ_merge_is_gguf(donor);
        for (size_t w = 0; w < donor->weights->count && !error->status; w++) {
            const organ_weight *const weight = &donor->weights->weights[w];
            const bool unused = is_head(weight) && !(job->has_head && donor->head);
            if (unused || !is_in_part(step, donor, source, &weight->anatomy) || !organ_weight_has_numbers(weight) ||
                (k && !gguf && !is_new(job, step, source, weight, error)))
                continue;
            if (gguf && !donor->stored)
                check_unpaired(job, donor, weight, error);
            else
                merge_one(job, step, weight, source, error);
        }
    }
    return error->status;
}

/* Returns the source whose names the tensors of a slice have: the host, else the first source that is no GGUF file,
 * which has other names. MERGE_NONE: there are only such files. */
static size_t naming_source(const model_merge *job, const merge_slice *slice)
{
    size_t first = MERGE_NONE;
    for (size_t k = slice->source_count; k-- > 0;) {
        if (slice->sources[k].donor == job->host)
            return k;
        first = organ_merge_is_gguf(&job->donors[slice->sources[k].donor]) ? first : k; /* not of the host */
    }
    return first;
}

static organ_status check_layers(const model_merge *job, const merge_slice *slice, organ_error *error)
{
    if (naming_source(job, slice) == MERGE_NONE)
        organ_merge_fault(&job->recipe, slice->sources[0].line, error,
                          "all models of the slice are GGUF: convert one to safetensors first");
    for (size_t k = 0; k < slice->source_count && !error->status; k++) {
        const merge_source *const source = &slice->sources[k];
        const merge_donor *const donor = &job->donors[source->donor];
        if (job->recipe.sliced && source->first + slice->layers > donor->layers)
            organ_merge_fault(&job->recipe, source->line, error, "layer_range ends at %llu, but %.200s has %llu layers",
                              (unsigned long long)(source->first + slice->layers), donor->name,
                              (unsigned long long)donor->layers);
        if (!job->recipe.sliced && donor->layers != slice->layers)
            organ_merge_fault(&job->recipe, source->line, error,
                              "%.200s has %llu layers, but %.200s %llu: name layers by slices", donor->name,
                              (unsigned long long)donor->layers, job->donors[job->host].name,
                              (unsigned long long)slice->layers);
    }
    return error->status;
}

static organ_status merge_slices(model_merge *job, organ_error *error)
{
    merge_recipe *const r = &job->recipe;
    const merge_slice *const first = &r->slices[0], *const last = &r->slices[r->slice_count - 1];
    if (!r->sliced)
        r->slices[0].layers = job->donors[job->host].layers;
    for (size_t s = 0; s < r->slice_count && !error->status; s++)
        check_layers(job, &r->slices[s], error);
    if (error->status)
        return error->status;
    const merge_step before = {.slice = first, .part = PART_BEFORE, .model = naming_source(job, first)},
                     after = {.slice = last, .part = PART_AFTER, .model = naming_source(job, last)};
    add_step_tensors(job, &before, error);
    for (size_t s = 0; s < r->slice_count; s++) {
        const merge_slice *const slice = &r->slices[s];
        for (uint64_t l = 0; l < slice->layers && !error->status; l++) {
            const double t = slice->layers > 1 ? (double)l / (double)(slice->layers - 1) : 1;
            merge_step step = {
                .slice = slice, .part = PART_LAYER, .layer = l, .t = t, .model = naming_source(job, slice)};
            if (organ_merge_match_experts(job, slice, l, step.model, &step.orders, error) == ORGAN_OK)
                add_step_tensors(job, &step, error);
        }
        job->layers += slice->layers;
    }
    if (job->matching)
        organ_progress_end(job->progress);
    return error->status ? error->status : add_step_tensors(job, &after, error);
}

/* ---- tensors that are not merged ---- */

/* Writes the name in the output of a tensor that is not merged. A draft layer follows the layers of the output. */
static organ_status name_apart(model_merge *job, const char *name, const organ_anatomy *anatomy, char out[MERGE_NAME],
                               organ_error *error)
{
    const uint64_t own = job->donors[job->host].layers;
    const int32_t layer = anatomy->layer < 0 ? -1 : (int32_t)(anatomy->layer - (int32_t)own + (int32_t)job->layers);
    if (!organ_anatomy_renumber(name, layer, -1, out, MERGE_NAME))
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its name is too long", name);
    return ORGAN_OK;
}

/* Refuses a host whose outline has a tensor of which it has no values that can be merged. */
static organ_status refuse_host(const model_merge *job, const char *name, organ_error *error)
{
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: has no weight that gives tensor '%s': the base must be a directory of safetensors on this machine",
        job->donors[job->host].path, name);
}

static organ_status add_apart(model_merge *job, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    char name[MERGE_NAME];
    for (size_t k = 0; k < host->weights->count && !error->status; k++) {
        const organ_weight *const w = &host->weights->weights[k];
        const bool apart = organ_merge_is_apart(host, &w->anatomy), numbers = organ_weight_has_numbers(w);
        if (!apart && (numbers || (job->recipe.sliced && w->anatomy.layer >= 0)))
            continue;
        if (name_apart(job, w->name, &w->anatomy, name, error))
            break;
        const organ_weight *const values = organ_merge_weight_named(host, w->name);
        merge_tensor *const t = organ_merge_add_tensor(job, apart ? name : w->name, w, job->host, 1, error);
        if (!t)
            break;
        if (!values)
            return refuse_host(job, w->name, error);
        organ_merge_put_input(job, t, 0, job->host, values);
        organ_merge_pass_through(t, 0, apart ? "towers and draft layers are the base's" : "it has no numbers", error);
    }
    return error->status;
}

/* ---- the output head ---- */

static bool makes_head(const model_merge *job)
{
    for (size_t k = 0; k < job->tensor_count; k++)
        if (is_head(job->tensors[k].like))
            return true;
    return false;
}

/* The output has a head of its own if a model has one; --keep-tied lets the host decide. */
static void choose_head(model_merge *job)
{
    const merge_recipe *const r = &job->recipe;
    const merge_slice *const last = &r->slices[r->slice_count - 1];
    const merge_donor *const host = &job->donors[job->host], *other = NULL;
    for (size_t k = 0; k < last->source_count && !other; k++)
        other = job->donors[last->sources[k].donor].head ? &job->donors[last->sources[k].donor] : NULL;
    if (other && !host->head && job->options->keep_tied) {
        organ_progress_note_once(job->progress,
                                 "%s: its output head '%s' is left out: the head of the output is its embedding "
                                 "(`keep_tied`)",
                                 other->path, other->head);
        other = NULL;
    }
    job->has_head = host->head || other;
    job->unties = job->has_head && (!host->head || host->model->config.tie_word_embeddings);
}

/* Returns the head of a host that has none: a weight of the form of its embedding. NULL on error. */
static const organ_weight *new_head(model_merge *job, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    const organ_weight *const embedding = organ_merge_weight_of_role(host, ORGAN_ROLE_EMBED);
    organ_weight *const head = organ_merge_take(job, sizeof *head, error);
    if (!head)
        return NULL;
    if (!embedding) {
        organ_fail(error, ORGAN_BAD_INPUT, "%s has no embedding whose form its output head could have", host->path);
        return NULL;
    }
    *head = *embedding;
    head->name = organ_text_new_head(host->model->config.architecture, embedding->name);
    head->anatomy = organ_anatomy_of(head->name);
    return head;
}

/* Makes the head of the output if no source of the last slice has its name. */
static organ_status add_head(model_merge *job, organ_error *error)
{
    const merge_slice *const last = &job->recipe.slices[job->recipe.slice_count - 1];
    const merge_step after = {.slice = last, .part = PART_AFTER, .model = naming_source(job, last)};
    const organ_weight *own = organ_merge_weight_of_role(&job->donors[job->host], ORGAN_ROLE_OUTPUT);
    if (!job->has_head || makes_head(job) || (!own && !(own = new_head(job, error))))
        return error->status;
    return merge_one(job, &after, own, after.model, error);
}

/* ---- pieces ---- */

/* A plain tensor of the host that keeps its type is copied. */
static bool is_copied(const model_merge *job, const merge_tensor *t)
{
    const organ_weight *const w = t->item.inputs[0].weight;
    return t->item.task.method == &organ_merge_passthrough && t->donors[0] == job->host && !t->item.rows && !w->made &&
           w->scheme == ORGAN_SCHEME_PLAIN && !job->donors[job->host].stored && !t->item.inputs[0].change &&
           !t->item.inputs[0].order && organ_merge_value(&t->item.task, 0, 0) == 1 &&
           (!organ_weight_has_numbers(w) || type_of(job, w) == w->codes->dtype);
}

static void add_piece(model_merge *job, size_t k, organ_piece piece, uint64_t bytes)
{
    piece.item = k;
    piece.cost = bytes;
    job->pieces[k] = piece;
}

/* Tensors of the host that belong to no weight are copied behind the others. */
static organ_status make_pieces(model_merge *job, organ_error *error)
{
    const organ_weights *const weights = job->donors[job->host].weights;
    const size_t most = job->tensor_count + weights->unmatched_count + 1;
    size_t count = job->tensor_count;
    job->pieces = organ_rows_take(most, sizeof *job->pieces);
    if (!job->pieces)
        return organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < job->tensor_count; k++) {
        const merge_tensor *const t = &job->tensors[k];
        const bool copied = is_copied(job, t);
        const organ_tensor *const codes = t->item.inputs[0].weight->codes;
        add_piece(job, k,
                  (organ_piece){.name = t->name,
                                .dtype = copied ? codes->dtype : type_of(job, t->like),
                                .rank = t->like->rank,
                                .shape = t->shape ? t->shape : t->like->shape,
                                .same = copied ? codes : NULL},
                  organ_weight_bytes(t->like)); /* the driver's total has the tensors of the host */
    }
    for (size_t k = 0; k < weights->unmatched_count && !job->recipe.sliced; k++)
        if (!weights->unmatched[k].dropped && job->donors[job->host].stored)
            return refuse_host(job, weights->unmatched[k].tensor->name, error);
        else if (!weights->unmatched[k].dropped) {
            add_piece(job, count, organ_piece_same(weights->unmatched[k].tensor), weights->unmatched[k].tensor->bytes);
            count++;
        }
    job->piece_count = count;
    return ORGAN_OK;
}

/* --router-weight without a router would change nothing. */
static organ_status check_routers(const model_merge *job, organ_error *error)
{
    for (size_t k = 0; k < job->tensor_count && job->options->router_weight; k++)
        if (organ_anatomy_is_router(job->tensors[k].name))
            return ORGAN_OK;
    return job->options->router_weight ? organ_fail(error, ORGAN_BAD_INPUT, "`router_weight`: no model has a router")
                                       : ORGAN_OK;
}

organ_status organ_merge_outline(model_merge *job, organ_error *error)
{
    if (!(job->lacking = json_array()))
        return organ_fail_memory(error, job->recipe.label);
    job->packed = job->donors[job->host].weights->packed > 0;
    if (!job->recipe.mixture)
        choose_head(job);
    if (job->recipe.mixture ? organ_mixture_outline(job, error) : merge_slices(job, error) || add_head(job, error))
        return error->status;
    if (add_apart(job, error) || check_routers(job, error))
        return error->status;
    organ_merge_warn_of_unused(&job->recipe);
    for (size_t k = 0; k < job->tensor_count && job->vocabulary && !error->status; k++)
        if (organ_merge_has_tokens(job, job->tensors[k].from, job->tensors[k].like))
            organ_merge_set_rows(job, &job->tensors[k], error);
    return error->status || organ_merge_mark_fitted(job, error) ? error->status : make_pieces(job, error);
}
