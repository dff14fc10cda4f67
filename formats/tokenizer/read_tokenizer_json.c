/* SPDX-License-Identifier: MIT
 * Reads tokenizer.json. Vocabulary and merges may have a million members, so they are read one by one instead of
 * being parsed as a whole. */
#include "formats/base/format_rest.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <string.h>

/* Ids are below ID_LIMIT. As many ids as there are tokens, plus ID_SLACK, may have no token (check_holes). */
enum { ID_LIMIT = 1 << 24, ID_SLACK = 4096 };

/* The first TOP_SMALL members are parsed as JSON trees; "model" is read in parts. */
static const char *const top_names[] = {"normalizer", "pre_tokenizer", "post_processor", "added_tokens", "model"};
enum { TOP_SMALL = 4, TOP_MODEL = 4, TOP_COUNT };

/* The first MODEL_SMALL members are parsed as JSON trees; "vocab" and "merges" are read element by element. */
static const char *const model_names[] = {"type",
                                          "unk_token",
                                          "fuse_unk",
                                          "byte_fallback",
                                          "ignore_merges",
                                          "dropout",
                                          "continuing_subword_prefix",
                                          "end_of_word_suffix",
                                          "vocab",
                                          "merges"};
enum { MODEL_SMALL = 8, MODEL_VOCAB = 8, MODEL_MERGES, MODEL_COUNT };

/* The first error is kept in `error`; values read after it are not used. */
typedef struct json_reading {
    organ_tokenizer *t;     /* output */
    organ_json_source text; /* the file */
    json_t *top, *model; /* objects with the small members of the document and of "model"; NULL before they are read */
    const organ_tokenizer_beside *beside; /* NULL: no other files are read */
    organ_error *error;
} json_reading;

__attribute__((format(printf, 2, 3))) static organ_status json_refuse(const json_reading *r, const char *format, ...)
{
    char reason[sizeof r->error->message];
    ORGAN_FORMAT_REST(reason, format);
    return organ_refuse(r->error, r->text.label, "%s", reason);
}

static organ_status fail_memory(const json_reading *r) { return organ_fail_memory(r->error, r->text.label); }

/* spans[k] is empty if there is no member names[k]. The caller releases the result, an object with the parsed values
 * of the first `small` members. `what` names `object` in messages; NULL for the document. */
static json_t *read_members(const json_reading *r, organ_json_span object, const char *what, const char *const *names,
                            size_t small, size_t count, organ_json_span *spans)
{
    json_t *const members = json_object(), *value;
    organ_json_walk walk;
    organ_json_walk_begin(&walk, &r->text, object, what, r->error);
    memset(spans, 0, count * sizeof *spans);
    while (organ_json_walk_next(&walk, r->error))
        for (size_t k = 0; k < count; k++)
            if (strcmp(names[k], json_string_value(walk.name)) == 0) {
                if (spans[k].end)
                    json_refuse(r, "'%s' occurs twice", names[k]);
                spans[k] = walk.value;
            }
    for (size_t k = 0; k < small && !r->error->status; k++)
        if (spans[k].end && organ_json_parse(&r->text, spans[k], names[k], &value, r->error) == ORGAN_OK &&
            json_object_set_new(members, names[k], value))
            fail_memory(r);
    if (!members)
        fail_memory(r);
    return members;
}

/* ---- vocabulary ---- */

/* Returns false unless the text is a decimal number below ID_LIMIT without leading zeros. */
static bool read_id(const organ_json_source *text, organ_json_span span, uint32_t *id)
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

/* Memory is allocated for all ids up to the largest. A valid file passes, because a token takes more than two bytes
 * of the file and check_holes limits the ids without a token. `list` is the member of the file that contains the id,
 * for messages. */
static organ_status check_id_limit(const json_reading *r, const char *list, const char *word, uint32_t id)
{
    if (id < r->text.length + ID_SLACK)
        return ORGAN_OK;
    return json_refuse(r, "%s: '%.100s': id %u exceeds the number of tokens that a file of %zu bytes can list", list,
                       word, id, r->text.length);
}

