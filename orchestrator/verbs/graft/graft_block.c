/* SPDX-License-Identifier: MIT
 * --select mtp: the blocks for multi-token prediction of the source, in place of those that the target has. Both models
 * must have one type of blocks and equal settings, because a block is a layer that the trunk's settings describe. */
#include "orchestrator/verbs/graft/graft_block.h"

#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- settings ---- */

/* Settings of the trunk alone, and those that organ_graft_compare_sizes compares. */
static bool concerns_block(const char *what)
{
    static const char *const others[] = {"hidden_size",
                                         "vocab_size",
                                         "max_position_embeddings",
                                         "intermediate_size",
                                         "heads of recurrent layers",
                                         "groups of recurrent layers",
                                         "limits of time steps",
                                         NULL};
    return !organ_is_one_of(what, others);
}

static const char *kind_of_setting(const char *what)
{
    if (strncmp(what, "rope", 4) == 0 || strncmp(what, "rotated", 7) == 0)
        return "rotary settings";
    return strstr(what, "norms multiply") ? "norm offset" : "settings";
}

static organ_status compare_block_settings(organ_graft_job *job, organ_error *error)
{
    const organ_settings_side sides[] = {{job->source, "source"}, {job->target, "target"}};
    ORGAN_OWNED_JSON json_t *const rows = json_array();
    size_t k;
    const json_t *row;
    if (!rows)
        return organ_fail_memory(error, job->options->target);
    if (organ_settings_compare(sides, 2, /*form=*/1, /*by_layer=*/false, rows, job->notes, error))
        return error->status;
    json_array_foreach(rows, k, row)
    {
        const char *const what = json_string_value(json_object_get(row, "what")), *const values = json_string_value(
                                                                                      json_object_get(row, "values"));
        if (concerns_block(what))
            organ_say(job->mismatches, "%s: %s (%s)", kind_of_setting(what), what, values);
    }
    return ORGAN_OK;
}

/* The reasons why a block of another type would compute something else. */
static void compare_families(const organ_graft_job *job)
{
    const graft_block_side *const from = &job->block.source, *const to = &job->block.target;
    if (organ_mtp_same(from->type, to->type))
        return;
    organ_say(job->mismatches, "family: the source has a block of %s, the target is a model like %s", from->type->name,
              to->type->name);
    if (from->family->hidden_first != to->family->hidden_first)
        organ_say(job->mismatches,
                  "order: the projection of the source's block reads the %s first, that of the target's the %s",
                  from->family->hidden_first ? "state" : "embedding", to->family->hidden_first ? "state" : "embedding");
    if (from->family->raw_state != to->family->raw_state)
        organ_say(job->mismatches,
                  "state: the source's block reads the state %s the model's final norm, the target's %s it",
                  from->family->raw_state ? "before" : "after", to->family->raw_state ? "before" : "after");
}

static organ_status compare_sides(organ_graft_job *job, organ_error *error)
{
    compare_families(job);
    organ_graft_compare_sizes(job, ORGAN_GROUP_OTHER);
    organ_graft_compare_sizes(job, ORGAN_GROUP_EMBED);
    organ_graft_compare_tokens(job);
    return compare_block_settings(job, error);
}

/* ---- names ---- */

/* Returns what follows "layers.N." or "blk.N." in a name. */
static const char *after_number(const char *name, int32_t layer)
{
    char number[16];
    const size_t length = (size_t)snprintf(number, sizeof number, ".%d.", (int)layer);
    const char *const at = strstr(name, number);
    return at ? at + length : NULL;
}

/* Splits the name of a block's tensor. *part: DRAFT_PARTS for a tensor of its layer, whose name there is *tail. */
static bool split_block_name(const graft_block_side *side, const organ_tensor *tensor, organ_draft_part *part,
                             const char **tail)
{
    const bool gguf = side->model->gguf != NULL, whole = side->family->layer_prefix && !gguf;
    const char *const name = whole ? tensor->name : after_number(tensor->name, tensor->anatomy.layer);
    unsigned layer;
    return name && organ_draft_find(side->family, gguf, name, &layer, part, tail);
}

