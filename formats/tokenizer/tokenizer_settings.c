/* SPDX-License-Identifier: MIT
 * Reads from tokenizer_config.json and from the post_processor of tokenizer.json which tokens begin and end a text. */
#include "formats/base/text_buffer.h"
#include "formats/model/organ_directory.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* Upper bounds: bytes of tokenizer_config.json, levels of post-processors inside post-processors. */
enum { FILE_LIMIT = 64 << 20, DEPTH_LIMIT = 8 };

static const char file_name[] = "tokenizer_config.json";

/* Returns the path of the file `name` in the model's directory, or in its folder of files for an organ directory, for
 * messages. The tokenizer's arena owns the path. Returns `name` itself if memory is exhausted. */
const char *organ_tokenizer_label(const organ_model *model, organ_tokenizer *t, const char *name)
{
    const char *const folder = model->manifest ? "/" ORGAN_FILES_FOLDER : "";
    char *const path = organ_format("%s%s/%s", model->directory, folder, name);
    const char *const label = path ? organ_arena_copy(&t->arena, path, strlen(path)) : NULL;
    free(path);
    return label ? label : name;
}

/* Returns the id of the token that `value` names, as text or as {"content": text}; -1 for null, a missing value, or
 * a text that is no token. */
static int64_t token_named(const organ_tokenizer *t, const json_t *value)
{
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    const char *text = json_string_value(content);
    if (!text)
        return -1;
    const size_t bytes = json_string_length(content);
    for (size_t k = 0; k < t->raw.count; k++)
        if (t->raw.items[k].bytes == bytes && memcmp(t->raw.items[k].text, text, bytes) == 0)
            return t->raw.items[k].id;
    const uint32_t id = organ_tokenizer_id(t, text, bytes);
    return id == ORGAN_NO_ID ? -1 : (int64_t)id;
}

/* Returns the name of the token that a TemplateProcessing in the post-processor `post` puts before a text, or NULL if
 * there is none. Searches a Sequence of post-processors recursively; `depth` is the level of `post` in it. */
static const json_t *before_text(const json_t *post, unsigned depth)
{
    const char *type = json_string_value(json_object_get(post, "type"));
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return json_object_get(json_object_get(json_array_get(json_object_get(post, "single"), 0), "SpecialToken"),
                               "id");
    const json_t *list = depth < DEPTH_LIMIT ? json_object_get(post, "processors") : NULL;
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *found = before_text(json_array_get(list, k), depth + 1);
        if (found)
            return found;
    }
    return NULL;
}

/* Sets facts.bos and facts.eos from bos_token and eos_token of the config; if bos_token is missing or no token,
 * facts.bos is the token that the template in `post` puts before a text. Sets facts.adds_bos to add_bos_token of the
 * config or, if that is missing, to true if the template puts a token before a text. Rejects a true facts.adds_bos
 * without a BOS token. `label` is the path of the config, for messages. */
static organ_status apply_settings(organ_tokenizer *t, const char *label, const json_t *config, const json_t *post,
                                   organ_error *error)
{
    const json_t *requested = json_object_get(config, "add_bos_token"), *first = before_text(post, 0);
    if (requested && !json_is_boolean(requested) && !json_is_null(requested))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: 'add_bos_token' is neither true nor false", label);
    t->facts.adds_bos = json_is_boolean(requested) ? json_is_true(requested) : first != NULL;
    t->facts.bos = token_named(t, json_object_get(config, "bos_token"));
    t->facts.eos = token_named(t, json_object_get(config, "eos_token"));
    if (t->facts.bos < 0)
        t->facts.bos = token_named(t, first);
    if (t->facts.adds_bos && t->facts.bos < 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: each text must begin with BOS, but 'bos_token' is not in the vocabulary", label);
    return ORGAN_OK;
}

/* Reads tokenizer_config.json of the model, if there is one, and sets BOS and EOS. `post` is the post_processor of
 * tokenizer.json, or NULL. */
organ_status organ_tokenizer_settings(const organ_model *model, organ_tokenizer *t, const json_t *post,
                                      organ_error *error)
{
    const char *const label = organ_tokenizer_label(model, t, file_name);
    organ_json_source text = {.label = label};
    char *bytes = NULL;
    json_t *config = NULL;
    organ_model_load(model, file_name, FILE_LIMIT, &bytes, &text.length, error);
    text.bytes = bytes;
    if (!error->status && bytes)
        organ_json_parse(&text, (organ_json_span){0, text.length}, NULL, &config, error);
    if (!error->status && config && !json_is_object(config))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: it is not an object", label);
    if (!error->status)
        apply_settings(t, label, config, post, error);
    json_decref(config);
    free(bytes);
    return error->status;
}