static organ_status put_word(const json_reading *r, const json_t *name, organ_json_span value)
{
    organ_tokenizer *const t = r->t;
    const char *word = json_string_value(name);
    const size_t bytes = json_string_length(name);
    uint32_t id;
    if (!read_id(&r->text, value, &id))
        return json_refuse(r, "vocab: '%.100s': '%.*s' is not an id from 0 to %d", word,
                           (int)(value.end - value.begin > 40 ? 40 : value.end - value.begin),
                           r->text.bytes + value.begin, ID_LIMIT - 1);
    if (bytes > ORGAN_TOKEN_SIZE)
        return json_refuse(r, "vocab: id %u has %zu bytes; the limit is %u", id, bytes, ORGAN_TOKEN_SIZE);
    if (check_id_limit(r, "vocab", word, id) != ORGAN_OK)
        return r->error->status;
    const uint32_t other = organ_tokenizer_id(t, word, bytes);
    if (other != ORGAN_NO_ID)
        return json_refuse(r, "vocab: '%.100s' occurs twice, as %u and as %u", word, other, id);
    if (id < t->token_count && t->tokens[id].text)
        return json_refuse(r, "vocab: id %u is both '%.100s' and '%.100s'", id, t->tokens[id].text, word);
    return organ_tokenizer_add_token(t, id, word, bytes) ? ORGAN_OK : fail_memory(r);
}

static void read_vocabulary(const json_reading *r, organ_json_span span)
{
    organ_json_walk walk;
    if (!span.end)
        json_refuse(r, "model: 'vocab' is missing");
    organ_json_walk_begin(&walk, &r->text, span, "vocab", r->error);
    while (organ_json_walk_next(&walk, r->error))
        put_word(r, walk.name, walk.value);
    if (!r->error->status && r->t->text_count == 0)
        json_refuse(r, "vocab: it is empty");
}

/* Every id takes memory, also one without a token. */
static void check_holes(const json_reading *r)
{
    const size_t named = r->t->text_count + r->t->raw.count;
    if (r->t->token_count > named * 2 + ID_SLACK)
        json_refuse(r, "the highest id is %zu, but there are %zu tokens", r->t->token_count - 1, named);
}

/* ---- merges ---- */

typedef struct merge_list {
    const json_reading *r;
    const char *bytes; /* the file */
    size_t at, end;    /* offsets in `bytes`: the position, the end of the list */
    size_t index;      /* index of the element being read, which is its rank */
    json_t *tree;      /* the last string that had escapes, as parsed by read_string; or NULL */
} merge_list;

static organ_status refuse_merge(const merge_list *l, const char *what)
{
    return json_refuse(l->r, "merges: number %zu: %s", l->index, what);
}

static char next_char(merge_list *l)
{
    while (l->at < l->end && strchr(" \t\n\r", l->bytes[l->at]) && l->bytes[l->at])
        l->at++;
    return l->at < l->end ? l->bytes[l->at] : 0;
}

/* The text is valid until the next call. Only a string with escapes is copied, by the JSON parser, which also
 * reports invalid characters. */
static const char *read_string(merge_list *l, size_t *bytes)
{
    const char *s = l->bytes;
    const size_t begin = l->at;
    size_t at = begin + 1, length = 1; /* length: bytes of the last character; 0 if it was not valid UTF-8 */
    while (at < l->end && s[at] != '"' && s[at] != '\\' && (unsigned char)s[at] >= 0x20 && length) {
        length = organ_utf8_length((const unsigned char *)s + at);
        at += length;
    }
    if (at < l->end && s[at] == '"') {
        *bytes = at - begin - 1;
        l->at = at + 1;
        return s + begin + 1;
    }
    for (at = begin + 1; at < l->end && s[at] != '"'; at++)
        at += s[at] == '\\';
    l->at = at < l->end ? at + 1 : l->end;
    json_decref(l->tree);
    if (organ_json_parse(&l->r->text, (organ_json_span){begin, l->at}, "merges", &l->tree, l->r->error) != ORGAN_OK)
        return NULL;
    *bytes = json_string_length(l->tree);
    return json_string_value(l->tree);
}

