/* SPDX-License-Identifier: MIT
 * The tokenizer in the metadata of a GGUF file: "llama" is SentencePiece, whose scores decide what is merged; "gpt2" is byte-level BPE with
 * merges. How a text is cut before the merges is only named, by tokenizer.ggml.pre; here it is done as by the tokenizer of that name. */
#include "formats/tokenizer/parts.h"

#include "formats/base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name)    "tokenizer.ggml." name
#define CONTRACTION  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BEFORE_WORD  "[^\\r\\n\\p{L}\\p{N}]?"
#define CONTRACTIONS CONTRACTION "|" BEFORE_WORD "\\p{L}+|"
#define REST         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Words are cut before a capital letter that follows a small one. */
#define CAPITALS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SMALL    "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending, number)                                                                                                              \
    BEFORE_WORD CAPITALS "*" SMALL "+" ending "|" BEFORE_WORD CAPITALS "+" SMALL "*" ending "|" number                                     \
                         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

enum { ID_LIMIT = 1 << 24, NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

static const struct cutting {
    const char *name, *patterns[4];
    bool nfc, ignore_merges, adds_bos;
} cuttings[] = {
    {"qwen2", {CONTRACTIONS "\\p{N}" REST}, true, false, false},
    {"deepseek-r1-qwen", {CONTRACTIONS "\\p{N}" REST}, true, false, false},
    {"llama-bpe", {CONTRACTIONS "\\p{N}{1,3}" REST}, false, true, true},
    {"llama3", {CONTRACTIONS "\\p{N}{1,3}" REST}, false, true, true},
    {"llama-v3", {CONTRACTIONS "\\p{N}{1,3}" REST}, false, true, true},
    {"smaug-bpe", {CONTRACTIONS "\\p{N}{1,3}" REST}, false, false, false},
    {"dbrx", {CONTRACTIONS "\\p{N}{1,3}" REST}, false, false, false},
    {"tekken", {CASED("", "\\p{N}")}, false, true, true},
    {"gpt-4o", {CASED(CONTRACTION "?", "\\p{N}{1,3}")}, false, false, false},
    {"gpt-2", {ORGAN_GPT2_PATTERN}, false, false, false},
    {"phi-2", {ORGAN_GPT2_PATTERN}, false, false, false},
    {"smollm", {"\\p{N}", ORGAN_GPT2_PATTERN}, false, false, false},
    {"starcoder", {"\\p{N}", ORGAN_GPT2_PATTERN}, false, false, false},
    {"refact", {"\\p{N}", ORGAN_GPT2_PATTERN}, false, false, false},
    {"command-r", {"\\p{N}", ORGAN_GPT2_PATTERN}, true, false, false},
    {"default",
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)", "\\p{N}+",
      "[0-9][0-9][0-9]"},
     false,
     false,
     false},
};

typedef struct source {
    const organ_model *model;
    const char *label;
    organ_tokenizer *t;
    bool strips; /* blanks after its special tokens belong to them */
} source;

/* ---- arrays of strings ---- */

typedef struct strings {
    const organ_gguf_kv *kv;
    size_t at;
    uint64_t index;
} strings;

static organ_status begin_strings(const source *s, const char *key, strings *list, organ_error *error)
{
    *list = (strings){.kv = organ_gguf_find(s->model->gguf, key), .at = ORGAN_GGUF_ARRAY_HEAD};
    if (!list->kv || list->kv->type != ORGAN_GGUF_ARRAY || list->kv->element != ORGAN_GGUF_STRING)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s' is %s", s->label, key, list->kv ? "no array of strings" : "missing");
    if (list->kv->count == 0 || list->kv->count >= ID_LIMIT)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s' has %llu strings", s->label, key, (unsigned long long)list->kv->count);
    return ORGAN_OK;
}

static bool valid(const char *text, size_t bytes)
{
    for (size_t at = 0, length; at < bytes; at += length) {
        length = organ_utf8_length((const unsigned char *)text + at);
        if (length == 0 || length > bytes - at)
            return false;
    }
    return true;
}