/* Returns how the names of the trunk's layers begin: "model.layers". */
static size_t layer_prefix_of(const organ_model *model, int32_t trunk, const char **name)
{
    for (size_t t = 0; t < model->tensor_count; t++) {
        const int32_t layer = model->tensors[t].anatomy.layer;
        const char *const tail = layer >= 0 && layer < trunk ? after_number(model->tensors[t].name, layer) : NULL;
        char number[16];
        if (!tail)
            continue;
        *name = model->tensors[t].name;
        return (size_t)(tail - *name) - (size_t)snprintf(number, sizeof number, ".%d.", (int)layer);
    }
    return 0;
}

/* Blocks that continue the layers get the numbers after those of the target's trunk. */
static bool write_target_name(const organ_graft_job *job, const organ_tensor *from, char name[ORGAN_COUNTERPART_SIZE])
{
    const graft_block_side *const source = &job->block.source, *const target = &job->block.target;
    const char *layer_prefix;
    if (from->anatomy.layer < 0)
        return snprintf(name, ORGAN_COUNTERPART_SIZE, "%s", from->name) < ORGAN_COUNTERPART_SIZE;
    const size_t length = layer_prefix_of(target->model, target->trunk, &layer_prefix);
    const char *const tail = after_number(from->name, from->anatomy.layer);
    return length && tail &&
           snprintf(name, ORGAN_COUNTERPART_SIZE, "%.*s.%d.%s", (int)length, layer_prefix,
                    (int)(from->anatomy.layer - source->trunk + target->trunk), tail) < ORGAN_COUNTERPART_SIZE;
}

/* ---- shapes and completeness ---- */

static const organ_tensor *in_layer(const organ_graft_job *job, int32_t layer, const char *tail)
{
    const graft_block_side *const target = &job->block.target;
    char name[ORGAN_COUNTERPART_SIZE];
    const char *layer_prefix;
    const size_t length = layer_prefix_of(target->model, target->trunk, &layer_prefix);
    snprintf(name, sizeof name, "%.*s.%d.%s", (int)length, layer_prefix, (int)layer, tail);
    return organ_model_find(target->model, name);
}

/* A block may have tensors of its own that the target has once, outside its layers: DeepSeek-V4's hc_head_fn. */
static bool is_outside_layers(const organ_graft_job *job, const char *tail)
{
    return strcmp(tail, "embed_tokens.weight") == 0 || organ_model_find(job->target, tail);
}

/* Returns whether the layer of the target has q, k and v apart, which joined have the shape of the block's tensor. */
static bool is_joined_in(const organ_graft_job *job, int32_t layer, const organ_tensor *from)
{
    uint64_t rows = 0;
    for (size_t k = 0; k < 3; k++) {
        const organ_tensor *const part = in_layer(job, layer, organ_draft_apart[k]);
        if (!part || part->rank != 2 || from->rank != 2 || part->shape[1] != from->shape[1])
            return false;
        rows += part->shape[0];
    }
    return rows == from->shape[0];
}

static bool is_joined(const organ_graft_job *job, const char *tail)
{
    const graft_block_side *const s = &job->block.source;
    return s->model->gguf && s->family->joined &&
           strcmp(tail, organ_draft_joined(s->family, organ_draft_apart[0])) == 0;
}

/* A matrix of the block's layer has the shape that it has in one of the trunk's layers, whose settings are the
 * block's. Packed weights are compared by their schemes. */
