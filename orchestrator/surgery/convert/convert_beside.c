/* SPDX-License-Identifier: MIT
 * The files beside the weights: sentence-transformers' pooling becomes a key-value of GGUF and back, and a note names
 * the files that GGUF cannot hold. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_copy.h"

#include <organ/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULES "modules.json"
#define POOLING "1_Pooling"
#define TYPES   "sentence_transformers.models."

/* Ways to make one vector of those of all tokens: the flag of sentence-transformers, its name in newer files, and the
 * number of llama.cpp's llama_pooling_type; 0: llama.cpp has none. */
static const struct pooling_mode {
    const char *flag, *name;
    int number;
} modes[] = {{"pooling_mode_mean_tokens", "mean", 1},
             {"pooling_mode_cls_token", "cls", 2},
             {"pooling_mode_lasttoken", "lasttoken", 3},
             {"pooling_mode_max_tokens", "max", 0},
             {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", 0},
             {"pooling_mode_weightedmean_tokens", "weightedmean", 0}};
enum { MODES = sizeof modes / sizeof *modes, MEAN = 0 };

/* ---- pooling, to GGUF ---- */

/* Returns the last way that the config names; *count becomes the number of these ways. A config that names no way takes
 * the mean. Several ways give a longer vector, which llama.cpp cannot make. */
static const struct pooling_mode *find_mode(const json_t *config, size_t *count)
{
    const struct pooling_mode *found = NULL;
    const char *const name = organ_json_plain(json_object_get(config, "pooling_mode"));
    *count = 0;
    for (size_t k = 0; k < MODES; k++)
        if (json_is_true(json_object_get(config, modes[k].flag)) || (name && strcmp(name, modes[k].name) == 0)) {
            found = &modes[k];
            ++*count;
        }
    if (*count || name || json_object_get(config, modes[MEAN].flag))
        return found;
    *count = 1;
    return &modes[MEAN];
}

static organ_status put_pooling(const organ_convert_job *job, const char *folder, organ_error *error)
{
    size_t count = 0;
    ORGAN_OWNED char *const name = organ_format("%s%sconfig.json", folder, *folder ? "/" : "");
    ORGAN_OWNED char *const key = organ_format("%s.pooling_type", job->pairing->gguf);
    ORGAN_OWNED_JSON json_t *const config =
        name && key ? organ_model_document(job->model, name, /*flags=*/0, error) : NULL;
    const struct pooling_mode *const mode = find_mode(config, &count);
    if (!name || !key)
        organ_fail_memory(error, MODULES);
    else if (!error->status && config && count == 1 && mode->number)
        organ_gguf_writer_set_integer(job->gguf, key, ORGAN_GGUF_U32, mode->number, error);
    else if (!error->status)
        organ_progress_warn(
            job->progress,
            "%s states no pooling that GGUF has (mean, cls or last): the file gets no pooling_type, and "
            "llama.cpp gives a vector for each token",
            name);
    return error->status;
}

/* Transformer is the model itself. Programs normalise vectors of GGUF models by themselves. */
static organ_status put_module(const organ_convert_job *job, const json_t *module, organ_error *error)
{
    const char *const type = organ_json_plain(json_object_get(module, "type"));
    const char *const path = organ_json_plain(json_object_get(module, "path"));
    if (!type || organ_ends_with(type, "Transformer"))
        return ORGAN_OK;
    if (organ_ends_with(type, "Pooling"))
        return put_pooling(job, path ? path : "", error);
    if (organ_ends_with(type, "Normalize"))
        organ_progress_note(job->progress, MODULES ": GGUF does not store that vectors are normalised; llama.cpp's "
                                                   "programs normalise them unless told otherwise");
    else
        organ_progress_warn(job->progress, MODULES ": GGUF does not store the module '%s' (%s): embeddings lack it",
                            path ? path : "", type);
    return ORGAN_OK;
}

/* ---- files that are left out ---- */

static bool is_left(const void *context, const char *name)
{
    static const char *const all[] = {
        ORGAN_COMPANIONS, ORGAN_TOKENIZER_OTHERS, "README.md", "vocab.txt", MODULES, NULL};
    const organ_convert_job *const job = context;
    return !organ_is_one_of(name, all) && !organ_ends_with(name, "Pooling/config.json") &&
           (!job->model->index || strcmp(name, job->model->index) != 0) &&
           strncmp(name, "additional_chat_templates/", strlen("additional_chat_templates/")) != 0 &&
           !organ_is_report_path(name);
}

static organ_status note_rest(const organ_convert_job *job, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    size_t count = 0;
    if (organ_extra_files_text(job->model, is_left, job, &text, &count, error) == ORGAN_OK && count)
        organ_progress_note(job->progress, "GGUF does not hold %s of the model: %s",
                            count == 1 ? "this file" : "these files", text);
    return error->status;
}

organ_status organ_convert_beside(const organ_convert_job *job, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const modules = organ_model_document(job->model, MODULES, /*flags=*/0, error);
    for (size_t k = 0; k < json_array_size(modules) && !error->status; k++)
        put_module(job, json_array_get(modules, k), error);
    return error->status ? error->status : note_rest(job, error);
}

/* ---- pooling, to safetensors ---- */

static void add_file(organ_convert_job *job, const char *name, json_t *content, organ_error *error)
{
    char *const text = content ? organ_json_dump(content, JSON_INDENT(2)) : NULL;
    json_decref(content);
    if (text)
        job->files[job->file_count++] = (organ_written_file){.name = name, .bytes = text};
    else
        organ_fail_memory(error, name);
}

static json_t *module_json(json_int_t number, const char *path, const char *type)
{
    char name[24];
    snprintf(name, sizeof name, "%lld", (long long)number);
    return ORGAN_OBJECT(SET_COUNT("idx", number), SET_TEXT("name", name), SET_TEXT("path", path),
                        SET_TEXT("type", type));
}

organ_status organ_convert_pooling(organ_convert_job *job, organ_error *error)
{
    char key[256];
    snprintf(key, sizeof key, "%.200s.pooling_type", job->model->config.model_type);
    const int64_t number = organ_gguf_integer(job->model->gguf, key, 0);
    ORGAN_OWNED_JSON json_t *const pooling = json_object(), *const modules = json_array();
    bool known = false, sound = pooling && modules;
    for (size_t k = 0; k < MODES; k++) {
        const bool stated = modes[k].number && modes[k].number == number;
        known = known || stated;
        sound = sound && json_object_set_new(pooling, modes[k].flag, json_boolean(stated)) == 0;
    }
    sound = sound && ORGAN_ADD(pooling, SET_COUNT("word_embedding_dimension", job->config.hidden),
                               SET_FLAG("include_prompt", true));
    sound = sound && json_array_append_new(modules, module_json(0, "", TYPES "Transformer")) == 0 &&
            json_array_append_new(modules, module_json(1, POOLING, TYPES "Pooling")) == 0;
    if (!sound)
        organ_fail_memory(error, job->model->path);
    if (known && sound) {
        add_file(job, POOLING "/config.json", json_incref(pooling), error);
        add_file(job, MODULES, json_incref(modules), error);
        organ_progress_note(job->progress, MODULES " has the pooling of the GGUF file, which does not state whether "
                                                   "vectors are normalised: add a module Normalize if they are");
    } else if (sound && number > 0)
        organ_progress_warn(job->progress, "%s is %lld, for which sentence-transformers has no pooling: it is left out",
                            key, (long long)number);
    return error->status;
}