/* The next string, copied with a NUL after it. */
static organ_status next_string(const source *s, strings *list, organ_bytes *copy, organ_error *error)
{
    uint64_t length = 0;
    const size_t left = list->kv->size - list->at;
    if (left >= sizeof length)
        memcpy(&length, list->kv->bytes + list->at, sizeof length);
    if (left < sizeof length || length > left - sizeof length || length > ORGAN_TOKEN_SIZE)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': string %llu has %llu bytes; at most %u are read", s->label, list->kv->key,
                          (unsigned long long)list->index, (unsigned long long)length, ORGAN_TOKEN_SIZE);
    copy->used = 0;
    if (!organ_bytes_add(copy, (const char *)list->kv->bytes + list->at + sizeof length, (size_t)length) || !organ_bytes_add(copy, "", 1))
        return organ_fail_memory(error, s->label);
    copy->used--;
    list->at += sizeof length + (size_t)length;
    list->index++;
    if (!valid(copy->data, copy->used))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': string %llu is not valid UTF-8: '%.80s'", s->label, list->kv->key,
                          (unsigned long long)list->index - 1, copy->data);
    return ORGAN_OK;
}

/* ---- vocabulary ---- */

/* An array beside the tokens: NULL where it is absent, and `needed` is false. */
static organ_status array_beside(const source *s, const char *key, bool needed, uint64_t count, const organ_gguf_kv **kv,
                                 organ_error *error)
{
    *kv = organ_gguf_find(s->model->gguf, key);
    if (!*kv && !needed)
        return ORGAN_OK;
    if (!*kv || (*kv)->type != ORGAN_GGUF_ARRAY)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s' is %s", s->label, key, *kv ? "no array" : "missing");
    if ((*kv)->count != count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s' has %llu values for %llu tokens", s->label, key,
                          (unsigned long long)(*kv)->count, (unsigned long long)count);
    return ORGAN_OK;
}

/* The SentencePiece tokenizer of Phi-3 takes the blanks after a special token with it, but for those that it has from Llama 2. A GGUF file
 * has no key for that. */
static bool strips_behind(const source *s, const organ_bytes *text)
{
    return s->strips && strcmp(text->data, "<unk>") != 0 && strcmp(text->data, "<s>") != 0 && strcmp(text->data, "<|endoftext|>") != 0;
}

static organ_status put_token(const source *s, uint32_t id, const organ_bytes *text, const organ_gguf_kv *types, organ_error *error)
{
    int64_t type = NORMAL;
    if (types && !organ_gguf_integer_at(types, id, &type))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': value %u is no whole number", s->label, types->key, id);
    if (!organ_tokenizer_token(s->t, id, text->data, text->used))
        return organ_fail_memory(error, s->label);
    s->t->tokens[id].unused = type == UNUSED;
    const organ_added added = {
        .text = text->data, .bytes = text->used, .id = id, .special = type != USER_DEFINED, .rstrip = strips_behind(s, text)};
    const bool found = (type == CONTROL || type == USER_DEFINED || type == UNKNOWN) && text->used;
    return !found || organ_tokenizer_add(s->t, &added) ? ORGAN_OK : organ_fail_memory(error, s->label);
}

static organ_status read_tokens(const source *s, organ_error *error)
{
    strings list;
    organ_bytes text = {0};
    const organ_gguf_kv *types = NULL;
    if (begin_strings(s, KEY("tokens"), &list, error) == ORGAN_OK)
        array_beside(s, KEY("token_type"), false, list.kv->count, &types, error);
    while (!error->status && list.index < list.kv->count) {
        if (next_string(s, &list, &text, error) == ORGAN_OK)
            put_token(s, (uint32_t)list.index - 1, &text, types, error);
    }
    free(text.data);
    return error->status;
}

/* ---- byte-level ---- */

static organ_status put_merge(const source *s, uint32_t rank, const organ_bytes *text, organ_error *error)
{
    char *blank = memchr(text->data + 1, ' ', text->used ? text->used - 1 : 0);
    if (!blank)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': string %u is not two words: '%.100s'", s->label, KEY("merges"), rank,
                          text->data);
    const size_t first = (size_t)(blank - text->data), second = text->used - first - 1;
    const uint32_t left = organ_tokenizer_id(s->t, text->data, first), right = organ_tokenizer_id(s->t, blank + 1, second);
    memmove(blank, blank + 1, second);
    const uint32_t made = organ_tokenizer_id(s->t, text->data, first + second);
    if (left == ORGAN_NO_ID || right == ORGAN_NO_ID || made == ORGAN_NO_ID)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: key '%s': string %u names a token that is not in the vocabulary: its parts or '%.*s'", s->label,
                          KEY("merges"), rank, (int)(first + second > 100 ? 100 : first + second), text->data);
    /* Of one pair the first counts. */
    if (organ_tokenizer_pair(s->t, left, right))
        return ORGAN_OK;
    return organ_tokenizer_merge(s->t, left, right, rank, made) ? ORGAN_OK : organ_fail_memory(error, s->label);
}