static void check_shape(const organ_graft_job *job, const organ_tensor *from, const char *tail)
{
    char ours[ORGAN_SHAPE_TEXT], theirs[ORGAN_SHAPE_TEXT];
    const organ_tensor *any = organ_model_find(job->target, tail);
    if (from->rank < 2 || (any ? ORGAN_SAME_SHAPE(any, from) : is_outside_layers(job, tail)))
        return;
    for (int32_t l = job->block.target.trunk - 1; l >= 0; l--) {
        const organ_tensor *const like = in_layer(job, l, tail);
        if (like ? ORGAN_SAME_SHAPE(like, from) : is_joined(job, tail) && is_joined_in(job, l, from))
            return;
        any = any ? any : like;
    }
    if (any)
        organ_say(job->mismatches, "shape of %s: %s in the block, %s in the target's layers", from->name,
                  organ_shape_text(from->rank, from->shape, ours), organ_shape_text(any->rank, any->shape, theirs));
    else if (!job->packed)
        organ_say(job->mismatches, "%s of the block has no counterpart in the target's layers", from->name);
}

static void check_part(const organ_graft_job *job, const organ_tensor *from, organ_draft_part part)
{
    const graft_block_side *const s = &job->block.source;
    const uint64_t hidden = (uint64_t)job->target->config.hidden_size;
    const bool halved = s->family->parts[DRAFT_PROJECT_STATE] && !s->model->gguf;
    const uint64_t shapes[2] = {hidden, halved ? hidden : 2 * hidden};
    char ours[ORGAN_SHAPE_TEXT], wanted[ORGAN_SHAPE_TEXT];
    const unsigned rank = organ_draft_is_matrix(part) ? 2 : 1;
    if (part == DRAFT_HEAD || job->target->config.hidden_size <= 0 || from->dtype == ORGAN_I32 ||
        organ_shape_equal(from->rank, from->shape, rank, shapes))
        return;
    organ_say(job->mismatches, "shape of %s: %s, not %s", from->name, organ_shape_text(from->rank, from->shape, ours),
              organ_shape_text(rank, shapes, wanted));
}

/* Each block has the parts of its family. A GGUF block without a norm before the head has the model's. */
static void check_parts(const organ_graft_job *job)
{
    const graft_block_side *const s = &job->block.source;
    const bool gguf = s->model->gguf != NULL;
    const int32_t count = s->family->shared && !gguf ? 1 : s->blocks;
    for (int32_t b = 0; b < count; b++)
        for (organ_draft_part p = 0; p < DRAFT_PARTS; p++) {
            char part[256], name[ORGAN_COUNTERPART_SIZE];
            if (p == DRAFT_HEAD || (gguf && p == DRAFT_NORM_HEAD) || !s->family->parts[p] ||
                !organ_draft_name(s->family, gguf, (unsigned)b, p, part))
                continue;
            const bool inside = gguf || !s->family->layer_prefix;
            bool found = false;
            for (size_t t = 0; t < s->model->tensor_count && !found; t++) {
                const organ_tensor *const tensor = &s->model->tensors[t];
                const char *const tail =
                    tensor->anatomy.layer == s->trunk + b ? after_number(tensor->name, tensor->anatomy.layer) : NULL;
                const char *const own = inside ? tail : tensor->name;
                const size_t length = strlen(part) - strlen(".weight");
                /* "eh_proj.weight", or "eh_proj.weight_packed" and others */
                found = own && strncmp(own, part, length) == 0 && own[length] == '.';
            }
            snprintf(name, sizeof name, "%s", part);
            if (!found)
                organ_say(job->mismatches, "block: the source's block is not complete: it has no %s", name);
        }
}

/* Returns the layer of the trunk that has all tensors of block 0's layer except norms; -1: none has, and the block is
 * like none. */
static int32_t layer_like(const organ_graft_job *job)
{
    const graft_block_side *const s = &job->block.source;
    for (int32_t l = job->block.target.trunk - 1; l >= 0; l--) {
        bool all = true;
        for (size_t t = 0; t < s->model->tensor_count && all; t++) {
            const organ_tensor *const tensor = &s->model->tensors[t];
            organ_draft_part part;
            const char *tail;
            if (organ_mtp_block_of(tensor->name, &tensor->anatomy, s->trunk) == 0 &&
                split_block_name(s, tensor, &part, &tail) && part == DRAFT_PARTS && tensor->rank > 1 &&
                !is_outside_layers(job, tail))
                all = in_layer(job, l, tail) || (is_joined(job, tail) && in_layer(job, l, organ_draft_apart[0]));
        }
        if (all)
            return l;
    }
    return -1;
}