/* An element is ["LEFT", "RIGHT"] or "LEFT RIGHT". *both has the two words without a separator, and *first is the
 * number of bytes of LEFT. */
static organ_status read_merge(merge_list *l, organ_bytes *both, size_t *first)
{
    const bool pair = next_char(l) == '[';
    both->used = 0;
    for (unsigned k = 0; k < (pair ? 2 : 1); k++) {
        size_t bytes = 0;
        l->at += pair; /* past '[' or ',' */
        if (next_char(l) != '"')
            return refuse_merge(l, "a string is expected");
        const char *const string = read_string(l, &bytes);
        const char *const blank = string && !pair ? memchr(string, ' ', bytes) : NULL;
        if (!string)
            return l->r->error->status;
        if (!pair && (!blank || memchr(blank + 1, ' ', bytes - (size_t)(blank + 1 - string))))
            return refuse_merge(l, "it is not two words separated by a space");
        if (k == 0)
            *first = blank ? (size_t)(blank - string) : bytes;
        if (!organ_bytes_add(both, string, blank ? *first : bytes) ||
            (blank && !organ_bytes_add(both, blank + 1, bytes - *first - 1)))
            return fail_memory(l->r);
        if (pair && next_char(l) != (k ? ']' : ','))
            return refuse_merge(l, "it is not a pair of strings");
    }
    l->at += pair; /* past ']' */
    return *first && *first < both->used ? ORGAN_OK : refuse_merge(l, "one of its words is empty");
}

static uint32_t require_token_id(const merge_list *l, const char *text, size_t bytes)
{
    const uint32_t id = organ_tokenizer_id(l->r->t, text, bytes);
    if (id == ORGAN_NO_ID)
        json_refuse(l->r, "merges: number %zu: '%.*s' is not in the vocabulary", l->index,
                    (int)(bytes > 100 ? 100 : bytes), text);
    return id;
}

static void put_merge(merge_list *l, organ_bytes *both)
{
    size_t first = 0;
    if (read_merge(l, both, &first) != ORGAN_OK)
        return;
    const uint32_t left = require_token_id(l, both->data, first),
                   right = require_token_id(l, both->data + first, both->used - first);
    const uint32_t merged = require_token_id(l, both->data, both->used);
    if (!l->r->error->status && !organ_tokenizer_merge(l->r->t, left, right, (uint32_t)l->index, merged))
        fail_memory(l->r);
}

/* A JSON tree of the whole list would take many times the memory of its text. */
static void read_merges(const json_reading *r, organ_json_span span)
{
    merge_list l = {.r = r, .bytes = r->text.bytes, .at = span.begin, .end = span.end};
    ORGAN_RELEASED_BY(organ_bytes_release) organ_bytes both = {0};
    if (!span.end || next_char(&l) != '[') {
        json_refuse(r, "model: 'merges' is %s", span.end ? "not a list" : "missing");
        return;
    }
    l.at++;
    char c = next_char(&l) == ']' ? ']' : ','; /* ']' ends the list; the '[' before the first element counts as ',' */
    l.at += c == ']';
    for (; c == ',' && !r->error->status; l.index++) {
        put_merge(&l, &both);
        c = next_char(&l);
        if (!r->error->status && c != ',' && c != ']')
            refuse_merge(&l, "',' or ']' is expected after it");
        l.at++;
    }
    if (!r->error->status && next_char(&l))
        refuse_merge(&l, "text follows the end of the list");
    json_decref(l.tree);
}

/* ---- settings of the model ---- */

