/* SPDX-License-Identifier: MIT
 * Opens the models of a recipe and compares their vocabularies. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/config/model_config.h"
#include "formats/architecture/mtp_types.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENIZER_BYTES ((size_t)256 << 20) /* of the longest tokenizer file */

/* ---- layers and heads ---- */

/* Blocks for multi-token prediction that follow the model's own layers under the same names do not count. */
static void count_layers(merge_donor *donor)
{
    const int32_t stated = organ_mtp_trunk_layers(donor->model);
    int32_t last = -1;
    for (size_t k = 0; k < donor->weights->count; k++)
        last = donor->weights->weights[k].anatomy.layer > last ? donor->weights->weights[k].anatomy.layer : last;
    donor->layers = (uint64_t)(last + 1);
    if (stated > 0 && (uint64_t)stated < donor->layers)
        donor->layers = (uint64_t)stated;
}

void *organ_merge_take(model_merge *job, size_t size, organ_error *error)
{
    void *const memory = organ_arena_take(&job->arena, size);
    if (memory)
        memset(memory, 0, size);
    else
        organ_fail_memory(error, job->recipe.label);
    return memory;
}

const organ_weight *organ_merge_weight_of_role(const merge_donor *donor, organ_role role)
{
    for (size_t k = 0; k < donor->weights->count; k++) {
        const organ_anatomy *const anatomy = &donor->weights->weights[k].anatomy;
        if (anatomy->role == role && anatomy->layer < 0)
            return &donor->weights->weights[k];
    }
    return NULL;
}

/* Sets donor->head. An adapter that changes a tied embedding or head makes them differ. */
static organ_status find_head(const model_merge *job, merge_donor *donor, organ_error *error)
{
    organ_head head = {0};
    const organ_weights *const weights = donor->stored ? donor->stored_weights : donor->weights;
    if (organ_text_check_embedding(organ_merge_stored(donor), weights, error) ||
        organ_head_find(organ_merge_stored(donor), weights, job->engine, &head, error))
        return error->status;
    const organ_weight *const apart = head.own ? head.stored : organ_adapted_head(&donor->adapted);
    if (apart)
        donor->head = apart->name;
    else if (head.stored)
        organ_progress_note_once(job->progress,
                                 "%s: '%s' is not used: it repeats the embedding, which config.json makes the output "
                                 "head",
                                 donor->path, head.stored->name);
    return ORGAN_OK;
}

static organ_status open_donor(model_merge *job, size_t number, organ_error *error)
{
    merge_donor *const donor = &job->donors[number];
    const char *adapter = NULL, *model = NULL;
    donor->name = job->recipe.donors[number];
    snprintf(donor->key, sizeof donor->key, "%zu", number);
    if (organ_adapted_split(donor->name, &job->arena, &model, &adapter, error) ||
        organ_merge_find_model(job, model, &donor->path, error) || organ_merge_open_model(job, donor, error) ||
        (adapter && organ_adapted_open(adapter, donor->model, donor->weights, job->options->keep_tied, job->engine,
                                       job->progress, &donor->adapted, error)))
        return error->status;
    if (adapter && organ_adapter_warn_of_template(job->progress, donor->adapted.adapter, donor->model, error))
        return error->status;
    const bool remote = organ_model_is_here(donor->model, "", &(organ_error){0}) != ORGAN_OK;
    if ((donor->model->gguf || remote) && number == job->host && organ_merge_open_form(job, donor, error))
        return error->status;
    for (size_t k = 0; k < donor->weights->note_count; k++)
        organ_progress_note_once(job->progress, "%s: %s", donor->path, donor->weights->notes[k]);
    count_layers(donor);
    return find_head(job, donor, error);
}

/* The names and the order of rows of GGUF, and the layout of experts, become those of the host. */
static organ_status open_across(model_merge *job, size_t number, organ_error *error)
{
    merge_donor *const donor = &job->donors[number];
    const merge_donor *const host = &job->donors[job->host];
    const organ_model *const stored = organ_merge_stored(donor);
    if (number == job->host && !stored->gguf)
        return ORGAN_OK;
    return organ_across_open((organ_across_side){host->model, host->weights},
                             (organ_across_side){stored, donor->stored ? donor->stored_weights : donor->weights},
                             job->engine, &donor->across, error)
               ? error->status
               : organ_adapted_check(&donor->adapted, donor->across, error);
}

