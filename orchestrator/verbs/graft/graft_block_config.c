/* SPDX-License-Identifier: MIT
 * config.json of a model that gets a block: it counts the block, has its settings, and names its modules among those
 * that are not quantised, if the model is and the block is not. */
#include "orchestrator/verbs/graft/graft_block.h"

#include "formats/base/quant_sections.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/weights/weight_search.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/encoding/encoding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- packed weights ---- */

static bool is_of_block(const organ_graft_job *job, const organ_weight *weight)
{
    return organ_mtp_block_of(weight->codes->name, &weight->codes->anatomy, job->block.source.trunk) >= 0;
}

/* A packed weight needs one that the target packs alike. */
static organ_status check_block_packing(const organ_graft_job *job, const organ_weight *weight, organ_error *error)
{
    const organ_weights *const targets = job->block.targets;
    char text[160];
    for (size_t k = 0; k < targets->count; k++)
        if (organ_graft_packed_alike(weight, &targets->weights[k]))
            return ORGAN_OK;
    return organ_dequantize_first(
        job->source, error, "%.200s: is %s in %.150s, and %.150s has no weight that is packed in this way",
        weight->name, organ_weight_text(weight, text, sizeof text), job->source->path, job->target->path);
}

static bool has_text(const json_t *list, const char *text)
{
    for (size_t k = 0; k < json_array_size(list); k++)
        if (organ_json_is(json_array_get(list, k), text))
            return true;
    return false;
}

/* Returns whether a group of quantization_config is for certain modules, not for all linear layers. */
static bool has_named_groups(const json_t *root)
{
    const organ_quant_section *section;
    const char *key;
    json_t *group;
    for (size_t k = 0; (section = organ_quant_section_at(k)); k++) {
        json_t *const groups = json_object_get(json_object_get(root, section->key), "config_groups");
        json_object_foreach(groups, key, group) if (!has_text(json_object_get(group, "targets"), "Linear")) return true;
    }
    return false;
}

organ_status organ_graft_packed_block(organ_graft_job *job, organ_error *error)
{
    graft_block *const b = &job->block;
    size_t plain = 0, packed = 0;
    if (organ_weights_find(job->source, &b->sources, error) || organ_weights_find(job->target, &b->targets, error) ||
        organ_refuse_rotated(job->source, b->sources, error) || organ_refuse_rotated(job->target, b->targets, error))
        return error->status;
    for (size_t k = 0; k < b->sources->count && !error->status; k++) {
        const organ_weight *const weight = &b->sources->weights[k];
        if (is_of_block(job, weight) && weight->scheme != ORGAN_SCHEME_PLAIN)
            check_block_packing(job, weight, error);
        plain += is_of_block(job, weight) && weight->scheme == ORGAN_SCHEME_PLAIN && weight->rank > 1;
        packed += is_of_block(job, weight) && weight->scheme != ORGAN_SCHEME_PLAIN;
    }
    job->packed = b->sources->packed + b->targets->packed > 0;
    if (packed && has_named_groups(job->target_config.root))
        organ_say(job->mismatches,
                  "precision: config.json of the target names its quantised modules, and graft does not add those of a "
                  "quantised block: dequantize the source first");
    if (plain && b->targets->packed && !organ_quant_list_of(b->targets->method))
        organ_say(job->mismatches,
                  "precision: the target is quantised by '%s', and organ does not know how its config.json leaves the "
                  "block unquantised",
                  b->targets->method);
    return error->status;
}

/* ---- modules that are not quantised ---- */

/* A graft and its list of tensors of the output. */
typedef struct ignored_of {
    const organ_graft_job *job;
    const organ_tensor *tensors; /* one for each piece, with its name in the output */
} ignored_of;

static const organ_tensor *plain_piece(const void *context, size_t k)
{
    const ignored_of *const of = context;
    const organ_piece *const piece = &of->job->layout.pieces[k];
    if (piece->model != of->job->source)
        return NULL;
    const organ_weight *const weight = organ_weights_named(of->job->block.sources, piece->same->name);
    return weight && weight->scheme == ORGAN_SCHEME_PLAIN ? &of->tensors[k] : NULL;
}

static const organ_weight *quantised_weight(const void *context, size_t k)
{
    return &((const ignored_of *)context)->job->block.quantised[k];
}

