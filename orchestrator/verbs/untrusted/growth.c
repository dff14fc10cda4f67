/* SPDX-License-Identifier: MIT
 * Checks tokenizers for sizes that no real one has: tokenizer.json and its companions, and tokenizer.ggml.* of GGUF. */
#include "orchestrator/verbs/untrusted/untrusted_parts.h"

#include "formats/base/files.h"
#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

/* Bytes for the name of a member, with its NUL. */
enum { NAME_ROOM = 65 };

static size_t string_end(const organ_json_source *text, size_t at)
{
    for (at++; at < text->length && text->bytes[at] != '"'; at++)
        at += text->bytes[at] == '\\';
    return at < text->length ? at + 1 : text->length;
}

static size_t skip_white_space(const organ_json_source *text, size_t at)
{
    while (at < text->length && text->bytes[at] && strchr(" \t\r\n", text->bytes[at]))
        at++;
    return at;
}

/* Only brackets and strings are followed, without a check of the syntax. A longer value ends after the string that
 * contains `at` + `max`. */
size_t organ_json_value_end(const organ_json_source *text, size_t at, size_t max)
{
    size_t depth = 0;
    const size_t end = text->length - at > max ? at + max : text->length;
    for (; at < end; at++) {
        const char c = text->bytes[at];
        const bool closes = c == '}' || c == ']';
        if (depth == 0 && (c == ',' || closes)) /* the end of a number or a word */
            return at;
        if (c == '"')
            at = string_end(text, at) - 1;
        depth += c == '{' || c == '[';
        depth -= closes;
        if (depth == 0 && (c == '"' || closes))
            return at + 1;
    }
    return at;
}

/* ---- members of all objects of a JSON text ---- */

typedef struct json_keys_walk {
    const organ_json_source *text;
    organ_json_key_found *callback;
    void *context;
    size_t depth; /* number of open brackets */
    struct {
        bool object;          /* an object; false: a list */
        organ_json_span name; /* its last string: in an object the name of the current member, or a text value; with
                                 quotes */
    } levels[ORGAN_JSON_KEYS_DEPTH]; /* the open objects and lists, the outermost first */
} json_keys_walk;

/* The names are joined by dots, "a.b". They are as written, without their quotes, each cut to 100 bytes. */
static void write_path(const json_keys_walk *w, organ_json_key *key)
{
    size_t used = 0;
    for (size_t k = 0; k < w->depth && k < ORGAN_JSON_KEYS_DEPTH && used + 10 < sizeof key->path; k++) {
        const organ_json_span name = w->levels[k].name;
        if (w->levels[k].object && name.end > name.begin + 2)
            used += (size_t)snprintf(key->path + used, sizeof key->path - used, "%s%.*s", used ? "." : "",
                                     (int)organ_min(name.end - name.begin - 2, 100), w->text->bytes + name.begin + 1);
    }
}

/* Returns false if the string at `span`, with its quotes, is malformed or too long. */
static bool json_keys_read_name(const organ_json_source *text, organ_json_span span, char name[NAME_ROOM])
{
    const size_t length = span.end - span.begin;
    const char *const string = text->bytes + span.begin;
    json_error_t fault;
    bool no_memory;
    if (length < 2 || length > 6 * (size_t)NAME_ROOM) /* an escape has at most 6 bytes for each that it means */
        return false;
    if (!memchr(string, '\\', length)) {
        snprintf(name, NAME_ROOM, "%.*s", (int)(length - 2), string + 1);
        return length - 2 < NAME_ROOM;
    }
    ORGAN_OWNED_JSON json_t *const tree = organ_json_load(string, length, JSON_DECODE_ANY, &fault, &no_memory);
    const char *const meant = json_string_value(tree);
    const bool fits = meant && strlen(meant) < NAME_ROOM;
    if (fits)
        strcpy(name, meant);
    return fits;
}