/* ---- tensors ---- */

const organ_weight *organ_merge_weight_named(const merge_donor *donor, const char *name)
{
    return organ_across_or_own(donor->across, donor->stored ? donor->stored_weights : donor->weights, name);
}

const organ_weight *organ_merge_find_weight(const model_merge *job, const merge_donor *donor, const char *name,
                                            const organ_anatomy *anatomy)
{
    const organ_weight *const own = organ_merge_weight_named(donor, name);
    if (anatomy->role != ORGAN_ROLE_OUTPUT || anatomy->layer >= 0)
        return own;
    if (donor->head) /* a GGUF file has one under another name if the host has none */
        return own ? own : organ_weights_named(donor->stored ? donor->stored_weights : donor->weights, donor->head);
    const organ_weight *const embedding =
        organ_merge_weight_of_role(organ_merge_is_gguf(donor) ? &job->donors[job->host] : donor, ORGAN_ROLE_EMBED);
    return embedding ? organ_merge_weight_named(donor, embedding->name) : NULL;
}

/* ---- vocabularies ---- */

static const char *const tokenizer_files[] = {"tokenizer.json", ORGAN_TOKENIZER_OTHERS, NULL};

/* Sets *same if both models have a tokenizer file with the same bytes, and *any if `donor` has a tokenizer file. */
static organ_status same_files(const merge_donor *host, const merge_donor *donor, bool *same, bool *any,
                               organ_error *error)
{
    *same = *any = false;
    for (size_t k = 0; tokenizer_files[k] && !*same && !error->status; k++) {
        ORGAN_OWNED char *bytes = NULL, *of_host = NULL;
        size_t length = 0, host_length = 0;
        if (organ_model_load(donor->model, tokenizer_files[k], TOKENIZER_BYTES, &bytes, &length, error) == ORGAN_OK)
            organ_model_load(host->model, tokenizer_files[k], TOKENIZER_BYTES, &of_host, &host_length, error);
        *any |= bytes != NULL;
        *same = bytes && of_host && length == host_length && memcmp(bytes, of_host, length) == 0;
    }
    return error->status;
}

/* A GGUF file may have names of its own for ids without a token. */
static organ_status compare_tokens(const merge_donor *host, const organ_tokenizer *of_host, const merge_donor *donor,
                                   const organ_tokenizer *of_donor, organ_error *error)
{
    uint32_t id = 0;
    size_t length, other_length;
    if (organ_tokenizer_different(of_host, of_donor, donor->model->gguf != NULL, &id) == 0)
        return ORGAN_OK;
    const char *const token = organ_tokenizer_text_of(of_host, id, &length);
    const char *const other = organ_tokenizer_text_of(of_donor, id, &other_length);
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s and %s have different vocabularies: token %u is '%.*s' in the first and '%.*s' in the "
                      "second; `tokenizer` in a recipe unites them",
                      host->path, donor->path, id, (int)(length < 60 ? length : 60), token,
                      (int)(other_length < 60 ? other_length : 60), other);
}

/* The ids of all tokens must be the same; rules that split text in another way are warned of. */
static organ_status compare_tokenizers(model_merge *job, const merge_donor *host, const merge_donor *donor,
                                       organ_error *error)
{
    organ_tokenizer *of_host = NULL, *of_donor = NULL;
    if (organ_tokenizer_open(host->model, &of_host, error) == ORGAN_OK &&
        organ_tokenizer_open(donor->model, &of_donor, error) == ORGAN_OK &&
        strcmp(organ_tokenizer_describe(of_host)->digest, organ_tokenizer_describe(of_donor)->digest) != 0 &&
        compare_tokens(host, of_host, donor, of_donor, error) == ORGAN_OK && !donor->model->gguf)
        organ_say(job->recipe.warnings, "%s and %s have the same tokens, but split text by different rules", host->path,
                  donor->path);
    organ_tokenizer_close(of_host);
    organ_tokenizer_close(of_donor);
    return error->status;
}

organ_status organ_merge_has_tokenizer(const merge_donor *donor, bool *has, organ_error *error)
{
    bool same;
    if (same_files(donor, donor, &same, has, error))
        return error->status;
    *has |= donor->model->gguf && organ_gguf_find(donor->model->gguf, "tokenizer.ggml.model") &&
            !organ_gguf_text_equals(donor->model->gguf, "tokenizer.ggml.model", "none");
    return ORGAN_OK;
}

