/* SPDX-License-Identifier: MIT
 * Plans the tensors of vision and audio towers: of an mmproj, or of safetensors from an mmproj. The rows of
 * formats/towers/towers.h describe each pair of tensors; a shape that both formats lack makes rows and columns of
 * it that a place can copy (view). */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/text.h"
#include "formats/tensor/tensor_list.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/read_rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLOURS 3

/* A weight of a tower with its rule, while it is planned. */
typedef struct tower_move {
    organ_convert_job *job;
    const organ_weight *weight;
    tower_part part;
    organ_error *error;
} tower_move;

static organ_status move_refuse(const tower_move *m, const char *why)
{
    const char *const path = m->job->to_gguf ? m->job->model->path : m->job->towers.file->path;
    return organ_fail(m->error, ORGAN_BAD_INPUT, "%s: tensor '%s' %s", path, m->weight->name, why);
}

bool organ_convert_is_tower(const organ_convert_job *job, const organ_weight *weight)
{
    const tower_model *const t = &job->towers.model;
    tower_part part;
    return job->to_gguf && t->family &&
           (organ_role_is_tower(weight->anatomy.role) || organ_tower_find(t, /*gguf=*/false, weight->name, &part));
}

/* ---- types of GGUF ---- */

/* As llama.cpp's converter: F32 are vectors, norms, tables of positions, and names that do not end in ".weight"; the
 * convolution of patches is F16 or F32. Blocks are for matrices whose rows they divide. */
static organ_dtype move_type(const tower_move *m, const char *name, unsigned rank, uint64_t cols)
{
    convert_towers *const t = &m->job->towers;
    const tower_family *const family = t->model.family;
    const bool patches = strncmp(name, "v.patch_embd.weight", strlen("v.patch_embd.weight")) == 0;
    if (family->always_f16 && strcmp(name, family->always_f16) == 0)
        return ORGAN_F16;
    if (patches || strcmp(name, "mm.patch_merger.weight") == 0)
        return t->type == ORGAN_F16 && !(patches && family->f32_patches) ? ORGAN_F16 : ORGAN_F32;
    if (rank <= 1 || !organ_ends_with(name, ".weight") || organ_ends_with(name, "_norm.weight") ||
        strstr(name, "position_embd") || strncmp(name, "a.conv1d.", strlen("a.conv1d.")) == 0 ||
        strstr(name, ".conv_dw."))
        return ORGAN_F32;
    if (cols % organ_dtype_describe(t->type)->elements == 0)
        return t->type;
    t->plain++;
    return ORGAN_F16;
}

/* ---- views, pieces and places ---- */

/* Makes the source of the plan a weight of the same values with another shape. */
static const organ_weight *move_view(const tower_move *m, unsigned rank, const uint64_t *shape)
{
    organ_convert_job *const job = m->job;
    organ_weight *const view = organ_arena_take(&job->arena, sizeof *view);
    uint64_t *const axes = organ_arena_take(&job->arena, 4 * sizeof *axes);
    if (!view || !axes) {
        organ_fail_memory(m->error, m->weight->name);
        return NULL;
    }
    memcpy(axes, shape, rank * sizeof *axes);
    *view = *m->weight;
    view->rank = rank;
    view->shape = axes;
    job->sources[job->source_count].weight = job->sources[job->source_count].own = view;
    return view;
}

/* Adds the piece of a part, or finds it, and returns its index; SIZE_MAX after an error. `cols`: values of a row as
 * places count them. */
static size_t move_piece(const tower_move *m, unsigned part, unsigned rank, const uint64_t *shape, uint64_t cols)
{
    organ_convert_job *const job = m->job;
    tower_part of = m->part;
    char name[TOWER_NAME];
    uint64_t elements = 1;
    of.part = part;
    organ_tower_name(&job->towers.model, job->to_gguf, &of, name);
    for (unsigned d = 0; d < rank; d++)
        elements *= shape[d];
    const organ_dtype dtype = job->to_gguf ? move_type(m, name, rank, rank ? shape[rank - 1] : 1) : job->type;
    const organ_piece made = {.name = name, .dtype = dtype, .rank = rank, .shape = shape};
    const size_t piece = organ_convert_part(job, &made, elements / cols, CONVERT_VALUES, m->error);
    if (piece != SIZE_MAX) {
        job->facts[piece].encoding = NULL;
        job->facts[piece].form = NULL;
    }
    return piece;
}