static bool has_tail(const graft_block_side *side, int32_t block, const char *wanted)
{
    for (size_t t = 0; t < side->model->tensor_count; t++) {
        const organ_tensor *const tensor = &side->model->tensors[t];
        organ_draft_part part;
        const char *tail;
        if (organ_mtp_block_of(tensor->name, &tensor->anatomy, side->trunk) == block &&
            split_block_name(side, tensor, &part, &tail) && part == DRAFT_PARTS && strcmp(tail, wanted) == 0)
            return true;
    }
    return false;
}

/* Each block has the matrices of the layer that it is like. */
static void check_layer(const organ_graft_job *job)
{
    const organ_model *const target = job->target;
    const int32_t like = job->packed ? -1 : layer_like(job);
    for (size_t t = 0; t < target->tensor_count && like >= 0; t++) {
        const organ_tensor *const tensor = &target->tensors[t];
        const char *const tail =
            tensor->anatomy.layer == like && tensor->rank > 1 ? after_number(tensor->name, like) : NULL;
        const char *const joined = tail && target->gguf ? organ_draft_joined(job->block.source.family, tail) : NULL;
        for (int32_t b = 0; b < job->block.source.blocks && tail; b++)
            if (!has_tail(&job->block.source, b, tail) && !(joined && has_tail(&job->block.source, b, joined)))
                organ_say(job->mismatches, "block: the source's block %d is not complete: it has no %s", (int)b, tail);
    }
}

/* ---- tensors of the output ---- */

static bool is_in_block(const graft_block_side *side, const organ_tensor *tensor)
{
    return organ_mtp_block_of(tensor->name, &tensor->anatomy, side->trunk) >= 0;
}

/* A tensor of the same name, type and shape is replaced in its place, so that the header can stay. */
static organ_status put_tensor(organ_graft_job *job, const organ_tensor *from, organ_error *error)
{
    char name[ORGAN_COUNTERPART_SIZE];
    if (!write_target_name(job, from, name)) {
        organ_say(job->mismatches, "%s of the source has no name in the target", from->name);
        return ORGAN_OK;
    }
    const organ_tensor *const found = organ_model_find(job->target, name);
    organ_piece *piece = found ? &job->layout.pieces[found - job->target->tensors] : NULL;
    if (piece && found->dtype == from->dtype && ORGAN_SAME_SHAPE(found, from)) {
        job->taken[found - job->target->tensors] = true;
        piece->model = job->source;
        piece->same = from;
        piece->known = NULL;
        return ORGAN_OK;
    }
    piece = &job->layout.pieces[job->layout.piece_count];
    *piece = organ_graft_piece(job, from, name);
    piece->offset = UINT64_MAX; /* after the target's tensors of the same type */
    job->taken[job->layout.piece_count++] = true;
    job->written_again = true;
    return piece->name ? ORGAN_OK : organ_fail_memory(error, name);
}

static void put_pair(organ_graft_job *job, int32_t block)
{
    job->pairs[job->pair_count++] =
        (organ_layer_pair){job->block.source.trunk + block, job->block.target.trunk + block, -1};
}

static organ_status put_block(organ_graft_job *job, organ_error *error)
{
    const organ_model *const source = job->source, *const target = job->target;
    const bool grown = organ_layout_grow(&job->layout, source->tensor_count);
    job->taken = calloc(job->layout.piece_count + source->tensor_count + 1, sizeof *job->taken);
    job->pairs = organ_rows_take((size_t)job->block.source.blocks + 1, sizeof *job->pairs);
    if (!grown || !job->taken || !job->pairs)
        return organ_fail_memory(error, job->options->target);
    for (size_t t = 0; t < source->tensor_count && !error->status; t++)
        if (is_in_block(&job->block.source, &source->tensors[t]))
            put_tensor(job, &source->tensors[t], error);
    for (size_t t = 0; t < target->tensor_count; t++)
        if (is_in_block(&job->block.target, &target->tensors[t]) && !job->taken[t]) {
            job->layout.pieces[t].model = NULL;
            job->written_again = job->block.removed = true;
        }
    for (int32_t b = 0; b < job->block.source.blocks; b++)
        put_pair(job, b);
    return error->status;
}

