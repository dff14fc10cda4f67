/* SPDX-License-Identifier: MIT
 * organ quantize for MLX: model types that mlx-lm loads with the names of their files, targets, and the settings in
 * config.json by which mlx-lm rebuilds the layers. */
#include "orchestrator/verbs/quantize/mlx/quantize_mlx.h"

#include "formats/config/model_config.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "formats/tensor/module_names.h"
#include "orchestrator/output/head.h"
#include "orchestrator/surgery/readers/readers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct organ_quantize_mlx {
    const organ_mlx_type *type;
    const organ_tensor *repeated; /* a head with the values of the embedding, which is the head; NULL: none */
    organ_weights *found;         /* what job->weights was before the stacks were split; NULL: nothing was split */
    organ_weights split;          /* with the stacks split */
    organ_mlx_made *made;         /* unquantised tensors with other rows or values than in the model */
    size_t made_count, made_capacity;
    organ_shard_stack **stacks; /* in the job's arena */
    size_t count, capacity;
    organ_name_table names; /* name of a stack -> its index */
};

static organ_status split_stacks(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_mlx *const m = job->mlx;
    if (organ_quantize_mlx_split(job, &m->split, error) == ORGAN_OK) {
        m->found = job->weights;
        job->weights = &m->split;
    }
    return error->status;
}

/* mlx-lm refuses a file with a head that config.json ties to the embedding. */
static organ_status settle_head(organ_quantize_job *job, organ_error *error)
{
    const char *const name = job->model->config.model_type;
    organ_head head = {0};
    if (organ_text_check_embedding(job->model, job->weights, error) ||
        organ_head_find(job->model, job->weights, job->engine, &head, error))
        return error->status;
    if (head.own && job->mlx->type->headless)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: '%s' differs from the embedding, but mlx-lm has no output head for models of type '%s': "
                          "quantise it for another format",
                          job->model->path, head.stored->name, name);
    job->mlx->repeated = head.stored && !head.own ? head.stored->codes : NULL;
    return ORGAN_OK;
}

static organ_status mlx_open(organ_quantize_job *job, organ_error *error)
{
    if (organ_quantize_open_safetensors(job, error))
        return error->status;
    const char *const name = job->model->config.model_type, *const path = job->model->path;
    const organ_mlx_type *const type = organ_mlx_type_of(name);
    if (!type)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: `format` mlx does not write models of type '%s': mlx-lm lacks this type, or stores its "
                          "weights under other names or with other values; mlx_lm.convert converts types that it has",
                          path, name);
    if (!(job->mlx = calloc(1, sizeof *job->mlx)))
        return organ_fail_memory(error, path);
    job->mlx->type = type;
    if (type->nearest && organ_quantize_by_text(job->options))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: `method` gptq cannot calibrate the experts of %s for `format` mlx, because the model "
                          "stores gate and up in one stack: use `method` nearest",
                          path, name);
    if (type->split)
        return split_stacks(job, error) ? error->status : settle_head(job, error);
    if (type->stacked) {
        organ_weights_free(job->weights);
        job->weights = NULL;
        if (organ_model_unstack(job->model, error) || organ_weights_find(job->model, &job->weights, error))
            return error->status;
    }
    return settle_head(job, error);
}

static void mlx_close(organ_quantize_job *job)
{
    if (!job->mlx)
        return;
    if (job->mlx->found)
        job->weights = job->mlx->found;
    organ_name_table_release(&job->mlx->names);
    ORGAN_FREE_ARRAYS(job->mlx->stacks, job->mlx->made, job->mlx);
}

/* ---- stacked experts ---- */

static organ_shard_stack *stack_named(organ_quantize_job *job, const char *name)
{
    organ_quantize_mlx *const m = job->mlx;
    const size_t *const found = organ_name_table_find(&m->names, name);
    if (found)
        return m->stacks[*found];
    organ_shard_stack *const made = organ_arena_take(&job->list.arena, sizeof *made);
    const char *const kept = organ_arena_copy(&job->list.arena, name, strlen(name));
    if (!made || !kept || !organ_grow(&m->stacks, m->count, &m->capacity, sizeof(organ_shard_stack *)) ||
        !organ_name_table_put(&m->names, kept, m->count))
        return NULL;
    *made = (organ_shard_stack){.name = kept};
    return m->stacks[m->count++] = made;
}

