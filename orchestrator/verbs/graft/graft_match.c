/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/graft/graft_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/architecture/sizes.h"
#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_settings.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static organ_status fail_memory(const organ_graft_job *job, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s", job->options->target);
}

/* ---- layers ---- */

static int by_from(const void *a, const void *b)
{
    const organ_layer_pair *const x = a, *const y = b;
    return ORGAN_ORDER(x->from, y->from);
}

static int by_to(const void *a, const void *b)
{
    const organ_layer_pair *const x = a, *const y = b;
    return x->to != y->to ? (x->to > y->to) - (x->to < y->to) : by_from(a, b);
}

static int32_t layer_count(const organ_model *model)
{
    int32_t highest = -1;
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.layer > highest)
            highest = model->tensors[t].anatomy.layer;
    return highest < INT32_MAX ? highest + 1 : highest;
}

/* Only source layers with selected tensors have a pair. */
static organ_status pair_layers(organ_graft_job *job, organ_error *error)
{
    size_t count = 0;
    job->pairs = organ_rows_take(job->source->tensor_count + 1, sizeof *job->pairs);
    if (!job->pairs)
        return fail_memory(job, error);
    for (size_t t = 0; t < job->source->tensor_count; t++) {
        const organ_tensor *const tensor = &job->source->tensors[t];
        if (organ_selected(&job->selection, tensor) && tensor->anatomy.layer >= 0)
            job->pairs[count++] =
                (organ_layer_pair){tensor->anatomy.layer, organ_layer_mapped(&job->map, tensor->anatomy.layer), -1};
    }
    qsort(job->pairs, count, sizeof *job->pairs, by_from); /* one entry for each tensor: drop repeated layers */
    for (size_t k = 0; k < count; k++)
        if (k == 0 || job->pairs[k].from != job->pairs[k - 1].from)
            job->pairs[job->pair_count++] = job->pairs[k];
    qsort(job->pairs, job->pair_count, sizeof *job->pairs, by_to);
    for (size_t k = 1; k < job->pair_count; k++)
        if (job->pairs[k].to == job->pairs[k - 1].to)
            return organ_fail(
                error, ORGAN_USAGE,
                "layers %d and %d of the source would both become layer %d: `map` must give each its own position",
                (int)job->pairs[k - 1].from, (int)job->pairs[k].from, (int)job->pairs[k].to);
    return ORGAN_OK;
}

/* Layers can be added only at the end, without a gap, and only if the header can change. */
static void check_layers(organ_graft_job *job)
{
    for (size_t k = 0; k < job->selection.span_count; k++) {
        const organ_layer_span *const span = &job->selection.spans[k];
        if (span->to >= job->source_layers)
            organ_say(job->mismatches, "layer count: layers %d-%d were requested, but the source has %d (0-%d)",
                      (int)span->from, (int)span->to, (int)job->source_layers, (int)job->source_layers - 1);
    }
    job->layers_after = job->target_layers;
    for (size_t k = 0; k < job->pair_count; k++) {
        const organ_layer_pair *const pair = &job->pairs[k];
        if (pair->to < job->target_layers)
            continue;
        if (!organ_graft_header_is_free(job))
            organ_say(job->mismatches,
                      "layer count: layer %d of the source would become layer %d of a target that has %d (0-%d), "
                      "and layers can be "
                      "added to a GGUF file only",
                      (int)pair->from, (int)pair->to, (int)job->target_layers, (int)job->target_layers - 1);
        else if (pair->to != job->layers_after)
            organ_say(job->mismatches, "layer count: layer %d would be added to the target, but not layer %d before it",
                      (int)pair->to, (int)job->layers_after);
        else
            job->layers_after++;
    }
}

/* ---- configurations of both models ---- */

static bool graft_selects(const organ_graft_job *job, organ_group group) { return job->groups >> group & 1; }

