/* SPDX-License-Identifier: MIT
 * The table of settings that hold ids of tokens, and what visits them. */
#include "orchestrator/surgery/vocabulary/token_settings.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/config/model_config.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const organ_token_files[] = {ORGAN_TOKEN_FILES, NULL};

#define DRAFT_ROWS "draft_vocab_size"

/* ---- the table ---- */

typedef enum setting_kind {
    SETTING_OTHER,      /* holds no id */
    SETTING_ID,         /* an id, or a list of ids */
    SETTING_SUPPRESSED, /* a list of ids, or of lists of ids, of which those that go can be left out */
    SETTING_ROWS,       /* the number of rows of the embedding */
    SETTING_FIXED,      /* ids, codes or offsets that no renumbering can follow */
    SETTING_UNKNOWN     /* the name looks like that of an id */
} setting_kind;

/* The first pattern (of fnmatch) that a name has decides. */
static const struct {
    const char *pattern;
    setting_kind kind;
} table[] = {
    /* numbers and ids of codebooks, n-grams, and offsets */
    {"vocab_offset", SETTING_FIXED},
    {"vocabulary_map", SETTING_FIXED},
    {"*codebook*", SETTING_FIXED},
    {"*codec_*", SETTING_FIXED},
    {"tts_*", SETTING_FIXED},
    {"t2u_*", SETTING_FIXED},
    {"*ngram*", SETTING_FIXED},
    {"*oe_vocab*", SETTING_FIXED},
    {"lang_to_id", SETTING_FIXED},
    {"task_to_id", SETTING_FIXED},
    {"no_timestamps_token_id", SETTING_FIXED},
    {"sequence_bias", SETTING_FIXED},
    {DRAFT_ROWS, SETTING_FIXED},
    {"target_vocab_size", SETTING_FIXED},
    {"classifier_from_token", SETTING_FIXED},
    /* rows */
    {"vocab_size", SETTING_ROWS},
    {"vocab_size_per_layer_input", SETTING_ROWS},
    {"padded_vocab_size", SETTING_ROWS},
    {"text_vocab_size", SETTING_ROWS},
    /* tokens that a text must not have */
    {"suppress_tokens", SETTING_SUPPRESSED},
    {"begin_suppress_tokens", SETTING_SUPPRESSED},
    {"suppressed_tokens", SETTING_SUPPRESSED},
    {"bad_words_ids", SETTING_SUPPRESSED},
    /* ids */
    {"force_words_ids", SETTING_ID},
    {"forced_decoder_ids", SETTING_FIXED},
    {"*token_id", SETTING_ID},
    {"*token_ids", SETTING_ID},
    {"*token_index", SETTING_ID},
    {"*token_indices", SETTING_ID},
    {"im_start_id", SETTING_ID},
    {"im_end_id", SETTING_ID},
    {"slice_start_id", SETTING_ID},
    {"slice_end_id", SETTING_ID},
    {"image_start_id", SETTING_ID},
    {"image_end_id", SETTING_ID},
    {"image_patch_id", SETTING_ID},
    {"im_newline_id", SETTING_ID},
    {"newline_id", SETTING_ID},
    {"bos_index", SETTING_ID},
    {"eos_index", SETTING_ID},
    {"pad_index", SETTING_ID},
    {"unk_index", SETTING_ID},
    {"mask_index", SETTING_ID},
    {"trainable_token_indices", SETTING_ID},
    {"alora_invocation_tokens", SETTING_ID},
    /* numbers of layers, channels, outputs, labels and speakers */
    {"*layer*", SETTING_OTHER},
    {"*attn*", SETTING_OTHER},
    {"*out_ind*", SETTING_OTHER},
    {"*block_ind*", SETTING_OTHER},
    {"*ignore_index", SETTING_OTHER},
    {"*visual_indexes", SETTING_OTHER},
    {"*channel_ind*", SETTING_OTHER},
    {"*hidden_state*", SETTING_OTHER},
    {"*hook_ids", SETTING_OTHER},
    {"*prompt_id", SETTING_OTHER},
    {"repo_id", SETTING_OTHER},
    {"speaker_id", SETTING_OTHER},
    {"lang_id", SETTING_OTHER},
    {"altup_active_idx", SETTING_OTHER},
    {"head_in_index", SETTING_OTHER},
    {"*consumer_indices", SETTING_OTHER},
    {"use_task_id", SETTING_OTHER},
    {"*projection_indices", SETTING_OTHER},
    {"eval_idx", SETTING_OTHER},
    {"merge_index", SETTING_OTHER},
    {"*_idxs", SETTING_OTHER},
    {"dense_mlp_idx", SETTING_OTHER},
    {"sliding_idx", SETTING_OTHER},
    {"low_indices", SETTING_OTHER},
    {"divisor_indices", SETTING_OTHER},
    {"*image_grid*", SETTING_OTHER},
    /* other names that end so */
    {"*_id", SETTING_UNKNOWN},
    {"*_ids", SETTING_UNKNOWN},
    {"*_index", SETTING_UNKNOWN},
    {"*_indices", SETTING_UNKNOWN},
    {"*_indexes", SETTING_UNKNOWN},
    {"*_idx", SETTING_UNKNOWN}};

