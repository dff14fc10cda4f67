/* SPDX-License-Identifier: MIT
 * Adds the tokens and merges of other tokenizers to a tokenizer.json. */
#include "formats/base/format_rest.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_parts.h"
#include "formats/tokenizer/union_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20 }; /* upper bound of the bytes of a tokenizer file */

const char *organ_vocabulary_text(const organ_tokenizer *t, uint32_t id, size_t *bytes)
{
    const bool there = id < t->facts.vocabulary && t->tokens[id].text && !t->tokens[id].unused;
    *bytes = there ? t->tokens[id].bytes : 0;
    return there ? t->tokens[id].text : NULL;
}

uint32_t organ_vocabulary_id(const organ_tokenizer *t, const char *text, size_t bytes)
{
    uint32_t id = organ_tokenizer_id(t, text, bytes);
    for (size_t k = 0; id == ORGAN_NO_ID && k < t->raw.count + t->normalized.count; k++) {
        const uint32_t added = (k < t->raw.count ? &t->raw.items[k] : &t->normalized.items[k - t->raw.count])->id;
        if (t->tokens[added].bytes == bytes && memcmp(t->tokens[added].text, text, bytes) == 0)
            id = added;
    }
    return id < t->facts.vocabulary && !t->tokens[id].unused ? id : ORGAN_NO_ROW;
}

uint32_t organ_vocabulary_id_of_part(const organ_tokenizer *t, const char *text, size_t bytes, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes letters = {0};
    if (!organ_put_letters(t, text, bytes, &letters)) {
        organ_fail_memory(error, "a token");
        return ORGAN_NO_ROW;
    }
    return organ_vocabulary_id(t, letters.data ? letters.data : "", letters.used);
}

/* ---- the union as tables ---- */

organ_status organ_union_lack_memory(const organ_union *s, organ_error *error)
{
    return organ_fail_memory(error, s->models[0].name);
}

__attribute__((format(printf, 2, 3))) static void tell(const organ_union *s, const char *format, ...)
{
    char text[2000];
    ORGAN_FORMAT_REST(text, format);
    organ_bytes valid = {0}; /* a token may be a part of a character, and is cut */
    if (!organ_utf8_append_valid(text, strlen(text), &valid) ||
        json_array_append_new(s->warnings, json_stringn(valid.data, valid.used)))
        organ_memory_count_refusal();
    free(valid.data);
}

/* Returns the entry of the list of added tokens, or NULL. */
static const organ_added *added_of(const organ_tokenizer *t, uint32_t id)
{
    for (size_t k = 0; k < t->raw.count; k++)
        if (t->raw.items[k].id == id)
            return &t->raw.items[k];
    for (size_t k = 0; k < t->normalized.count; k++)
        if (t->normalized.items[k].id == id)
            return &t->normalized.items[k];
    return NULL;
}

/* Returns whether the texts of their tokens are written in the same way. */
static bool same_letters(const organ_tokenizer *a, const organ_tokenizer *b) { return a->byte_level == b->byte_level; }

bool organ_union_put(organ_union *s, const char *text, size_t bytes, const organ_added *like, bool added)
{
    if (!organ_grow(&s->tokens, s->token_count, &s->token_room, sizeof *s->tokens))
        return false;
    s->tokens[s->token_count] = (organ_union_token){.added = added, .from_file = like != NULL};
    if (like)
        s->tokens[s->token_count].like = *like;
    return organ_tokenizer_add_token(s->u, s->first + (uint32_t)s->token_count++, text, bytes);
}

organ_status organ_union_put_first(organ_union *s, organ_error *error)
{
    const organ_tokenizer *const t = s->models[0].tokenizer;
    size_t bytes;
    s->first = t->facts.vocabulary;
    for (uint32_t id = 0; id < t->facts.vocabulary; id++) {
        const char *const text = organ_vocabulary_text(t, id, &bytes);
        if (text && !organ_tokenizer_add_token(s->u, id, text, bytes))
            return organ_union_lack_memory(s, error);
    }
    return ORGAN_OK;
}

