/* SPDX-License-Identifier: MIT
 * Writes the ids of special tokens, the flags that tokenizers add these tokens to a text, and the chat template to GGUF
 * metadata. Follows the rules by which llama.cpp's converter finds them (gguf-py: vocab.py, SpecialVocab). */
#include "formats/tokenizer/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPECIAL_FILE_LIMIT = 256 << 20 }; /* largest size, in bytes, of a file that is read */

static const struct {
    const char *word; /* name in Hugging Face's files: "bos" of "bos_token" */
    const char *id;   /* GGUF key of the id, after "tokenizer.ggml." */
    /* the flag that a tokenizer adds the token to a text: the key in tokenizer_config.json, in GGUF after
     * "tokenizer.ggml."; NULL: the kind has no such flag */
    const char *adds;
} kinds[] = {{"bos", "bos_token_id", "add_bos_token"},
             {"eos", "eos_token_id", "add_eos_token"},
             {"unk", "unknown_token_id", NULL},
             {"sep", "seperator_token_id", "add_sep_token"},
             {"pad", "padding_token_id", NULL},
             {"cls", "cls_token_id", NULL},
             {"mask", "mask_token_id", NULL},
             {"eot", "eot_token_id", NULL},
             {"eom", "eom_token_id", NULL}};
enum { BOS, EOS, UNK, SEP, PAD, CLS, MASK, EOT, EOM, KINDS };

typedef struct special_words {
    const gguf_export *e;
    const char *text[KINDS]; /* text of the token, or NULL */
    int adds[KINDS];         /* the tokenizer adds the token to a text: 1 yes, 0 no, -1 not stated */
} special_words;

static const char *word_of(const json_t *value)
{
    return organ_json_plain(json_is_object(value) ? json_object_get(value, "content") : value);
}

/* ---- the post-processor ---- */

static const char *special_at(const json_t *list, size_t index)
{
    return organ_json_plain(json_object_get(json_object_get(json_array_get(list, index), "SpecialToken"), "id"));
}

static bool same_word(const char *a, const char *b) { return a && b && strcmp(a, b) == 0; }

static const char *sequence_at(const json_t *list, size_t index)
{
    return organ_json_plain(json_object_get(json_object_get(json_array_get(list, index), "Sequence"), "id"));
}

/* Returns 1 if the template `pair` for two texts A and B puts a separator, the token SEP or EOS, between them; 0 if
 * it puts other elements there; -1 if the template has another form. `first` and `last` are the special tokens at
 * the ends of the template for one text, or NULL. With `last`, the first token between A and B ends A, so a
 * separator can only be the second of exactly two tokens. Without `last` it can also be the first token. */
static int template_has_separator(const special_words *w, const json_t *pair, const char *first, const char *last)
{
    /* [from, to): the template without `first` and `last` */
    size_t from = first && same_word(special_at(pair, 0), first), to = json_array_size(pair);
    to -= last && to && same_word(special_at(pair, to - 1), last);
    if (to < from + 3 || !same_word(sequence_at(pair, from), "A") || !same_word(sequence_at(pair, to - 1), "B"))
        return -1;
    const char *const between = special_at(pair, from + 1);
    const char *const second = to - from == 4 ? special_at(pair, from + 2) : NULL;
    const bool one = between && !last && (same_word(between, w->text[SEP]) || same_word(between, w->text[EOS]));
    return one || same_word(second, w->text[SEP]) || same_word(second, w->text[EOS]);
}

/* If the template for one text begins with a special token, this token becomes w->text[BOS], unless that is set, and
 * w->adds[BOS] becomes 1 if the token is BOS or CLS, else 0. If it ends with a special token, this token becomes
 * w->text[EOS], and w->adds[EOS] becomes 1; another EOS before that is then EOT. The template for two texts sets
 * w->adds[SEP], unless template_has_separator returns -1. */
static void read_template(special_words *w, const json_t *processor)
{
    const json_t *const single = json_object_get(processor, "single");
    const size_t count = json_array_size(single);
    const char *const first = count > 1 ? special_at(single, 0) : NULL;
    const char *const last = count > 1 ? special_at(single, count - 1) : NULL;
    if (first) {
        w->text[BOS] = w->text[BOS] ? w->text[BOS] : first;
        w->adds[BOS] = same_word(first, w->text[BOS]) || same_word(first, w->text[CLS]);
    }
    if (last) {
        w->text[EOT] = w->text[EOS] && !same_word(w->text[EOS], last) ? w->text[EOS] : w->text[EOT];
        w->text[EOS] = last;
        w->adds[EOS] = 1;
    }
    const int between = template_has_separator(w, json_object_get(processor, "pair"), first, last);
    if (between >= 0)
        w->adds[SEP] = between;
}

/* ByteLevel adds no token, so it sets flags that are not stated to 0; RobertaProcessing sets all flags to 1. Other
 * types than these and TemplateProcessing change nothing. */
static void read_processor(special_words *w, const json_t *processor)
{
    const char *const type = organ_json_plain(json_object_get(processor, "type"));
    if (same_word(type, "ByteLevel")) {
        w->adds[BOS] = w->adds[BOS] < 0 ? 0 : w->adds[BOS];
        w->adds[EOS] = w->adds[EOS] < 0 ? 0 : w->adds[EOS];
    } else if (same_word(type, "RobertaProcessing"))
        w->adds[BOS] = w->adds[EOS] = w->adds[SEP] = 1;
    else if (same_word(type, "TemplateProcessing"))
        read_template(w, processor);
}

