/* SPDX-License-Identifier: MIT
 * Writes the tokenizer of tokenizer.json as GGUF metadata: vocabulary, merges and scores, as llama.cpp's converter
 * writes them (conversion/base.py: get_vocab_base). Functions that return bool return false if memory is exhausted. */
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY(name) "tokenizer.ggml." name

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

/* ---- arrays ---- */

static bool put_text(organ_bytes *to, const char *text, size_t length)
{
    const uint64_t bytes = length;
    return organ_bytes_add(to, (const char *)&bytes, sizeof bytes) && organ_bytes_add(to, text, length);
}

/* Sets the key to the strings of `from`, whose data it frees. If `complete` is false, memory was exhausted while they
 * were added: reports that error instead. */
static organ_status set_texts(const gguf_export *e, const char *key, organ_bytes *from, uint64_t count, bool complete,
                              organ_error *error)
{
    if (complete)
        organ_gguf_writer_set_array(e->writer, key, ORGAN_GGUF_STRING, count, from->data, from->used, error);
    else
        organ_fail_memory(error, key);
    free(from->data);
    return error->status;
}

/* `numbers` has one of 4 bytes for each token; NULL: memory was exhausted. */
static organ_status set_numbers(const gguf_export *e, const char *key, organ_gguf_type type, const void *numbers,
                                organ_error *error)
{
    return numbers
               ? organ_gguf_writer_set_array(e->writer, key, type, e->count, numbers, e->count * sizeof(float), error)
               : organ_fail_memory(error, key);
}

/* ---- tokens ---- */

static bool is_between(const char *text, size_t bytes, const char *prefix, const char *suffix)
{
    const size_t head = strlen(prefix), tail = strlen(suffix);
    return bytes >= head + tail && memcmp(text, prefix, head) == 0 && memcmp(text + bytes - tail, suffix, tail) == 0;
}

/* llama.cpp's converter treats an added token of this name as a control token although tokenizer.json does not mark
 * it as special. It does so for <|...|>, too, but llama.cpp then no longer finds such a token in a text. */
static bool looks_special(const char *text, size_t bytes)
{
    static const char *const names[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strlen(names[k]) == bytes && memcmp(text, names[k], bytes) == 0)
            return true;
    return is_between(text, bytes, "<unused", ">");
}

/* The type is the one that llama.cpp's converter gives; an id without a token is UNUSED. */
static int32_t type_of(const gguf_export *e, uint32_t id)
{
    const organ_tokenizer *const t = e->t;
    const organ_token *const token = id < t->facts.vocabulary ? &t->tokens[id] : NULL;
    if (!token || !token->text)
        return UNUSED;
    if (!t->byte_level && id == t->unknown)
        return UNKNOWN;
    if (!t->byte_level && organ_tokenizer_byte(t, id) >= 0)
        return BYTE;
    const organ_added *const added = e->added[id];
    if (!added)
        return NORMAL;
    return added->special || looks_special(token->text, token->bytes) ? CONTROL : USER_DEFINED;
}

/* llama.cpp searches for a user-defined token in text without SentencePiece marks, so each mark becomes a blank. */
static bool put_unmarked(organ_bytes *to, const char *text, size_t bytes)
{
    organ_bytes plain = {0};
    bool complete = true;
    for (size_t at = 0; at < bytes && complete;) {
        const bool mark = bytes - at >= 3 && memcmp(text + at, ORGAN_BLANK, 3) == 0;
        complete = organ_bytes_add(&plain, mark ? " " : text + at, 1);
        at += mark ? 3 : 1;
    }
    complete = complete && put_text(to, plain.data, plain.used);
    free(plain.data);
    return complete;
}

/* An id without a token gets "[PAD<id>]", as by llama.cpp's converter. */
static bool put_token(const gguf_export *e, uint32_t id, organ_bytes *to)
{
    char unused[32];
    const organ_token *const token = id < e->t->facts.vocabulary ? &e->t->tokens[id] : NULL;
    if (!token || !token->text)
        return put_text(to, unused, (size_t)snprintf(unused, sizeof unused, "[PAD%u]", id));
    if (type_of(e, id) == USER_DEFINED)
        return put_unmarked(to, token->text, token->bytes);
    return put_text(to, token->text, token->bytes);
}