/* A model that gives another name to an id may have trained the row of a reserved token under that name. */
static void note_renamed(const organ_union *s, size_t model, size_t renamed, uint32_t id)
{
    const organ_tokenizer *const t = s->models[model].tokenizer, *const base = s->models[0].tokenizer;
    size_t bytes, was;
    const char *const text = organ_vocabulary_text(t, id, &bytes), *const old = organ_vocabulary_text(base, id, &was);
    if (renamed)
        tell(s,
             "%s renames %zu added token%s of %s, for example %u from '%.*s' to '%.*s': both names are in the union, "
             "the new one with the id %u",
             s->models[model].name, renamed, renamed == 1 ? "" : "s", s->models[0].name, id, organ_union_shown(was),
             old, organ_union_shown(bytes), text, organ_tokenizer_id(s->u, text, bytes));
}

static organ_status put_tokens_of(organ_union *s, size_t model, organ_error *error)
{
    const organ_union_model *const m = &s->models[model];
    const organ_tokenizer *const t = m->tokenizer, *const base = s->models[0].tokenizer;
    const bool letters = same_letters(t, base);
    size_t bytes, renamed = 0, ordinary = 0;
    uint32_t example = 0;
    for (uint32_t id = 0; id < t->facts.vocabulary && id < m->rows; id++) {
        const char *const text = organ_vocabulary_text(t, id, &bytes);
        if (!text || organ_tokenizer_id(s->u, text, bytes) != ORGAN_NO_ID)
            continue;
        const organ_added *const added = added_of(t, id);
        if (!organ_union_put(s, text, bytes, added, added || !letters))
            return organ_union_lack_memory(s, error);
        ordinary += !added;
        const organ_added *const before = added ? added_of(base, id) : NULL;
        if (before && organ_vocabulary_id(t, base->tokens[id].text, base->tokens[id].bytes) == ORGAN_NO_ROW) {
            example = renamed++ ? example : id;
        }
    }
    note_renamed(s, model, renamed, example);
    if (!letters && ordinary)
        tell(s,
             "%s writes its tokens in another way than %s (%s, not %s): %zu of its tokens become added tokens, which "
             "cut a text before it is split",
             m->name, s->models[0].name, t->facts.kind, base->facts.kind, ordinary);
    return ORGAN_OK;
}

/* ---- merges ---- */

organ_status organ_union_put_pair(organ_union *s, uint32_t left, uint32_t right, uint32_t made, organ_error *error)
{
    const organ_token *const l = &s->u->tokens[left], *const r = &s->u->tokens[right];
    json_t *const pair = json_array();
    if (json_array_append_new(pair, json_stringn(l->text, l->bytes)) ||
        json_array_append_new(pair, json_stringn(r->text, r->bytes))) {
        json_decref(pair);
        return organ_union_lack_memory(s, error);
    }
    if (json_array_append_new(s->merges, pair) || !organ_tokenizer_merge(s->u, left, right, s->ranks++, made))
        return organ_union_lack_memory(s, error);
    return ORGAN_OK;
}

/* Returns the id in the union of a token of a model, or ORGAN_NO_ID. */
static uint32_t id_in_union(const organ_union *s, const organ_tokenizer *t, uint32_t id)
{
    size_t bytes;
    const char *const text = organ_vocabulary_text(t, id, &bytes);
    return text ? organ_tokenizer_id(s->u, text, bytes) : ORGAN_NO_ID;
}

organ_status organ_union_put_merges(organ_union *s, size_t model, organ_error *error)
{
    const organ_tokenizer *const t = s->models[model].tokenizer;
    size_t count;
    ORGAN_OWNED organ_merge *const merges = organ_tokenizer_merges(t, &count);
    if (!merges)
        return organ_union_lack_memory(s, error);
    for (size_t k = 0; k < count && !error->status; k++) {
        uint32_t left, right;
        organ_merge_is_of_tokens(&merges[k], &left, &right);
        left = id_in_union(s, t, left);
        right = id_in_union(s, t, right);
        const uint32_t made = id_in_union(s, t, merges[k].merged);
        if (left == ORGAN_NO_ID || right == ORGAN_NO_ID || made == ORGAN_NO_ID ||
            (model && (made < s->first || organ_tokenizer_pair(s->u, left, right))))
            continue;
        organ_union_put_pair(s, left, right, made, error);
    }
    return error->status;
}