static void read_flag(const json_reading *r, const char *name, bool *flag)
{
    const json_t *const value = json_object_get(r->model, name);
    *flag = json_is_true(value);
    if (value && !json_is_boolean(value) && !json_is_null(value))
        json_refuse(r, "model: '%s' is neither true nor false", name);
}

/* The effect of the member is not implemented. */
static void expect_unset(const json_reading *r, const char *name)
{
    const json_t *const value = json_object_get(r->model, name);
    if (value && !json_is_null(value) && !(json_is_number(value) && json_number_value(value) == 0.0) &&
        !(json_is_string(value) && json_string_length(value) == 0))
        json_refuse(r, "model: a '%s' is not supported", name);
}

static void check_type(const json_reading *r, bool merges)
{
    const json_t *const type = json_object_get(r->model, "type");
    const char *const name = json_string_value(type);
    /* Old files have no type: a model with merges is BPE. */
    if (name ? strcmp(name, "BPE") != 0 : type || !merges)
        json_refuse(r, "a model of type '%.80s' is not supported, only BPE", name ? name : "");
    expect_unset(r, "dropout");
    expect_unset(r, "continuing_subword_prefix");
    expect_unset(r, "end_of_word_suffix");
}

static void read_unknown(const json_reading *r)
{
    const json_t *const value = json_object_get(r->model, "unk_token");
    if (!value || json_is_null(value))
        return;
    if (json_is_string(value))
        r->t->unknown = organ_tokenizer_id(r->t, json_string_value(value), json_string_length(value));
    if (r->t->unknown == ORGAN_NO_ID)
        json_refuse(r, "model: unk_token '%.80s' is not in the vocabulary",
                    json_is_string(value) ? json_string_value(value) : "");
}

/* ---- added tokens ---- */

static organ_status put_added(const json_reading *r, const json_t *entry, size_t index)
{
    organ_tokenizer *const t = r->t;
    const json_t *content = json_object_get(entry, "content"), *id = json_object_get(entry, "id");
    const char *word = json_string_value(content);
    const size_t bytes = json_string_length(content);
    if (!word || bytes == 0 || bytes > ORGAN_TOKEN_SIZE)
        return json_refuse(r, "added_tokens: number %zu: 'content' is not a string of 1 to %u bytes", index,
                           ORGAN_TOKEN_SIZE);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= ID_LIMIT)
        return json_refuse(r, "added_tokens: '%.100s': 'id' is not a number from 0 to %d", word, ID_LIMIT - 1);
    const organ_added added = {.text = word,
                               .bytes = bytes,
                               .id = (uint32_t)json_integer_value(id),
                               .special = json_is_true(json_object_get(entry, "special")),
                               .normalized = json_is_true(json_object_get(entry, "normalized")),
                               .lstrip = json_is_true(json_object_get(entry, "lstrip")),
                               .rstrip = json_is_true(json_object_get(entry, "rstrip")),
                               .single_word = json_is_true(json_object_get(entry, "single_word"))};
    if (check_id_limit(r, "added_tokens", word, added.id) != ORGAN_OK)
        return r->error->status;
    const uint32_t vocabulary_id = organ_tokenizer_id(t, word, bytes);
    if (vocabulary_id != ORGAN_NO_ID && vocabulary_id != added.id)
        return json_refuse(r, "added_tokens: '%.100s' is %u here, but %u in the vocabulary", word, added.id,
                           vocabulary_id);
    const organ_token *other = added.id < t->token_count ? &t->tokens[added.id] : NULL;
    if (other && other->text && (other->bytes != bytes || memcmp(other->text, word, bytes) != 0))
        return json_refuse(r, "added_tokens: id %u is both '%.100s' and '%.100s'", added.id, other->text, word);
    return organ_tokenizer_add_added_token(t, &added) ? ORGAN_OK : fail_memory(r);
}