static organ_status write_tokens(const gguf_export *e, organ_error *error)
{
    organ_bytes names = {0};
    ORGAN_OWNED int32_t *const types = calloc(e->count + 1, sizeof *types);
    bool complete = true;
    for (uint32_t id = 0; id < e->count && complete; id++)
        complete = put_token(e, id, &names);
    for (uint32_t id = 0; id < e->count && types; id++)
        types[id] = type_of(e, id);
    return set_texts(e, KEY("tokens"), &names, e->count, complete, error)
               ? error->status
               : set_numbers(e, KEY("token_type"), ORGAN_GGUF_I32, types, error);
}

/* ---- merges ---- */

/* A blank separates the words, so a blank in a word becomes U+0120, GPT-2's letter for byte 32. */
static bool put_word(organ_bytes *to, const organ_token *token)
{
    bool complete = true;
    for (size_t k = 0; k < token->bytes && complete; k++)
        complete = token->text[k] == ' ' ? organ_bytes_add(to, "\xC4\xA0", 2) : organ_bytes_add(to, token->text + k, 1);
    return complete;
}

static organ_status write_merges(const gguf_export *e, const organ_merge *merges, size_t count, organ_error *error)
{
    organ_bytes all = {0}, one = {0};
    bool complete = true;
    for (size_t k = 0; k < count && complete; k++) {
        uint32_t left, right;
        organ_merge_is_of_tokens(&merges[k], &left, &right);
        one.used = 0;
        complete = put_word(&one, &e->t->tokens[left]) && organ_bytes_add(&one, " ", 1) &&
                   put_word(&one, &e->t->tokens[right]) && put_text(&all, one.data, one.used);
    }
    free(one.data);
    return set_texts(e, KEY("merges"), &all, count, complete, error);
}

/* SentencePiece first merges the pair whose merged token has the highest score. The tokens that merges make get 0,
 * -1, -2, ... in the order of their first merges (`merges` is sorted by rank); then the normal tokens that no merge
 * makes get the next lower scores, by id. All other tokens, such as bytes and special tokens, get 0. */
static organ_status write_rank_scores(const gguf_export *e, const organ_merge *merges, size_t count, organ_error *error)
{
    ORGAN_OWNED float *const scores = calloc(e->count + 1, sizeof *scores);
    ORGAN_OWNED bool *const scored = calloc(e->count + 1, sizeof *scored);
    float next = 0;
    const bool complete = scores && scored;
    for (size_t k = 0; k < count && complete; k++)
        if (merges[k].merged < e->count && !scored[merges[k].merged]) {
            scores[merges[k].merged] = -next++;
            scored[merges[k].merged] = true;
        }
    for (uint32_t id = 0; id < e->count && complete; id++)
        if (!scored[id] && type_of(e, id) == NORMAL)
            scores[id] = -next++;
    return set_numbers(e, KEY("scores"), ORGAN_GGUF_F32, complete ? scores : NULL, error);
}

/* tokenizer.model, if it fits, precedes the scores of write_rank_scores. Tokens that it lacks get the scores that
 * llama.cpp's converter gives them. */
static organ_status write_scores(const gguf_export *e, const organ_merge *merges, size_t count, organ_error *error)
{
    organ_piece_scores pieces;
    if (organ_piece_scores_read(e->model, e->t, merges, count, &pieces, error) != ORGAN_OK || !pieces.scores)
        return error->status ? error->status : write_rank_scores(e, merges, count, error);
    ORGAN_OWNED float *const scores = calloc(e->count + 1, sizeof *scores);
    for (uint32_t id = 0; id < e->count && scores; id++) {
        const float other = type_of(e, id) == UNUSED ? -10000.0f : -1000.0f;
        scores[id] = id < pieces.count ? pieces.scores[id] : other;
    }
    free(pieces.scores);
    return set_numbers(e, KEY("scores"), ORGAN_GGUF_F32, scores, error);
}

/* ---- kinds ---- */

static organ_status set_word(const gguf_export *e, const char *key, const char *word, organ_error *error)
{
    return organ_gguf_writer_set_string(e->writer, key, word, strlen(word), error);
}

