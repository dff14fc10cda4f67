/* SPDX-License-Identifier: MIT
 * Reads from tokenizer_config.json and from the post_processor of tokenizer.json which tokens begin and end a text. */
#include "formats/base/text_buffer.h"
#include "formats/model/organ_directory.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_LIMIT = 8 }; /* levels of post-processors inside post-processors */

const char *organ_tokenizer_label(const organ_model *model, organ_tokenizer *t, const char *name)
{
    const char *const folder = model->manifest ? "/" ORGAN_FILES_FOLDER : "";
    char *const path = organ_format("%s%s/%s", model->directory, folder, name);
    const char *const label = path ? organ_arena_copy(&t->arena, path, strlen(path)) : NULL;
    free(path);
    return label ? label : name;
}

static int64_t token_named(const organ_tokenizer *t, const json_t *value)
{
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    const char *text = json_string_value(content);
    if (!text)
        return -1;
    const size_t bytes = json_string_length(content);
    const int64_t added = organ_tokenizer_added(t, text, bytes);
    if (added >= 0)
        return added;
    const uint32_t id = organ_tokenizer_id(t, text, bytes);
    return id == ORGAN_NO_ID ? -1 : (int64_t)id;
}

/* The token is the first element of a TemplateProcessing, or `cls` of a RobertaProcessing or BertProcessing. `depth`
 * is the level of `post` in sequences of post-processors. */
static const json_t *before_text(const json_t *post, unsigned depth)
{
    const char *const type = json_string_value(json_object_get(post, "type"));
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return json_object_get(json_object_get(json_array_get(json_object_get(post, "single"), 0), "SpecialToken"),
                               "id");
    if (type && (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0))
        return json_array_get(json_object_get(post, "cls"), 0);
    const json_t *list = depth < DEPTH_LIMIT ? json_object_get(post, "processors") : NULL;
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *found = before_text(json_array_get(list, k), depth + 1);
        if (found)
            return found;
    }
    return NULL;
}

static bool class_adds_nothing(const json_t *config)
{
    const char *const class = json_string_value(json_object_get(config, "tokenizer_class"));
    return class && (strcmp(class, "GPTNeoXTokenizer") == 0 || strcmp(class, "GPTNeoXTokenizerFast") == 0);
}

/* transformers 5 ignores add_bos_token if there is a tokenizer.json: its post_processor alone decides. A true
 * facts.adds_bos without a BOS token is rejected. */
organ_status organ_tokenizer_settings(organ_tokenizer *t, const char *label, const json_t *config, bool from_json,
                                      const json_t *post, organ_error *error)
{
    const json_t *const requested = json_object_get(config, "add_bos_token");
    const json_t *const first = class_adds_nothing(config) ? NULL : before_text(post, 0);
    if (requested && !json_is_boolean(requested) && !json_is_null(requested))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: 'add_bos_token' is neither true nor false", label);
    t->facts.adds_bos = from_json ? first != NULL : json_is_true(requested);
    t->facts.bos = token_named(t, first ? first : json_object_get(config, "bos_token"));
    t->facts.eos = token_named(t, json_object_get(config, "eos_token"));
    if (t->facts.adds_bos && t->facts.bos < 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: each text must begin with BOS, but 'bos_token' is not in the vocabulary", label);
    return ORGAN_OK;
}