void organ_graft_compare_sizes(const organ_graft_job *job, organ_group group)
{
    for (size_t k = 0; k < ORGAN_SIZES; k++) {
        const organ_size *const size = &organ_sizes[k];
        const int64_t source = organ_size_value(size, &job->source->config),
                      target = organ_size_value(size, &job->target->config);
        if (size->group == group && size->what && source >= 0 && target >= 0 && source != target)
            organ_say(job->mismatches, "%s: %lld in the source, %lld in the target", size->what, (long long)source,
                      (long long)target);
    }
}

static void architecture_of(const organ_model *model, char out[96])
{
    size_t length = 0;
    const char *const text = model->gguf ? organ_gguf_string(model->gguf, "general.architecture", &length) : NULL;
    snprintf(out, 96, "%.*s", (int)(length < 95 ? length : 95), text ? text : "");
}

/* In GGUF files of some architectures the converter of llama.cpp has permuted the rows of q and k for RoPE. */
static void compare_rope(organ_graft_job *job)
{
    char source[96], target[96];
    architecture_of(job->source, source);
    architecture_of(job->target, target);
    /* whether the rows keep the order of safetensors, in the source and in the target */
    const bool straight = !*source || organ_keeps_rope_rows(source), other = !*target || organ_keeps_rope_rows(target);
    if (straight == other || !graft_selects(job, ORGAN_GROUP_SKELETON))
        return;
    const bool source_permuted = !straight;
    organ_say(job->mismatches,
              "rope: in GGUF files of architecture '%s' the rows of q and k are (or may be) permuted within each "
              "head, in the %s they are not: attention cannot be grafted",
              source_permuted ? source : target, source_permuted ? "target" : "source");
}

/* If vocabularies of one size differ, rows of the embedding would belong to other tokens. Models that are not GGUF
 * are not compared. */
void organ_graft_compare_tokens(const organ_graft_job *job)
{
    static const char key[] = "tokenizer.ggml.tokens";
    const organ_gguf_kv *const a = job->source->gguf ? organ_gguf_find(job->source->gguf, key) : NULL;
    const organ_gguf_kv *const b = job->target->gguf ? organ_gguf_find(job->target->gguf, key) : NULL;
    if (a && b && a->count == b->count && (a->size != b->size || memcmp(a->bytes, b->bytes, a->size) != 0))
        organ_say(job->mismatches, "vocabulary: %llu tokens in both, but different ones", (unsigned long long)a->count);
}

/* A difference that makes the result unusable is a mismatch, another architecture only a note. */
static void compare_facts(organ_graft_job *job)
{
    char source[96], target[96];
    organ_graft_compare_sizes(job, ORGAN_GROUP_OTHER);
    if (graft_selects(job, ORGAN_GROUP_SKELETON))
        organ_graft_compare_sizes(job, ORGAN_GROUP_SKELETON);
    if (graft_selects(job, ORGAN_GROUP_ORGAN))
        organ_graft_compare_sizes(job, ORGAN_GROUP_ORGAN);
    if (graft_selects(job, ORGAN_GROUP_EMBED) && !job->selection.span_count) {
        organ_graft_compare_sizes(job, ORGAN_GROUP_EMBED);
        organ_graft_compare_tokens(job);
    }
    compare_rope(job);
    architecture_of(job->source, source);
    architecture_of(job->target, target);
    if (job->names_differ && graft_selects(job, ORGAN_GROUP_NORM) &&
        organ_pairing_has_trait(*source ? source : target, PAIRING_NORMS_PLUS_ONE))
        organ_say(job->mismatches, "norms: GGUF files of architecture '%s' store them plus 1, the other model does not",
                  *source ? source : target);
    if (!organ_settings_agree(job->source, job->target))
        organ_say(job->notes, "The architectures differ: '%s' in the source, '%s' in the target.",
                  organ_settings_architecture(job->source, source), organ_settings_architecture(job->target, target));
}

/* The architecture has a note of its own. */
organ_status organ_graft_compare_settings(organ_graft_job *job, organ_error *error)
{
    const organ_settings_side sides[] = {{job->source, "source"}, {job->target, "target"}};
    if (organ_settings_compare(sides, 2, /*form=*/1, /*by_layer=*/false, job->clashes, /*notes=*/NULL, error))
        return error->status;
    organ_settings_say(job->clashes, job->notes);
    return ORGAN_OK;
}