static setting_kind kind_of(const char *name)
{
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        if (fnmatch(table[k].pattern, name, 0) == 0)
            return table[k].kind;
    return SETTING_OTHER;
}

/* ---- values ---- */

/* The settings of one file. */
typedef struct settings_walk {
    const organ_token_settings *s;
    const char *label; /* of the file */
    char path[256];    /* of the object, "" for the document: "text_config." */
    bool changed;      /* a value was replaced */
    bool same_ids;     /* all ids stay */
    bool gguf;         /* key-values */
    organ_error *error;
} settings_walk;

static bool has_same_ids(const organ_token_settings *s)
{
    uint32_t id = 0;
    while (s->new_ids && id < s->count && s->new_ids[id] == id)
        id++;
    return id == s->count;
}

static organ_status refuse(const settings_walk *w, const char *name, const json_t *value, const char *why)
{
    ORGAN_OWNED char *const text = organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (w->error->status)
        return w->error->status;
    return organ_fail(w->error, ORGAN_BAD_INPUT, "%s: %s%s is %.60s: %s", w->label, w->path, name, text ? text : "",
                      why);
}

/* Replaces one id; -1 and numbers below stand for none. Returns false if its token goes. */
static bool take_id(settings_walk *w, const char *name, json_t *value)
{
    const json_int_t id = json_integer_value(value);
    if (!json_is_integer(value) || id < 0)
        return true;
    if (id >= w->s->count)
        return w->s->new_ids ? (refuse(w, name, value, "the vocabulary has no such token"), true) : true;
    if (w->s->keep && !w->error->status)
        w->s->keep(w->s->context, (uint32_t)id, w->error);
    if (!w->s->new_ids)
        return true;
    if (w->s->new_ids[id] == UINT32_MAX)
        return false;
    w->changed |= w->s->new_ids[id] != id;
    json_integer_set(value, w->s->new_ids[id]);
    return true;
}

static void take_ids(settings_walk *w, const char *name, json_t *value)
{
    json_t *element;
    size_t k;
    if (!take_id(w, name, value))
        refuse(w, name, value, "its token goes");
    json_array_foreach(value, k, element) take_ids(w, name, element);
}

/* Leaves out the ids of tokens that go, and lists of which one goes. Returns false if `value` is to be left out. */
static bool take_suppressed(settings_walk *w, const char *name, json_t *value, bool nested)
{
    if (!json_is_array(value))
        return take_id(w, name, value);
    for (size_t k = json_array_size(value); k-- > 0;)
        if (!take_suppressed(w, name, json_array_get(value, k), /*nested=*/true)) {
            w->changed = true;
            if (nested)
                return false;
            json_array_remove(value, k);
        }
    return true;
}

