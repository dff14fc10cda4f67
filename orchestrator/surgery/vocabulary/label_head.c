/* SPDX-License-Identifier: MIT
 * The head of labels: its rows, its class, and the settings that name it. */
#include "orchestrator/surgery/vocabulary/label_head.h"

#include "formats/base/files.h"
#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/config/model_config.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <organ/architecture.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOLING_RANK = 4 }; /* of llama.cpp */

/* ---- classes ---- */

/* Classes of transformers 5.24 with labels, without "ForSequenceClassification", whose head is a matrix `score` without
 * a bias on the last hidden state; and that with tokens if its name begins otherwise. */
static const struct {
    const char *labels, *tokens;
} classes[] = {{"Arcee", NULL},
               {"Bloom", NULL},
               {"DeepseekV2", NULL},
               {"DeepseekV3", NULL},
               {"Exaone4", NULL},
               {"Falcon", NULL},
               {"GPT2", NULL},
               {"GPTBigCode", NULL},
               {"GPTJ", NULL},
               {"GPTNeo", NULL},
               {"GPTNeoX", NULL},
               {"Gemma", NULL},
               {"Gemma2", NULL},
               {"Gemma3Text", "Gemma3"},
               {"Glm", NULL},
               {"Glm4", NULL},
               {"GptOss", NULL},
               {"Helium", NULL},
               {"HunYuanDenseV1", NULL},
               {"HunYuanMoEV1", NULL},
               {"Jamba", NULL},
               {"Llama", NULL},
               {"MiniCPM3", NULL},
               {"MiniMax", NULL},
               {"Ministral", NULL},
               {"Ministral3", NULL},
               {"Mistral", NULL},
               {"Mixtral", NULL},
               {"Mpt", NULL},
               {"Mpt", "MPT"},
               {"Nemotron", NULL},
               {"OPT", NULL},
               {"Olmo", NULL},
               {"Olmo2", NULL},
               {"Olmo3", NULL},
               {"Persimmon", NULL},
               {"Phi", NULL},
               {"Phi3", NULL},
               {"Phimoe", NULL},
               {"Phimoe", "PhiMoE"},
               {"Qwen2", NULL},
               {"Qwen2Moe", NULL},
               {"Qwen3", NULL},
               {"Qwen3Moe", NULL},
               {"Qwen3Next", NULL},
               {"Qwen3_5Text", "Qwen3_5"},
               {"SeedOss", NULL},
               {"SmolLM3", NULL},
               {"StableLm", NULL},
               {"Starcoder2", NULL}};

static bool is_class(const char *architecture, const char *begins)
{
    const size_t length = strlen(begins);
    return strncmp(architecture, begins, length) == 0 &&
           (strcmp(architecture + length, "ForCausalLM") == 0 || strcmp(architecture + length, "LMHeadModel") == 0);
}

static organ_status find_class(const organ_model *model, organ_label_head *head, organ_error *error)
{
    const char *const own = model->config.architecture;
    for (size_t k = 0; k < sizeof classes / sizeof *classes; k++)
        if (is_class(own, classes[k].tokens ? classes[k].tokens : classes[k].labels)) {
            snprintf(head->architecture, sizeof head->architecture, "%sForSequenceClassification", classes[k].labels);
            return ORGAN_OK;
        }
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: transformers has no class with labels for %s", model->path,
                      *own ? own : "a model without architectures");
}

static organ_status find_gguf_class(const organ_model *model, organ_label_head *head, organ_error *error)
{
    size_t length = 0;
    const char *const own = organ_gguf_string(model->gguf, "general.architecture", &length);
    snprintf(head->architecture, sizeof head->architecture, "%.*s", (int)(length < 90 ? length : 90), own ? own : "");
    return strcmp(head->architecture, "qwen3") == 0 || strcmp(head->architecture, "qwen3vl") == 0
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT,
                            "%s: llama.cpp reads labels of the architectures qwen3 and qwen3vl, not of '%s'",
                            model->path, head->architecture);
}