/* Gives the merge of two tokens to a new token that the merges so far make of these two at last. Later merges have
 * lower ranks, so they undo none of the earlier ones. */
static organ_status reach_token(organ_union *s, organ_bpe *bpe, uint32_t id, bool *reached, bool *progress,
                                organ_error *error)
{
    const organ_token *const token = &s->u->tokens[id];
    organ_ids *const ids = bpe->ids;
    ids->count = 0;
    if (organ_bpe_word(bpe, token->text, token->bytes, error))
        return error->status;
    *reached = ids->count == 1 && ids->items[0] == id;
    if (ids->count != 2 || ids->items[0] >= s->u->facts.vocabulary || ids->items[1] >= s->u->facts.vocabulary ||
        s->u->tokens[ids->items[0]].bytes + s->u->tokens[ids->items[1]].bytes != token->bytes)
        return ORGAN_OK;
    *reached = *progress = true;
    free(bpe->cache); /* it may have words that the new merge joins */
    bpe->cache = NULL;
    return organ_union_put_pair(s, ids->items[0], ids->items[1], id, error);
}

/* A token that gets its merge may be a part of another one, so all are tried until none gets one. */
static organ_status reach_tokens(organ_union *s, size_t *unreached, uint32_t *example, organ_error *error)
{
    organ_ids ids = {.max = 3};
    organ_bpe bpe = {.tokenizer = s->u, .ids = &ids};
    for (bool progress = true; progress && !error->status;) {
        progress = false;
        *unreached = 0;
        for (size_t k = 0; k < s->token_count && !error->status; k++) {
            bool reached = true;
            if (!s->tokens[k].added)
                reach_token(s, &bpe, s->first + (uint32_t)k, &reached, &progress, error);
            if (!reached)
                *example = (*unreached)++ ? *example : s->first + (uint32_t)k;
        }
    }
    ORGAN_FREE_ARRAYS(ids.items, bpe.symbols, bpe.heap, bpe.cache);
    return error->status;
}

static organ_status put_all_merges(organ_union *s, organ_error *error)
{
    const organ_tokenizer *const base = s->models[0].tokenizer;
    size_t unreached = 0;
    uint32_t example = 0;
    s->u->byte_level = base->byte_level;
    s->u->byte_fallback = base->byte_fallback;
    s->u->ignore_merges = base->ignore_merges;
    organ_tokenizer_ready(s->u);
    for (size_t k = 0; k < s->count && !error->status; k++)
        if (same_letters(s->models[k].tokenizer, base))
            organ_union_put_merges(s, k, error);
    if (error->status || reach_tokens(s, &unreached, &example, error))
        return error->status;
    if (unreached)
        tell(s, "no text becomes %zu of the %zu new tokens, for example '%.*s': %s splits them into three or more",
             unreached, s->token_count, organ_union_shown(s->u->tokens[example].bytes), s->u->tokens[example].text,
             s->models[0].name);
    return ORGAN_OK;
}

/* ---- tokenizer.json ---- */

static json_t *added_json(const organ_tokenizer *t, uint32_t id, const organ_added *a)
{
    const organ_token *const token = &t->tokens[id];
    return json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content",
                     json_stringn(token->text, token->bytes), "single_word", a->single_word, "lstrip", a->lstrip,
                     "rstrip", a->rstrip, "normalized", a->normalized, "special", a->special);
}

/* The package tokenizers gives an added token the first free id, unless the vocabulary has it. */
static json_t *vocabulary_json(const organ_union *s)
{
    json_t *const vocabulary = json_object();
    for (uint32_t id = 0; id < s->first + s->token_count; id++) {
        const organ_token *const token = &s->u->tokens[id];
        if (token->text && json_object_setn_new(vocabulary, token->text, token->bytes, json_integer(id)))
            organ_memory_count_refusal();
    }
    return vocabulary;
}

