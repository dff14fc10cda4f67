/* SPDX-License-Identifier: MIT
 * Reads the tokenizer in the metadata of a GGUF file. tokenizer.ggml.model is its kind: "llama" is SentencePiece, which
 * merges by scores; "gpt2" is byte-level BPE with merges; "gemma4" is BPE of characters with merges. tokenizer.ggml.pre
 * contains only the name of the rules that split a text before the merges: pretokenizers.c defines these rules. */
#include "formats/base/format_rest.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

enum { ID_LIMIT = 1 << 24 };                                                           /* upper bound of tokens */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 }; /* tokenizer.ggml.token_type */

typedef struct gguf_source {
    const organ_model *model;
    const char *label;  /* path of the model, for messages */
    organ_tokenizer *t; /* output */
    bool strips;        /* most special tokens include the blanks after them (strips_blanks_after) */
    organ_error *error; /* the first error is kept; values read after it are not used */
} gguf_source;

__attribute__((format(printf, 3, 4))) static organ_status refuse_key(const gguf_source *s, const char *key,
                                                                     const char *format, ...)
{
    char reason[sizeof s->error->message];
    ORGAN_FORMAT_REST(reason, format);
    return organ_refuse(s->error, s->label, "key '%s'%s", key, reason);
}

/* ---- arrays of strings ---- */

typedef struct strings {
    const organ_gguf_kv *kv; /* the array */
    size_t at;               /* offset of the next string in kv->bytes */
    uint64_t index;          /* number of the next string */
} strings;

static organ_status begin_strings(const gguf_source *s, const char *key, uint64_t least, strings *list)
{
    *list = (strings){.kv = organ_gguf_find(s->model->gguf, key), .at = ORGAN_GGUF_ARRAY_HEAD};
    if (!list->kv || list->kv->type != ORGAN_GGUF_ARRAY || list->kv->element != ORGAN_GGUF_STRING)
        return refuse_key(s, key, " is %s", list->kv ? "not an array of strings" : "missing");
    if (list->kv->count < least || list->kv->count >= ID_LIMIT)
        return refuse_key(s, key, " has %llu strings", (unsigned long long)list->kv->count);
    return ORGAN_OK;
}

static organ_status next_string(const gguf_source *s, strings *list, organ_bytes *copy)
{
    uint64_t length = 0;
    const size_t remaining = list->kv->size - list->at;
    if (remaining >= sizeof length)
        memcpy(&length, list->kv->bytes + list->at, sizeof length);
    if (remaining < sizeof length || length > remaining - sizeof length || length > ORGAN_TOKEN_SIZE)
        return refuse_key(s, list->kv->key, ": string %llu has %llu bytes; the limit is %u",
                          (unsigned long long)list->index, (unsigned long long)length, ORGAN_TOKEN_SIZE);
    copy->used = 0;
    if (!organ_bytes_add(copy, (const char *)list->kv->bytes + list->at + sizeof length, (size_t)length) ||
        !organ_bytes_add(copy, "", 1))
        return organ_fail_memory(s->error, s->label);
    copy->used--;
    list->at += sizeof length + (size_t)length;
    list->index++;
    if (!organ_utf8_valid_within(copy->data, copy->used))
        return refuse_key(s, list->kv->key, ": string %llu is not valid UTF-8: '%.80s'",
                          (unsigned long long)list->index - 1, copy->data);
    return ORGAN_OK;
}

/* ---- vocabulary ---- */

static organ_status find_token_array(const gguf_source *s, const char *key, bool needed, uint64_t count,
                                     const organ_gguf_kv **kv)
{
    *kv = organ_gguf_find(s->model->gguf, key);
    if (!*kv && !needed)
        return ORGAN_OK;
    if (!*kv || (*kv)->type != ORGAN_GGUF_ARRAY)
        return refuse_key(s, key, " is %s", *kv ? "not an array" : "missing");
    if ((*kv)->count != count)
        return refuse_key(s, key, " has %llu values for %llu tokens", (unsigned long long)(*kv)->count,
                          (unsigned long long)count);
    return ORGAN_OK;
}