static organ_status write_byte_level(const gguf_export *e, const organ_merge *merges, size_t count, organ_error *error)
{
    size_t length = 0;
    const char *const pre =
        e->options->pre ? e->options->pre : organ_pretokenizer_name_of(e->t, e->options->architecture, &length);
    if (!pre)
        return organ_refuse(error, e->model->path,
                            "tokenizer.json: no known value of tokenizer.ggml.pre has the rules of its normalizer "
                            "and pre_tokenizer; `pre` NAME sets a value");
    if (set_word(e, KEY("model"), "gpt2", error) ||
        organ_gguf_writer_set_string(e->writer, KEY("pre"), pre, e->options->pre ? strlen(pre) : length, error) ||
        write_tokens(e, error))
        return error->status;
    return write_merges(e, merges, count, error);
}

static bool prepends_space(const organ_tokenizer *t)
{
    for (size_t k = 0; k < t->normalizer_count; k++)
        if (t->normalizer[k].kind == ORGAN_STEP_PREPEND)
            return true;
    for (size_t k = 0; k < t->pretokenizer_count; k++)
        if (t->pretokenizer[k].kind == ORGAN_STEP_METASPACE && t->pretokenizer[k].prefix != ORGAN_PREFIX_NEVER)
            return true;
    return false;
}

/* llama.cpp derives the merges from the scores; only its model "gemma4" also needs the list of merges. */
static organ_status write_sentence_piece(const gguf_export *e, const organ_merge *merges, size_t count,
                                         organ_error *error)
{
    const bool gemma4 = strcmp(e->options->architecture, "gemma4") == 0;
    if (set_word(e, KEY("model"), gemma4 ? "gemma4" : "llama", error) ||
        (!gemma4 && set_word(e, KEY("pre"), "default", error)) || write_tokens(e, error) ||
        write_scores(e, merges, count, error) ||
        organ_gguf_writer_set_number(e->writer, KEY("add_space_prefix"), ORGAN_GGUF_BOOL, prepends_space(e->t), error))
        return error->status;
    return gemma4 ? write_merges(e, merges, count, error) : ORGAN_OK;
}

static organ_status list_added(gguf_export *e, organ_error *error)
{
    e->added = calloc(e->t->facts.vocabulary + 1, sizeof *e->added);
    for (size_t k = 0; e->added && k < e->t->raw.count + e->t->normalized.count; k++) {
        const organ_added *const one =
            k < e->t->raw.count ? &e->t->raw.items[k] : &e->t->normalized.items[k - e->t->raw.count];
        if (one->id < e->t->facts.vocabulary)
            e->added[one->id] = one;
    }
    return e->added ? ORGAN_OK : organ_fail_memory(error, e->model->path);
}

static organ_status write_vocabulary_keys(const gguf_export *e, organ_error *error)
{
    size_t count;
    ORGAN_OWNED organ_merge *const merges = organ_tokenizer_merges(e->t, &count);
    if (!merges)
        organ_fail_memory(error, e->model->path);
    else
        e->t->byte_level ? write_byte_level(e, merges, count, error) : write_sentence_piece(e, merges, count, error);
    return error->status;
}

/* ---- the whole tokenizer ---- */

/* *found: there is a tokenizer.json. A model may have no tokenizer. */
static organ_status check_file(const organ_model *model, bool *found, organ_error *error)
{
    static const char *const names[] = {"tokenizer.json", ORGAN_TOKENIZER_OTHERS, "vocab.json"};
    *found = false;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        char *const path = organ_format("%s/%s", model->directory, names[k]);
        const bool exists = path && access(path, F_OK) == 0;
        free(path);
        if (!path)
            return organ_fail_memory(error, model->path);
        if (exists && k == 0) {
            *found = true;
            return ORGAN_OK;
        }
        if (exists)
            return organ_refuse(error, model->path,
                                "has the tokenizer %s and no tokenizer.json, the only form that is converted",
                                names[k]);
    }
    return ORGAN_OK;
}

/* llama.cpp puts a blank before the beginning of a text and before each text between two special tokens; GGUF has no
 * key for the rule of transformers' class. Sets *same to true if the ids are equal by llama.cpp's rule. Changes the
 * steps of the tokenizer. */
