/* SPDX-License-Identifier: MIT
 * Writes the files of a tokenizer that has only the kept tokens, with their new ids. Members that name no token keep
 * their values. */
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

#define FILE_BYTES ((size_t)256 << 20) /* of the longest tokenizer file */
#define NAME       "tokenizer.json"
#define CONFIG     "tokenizer_config.json"

typedef struct kept_files {
    const organ_kept_tokens *kept;
    uint32_t *new_ids; /* by id */
    organ_kept_tokens
        *named; /* NULL: ids are replaced by new ones; else the tokens of all ids that are found are kept */
    const char *label;
    organ_error *error;
} kept_files;

static organ_status load(const organ_model *model, const char *name, char **bytes, json_t **root, organ_error *error)
{
    size_t length;
    json_error_t fault;
    bool no_memory;
    *root = NULL;
    if (organ_model_load(model, name, FILE_BYTES, bytes, &length, error) || !*bytes)
        return error->status;
    ORGAN_OWNED char *const tidy = malloc(length + 1); /* for numbers that jansson does not read */
    if (!tidy)
        return organ_fail_memory(error, model->path);
    memcpy(tidy, *bytes, length);
    tidy[length] = '\0';
    organ_hf_config_tidy(tidy, length);
    *root = organ_json_load(tidy, length, JSON_ALLOW_NUL, &fault, &no_memory);
    if (no_memory)
        return organ_fail_memory(error, model->path);
    if (!json_is_object(*root))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s/%s: line %d: %s", model->path, name, fault.line, fault.text);
    return ORGAN_OK;
}

/* ---- ids ---- */

/* Replaces the id, or keeps the token. */
static void take_id(const kept_files *f, const char *what, json_t *value)
{
    const json_int_t id = json_integer_value(value);
    const bool known = id >= 0 && id < f->kept->tokenizer->facts.vocabulary;
    if (!json_is_integer(value) || f->error->status)
        return;
    if (f->named && known)
        organ_kept_add(f->named, &(uint32_t){(uint32_t)id}, 1, ORGAN_KEPT_ADDED, f->error);
    else if (!f->named && (!known || f->new_ids[id] == ORGAN_NO_ID))
        organ_fail(f->error, ORGAN_BAD_INPUT, "%s: %s names the token %lld, which %s", f->label, what, (long long)id,
                   known ? "goes" : "the vocabulary does not have");
    else if (!f->named)
        json_integer_set(value, f->new_ids[id]);
}

/* Lists "ids" of TemplateProcessing; pairs "sep" and "cls" of a text and its id. */
static void take_post_processor(const kept_files *f, json_t *value)
{
    const char *name;
    json_t *member;
    size_t k;
    if (json_is_array(value))
        json_array_foreach(value, k, member) take_post_processor(f, member);
    json_object_foreach(value, name, member)
    {
        json_t *element;
        if (strcmp(name, "ids") == 0 && json_object_get(value, "tokens"))
            json_array_foreach(member, k, element) take_id(f, "the post-processor", element);
        else if ((strcmp(name, "sep") == 0 || strcmp(name, "cls") == 0) && json_array_size(member) == 2)
            take_id(f, "the post-processor", json_array_get(member, 1));
        else
            take_post_processor(f, member);
    }
}

static void take_ids(const kept_files *f, json_t *root)
{
    take_post_processor(f, json_object_get(root, "post_processor"));
    take_id(f, "padding", json_object_get(json_object_get(root, "padding"), "pad_id"));
}

/* ---- tokenizer.json ---- */

static json_t *kept_vocabulary(const kept_files *f, const json_t *vocabulary)
{
    json_t *const made = json_object();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)vocabulary, name, value)
    {
        const json_int_t id = json_integer_value(value);
        const size_t length = json_object_iter_key_len(json_object_key_to_iter(name));
        if (id >= 0 && id < f->kept->tokenizer->facts.vocabulary && f->new_ids[id] != ORGAN_NO_ID &&
            json_object_setn_new(made, name, length, json_integer(f->new_ids[id])))
            organ_fail_memory(f->error, f->label);
    }
    return made;
}

/* A merge is a pair of texts, or one text with a blank between the two. */
static bool is_kept_merge(const kept_files *f, const json_t *merge)
{
    const organ_tokenizer *const t = f->kept->tokenizer;
    const json_t *const first = json_array_get(merge, 0), *const second = json_array_get(merge, 1);
    const char *left = json_string_value(first ? first : merge), *right = json_string_value(second);
    size_t left_bytes = json_string_length(first ? first : merge), right_bytes = json_string_length(second);
    if (left && !first) {
        const char *const blank = left_bytes ? memchr(left + 1, ' ', left_bytes - 1) : NULL;
        right = blank ? blank + 1 : NULL;
        right_bytes = blank ? (size_t)(left + left_bytes - right) : 0;
        left_bytes = blank ? (size_t)(blank - left) : 0;
    }
    if (!left || !right)
        return false;
    const organ_merge *const pair =
        organ_tokenizer_pair(t, organ_tokenizer_id(t, left, left_bytes), organ_tokenizer_id(t, right, right_bytes));
    return pair && f->kept->merges[pair - t->merges];
}

