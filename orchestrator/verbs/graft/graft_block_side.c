/* SPDX-License-Identifier: MIT
 * Reads how many blocks for multi-token prediction a model has and how many it states, and lays out files that have a
 * model's block alone. */
#include "orchestrator/verbs/graft/graft_block.h"

#include "formats/base/text.h"
#include "orchestrator/output/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a model has ---- */

static int32_t count_blocks(const graft_block_side *side)
{
    int64_t count = 0;
    for (size_t t = 0; t < side->model->tensor_count; t++) {
        const organ_tensor *const tensor = &side->model->tensors[t];
        const int64_t block = organ_mtp_block_of(tensor->name, &tensor->anatomy, side->trunk);
        count = block >= count ? block + 1 : count;
    }
    return count < INT32_MAX ? (int32_t)count : INT32_MAX;
}

/* Returns whether a layer below the trunk's end has a projection of a block: block_count of a GGUF file counts it, but
 * no key says that it is a block. */
static bool has_undeclared(const graft_block_side *side)
{
    for (size_t t = 0; t < side->model->tensor_count; t++) {
        const organ_anatomy *const anatomy = &side->model->tensors[t].anatomy;
        if (anatomy->role == ORGAN_ROLE_MTP && anatomy->layer >= 0 && anatomy->layer < side->trunk)
            return true;
    }
    return false;
}

static void read_statement(graft_block_side *side)
{
    if (!side->model->gguf) {
        side->stated = organ_mtp_counted(side->type, side->config->object, side->member);
        return;
    }
    side->stated = organ_mtp_stated(side->model->gguf, side->model->config.model_type);
    organ_mtp_key(side->model->config.model_type, side->member);
}

/* Reports what the model states and does not have, or has and does not state. */
static void check_statement(const graft_block_side *side, json_t *mismatches)
{
    const bool optional = side->stated < 0 && !side->model->gguf && (side->type->optional || !side->type->counter);
    char stated[32] = "nothing";
    if (side->stated >= 0)
        snprintf(stated, sizeof stated, "%lld", (long long)side->stated);
    if (has_undeclared(side))
        organ_say(mismatches, "block: the %s has tensors of a block for multi-token prediction, but %s states %s",
                  side->label, side->member, stated);
    else if (side->blocks > 0 && side->stated != side->blocks && !optional)
        organ_say(mismatches, "block: the %s has tensors of %d block%s for multi-token prediction, but %s states %s",
                  side->label, (int)side->blocks, side->blocks == 1 ? "" : "s", side->member, stated);
}

static void check_presence(const graft_block_side *side, json_t *mismatches)
{
    if (side->blocks == 0 && side->stated > 0)
        organ_say(mismatches,
                  "block: %s of the %s states %lld for multi-token prediction, but the %s has no tensor of one",
                  side->member, side->label, (long long)side->stated, side->label);
    else if (side->blocks == 0 && !has_undeclared(side))
        organ_say(mismatches, "block: the %s has none for multi-token prediction", side->label);
}

organ_status organ_graft_read_side(graft_block_side *side, json_t *mismatches, organ_error *error)
{
    const organ_model *const model = side->model;
    side->type = organ_mtp_type_of(model->config.model_type);
    side->trunk = organ_mtp_trunk_layers(model);
    if (!side->type) {
        organ_say(mismatches,
                  "family: organ knows no blocks for multi-token prediction of the %s, a model of type '%s'",
                  side->label, model->config.model_type);
        return ORGAN_OK;
    }
    side->family = organ_draft_family_named(side->type->family);
    side->config->layers = (size_t)side->trunk;
    if (!model->gguf &&
        organ_layers_load(model, side->config->layers, &side->config->root, &side->config->object, error))
        return error->status;
    if (!model->gguf && !side->config->object) {
        organ_say(mismatches, "metadata: the %s has no config.json that describes its layers", side->label);
        side->type = NULL;
        return ORGAN_OK;
    }
    read_statement(side);
    side->blocks = count_blocks(side);
    return ORGAN_OK;
}

void organ_graft_check_side(const graft_block_side *side, bool needed, json_t *mismatches)
{
    if (!side->type)
        return;
    check_statement(side, mismatches);
    if (needed)
        check_presence(side, mismatches);
}

/* ---- the block alone ---- */

/* Files mtp-NAME.gguf also have the embedding, the final norm and the output head, which llama.cpp reads from them. */
static bool goes_with_block(const graft_block_side *side, const organ_tensor *tensor)
{
    return organ_mtp_block_of(tensor->name, &tensor->anatomy, side->trunk) >= 0 ||
           (side->model->gguf &&
            (strncmp(tensor->name, "token_embd", 10) == 0 || strncmp(tensor->name, "output", 6) == 0));
}

static organ_status parse_word(const char *select, bool *block, organ_error *error)
{
    *block = select && strcmp(select, "mtp") == 0;
    return !select || *block || strcmp(select, "all") == 0
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "`select` is '%.200s', but must be all or mtp", select);
}

static organ_status keep_block(const graft_block_side *side, organ_layout *layout, const char *name, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    size_t kept = 0;
    for (size_t k = 0; k < layout->piece_count; k++)
        if (goes_with_block(side, layout->pieces[k].same))
            layout->pieces[kept++] = layout->pieces[k];
    layout->piece_count = kept;
    if (!side->model->gguf || organ_layout_metadata(side->model->gguf, &writer, error) == ORGAN_OK)
        organ_layout_name(layout, name, /*written_again=*/true, writer, error);
    organ_gguf_writer_destroy(writer);
    return error->status;
}

organ_status organ_graft_select_block(const organ_model *model, const char *select, const char *name,
                                      organ_layout *layout, bool *block, organ_error *error)
{
    organ_graft_config config = {0};
    graft_block_side side = {.model = model, .label = "model", .config = &config};
    ORGAN_OWNED_JSON json_t *const faults = json_array();
    ORGAN_OWNED char *own = NULL;
    if (parse_word(select, block, error) || !*block)
        return error->status;
    if (!faults)
        return organ_fail_memory(error, model->path);
    organ_graft_read_side(&side, faults, error);
    json_decref(config.root);
    if (error->status)
        return error->status;
    organ_graft_check_side(&side, /*needed=*/true, faults);
    if (json_array_size(faults))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", model->path, json_string_value(json_array_get(faults, 0)));
    if (!name && !(own = model->gguf ? organ_format("mtp-%s", layout->files[0].name) : strdup("model.safetensors")))
        return organ_fail_memory(error, model->path);
    return keep_block(&side, layout, name ? name : own, error);
}