static const char *mlx_name(organ_quantize_job *job, const char *name)
{
    char renamed[ORGAN_MODULE_NAME_SIZE];
    const bool fits = organ_module_file_in_mlx(job->model->config.model_type, name, renamed, sizeof renamed);
    return !fits || strcmp(renamed, name) == 0 ? name : organ_arena_copy(&job->list.arena, renamed, strlen(renamed));
}

static organ_status stack_last(organ_quantize_job *job, const organ_tensor *source, const char *leaf,
                               organ_error *error)
{
    char module[ORGAN_MODULE_NAME_SIZE], path[ORGAN_MODULE_NAME_SIZE], name[ORGAN_MODULE_NAME_SIZE + 16];
    organ_piece *const piece = &job->list.pieces[job->list.piece_count - 1];
    const size_t length = strlen(source->name);
    if (!job->mlx->type->stacked || source->rank != 2 || source->anatomy.expert < 0 || length >= sizeof module ||
        !organ_ends_with(source->name, ".weight"))
        return ORGAN_OK;
    snprintf(module, sizeof module, "%.*s", (int)(length - strlen(".weight")), source->name);
    if (!organ_module_stack_in_mlx(job->model->config.model_type, module, path, sizeof path))
        return ORGAN_OK;
    snprintf(name, sizeof name, "%s.%s", path, leaf);
    if (!(piece->stack = stack_named(job, name)))
        return organ_fail_memory(error, job->options->model);
    piece->slice = (uint64_t)source->anatomy.expert;
    return ORGAN_OK;
}

/* ---- tensors of the output ---- */

/* A stack has its number of matrices as first size. */
static size_t add_one(organ_quantize_job *job, const organ_quantize_part *part, const char *leaf, bool codes,
                      organ_error *error)
{
    const organ_weight *const weight = part->weight;
    const organ_encoding *const e = part->encoding;
    const char *const own = organ_quantize_name_next_to(job, weight->name, leaf);
    const char *const name = own ? mlx_name(job, own) : NULL;
    uint64_t *const shape = organ_arena_take(&job->list.arena, 3 * sizeof *shape);
    if (!name || !shape) {
        organ_fail_memory(error, job->options->model);
        return 0;
    }
    shape[0] = weight->shape[0];
    memcpy(shape + 1, codes ? part->words : part->scale_shape, 2 * sizeof *shape);
    const size_t at = organ_quantize_add_piece(job, name, codes ? e->codes : e->scales, weight->rank,
                                               weight->rank == 2 ? shape + 1 : shape);
    stack_last(job, weight->codes, leaf, error);
    return at;
}

/* Names and shapes are those of MLX. */
static organ_status mlx_add(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_encoding *const e = part->encoding;
    part->groups = organ_grid_groups(&e->grid, (size_t)part->cols);
    part->scale_shape[0] = part->words[0] = part->rows;
    part->scale_shape[1] = part->groups;
    part->words[1] = organ_encoding_row_bytes(e, (size_t)part->cols) / 4;
    part->codes = add_one(job, part, "weight", /*codes=*/true, error);
    part->scale = error->status ? 0 : add_one(job, part, "scales", /*codes=*/false, error);
    if (organ_grid_is_free(&e->grid) && !error->status)
        part->minimum = add_one(job, part, "biases", /*codes=*/false, error);
    return error->status;
}