static json_t *kept_merges(const kept_files *f, const json_t *merges)
{
    json_t *const made = json_array();
    for (size_t k = 0; k < json_array_size(merges); k++)
        if (is_kept_merge(f, json_array_get(merges, k)) && json_array_append(made, json_array_get(merges, k)))
            organ_fail_memory(f->error, f->label);
    return made;
}

static uint32_t new_id_of(const kept_files *f, const json_t *content)
{
    const char *const text = json_string_value(content);
    const uint32_t id = text ? organ_vocabulary_id(f->kept->tokenizer, text, json_string_length(content)) : ORGAN_NO_ID;
    return id == ORGAN_NO_ID ? id : f->new_ids[id];
}

static json_t *kept_added(const kept_files *f, const json_t *added)
{
    json_t *const made = json_array();
    for (size_t k = 0; k < json_array_size(added); k++) {
        json_t *const token = json_array_get(added, k);
        const uint32_t id = new_id_of(f, json_object_get(token, "content"));
        if (id != ORGAN_NO_ID && (json_object_set_new(token, "id", json_integer(id)) || json_array_append(made, token)))
            organ_fail_memory(f->error, f->label);
    }
    return made;
}

static void set(const kept_files *f, organ_json_edit *edit, const char *inside, const char *name, json_t *value)
{
    if (!value)
        organ_fail_memory(f->error, f->label);
    else if (!f->error->status && organ_json_edit_has(edit, inside, name))
        organ_json_edit_set(edit, inside, name, value, f->error);
    json_decref(value);
}

static void edit_tokenizer(const kept_files *f, json_t *root, organ_json_edit *edit)
{
    const json_t *const model = json_object_get(root, "model");
    take_ids(f, root);
    set(f, edit, NULL, "added_tokens", kept_added(f, json_object_get(root, "added_tokens")));
    set(f, edit, "model", "vocab", kept_vocabulary(f, json_object_get(model, "vocab")));
    set(f, edit, "model", "merges", kept_merges(f, json_object_get(model, "merges")));
    set(f, edit, NULL, "post_processor", json_incref(json_object_get(root, "post_processor")));
    if (json_is_object(json_object_get(root, "padding")))
        set(f, edit, NULL, "padding", json_incref(json_object_get(root, "padding")));
}

/* ---- tokenizer_config.json ---- */

static void edit_config(const kept_files *f, json_t *root, organ_json_edit *edit)
{
    json_t *const made = json_object(), *const tokens = json_object_get(root, "added_tokens_decoder");
    const char *name;
    json_t *token;
    json_object_foreach(tokens, name, token)
    {
        char key[16];
        const uint32_t id = new_id_of(f, json_object_get(token, "content"));
        snprintf(key, sizeof key, "%u", id);
        if (id != ORGAN_NO_ID && json_object_set(made, key, token))
            organ_fail_memory(f->error, f->label);
    }
    set(f, edit, NULL, "added_tokens_decoder", made);
}

/* A text, an object with a text "content", or a list or an object of these. */
static void keep_text(const kept_files *f, json_t *value)
{
    const char *name;
    json_t *member;
    size_t k;
    if (json_is_string(value)) {
        const uint32_t id =
            organ_vocabulary_id(f->kept->tokenizer, json_string_value(value), json_string_length(value));
        if (id != ORGAN_NO_ID && !f->error->status)
            organ_kept_add(f->named, &id, 1, ORGAN_KEPT_ADDED, f->error);
    } else if (json_is_array(value))
        json_array_foreach(value, k, member) keep_text(f, member);
    else
        json_object_foreach(value, name, member) keep_text(f, member);
}

static void keep_named_texts(const kept_files *f, json_t *root)
{
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value) if (organ_ends_with(name, "_token") || organ_ends_with(name, "_tokens"))
        keep_text(f, value);
}

/* ---- both ---- */

organ_status organ_kept_named(organ_kept_tokens *kept, const organ_model *model, organ_error *error)
{
    static const char *const names[] = {NAME, CONFIG};
    kept_files f = {.kept = kept, .named = kept, .label = model->path, .error = error};
    for (size_t k = 0; k < 2 && !model->gguf && !error->status; k++) {
        ORGAN_OWNED char *bytes = NULL;
        ORGAN_OWNED_JSON json_t *root = NULL;
        if (load(model, names[k], &bytes, &root, error) == ORGAN_OK && root)
            k ? keep_named_texts(&f, root) : take_ids(&f, root);
    }
    return error->status;
}

