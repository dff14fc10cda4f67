/* SPDX-License-Identifier: MIT
 * tokenizer.json: walked, since its vocabulary and its merges may have a million members. */
#include "formats/tokenizer/parts.h"

#include "formats/base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20, ID_LIMIT = 1 << 24, ID_SLACK = 4096 };

static const char *const top_names[] = {"model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"};
enum { TOP_MODEL, TOP_ADDED, TOP_NORMALIZER, TOP_CUTTER, TOP_POST, TOP_COUNT };

static const char *const model_names[] = {"type",
                                          "vocab",
                                          "merges",
                                          "unk_token",
                                          "fuse_unk",
                                          "byte_fallback",
                                          "ignore_merges",
                                          "dropout",
                                          "continuing_subword_prefix",
                                          "end_of_word_suffix"};
enum { M_TYPE, M_VOCAB, M_MERGES, M_UNKNOWN, M_FUSE, M_FALLBACK, M_IGNORE, M_DROPOUT, M_PREFIX, M_SUFFIX, M_COUNT };

/* Where the members of these names are; an empty span for what is not there. */
static organ_status find_members(const organ_json_text *text, organ_json_span object, const char *what, const char *const *names,
                                 size_t count, organ_json_span *spans, organ_error *error)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, object, what, error);
    memset(spans, 0, count * sizeof *spans);
    while (organ_json_walk_next(&walk, error))
        for (size_t k = 0; k < count; k++)
            if (strcmp(names[k], json_string_value(walk.name)) == 0) {
                if (spans[k].end)
                    organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s' is there twice", text->label, names[k]);
                spans[k] = walk.value;
            }
    return error->status;
}

/* A small member as a tree; NULL where it is absent. */
static organ_status parse_member(const organ_json_text *text, organ_json_span span, const char *what, json_t **value, organ_error *error)
{
    *value = NULL;
    return span.end ? organ_json_parse(text, span, what, value, error) : ORGAN_OK;
}

/* ---- vocabulary ---- */

static bool read_id(const organ_json_text *text, organ_json_span span, uint32_t *id)
{
    uint64_t value = 0;
    for (size_t k = span.begin; k < span.end; k++) {
        if (text->bytes[k] < '0' || text->bytes[k] > '9' || value > ID_LIMIT)
            return false;
        value = value * 10 + (uint64_t)(text->bytes[k] - '0');
    }
    *id = (uint32_t)value;
    return span.end > span.begin && value < ID_LIMIT && (text->bytes[span.begin] != '0' || span.end == span.begin + 1);
}

/* Ids may have holes (check_holes), but a token takes bytes to name: what lies further out than the file is long is refused before there is
 * room for it. */
static organ_status check_reach(const organ_json_text *text, const char *list, const char *word, uint32_t id, organ_error *error)
{
    if (id < text->length + ID_SLACK)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: '%.100s': id %u is far beyond the tokens that a file of %zu bytes can name",
                      text->label, list, word, id, text->length);
}

static organ_status put_word(organ_tokenizer *t, const organ_json_text *text, const json_t *name, organ_json_span value, organ_error *error)
{
    const char *word = json_string_value(name);
    const size_t bytes = json_string_length(name);
    uint32_t id;
    if (!read_id(text, value, &id))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: vocab: '%.100s': '%.*s' is no id from 0 to %d", text->label, word,
                          (int)(value.end - value.begin > 40 ? 40 : value.end - value.begin), text->bytes + value.begin, ID_LIMIT - 1);
    if (bytes > ORGAN_TOKEN_SIZE)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: vocab: id %u has %zu bytes; at most %u are read", text->label, id, bytes,
                          ORGAN_TOKEN_SIZE);
    if (check_reach(text, "vocab", word, id, error) != ORGAN_OK)
        return error->status;
    const uint32_t there = organ_tokenizer_id(t, word, bytes);
    if (there != ORGAN_NO_ID)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: vocab: '%.100s' is there twice, as %u and as %u", text->label, word, there, id);
    if (id < t->token_count && t->tokens[id].text)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: vocab: id %u is both '%.100s' and '%.100s'", text->label, id, t->tokens[id].text,
                          word);
    return organ_tokenizer_token(t, id, word, bytes) ? ORGAN_OK : organ_fail_memory(error, text->label);
}