/* ---- tensors ---- */

/* job->pairs is ordered by `to`. Returns NULL if no layer becomes layer `to`. */
static const organ_layer_pair *pair_at(const organ_graft_job *job, int32_t to)
{
    size_t low = 0, high = job->pair_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (job->pairs[middle].to < to)
            low = middle + 1;
        else
            high = middle;
    }
    return low < job->pair_count && job->pairs[low].to == to ? &job->pairs[low] : NULL;
}

/* Returns whether the grafted layer `to` may have other tensors than the target's: the graft then rewrites config.json
 * for it. Packed weights may not, because the quantization_config of their model describes them. */
static bool may_differ(const organ_graft_job *job, int32_t to)
{
    const unsigned all =
        1u << ORGAN_GROUP_SKELETON | 1u << ORGAN_GROUP_ORGAN | 1u << ORGAN_GROUP_NORM | 1u << ORGAN_GROUP_OTHER;
    const bool whole = !job->selection.words || (job->selection.groups & all) == all;
    const organ_layer_pair *const pair = to < 0 || job->packed || !whole ? NULL : pair_at(job, to);
    return pair && organ_graft_is_described(job, pair);
}

/* A tensor of another kind of layer: another layer of the target has it with this shape, so that the sizes of which
 * config.json has one for all layers are the target's. */
static bool is_of_other_kind(const organ_graft_job *job, const organ_tensor *from, const char *name, int32_t to)
{
    const organ_anatomy anatomy = organ_anatomy_of(name);
    char sibling[ORGAN_COUNTERPART_SIZE];
    for (int32_t l = 0; may_differ(job, to) && l < job->target_layers; l++) {
        const organ_tensor *const like = organ_counterpart_at(name, &anatomy, l, sibling, sizeof sibling)
                                             ? organ_model_find(job->target, sibling)
                                             : NULL;
        if (like && ORGAN_SAME_SHAPE(like, from))
            return true;
    }
    return false;
}

/* On entry piece->dtype is the type of the replaced tensor. A matrix keeps its type if the header can be
 * rewritten and GGUF has the type. Any other tensor is converted to the type of the replaced tensor (for vectors
 * usually F32, which inference programs require). */
static void choose_type(organ_graft_job *job, const organ_tensor *from, organ_piece *piece)
{
    const organ_dtype requested = piece->dtype;
    const bool fits = organ_dtype_describe(from->dtype)->ggml >= 0 && from->rank <= 4;
    if (from->dtype == requested)
        return;
    if (organ_graft_header_is_free(job) && fits && from->rank >= 2) {
        piece->dtype = from->dtype;
        piece->bytes = from->bytes;
        job->written_again = true;
    } else if (organ_can_widen(from->dtype) && organ_can_narrow(requested)) {
        job->converted++;
    } else {
        organ_say(job->mismatches, "type of %s: %s in the source, %s in the target, which cannot be converted",
                  piece->name, organ_dtype_describe(from->dtype)->name, organ_dtype_describe(requested)->name);
    }
}

organ_piece organ_graft_piece(organ_graft_job *job, const organ_tensor *from, const char *name)
{
    organ_piece piece = organ_piece_same(from);
    piece.name = organ_arena_copy(&job->layout.arena, name, strlen(name));
    piece.model = job->source;
    piece.anatomy = organ_anatomy_of(name);
    piece.file = 0;
    return piece;
}

/* The tensor of the source stands for one of another shape. */
static void put_other_shape(organ_graft_job *job, const organ_tensor *from, organ_piece *piece)
{
    const organ_piece other = *piece;
    *piece = organ_piece_same(from);
    piece->name = other.name;
    piece->model = job->source;
    piece->anatomy = other.anatomy;
    piece->file = other.file;
    job->written_again = true;
}