/* ---- what the model must be ---- */

static bool is_classifier(const char *name)
{
    static const char *const ends[] = {"score.weight", "classifier.weight", "cls.output.weight", "cls.weight",
                                       "classification_head.weight"};
    bool found = false;
    for (size_t k = 0; k < sizeof ends / sizeof *ends && !found; k++)
        found = strcmp(name, ends[k]) == 0;
    return found;
}

static organ_status check_no_classifier(const organ_model *model, organ_error *error)
{
    if (strstr(model->config.architecture, "ForSequenceClassification"))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has a classifier already: it is a %s", model->path,
                          model->config.architecture);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (is_classifier(model->tensors[t].name))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: has a classifier already: tensor '%s'", model->path,
                              model->tensors[t].name);
    return ORGAN_OK;
}

/* The class with labels multiplies the hidden state with the rows and does nothing else. */
static organ_status check_logits(const organ_model *model, const organ_token_tables *tables, organ_error *error)
{
    organ_forward_config c = {0};
    for (size_t k = 0; k < tables->count; k++)
        if (tables->list[k].use == ORGAN_TOKENS_BIAS)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: its head adds the bias '%s', which a head of labels lacks",
                              model->path, tables->list[k].weight->name);
    if (organ_forward_config_read(model, &c, error) == ORGAN_OK &&
        (c.final_softcap != 0 || c.logit_scale != 1 || c.head_scale != 1))
        organ_fail(error, ORGAN_BAD_INPUT,
                   "%s: it %s its logits, which a head of labels does not: scores would be others", model->path,
                   c.final_softcap != 0 ? "limits (final_logit_softcapping)" : "scales");
    organ_forward_config_release(&c);
    return error->status;
}

static organ_status check_plain(const organ_model *model, const organ_weights *weights, const organ_weight *rows,
                                organ_error *error)
{
    if (model->gguf)
        return ORGAN_OK;
    if (*weights->method || weights->packed || rows->scheme != ORGAN_SCHEME_PLAIN)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: has packed weights (%s): loaders would read the rows of labels as packed ones: "
                          "dequantize the model first",
                          model->path, *weights->method ? weights->method : organ_scheme_name(rows->scheme));
    return ORGAN_OK;
}

/* ---- rows ---- */

static void find_rows(const organ_model *model, const organ_token_tables *tables, organ_label_head *head)
{
    const organ_weight *embedding = NULL, *own = NULL;
    for (size_t k = 0; k < tables->count; k++) {
        const organ_token_table *const t = &tables->list[k];
        if (t->weight->anatomy.layer >= 0)
            continue;
        if (t->use == ORGAN_TOKENS_EMBEDDING && t->weight->anatomy.role == ORGAN_ROLE_EMBED && !embedding)
            embedding = t->weight;
        else if (t->use == ORGAN_TOKENS_HEAD && t->weight->anatomy.role == ORGAN_ROLE_OUTPUT && !own)
            own = t->weight;
    }
    head->rows = own && (model->gguf || !model->config.tie_word_embeddings) ? own : embedding;
    head->removed = own ? own->codes : NULL;
}

static organ_status check_rows(const organ_model *model, const organ_label_head *head, organ_error *error)
{
    const organ_weight *const w = head->rows;
    if (!w || w->rank != 2 || w->transposed || w->codes->rank != 2 || w->codes->bytes % w->shape[0])
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no head of which rows can be copied", model->path);
    if (!model->gguf && !head->removed && !model->config.tie_word_embeddings)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no output head", model->path);
    for (size_t k = 0; k < head->count; k++)
        if (head->labels[k].id >= w->shape[0])
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: token %u of the label '%s' has no row in '%s'", model->path,
                              head->labels[k].id, head->labels[k].text, w->name);
    return ORGAN_OK;
}