/* In the SentencePiece tokenizer of Phi-3 all special tokens include the blanks after them except these three
 * ("rstrip" in its tokenizer.json); GGUF has no key for this. */
static bool strips_blanks_after(const gguf_source *s, const organ_bytes *text)
{
    return s->strips && strcmp(text->data, "<unk>") != 0 && strcmp(text->data, "<s>") != 0 &&
           strcmp(text->data, "<|endoftext|>") != 0;
}

/* A token of type control, user-defined or unknown also becomes an added token, special unless it is user-defined. A
 * NULL for `types` means that all tokens are normal. */
static organ_status put_token(const gguf_source *s, uint32_t id, const organ_bytes *text, const organ_gguf_kv *types)
{
    int64_t type = NORMAL;
    if (types && !organ_gguf_integer_at(types, id, &type))
        return refuse_key(s, types->key, ": value %u is not a whole number", id);
    if (!organ_tokenizer_add_token(s->t, id, text->data, text->used))
        return organ_fail_memory(s->error, s->label);
    s->t->tokens[id].unused = type == UNUSED;
    const organ_added added = {.text = text->data,
                               .bytes = text->used,
                               .id = id,
                               .special = type != USER_DEFINED,
                               .rstrip = strips_blanks_after(s, text)};
    const bool is_added = (type == CONTROL || type == USER_DEFINED || type == UNKNOWN) && text->used;
    return !is_added || organ_tokenizer_add_added_token(s->t, &added) ? ORGAN_OK
                                                                      : organ_fail_memory(s->error, s->label);
}

static organ_status read_tokens(const gguf_source *s)
{
    strings list;
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes text = {0};
    const organ_gguf_kv *types = NULL;
    if (begin_strings(s, KEY("tokens"), 1, &list) == ORGAN_OK)
        find_token_array(s, KEY("token_type"), /*needed=*/false, list.kv->count, &types);
    while (!s->error->status && list.index < list.kv->count) {
        if (next_string(s, &list, &text) == ORGAN_OK)
            put_token(s, (uint32_t)list.index - 1, &text, types); /* next_string moved past this string */
    }
    return s->error->status;
}

/* ---- byte-level ---- */

/* The blank is searched for from the second byte on, because LEFT may begin with a blank. Overwrites `text`. */
static organ_status put_merge(const gguf_source *s, uint32_t rank, const organ_bytes *text)
{
    char *blank = memchr(text->data + 1, ' ', text->used ? text->used - 1 : 0);
    if (!blank)
        return refuse_key(s, KEY("merges"), ": string %u is not two words: '%.100s'", rank, text->data);
    const size_t left_bytes = (size_t)(blank - text->data), right_bytes = text->used - left_bytes - 1;
    const uint32_t left = organ_tokenizer_id(s->t, text->data, left_bytes),
                   right = organ_tokenizer_id(s->t, blank + 1, right_bytes);
    memmove(blank, blank + 1, right_bytes);
    const uint32_t merged = organ_tokenizer_id(s->t, text->data, left_bytes + right_bytes);
    if (left == ORGAN_NO_ID || right == ORGAN_NO_ID || merged == ORGAN_NO_ID)
        return refuse_key(s, KEY("merges"),
                          ": string %u names a token that is not in the vocabulary: its parts or '%.*s'", rank,
                          (int)(left_bytes + right_bytes > 100 ? 100 : left_bytes + right_bytes), text->data);
    /* if a pair occurs several times, its first merge is used */
    if (organ_tokenizer_pair(s->t, left, right))
        return ORGAN_OK;
    return organ_tokenizer_merge(s->t, left, right, rank, merged) ? ORGAN_OK : organ_fail_memory(s->error, s->label);
}

static organ_status read_merges(const gguf_source *s)
{
    strings list;
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes text = {0};
    begin_strings(s, KEY("merges"), 0, &list);
    while (!s->error->status && list.index < list.kv->count) {
        if (next_string(s, &list, &text) == ORGAN_OK)
            put_merge(s, (uint32_t)list.index - 1, &text); /* next_string moved past this string */
    }
    return s->error->status;
}