static void replace_tensor(organ_graft_job *job, const organ_tensor *from, size_t k)
{
    organ_piece *const piece = &job->layout.pieces[k];
    char source[ORGAN_SHAPE_TEXT], target[ORGAN_SHAPE_TEXT];
    job->taken[k] = true;
    organ_shape_text(from->rank, from->shape, source);
    organ_shape_text(piece->rank, piece->shape, target);
    if (!ORGAN_SAME_SHAPE(from, piece) && is_of_other_kind(job, from, piece->name, piece->anatomy.layer)) {
        put_other_shape(job, from, piece);
        return;
    }
    if (!ORGAN_SAME_SHAPE(from, piece)) {
        organ_say(job->mismatches, "shape of %s: %s in the source, %s in the target", piece->name, source, target);
        return;
    }
    choose_type(job, from, piece);
    piece->model = job->source;
    piece->same = from;
    piece->known = NULL;
}

/* The last layer of the target must have the same tensor with an equal shape. A vector is converted to the type that
 * the last layer has for it. */
static void add_tensor(organ_graft_job *job, const organ_tensor *from, const char *name, int32_t layer)
{
    char sibling[ORGAN_COUNTERPART_SIZE], source[ORGAN_SHAPE_TEXT], target[ORGAN_SHAPE_TEXT];
    organ_anatomy anatomy = organ_anatomy_of(name);
    const organ_tensor *const like = /* the same tensor in the target's last layer */
        organ_counterpart_at(name, &anatomy, job->target_layers - 1, sibling, sizeof sibling)
            ? organ_model_find(job->target, sibling)
            : NULL;
    if (!like || !ORGAN_SAME_SHAPE(like, from)) {
        organ_shape_text(from->rank, from->shape, source);
        if (like)
            organ_shape_text(like->rank, like->shape, target);
        organ_say(job->mismatches, "added layer %d: %s is %s, but in the target's last layer %s%s", (int)layer, name,
                  source, like ? "it is " : "there is none", like ? target : "");
        return;
    }
    organ_piece *const piece = &job->layout.pieces[job->layout.piece_count];
    *piece = organ_graft_piece(job, from, name);
    if (from->rank < 2 && from->dtype != like->dtype && organ_can_widen(from->dtype) && organ_can_narrow(like->dtype) &&
        organ_dtype_bytes(like->dtype, from->elements, &piece->bytes)) {
        piece->dtype = like->dtype;
        job->converted++;
    }
    job->taken[job->layout.piece_count++] = true;
    job->written_again = true;
}

/* A layer of another kind has tensors that the target's layer lacks. */
static void add_of_other_kind(organ_graft_job *job, const organ_tensor *from, const char *name)
{
    organ_piece *const piece = &job->layout.pieces[job->layout.piece_count];
    *piece = organ_graft_piece(job, from, name);
    job->written_again = true;
    job->taken[job->layout.piece_count++] = true;
    job->added++;
}

static void match_tensor(organ_graft_job *job, const organ_tensor *from)
{
    const int32_t layer = organ_layer_mapped(&job->map, from->anatomy.layer);
    char name[ORGAN_COUNTERPART_SIZE];
    const bool named = organ_graft_counterpart(job, from->name, &from->anatomy, name);
    const organ_tensor *const found = named ? organ_model_find(job->target, name) : NULL;
    if (!named)
        organ_say(job->mismatches, "%s of the source has no counterpart with a name in the target's format",
                  from->name);
    else if (found)
        replace_tensor(job, from, (size_t)(found - job->target->tensors));
    else if (layer >= job->target_layers && layer < job->layers_after)
        add_tensor(job, from, name, layer);
    else if (is_of_other_kind(job, from, name, layer))
        add_of_other_kind(job, from, name);
    else if (layer < job->target_layers)
        organ_say(job->mismatches, "%s is not in the target", name);
}

/* `layer` -1 means outside of all layers. Without ranges in --select every layer and -1 are grafted; else the layers
 * in job->pairs. */
static bool is_grafted_layer(const organ_graft_job *job, int32_t layer)
{
    return layer < 0 || !job->selection.span_count ? !job->selection.span_count : pair_at(job, layer) != NULL;
}

/* A tensor of the target without counterpart would remain among the source's tensors: it is removed if the layer gets
 * another kind. */