static organ_status read_vocabulary(organ_tokenizer *t, const organ_json_text *text, organ_json_span span, organ_error *error)
{
    organ_json_walk walk;
    if (!span.end)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: model: 'vocab' is missing", text->label);
    organ_json_walk_begin(&walk, text, span, "vocab", error);
    while (organ_json_walk_next(&walk, error))
        put_word(t, text, walk.name, walk.value, error);
    if (!error->status && t->named == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: vocab: it is empty", text->label);
    return error->status;
}

/* Ids may have holes, but the vocabulary must not be made of them. */
static organ_status check_holes(const organ_tokenizer *t, const char *label, organ_error *error)
{
    const size_t named = t->named + t->raw.count;
    if (t->token_count <= named * 2 + ID_SLACK)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: the highest id is %zu, but there are %zu tokens", label, t->token_count - 1, named);
}

/* ---- merges ---- */

typedef struct list {
    const organ_json_text *text;
    size_t at, end, index;
    json_t *tree; /* of the string that was read last, if it had escapes */
} list;

static organ_status refuse_merge(const list *l, const char *what, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: merges: number %zu: %s", l->text->label, l->index, what);
}

static char next_char(list *l)
{
    while (l->at < l->end && strchr(" \t\n\r", l->text->bytes[l->at]) && l->text->bytes[l->at])
        l->at++;
    return l->at < l->end ? l->text->bytes[l->at] : 0;
}

/* A string as it stands, if nothing in it is escaped, else parsed. The text is valid until the next call. */
static organ_status read_string(list *l, const char **string, size_t *bytes, organ_error *error)
{
    const char *s = l->text->bytes;
    if (next_char(l) != '"')
        return refuse_merge(l, "a string is expected", error);
    const size_t begin = l->at;
    size_t at = begin + 1, length = 1;
    while (at < l->end && s[at] != '"' && s[at] != '\\' && (unsigned char)s[at] >= 0x20 && length) {
        length = organ_utf8_length((const unsigned char *)s + at);
        at += length;
    }
    if (at < l->end && s[at] == '"') {
        *string = s + begin + 1;
        *bytes = at - begin - 1;
        l->at = at + 1;
        return ORGAN_OK;
    }
    for (at = begin + 1; at < l->end && s[at] != '"'; at++)
        at += s[at] == '\\';
    l->at = at < l->end ? at + 1 : l->end;
    json_decref(l->tree);
    const organ_status status = organ_json_parse(l->text, (organ_json_span){begin, l->at}, "merges", &l->tree, error);
    *string = status == ORGAN_OK ? json_string_value(l->tree) : NULL;
    *bytes = status == ORGAN_OK ? json_string_length(l->tree) : 0;
    return status == ORGAN_OK && !*string ? refuse_merge(l, "a string is expected", error) : status;
}

static organ_status id_of(const organ_tokenizer *t, const list *l, const char *text, size_t bytes, uint32_t *id, organ_error *error)
{
    *id = organ_tokenizer_id(t, text, bytes);
    if (*id != ORGAN_NO_ID)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: merges: number %zu: '%.*s' is not in the vocabulary", l->text->label, l->index,
                      (int)(bytes > 100 ? 100 : bytes), text);
}

/* The two strings of a merge one after the other, and the length of the first. */
static organ_status read_merge(list *l, organ_bytes *both, size_t *first, organ_error *error)
{
    const char *string;
    size_t bytes;
    organ_status status;
    both->used = 0;
    if (next_char(l) != '[') {
        if ((status = read_string(l, &string, &bytes, error)) != ORGAN_OK)
            return status;
        const char *blank = memchr(string, ' ', bytes);
        if (!blank || memchr(blank + 1, ' ', bytes - (size_t)(blank + 1 - string)))
            return refuse_merge(l, "it is not two words with a blank between them", error);
        *first = (size_t)(blank - string);
        const bool good = organ_bytes_add(both, string, *first) && organ_bytes_add(both, blank + 1, bytes - *first - 1);
        return good ? ORGAN_OK : organ_fail_memory(error, l->text->label);
    }
    for (unsigned k = 0; k < 2; k++) {
        l->at++;
        if ((status = read_string(l, &string, &bytes, error)) != ORGAN_OK)
            return status;
        if (!organ_bytes_add(both, string, bytes))
            return organ_fail_memory(error, l->text->label);
        if (next_char(l) != (k ? ']' : ','))
            return refuse_merge(l, "it is not a pair of strings", error);
        if (k == 0)
            *first = bytes;
    }
    l->at++;
    return ORGAN_OK;
}

static organ_status put_merge(organ_tokenizer *t, list *l, organ_bytes *both, organ_error *error)
{
    size_t first = 0;
    uint32_t left = 0, right = 0, made = 0;
    if (read_merge(l, both, &first, error) == ORGAN_OK && id_of(t, l, both->data, first, &left, error) == ORGAN_OK &&
        id_of(t, l, both->data + first, both->used - first, &right, error) == ORGAN_OK &&
        id_of(t, l, both->data, both->used, &made, error) == ORGAN_OK && !organ_tokenizer_merge(t, left, right, (uint32_t)l->index, made))
        organ_fail_memory(error, l->text->label);
    return error->status;
}