static organ_status mlx_list(organ_quantize_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->list.piece_count; k++) {
        const organ_piece *const p = &job->list.pieces[k];
        organ_shard_stack *const stack = p->stack;
        organ_rows_passed();
        if (!stack)
            continue;
        stack->rank = 3;
        stack->shape[0]++;
        for (unsigned d = 0; d < 2; d++) {
            if (stack->shape[0] > 1 && stack->shape[1 + d] != p->shape[d])
                return organ_fail(error, ORGAN_BAD_INPUT,
                                  "%s: mlx-lm stacks the experts of a layer, but '%s' and those before it differ in "
                                  "shape",
                                  job->model->path, p->name);
            stack->shape[1 + d] = p->shape[d];
        }
    }
    return ORGAN_OK;
}

/* ---- tensors that mlx-lm would change when it loads the model ---- */

static bool is_raised_norm(const organ_tensor *tensor)
{
    static const char *const ends[] = {"input_layernorm.weight", "post_attention_layernorm.weight", "model.norm.weight",
                                       "q_norm.weight", "k_norm.weight"};
    bool found = false;
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
        found = found || organ_ends_in_words(tensor->name, ends[k]);
    return found && tensor->rank == 1;
}

static bool mlx_drops(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const bool draft = tensor->anatomy.role == ORGAN_ROLE_MTP && tensor->anatomy.layer < 0;
    return (job->mlx->type->finished && draft) || tensor == job->mlx->repeated ||
           organ_ends_with(tensor->name, "rotary_emb.inv_freq") || organ_ends_with(tensor->name, "rope.inv_freq");
}

bool organ_quantize_mlx_raises(const organ_quantize_job *job) { return job->mlx->type->finished; }

/* Convolutions are channels x 1 x taps in published files, channels x taps x 1 in MLX, in the same order. */
static organ_status turn_axes(organ_quantize_job *job, organ_piece *piece, organ_error *error)
{
    uint64_t *const shape = organ_arena_take(&job->list.arena, 3 * sizeof *shape);
    if (!shape)
        return organ_fail_memory(error, job->options->model);
    memcpy(shape, (const uint64_t[]){piece->shape[0], piece->shape[2], piece->shape[1]}, 3 * sizeof *shape);
    piece->shape = shape;
    return ORGAN_OK;
}

static organ_status make_piece(organ_quantize_job *job, const organ_weight *made, organ_error *error)
{
    organ_quantize_mlx *const m = job->mlx;
    organ_piece *const piece = &job->list.pieces[job->list.piece_count - 1];
    if (!made || !organ_grow(&m->made, m->made_count, &m->made_capacity, sizeof *m->made))
        return organ_fail_memory(error, job->options->model);
    m->made[m->made_count++] = (organ_mlx_made){made, job->list.piece_count - 1};
    *piece = (organ_piece){.name = made->name,
                           .dtype = made->codes->dtype,
                           .rank = made->rank,
                           .shape = made->shape,
                           .item = SIZE_MAX,
                           .cost = organ_quantize_source_bytes(made)};
    return ORGAN_OK;
}

static organ_status mlx_keep(organ_quantize_job *job, const organ_tensor *tensor, const organ_weight *made,
                             organ_error *error)
{
    const bool finished = job->mlx->type->finished;
    organ_piece *const piece = &job->list.pieces[job->list.piece_count - 1];
    if (made)
        return make_piece(job, made, error);
    if (!(piece->name = mlx_name(job, tensor->name)))
        return organ_fail_memory(error, job->options->model);
    if (finished && organ_ends_with(tensor->name, ".conv1d.weight") && tensor->rank == 3 && tensor->shape[1] == 1)
        return turn_axes(job, piece, error);
    if (!finished || !is_raised_norm(tensor))
        return stack_last(job, tensor, "weight", error);
    if (!organ_target_is_float(tensor))
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' is %s, not BF16, F16 or F32", tensor->name,
                          organ_dtype_name(tensor->dtype));
    return make_piece(job, organ_quantize_mlx_raised(job, tensor), error);
}

static organ_status mlx_write(organ_quantize_job *job, organ_error *error)
{
    for (size_t k = 0; job->mlx && k < job->mlx->made_count && !error->status; k++)
        if (!organ_write_done(job->run, job->mlx->made[k].piece))
            organ_quantize_mlx_write_made(job, &job->mlx->made[k], error);
    return error->status;
}