/* `rows` of the piece come from the place. */
static organ_status move_place(const tower_move *m, organ_row_place place, uint64_t rows)
{
    organ_convert_job *const job = m->job;
    if (place.piece == SIZE_MAX)
        return m->error->status;
    if (!organ_grow(&job->places, job->place_count, &job->place_room, sizeof *job->places))
        return organ_fail_memory(m->error, m->weight->name);
    job->places[job->place_count++] = place;
    job->facts[place.piece].filled += rows;
    job->sources[job->source_count].count++;
    return ORGAN_OK;
}

/* ---- changes ---- */

static organ_row_function move_function(const tower_move *m)
{
    const bool to_gguf = m->job->to_gguf;
    if (m->part.rule->change == TOWER_PLUS_ONE)
        return to_gguf ? ORGAN_ROW_PLUS_ONE : ORGAN_ROW_MINUS_ONE;
    if (m->part.rule->change == TOWER_SOFTPLUS)
        return to_gguf ? ORGAN_ROW_SOFTPLUS : ORGAN_ROW_SOFTPLUS_BACK;
    return ORGAN_ROW_SAME;
}

/* The shape that the values have in the other format; returns its rank, 5 if the rule does not fit the weight. */
static unsigned move_shape(const tower_move *m, uint64_t shape[5])
{
    const organ_weight *const w = m->weight;
    const bool to_gguf = m->job->to_gguf;
    const json_t *const vision = json_object_get(m->job->towers.model.config, "vision_config");
    for (unsigned d = 0; d < w->rank && d < 4; d++)
        shape[d] = w->shape[d];
    switch (m->part.rule->change) {
    case TOWER_SCALAR:
        shape[0] = 1;
        return w->elements == 1 ? to_gguf : 5;
    case TOWER_DEPTHWISE:
        shape[1] = to_gguf ? w->shape[w->rank - 1] : 1;
        shape[2] = w->shape[w->rank - 1];
        if (to_gguf)
            return w->rank == 3 && w->shape[1] == 1 ? 2 : 5;
        return w->rank == 2 ? 3 : 5;
    case TOWER_GRID:
        if (to_gguf) {
            shape[0] = w->elements / w->shape[w->rank - 1];
            shape[1] = w->shape[w->rank - 1];
            return w->rank == 3 ? 2 : 5;
        }
        shape[0] = (uint64_t)json_integer_value(json_object_get(vision, "init_pos_emb_height"));
        shape[1] = (uint64_t)json_integer_value(json_object_get(vision, "init_pos_emb_width"));
        shape[2] = w->shape[w->rank - 1];
        return w->rank == 2 && shape[0] * shape[1] == w->shape[0] ? 3 : 5;
    default:
        return w->rank <= 4 ? w->rank : 5;
    }
}

/* All values keep their order. A tensor of four axes counts as a matrix with the rows of the first. */
static organ_status move_whole(const tower_move *m)
{
    const organ_weight *const w = m->weight;
    uint64_t shape[5] = {1, 1, 1, 1, 1};
    const unsigned rank = move_shape(m, shape);
    uint64_t cols = rank >= 2 && shape[0] ? w->elements / shape[0] : 1;
    if (rank == 3)
        cols = shape[2];
    if (rank == 5)
        return move_refuse(m, "does not have the axes of its kind");
    if (rank == 2 && w->rank == 2 && m->job->towers.model.family->swaps && m->job->to_gguf &&
        strstr(m->part.rule->gguf, ".ffn_down$") && w->shape[0] == w->shape[1])
        return move_refuse(m, "is square: llama.cpp exchanges the matrices of a feed-forward that is as wide as the "
                              "tower, so an mmproj of it computes something else; `mmproj` none converts the text "
                              "model alone");
    const uint64_t matrix[] = {w->elements / cols, cols};
    const organ_weight *const view = rank == 2 && w->rank == 2 ? w : move_view(m, rank >= 2 ? 2 : 1, matrix);
    if (!view)
        return m->error->status;
    organ_row_place all = organ_convert_all(view, move_piece(m, 0, rank, shape, cols), 0);
    all.function = move_function(m);
    return move_place(m, all, w->elements / cols);
}