static organ_status read_merges(organ_tokenizer *t, const organ_json_text *text, organ_json_span span, organ_error *error)
{
    list l = {.text = text, .at = span.begin, .end = span.end};
    organ_bytes both = {0};
    if (!span.end || next_char(&l) != '[')
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: model: 'merges' is %s", text->label, span.end ? "not a list" : "missing");
    l.at++;
    if (next_char(&l) == ']') {
        l.at++;
    } else {
        for (char c = ','; c == ',' && !error->status; l.index++) {
            put_merge(t, &l, &both, error);
            c = next_char(&l);
            if (!error->status && c != ',' && c != ']')
                refuse_merge(&l, "',' or ']' is expected after it", error);
            l.at++;
        }
    }
    if (!error->status && next_char(&l))
        refuse_merge(&l, "text follows the end of the list", error);
    free(both.data);
    json_decref(l.tree);
    return error->status;
}

/* ---- the rest of the model ---- */

static organ_status read_flag(const organ_json_text *text, organ_json_span span, const char *name, bool *flag, organ_error *error)
{
    json_t *value;
    parse_member(text, span, name, &value, error);
    *flag = json_is_true(value);
    if (!error->status && value && !json_is_boolean(value) && !json_is_null(value))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: model: '%s' is neither true nor false", text->label, name);
    json_decref(value);
    return error->status;
}

/* What is refused unless it is absent, null, 0 or "". */
static organ_status expect_nothing(const organ_json_text *text, organ_json_span span, const char *name, organ_error *error)
{
    json_t *value;
    parse_member(text, span, name, &value, error);
    const bool nothing = !value || json_is_null(value) || (json_is_number(value) && json_number_value(value) == 0.0) ||
                         (json_is_string(value) && json_string_length(value) == 0);
    if (!error->status && !nothing)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: model: a '%s' is not supported", text->label, name);
    json_decref(value);
    return error->status;
}

static organ_status check_type(const organ_json_text *text, const organ_json_span *spans, organ_error *error)
{
    json_t *type;
    parse_member(text, spans[M_TYPE], "type", &type, error);
    const char *name = json_string_value(type);
    /* Old files have no type: what has merges is BPE. */
    const bool good = name ? strcmp(name, "BPE") == 0 : !spans[M_TYPE].end && spans[M_MERGES].end;
    if (!error->status && !good)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: a model of type '%.80s' is not supported, only BPE", text->label, name ? name : "");
    json_decref(type);
    for (unsigned k = M_DROPOUT; k <= M_SUFFIX && !error->status; k++)
        expect_nothing(text, spans[k], model_names[k], error);
    return error->status;
}

static organ_status read_unknown(organ_tokenizer *t, const organ_json_text *text, organ_json_span span, organ_error *error)
{
    json_t *value;
    parse_member(text, span, "unk_token", &value, error);
    if (!error->status && value && !json_is_null(value)) {
        if (json_is_string(value))
            t->unknown = organ_tokenizer_id(t, json_string_value(value), json_string_length(value));
        if (t->unknown == ORGAN_NO_ID)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: model: unk_token '%.80s' is not in the vocabulary", text->label,
                       json_is_string(value) ? json_string_value(value) : "");
    }
    json_decref(value);
    return error->status;
}

/* ---- added tokens ---- */

static organ_status put_added(organ_tokenizer *t, const organ_json_text *text, const json_t *one, size_t index, organ_error *error)
{
    const json_t *content = json_object_get(one, "content"), *id = json_object_get(one, "id");
    const char *word = json_string_value(content);
    const size_t bytes = json_string_length(content);
    if (!word || bytes == 0 || bytes > ORGAN_TOKEN_SIZE)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: added_tokens: number %zu: 'content' is no text of 1 to %u bytes", text->label, index,
                          ORGAN_TOKEN_SIZE);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= ID_LIMIT)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: added_tokens: '%.100s': 'id' is no number from 0 to %d", text->label, word,
                          ID_LIMIT - 1);
    if (check_reach(text, "added_tokens", word, (uint32_t)json_integer_value(id), error) != ORGAN_OK)
        return error->status;
    const organ_added added = {.text = word,
                               .bytes = bytes,
                               .id = (uint32_t)json_integer_value(id),
                               .special = json_is_true(json_object_get(one, "special")),
                               .normalized = json_is_true(json_object_get(one, "normalized")),
                               .lstrip = json_is_true(json_object_get(one, "lstrip")),
                               .rstrip = json_is_true(json_object_get(one, "rstrip")),
                               .single_word = json_is_true(json_object_get(one, "single_word"))};
    const uint32_t there = organ_tokenizer_id(t, word, bytes);
    if (there != ORGAN_NO_ID && there != added.id)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: added_tokens: '%.100s' is %u here, but %u in the vocabulary", text->label, word,
                          added.id, there);
    const organ_token *other = added.id < t->token_count ? &t->tokens[added.id] : NULL;
    if (other && other->text && (other->bytes != bytes || memcmp(other->text, word, bytes) != 0))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: added_tokens: id %u is both '%.100s' and '%.100s'", text->label, added.id,
                          other->text, word);
    return organ_tokenizer_add(t, &added) ? ORGAN_OK : organ_fail_memory(error, text->label);
}