/* The packed weights of the target's trunk, and those of the source's block. */
static organ_status list_quantised(organ_graft_job *job, organ_error *error)
{
    graft_block *const b = &job->block;
    if (b->quantised)
        return ORGAN_OK;
    if (!(b->quantised = organ_rows_take(b->targets->count + job->layout.piece_count + 1, sizeof *b->quantised)))
        return organ_fail_memory(error, job->options->target);
    for (size_t k = 0; k < b->targets->count; k++) {
        const organ_weight *const weight = &b->targets->weights[k];
        if (weight->scheme != ORGAN_SCHEME_PLAIN &&
            organ_mtp_block_of(weight->codes->name, &weight->codes->anatomy, b->target.trunk) < 0)
            b->quantised[b->quantised_count++] = *weight;
    }
    for (size_t k = 0; k < b->sources->count; k++) {
        const organ_weight *const weight = &b->sources->weights[k];
        for (size_t p = 0; p < job->layout.piece_count && weight->scheme != ORGAN_SCHEME_PLAIN; p++)
            if (job->layout.pieces[p].same == weight->codes) {
                b->quantised[b->quantised_count] = *weight;
                b->quantised[b->quantised_count++].name = job->layout.pieces[p].name;
            }
    }
    return ORGAN_OK;
}

/* Returns whether an entry names modules of the block that the target has or had. */
static bool names_old_block(const organ_graft_job *job, const char *entry)
{
    char plain[32], pattern[40];
    if (job->block.target.family->layer_prefix)
        return strstr(entry, "mtp") != NULL;
    const int32_t first = job->block.target.trunk, had = job->block.target.blocks;
    for (int32_t k = 0; k < had || k == 0; k++) {
        snprintf(plain, sizeof plain, ".layers.%d.", (int)(first + k));
        snprintf(pattern, sizeof pattern, "\\.layers\\.%d\\.", (int)(first + k));
        if (strstr(entry, plain) || strstr(entry, pattern))
            return true;
    }
    return strstr(entry, "model\\.decoder") != NULL;
}

/* Returns a new list without the entries of the target's block; NULL if memory runs out. */
static json_t *without_block(const organ_graft_job *job, const json_t *list)
{
    json_t *const kept = json_array();
    size_t k;
    json_t *row;
    json_array_foreach(list, k, row) if (!organ_json_plain(row) || !names_old_block(job, organ_json_plain(row)))
        json_array_append(kept, row);
    return kept;
}

/* Returns the tensors of the output, with their names there; NULL if memory runs out. */
static organ_tensor *tensors_of(const organ_layout *layout)
{
    organ_tensor *const tensors = organ_rows_take(layout->piece_count + 1, sizeof *tensors);
    for (size_t k = 0; tensors && k < layout->piece_count; k++) {
        tensors[k] = *layout->pieces[k].same;
        tensors[k].name = layout->pieces[k].name;
        tensors[k].anatomy = layout->pieces[k].anatomy;
    }
    return tensors;
}

/* Appends the modules of the block to `list`. The head is the target's, which its list describes. */
static organ_status add_ignored(const organ_graft_job *job, bool patterns, json_t *list, organ_error *error)
{
    ORGAN_OWNED_ROWS organ_tensor *const tensors = tensors_of(&job->layout);
    const ignored_of of = {job, tensors};
    const organ_module_list modules = {
        job->target, &of, job->layout.piece_count, job->block.quantised_count, plain_piece, quantised_weight};
    ORGAN_OWNED_JSON json_t *const rows = tensors ? organ_modules_ignored(&modules, patterns) : NULL;
    size_t k;
    const json_t *row;
    if (!rows)
        return organ_fail_memory(error, job->options->target);
    json_array_foreach(rows, k, row)
    {
        const char *const name = json_string_value(row);
        if (strcmp(name, "lm_head") == 0 || has_text(list, name))
            continue;
        if (json_array_append_new(list, json_string(name)))
            return organ_fail_memory(error, job->options->target);
    }
    return ORGAN_OK;
}