static void check_block_tensors(organ_graft_job *job)
{
    const graft_block_side *const s = &job->block.source;
    for (size_t t = 0; t < s->model->tensor_count; t++) {
        const organ_tensor *const tensor = &s->model->tensors[t];
        organ_draft_part part;
        const char *tail;
        if (!is_in_block(s, tensor))
            continue;
        if (!split_block_name(s, tensor, &part, &tail))
            organ_say(job->mismatches, "%s of the source is no tensor of a block of %s", tensor->name, s->type->name);
        else if (part == DRAFT_PARTS)
            check_shape(job, tensor, tail);
        else
            check_part(job, tensor, part);
    }
    check_parts(job);
    check_layer(job);
}

static void note_block(organ_graft_job *job)
{
    const graft_block_side *const s = &job->block.source;
    organ_say(job->notes, "The source has %d block%s for multi-token prediction, named as in %s; the target had %d.",
              (int)s->blocks, s->blocks == 1 ? "" : "s", s->type->name, (int)job->block.target.blocks);
    if (s->type->dispute)
        organ_say(job->notes, "Programs run such a block differently: %s.", s->type->dispute);
}

/* An output of one safetensors file has no config.json, and one GGUF file of several has no header of its own. */
static void check_output(const organ_graft_job *job)
{
    if (job->names_differ)
        organ_say(job->mismatches,
                  "format: the source is %s and the target is %s: organ convert brings the source into the target's "
                  "format, with `mtp` only to GGUF",
                  job->source->gguf ? "GGUF" : "safetensors", job->target->gguf ? "GGUF" : "safetensors");
    else if (!job->target->gguf && job->single)
        organ_say(job->mismatches, "output: config.json of the output must count the block: name a directory");
    else if (job->target->gguf && !organ_graft_header_is_free(job))
        organ_say(job->mismatches, "output: key-values of the output must count the block: name one .gguf file");
}

organ_status organ_graft_plan_block(organ_graft_job *job, organ_error *error)
{
    graft_block *const b = &job->block;
    b->source = (graft_block_side){.model = job->source, .label = "source", .config = &job->source_config};
    b->target = (graft_block_side){.model = job->target, .label = "target", .config = &job->target_config};
    job->names_differ = (job->source->gguf != NULL) != (job->target->gguf != NULL);
    check_output(job);
    if (organ_graft_read_side(&b->source, job->mismatches, error) ||
        organ_graft_read_side(&b->target, job->mismatches, error))
        return error->status;
    organ_graft_check_side(&b->source, /*needed=*/true, job->mismatches);
    organ_graft_check_side(&b->target, /*needed=*/false, job->mismatches);
    if (b->source.type && b->target.type && compare_sides(job, error))
        return error->status;
    if (json_array_size(job->mismatches))
        return ORGAN_OK;
    if (organ_graft_packed_block(job, error))
        return error->status;
    check_block_tensors(job);
    if (json_array_size(job->mismatches) || put_block(job, error))
        return error->status;
    const int64_t counted = job->target->gguf ? job->target->config.num_hidden_layers : b->target.trunk;
    job->source_layers = b->source.trunk;
    job->target_layers = (int32_t)counted;
    job->layers_after = b->target.trunk + (job->target->gguf ? b->source.blocks : 0);
    organ_graft_remove_pieces(job);
    note_block(job);
    return job->target->gguf ? ORGAN_OK : organ_graft_try_config(job, /*kinds=*/NULL, error);
}
