/* SPDX-License-Identifier: MIT
 * Adds new tokens to a tokenizer, with the merges that make them. */
#include "formats/base/format_rest.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_parts.h"
#include "formats/tokenizer/union_tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20 }; /* upper bound of the bytes of a tokenizer file */

bool organ_extension_add(organ_extension *x, const char *text, size_t bytes, const char *file, size_t line,
                         bool special)
{
    char *const copy = organ_format("%.*s", (int)bytes, text);
    if (!copy || !organ_grow(&x->tokens, x->count, &x->room, sizeof *x->tokens)) {
        free(copy);
        return false;
    }
    x->tokens[x->count++] = (organ_new_token){
        .text = copy, .bytes = bytes, .file = file, .line = line, .special = special, .part = file == NULL};
    return true;
}

json_t *organ_new_token_json(const char *text)
{
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", text, "lstrip", 0, "normalized", 0, "rstrip", 0,
                     "single_word", 0, "special", 1);
}

void organ_extension_release(organ_extension *x)
{
    for (size_t k = 0; k < x->count; k++)
        ORGAN_FREE_ARRAYS((void *)x->tokens[k].text, x->tokens[k].pieces);
    organ_tokenizer_close(x->made);
    ORGAN_FREE_ARRAYS(x->tokens, x->reused, x->json);
    *x = (organ_extension){0};
}

__attribute__((format(printf, 3, 4))) static organ_status fail_token(const organ_new_token *t, organ_error *error,
                                                                     const char *format, ...)
{
    char text[400];
    ORGAN_FORMAT_REST(text, format);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %zu: '%.*s' %s", t->file, t->line, organ_union_shown(t->bytes),
                      t->text, text);
}

static bool put_letters(const organ_tokenizer *t, const organ_new_token *token, organ_bytes *letters)
{
    return organ_put_letters(t, token->text, token->bytes, letters);
}

uint64_t organ_extension_memory(const organ_extension *x)
{
    enum { PER_TOKEN = 1024, PER_BYTE = 16 }; /* in tables, merges as JSON, the text of the file, and what reads it */
    return (uint64_t)x->count * PER_TOKEN + (uint64_t)x->bytes * PER_BYTE;
}

/* Counts the bytes of a token that `x` has, or of a part of it, and claims memory in large steps. */
static organ_status count_bytes(organ_extension *x, const organ_new_token *token, size_t bytes, organ_error *error)
{
    x->bytes += bytes;
    if (x->count > ORGAN_NEW_TOKENS || x->bytes > ORGAN_NEW_BYTES)
        return fail_token(token, error, "is too much: new tokens and their parts are at most %d, of %d bytes",
                          ORGAN_NEW_TOKENS, ORGAN_NEW_BYTES);
    const uint64_t need = organ_extension_memory(x);
    if (!x->claim || need <= x->claimed)
        return ORGAN_OK;
    x->claimed = need + need / 4;
    return x->claim(x->context, x->claimed, error);
}

static organ_status put_listed(organ_union *s, organ_extension *x, const organ_new_token *token, organ_bytes *letters,
                               organ_error *error)
{
    static const organ_added as_special = {.special = true};
    const organ_tokenizer *const base = s->models[0].tokenizer;
    letters->used = 0;
    if (!token->bytes || token->bytes > ORGAN_NEW_TOKEN_BYTES)
        return fail_token(token, error, "has %zu bytes, not 1 to %d", token->bytes, ORGAN_NEW_TOKEN_BYTES);
    if (token->special ? !organ_bytes_add(letters, token->text, token->bytes) : !put_letters(base, token, letters))
        return organ_union_lack_memory(s, error);
    const uint32_t id = organ_tokenizer_id(s->u, letters->data, letters->used);
    if (id != ORGAN_NO_ID && id >= s->first)
        return fail_token(token, error, "is that of line %zu of %s, too", x->tokens[id - s->first].line,
                          x->tokens[id - s->first].file);
    if (id != ORGAN_NO_ID)
        return fail_token(token, error, "is a token already: %u", id);
    if (count_bytes(x, token, letters->used, error))
        return error->status;
    return organ_union_put(s, letters->data, letters->used, token->special ? &as_special : NULL, token->special)
               ? ORGAN_OK
               : organ_union_lack_memory(s, error);
}

