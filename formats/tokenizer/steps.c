/* SPDX-License-Identifier: MIT
 * The normalizer and the pre_tokenizer of a tokenizer.json. */
#include "formats/tokenizer/parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Alphabetic, marks, digits, connectors, joiners: \w of the regex crate. */
#define WORD                                                                                                                               \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{"      \
    "1f189}"

enum { DEPTH_LIMIT = 8 };

typedef struct reading {
    organ_tokenizer *t;
    const char *label, *part; /* "normalizer", "pre_tokenizer" */
    organ_step *steps;
    size_t *count;
} reading;

static organ_status refuse_step(const reading *r, const char *type, const char *what, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: %.80s: %s", r->label, r->part, type, what);
}

static organ_status add_step(const reading *r, const organ_step *step, organ_error *error)
{
    if (*r->count == ORGAN_STEP_LIMIT) {
        pcre2_code_free(step->regex);
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: more than %u steps", r->label, r->part, ORGAN_STEP_LIMIT);
    }
    r->steps[(*r->count)++] = *step;
    return ORGAN_OK;
}

static organ_status keep_text(const reading *r, const char *text, size_t bytes, const char **kept, organ_error *error)
{
    *kept = organ_arena_copy(&r->t->arena, text, bytes);
    return *kept ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "%s: %s", r->label, r->part);
}

static organ_status get_text(const reading *r, const json_t *from, const char *type, const char *field, const char **kept, size_t *bytes,
                             organ_error *error)
{
    const json_t *value = json_object_get(from, field);
    if (!json_is_string(value))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: %.80s: '%s' is not a string", r->label, r->part, type, field);
    *bytes = json_string_length(value);
    return keep_text(r, json_string_value(value), *bytes, kept, error);
}

static organ_status get_flag(const reading *r, const json_t *from, const char *type, const char *field, bool fallback, bool *flag,
                             organ_error *error)
{
    const json_t *value = json_object_get(from, field);
    *flag = value ? json_is_true(value) : fallback;
    if (!value || json_is_boolean(value))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: %.80s: '%s' is neither true nor false", r->label, r->part, type, field);
}

/* Compiles what the step's `pattern` says. */
static organ_status set_regex(const reading *r, organ_step *step, const char *pattern, size_t bytes, organ_error *error)
{
    char what[300];
    snprintf(what, sizeof what, "%.200s: %s", r->label, r->part);
    if (keep_text(r, pattern, bytes, &step->pattern, error) != ORGAN_OK)
        return error->status;
    return organ_regex_compile(what, step->pattern, bytes, &step->regex, error);
}

static organ_status add_split(const reading *r, const char *pattern, organ_behaviour behaviour, bool invert, organ_error *error)
{
    organ_step step = {.kind = ORGAN_STEP_SPLIT, .behaviour = behaviour, .invert = invert};
    if (set_regex(r, &step, pattern, strlen(pattern), error) != ORGAN_OK)
        return error->status;
    return add_step(r, &step, error);
}

/* {"String": ...} or {"Regex": ...} */
static organ_status get_pattern(const reading *r, const json_t *from, const char *type, organ_step *step, organ_error *error)
{
    const json_t *pattern = json_object_get(from, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    if (json_object_get(pattern, "String"))
        return get_text(r, pattern, type, "String", &step->text, &step->text_bytes, error);
    if (!json_is_string(regex))
        return refuse_step(r, type, "'pattern' has neither a text 'String' nor 'Regex'", error);
    return set_regex(r, step, json_string_value(regex), json_string_length(regex), error);
}

static organ_status get_behaviour(const reading *r, const json_t *from, const char *type, organ_behaviour *behaviour, organ_error *error)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = json_string_value(json_object_get(from, "behavior"));
    for (unsigned k = 0; name && k < sizeof names / sizeof *names; k++)
        if (strcmp(name, names[k]) == 0) {
            *behaviour = (organ_behaviour)k;
            return ORGAN_OK;
        }
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: %.80s: unknown behavior '%.80s'", r->label, r->part, type, name ? name : "");
}

/* ---- cutting ---- */

static organ_status read_split(const reading *r, const json_t *from, const char *type, organ_error *error)
{
    organ_step step = {.kind = ORGAN_STEP_SPLIT};
    if (get_behaviour(r, from, type, &step.behaviour, error) != ORGAN_OK ||
        get_flag(r, from, type, "invert", false, &step.invert, error) != ORGAN_OK || get_pattern(r, from, type, &step, error) != ORGAN_OK)
        return error->status;
    return add_step(r, &step, error);
}

static organ_status read_byte_level(const reading *r, const json_t *from, const char *type, organ_error *error)
{
    const organ_step blank = {.kind = ORGAN_STEP_METASPACE, .text = " ", .text_bytes = 1, .prefix = ORGAN_PREFIX_ALWAYS};
    const organ_step bytes = {.kind = ORGAN_STEP_BYTES};
    bool prefix, regex;
    if (get_flag(r, from, type, "add_prefix_space", true, &prefix, error) == ORGAN_OK)
        get_flag(r, from, type, "use_regex", true, &regex, error);
    if (!error->status && prefix)
        add_step(r, &blank, error);
    if (!error->status && regex)
        add_split(r, ORGAN_GPT2_PATTERN, ORGAN_ISOLATED, false, error);
    r->t->byte_level = true;
    return error->status ? error->status : add_step(r, &bytes, error);
}

static organ_status read_digits(const reading *r, const json_t *from, const char *type, organ_error *error)
{
    bool single;
    if (get_flag(r, from, type, "individual_digits", false, &single, error) != ORGAN_OK)
        return error->status;
    return add_split(r, single ? "\\p{N}" : "\\p{N}+", ORGAN_ISOLATED, false, error);
}