/* Rows of heads in the order of their rotated pairs. */
static organ_status move_turned(const tower_move *m)
{
    const organ_weight *const w = m->weight;
    const uint64_t rows = w->shape[0], cols = w->rank == 2 ? w->shape[1] : 1, heads = m->job->towers.model.heads;
    if (w->rank < 1 || w->rank > 2 || rows % (2 * heads))
        return move_refuse(m, "has not an even number of rows for each head");
    organ_row_place place = organ_convert_all(w, move_piece(m, 0, w->rank, w->shape, cols), 0);
    place.block = place.rows = place.per_block = place.turned = rows / heads;
    place.pairs = m->job->to_gguf;
    place.halves = !m->job->to_gguf;
    return move_place(m, place, rows);
}

/* q, k and v. */
static organ_status move_thirds(const tower_move *m)
{
    const organ_weight *const w = m->weight;
    const uint64_t cols = w->rank == 2 ? w->shape[1] : 1;
    uint64_t shape[] = {w->shape[0], cols};
    if (w->rank < 1 || w->rank > 2 || (m->job->to_gguf && w->shape[0] % 3))
        return move_refuse(m, "is no matrix or vector of rows of q, k and v");
    if (!m->job->to_gguf) {
        shape[0] *= 3;
        const size_t piece = move_piece(m, 0, w->rank, shape, cols);
        return move_place(m, organ_convert_all(w, piece, m->part.part * w->shape[0]), w->shape[0]);
    }
    shape[0] /= 3;
    for (unsigned k = 0; k < 3 && !m->error->status; k++) {
        organ_row_place place = organ_convert_all(w, move_piece(m, k, w->rank, shape, cols), 0);
        place.block = place.rows = place.per_block = 1;
        place.from = k * shape[0];
        place.blocks = shape[0];
        move_place(m, place, shape[0]);
    }
    return m->error->status;
}

/* Frame t of a convolution: every second row of P x P values, from row t on. */
static organ_status move_frames(const tower_move *m)
{
    const organ_weight *const w = m->weight;
    const bool to_gguf = m->job->to_gguf;
    if (w->rank != (to_gguf ? 5 : 4) || w->shape[1] != COLOURS || (to_gguf && w->shape[2] != 2))
        return move_refuse(m, "is no convolution of three colours over two frames");
    const uint64_t side = w->shape[w->rank - 2], cols = side * w->shape[w->rank - 1], rows = w->shape[0] * COLOURS;
    const uint64_t matrix[] = {w->elements / cols, cols}, one[] = {w->shape[0], COLOURS, side, cols / side},
                   two[] = {w->shape[0], COLOURS, 2, side, cols / side};
    const organ_weight *const view = move_view(m, 2, matrix);
    for (unsigned t = 0; t < (to_gguf ? 2 : 1) && view && !m->error->status; t++) {
        const size_t piece = to_gguf ? move_piece(m, t, 4, one, cols) : move_piece(m, 0, 5, two, cols);
        organ_row_place place = organ_convert_all(view, piece, to_gguf ? 0 : m->part.part);
        place.block = to_gguf ? 2 : 1;
        place.first = to_gguf ? t : 0;
        place.rows = 1;
        place.per_block = to_gguf ? 1 : 2;
        move_place(m, place, rows);
    }
    return m->error->status;
}

/* The matrix of each of D outputs, [P P, 3], is transposed. */
static organ_status move_patches(const tower_move *m)
{
    const organ_weight *const w = m->weight;
    const bool to_gguf = m->job->to_gguf;
    const uint64_t side = m->job->towers.model.patch, pixels = side * side;
    if (w->rank != (to_gguf ? 2 : 4) || w->elements % w->shape[0] || w->elements / w->shape[0] != pixels * COLOURS)
        return move_refuse(m, "does not have three values for each pixel of a patch");
    const uint64_t from[] = {w->shape[0], to_gguf ? pixels : COLOURS, to_gguf ? COLOURS : pixels};
    const uint64_t convolution[] = {w->shape[0], COLOURS, side, side}, matrix[] = {w->shape[0], pixels * COLOURS};
    const organ_weight *const view = move_view(m, 3, from);
    if (!view)
        return m->error->status;
    organ_row_place place = organ_convert_all(
        view, to_gguf ? move_piece(m, 0, 4, convolution, from[1]) : move_piece(m, 0, 2, matrix, from[1]), 0);
    place.transposed = true;
    place.col_step = 1;
    place.cols = place.per_block = place.per_matrix = from[2];
    return move_place(m, place, from[0] * from[2]);
}

