/* SPDX-License-Identifier: MIT
 * Finds the chat templates of a model in the files where transformers looks for them, and writes them to GGUF. */
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/model/organ_directory.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEMPLATE_FOLDER "additional_chat_templates"
#define TEMPLATE_KEY    "tokenizer.chat_template"

enum { TEMPLATE_LIMIT = 64 << 20 }; /* largest size, in bytes, of a file with a template */

/* ---- files ---- */

static organ_status add_template_file(const organ_model *model, const char *file, const char *name, json_t *templates,
                                      organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    if (organ_model_load(model, file, TEMPLATE_LIMIT, &bytes, &length, error) || !bytes)
        return error->status;
    json_t *const text = json_stringn(bytes, length);
    if (!text)
        return organ_refuse(error, model->path, "%s is not valid UTF-8", file);
    return json_object_set_new(templates, name, text) ? organ_fail_memory(error, model->path) : ORGAN_OK;
}

static int is_template(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && organ_ends_with(entry->d_name, ".jinja");
}

static int by_file_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* Adds the files *.jinja of the folder additional_chat_templates, under their names without the ending. */
static organ_status add_template_folder(const organ_model *model, json_t *templates, organ_error *error)
{
    const char *const inside = model->manifest ? "/" ORGAN_FILES_FOLDER : "";
    ORGAN_OWNED char *const path = organ_format("%s%s/" TEMPLATE_FOLDER, model->directory, inside);
    ORGAN_OWNED struct dirent **entries = NULL;
    const int count = path ? organ_list_folder(path, &entries, is_template, by_file_name) : 0;
    if (!path)
        organ_fail_memory(error, model->path);
    else if (count < 0 && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s: cannot be listed", path);
    for (int k = 0; k < count; k++) {
        const char *const name = entries[k]->d_name;
        ORGAN_OWNED char *const file = organ_format(TEMPLATE_FOLDER "/%s", name);
        ORGAN_OWNED char *const stem = strndup(name, strlen(name) - strlen(".jinja"));
        if (!file || !stem)
            organ_fail_memory(error, model->path);
        else if (!error->status)
            add_template_file(model, file, stem, templates, error);
        free(entries[k]);
    }
    return error->status;
}

/* Processors of models with images have the template in chat_template.json. */
static organ_status add_from_processor(const organ_model *model, json_t *templates, organ_error *error)
{
    static const char name[] = "chat_template.json";
    organ_json_source text = {.label = name};
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *root = NULL;
    organ_model_load(model, name, TEMPLATE_LIMIT, &bytes, &text.length, error);
    text.bytes = bytes;
    if (!error->status && bytes && organ_json_parse_object(&text, &root, error) == ORGAN_OK) {
        json_t *const value = json_object_get(root, "chat_template");
        if (json_is_string(value) && json_object_set(templates, "default", value))
            organ_fail_memory(error, model->path);
    }
    return error->status;
}

static organ_status add_from_config(const organ_model *model, const json_t *config, json_t *templates,
                                    organ_error *error)
{
    json_t *const value = json_object_get(config, "chat_template"), *one;
    const char *key;
    size_t k;
    int failed = json_is_string(value) ? json_object_set(templates, "default", value) : 0;
    json_object_foreach(value, key, one) if (json_is_string(one)) failed |= json_object_set(templates, key, one);
    json_array_foreach(value, k, one)
    {
        const char *const name = organ_json_plain(json_object_get(one, "name"));
        json_t *const text = json_object_get(one, "template");
        if (name && json_is_string(text))
            failed |= json_object_set(templates, name, text);
    }
    return failed ? organ_fail_memory(error, model->path) : ORGAN_OK;
}

/* Sets *templates, which the caller releases, to an object with the chat templates of a model by name; that of the
 * usual one is "default". They are chat_template.jinja and additional_chat_templates/NAME.jinja; without these files,
 * the member chat_template of `config` (tokenizer_config.json, or NULL); without that, chat_template.json. */
static organ_status read_templates(const organ_model *model, const json_t *config, json_t **templates,
                                   organ_error *error)
{
    *templates = json_object();
    if (!*templates)
        return organ_fail_memory(error, model->path);
    if (add_template_file(model, "chat_template.jinja", "default", *templates, error) == ORGAN_OK)
        add_template_folder(model, *templates, error);
    if (!error->status && json_object_size(*templates) == 0)
        add_from_config(model, config, *templates, error);
    if (!error->status && json_object_size(*templates) == 0)
        add_from_processor(model, *templates, error);
    return error->status;
}

organ_status organ_chat_template_read(const organ_model *model, char **text, organ_error *error)
{
    organ_tokenizer *const t = organ_tokenizer_create(model->path, error);
    size_t length = 0;
    ORGAN_OWNED_JSON json_t *config = NULL, *templates = NULL;
    *text = NULL;
    const char *found = model->gguf ? organ_gguf_string(model->gguf, TEMPLATE_KEY, &length) : NULL;
    if (t && !model->gguf && organ_tokenizer_config(model, t, &config, error) == ORGAN_OK &&
        read_templates(model, config, &templates, error) == ORGAN_OK) {
        found = json_string_value(json_object_get(templates, "default"));
        length = found ? strlen(found) : 0;
    }
    if (found && !error->status && !(*text = strndup(found, length)))
        organ_fail_memory(error, model->path);
    organ_tokenizer_close(t);
    return error->status;
}

/* ---- GGUF ---- */

/* gguf-py writes names so, with '_' for characters other than ASCII letters and digits. */
static organ_status write_one(const gguf_export *e, const char *name, const json_t *text, organ_bytes *names,
                              organ_error *error)
{
    char key[sizeof TEMPLATE_KEY + 128];
    if (strcmp(name, "default") == 0)
        return organ_gguf_writer_set_string(e->writer, TEMPLATE_KEY, json_string_value(text), json_string_length(text),
                                            error);
    const int length = snprintf(key, sizeof key, TEMPLATE_KEY ".%.120s", name);
    char *const own = key + sizeof TEMPLATE_KEY;
    for (char *at = own; *at; at++)
        *at = isalnum((unsigned char)*at) && (unsigned char)*at < 128 ? *at : '_';
    const uint64_t bytes = (uint64_t)length - sizeof TEMPLATE_KEY;
    if (!organ_bytes_add(names, (const char *)&bytes, sizeof bytes) || !organ_bytes_add(names, own, (size_t)bytes))
        return organ_fail_memory(error, e->model->path);
    return organ_gguf_writer_set_string(e->writer, key, json_string_value(text), json_string_length(text), error);
}

organ_status organ_tokenizer_write_templates(const gguf_export *e, const json_t *config, organ_error *error)
{
    json_t *templates = NULL, *text;
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes names = {0};
    const char *name;
    uint64_t count = 0;
    read_templates(e->model, config, &templates, error);
    json_object_foreach(templates, name, text) if (!error->status)
    {
        count += strcmp(name, "default") != 0;
        write_one(e, name, text, &names, error);
    }
    if (!error->status && count)
        organ_gguf_writer_set_array(e->writer, TEMPLATE_KEY "s", ORGAN_GGUF_STRING, count, names.data, names.used,
                                    error);
    json_decref(templates);
    return error->status;
}

static const char eos_member[] = "eos_token_id";

static organ_status add_stop(const char *label, organ_stop_ids *stops, int64_t id, organ_error *error)
{
    for (unsigned k = 0; k < stops->count; k++)
        if (stops->ids[k] == id)
            return ORGAN_OK;
    if (id < 0 || stops->count == ORGAN_STOP_LIMIT)
        return organ_refuse(error, label, "%s has %s", eos_member, id < 0 ? "an id below 0" : "too many ids");
    stops->ids[stops->count++] = id;
    return ORGAN_OK;
}

static organ_status add_stops(const char *label, organ_stop_ids *stops, const json_t *value, organ_error *error)
{
    if (!value || json_is_null(value))
        return ORGAN_OK;
    for (size_t k = 0; k < (json_is_array(value) ? json_array_size(value) : 1) && !error->status; k++) {
        const json_t *const one = json_is_array(value) ? json_array_get(value, k) : value;
        if (!json_is_integer(one))
            return organ_refuse(error, label, "%s is neither a whole number nor a list of them", eos_member);
        add_stop(label, stops, json_integer_value(one), error);
    }
    return error->status;
}

static organ_status add_from_file(const organ_model *model, const char *name, organ_stop_ids *stops, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    if (organ_model_load_json(model, name, name, &root, error) == ORGAN_OK && root &&
        add_stops(name, stops, json_object_get(root, eos_member), error) == ORGAN_OK && stops->count == 0)
        add_stops(name, stops, json_object_get(json_object_get(root, "text_config"), eos_member), error);
    return error->status;
}

organ_status organ_stop_ids_read(const organ_model *model, const organ_tokenizer *tokenizer, organ_stop_ids *stops,
                                 organ_error *error)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const int64_t eos = organ_tokenizer_describe(tokenizer)->eos;
    *stops = (organ_stop_ids){0};
    for (size_t k = 0; model->gguf && k < sizeof keys / sizeof *keys && !error->status; k++) {
        const int64_t id = organ_gguf_integer(model->gguf, keys[k], -1);
        if (id >= 0 && id < organ_tokenizer_describe(tokenizer)->vocabulary)
            add_stop(model->path, stops, id, error);
    }
    if (!model->gguf && add_from_file(model, "generation_config.json", stops, error) == ORGAN_OK && stops->count == 0)
        add_from_file(model, "config.json", stops, error);
    return error->status || stops->count || eos < 0 ? error->status : add_stop(model->path, stops, eos, error);
}