static void take_rows(settings_walk *w, const char *name, json_t *value)
{
    const json_int_t rows = json_integer_value(value);
    if (!w->s->new_ids || !json_is_integer(value))
        return;
    /* parts of a model for images or sound have vocabularies of their own */
    if (rows != (json_int_t)w->s->rows && rows != (json_int_t)w->s->count) {
        if (!*w->path || strcmp(w->path, "text_config.") == 0)
            refuse(w, name, value, "the embedding has another number of rows");
        return;
    }
    w->changed |= rows != (json_int_t)w->s->new_rows;
    json_integer_set(value, (json_int_t)w->s->new_rows);
}

static bool has_number(const json_t *value)
{
    return (json_is_integer(value) && json_integer_value(value) >= 0) ||
           (json_array_size(value) && has_number(json_array_get(value, 0))) ||
           (json_is_object(value) && json_object_size(value));
}

static void take_value(settings_walk *w, const char *name, json_t *value)
{
    const setting_kind kind = kind_of(name);
    organ_token_settings quiet = *w->s;
    const organ_token_settings *const all = w->s;
    if (all->apart && organ_is_one_of(name, all->apart))
        return;
    switch (kind) {
    case SETTING_ID:
        take_ids(w, name, value);
        break;
    case SETTING_ROWS:
        take_rows(w, name, value);
        break;
    case SETTING_SUPPRESSED:
        quiet.keep = NULL;
        w->s = &quiet;
        take_suppressed(w, name, value, /*nested=*/false);
        w->s = all;
        break;
    case SETTING_FIXED:
        if (all->new_ids && !(w->same_ids && all->new_rows == all->rows) && has_number(value))
            refuse(w, name, value, "a vocabulary of codes, offsets or n-grams cannot follow other ids");
        break;
    case SETTING_UNKNOWN:
        if (all->new_ids && !w->same_ids && has_number(value))
            refuse(w, name, value, "it may be the id of a token, but is not known to be one");
        break;
    case SETTING_OTHER:
        break;
    }
}

static void walk(settings_walk *w, json_t *object);

static void walk_member(settings_walk *w, const char *name, json_t *value)
{
    const size_t length = strlen(w->path);
    json_t *element;
    size_t k;
    if (!json_is_object(value) && !(json_is_array(value) && json_is_object(json_array_get(value, 0)))) {
        take_value(w, name, value);
        return;
    }
    if (kind_of(name) == SETTING_FIXED) {
        take_value(w, name, value);
        return;
    }
    snprintf(w->path + length, sizeof w->path - length, "%.60s.", name);
    if (json_is_object(value))
        walk(w, value);
    else
        json_array_foreach(value, k, element) walk(w, element);
    w->path[length] = 0;
}

/* Names of labels are no settings. */
static void walk(settings_walk *w, json_t *object)
{
    const char *name;
    json_t *value;
    if (strlen(w->path) + 64 > sizeof w->path)
        return;
    json_object_foreach(object, name, value) if (strcmp(name, "id2label") != 0 && strcmp(name, "label2id") != 0 &&
                                                 strcmp(name, "quantization_config") != 0) walk_member(w, name, value);
}

/* ---- config.json and other files ---- */

static organ_status collect_file(const organ_token_settings *s, const organ_model *model, const char *name,
                                 organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    settings_walk w = {.s = s, .label = name, .error = error};
    if (organ_model_load_json(model, name, name, &root, error) == ORGAN_OK && root)
        walk(&w, root);
    return error->status;
}

static void note(const settings_walk *w, const char *name, const json_t *before, json_t *after)
{
    if (w->s->changes && json_array_append_new(w->s->changes, json_pack("{s:s, s:s, s:O, s:O}", "where",
                                                                        w->gguf ? "GGUF" : organ_path_name(w->label),
                                                                        "key", name, "before", before, "after", after)))
        organ_fail_memory(w->error, w->label);
}

/* Sets the members of the document, or of one of its objects, that differ. */
static void set_changed(const settings_walk *w, organ_json_edit *edit, const json_t *before, json_t *after,
                        const char *inside)
{
    const char *name;
    json_t *value;
    json_object_foreach(after, name, value)
    {
        const json_t *const old = json_object_get(before, name);
        if (w->error->status || json_equal(old, value))
            continue;
        if (!inside && json_is_object(value)) {
            set_changed(w, edit, old, value, name);
            continue;
        }
        organ_json_edit_set(edit, inside, name, value, w->error);
        note(w, name, old, value);
    }
}