static json_t *all_added_json(const organ_union *s)
{
    static const organ_added as_mergekit = {.normalized = true};
    json_t *const list = json_array();
    for (uint32_t id = 0; id < s->first + s->token_count; id++) {
        const organ_union_token *const fresh = id < s->first ? NULL : &s->tokens[id - s->first];
        const organ_added *added = fresh ? NULL : added_of(s->models[0].tokenizer, id);
        if (fresh && fresh->added)
            added = fresh->from_file ? &fresh->like : &as_mergekit;
        if (added && json_array_append_new(list, added_json(s->u, id, added)))
            organ_memory_count_refusal();
    }
    return list;
}

static organ_status edit_file(const organ_union *s, const char *label, const char *bytes, size_t length, char **json,
                              organ_error *error)
{
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    ORGAN_OWNED_JSON json_t *const vocabulary = vocabulary_json(s), *const added = all_added_json(s);
    if (organ_json_edit_begin(&edit, label, bytes, length, error) == ORGAN_OK &&
        organ_json_edit_set(&edit, /*inside=*/NULL, "added_tokens", added, error) == ORGAN_OK &&
        organ_json_edit_set(&edit, "model", "vocab", vocabulary, error) == ORGAN_OK &&
        organ_json_edit_set(&edit, "model", "merges", s->merges, error) == ORGAN_OK &&
        !(*json = organ_format("%s", edit.bytes)))
        organ_fail_memory(error, label);
    return error->status;
}

static organ_status read_again(const organ_union *s, const char *json, organ_tokenizer **made, organ_error *error)
{
    const organ_json_source text = {.bytes = json, .length = strlen(json), .label = "tokenizer.json of the union"};
    *made = organ_tokenizer_create(s->models[0].name, error);
    return *made ? organ_tokenizer_from_json(NULL, *made, &text, error) : error->status;
}

static organ_status compare_union(const organ_union *s, const organ_tokenizer *made, organ_error *error)
{
    organ_tokenizer_difference difference = {0};
    if (organ_tokenizer_compare(s->models[0].tokenizer, made, "the union", &difference, error))
        return error->status;
    if (difference.found && difference.text[0])
        tell(s, "the union splits texts of %s in another way: %s", s->models[0].name, difference.text);
    return ORGAN_OK;
}

organ_status organ_union_write(organ_union *s, char **json, organ_tokenizer **made, organ_error *error)
{
    const organ_union_model *const m = &s->models[0];
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    if (organ_model_load(m->model, "tokenizer.json", FILE_LIMIT, &bytes, &length, error))
        return error->status;
    if (!bytes)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s has no tokenizer.json, to which tokens can be added", m->name);
    if (edit_file(s, m->name, bytes, length, json, error) == ORGAN_OK)
        read_again(s, *json, made, error);
    return error->status;
}

organ_status organ_tokenizer_unite(const organ_union_model *models, size_t count, const char *const *extra,
                                   size_t extra_count, char **json, organ_tokenizer **made, json_t *warnings,
                                   organ_error *error)
{
    organ_union s = {.models = models, .count = count, .merges = json_array(), .warnings = warnings};
    *json = NULL;
    *made = NULL;
    s.u = organ_tokenizer_create(models[0].name, error);
    if (s.u && organ_union_put_first(&s, error) == ORGAN_OK)
        for (size_t k = 1; k < count && !error->status; k++)
            put_tokens_of(&s, k, error);
    for (size_t k = 0; k < extra_count && !error->status; k++)
        if (organ_tokenizer_id(s.u, extra[k], strlen(extra[k])) == ORGAN_NO_ID &&
            !organ_union_put(&s, extra[k], strlen(extra[k]), /*like=*/NULL, /*added=*/true))
            organ_union_lack_memory(&s, error);
    if (!error->status && s.token_count && put_all_merges(&s, error) == ORGAN_OK &&
        organ_union_write(&s, json, made, error) == ORGAN_OK)
        compare_union(&s, *made, error);
    organ_tokenizer_close(s.u);
    json_decref(s.merges);
    free(s.tokens);
    return error->status;
}