static organ_status edit_quantization(organ_graft_job *job, const organ_settings *settings)
{
    const organ_quant_section *section;
    organ_error *const error = settings->error;
    for (size_t k = 0; (section = organ_quant_section_at(k)); k++) {
        const json_t *const old = json_object_get(settings->object, section->key);
        const organ_quant_list *const row = organ_quant_list_in(old, job->block.targets->method);
        if (!row || !json_is_object(old) || !section->methods)
            continue;
        ORGAN_OWNED_JSON json_t *const made = json_copy((json_t *)old);
        const json_t *const before = json_object_get(old, row->key);
        json_t *const list = without_block(job, before);
        if (!made || json_object_set_new(made, row->key, list) || list_quantised(job, error) ||
            add_ignored(job, row->patterns, list, error))
            return error->status ? error->status : organ_fail_memory(error, job->options->target);
        if (json_equal(list, before) || (!json_array_size(list) && !before))
            continue;
        if (organ_json_edit_set(settings->edit, settings->inside, section->key, made, error))
            return error->status;
        if (settings->changed)
            organ_say(job->metadata, "config.json: %s.%s lists the modules of the block.", section->key, row->key);
    }
    return error->status;
}

/* ---- settings of blocks ---- */

static void note_member(void *context, const organ_settings *at, const char *key, json_t *before, json_t *after)
{
    organ_say(((organ_graft_job *)context)->metadata, "config.json: %s%s%s is that of the block.",
              at->inside ? at->inside : "", at->inside ? "." : "", key);
    json_decref(before);
    json_decref(after);
}

/* Sets the usual member, or that which the target has, and all others that state another number. */
static void edit_count(const organ_graft_job *job, const organ_settings *settings)
{
    const uint64_t blocks = (uint64_t)job->block.source.blocks;
    char member[ORGAN_MEMBER_ROOM], other[ORGAN_MEMBER_ROOM];
    organ_mtp_counted(job->block.target.type, settings->object, member);
    if (*member)
        organ_settings_set_number(settings, member, blocks);
    for (size_t k = 0; *member && organ_settings_alias(settings, member, k, other); k++)
        if (json_is_integer(json_object_get(settings->object, other)) && strcmp(other, member) != 0)
            organ_settings_set_number(settings, other, blocks);
}

/* Members that begin with mtp_ describe the block, such as mtp_hybrid_override_pattern. */
static void edit_own_members(const organ_graft_job *job, const organ_settings *settings)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)job->source_config.object, key, value)
    {
        if (strncmp(key, "mtp_", 4) == 0 && !organ_mtp_is_counter(key))
            organ_settings_set(settings, key, json_incref(value));
    }
}

/* The target's entries for its trunk, and the source's for its blocks; NULL if memory runs out. */
static json_t *joined_list(const organ_graft_job *job, const json_t *ours, const json_t *theirs)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < (size_t)job->block.target.trunk; k++)
        json_array_append(list, json_array_get(ours, k));
    for (size_t k = (size_t)job->block.source.trunk; k < json_array_size(theirs); k++)
        json_array_append(list, json_array_get(theirs, k));
    return list;
}

/* Lists with an entry for each layer may have one for each block. */
static void edit_block_lists(const organ_graft_job *job, const organ_settings *settings)
{
    const size_t trunk = (size_t)job->block.target.trunk, from = (size_t)job->block.source.trunk,
                 blocks = (size_t)job->block.source.blocks;
    const char *key;
    json_t *ours;
    json_object_foreach((json_t *)settings->object, key, ours)
    {
        const json_t *const theirs = json_object_get(job->source_config.object, key);
        if (!organ_layer_member_is(key, LAYER_MEMBER_ENTRIES) || !json_is_array(ours) ||
            json_array_size(ours) < trunk || json_array_size(theirs) != from + blocks)
            continue;
        json_t *const list = joined_list(job, ours, theirs);
        if (json_array_size(list) != trunk + blocks)
            organ_fail_memory(settings->error, job->options->target);
        organ_settings_set(settings, key, list);
    }
}

organ_status organ_graft_edit_block_config(organ_graft_job *job, organ_json_edit *config, bool noted,
                                           organ_error *error)
{
    const organ_graft_config *const target = &job->target_config;
    char count[ORGAN_MEMBER_ROOM];
    organ_settings settings = {
        .label = config->label, .edit = config, .changed = noted ? note_member : NULL, .context = job, .error = error};
    for (size_t k = 0; organ_settings_enter(&settings, target->root, &k);) {
        if (edit_quantization(job, &settings) || !organ_layers_describes(settings.object, target->layers, count))
            continue;
        edit_count(job, &settings);
        edit_own_members(job, &settings);
        edit_block_lists(job, &settings);
    }
    return error->status;
}