static organ_status choose_pretokenizer(const gguf_source *s)
{
    organ_tokenizer *t = s->t;
    size_t length = 0;
    const char *name = organ_gguf_string(s->model->gguf, KEY("pre"), &length);
    if (!name)
        return refuse_key(s, KEY("pre"), " is missing: it names the pre-tokenizer");
    const organ_pretokenizer *const pretokenizer = organ_pretokenizer_named(name, length);
    if (!pretokenizer)
        return refuse_key(s, KEY("pre"), ": '%.*s' is not supported", (int)(length > 80 ? 80 : length), name);
    t->ignore_merges = pretokenizer->rules & ORGAN_CUT_WHOLE;
    t->facts.adds_bos = pretokenizer->rules & ORGAN_CUT_BOS;
    return organ_tokenizer_set_pretokenizer(t, s->label, pretokenizer, s->error);
}

static organ_status read_byte_level(const gguf_source *s)
{
    s->t->facts.kind = "byte-level BPE";
    if (choose_pretokenizer(s) != ORGAN_OK || read_tokens(s) != ORGAN_OK)
        return s->error->status;
    organ_tokenizer_ready(s->t);
    return read_merges(s);
}

/* ---- SentencePiece ---- */

typedef struct scored {
    double score;
    uint32_t id;
} scored;

static int by_score(const void *left, const void *right)
{
    const scored *a = left, *b = right;
    return ORGAN_ORDERS(ORGAN_ORDER(b->score, a->score), ORGAN_ORDER(a->id, b->id));
}

/* The highest score has rank 0; equal scores share a rank. */
static organ_status read_scores(const gguf_source *s, uint32_t *ranks)
{
    const uint32_t count = s->t->facts.vocabulary;
    const organ_gguf_kv *kv;
    if (find_token_array(s, KEY("scores"), /*needed=*/true, count, &kv) != ORGAN_OK)
        return s->error->status;
    ORGAN_OWNED scored *all = malloc(count * sizeof *all);
    if (!all)
        return organ_fail_memory(s->error, s->label);
    for (uint32_t k = 0; k < count && !s->error->status; k++) {
        all[k].id = k;
        if (!organ_gguf_real_at(kv, k, &all[k].score) || isnan(all[k].score))
            refuse_key(s, KEY("scores"), ": value %u is not a number", k);
    }
    if (!s->error->status) {
        qsort(all, count, sizeof *all, by_score);
        for (uint32_t k = 0, rank = 0; k < count; k++) {
            rank += k > 0 && all[k].score != all[k - 1].score;
            ranks[all[k].id] = rank;
        }
    }
    return s->error->status;
}

/* Without an unknown token, a byte without a byte token could not be encoded. */
static organ_status check_bytes(const gguf_source *s)
{
    for (unsigned byte = 0; byte < 256; byte++)
        if (s->t->byte_ids[byte] == ORGAN_NO_ID && s->t->unknown == ORGAN_NO_ID)
            return refuse_key(s, KEY("tokens"), ": there is neither '<0x%02X>' nor an unknown token", byte);
    return ORGAN_OK;
}

static const organ_step marks_for_blanks = {
    .kind = ORGAN_STEP_REPLACE, .text = " ", .text_bytes = 1, .content = ORGAN_BLANK, .content_bytes = 3};

static void read_unknown(const gguf_source *s)
{
    const int64_t unknown = organ_gguf_integer(s->model->gguf, KEY("unknown_token_id"), 0);
    s->t->unknown = unknown >= 0 && unknown < s->t->facts.vocabulary ? (uint32_t)unknown : ORGAN_NO_ID;
}

/* Only normal and unused tokens are made by merges: SentencePiece finds user-defined tokens before the merges, and
 * control, unknown and byte tokens never by their names. */
static bool add_merges_to(const gguf_source *s, const organ_gguf_kv *types, uint32_t id, uint32_t rank)
{
    int64_t type = NORMAL;
    if (types)
        organ_gguf_integer_at(types, id, &type);
    return (type != NORMAL && type != UNUSED) || organ_tokenizer_add_splits(s->t, id, rank);
}

