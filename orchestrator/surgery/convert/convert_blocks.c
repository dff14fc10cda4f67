/* SPDX-License-Identifier: MIT
 * Blocks for multi-token prediction: which of them the output gets, and whether they are complete. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/config/model_config.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

place_model organ_convert_model(const organ_convert_job *job)
{
    const bool named = !job->to_gguf && job->towers.written;
    return (place_model){job->pairing,     job->family,
                         job->gguf_family, &job->config,
                         job->prefix,      named ? job->towers.model.family->head : organ_text_head(job->weights),
                         job->drafts,      job->blocks};
}

static const char *type_of(const organ_convert_job *job)
{
    if (!job->to_gguf)
        return job->pairing->model_type ? job->pairing->model_type : "";
    const char *const own = organ_json_plain(json_object_get(job->text, "model_type"));
    return own ? own : job->model->config.model_type;
}

/* Returns the number of the block that has the weight; SIZE_MAX: it is in none. */
static size_t block_of(const organ_convert_job *job, const organ_weight *weight)
{
    const place_model model = organ_convert_model(job);
    const int64_t layers = job->config.layers;
    pairing_part part;
    int64_t layer;
    if (weight->anatomy.role != ORGAN_ROLE_MTP && weight->anatomy.layer < layers)
        return SIZE_MAX;
    return organ_place_find(&model, !job->to_gguf, weight->name, &layer, &part) && layer >= layers
               ? (size_t)(layer - layers)
               : SIZE_MAX;
}

/* The block has attention like the last layer that has it: of layers with and without a window, those without, but in
 * MiMo-V2 and Step 3.7 those with one. */
static unsigned layer_like(const organ_convert_job *job)
{
    const organ_forward_config *const c = &job->config;
    const bool windowed = job->family->heads == HEADS_MIMO || job->family->heads == HEADS_STEP;
    unsigned like = c->layers - 1, any = c->layers - 1;
    bool found = false;
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].mixer == ORGAN_MIXER_ATTENTION) {
            any = l;
            found = found || (c->kinds[l].window > 0) == windowed;
            like = (c->kinds[l].window > 0) == windowed ? l : like;
        }
    return found ? like : any;
}

static organ_status add_kinds(organ_convert_job *job, unsigned count, organ_error *error)
{
    organ_forward_config *const c = &job->config;
    organ_layer_kind *const kinds = realloc(c->kinds, ((size_t)c->layers + count) * sizeof *kinds);
    if (!kinds)
        return organ_fail_memory(error, job->options->model);
    c->kinds = kinds;
    job->block_like = layer_like(job);
    for (unsigned k = 0; k < count; k++) {
        organ_layer_kind *const kind = &kinds[c->layers + k];
        *kind = kinds[job->block_like];
        kind->shares_with = c->layers + k;
        kind->feed = true;
        kind->mixture = false;
        kind->limits[0] = kind->limits[1] = 0; /* as in the published Step 3.7 */
        for (size_t w = 0; w < job->weights->count && !kind->mixture; w++)
            kind->mixture = job->weights->weights[w].anatomy.experts == ORGAN_EXPERTS_ROUTED &&
                            block_of(job, &job->weights->weights[w]) == k;
        kind->intermediate = kind->mixture ? 0 : c->intermediate;
    }
    return ORGAN_OK;
}

organ_status organ_convert_find_blocks(organ_convert_job *job, organ_error *error)
{
    job->mtp = organ_mtp_type_of(type_of(job));
    job->drafts = job->mtp ? organ_draft_family_named(job->mtp->family) : NULL;
    /* job->blocks stays 0 until config.kinds has the blocks' layers, which finding a name would read */
    unsigned blocks = 0;
    for (size_t k = 0; k < job->weights->count && job->drafts; k++) {
        const size_t block = block_of(job, &job->weights->weights[k]);
        if (block != SIZE_MAX && block < CONVERT_BLOCKS_MOST && block >= blocks)
            blocks = (unsigned)block + 1;
    }
    if (blocks && add_kinds(job, blocks, error))
        return error->status;
    job->blocks = blocks;
    return ORGAN_OK;
}

/* ---- the choice ---- */

/* Returns the number of blocks that the model states; -1: it states none. Sets `member` to the name of the statement.
 */