static organ_status read_added(organ_tokenizer *t, const organ_json_text *text, organ_json_span span, organ_error *error)
{
    json_t *list_of;
    parse_member(text, span, "added_tokens", &list_of, error);
    if (!error->status && list_of && !json_is_array(list_of) && !json_is_null(list_of))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: 'added_tokens' is not a list", text->label);
    for (size_t k = 0; k < json_array_size(list_of) && !error->status; k++)
        put_added(t, text, json_array_get(list_of, k), k, error);
    json_decref(list_of);
    return error->status;
}

/* ---- all of it ---- */

static organ_status read_steps(organ_tokenizer *t, const organ_json_text *text, const organ_json_span *top, organ_error *error)
{
    json_t *normalizer = NULL, *cutter = NULL;
    if (parse_member(text, top[TOP_NORMALIZER], "normalizer", &normalizer, error) == ORGAN_OK &&
        parse_member(text, top[TOP_CUTTER], "pre_tokenizer", &cutter, error) == ORGAN_OK)
        organ_tokenizer_steps(t, text->label, normalizer, cutter, error);
    json_decref(normalizer);
    json_decref(cutter);
    return error->status;
}

static organ_status read_model(organ_tokenizer *t, const organ_json_text *text, const organ_json_span *top, organ_error *error)
{
    organ_json_span spans[M_COUNT];
    if (!top[TOP_MODEL].end)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: 'model' is missing", text->label);
    if (find_members(text, top[TOP_MODEL], "model", model_names, M_COUNT, spans, error) != ORGAN_OK ||
        check_type(text, spans, error) != ORGAN_OK || read_flag(text, spans[M_FUSE], "fuse_unk", &t->fuse_unknown, error) != ORGAN_OK ||
        read_flag(text, spans[M_FALLBACK], "byte_fallback", &t->byte_fallback, error) != ORGAN_OK ||
        read_flag(text, spans[M_IGNORE], "ignore_merges", &t->ignore_merges, error) != ORGAN_OK ||
        read_vocabulary(t, text, spans[M_VOCAB], error) != ORGAN_OK || read_unknown(t, text, spans[M_UNKNOWN], error) != ORGAN_OK ||
        read_added(t, text, top[TOP_ADDED], error) != ORGAN_OK || check_holes(t, text->label, error) != ORGAN_OK)
        return error->status;
    organ_tokenizer_ready(t);
    return read_merges(t, text, spans[M_MERGES], error);
}

organ_status organ_tokenizer_from_json(const organ_model *model, organ_tokenizer *t, organ_error *error)
{
    organ_json_text text = {.label = "tokenizer.json"};
    organ_json_span top[TOP_COUNT];
    char *bytes = NULL;
    organ_model_load(model, text.label, FILE_LIMIT, &bytes, &text.length, error);
    if (!error->status && !bytes)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: there is no tokenizer.json", model->path);
    text.bytes = bytes;
    json_t *post = NULL;
    if (!error->status && find_members(&text, (organ_json_span){0, text.length}, NULL, top_names, TOP_COUNT, top, error) == ORGAN_OK &&
        read_steps(t, &text, top, error) == ORGAN_OK && read_model(t, &text, top, error) == ORGAN_OK &&
        parse_member(&text, top[TOP_POST], "post_processor", &post, error) == ORGAN_OK)
        organ_tokenizer_settings(model, t, post, error);
    t->facts.kind = t->byte_level                                                              ? "byte-level BPE"
                    : t->byte_fallback || organ_tokenizer_id(t, ORGAN_BLANK, 3) != ORGAN_NO_ID ? "SentencePiece BPE"
                                                                                               : "BPE";
    json_decref(post);
    free(bytes);
    return error->status ? error->status : organ_tokenizer_finish(t, error);
}