static void report_member(const json_keys_walk *w, organ_json_span span)
{
    const size_t colon = skip_white_space(w->text, span.end);
    char name[NAME_ROOM];
    if (colon >= w->text->length || w->text->bytes[colon] != ':' || !json_keys_read_name(w->text, span, name))
        return;
    organ_json_key key = {.text = w->text, .name = name, .value = skip_white_space(w->text, colon + 1)};
    write_path(w, &key);
    w->callback(w->context, &key);
}

/* No tree is built, so that a huge or malformed text is no danger. */
void organ_json_keys(const organ_json_source *text, organ_json_key_found *callback, void *context)
{
    json_keys_walk w = {.text = text, .callback = callback, .context = context};
    for (size_t at = 0; at < text->length;) {
        const char c = text->bytes[at];
        if (c == '{' || c == '[') {
            if (w.depth < ORGAN_JSON_KEYS_DEPTH) {
                w.levels[w.depth].object = c == '{';
                w.levels[w.depth].name = (organ_json_span){0, 0};
            }
            w.depth++;
        } else if ((c == '}' || c == ']') && w.depth > 0) {
            w.depth--;
        }
        if (c != '"') {
            at++;
            continue;
        }
        const organ_json_span string = {at, string_end(text, at)};
        if (w.depth > 0 && w.depth <= ORGAN_JSON_KEYS_DEPTH)
            w.levels[w.depth - 1].name = string;
        report_member(&w, string);
        at = string.end;
    }
}

/* ---- the size of a list or an object, and its limits ---- */

typedef struct json_extent {
    size_t members;    /* its members, without those of nested values */
    size_t longest;    /* longest string at any depth, names included, in bytes as written without quotes */
    uint64_t greatest; /* greatest whole number among its members; UINT64_MAX if one is larger; 0: none */
} json_extent;

/* The members are the own commas of the list or object plus one, unless it is empty. */
static json_extent json_extent_of(const organ_json_source *text, organ_json_span span)
{
    json_extent extent = {0};
    const size_t end = span.end < text->length ? span.end : text->length;
    size_t depth = 0, at = span.begin;
    bool some = false; /* there is a member */
    while (at < end) {
        const char c = text->bytes[at];
        const size_t begin = at++;
        if (c == '"') {
            at = string_end(text, begin);
            if (at - begin > extent.longest + 2)
                extent.longest = at - begin - 2;
        } else if (c >= '0' && c <= '9' && depth == 1) {
            char *stop;
            const uint64_t number = strtoull(text->bytes + begin, &stop, 10);
            at = (size_t)(stop - text->bytes);
            extent.greatest = number > extent.greatest ? number : extent.greatest;
        }
        extent.members += c == ',' && depth == 1;
        some |= depth == 1 && !strchr(" \t\r\n]}", c);
        depth += c == '{' || c == '[';
        depth -= (c == '}' || c == ']') && depth > 0;
    }
    extent.members += some;
    return extent;
}

/* Limits: at least four times the sizes in the largest known tokenizers. */
enum {
    WORDS_MAX = 1 << 21,        /* words of a vocabulary */
    MERGES_MAX = 1 << 23,       /* merges */
    ADDED_MAX = 1 << 16,        /* added tokens */
    WORD_BYTES = (1 << 16) - 1, /* bytes of a word */
    REPLACEMENT_BYTES = 1024,   /* bytes of a replacement */
    EXPANSION_MAX = 64,         /* factor by which all replacements of a member together lengthen a text */
    STEPS_MAX = 256,            /* steps of a normalizer, pre-tokenizer, post-processor or decoder */
    ID_SLACK = 4096,            /* the largest id may be twice the number of words, plus this */
    BYTE_TOKEN = 6              /* not a limit: the value of tokenizer.ggml.token_type for a byte */
};

static void add_if_more(organ_findings *findings, const char *where, const char *what, uint64_t count, uint64_t max)
{
    if (count > max)
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, where, "%" PRIu64 " %s, more than %" PRIu64, count, what,
                           max);
}

/* ---- tokenizer.json ---- */

/* A step is an object with a "type", such as a normalizer in a Sequence. */
typedef struct steps {
    organ_findings *findings;
    const char *where; /* name of the member: "normalizer" */
    double growth;     /* product of the factors by which the replacements can lengthen a text */
    size_t count;      /* number of steps */
} steps;

