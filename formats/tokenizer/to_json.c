/* SPDX-License-Identifier: MIT
 * Writes the tokenizer of a GGUF file as tokenizer.json. Byte-level BPE becomes a model of type BPE after Split and
 * ByteLevel. SentencePiece becomes BPE with byte fallback, whose merges are all pairs of tokens that make a token,
 * in the order of the scores, as transformers converts tokenizer.model (convert_slow_tokenizer.py). */
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

static void json_text(FILE *out, const char *text, size_t bytes)
{
    fputc('"', out);
    for (size_t k = 0; k < bytes; k++) {
        const unsigned char c = (unsigned char)text[k];
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void json_plain(FILE *out, const char *text) { json_text(out, text, strlen(text)); }

/* ---- steps ---- */

/* ByteLevel as pre-tokenizer, post-processor or decoder: only converts between bytes and letters. */
#define BYTE_LEVEL                                                                                                     \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": false}"

/* Prepend gets the mark U+2581 instead of the step's blank, which the next step would replace by the mark. Returns
 * false for a step that the reader of GGUF never makes. */
static bool write_normalizer_step(FILE *out, const organ_step *step)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    if (step->kind == ORGAN_STEP_NORMAL_FORM)
        fprintf(out, "{\"type\": \"%s\"}", forms[step->form]);
    else if (step->kind == ORGAN_STEP_PREPEND)
        fprintf(out, "{\"type\": \"Prepend\", \"prepend\": \"" ORGAN_BLANK "\"}");
    else if (step->kind == ORGAN_STEP_REPLACE && step->text && step->text_bytes == 1 && *step->text == ' ')
        fprintf(out, "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" ORGAN_BLANK "\"}");
    else
        return false;
    return true;
}

/* Only ByteLevel, and Split that isolates its matches, have a form here. */
static bool write_pretokenizer_step(FILE *out, const organ_step *step)
{
    if (step->kind == ORGAN_STEP_BYTES) {
        fputs(BYTE_LEVEL, out);
        return true;
    }
    if (step->kind != ORGAN_STEP_SPLIT || !step->pattern || step->behaviour != ORGAN_ISOLATED)
        return false;
    fputs("{\"type\": \"Split\", \"pattern\": {\"Regex\": ", out);
    json_plain(out, step->pattern);
    fputs("}, \"behavior\": \"Isolated\", \"invert\": false}", out);
    return true;
}

/* Returns false if tokenizer.json cannot express a step. */
static bool write_steps(FILE *out, const organ_tokenizer *t, bool pretokenizer)
{
    const organ_step *const steps = pretokenizer ? t->pretokenizer : t->normalizer;
    const size_t count = pretokenizer ? t->pretokenizer_count : t->normalizer_count;
    bool known = true;
    fprintf(out, "  \"%s\": ", pretokenizer ? "pre_tokenizer" : "normalizer");
    if (count == 0)
        fputs("null", out);
    if (count > 1)
        fprintf(out, "{\"type\": \"Sequence\", \"%s\": [", pretokenizer ? "pretokenizers" : "normalizers");
    for (size_t k = 0; k < count && known; k++) {
        fputs(k ? ", " : "", out);
        known = pretokenizer ? write_pretokenizer_step(out, &steps[k]) : write_normalizer_step(out, &steps[k]);
    }
    fputs(count > 1 ? "]},\n" : ",\n", out);
    return known;
}

static void write_special(FILE *out, const organ_token *token, unsigned type)
{
    fputs("{\"SpecialToken\": {\"id\": ", out);
    json_text(out, token->text, token->bytes);
    fprintf(out, ", \"type_id\": %u}}", type);
}

static void write_sequence(FILE *out, const organ_token *bos, const char *text, const organ_token *eos, unsigned type)
{
    if (bos) {
        write_special(out, bos, type);
        fputs(", ", out);
    }
    fprintf(out, "{\"Sequence\": {\"id\": \"%s\", \"type_id\": %u}}", text, type);
    if (eos) {
        fputs(", ", out);
        write_special(out, eos, type);
    }
}

/* transformers does not read the flags of BOS and EOS from tokenizer_config.json. */
static void write_post_processor(FILE *out, const organ_model *model, const organ_tokenizer *t)
{
    const bool ends = organ_gguf_integer(model->gguf, "tokenizer.ggml.add_eos_token", 0) && t->facts.eos >= 0;
    const organ_token *const bos = t->facts.adds_bos && t->facts.bos >= 0 ? &t->tokens[t->facts.bos] : NULL;
    const organ_token *const eos = ends ? &t->tokens[t->facts.eos] : NULL;
    const char *separator = "";
    fputs("  \"post_processor\": ", out);
    if (!bos && !eos) {
        fputs(t->byte_level ? BYTE_LEVEL ",\n" : "null,\n", out);
        return;
    }
    fputs("{\"type\": \"TemplateProcessing\", \"single\": [", out);
    write_sequence(out, bos, "A", eos, 0);
    fputs("], \"pair\": [", out);
    write_sequence(out, bos, "A", eos, 0);
    fputs(", ", out);
    write_sequence(out, bos, "B", eos, 1);
    fputs("], \"special_tokens\": {", out);
    for (unsigned k = 0; k < 2; k++) {
        const organ_token *const token = k ? eos : bos;
        if (!token || (k && eos == bos))
            continue;
        fputs(separator, out);
        json_text(out, token->text, token->bytes);
        fputs(": {\"id\": ", out);
        json_text(out, token->text, token->bytes);
        fprintf(out, ", \"ids\": [%td], \"tokens\": [", token - t->tokens);
        json_text(out, token->text, token->bytes);
        fputs("]}", out);
        separator = ", ";
    }
    fputs("}},\n", out);
}

/* For a vocabulary that is not byte-level, the decoder strips the blank that the normalizer puts before a text. */
static void write_decoder(FILE *out, const organ_tokenizer *t)
{
    const bool prefix = t->normalizer_count && t->normalizer[0].kind == ORGAN_STEP_PREPEND;
    if (t->byte_level) {
        fputs("  \"decoder\": " BYTE_LEVEL ",\n", out);
        return;
    }
    fputs("  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": "
          "\"" ORGAN_BLANK "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}",
          out);
    if (prefix)
        fputs(", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}", out);
    fputs("]},\n", out);
}

/* ---- tokens ---- */

static int by_id(const void *a, const void *b)
{
    const uint32_t x = ((const organ_added *)a)->id, y = ((const organ_added *)b)->id;
    return ORGAN_ORDER(x, y);
}

/* Returns false if memory runs out. */
static bool write_added(FILE *out, const organ_tokenizer *t)
{
    const size_t count = t->raw.count + t->normalized.count;
    ORGAN_OWNED organ_added *const all = malloc((count + 1) * sizeof *all);
    bool first = true;
    if (!all)
        return false;
    for (size_t k = 0; k < count; k++)
        all[k] = k < t->raw.count ? t->raw.items[k] : t->normalized.items[k - t->raw.count];
    qsort(all, count, sizeof *all, by_id);
    fputs("  \"added_tokens\": [", out);
    for (size_t k = 0; k < count; k++) {
        if (t->tokens[all[k].id].unused || !t->tokens[all[k].id].text)
            continue;
        fprintf(out, "%s\n    {\"id\": %u, \"content\": ", first ? "" : ",", all[k].id);
        json_text(out, t->tokens[all[k].id].text, t->tokens[all[k].id].bytes);
        fprintf(out,
                ", \"single_word\": false, \"lstrip\": false, \"rstrip\": %s, \"normalized\": false, \"special\": %s}",
                all[k].rstrip ? "true" : "false", all[k].special ? "true" : "false");
        first = false;
    }
    fputs("\n  ],\n", out);
    return true;
}

static bool is_written(const organ_tokenizer *t, uint32_t id)
{
    return id < t->facts.vocabulary && t->tokens[id].text && !t->tokens[id].unused;
}

static void write_vocabulary(FILE *out, const organ_tokenizer *t)
{
    bool first = true;
    fputs("    \"vocab\": {", out);
    for (uint32_t id = 0; id < t->facts.vocabulary; id++) {
        const organ_token *const token = &t->tokens[id];
        /* If several ids have the same text, only the last is written, which encoding finds. */
        if (!is_written(t, id) || organ_tokenizer_id(t, token->text, token->bytes) != id)
            continue;
        fputs(first ? "\n      " : ",\n      ", out);
        json_text(out, token->text, token->bytes);
        fprintf(out, ": %u", id);
        first = false;
    }
    fputs("\n    },\n", out);
}

/* Merges of tokens that are not in "vocab" are left out, because a reader rejects them. */
static bool write_merges(FILE *out, const organ_tokenizer *t)
{
    size_t count;
    bool first = true;
    ORGAN_OWNED organ_merge *const merges = organ_tokenizer_merges(t, &count);
    if (!merges)
        return false;
    fputs("    \"merges\": [", out);
    for (size_t k = 0; k < count; k++) {
        uint32_t left, right;
        organ_merge_is_of_tokens(&merges[k], &left, &right);
        if (!is_written(t, left) || !is_written(t, right) || !is_written(t, merges[k].merged))
            continue;
        fputs(first ? "\n      [" : ",\n      [", out);
        first = false;
        json_text(out, t->tokens[left].text, t->tokens[left].bytes);
        fputs(", ", out);
        json_text(out, t->tokens[right].text, t->tokens[right].bytes);
        fputs("]", out);
    }
    fputs("\n    ]\n", out);
    return true;
}

/* write_merges adds the last member, and tokenizer_text the brace after it. */
static void write_model(FILE *out, const organ_tokenizer *t)
{
    const organ_token *const unknown =
        !t->byte_level && t->unknown < t->facts.vocabulary ? &t->tokens[t->unknown] : NULL;
    fputs("  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ", out);
    if (unknown)
        json_text(out, unknown->text, unknown->bytes);
    else
        fputs("null", out);
    fprintf(out,
            ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": %s,\n"
            "    \"byte_fallback\": %s,\n    \"ignore_merges\": %s,\n",
            unknown ? "true" : "false", t->byte_level ? "false" : "true", t->ignore_merges ? "true" : "false");
    write_vocabulary(out, t);
}

static char *tokenizer_text(const organ_model *model, const organ_tokenizer *t, organ_error *error)
{
    organ_text text;
    char *made = NULL;
    if (organ_text_open(&text, error) != ORGAN_OK)
        return NULL;
    fputs("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n", text.out);
    if (!write_added(text.out, t))
        organ_fail_memory(error, model->path);
    if (!write_steps(text.out, t, /*pretokenizer=*/false) || !write_steps(text.out, t, /*pretokenizer=*/true))
        organ_refuse(error, model->path, "the rules of tokenizer.ggml.pre cannot be expressed in tokenizer.json");
    write_post_processor(text.out, model, t);
    write_decoder(text.out, t);
    write_model(text.out, t);
    if (!write_merges(text.out, t) && !error->status)
        organ_fail_memory(error, model->path);
    fputs("  }\n}\n", text.out);
    organ_text_end(&text, &made, error);
    return made;
}

/* ---- tokenizer_config.json ---- */

/* A token that tokenizer.ggml.token_type calls normal is left out: named in the config, it would be found in texts
 * as a special token. Returns non-zero if memory is exhausted. */
static int set_token(json_t *config, const organ_model *model, const organ_tokenizer *t, const char *key,
                     const char *member)
{
    const int64_t id = organ_gguf_integer(model->gguf, key, -1);
    bool added = !organ_gguf_find(model->gguf, "tokenizer.ggml.token_type");
    for (size_t k = 0; k < t->raw.count && !added; k++)
        added = t->raw.items[k].id == id;
    if (id < 0 || id >= t->facts.vocabulary || !t->tokens[id].text || !added)
        return 0;
    return json_object_set_new(config, member, json_stringn(t->tokens[id].text, t->tokens[id].bytes));
}

/* *text is NULL if the key-value is no chat template. */
static organ_status chat_template_of(const organ_model *model, const organ_gguf_kv *kv, const char **name,
                                     json_t **text, organ_error *error)
{
    static const char key[] = "tokenizer.chat_template";
    size_t length = 0;
    *text = NULL;
    if (strncmp(kv->key, key, sizeof key - 1) || (kv->key[sizeof key - 1] && kv->key[sizeof key - 1] != '.'))
        return ORGAN_OK;
    const char *const bytes = organ_gguf_string(model->gguf, kv->key, &length);
    *name = kv->key[sizeof key - 1] ? kv->key + sizeof key : "default";
    if (!bytes)
        return ORGAN_OK;
    if (memchr(bytes, '\0', length) || !organ_utf8_valid_within(bytes, length))
        return organ_refuse(error, model->path, "key '%.200s' is not valid UTF-8", kv->key);
    *text = json_stringn(bytes, length);
    return *text ? ORGAN_OK : organ_fail_memory(error, model->path);
}

static organ_status put_templates(json_t *config, const organ_model *model, organ_error *error)
{
    json_t *const list = json_array(), *text, *only = NULL;
    const char *name;
    int failed = list == NULL;
    for (size_t k = 0; k < model->gguf->kv_count && !failed && !error->status; k++) {
        if (chat_template_of(model, &model->gguf->kvs[k], &name, &text, error) || !text)
            continue;
        only = strcmp(name, "default") == 0 ? text : only;
        json_t *const one = json_object();
        failed = json_object_set_new(one, "name", json_string(name)) | json_object_set_new(one, "template", text) |
                 json_array_append_new(list, one);
    }
    if (!failed && !error->status && json_array_size(list))
        failed = json_object_set(config, "chat_template", only && json_array_size(list) == 1 ? only : list);
    json_decref(list);
    return failed ? organ_fail_memory(error, model->path) : error->status;
}

static char *config_text(const organ_model *model, const organ_tokenizer *t, organ_error *error)
{
    static const char *const tokens[][2] = {
        {"tokenizer.ggml.bos_token_id", "bos_token"},     {"tokenizer.ggml.eos_token_id", "eos_token"},
        {"tokenizer.ggml.unknown_token_id", "unk_token"}, {"tokenizer.ggml.seperator_token_id", "sep_token"},
        {"tokenizer.ggml.padding_token_id", "pad_token"}, {"tokenizer.ggml.cls_token_id", "cls_token"},
        {"tokenizer.ggml.mask_token_id", "mask_token"}};
    ORGAN_OWNED_JSON json_t *const config = json_object();
    int failed = json_object_set_new(config, "tokenizer_class", json_string("PreTrainedTokenizerFast")) |
                 json_object_set_new(config, "clean_up_tokenization_spaces", json_false()) |
                 json_object_set_new(config, "add_bos_token", json_boolean(t->facts.adds_bos)) |
                 json_object_set_new(config, "add_eos_token",
                                     json_boolean(organ_gguf_integer(model->gguf, "tokenizer.ggml.add_eos_token", 0)));
    for (size_t k = 0; k < sizeof tokens / sizeof *tokens; k++)
        failed |= set_token(config, model, t, tokens[k][0], tokens[k][1]);
    char *const text = failed || put_templates(config, model, error) ? NULL : organ_json_dump(config, JSON_INDENT(2));
    if (!text && !error->status)
        organ_fail_memory(error, model->path);
    return text;
}

/* Makes a tokenizer of the text `json` and the files `beside` (NULL: of the text alone), and compares its ids with
 * those of `t`. */
static organ_status compare_json(const organ_model *model, const organ_tokenizer *t, const char *json,
                                 const organ_tokenizer_beside *beside, organ_tokenizer_difference *difference,
                                 organ_error *error)
{
    const organ_json_source text = {.bytes = json, .length = strlen(json), .label = "tokenizer.json"};
    organ_error unreadable = {0};
    organ_tokenizer *const made = organ_tokenizer_create(model->path, error);
    if (made && organ_tokenizer_from_texts(made, &text, beside, &unreadable) != ORGAN_OK)
        organ_fail(error, unreadable.status, "%s: the tokenizer cannot be written as tokenizer.json: %s", model->path,
                   unreadable.message);
    else if (made)
        organ_tokenizer_compare(t, made, "tokenizer.json", difference, error);
    organ_tokenizer_close(made);
    return error->status;
}

/* The class that transformers chooses for the type of the model may replace parts of the tokenizer.json. */
static organ_status compare_class(const organ_model *model, const organ_tokenizer *t, const char *json,
                                  const char *config, const char *model_config, organ_tokenizer_difference *difference,
                                  organ_error *error)
{
    const organ_json_source own = {.bytes = config, .length = strlen(config), .label = "tokenizer_config.json"};
    const organ_json_source whole = {.bytes = model_config, .length = strlen(model_config), .label = "config.json"};
    organ_tokenizer_beside beside = {.config_label = own.label, .model_label = whole.label};
    if (organ_json_parse_object(&own, &beside.config, error) == ORGAN_OK &&
        organ_json_parse_object(&whole, &beside.model, error) == ORGAN_OK)
        compare_json(model, t, json, &beside, difference, error);
    ORGAN_DECREF(beside.config, beside.model);
    return error->status;
}

organ_status organ_tokenizer_to_json(const organ_model *model, const char *model_config, char **tokenizer,
                                     char **config, organ_tokenizer_difference *by_class, organ_error *error)
{
    organ_tokenizer *t = NULL;
    organ_tokenizer_difference difference = {0};
    *tokenizer = *config = NULL;
    *by_class = difference;
    if (organ_tokenizer_open(model, &t, error) != ORGAN_OK)
        return error->status;
    *tokenizer = tokenizer_text(model, t, error);
    if (!error->status && compare_json(model, t, *tokenizer, /*beside=*/NULL, &difference, error) == ORGAN_OK &&
        difference.found)
        organ_refuse(error, model->path, "the tokenizer has no form in tokenizer.json: %s", difference.text);
    if (!error->status)
        *config = config_text(model, t, error);
    if (!error->status)
        compare_class(model, t, *tokenizer, *config, model_config, by_class, error);
    organ_tokenizer_close(t);
    return error->status;
}