/* Adds a part of a token with the text that the vocabulary writes. */
static organ_status put_part(organ_union *s, organ_extension *x, size_t number, const char *text, size_t bytes,
                             organ_error *error)
{
    if (!organ_extension_add(x, text, bytes, NULL, 0, /*special=*/false) ||
        !organ_union_put(s, text, bytes, /*like=*/NULL, /*added=*/false))
        return organ_union_lack_memory(s, error);
    s->u->facts.vocabulary = (uint32_t)s->u->token_count;
    return count_bytes(x, &x->tokens[number], bytes, error);
}

/* Characters that only bytes write become tokens. In a vocabulary of bytes, all letters must be there. */
static organ_status put_characters(organ_union *s, organ_extension *x, size_t number, organ_error *error)
{
    const organ_token token = s->u->tokens[s->first + number];
    size_t length;
    for (size_t at = 0; at < token.bytes && !error->status; at += length) {
        const uint32_t code = organ_utf8_at(token.text + at, &length);
        const uint32_t id = organ_tokenizer_id(s->u, token.text + at, length);
        if (id != ORGAN_NO_ID)
            continue;
        if (s->u->byte_level)
            return fail_token(&x->tokens[number], error, "has the byte 0x%02X, which no token writes",
                              (unsigned)organ_unicode_to_byte(code));
        if (!s->u->byte_fallback)
            return fail_token(&x->tokens[number], error, "has the character U+%04X, which no token writes",
                              (unsigned)code);
        put_part(s, x, number, token.text + at, length, error);
    }
    return error->status;
}

/* Joins the first two of the tokens that the text of a new token has so far. If the base has the token that this makes,
 * other texts may now have it, too. */
static organ_status join_first(organ_union *s, organ_extension *x, size_t number, const organ_ids *ids,
                               organ_error *error)
{
    const organ_token token = s->u->tokens[s->first + number];
    const size_t bytes = (size_t)s->u->tokens[ids->items[0]].bytes + s->u->tokens[ids->items[1]].bytes;
    uint32_t made = organ_tokenizer_id(s->u, token.text, bytes);
    if (made == ORGAN_NO_ID) {
        made = (uint32_t)s->u->token_count;
        if (put_part(s, x, number, token.text, bytes, error))
            return error->status;
    } else if (made < s->first) {
        if (!organ_grow(&x->reused, x->reused_count, &x->reused_room, sizeof *x->reused))
            return organ_union_lack_memory(s, error);
        x->reused[x->reused_count++] = made;
    }
    x->merges++;
    return organ_union_put_pair(s, ids->items[0], ids->items[1], made, error);
}

/* Applies merges to neighbours as encoding does, the one of lowest rank first, the leftmost among equals. */
static void merge_ids(const organ_tokenizer *t, organ_ids *ids)
{
    for (const organ_merge *best;;) {
        size_t at = 0;
        best = NULL;
        for (size_t k = 0; k + 1 < ids->count; k++) {
            const organ_merge *const merge = organ_tokenizer_pair(t, ids->items[k], ids->items[k + 1]);
            if (merge && (!best || merge->rank < best->rank)) {
                best = merge;
                at = k;
            }
        }
        if (!best)
            return;
        ids->items[at] = best->merged;
        ids->count--;
        memmove(ids->items + at + 1, ids->items + at + 2, (ids->count - at - 1) * sizeof *ids->items);
    }
}

/* A new merge comes after all others, so it continues from what they leave. */
static organ_status make_token(organ_union *s, organ_extension *x, size_t number, organ_error *error)
{
    const uint32_t id = s->first + (uint32_t)number;
    const organ_token token = s->u->tokens[id];
    organ_ids ids = {.max = SIZE_MAX};
    organ_bpe bpe = {.tokenizer = s->u, .ids = &ids};
    organ_bpe_word(&bpe, token.text, token.bytes, error);
    while (!error->status && ids.count > 1)
        if (join_first(s, x, number, &ids, error) == ORGAN_OK)
            merge_ids(s->u, &ids);
    if (!error->status && (ids.count != 1 || ids.items[0] != id))
        fail_token(&x->tokens[number], error, "cannot be made by merges");
    ORGAN_FREE_ARRAYS(ids.items, bpe.symbols, bpe.heap, bpe.cache);
    return error->status;
}

typedef struct sized_token {
    size_t bytes, number;
} sized_token;