static void check_pattern(steps *s, const json_t *pattern)
{
    const json_t *const regex = json_object_get(pattern, "Regex");
    const char *const risk =
        json_is_string(regex) ? organ_pattern_risk(json_string_value(regex), json_string_length(regex)) : NULL;
    if (risk)
        organ_findings_add(s->findings, ORGAN_FINDING_TOKENIZER, s->where, "the pattern '%.200s' %s",
                           json_string_value(regex), risk);
}

/* A longer text multiplies s->growth by the ratio of the lengths; a match of a regular expression counts as one
 * byte. A long text that the step puts before each input is a finding, too. */
static void check_replacement(steps *s, const json_t *step)
{
    const json_t *const literal = json_object_get(json_object_get(step, "pattern"), "String");
    const json_t *const replacement = json_object_get(step, "content");
    const size_t bytes = json_string_length(replacement), literal_bytes = json_string_length(literal);
    const json_t *const prepended = json_object_get(step, "prepend");
    const double least = literal_bytes ? (double)literal_bytes : 1;
    if (json_is_string(replacement))
        s->growth *= bytes > literal_bytes ? (double)bytes / least : 1;
    add_if_more(s->findings, s->where, "bytes as replacement of a match", bytes, REPLACEMENT_BYTES);
    add_if_more(s->findings, s->where, "bytes before each text", json_string_length(prepended), REPLACEMENT_BYTES);
}

/* jansson limits the depth of the tree, and so of the recursion. */
static void check_steps(steps *s, const json_t *step)
{
    const char *name;
    size_t k;
    json_t *one;
    if (json_object_get(step, "type"))
        s->count++;
    check_pattern(s, json_object_get(step, "pattern"));
    check_replacement(s, step);
    json_object_foreach((json_t *)(uintptr_t)step, name, one)
    {
        if (json_is_array(one) || json_is_object(one))
            check_steps(s, one);
    }
    json_array_foreach(step, k, one)
    {
        if (json_is_array(one) || json_is_object(one))
            check_steps(s, one);
    }
}

static void check_step_member(organ_findings *findings, const organ_json_source *text, const char *name,
                              organ_json_span span)
{
    organ_error error = {0};
    ORGAN_OWNED_JSON json_t *tree = NULL;
    steps s = {.findings = findings, .where = name, .growth = 1};
    if (organ_json_parse(text, span, name, &tree, &error) == ORGAN_OK)
        check_steps(&s, tree);
    else
        organ_findings_add_error(findings, ORGAN_FINDING_TOKENIZER, &error);
    add_if_more(findings, name, "steps", s.count, STEPS_MAX);
    if (s.growth > EXPANSION_MAX)
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, name,
                           "the replacements together make a text up to %.3g times as long", s.growth);
}

/* `span` is a list of words or an object of words with ids. Ids much larger than the number of words are a finding,
 * because arrays indexed by id would be mostly empty. `known`: words that other files of the tokenizer may have,
 * which raises the limit. */
static void check_words(organ_findings *findings, const organ_json_source *text, const char *where,
                        organ_json_span span, uint64_t known)
{
    const json_extent extent = json_extent_of(text, span);
    const bool numbered = text->bytes[span.begin] == '{';
    add_if_more(findings, where, "words", extent.members, WORDS_MAX);
    add_if_more(findings, where, "bytes in one word", extent.longest, WORD_BYTES);
    if (numbered && extent.greatest > 2 * (extent.members + known) + ID_SLACK)
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, where, "the id %" PRIu64 ", but %zu words",
                           extent.greatest, extent.members);
}