organ_status organ_label_token(const organ_tokenizer *tokenizer, const char *label, uint32_t *id, size_t *tokens,
                               organ_error *error)
{
    ORGAN_OWNED uint32_t *ids = NULL;
    *tokens = 1;
    *id = organ_vocabulary_id_of_part(tokenizer, label, strlen(label), error);
    if (error->status || *id != ORGAN_NO_ROW ||
        organ_tokenizer_encode(tokenizer, label, strlen(label), /*special=*/true, &ids, tokens, error))
        return error->status;
    if (*tokens)
        *id = ids[0];
    return ORGAN_OK;
}

/* ---- the token that fills texts ---- */

static json_int_t first_id(const json_t *value)
{
    const json_t *const number = json_is_array(value) ? json_array_get(value, 0) : value;
    return json_is_integer(number) ? json_integer_value(number) : -1;
}

static json_int_t id_of_text(const organ_tokenizer *tokenizer, const json_t *value)
{
    const json_t *const text = json_is_object(value) ? json_object_get(value, "content") : value;
    const uint32_t id = json_is_string(text)
                            ? organ_vocabulary_id(tokenizer, json_string_value(text), json_string_length(text))
                            : ORGAN_NO_ROW;
    return id == ORGAN_NO_ROW ? -1 : (json_int_t)id;
}

static void take_pad(organ_label_head *head, json_int_t id, const char *from)
{
    if (head->pad < 0 && id >= 0) {
        head->pad = id;
        head->pad_from = from;
    }
}

static organ_status find_pad(const organ_model *model, const organ_tokenizer *tokenizer, organ_label_head *head,
                             organ_error *error)
{
    ORGAN_OWNED_JSON json_t *config = NULL, *generation = NULL, *special = NULL;
    head->pad = -1;
    if (organ_model_load_json(model, "config.json", "config.json", &config, error) ||
        organ_model_load_json(model, "generation_config.json", "generation_config.json", &generation, error) ||
        organ_model_load_json(model, "tokenizer_config.json", "tokenizer_config.json", &special, error))
        return error->status;
    take_pad(head, first_id(json_object_get(config, "pad_token_id")), "pad_token_id of config.json");
    take_pad(head, first_id(json_object_get(generation, "pad_token_id")), "pad_token_id of generation_config.json");
    take_pad(head, id_of_text(tokenizer, json_object_get(special, "pad_token")), "pad_token of tokenizer_config.json");
    take_pad(head, first_id(json_object_get(config, "eos_token_id")), "eos_token_id of config.json");
    take_pad(head, organ_tokenizer_describe(tokenizer)->eos, "the token that ends a text");
    return head->pad >= 0 ? ORGAN_OK
                          : organ_fail(error, ORGAN_BAD_INPUT,
                                       "%s: has no token that fills or ends texts: transformers needs 'pad_token_id'",
                                       model->path);
}

organ_status organ_label_head_find(const organ_model *model, const organ_weights *weights,
                                   const organ_token_tables *tables, const organ_tokenizer *tokenizer,
                                   const organ_label *labels, size_t count, organ_label_head *head, organ_error *error)
{
    *head = (organ_label_head){.labels = labels, .count = count, .pad = -1};
    head->name = model->gguf ? "cls.output.weight" : "score.weight";
    if (check_no_classifier(model, error) ||
        (model->gguf ? find_gguf_class(model, head, error) : find_class(model, head, error)))
        return error->status;
    find_rows(model, tables, head);
    if (check_rows(model, head, error) || check_plain(model, weights, head->rows, error) ||
        (!model->gguf && (check_logits(model, tables, error) || find_pad(model, tokenizer, head, error))))
        return error->status;
    head->shape[0] = count;
    head->shape[1] = head->rows->shape[1];
    return ORGAN_OK;
}

/* ---- config.json ---- */

static void note(json_t *changes, const char *where, const char *key, const json_t *before, const json_t *after,
                 organ_error *error)
{
    if (changes && !error->status && !json_equal(before, after) &&
        json_array_append_new(
            changes, json_pack("{s:s, s:s, s:O?, s:O?}", "where", where, "key", key, "before", before, "after", after)))
        organ_fail_memory(error, where);
}