static int by_size(const void *a, const void *b)
{
    const sized_token *const x = a, *const y = b;
    return ORGAN_ORDERS(ORGAN_ORDER(x->bytes, y->bytes), ORGAN_ORDER(x->number, y->number));
}

/* Shorter tokens may be parts of longer ones. */
static organ_status make_tokens(organ_union *s, organ_extension *x, organ_error *error)
{
    const size_t listed = x->count;
    ORGAN_OWNED sized_token *const order = malloc((listed + 1) * sizeof *order);
    size_t count = 0;
    if (!order)
        return organ_union_lack_memory(s, error);
    for (size_t k = 0; k < listed; k++)
        if (!x->tokens[k].special)
            order[count++] = (sized_token){s->u->tokens[s->first + k].bytes, k};
    if (count)
        qsort(order, count, sizeof *order, by_size);
    for (size_t k = 0; k < count && !error->status; k++)
        put_characters(s, x, order[k].number, error);
    organ_tokenizer_ready(s->u); /* later parts are neither characters nor bytes */
    for (size_t k = 0; k < count && !error->status; k++)
        make_token(s, x, order[k].number, error);
    return error->status;
}

/* Sets the ids that the merges of the base leave of a new token. The text does not pass the steps of the tokenizer,
 * which may put a blank before it or change its characters. */
static organ_status find_pieces(const organ_union *s, organ_extension *x, size_t number, organ_bpe *bpe,
                                organ_error *error)
{
    const organ_tokenizer *const base = s->models[0].tokenizer;
    const organ_token *const token = &s->u->tokens[s->first + number];
    organ_new_token *const fresh = &x->tokens[number];
    organ_ids ids = {.max = SIZE_MAX};
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes letters = {0};
    if (fresh->special && !put_letters(base, fresh, &letters))
        return organ_union_lack_memory(s, error);
    bpe->ids = &ids;
    organ_bpe_word(bpe, fresh->special ? letters.data : token->text, fresh->special ? letters.used : token->bytes,
                   error);
    fresh->pieces = ids.items;
    fresh->piece_count = ids.count;
    bool known = ids.count > 0;
    for (size_t k = 0; k < ids.count && known; k++)
        known = ids.items[k] < s->models[0].rows && ids.items[k] != base->unknown;
    if (error->status || known)
        return error->status;
    return fresh->file ? fail_token(fresh, error, "has a character that no token with a row writes")
                       : organ_fail(error, ORGAN_BAD_INPUT, "'%.*s', a part of a new token, has no pieces with rows",
                                    organ_union_shown(fresh->bytes), fresh->text);
}

/* A text has the token if it stands alone, without the blank that a tokenizer puts before a text, or in a new line. */
static organ_status check_token(const organ_tokenizer *made, const organ_new_token *token, uint32_t id,
                                organ_error *error)
{
    const size_t blank = token->bytes > 1 && token->text[0] == ' ';
    ORGAN_OWNED char *const line = organ_format("a\n%s", token->text);
    const char *const texts[] = {token->text, token->text + blank, line ? line : ""};
    char split[200] = "";
    bool found = false;
    for (unsigned k = 0; k < 3 && !found && !error->status; k++) {
        ORGAN_OWNED uint32_t *ids = NULL;
        size_t count = 0, bytes, used = 0;
        organ_tokenizer_encode(made, texts[k], strlen(texts[k]), /*special=*/true, &ids, &count, error);
        for (size_t n = 0; n < count && !error->status; n++) {
            found = found || ids[n] == id;
            const char *const piece = organ_tokenizer_piece(made, ids[n], &bytes);
            if (k == 0 && used < sizeof split)
                used += (size_t)snprintf(split + used, sizeof split - used, "%s'%.*s'", n ? " " : "",
                                         organ_union_shown(bytes), piece);
        }
    }
    return found || error->status ? error->status
                                  : fail_token(token, error, "cannot occur: the tokenizer splits it into %s", split);
}

static int by_id(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return ORGAN_ORDER(x, y);
}

/* Several pairs may make the same token. */
static void sort_reused(organ_extension *x)
{
    size_t count = 0;
    if (x->reused_count)
        qsort(x->reused, x->reused_count, sizeof *x->reused, by_id);
    for (size_t k = 0; k < x->reused_count; k++)
        if (!count || x->reused[count - 1] != x->reused[k])
            x->reused[count++] = x->reused[k];
    x->reused_count = count;
}