static void read_post(special_words *w, const json_t *post)
{
    const json_t *const list = json_object_get(post, "processors");
    if (!list)
        read_processor(w, post);
    for (size_t k = 0; k < json_array_size(list); k++)
        read_processor(w, json_array_get(list, k));
}

/* ---- tokenizer_config.json ---- */

/* If bos_token is missing, cls_token is BOS; if eos_token is missing, sep_token is EOS. For a separator the flag of
 * `config` counts if the post-processor states nothing. BOS is as the tokenizer itself puts it before a text; the
 * key is needed also if it does not, because programs put BOS before texts of SentencePiece tokenizers otherwise. */
static void find_special(special_words *w, const json_t *config, const json_t *post)
{
    const organ_tokenizer_facts *const facts = &w->e->t->facts;
    for (unsigned k = 0; k < KINDS; k++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token", kinds[k].word);
        w->text[k] = word_of(json_object_get(config, key));
        w->adds[k] = -1;
    }
    w->text[BOS] = w->text[BOS] ? w->text[BOS] : w->text[CLS];
    w->text[EOS] = w->text[EOS] ? w->text[EOS] : w->text[SEP];
    read_post(w, post);
    if (facts->adds_bos)
        w->text[BOS] = w->e->t->tokens[facts->bos].text;
    w->adds[BOS] = facts->adds_bos;
    const json_t *const stated = json_object_get(config, kinds[SEP].adds);
    if (w->adds[SEP] < 0 && json_is_boolean(stated))
        w->adds[SEP] = json_is_true(stated);
}

static int64_t id_of(const gguf_export *e, const char *text)
{
    for (uint32_t id = 0; text && id < e->t->facts.vocabulary; id++)
        if (e->added[id] && strlen(text) == e->t->tokens[id].bytes &&
            memcmp(text, e->t->tokens[id].text, e->t->tokens[id].bytes) == 0)
            return id;
    return -1;
}

/* GGUF has no list of the tokens that end a text: the first ones that are not EOS become EOT and EOM. If EOS has no
 * id, it is the first of them. *options->unstored counts those for which no key is left. */
static organ_status add_stop_ids(const gguf_export *e, int64_t ids[KINDS], organ_error *error)
{
    organ_stop_ids stops;
    unsigned kind = ids[EOS] < 0 ? EOS : EOT, unstored = 0;
    if (organ_stop_ids_read(e->model, e->t, &stops, error) != ORGAN_OK)
        return error->status;
    for (unsigned k = 0; k < stops.count; k++) {
        const int64_t id = stops.ids[k];
        while (kind <= EOM && ids[kind] >= 0)
            kind = kind == EOS ? EOT : kind + 1;
        if (id >= (int64_t)e->count || id == ids[EOS] || id == ids[EOT] || id == ids[EOM])
            continue;
        if (kind <= EOM)
            ids[kind] = id;
        else
            unstored++;
    }
    if (e->options->unstored)
        *e->options->unstored = unstored;
    return ORGAN_OK;
}

/* The id of a kind is that of the added token with the text w->text, or the id in config.json if there is no such
 * token, or that of add_stop_ids. Kinds without an id, and ids that are not below e->count, are skipped. */
static organ_status write_ids(const special_words *w, organ_error *error)
{
    const gguf_export *const e = w->e;
    int64_t ids[KINDS];
    char key[64];
    for (unsigned k = 0; k < KINDS; k++) {
        char member[32];
        snprintf(member, sizeof member, "%s_token_id", kinds[k].word);
        const json_t *const value = json_object_get(e->options->config, member);
        ids[k] = id_of(e, w->text[k]);
        ids[k] = ids[k] < 0 && json_is_integer(value) ? json_integer_value(value) : ids[k];
        ids[k] = (uint64_t)ids[k] < e->count ? ids[k] : -1;
    }
    add_stop_ids(e, ids, error);
    for (unsigned k = 0; k < KINDS && !error->status; k++) {
        snprintf(key, sizeof key, "tokenizer.ggml.%s", kinds[k].id);
        if (ids[k] >= 0)
            organ_gguf_writer_set_integer(e->writer, key, ORGAN_GGUF_U32, ids[k], error);
    }
    for (unsigned k = 0; k < KINDS && !error->status; k++) {
        snprintf(key, sizeof key, "tokenizer.ggml.%s", kinds[k].adds ? kinds[k].adds : "");
        if (kinds[k].adds && w->adds[k] >= 0)
            organ_gguf_writer_set_number(e->writer, key, ORGAN_GGUF_BOOL, w->adds[k] > 0, error);
    }
    return error->status;
}

/* ---- reading the files ---- */

static organ_status read_part(const gguf_export *e, const char *name, const char *member, json_t **value,
                              organ_error *error)
{
    organ_json_source text = {.label = name};
    ORGAN_OWNED char *bytes = NULL;
    *value = NULL;
    if (organ_model_load(e->model, name, SPECIAL_FILE_LIMIT, &bytes, &text.length, error) == ORGAN_OK && bytes) {
        text.bytes = bytes;
        const organ_json_span all = {0, text.length}, span = member ? organ_json_member(&text, all, member) : all;
        if (span.end > span.begin)
            organ_json_parse(&text, span, member, value, error);
    }
    return error->status;
}

organ_status organ_tokenizer_write_special(const gguf_export *e, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *config = NULL, *post = NULL;
    special_words words = {.e = e};
    if (organ_tokenizer_config(e->model, e->t, &config, error) == ORGAN_OK &&
        read_part(e, "tokenizer.json", "post_processor", &post, error) == ORGAN_OK) {
        find_special(&words, config, post);
        if (write_ids(&words, error) == ORGAN_OK)
            organ_tokenizer_write_templates(e, config, error);
    }
    return error->status;
}