static int64_t declared_blocks(const organ_convert_job *job, char member[ORGAN_MTP_KEY_ROOM])
{
    const int64_t count = job->to_gguf ? organ_mtp_counted(job->mtp, job->text, member)
                                       : organ_mtp_stated(job->model->gguf, job->pairing->gguf);
    if (!*member)
        organ_mtp_key(job->pairing->gguf, member);
    return count;
}

/* Returns NULL, or why the output cannot have the blocks: the end of a sentence. */
static const char *refusal(const organ_convert_job *job, char room[160])
{
    if (!job->mtp)
        return "organ knows no such blocks of this architecture";
    if (job->blocks == 0)
        return "it has no tensor of one";
    if (job->to_gguf)
        snprintf(room, 160, "llama.cpp %s", job->mtp->reason ? job->mtp->reason : "");
    if (job->to_gguf && job->mtp->runs > 0)
        snprintf(room, 160, "it has %u, and llama.cpp runs %u", job->blocks, job->mtp->runs);
    if (!job->to_gguf && job->drafts->shared && job->blocks > 1)
        return "it has several with a projection each, and safetensors of this architecture have one projection";
    return job->to_gguf && job->blocks > job->mtp->runs ? room : NULL;
}

static organ_status check_count(const organ_convert_job *job, organ_error *error)
{
    char member[ORGAN_MTP_KEY_ROOM] = "", stated[32] = "nothing";
    const int64_t count = declared_blocks(job, member);
    if (count == job->blocks || (count < 0 && job->mtp->optional) || (count < 0 && !job->mtp->counter && job->to_gguf))
        return ORGAN_OK;
    if (count >= 0)
        snprintf(stated, sizeof stated, "%lld", (long long)count);
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: has tensors of %u block%s for multi-token prediction, but %s states %s: correct it, or leave "
        "the block out (`mtp` none)",
        job->model->path, job->blocks, job->blocks == 1 ? "" : "s", member, stated);
}

/* A model that states blocks and has none is usual: transformers does not save them. */
static void note_left_out(const organ_convert_job *job, const char *why)
{
    char member[ORGAN_MTP_KEY_ROOM] = "";
    if (job->mtp && job->blocks == 0 && declared_blocks(job, member) > 0)
        organ_progress_warn(
            job->progress,
            "%s states a block for multi-token prediction, of which the model has no tensor: the output "
            "states none",
            member);
    else if (job->blocks)
        organ_progress_note(job->progress, "the block for multi-token prediction (%s) is left out: %s", job->mtp->name,
                            why);
}

organ_status organ_convert_choose_blocks(organ_convert_job *job, organ_error *error)
{
    const char *const asked = job->options->mtp;
    const bool none = asked && strcmp(asked, "none") == 0;
    char room[160];
    const char *const why = refusal(job, room);
    job->only = asked && strcmp(asked, "only") == 0;
    const bool known = job->mtp && job->blocks && (!job->to_gguf || job->mtp->runs);
    if (!none && known && check_count(job, error))
        return error->status;
    if (asked && !none && why)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: `mtp` %s: the output cannot have the model's blocks for multi-token prediction: %s",
                          job->model->path, asked, why);
    if (none || why) {
        if (!none)
            note_left_out(job, why);
        job->blocks = 0;
    } else if (job->mtp->dispute)
        organ_progress_note(job->progress, "the block for multi-token prediction (%s) is kept; %s", job->mtp->name,
                            job->mtp->dispute);
    return ORGAN_OK;
}

bool organ_convert_is_copy(const organ_convert_job *job, const organ_weight *weight, unsigned draft)
{
    return !job->drafts->own_head && (draft == 1 + DRAFT_HEAD || organ_ends_with(weight->name, ".embed_tokens.weight"));
}

void organ_convert_match_blocks(organ_convert_job *job, const organ_model *gguf)
{
    if (organ_mtp_stated(gguf->gguf, gguf->config.model_type) <= 0)
        job->blocks = 0;
}

/* ---- completeness ---- */

static bool has_tensor(const organ_convert_job *job, const char *name)
{
    return job->to_gguf ? organ_name_table_find(&job->names, name) != NULL
                        : organ_weights_named(job->weights, name) != NULL;
}

static organ_status refuse_missing(const organ_convert_job *job, const char *name, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: the block for multi-token prediction is not complete: no tensor gives '%s'; `mtp` none "
                      "leaves the block out",
                      job->model->path, name);
}