static organ_status set(organ_json_edit *config, const json_t *before, const char *key, json_t *value, json_t *changes,
                        organ_error *error)
{
    const json_t *const was = json_object_get(before, key);
    if (!value)
        organ_fail_memory(error, config->label);
    else if (!json_equal(was, value) && organ_json_edit_set(config, NULL, key, value, error) == ORGAN_OK)
        note(changes, "config.json", key, was, value, error);
    json_decref(value);
    return error->status;
}

/* vLLM makes rows of labels from a head if config.json has one of these settings; the output has no head. `method` may
 * be the name of a member elsewhere, so that it becomes null where vLLM reads it. */
static organ_status remove_conversion(organ_json_edit *config, const json_t *before, json_t *changes,
                                      organ_error *error)
{
    static const char *const keys[] = {"classifier_from_token", "is_original_qwen3_reranker", "method"},
                             *const places[] = {NULL, "text_config"};
    for (size_t k = 0; k < 3; k++)
        for (size_t p = 0; p < 2 && !error->status; p++) {
            const json_t *const was = json_object_get(p ? json_object_get(before, places[p]) : before, keys[k]);
            char name[64];
            snprintf(name, sizeof name, "%s%s", p ? "text_config." : "", keys[k]);
            if (was && !json_is_null(was))
                note(changes, "config.json", name, was, NULL, error);
            if (was && k == 2 && !error->status)
                organ_json_edit_set(config, places[p], keys[k], json_null(), error);
        }
    for (size_t k = 0; k < 2 && !error->status; k++)
        organ_json_edit_remove(config, keys[k], NULL, error);
    return error->status;
}

/* "0": "yes", or "yes": 0. */
static json_t *label_map(const organ_label_head *head, bool by_id)
{
    json_t *const map = json_object();
    for (size_t k = 0; k < head->count; k++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", k);
        if (by_id)
            json_object_set_new(map, number, json_string(head->labels[k].text));
        else
            json_object_set_new(map, head->labels[k].text, json_integer((json_int_t)k));
    }
    if (json_object_size(map) == head->count)
        return map;
    json_decref(map);
    return NULL;
}

organ_status organ_label_head_edit(const organ_label_head *head, organ_json_edit *config, json_t *changes,
                                   organ_error *error)
{
    ORGAN_OWNED_JSON json_t *before = NULL;
    if (organ_config_parse(config->label, config->bytes, config->length, &before, error) ||
        set(config, before, "architectures", json_pack("[s]", head->architecture), changes, error) ||
        set(config, before, "id2label", label_map(head, /*by_id=*/true), changes, error) ||
        set(config, before, "label2id", label_map(head, /*by_id=*/false), changes, error) ||
        set(config, before, "pad_token_id", json_integer(head->pad), changes, error) ||
        remove_conversion(config, before, changes, error))
        return error->status;
    /* older files state the number of labels apart */
    return json_object_get(before, "num_labels")
               ? set(config, before, "num_labels", json_integer((json_int_t)head->count), changes, error)
               : ORGAN_OK;
}

/* ---- key-values ---- */

static json_t *label_list(const organ_label_head *head)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < head->count; k++)
        json_array_append_new(list, json_string(head->labels[k].text));
    return list;
}

typedef struct text_span {
    const char *text;
    size_t length;
} text_span;

/* Sets a key to an array of strings. */
static organ_status set_texts(organ_gguf_writer *writer, const char *key, const text_span *spans, size_t count,
                              organ_error *error)
{
    size_t size = 1, at = 0;
    for (size_t k = 0; k < count; k++)
        size += sizeof(uint64_t) + spans[k].length;
    ORGAN_OWNED char *const bytes = malloc(size);
    if (!bytes)
        return organ_fail_memory(error, key);
    for (size_t k = 0; k < count; k++) {
        const uint64_t length = spans[k].length;
        memcpy(bytes + at, &length, sizeof length);
        memcpy(bytes + at + sizeof length, spans[k].text, spans[k].length);
        at += sizeof length + spans[k].length;
    }
    return organ_gguf_writer_set_array(writer, key, ORGAN_GGUF_STRING, count, bytes, at, error);
}