organ_status organ_kept_file(const organ_kept_tokens *kept, const organ_model *model, const char *name, char **text,
                             organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *root = NULL;
    ORGAN_OWNED uint32_t *const new_ids = organ_kept_new_ids(kept, error);
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    const kept_files f = {.kept = kept, .new_ids = new_ids, .label = name, .error = error};
    *text = NULL;
    if (!new_ids || load(model, name, &bytes, &root, error) || !root ||
        organ_json_edit_begin(&edit, name, bytes, strlen(bytes), error))
        return error->status;
    if (kept->count == kept->tokenizer->facts.vocabulary) { /* all tokens stay: so do their merges */
        *text = bytes;
        bytes = NULL;
        return ORGAN_OK;
    }
    if (strcmp(name, NAME) == 0)
        edit_tokenizer(&f, root, &edit);
    else
        edit_config(&f, root, &edit);
    if (!error->status && !(*text = organ_format("%s", edit.bytes)))
        organ_fail_memory(error, name);
    return error->status;
}

/* ---- GGUF ---- */

#define KEY(name) "tokenizer.ggml." name

static const organ_gguf_kv *array_of(const organ_model *model, const char *key)
{
    const organ_gguf_kv *const kv = organ_gguf_find(model->gguf, key);
    return kv && kv->type == ORGAN_GGUF_ARRAY ? kv : NULL;
}

/* Bytes of the string at `at`, with its length. The reader has checked the array. */
static size_t string_size(const organ_gguf_kv *kv, size_t at)
{
    uint64_t length;
    memcpy(&length, kv->bytes + at, sizeof length);
    return sizeof length + (size_t)length;
}

/* Copies the elements of an array with an element for each token. */
static organ_status keep_elements(const organ_kept_tokens *kept, const organ_model *model, organ_gguf_writer *writer,
                                  const char *key, organ_error *error)
{
    const organ_gguf_kv *const kv = array_of(model, key);
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes made = {0};
    bool complete = true;
    uint64_t count = 0;
    if (!kv)
        return ORGAN_OK;
    const bool texts = kv->element == ORGAN_GGUF_STRING;
    const size_t width = kv->count ? (kv->size - ORGAN_GGUF_ARRAY_HEAD) / (size_t)kv->count : 0;
    for (size_t id = 0, at = ORGAN_GGUF_ARRAY_HEAD, size; id < kv->count && complete; id++, at += size) {
        size = texts ? string_size(kv, at) : width;
        if (id < kept->tokenizer->facts.vocabulary && kept->why[id]) {
            complete = organ_bytes_add(&made, (const char *)kv->bytes + at, size);
            count++;
        }
    }
    return complete ? organ_gguf_writer_set_array(writer, key, kv->element, count, made.data ? made.data : "",
                                                  made.used, error)
                    : organ_fail_memory(error, key);
}

static organ_status keep_gguf_merges(const organ_kept_tokens *kept, const organ_model *model, organ_gguf_writer *writer,
                                     organ_error *error)
{
    const organ_gguf_kv *const kv = array_of(model, KEY("merges"));
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes made = {0};
    const kept_files f = {.kept = kept, .label = KEY("merges"), .error = error};
    bool complete = true;
    uint64_t count = 0;
    if (!kv || kv->element != ORGAN_GGUF_STRING)
        return ORGAN_OK;
    for (size_t k = 0, at = ORGAN_GGUF_ARRAY_HEAD; k < kv->count && complete; k++) {
        const size_t size = string_size(kv, at);
        ORGAN_OWNED_JSON json_t *const text = json_stringn((const char *)kv->bytes + at + 8, size - 8);
        if (text && is_kept_merge(&f, text)) {
            complete = organ_bytes_add(&made, (const char *)kv->bytes + at, size);
            count++;
        }
        complete = complete && text;
        at += size;
    }
    return complete ? organ_gguf_writer_set_array(writer, KEY("merges"), ORGAN_GGUF_STRING, count,
                                                  made.data ? made.data : "", made.used, error)
                    : organ_fail_memory(error, KEY("merges"));
}

organ_status organ_kept_gguf(const organ_kept_tokens *kept, const organ_model *model, organ_gguf_writer *writer,
                             organ_error *error)
{
    static const char *const lists[] = {KEY("tokens"), KEY("scores"), KEY("token_type")};
    for (size_t k = 0; k < sizeof lists / sizeof *lists && !error->status; k++)
        keep_elements(kept, model, writer, lists[k], error);
    return error->status ? error->status : keep_gguf_merges(kept, model, writer, error);
}