static void report_unmatched_targets(organ_graft_job *job)
{
    for (size_t t = 0; t < job->target->tensor_count; t++) {
        const organ_tensor *const tensor = &job->target->tensors[t];
        if (job->taken[t] ||
            !organ_selection_has_name(&job->selection, tensor->name, &tensor->anatomy, /*otherwise=*/true) ||
            !is_grafted_layer(job, tensor->anatomy.layer))
            continue;
        if (may_differ(job, tensor->anatomy.layer)) {
            job->layout.pieces[t].model = NULL;
            job->removed++;
        } else
            organ_say(job->mismatches, "%s of the target has no counterpart in the source", tensor->name);
    }
}

void organ_graft_remove_pieces(organ_graft_job *job)
{
    size_t kept = 0;
    for (size_t k = 0; k < job->layout.piece_count; k++)
        if (job->layout.pieces[k].model) {
            job->layout.pieces[kept] = job->layout.pieces[k];
            job->taken[kept++] = job->taken[k];
        }
    job->layout.piece_count = kept;
    job->written_again = job->written_again || job->removed;
    if (job->added + job->removed)
        organ_say(job->notes, "Layers of another kind: %zu tensors are added, %zu removed.", job->added, job->removed);
}

/* An added layer needs all its tensors. */
static void check_added(organ_graft_job *job)
{
    if (job->layers_after == job->target_layers)
        return;
    for (size_t t = 0; t < job->source->tensor_count; t++) {
        const organ_tensor *const tensor = &job->source->tensors[t];
        const int32_t to = organ_layer_mapped(&job->map, tensor->anatomy.layer);
        if (tensor->anatomy.layer >= 0 && to >= job->target_layers && to < job->layers_after &&
            is_grafted_layer(job, to) && !organ_selected(&job->selection, tensor))
            organ_say(job->mismatches,
                      "added layer %d: %s of the source is not selected, but a layer must be whole (--select all)",
                      (int)to, tensor->name);
    }
}

organ_status organ_graft_pair_layers(organ_graft_job *job, organ_error *error)
{
    job->source_layers = layer_count(job->source);
    job->target_layers = layer_count(job->target);
    job->names_differ = (job->source->gguf != NULL) != (job->target->gguf != NULL);
    job->groups = job->selection.words ? job->selection.groups : ~0u;
    if (pair_layers(job, error) == ORGAN_OK)
        check_layers(job);
    return error->status;
}

/* All mismatches are collected, so that one report contains them. */
organ_status organ_graft_match(organ_graft_job *job, organ_error *error)
{
    size_t selected = 0;
    for (size_t t = 0; t < job->source->tensor_count; t++) {
        const organ_tensor *const tensor = &job->source->tensors[t];
        if (organ_selected(&job->selection, tensor)) {
            job->groups |= 1u << organ_mtp_anatomy_in_layer(tensor->name, &tensor->anatomy).group;
            selected++;
        }
    }
    const bool grown = organ_layout_grow(&job->layout, selected);
    job->taken = calloc(job->layout.piece_count + selected + 1, sizeof *job->taken);
    if (!grown || !job->taken)
        return fail_memory(job, error);
    if (organ_selection_check_used(&job->selection, "tensor", job->options->source, error))
        return error->status;
    if (!selected && !json_array_size(job->mismatches))
        return organ_fail(error, ORGAN_USAGE, "%s has no tensor that `types` selects", job->options->source);
    compare_facts(job);
    for (size_t t = 0; t < job->source->tensor_count; t++)
        if (organ_selected(&job->selection, &job->source->tensors[t]))
            match_tensor(job, &job->source->tensors[t]);
    for (size_t k = 0; k < job->layout.piece_count; k++)
        if (!job->layout.pieces[k].name)
            return fail_memory(job, error);
    report_unmatched_targets(job);
    check_added(job);
    organ_graft_remove_pieces(job);
    if (job->converted)
        organ_say(job->notes, "Converted to the target's type: %zu tensors.", job->converted);
    return ORGAN_OK;
}