/* ---- targets ---- */

static const char *mlx_unreadable(const organ_quantize_job *job, const organ_weight *weight)
{
    const organ_mlx_type *const type = job->mlx->type;
    return type->plain && organ_ends_with(weight->name, type->plain) ? type->why : NULL;
}

/* ---- config.json ---- */

static json_t *settings_json(const organ_encoding *e)
{
    return ORGAN_OBJECT(SET_COUNT("group_size", e->grid.size), SET_COUNT("bits", e->grid.bits ? e->grid.bits : 8),
                        SET_TEXT("mode", organ_grid_is_free(&e->grid) ? "affine" : e->name));
}

/* Takes over `value`. Returns false if memory cannot be allocated. A name that is too long is not listed: loaders take
 * the settings of such a module from its shapes. */
static bool set_path(const organ_quantize_job *job, json_t *object, const char *tensor, json_t *value)
{
    char module[ORGAN_MODULE_NAME_SIZE], path[ORGAN_MODULE_NAME_SIZE];
    const size_t length = strlen(tensor) - (organ_ends_with(tensor, ".weight") ? strlen(".weight") : 0);
    const bool named = snprintf(module, sizeof module, "%.*s", (int)length, tensor) < (int)sizeof module &&
                       organ_module_name_in_mlx(job->model->config.model_type, module, path, sizeof path);
    const bool made = value && (!named || json_object_set(object, path, value) == 0);
    json_decref(value);
    return made;
}

/* Embeddings and linear layers that are not quantised are listed as false. */
static json_t *quantization_json(const organ_quantize_job *job)
{
    json_t *const made = settings_json(job->encoding);
    bool sound = made != NULL;
    for (size_t k = 0; k < job->list.part_count && sound; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        if (strcmp(part->encoding->name, job->encoding->name) != 0)
            sound = set_path(job, made, part->weight->name, settings_json(part->encoding));
    }
    for (size_t k = 0; k < job->list.piece_count && sound; k++) {
        const organ_tensor *const same = job->list.pieces[k].same;
        if (same && same->rank == 2 && organ_ends_with(same->name, ".weight"))
            sound = set_path(job, made, same->name, json_false());
    }
    for (size_t k = 0; k < job->mlx->made_count && sound; k++) {
        const organ_weight *const same = job->mlx->made[k].weight;
        if (same->rank > 1 && organ_ends_with(same->name, ".weight"))
            sound = set_path(job, made, same->name, json_false());
    }
    if (sound)
        return made;
    json_decref(made);
    return NULL;
}

static organ_status mlx_edit(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_quantize_job *const job = context;
    ORGAN_OWNED_JSON json_t *root = NULL;
    if (organ_config_parse(config->label, config->bytes, config->length, &root, error) != ORGAN_OK)
        return error->status;
    ORGAN_OWNED_JSON json_t *const made = quantization_json(job);
    if (!made)
        organ_fail_memory(error, job->options->model);
    else if (organ_quantize_mlx_members(job, config, root, error) == ORGAN_OK &&
             organ_json_edit_set(config, NULL, "quantization", made, error) == ORGAN_OK)
        organ_json_edit_set(config, NULL, "quantization_config", made, error);
    return error->status ? error->status : organ_readers_add_names(config, error);
}

/* ---- the kind of output ---- */

static void mlx_note(const organ_quantize_job *job)
{
    organ_quantize_note_regrouped(job);
    organ_quantize_mlx_note(job);
}

const organ_quantize_format organ_quantize_mlx_format = {.open = mlx_open,
                                                         .forms = organ_quantize_forms,
                                                         .drops = mlx_drops,
                                                         .preferred = organ_quantize_preferred,
                                                         .obstacle = organ_quantize_obstacle,
                                                         .unreadable = mlx_unreadable,
                                                         .add = mlx_add,
                                                         .keep = mlx_keep,
                                                         .list = mlx_list,
                                                         .note = mlx_note,
                                                         .write = mlx_write,
                                                         .edit = mlx_edit,
                                                         .close = mlx_close};