static organ_status read_merges(const source *s, organ_error *error)
{
    strings list;
    organ_bytes text = {0};
    begin_strings(s, KEY("merges"), &list, error);
    while (!error->status && list.index < list.kv->count) {
        if (next_string(s, &list, &text, error) == ORGAN_OK)
            put_merge(s, (uint32_t)list.index - 1, &text, error);
    }
    free(text.data);
    return error->status;
}

static organ_status choose_cutting(const source *s, organ_error *error)
{
    organ_tokenizer *t = s->t;
    size_t length = 0;
    const char *name = organ_gguf_string(s->model->gguf, KEY("pre"), &length);
    const struct cutting *cutting = NULL;
    if (!name)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s' is missing: how a text is cut into words is not known", s->label,
                          KEY("pre"));
    for (size_t k = 0; k < sizeof cuttings / sizeof *cuttings; k++)
        if (strlen(cuttings[k].name) == length && memcmp(cuttings[k].name, name, length) == 0)
            cutting = &cuttings[k];
    if (!cutting)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': '%.*s' is not supported", s->label, KEY("pre"),
                          (int)(length > 80 ? 80 : length), name);
    t->byte_level = true;
    t->ignore_merges = cutting->ignore_merges;
    t->facts.adds_bos = cutting->adds_bos;
    if (cutting->nfc)
        t->normal[t->normal_count++] = (organ_step){.kind = ORGAN_STEP_NORMAL_FORM};
    for (size_t k = 0; k < 4 && cutting->patterns[k] && !error->status; k++)
        organ_tokenizer_split_at(t, s->label, cutting->patterns[k], error);
    t->cut[t->cut_count++] = (organ_step){.kind = ORGAN_STEP_BYTES};
    return error->status;
}

static organ_status read_byte_level(const source *s, organ_error *error)
{
    s->t->facts.kind = "byte-level BPE";
    if (choose_cutting(s, error) != ORGAN_OK || read_tokens(s, error) != ORGAN_OK)
        return error->status;
    organ_tokenizer_ready(s->t);
    return read_merges(s, error);
}

/* ---- SentencePiece ---- */

typedef struct scored {
    double score;
    uint32_t id;
} scored;

static int by_score(const void *left, const void *right)
{
    const scored *a = left, *b = right;
    return a->score != b->score ? (a->score < b->score ? 1 : -1) : (a->id > b->id) - (a->id < b->id);
}

static organ_status read_scores(const source *s, uint32_t *ranks, organ_error *error)
{
    const uint32_t count = s->t->facts.vocabulary;
    const organ_gguf_kv *kv;
    if (array_beside(s, KEY("scores"), true, count, &kv, error) != ORGAN_OK)
        return error->status;
    scored *all = malloc(count * sizeof *all);
    if (!all)
        return organ_fail_memory(error, s->label);
    for (uint32_t k = 0; k < count && !error->status; k++) {
        all[k].id = k;
        if (!organ_gguf_real_at(kv, k, &all[k].score) || isnan(all[k].score))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': value %u is no number", s->label, KEY("scores"), k);
    }
    if (!error->status) {
        qsort(all, count, sizeof *all, by_score);
        for (uint32_t k = 0, rank = 0; k < count; k++) {
            rank += k > 0 && all[k].score != all[k - 1].score;
            ranks[all[k].id] = rank;
        }
    }
    free(all);
    return error->status;
}

/* The id of a part of a token; a single character that is no token gets a number after the vocabulary, so that it can be merged. */
static bool part_id(organ_tokenizer *t, const char *text, size_t bytes, uint32_t *id)
{
    size_t length;
    *id = organ_tokenizer_id(t, text, bytes);
    organ_utf8_at(text, &length);
    if (*id != ORGAN_NO_ID || length != bytes)
        return true;
    *id = (uint32_t)t->token_count;
    if (!organ_tokenizer_token(t, *id, text, bytes))
        return false;
    const uint32_t code = organ_utf8_at(text, &length);
    if (code < 2048)
        t->letters[code] = *id;
    return true;
}