static organ_status read_metaspace(const reading *r, const json_t *from, const char *type, organ_error *error)
{
    organ_step step = {.kind = ORGAN_STEP_METASPACE, .behaviour = ORGAN_MERGED_WITH_NEXT};
    const char *scheme = json_string_value(json_object_get(from, "prepend_scheme"));
    bool prefix;
    if (get_text(r, from, type, "replacement", &step.text, &step.text_bytes, error) != ORGAN_OK ||
        get_flag(r, from, type, "split", true, &step.cuts, error) != ORGAN_OK ||
        get_flag(r, from, type, "add_prefix_space", true, &prefix, error) != ORGAN_OK)
        return error->status;
    if (step.text_bytes == 0)
        return refuse_step(r, type, "'replacement' is empty", error);
    if (scheme && strcmp(scheme, "always") != 0 && strcmp(scheme, "first") != 0 && strcmp(scheme, "never") != 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: %.80s: unknown prepend_scheme '%.80s'", r->label, r->part, type, scheme);
    step.prefix = scheme ? (*scheme == 'a'   ? ORGAN_PREFIX_ALWAYS
                            : *scheme == 'f' ? ORGAN_PREFIX_FIRST
                                             : ORGAN_PREFIX_NEVER)
                         : (prefix ? ORGAN_PREFIX_ALWAYS : ORGAN_PREFIX_NEVER);
    return add_step(r, &step, error);
}

static organ_status read_punctuation(const reading *r, const json_t *from, const char *type, organ_error *error)
{
    organ_behaviour behaviour = ORGAN_ISOLATED;
    if (json_object_get(from, "behavior"))
        get_behaviour(r, from, type, &behaviour, error);
    return error->status ? error->status : add_split(r, "[\\p{P}\\$\\+<=>\\^`\\|~]", behaviour, false, error);
}

static organ_status read_cutter(const reading *r, const json_t *from, const char *type, organ_error *error)
{
    if (strcmp(type, "Split") == 0)
        return read_split(r, from, type, error);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(r, from, type, error);
    if (strcmp(type, "Digits") == 0)
        return read_digits(r, from, type, error);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(r, from, type, error);
    if (strcmp(type, "Punctuation") == 0)
        return read_punctuation(r, from, type, error);
    if (strcmp(type, "Whitespace") == 0)
        return add_split(r, "[" WORD "]+|[^" WORD "\\s]+", ORGAN_REMOVED, true, error);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_split(r, "\\s", ORGAN_REMOVED, false, error);
    return refuse_step(r, type, "this kind is not supported", error);
}

/* ---- normalising ---- */

static organ_status read_normalizer(const reading *r, const json_t *from, const char *type, organ_error *error)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    organ_step step = {.kind = ORGAN_STEP_NORMAL_FORM};
    while (step.form < 4 && strcmp(type, forms[step.form]) != 0)
        step.form++;
    if (step.form < 4)
        return add_step(r, &step, error);
    if (strcmp(type, "Lowercase") == 0) {
        step.kind = ORGAN_STEP_LOWERCASE;
    } else if (strcmp(type, "Prepend") == 0) {
        step.kind = ORGAN_STEP_PREPEND;
        get_text(r, from, type, "prepend", &step.text, &step.text_bytes, error);
    } else if (strcmp(type, "Replace") == 0) {
        step.kind = ORGAN_STEP_REPLACE;
        if (get_text(r, from, type, "content", &step.content, &step.content_bytes, error) == ORGAN_OK)
            get_pattern(r, from, type, &step, error);
    } else {
        return refuse_step(r, type, "this kind is not supported", error);
    }
    return error->status ? error->status : add_step(r, &step, error);
}

/* ---- sequences of either ---- */

static organ_status read_any(const reading *r, const json_t *from, unsigned depth, organ_error *error)
{
    const char *type = organ_json_plain(json_object_get(from, "type"));
    const bool cutting = strcmp(r->part, "pre_tokenizer") == 0;
    if (!type)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: 'type' is missing or not a string", r->label, r->part);
    if (strcmp(type, "Sequence") != 0)
        return cutting ? read_cutter(r, from, type, error) : read_normalizer(r, from, type, error);
    const json_t *list = json_object_get(from, cutting ? "pretokenizers" : "normalizers");
    if (!json_is_array(list) || depth == DEPTH_LIMIT)
        return refuse_step(r, type, depth == DEPTH_LIMIT ? "it is nested too deep" : "it has no list of members", error);
    for (size_t k = 0; k < json_array_size(list) && !error->status; k++)
        read_any(r, json_array_get(list, k), depth + 1, error);
    return error->status;
}

organ_status organ_tokenizer_steps(organ_tokenizer *t, const char *label, const json_t *normalizer, const json_t *cutter,
                                   organ_error *error)
{
    const reading normal = {t, label, "normalizer", t->normal, &t->normal_count};
    const reading cut = {t, label, "pre_tokenizer", t->cut, &t->cut_count};
    if (normalizer && !json_is_null(normalizer))
        read_any(&normal, normalizer, 0, error);
    if (!error->status && cutter && !json_is_null(cutter))
        read_any(&cut, cutter, 0, error);
    return error->status;
}

organ_status organ_tokenizer_split_at(organ_tokenizer *t, const char *label, const char *pattern, organ_error *error)
{
    const reading cut = {t, label, "pre_tokenizer", t->cut, &t->cut_count};
    return add_split(&cut, pattern, ORGAN_ISOLATED, false, error);
}