/* `words` is the number of words in the vocabulary. Ids must not be far above the number of all words. */
static void check_added(organ_findings *findings, const organ_json_source *text, organ_json_span span, uint64_t words)
{
    organ_error error = {0};
    json_t *list = NULL, *one;
    size_t k;
    const size_t count = json_extent_of(text, span).members;
    add_if_more(findings, "added_tokens", "added tokens", count, ADDED_MAX);
    if (count > ADDED_MAX || organ_json_parse(text, span, "added_tokens", &list, &error) != ORGAN_OK)
        organ_findings_add_error(findings, ORGAN_FINDING_TOKENIZER, &error);
    json_array_foreach(list, k, one)
    {
        const json_int_t id = json_integer_value(json_object_get(one, "id"));
        const json_t *const content = json_object_get(one, "content");
        if (id < 0 || (uint64_t)id > 2 * (words + count) + ID_SLACK)
            organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, "added_tokens",
                               "the id %" JSON_INTEGER_FORMAT ", but %" PRIu64 " words", id, words + count);
        add_if_more(findings, "added_tokens", "bytes in one token", json_string_length(content), WORD_BYTES);
    }
    json_decref(list);
}

/* Sets spans[k] to the value of the member names[k]. If the object repeats a name, its last member counts. Spans of
 * missing members stay unchanged. `what` names the object in messages; NULL: the whole text. */
static void find_members(const organ_json_source *text, organ_json_span object, const char *what,
                         const char *const *names, size_t count, organ_json_span *spans, organ_error *error)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, object, what, error);
    walk.any_names = true;
    while (organ_json_walk_next(&walk, error))
        for (size_t k = 0; k < count; k++)
            if (organ_json_is(walk.name, names[k]))
                spans[k] = walk.value;
}

static void check_tokenizer(organ_findings *findings, const organ_json_source *text)
{
    static const char *const names[] = {"normalizer", "pre_tokenizer", "post_processor",
                                        "decoder",    "added_tokens",  "model"};
    static const char *const parts[] = {"vocab", "merges"};
    /* the first STEP_MEMBERS of `names` have steps; ADDED and MODEL are indices of the other two */
    enum { STEP_MEMBERS = 4, ADDED = STEP_MEMBERS, MODEL, MEMBERS };
    organ_json_span spans[MEMBERS] = {{0, 0}}, model[2] = {{0, 0}};
    organ_error error = {0};
    find_members(text, (organ_json_span){0, text->length}, /*what=*/NULL, names, MEMBERS, spans, &error);
    if (!error.status && spans[MODEL].end)
        find_members(text, spans[MODEL], "model", parts, 2, model, &error);
    organ_findings_add_error(findings, ORGAN_FINDING_TOKENIZER, &error);
    for (size_t k = 0; k < STEP_MEMBERS; k++)
        if (spans[k].end)
            check_step_member(findings, text, names[k], spans[k]);
    const size_t words = model[0].end ? json_extent_of(text, model[0]).members : 0;
    if (model[0].end)
        check_words(findings, text, "model.vocab", model[0], 0);
    if (model[1].end)
        add_if_more(findings, "model.merges", "merges", json_extent_of(text, model[1]).members, MERGES_MAX);
    if (spans[ADDED].end)
        check_added(findings, text, spans[ADDED], words);
}

bool organ_growth_is_tokenizer(const char *name)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "added_tokens.json", "tokenizer_config.json"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strcasecmp(name, names[k]) == 0)
            return true;
    return false;
}

/* Only the member of the outermost object counts: its path is its name. */
static void check_decoder(void *context, const organ_json_key *key)
{
    if (strcmp(key->name, "added_tokens_decoder") != 0 || strcmp(key->path, key->name) != 0)
        return;
    const organ_json_span span = {key->value, organ_json_value_end(key->text, key->value, key->text->length)};
    add_if_more(context, key->path, "added tokens", json_extent_of(key->text, span).members, ADDED_MAX);
}

/* A file with another name than tokenizer.json and tokenizer_config.json is a list of words (vocab.json,
 * added_tokens.json). */
void organ_growth_check(organ_findings *findings, const char *name, const organ_json_source *text)
{
    if (strcasecmp(name, "tokenizer.json") == 0)
        check_tokenizer(findings, text);
    else if (strcasecmp(name, "tokenizer_config.json") == 0)
        organ_json_keys(text, check_decoder, findings);
    else if (text->length > 0) /* ids of added_tokens.json continue those of vocab.json, whose size is not known here */
        check_words(findings, text, "", (organ_json_span){0, text->length},
                    strcasecmp(name, "vocab.json") == 0 ? 0 : WORDS_MAX);
}