/* The merges of SentencePiece BPE are derived from the scores of the tokens. The normalizer puts a blank before a
 * text, unless add_space_prefix is false, and replaces blanks by marks. */
static organ_status read_sentence_piece(const gguf_source *s)
{
    organ_tokenizer *t = s->t;
    t->facts.kind = "SentencePiece BPE";
    t->by_scores = t->byte_fallback = t->facts.adds_bos = true;
    if (organ_gguf_integer(s->model->gguf, KEY("add_space_prefix"), 1))
        t->normalizer[t->normalizer_count++] = (organ_step){.kind = ORGAN_STEP_PREPEND, .text = " ", .text_bytes = 1};
    t->normalizer[t->normalizer_count++] = marks_for_blanks;
    if (read_tokens(s) != ORGAN_OK)
        return s->error->status;
    organ_tokenizer_ready(t);
    read_unknown(s);
    ORGAN_OWNED uint32_t *ranks = malloc(t->facts.vocabulary * sizeof *ranks);
    if (!ranks)
        return organ_fail_memory(s->error, s->label);
    read_scores(s, ranks);
    const organ_gguf_kv *const types = organ_gguf_find(s->model->gguf, KEY("token_type"));
    for (uint32_t k = 0; k < t->facts.vocabulary && !s->error->status; k++)
        if (!add_merges_to(s, types, k, ranks[k]))
            organ_fail_memory(s->error, s->label);
    return s->error->status ? s->error->status : check_bytes(s);
}

/* ---- merges over a whole text ---- */

/* The model "gemma4" has a list of merges as in byte-level BPE, but of characters, with SentencePiece's mark for
 * blanks and byte tokens <0xNN>. The text is not cut into words before the merges. */
static organ_status read_gemma4(const gguf_source *s)
{
    organ_tokenizer *t = s->t;
    t->facts.kind = "SentencePiece BPE";
    t->byte_fallback = t->facts.adds_bos = t->fuse_unknown = true;
    t->normalizer[t->normalizer_count++] = marks_for_blanks;
    if (read_tokens(s) != ORGAN_OK)
        return s->error->status;
    organ_tokenizer_ready(t);
    read_unknown(s);
    return read_merges(s) == ORGAN_OK ? check_bytes(s) : s->error->status;
}

/* ---- the whole tokenizer ---- */

static int64_t token_key(const gguf_source *s, const char *key)
{
    const int64_t id = organ_gguf_integer(s->model->gguf, key, -1);
    /* some writers use 2^32 - 1 for "none" */
    if (id != UINT32_MAX && id >= s->t->facts.vocabulary)
        refuse_key(s, key, " is %lld, but the vocabulary has %u tokens", (long long)id, s->t->facts.vocabulary);
    return id == UINT32_MAX ? -1 : id;
}

organ_status organ_tokenizer_from_gguf(const organ_model *model, organ_tokenizer *t, organ_error *error)
{
    gguf_source s = {.model = model, .label = model->path, .t = t, .error = error};
    size_t length = 0;
    const char *const kind = organ_gguf_string(model->gguf, KEY("model"), &length);
    s.strips = organ_gguf_text_equals(model->gguf, "general.architecture", "phi3") &&
               organ_gguf_text_equals(model->gguf, KEY("model"), "llama");
    if (organ_gguf_text_equals(model->gguf, KEY("model"), "gpt2"))
        read_byte_level(&s);
    else if (organ_gguf_text_equals(model->gguf, KEY("model"), "llama"))
        read_sentence_piece(&s);
    else if (organ_gguf_text_equals(model->gguf, KEY("model"), "gemma4"))
        read_gemma4(&s);
    else
        return refuse_key(&s, KEY("model"), ": '%.*s' is not supported", (int)(length > 80 ? 80 : length),
                          kind ? kind : "");
    t->facts.bos = token_key(&s, KEY("bos_token_id"));
    t->facts.eos = token_key(&s, KEY("eos_token_id"));
    t->facts.adds_bos =
        organ_gguf_integer(model->gguf, KEY("add_bos_token"), t->facts.adds_bos) != 0 && t->facts.bos >= 0;
    return error->status ? error->status : organ_tokenizer_finish(t, error);
}