void organ_merge_say_assumed(model_merge *job, const merge_donor *donor, const merge_donor *like)
{
    const bool host = donor == &job->donors[job->host] && !job->vocabulary;
    organ_say(job->recipe.warnings, "%s has no tokenizer: row by row, its tokens are taken to be those of %s%s%s%s",
              donor->path, like->path, host ? "; the output has no tokenizer either: `tokenizer_source: " : "",
              host ? like->name : "", host ? "` in a recipe gives it that one" : "");
}

/* Sets *like to the first donor with a tokenizer, the host before all others; NULL: none has one. */
static organ_status find_tokenizer(const model_merge *job, const merge_donor **like, organ_error *error)
{
    *like = NULL;
    for (size_t k = 0; k <= job->recipe.donor_count && !*like && !error->status; k++) {
        const merge_donor *const donor = &job->donors[k ? k - 1 : job->host];
        bool has_tokenizer = false;
        if (organ_merge_has_tokenizer(donor, &has_tokenizer, error) == ORGAN_OK && has_tokenizer)
            *like = donor;
    }
    return error->status;
}

/* Shapes of embeddings are compared with all others. */
static organ_status check_vocabularies(model_merge *job, organ_error *error)
{
    const merge_donor *like;
    bool same, any;
    if (find_tokenizer(job, &like, error) || !like)
        return error->status;
    for (size_t k = 0; k < job->recipe.donor_count && !error->status; k++) {
        const merge_donor *const donor = &job->donors[k];
        if (donor == like || same_files(like, donor, &same, &any, error) || (same && !donor->model->gguf) ||
            organ_merge_has_tokenizer(donor, &any, error))
            continue;
        if (any)
            compare_tokenizers(job, like, donor, error);
        else
            organ_merge_say_assumed(job, donor, like);
    }
    return error->status;
}

/* ---- tensors that are not merged ---- */

bool organ_merge_is_apart(const merge_donor *donor, const organ_anatomy *anatomy)
{
    return organ_role_is_tower(anatomy->role) || anatomy->role == ORGAN_ROLE_MTP ||
           (anatomy->layer >= 0 && (uint64_t)anatomy->layer >= donor->layers);
}

static size_t count_apart(const merge_donor *donor)
{
    size_t count = 0;
    for (size_t k = 0; k < donor->weights->count; k++)
        count += organ_merge_is_apart(donor, &donor->weights->weights[k].anatomy);
    return count;
}

/* Only the host's are written. */
static void say_left_out(const model_merge *job)
{
    const merge_donor *const host = &job->donors[job->host];
    const size_t own = count_apart(host);
    for (size_t k = 0; k < job->recipe.donor_count && !own; k++) {
        const size_t left = count_apart(&job->donors[k]);
        if (left)
            organ_progress_note(
                job->progress, "%zu tensors of vision, audio or multi-token prediction of %s are left out: %s has none",
                left, job->donors[k].name, host->name);
    }
}

/* ---- all models ---- */

organ_status organ_merge_open_donors(model_merge *job, organ_error *error)
{
    const merge_recipe *const r = &job->recipe;
    if (job->options->access)
        job->access = *job->options->access;
    job->host = r->base != MERGE_NONE ? r->base : r->slices[0].sources[0].donor;
    if (!(job->donors = calloc(r->donor_count, sizeof *job->donors)))
        return organ_fail_memory(error, r->label);
    for (size_t k = 0; k < r->donor_count && !error->status; k++)
        open_donor(job, k, error);
    if (error->status || organ_merge_compare_donors(job, error))
        return error->status;
    say_left_out(job);
    organ_merge_know_names(job);
    for (size_t k = 0; k < r->donor_count && !error->status; k++)
        open_across(job, k, error);
    if (error->status)
        return error->status;
    return r->tokens.source == MERGE_TOKENS_UNSET ? check_vocabularies(job, error) : ORGAN_OK;
}

void organ_merge_close_donors(model_merge *job, organ_error *error)
{
    for (size_t k = 0; job->donors && k < job->recipe.donor_count; k++) {
        organ_adapted_close(&job->donors[k].adapted);
        organ_across_free(job->donors[k].across);
        organ_weights_free(job->donors[k].weights);
        organ_model_close(job->donors[k].model);
        organ_merge_close_form(&job->donors[k], error);
    }
    free(job->donors);
}