organ_status organ_token_settings_edit(const organ_token_settings *s, organ_json_edit *config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *before = NULL, *after = NULL;
    settings_walk w = {.s = s, .label = config->label, .same_ids = has_same_ids(s), .error = error};
    if (organ_config_parse(config->label, config->bytes, config->length, &before, error))
        return error->status;
    if (!(after = json_deep_copy(before)))
        return organ_fail_memory(error, config->label);
    walk(&w, after);
    if (!error->status && w.changed)
        set_changed(&w, config, before, after, NULL);
    return error->status;
}

organ_status organ_token_settings_edit_draft(const organ_token_settings *s, organ_json_edit *config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL, *const rows = json_integer((json_int_t)s->draft_rows);
    const settings_walk w = {.s = s, .label = config->label, .error = error};
    if (organ_config_parse(config->label, config->bytes, config->length, &root, error))
        return error->status;
    const json_t *const before = json_object_get(root, DRAFT_ROWS);
    if (!rows)
        return organ_fail_memory(error, config->label);
    if (json_equal(before, rows) || organ_json_edit_set(config, NULL, DRAFT_ROWS, rows, error))
        return error->status;
    note(&w, DRAFT_ROWS, before ? before : json_null(), rows);
    return error->status;
}

/* ---- key-values ---- */

/* Keys of arrays with an element for each token, which are no ids. */
static bool is_token_list(const char *key)
{
    static const char *const lists[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type",
                                        "tokenizer.ggml.merges", NULL};
    return organ_is_one_of(key, lists);
}

static json_t *value_of(const organ_gguf_kv *kv)
{
    int64_t number;
    if (kv->type != ORGAN_GGUF_ARRAY)
        return organ_gguf_integer_at(kv, 0, &number) ? json_integer(number) : json_null();
    json_t *const list = json_array();
    for (uint64_t k = 0; k < kv->count && kv->count <= 65536; k++)
        if (organ_gguf_integer_at(kv, k, &number))
            json_array_append_new(list, json_integer(number));
    return list;
}

static const char *last_word(const char *key)
{
    const char *const dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

static void take_key(settings_walk *w, const organ_gguf_kv *kv, organ_gguf_writer *writer)
{
    const char *const name = last_word(kv->key);
    if (is_token_list(kv->key) || kind_of(name) == SETTING_OTHER)
        return;
    ORGAN_OWNED_JSON json_t *const before = value_of(kv);
    ORGAN_OWNED_JSON json_t *const after = json_deep_copy(before);
    if (!after) {
        organ_fail_memory(w->error, w->label);
        return;
    }
    if (kind_of(name) != SETTING_ROWS) /* those of another number are refused only at the top */
        snprintf(w->path, sizeof w->path, "%.*s", (int)(name - kv->key), kv->key);
    take_value(w, name, after);
    w->path[0] = 0;
    if (!writer || w->error->status || json_equal(before, after))
        return;
    if (json_is_integer(after))
        organ_gguf_writer_set_integer(writer, kv->key, kv->type, json_integer_value(after), w->error);
    else
        refuse(w, name, before, "lists of ids in key-values are not renumbered");
    note(w, kv->key, before, after);
}

organ_status organ_token_settings_edit_keys(const organ_token_settings *s, const organ_model *model,
                                            organ_gguf_writer *writer, organ_error *error)
{
    settings_walk w = {.s = s, .label = model->path, .same_ids = has_same_ids(s), .gguf = true, .error = error};
    for (size_t k = 0; k < model->gguf->kv_count && !error->status; k++)
        take_key(&w, &model->gguf->kvs[k], writer);
    return error->status;
}

organ_status organ_token_settings_collect(const organ_token_settings *s, const organ_model *model, organ_error *error)
{
    if (model->gguf)
        return organ_token_settings_edit_keys(s, model, NULL, error);
    collect_file(s, model, "config.json", error);
    for (size_t k = 0; organ_token_files[k] && !error->status; k++)
        collect_file(s, model, organ_token_files[k], error);
    return error->status;
}