/* Tensor `name` is "blk.LAYER.TAIL" of layer `like`, whose tail is checked in each block. */
static organ_status check_tail(const organ_convert_job *job, const char *name, organ_error *error)
{
    const char *const dot = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    const int64_t layer = dot ? strtol(name + 4, NULL, 10) : -1;
    const organ_layer_kind *const kinds = job->config.kinds;
    if (!dot || layer >= job->config.layers || strstr(dot, "sinks") || strstr(dot, "indexer"))
        return ORGAN_OK;
    const char *const joined = organ_draft_joined(job->drafts, dot + 1);
    const bool attention = strncmp(dot, ".attn_", strlen(".attn_")) == 0 && layer == job->block_like;
    for (unsigned k = 0; k < job->blocks && !error->status; k++) {
        const organ_layer_kind *const own = &kinds[job->config.layers + k];
        char wanted[ORGAN_PLACE_NAME];
        const bool feed = layer == job->feed_like && strncmp(dot, ".ffn_", strlen(".ffn_")) == 0 &&
                          kinds[layer].mixture == own->mixture;
        snprintf(wanted, sizeof wanted, "blk.%u%s", job->config.layers + k, dot);
        if (!(attention || feed) || has_tensor(job, wanted))
            continue;
        if (joined)
            snprintf(wanted, sizeof wanted, "blk.%u.%s", job->config.layers + k, joined);
        if (!joined || !has_tensor(job, wanted))
            refuse_missing(job, wanted, error);
    }
    return error->status;
}

/* Checks the tails of the GGUF tensors that would have the rows of a weight of safetensors. */
static organ_status check_weight(const organ_convert_job *job, const organ_weight *w, organ_error *error)
{
    const place_model model = organ_convert_model(job);
    char name[ORGAN_PLACE_NAME];
    place_layout layout;
    place_source source = {.name = w->name, .rank = w->rank, .shape = w->shape};
    if (!organ_place_find(&model, /*gguf=*/false, w->name, &source.layer, &source.part) || source.layer < 0 ||
        source.layer >= (int64_t)job->config.layers || organ_place_describe(&model, &source, &layout))
        return ORGAN_OK;
    for (unsigned k = 0; k < layout.count && !error->status; k++)
        if (organ_place_name(&model, /*gguf=*/true, source.layer, &layout.gguf[k].part, name))
            check_tail(job, name, error);
    return error->status;
}

static organ_status check_parts(const organ_convert_job *job, unsigned block, organ_error *error)
{
    char tail[256], name[ORGAN_PLACE_NAME];
    for (organ_draft_part p = 0; p < DRAFT_PARTS && !error->status; p++) {
        if (p == DRAFT_HEAD || !job->drafts->parts[p] || !organ_draft_name(job->drafts, /*gguf=*/true, block, p, tail))
            continue;
        snprintf(name, sizeof name, "blk.%u.%s", job->config.layers + block, tail);
        if (has_tensor(job, name))
            continue;
        snprintf(tail, sizeof tail, "blk.%u.%s", job->config.layers + block, organ_draft_gguf_parts[p]);
        if (!has_tensor(job, tail))
            refuse_missing(job, name, error);
    }
    return error->status;
}

/* A block needs the parts of its family, and the tensors that layers with the same parts have. */
organ_status organ_convert_check_blocks(organ_convert_job *job, organ_error *error)
{
    const organ_layer_kind *const kinds = job->config.kinds;
    job->feed_like = -1;
    for (unsigned l = 0; l < job->config.layers && job->blocks; l++)
        if (kinds[l].feed && kinds[l].mixture == kinds[job->config.layers].mixture)
            job->feed_like = l;
    for (unsigned k = 0; k < job->blocks && !error->status; k++)
        check_parts(job, k, error);
    const bool plans_layers = job->to_gguf && !job->only;
    const size_t count = plans_layers ? job->piece_count : job->weights->count;
    for (size_t k = 0; k < count && job->blocks && !error->status; k++)
        if (job->to_gguf && job->only)
            check_weight(job, &job->weights->weights[k], error);
        else
            check_tail(job, plans_layers ? job->pieces[k].name : job->weights->weights[k].name, error);
    return error->status;
}

int organ_convert_put_blocks(const organ_convert_job *job, json_t *config)
{
    const bool stated = organ_mtp_stated(job->model->gguf, job->pairing->gguf) >= 0;
    if (!job->mtp || !job->mtp->counter || (job->blocks == 0 && !stated))
        return 0;
    return json_object_set_new(config, job->mtp->counter, json_integer(job->blocks));
}