static organ_status finish_extension(organ_union *s, organ_extension *x, organ_error *error)
{
    organ_bpe bpe = {.tokenizer = s->models[0].tokenizer};
    sort_reused(x);
    for (size_t k = 0; k < x->count && !error->status; k++)
        find_pieces(s, x, k, &bpe, error);
    ORGAN_FREE_ARRAYS(bpe.symbols, bpe.heap, bpe.cache);
    if (error->status || organ_union_write(s, &x->json, &x->made, error))
        return error->status;
    for (size_t k = 0; k < x->count && !error->status; k++)
        if (!x->tokens[k].part)
            check_token(x->made, &x->tokens[k], s->first + (uint32_t)k, error);
    return error->status;
}

organ_status organ_tokenizer_extend(const organ_union_model *model, organ_extension *x, organ_error *error)
{
    organ_union s = {.models = model, .count = 1, .merges = json_array(), .warnings = NULL};
    organ_bytes letters = {0};
    s.u = organ_tokenizer_create(model->name, error);
    if (s.u && organ_union_put_first(&s, error) == ORGAN_OK) {
        x->first = s.first;
        for (size_t k = 0; k < x->count && !error->status; k++)
            put_listed(&s, x, &x->tokens[k], &letters, error);
    }
    if (!error->status) {
        s.u->byte_level = model->tokenizer->byte_level;
        s.u->byte_fallback = model->tokenizer->byte_fallback;
        organ_tokenizer_ready(s.u);
        organ_union_put_merges(&s, 0, error);
    }
    if (!error->status && make_tokens(&s, x, error) == ORGAN_OK)
        finish_extension(&s, x, error);
    organ_tokenizer_close(s.u);
    json_decref(s.merges);
    ORGAN_FREE_ARRAYS(s.tokens, letters.data);
    return error->status;
}

/* ---- the tokenizer of a copy ---- */

/* Parses the members of a tokenizer.json that its digest does not cover. */
static organ_status parse_rest(const organ_json_source *text, json_t **members, organ_error *error)
{
    organ_json_walk walk;
    *members = json_object();
    organ_json_walk_begin(&walk, text, (organ_json_span){0, text->length}, NULL, error);
    while (*members && organ_json_walk_next(&walk, error)) {
        const char *const name = json_string_value(walk.name);
        json_t *value = NULL;
        if (strcmp(name, "model") != 0 && strcmp(name, "added_tokens") != 0 &&
            organ_json_parse(text, walk.value, name, &value, error) == ORGAN_OK &&
            json_object_set_new(*members, name, value))
            return organ_fail_memory(error, text->label);
    }
    return *members ? error->status : organ_fail_memory(error, text->label);
}

/* Sets `different` to a member of one of the objects that the other one lacks, or has with another value. */
static void name_difference(json_t *one, json_t *other, char different[200])
{
    const char *name;
    json_t *value;
    json_object_foreach(one, name, value) if (!*different && !json_equal(value, json_object_get(other, name)))
        snprintf(different, 200, "'%.100s' is", name);
}

organ_status organ_extension_compare(const organ_extension *x, const organ_model *copy, char different[200],
                                     organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *expected = NULL, *rest = NULL;
    organ_json_source found = {.label = "tokenizer.json of the copy"};
    const organ_json_source made = {.label = "tokenizer.json", .bytes = x->json, .length = strlen(x->json)};
    *different = 0;
    if (organ_model_load(copy, "tokenizer.json", FILE_LIMIT, &bytes, &found.length, error))
        return error->status;
    if (!bytes) {
        snprintf(different, 200, "the file is missing: it is");
        return ORGAN_OK;
    }
    found.bytes = bytes;
    organ_tokenizer *const t = organ_tokenizer_create(copy->path, error);
    if (t && organ_tokenizer_from_json(NULL, t, &found, error) == ORGAN_OK &&
        parse_rest(&made, &expected, error) == ORGAN_OK && parse_rest(&found, &rest, error) == ORGAN_OK) {
        if (strcmp(t->facts.digest, x->made->facts.digest) != 0)
            snprintf(different, 200, "tokens, merges, added tokens or steps are");
        name_difference(expected, rest, different);
        name_difference(rest, expected, different);
    }
    organ_tokenizer_close(t);
    return error->status;
}