static void read_added(const json_reading *r)
{
    const json_t *const added = json_object_get(r->top, "added_tokens");
    if (added && !json_is_array(added) && !json_is_null(added))
        json_refuse(r, "'added_tokens' is not a list");
    for (size_t k = 0; k < json_array_size(added) && !r->error->status; k++)
        put_added(r, json_array_get(added, k), k);
}

/* ---- the whole tokenizer ---- */

/* The added tokens of the document come before the merges, because organ_tokenizer_ready ends the vocabulary and
 * must precede the merges. */
static void read_model(json_reading *r, organ_json_span span)
{
    organ_json_span spans[MODEL_COUNT];
    if (!span.end) {
        json_refuse(r, "'model' is missing");
        return;
    }
    r->model = read_members(r, span, "model", model_names, MODEL_SMALL, MODEL_COUNT, spans);
    if (r->error->status)
        return;
    check_type(r, spans[MODEL_MERGES].end);
    read_flag(r, "fuse_unk", &r->t->fuse_unknown);
    read_flag(r, "byte_fallback", &r->t->byte_fallback);
    read_flag(r, "ignore_merges", &r->t->ignore_merges);
    read_vocabulary(r, spans[MODEL_VOCAB]);
    read_unknown(r);
    read_added(r);
    if (!r->error->status)
        organ_tokenizer_config_tokens(r->t, r->beside ? r->beside->config_label : r->text.label,
                                      r->beside ? r->beside->config : NULL, r->error);
    check_holes(r);
    if (r->error->status)
        return;
    organ_tokenizer_ready(r->t);
    read_merges(r, spans[MODEL_MERGES]);
}

/* The file does not state facts.kind: byte fallback or a token U+2581 means SentencePiece, a ByteLevel step means
 * byte-level BPE. */
organ_status organ_tokenizer_from_texts(organ_tokenizer *t, const organ_json_source *text,
                                        const organ_tokenizer_beside *beside, organ_error *error)
{
    json_reading r = {.t = t, .text = *text, .beside = beside, .error = error};
    organ_json_span top[TOP_COUNT] = {{0}};
    r.top = read_members(&r, (organ_json_span){0, r.text.length}, /*what=*/NULL, top_names, TOP_SMALL, TOP_COUNT, top);
    if (!error->status)
        read_model(&r, top[TOP_MODEL]);
    if (!error->status && beside)
        organ_tokenizer_flags(t, beside, r.top, error);
    if (!error->status)
        organ_tokenizer_steps(t, r.text.label, json_object_get(r.top, "normalizer"),
                              json_object_get(r.top, "pre_tokenizer"), error);
    if (!error->status && beside)
        organ_tokenizer_settings(t, beside->config_label, beside->config, /*from_json=*/true,
                                 json_object_get(r.top, "post_processor"), error);
    const bool sentence_piece = t->byte_fallback || organ_tokenizer_id(t, ORGAN_BLANK, 3) != ORGAN_NO_ID;
    t->facts.kind = sentence_piece ? "SentencePiece BPE" : "BPE";
    if (t->byte_level)
        t->facts.kind = "byte-level BPE";
    json_decref(r.top);
    json_decref(r.model);
    return error->status ? error->status : organ_tokenizer_finish(t, error);
}

organ_status organ_tokenizer_from_json(const organ_model *model, organ_tokenizer *t, const organ_json_source *text,
                                       organ_error *error)
{
    if (!model)
        return organ_tokenizer_from_texts(t, text, /*beside=*/NULL, error);
    organ_tokenizer_beside beside = {.config_label = organ_tokenizer_label(model, t, "tokenizer_config.json"),
                                     .model_label = organ_tokenizer_label(model, t, "config.json")};
    if (organ_tokenizer_config(model, t, &beside.config, error) == ORGAN_OK &&
        organ_model_load_json(model, "config.json", beside.model_label, &beside.model, error) == ORGAN_OK)
        organ_tokenizer_from_texts(t, text, &beside, error);
    ORGAN_DECREF(beside.config, beside.model);
    return error->status;
}