static organ_status move_plan(const tower_move *m)
{
    if (m->weight->elements == 0)
        return move_refuse(m, "is empty");
    switch (m->part.rule->change) {
    case TOWER_THIRDS:
        return move_thirds(m);
    case TOWER_FRAMES:
        return move_frames(m);
    case TOWER_TURNED:
        return move_turned(m);
    case TOWER_PATCHES:
        return move_patches(m);
    case TOWER_TOKEN:
        return ORGAN_OK; /* to safetensors: the embedding of the text model has the row */
    default:
        return move_whole(m);
    }
}

/* ---- the row of a token ---- */

/* Returns the token's number by the tokenizer of the model. */
static organ_status token_number(const organ_convert_job *job, uint64_t *number, organ_error *error)
{
    const char *const text = job->towers.model.family->token;
    organ_tokenizer *tokenizer = NULL;
    if (organ_tokenizer_open(job->model, &tokenizer, error))
        return error->status;
    const uint32_t id = organ_vocabulary_id(tokenizer, text, strlen(text));
    organ_tokenizer_close(tokenizer);
    *number = id;
    return id == ORGAN_NO_ROW
               ? organ_fail(error, ORGAN_BAD_INPUT,
                            "%s: the tokenizer has no token %s, whose embedding an mmproj of the kind %s "
                            "needs; `mmproj` none converts the text model alone",
                            job->model->path, text, job->towers.model.family->projector)
               : ORGAN_OK;
}

static const organ_weight *token_table(const organ_convert_job *job)
{
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        if (w->rank == 2 && organ_ends_with(w->name, "embed_tokens.weight"))
            return w;
    }
    return NULL;
}

static organ_status plan_token(organ_convert_job *job, const tower_rule *rule, organ_error *error)
{
    const organ_weight *const table = token_table(job);
    ORGAN_RELEASED_BY(organ_row_buffer_close) organ_row_buffer row = {0};
    const tower_part part = {.rule = rule, .number = -1};
    char name[TOWER_NAME];
    uint64_t number = 0;
    if (token_number(job, &number, error))
        return error->status;
    if (!table || number >= table->shape[0])
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the embedding has no row of the token %s", job->model->path,
                          job->towers.model.family->token);
    organ_tower_name(&job->towers.model, /*gguf=*/true, &part, name);
    if (organ_row_buffer_open(&row, job->model, table, job->engine->kernels, 1, /*whole_steps=*/false, error) ||
        organ_row_buffer_read(&row, number, 1, error))
        return error->status;
    organ_convert_computed_piece(job, name, 1, row.values, table->shape[1], error);
    return error->status;
}

/* ---- all tensors ---- */

typedef struct tower_found {
    const organ_weight *weight;
    tower_part part;
} tower_found;

/* The order does not depend on that of the model's files, so that all layouts of names give the same mmproj. */
static int found_order(const void *a, const void *b)
{
    const tower_part *const x = &((const tower_found *)a)->part, *const y = &((const tower_found *)b)->part;
    return ORGAN_ORDERS(ORGAN_ORDER(x->number, y->number), ORGAN_ORDER(x->rule, y->rule), ORGAN_ORDER(x->bias, y->bias),
                        ORGAN_ORDER(x->part, y->part));
}

static organ_status towers_find(organ_convert_job *job, tower_found *found, size_t *count, organ_error *error)
{
    const convert_towers *const t = &job->towers;
    const organ_weights *const all = job->to_gguf ? job->weights : t->weights;
    for (size_t k = 0; k < all->count && !error->status; k++) {
        const tower_move move = {job, &all->weights[k], {0}, error};
        tower_found *const next = &found[*count];
        next->weight = move.weight;
        if (job->to_gguf && !organ_convert_is_tower(job, move.weight))
            continue;
        if (organ_tower_find(&t->model, !job->to_gguf, move.weight->name, &next->part))
            (*count)++;
        else if (job->to_gguf && organ_tower_is_left_out(t->model.family, move.weight->name)) {
            if (job->dropped++ == 0)
                job->dropped_name = move.weight->name;
        } else
            move_refuse(&move, job->to_gguf ? "belongs to a tower, and organ has no rule for it in an mmproj; `mmproj` "
                                              "none converts the text model alone"
                                            : "of the mmproj has no name in safetensors of this model");
    }
    return error->status;
}

