/* SPDX-License-Identifier: MIT
 * Writes the files of the output's tokenizer, and edits config.json for it. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/text.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/surgery/vocabulary/token_settings.h"

#include <jansson.h>
#include <string.h>

#define FILE_BYTES ((size_t)256 << 20) /* of the longest tokenizer file */

/* Those of the host are not copied. The first UNCHANGED are those of the model whose ids the output has; the others
 * list tokens too, and are not written beside a tokenizer.json with new tokens. */
enum { TOKENIZER_JSON, TOKENIZER_CONFIG, UNCHANGED = 6 };
const char *const organ_merge_tokenizer_files[MERGE_LEFT_OUT] = {
    "tokenizer.json",     "tokenizer_config.json",  "special_tokens_map.json", "chat_template.jinja",
    "chat_template.json", "generation_config.json", "added_tokens.json",       "merges.txt",
    "vocab.json",         ORGAN_TOKENIZER_OTHERS};

bool organ_merge_writes_tokenizer(const model_merge *job)
{
    return job->vocabulary || job->recipe.tokens.chat_template;
}

/* ---- config.json ---- */

/* Settings that the model whose ids the output has decides, if it has them. */
static const char *const decided[] = {"bos_token_id", "eos_token_id", "pad_token_id", NULL};

static const json_t *decided_by(const json_t *home, const char *name)
{
    const json_t *const outer = json_object_get(home, name);
    return outer ? outer : json_object_get(json_object_get(home, "text_config"), name);
}

/* Returns for each id of the host the id of the same text in the output, or UINT32_MAX. */
static uint32_t *map_ids(model_merge *job, organ_error *error)
{
    const merge_vocabulary *const v = job->vocabulary;
    const organ_tokenizer *const host = v->tokenizers[job->host], *const made =
                                                                      v->made ? v->made : v->tokenizers[v->home];
    const uint32_t count = organ_tokenizer_describe(host)->vocabulary;
    uint32_t *const ids = organ_merge_take(job, ((size_t)count + 1) * sizeof *ids, error);
    for (uint32_t id = 0; ids && id < count; id++) {
        size_t bytes;
        const char *const text = organ_vocabulary_text(host, id, &bytes);
        ids[id] = text ? organ_vocabulary_id(made, text, bytes) : UINT32_MAX;
        if (!text && job->host == v->home)
            ids[id] = id;
    }
    return ids;
}

/* The ids of config.json are those of the host, and become those of the same texts. */
static organ_status edit_ids(model_merge *job, const json_t *home, organ_json_edit *config, organ_error *error)
{
    const merge_vocabulary *const v = job->vocabulary;
    const uint32_t *const ids = map_ids(job, error);
    const char *apart[sizeof decided / sizeof *decided + 1] = {"vocab_size"};
    size_t count = 1;
    for (size_t k = 0; decided[k]; k++)
        if (decided_by(home, decided[k]))
            apart[count++] = decided[k];
    const organ_token_settings settings = {.count = organ_tokenizer_describe(v->tokenizers[job->host])->vocabulary,
                                           .rows = v->height[job->host],
                                           .new_ids = ids,
                                           .new_rows = v->rows,
                                           .apart = apart};
    if (ids)
        organ_token_settings_edit(&settings, config, error);
    for (size_t k = 0; decided[k] && !error->status; k++)
        if (decided_by(home, decided[k]))
            organ_config_set(config, decided[k], json_incref((json_t *)decided_by(home, decided[k])), /*both=*/false,
                             error);
    return error->status;
}

organ_status organ_merge_edit_vocabulary(model_merge *job, organ_json_edit *config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *home = NULL;
    const merge_vocabulary *const v = job->vocabulary;
    if (!v || organ_config_set(config, "vocab_size", json_integer((json_int_t)v->rows), /*both=*/false, error))
        return error->status;
    const organ_model *const model = job->donors[v->home].model;
    if (v->home != job->host && organ_model_load_json(model, "config.json", model->path, &home, error))
        return error->status;
    return edit_ids(job, home, config, error);
}

/* ---- files ---- */

typedef struct token_file {
    const char *bytes;
    size_t length;
} token_file;

static organ_status print_token_file(const void *given, FILE *out, organ_error *error)
{
    const token_file *const file = given;
    fwrite(file->bytes, 1, file->length, out);
    return error->status;
}

static organ_status write_one(const char *to, const char *name, const char *bytes, size_t length, organ_error *error)
{
    const token_file file = {bytes, length};
    ORGAN_OWNED char *const path = organ_format("%s/%s", to, name);
    if (path)
        organ_printed_write(path, print_token_file, &file, error);
    else
        organ_fail_memory(error, to);
    return error->status;
}

/* tokenizer_config.json with the chat template; templates of other names go. */
static organ_status write_config(const char *to, const char *label, const char *bytes, size_t length,
                                 const char *template, organ_error *error)
{
    organ_json_edit edit;
    ORGAN_OWNED_JSON json_t *const text = json_string(template);
    if (!text)
        return organ_fail_memory(error, label);
    if (organ_json_edit_begin(&edit, label, bytes, length, error) == ORGAN_OK &&
        organ_json_edit_set(&edit, NULL, "chat_template", text, error) == ORGAN_OK)
        write_one(to, "tokenizer_config.json", edit.bytes, edit.length, error);
    organ_json_edit_release(&edit);
    return error->status;
}

/* Writes file k of organ_merge_tokenizer_files, if the output has it. */
static organ_status write_file(const model_merge *job, const char *to, size_t k, organ_error *error)
{
    const merge_vocabulary *const v = job->vocabulary;
    const char *const chat = job->chat_template, *const name = organ_merge_tokenizer_files[k];
    const organ_model *const home = job->donors[v ? v->home : job->host].model;
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    if (v && v->json && k == TOKENIZER_JSON)
        return write_one(to, name, v->json, strlen(v->json), error);
    if ((v && v->json && k >= UNCHANGED) || (chat && strncmp(name, "chat_template", strlen("chat_template")) == 0))
        return ORGAN_OK;
    if (organ_model_load(home, name, FILE_BYTES, &bytes, &length, error) == ORGAN_OK && chat && k == TOKENIZER_CONFIG)
        write_config(to, home->path, bytes ? bytes : "{}", bytes ? length : strlen("{}"), chat, error);
    else if (!error->status && bytes)
        write_one(to, name, bytes, length, error);
    return error->status;
}

organ_status organ_merge_write_tokenizer(const model_merge *job, const char *to, organ_error *error)
{
    for (size_t k = 0; k < MERGE_LEFT_OUT && !error->status; k++)
        write_file(job, to, k, error);
    if (!error->status && job->chat_template)
        write_one(to, "chat_template.jinja", job->chat_template, strlen(job->chat_template), error);
    return error->status;
}