/* ---- tokenizer.ggml.* ---- */

/* Byte tokens have the form "<0x..>" with two characters. */
static bool is_byte_token(const char *text, uint64_t length)
{
    return length == 6 && strncmp(text, "<0x", 3) == 0 && text[5] == '>';
}

/* Loaders use the two characters of a byte token as a number from 0 to 255 without a check, so they must be
 * hexadecimal digits. `byte`: the token has type BYTE_TOKEN. */
static void check_gguf_token(organ_findings *findings, uint64_t index, const char *text, uint64_t length, bool byte)
{
    const bool named = is_byte_token(text, length),
               hex = named && isxdigit((unsigned char)text[3]) && isxdigit((unsigned char)text[4]);
    if ((named || byte) && !hex)
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, "tokenizer.ggml.tokens",
                           "token %" PRIu64 " '%.*s' names no byte", index, (int)(length > 60 ? 60 : length), text);
    if (length > WORD_BYTES)
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, "tokenizer.ggml.tokens",
                           "token %" PRIu64 " has %" PRIu64 " bytes", index, length);
}

static void check_gguf_tokens(organ_findings *findings, const organ_gguf *gguf, const organ_gguf_kv *tokens)
{
    const organ_gguf_kv *const types = organ_gguf_find(gguf, "tokenizer.ggml.token_type");
    const unsigned char *at = tokens->bytes + ORGAN_GGUF_ARRAY_HEAD, *const end = tokens->bytes + tokens->size;
    for (uint64_t k = 0; k < tokens->count && end - at >= 8; k++) {
        int64_t type = 0;
        const uint64_t length = organ_little_endian(at, 8);
        if (types)
            organ_gguf_integer_at(types, k, &type);
        check_gguf_token(findings, k, (const char *)at + 8, length, type == BYTE_TOKEN);
        at += 8 + length;
    }
}

/* Readers index the array by token and assume its type: F32 if `real`, else I32 or U32. */
static void check_gguf_list(organ_findings *findings, const organ_gguf *gguf, const char *key, bool real,
                            uint64_t tokens)
{
    const organ_gguf_kv *const kv = organ_gguf_find(gguf, key);
    if (!kv)
        return;
    const bool fits =
        real ? kv->element == ORGAN_GGUF_F32 : kv->element == ORGAN_GGUF_I32 || kv->element == ORGAN_GGUF_U32;
    if (kv->type != ORGAN_GGUF_ARRAY || !fits)
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, key, "its elements are %s, not %s",
                           organ_gguf_type_name(kv->element), real ? "f32" : "i32");
    else if (kv->count != tokens)
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, key, "it has %" PRIu64 " elements for %" PRIu64 " tokens",
                           kv->count, tokens);
}

void organ_growth_check_gguf(organ_findings *findings, const organ_gguf *gguf)
{
    const organ_gguf_kv *const tokens = organ_gguf_find(gguf, "tokenizer.ggml.tokens");
    const organ_gguf_kv *const merges = organ_gguf_find(gguf, "tokenizer.ggml.merges");
    if (tokens && (tokens->type != ORGAN_GGUF_ARRAY || tokens->element != ORGAN_GGUF_STRING)) {
        organ_findings_add(findings, ORGAN_FINDING_TOKENIZER, tokens->key, "it is not a list of strings");
    } else if (tokens) {
        add_if_more(findings, tokens->key, "words", tokens->count, WORDS_MAX);
        check_gguf_tokens(findings, gguf, tokens);
        check_gguf_list(findings, gguf, "tokenizer.ggml.scores", /*real=*/true, tokens->count);
        check_gguf_list(findings, gguf, "tokenizer.ggml.token_type", /*real=*/false, tokens->count);
    }
    if (merges)
        add_if_more(findings, merges->key, "merges", merges->count, MERGES_MAX);
}