/* Whatever two parts that are tokens make this token: any of them may be merged to it. */
static organ_status put_parts(const source *s, uint32_t id, uint32_t rank, organ_error *error)
{
    organ_tokenizer *t = s->t;
    const char *text = t->tokens[id].text;
    const size_t bytes = t->tokens[id].bytes;
    size_t length;
    /* Of two tokens of one text the later is meant. */
    if (organ_tokenizer_id(t, text, bytes) != id || bytes == 0)
        return ORGAN_OK;
    organ_utf8_at(text, &length);
    for (size_t at = length; at < bytes; at += length) {
        uint32_t left, right;
        organ_utf8_at(text + at, &length);
        if (!part_id(t, text, at, &left) || !part_id(t, text + at, bytes - at, &right))
            return organ_fail_memory(error, s->label);
        if (left != ORGAN_NO_ID && right != ORGAN_NO_ID && !organ_tokenizer_merge(t, left, right, rank, id))
            return organ_fail_memory(error, s->label);
    }
    return ORGAN_OK;
}

/* Bytes without a token become the unknown one: without that there is nothing to write. */
static organ_status check_bytes(const source *s, organ_error *error)
{
    for (unsigned byte = 0; byte < 256; byte++)
        if (s->t->byte_ids[byte] == ORGAN_NO_ID && s->t->unknown == ORGAN_NO_ID)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': there is neither '<0x%02X>' nor an unknown token", s->label,
                              KEY("tokens"), byte);
    return ORGAN_OK;
}

static organ_status read_scored(const source *s, organ_error *error)
{
    organ_tokenizer *t = s->t;
    t->facts.kind = "SentencePiece BPE";
    t->by_scores = t->byte_fallback = t->facts.adds_bos = true;
    if (organ_gguf_integer(s->model->gguf, KEY("add_space_prefix"), 1))
        t->normal[t->normal_count++] = (organ_step){.kind = ORGAN_STEP_PREPEND, .text = " ", .text_bytes = 1};
    t->normal[t->normal_count++] =
        (organ_step){.kind = ORGAN_STEP_REPLACE, .text = " ", .text_bytes = 1, .content = ORGAN_BLANK, .content_bytes = 3};
    if (read_tokens(s, error) != ORGAN_OK)
        return error->status;
    organ_tokenizer_ready(t);
    const int64_t unknown = organ_gguf_integer(s->model->gguf, KEY("unknown_token_id"), 0);
    t->unknown = unknown >= 0 && unknown < t->facts.vocabulary ? (uint32_t)unknown : ORGAN_NO_ID;
    uint32_t *ranks = malloc(t->facts.vocabulary * sizeof *ranks);
    if (!ranks)
        return organ_fail_memory(error, s->label);
    read_scores(s, ranks, error);
    for (uint32_t k = 0; k < t->facts.vocabulary && !error->status; k++)
        put_parts(s, k, ranks[k], error);
    free(ranks);
    return error->status ? error->status : check_bytes(s, error);
}

/* ---- all of it ---- */

static organ_status token_key(const source *s, const char *key, int64_t *id, organ_error *error)
{
    *id = organ_gguf_integer(s->model->gguf, key, -1);
    /* Some writers put all ones for none. */
    if (*id == UINT32_MAX)
        *id = -1;
    if (*id < s->t->facts.vocabulary)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s' is %lld, but the vocabulary has %u tokens", s->label, key, (long long)*id,
                      s->t->facts.vocabulary);
}

organ_status organ_tokenizer_from_gguf(const organ_model *model, organ_tokenizer *t, organ_error *error)
{
    source s = {.model = model, .label = model->path, .t = t};
    size_t length = 0, family_length = 0;
    const char *kind = organ_gguf_string(model->gguf, KEY("model"), &length);
    const char *family = organ_gguf_string(model->gguf, "general.architecture", &family_length);
    organ_status status;
    if (kind && length == 4 && memcmp(kind, "gpt2", 4) == 0)
        status = read_byte_level(&s, error);
    else if (kind && length == 5 && memcmp(kind, "llama", 5) == 0) {
        s.strips = family && family_length == 4 && memcmp(family, "phi3", 4) == 0;
        status = read_scored(&s, error);
    } else
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s': '%.*s' is not supported", s.label, KEY("model"),
                          (int)(length > 80 ? 80 : length), kind ? kind : "");
    if (status == ORGAN_OK)
        status = token_key(&s, KEY("bos_token_id"), &t->facts.bos, error);
    if (status == ORGAN_OK)
        status = token_key(&s, KEY("eos_token_id"), &t->facts.eos, error);
    if (status != ORGAN_OK)
        return status;
    const int64_t adds = organ_gguf_integer(model->gguf, KEY("add_bos_token"), t->facts.adds_bos);
    t->facts.adds_bos = adds != 0 && t->facts.bos >= 0;
    return organ_tokenizer_finish(t, error);
}