static organ_status compare_other_blanks(const gguf_export *e, const organ_tokenizer *made, bool *same,
                                         organ_error *error)
{
    static const organ_step by_llama_cpp[] = {
        {.kind = ORGAN_STEP_PREPEND, .text = ORGAN_BLANK, .text_bytes = 3},
        {.kind = ORGAN_STEP_REPLACE, .text = " ", .text_bytes = 1, .content = ORGAN_BLANK, .content_bytes = 3}};
    organ_tokenizer_difference rest = {0};
    memcpy(e->t->normalizer, by_llama_cpp, sizeof by_llama_cpp);
    e->t->normalizer_count = 2;
    e->t->pretokenizer_count = 0;
    organ_tokenizer_compare(e->t, made, "a GGUF file", &rest, error);
    *same = !error->status && !rest.found;
    return error->status;
}

/* If some text gets other ids, this is an error unless the caller chose options->pre, or only the blanks of a class
 * differ; then *difference has the text. */
static organ_status check_written(const gguf_export *e, organ_tokenizer_difference *difference, organ_error *error)
{
    const organ_gguf view = organ_gguf_writer_view(e->writer);
    const organ_model written = {.path = e->model->path, .gguf = &view};
    organ_tokenizer *made = NULL;
    organ_error unreadable = {0};
    bool accepted = e->options->pre;
    if (organ_tokenizer_open(&written, &made, &unreadable) == ORGAN_OK) {
        organ_tokenizer_compare(e->t, made, "a GGUF file", difference, error);
        if (!error->status && difference->found && !accepted && e->t->blanks_by_class)
            compare_other_blanks(e, made, &accepted, error);
    } else if (unreadable.status == ORGAN_BAD_INPUT && e->options->pre) {
        difference->found = true;
        snprintf(difference->text, sizeof difference->text, "not compared: %.500s", unreadable.message);
    } else
        organ_fail(error, unreadable.status, "%s: tokenizer.json has no form in GGUF: %s", e->model->path,
                   unreadable.message);
    organ_tokenizer_close(made);
    if (!error->status && difference->found && !accepted)
        organ_refuse(error, e->model->path, "tokenizer.json has no form in GGUF: %s; `pre` %s converts it anyway",
                     difference->text, e->t->byte_level ? "NAME" : "default");
    return error->status;
}

/* Published models have an added token without a row in the embedding (Gemma 3), which llama.cpp's converter leaves
 * out. Such an id of a word, which a text could contain, is rejected. */
static organ_status count_beyond(const gguf_export *e, uint64_t *beyond, organ_error *error)
{
    const organ_tokenizer *const t = e->t;
    for (uint64_t id = e->count; id < t->facts.vocabulary; id++) {
        if (!t->tokens[id].text)
            continue;
        if (!e->added[id])
            return organ_refuse(error, e->model->path,
                                "the tokenizer has %u ids, the embedding %llu rows, and id %llu, '%.60s', is a word of "
                                "the vocabulary",
                                t->facts.vocabulary, (unsigned long long)e->count, (unsigned long long)id,
                                t->tokens[id].text);
        ++*beyond;
    }
    return ORGAN_OK;
}

organ_status organ_tokenizer_to_gguf(const organ_model *model, const organ_tokenizer_gguf_options *options,
                                     organ_gguf_writer *writer, organ_tokenizer_difference *difference,
                                     organ_error *error)
{
    gguf_export e = {.model = model, .options = options, .writer = writer, .count = options->vocabulary};
    organ_tokenizer *t = NULL;
    uint64_t beyond = 0;
    bool found;
    *difference = (organ_tokenizer_difference){0};
    if (check_file(model, &found, error))
        return error->status;
    if (!found)
        return organ_gguf_writer_set_string(writer, KEY("model"), "none", 4, error);
    if (organ_tokenizer_open(model, &t, error))
        return error->status;
    e.t = t;
    if (list_added(&e, error) == ORGAN_OK && count_beyond(&e, &beyond, error) == ORGAN_OK &&
        write_vocabulary_keys(&e, error) == ORGAN_OK && organ_tokenizer_write_special(&e, error) == ORGAN_OK)
        check_written(&e, difference, error);
    if (options->beyond)
        *options->beyond = beyond;
    free(e.added);
    organ_tokenizer_close(t);
    return error->status;
}