static bool rule_hears(const tower_rule *rule)
{
    return rule->gguf[0] == 'a' || strncmp(rule->gguf, "mm.a.", strlen("mm.a.")) == 0;
}

/* The number of a block is below their count. */
static organ_status check_number(const tower_move *m)
{
    const tower_model *const t = &m->job->towers.model;
    const tower_rule *const rule = m->part.rule;
    const uint64_t blocks = rule_hears(rule) ? t->audio_blocks : t->blocks;
    return rule->numbered || rule->deep || m->part.number < 0 || (uint64_t)m->part.number < blocks
               ? ORGAN_OK
               : move_refuse(m, "belongs to a block that the tower does not have");
}

/* Returns how many tensors of a rule a model must have. */
static uint64_t rule_needs(const organ_convert_job *job, const tower_rule *rule)
{
    const tower_model *const t = &job->towers.model;
    const bool hears = rule_hears(rule);
    const uint64_t parts = job->to_gguf ? 1 : organ_tower_parts(rule);
    if (hears && !t->has_audio)
        return 0;
    if (!strchr(rule->hf, '#') || rule->numbered)
        return parts;
    const uint64_t blocks = hears ? t->audio_blocks : t->blocks;
    return parts * (rule->deep ? t->deep_count : blocks);
}

static organ_status rule_refuse(const organ_convert_job *job, const tower_rule *rule, uint64_t has, uint64_t needs,
                                organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: has %" PRIu64 " tensors '%s' of a tower that needs %" PRIu64,
                      job->to_gguf ? job->model->path : job->towers.file->path, has,
                      job->to_gguf ? rule->hf : rule->gguf, needs);
}

/* llama.cpp runs towers that lack tensors, with other results: all blocks must have the same ones. */
static organ_status towers_check(const organ_convert_job *job, const tower_found *found, size_t count,
                                 organ_error *error)
{
    for (const tower_rule *rule = job->towers.model.family->rules; rule->hf && !error->status; rule++) {
        const uint64_t needs = rule_needs(job, rule);
        uint64_t has[2] = {0, 0};
        if (rule->change == TOWER_TOKEN)
            continue;
        for (size_t k = 0; k < count; k++)
            has[found[k].part.bias] += found[k].part.rule == rule;
        const bool optional = rule->optional && (rule->numbered || has[0] == 0);
        if (!optional && has[0] != needs)
            rule_refuse(job, rule, has[0], needs, error);
        else if (has[1] && has[1] != needs)
            rule_refuse(job, rule, has[1], needs, error);
    }
    return error->status;
}

static organ_status towers_plan_all(organ_convert_job *job, const tower_found *found, size_t count, organ_error *error)
{
    for (size_t k = 0; k < count && !error->status; k++) {
        const tower_move move = {job, found[k].weight, found[k].part, error};
        if (check_number(&move))
            return error->status;
        convert_source *const source = &job->sources[job->source_count];
        *source = (convert_source){
            .weight = move.weight, .own = move.weight, .first = job->place_count, .tower = !job->to_gguf};
        if (move_plan(&move) == ORGAN_OK)
            job->source_count += source->count > 0;
        organ_rows_passed();
    }
    job->sources[job->source_count] = (convert_source){0};
    for (const tower_rule *rule = job->towers.model.family->rules; rule->hf && job->to_gguf && !error->status; rule++)
        if (rule->change == TOWER_TOKEN)
            plan_token(job, rule, error);
    return error->status;
}

organ_status organ_convert_plan_towers(organ_convert_job *job, organ_error *error)
{
    convert_towers *const t = &job->towers;
    size_t count = 0;
    t->first = job->piece_count;
    if (!t->written)
        return ORGAN_OK;
    ORGAN_OWNED tower_found *const found = calloc((job->to_gguf ? job->weights : t->weights)->count + 1, sizeof *found);
    if (!found)
        return organ_fail_memory(error, job->options->model);
    if (towers_find(job, found, &count, error))
        return error->status;
    qsort(found, count, sizeof *found, found_order);
    if (towers_check(job, found, count, error) || towers_plan_all(job, found, count, error))
        return error->status;
    if (t->plain)
        organ_progress_warn(job->progress, "%zu matri%s of the towers, whose rows %s does not divide, %s F16", t->plain,
                            t->plain == 1 ? "x" : "ces", organ_dtype_name(t->type), t->plain == 1 ? "is" : "are");
    return ORGAN_OK;
}