static organ_status set_pooling(const organ_label_head *head, organ_gguf_writer *writer, json_t *changes,
                                organ_error *error)
{
    char key[128];
    int64_t number;
    snprintf(key, sizeof key, "%s.pooling_type", head->architecture);
    const organ_gguf_kv *const kv = organ_gguf_writer_find(writer, key);
    ORGAN_OWNED_JSON json_t *const before = kv && organ_gguf_integer_at(kv, 0, &number) ? json_integer(number) : NULL;
    ORGAN_OWNED_JSON json_t *const rank = json_integer(POOLING_RANK);
    if (organ_gguf_writer_set_integer(writer, key, ORGAN_GGUF_U32, POOLING_RANK, error) == ORGAN_OK)
        note(changes, "GGUF", key, before, rank, error);
    return error->status;
}

organ_status organ_label_head_edit_keys(const organ_label_head *head, organ_gguf_writer *writer, json_t *changes,
                                        organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const labels = label_list(head);
    text_span spans[ORGAN_LABELS_MOST];
    char key[128];
    if (json_array_size(labels) != head->count)
        return organ_fail_memory(error, "labels");
    for (size_t k = 0; k < head->count; k++)
        spans[k] = (text_span){head->labels[k].text, strlen(head->labels[k].text)};
    snprintf(key, sizeof key, "%s.classifier.output_labels", head->architecture);
    if (set_texts(writer, key, spans, head->count, error))
        return error->status;
    note(changes, "GGUF", key, NULL, labels, error);
    return set_pooling(head, writer, changes, error);
}

#define TEMPLATES "tokenizer.chat_templates"
#define TEMPLATE  "tokenizer.chat_template.rerank"

/* Adds "rerank" to the list of names, if it lacks it. */
static organ_status name_template(organ_gguf_writer *writer, organ_error *error)
{
    static const text_span own = {"rerank", 6};
    const organ_gguf_kv *const kv = organ_gguf_writer_find(writer, TEMPLATES);
    const bool listed = kv && kv->type == ORGAN_GGUF_ARRAY && kv->element == ORGAN_GGUF_STRING;
    const size_t count = listed ? (size_t)kv->count : 0;
    ORGAN_OWNED text_span *const spans = malloc((count + 1) * sizeof *spans);
    bool named = false;
    if (!spans)
        return organ_fail_memory(error, TEMPLATES);
    for (size_t k = 0, at = ORGAN_GGUF_ARRAY_HEAD; k < count; k++) {
        const size_t length = (size_t)organ_little_endian(kv->bytes + at, sizeof(uint64_t));
        spans[k] = (text_span){(const char *)kv->bytes + at + sizeof(uint64_t), length};
        named |= length == own.length && memcmp(spans[k].text, own.text, length) == 0;
        at += sizeof(uint64_t) + length;
    }
    spans[count] = own;
    return named ? ORGAN_OK : set_texts(writer, TEMPLATES, spans, count + 1, error);
}

organ_status organ_label_head_template(const char *text, organ_gguf_writer *writer, json_t *changes, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const after = json_string(text);
    size_t length = 0;
    const organ_gguf view = organ_gguf_writer_view(writer);
    const char *const was = organ_gguf_string(&view, TEMPLATE, &length);
    ORGAN_OWNED_JSON json_t *const before = was ? json_stringn(was, length) : NULL;
    if (!after)
        return organ_fail_memory(error, TEMPLATE);
    if (name_template(writer, error) || organ_gguf_writer_set_string(writer, TEMPLATE, text, strlen(text), error))
        return error->status;
    note(changes, "GGUF", TEMPLATE, before, after, error);
    return error->status;
}
