/* SPDX-License-Identifier: MIT
 * Reads the normalizer and the pre_tokenizer of a tokenizer.json into steps (organ_step) of the tokenizer. A type of
 * tokenizer.json becomes one or several steps. */
#include "formats/base/format_rest.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Alphabetic, marks, digits, connectors, joiners: \w of the regex crate. */
#define WORD                                                                                                           \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}" \
    "\\x{1f170}-\\x{"                                                                                                  \
    "1f189}"

/* Signs as in the package tokenizers: punctuation of Unicode and all other signs of ASCII. */
#define PUNCTUATION "[\\p{P}\\$\\+<=>\\^`\\|~]"

enum { DEPTH_LIMIT = 8 }; /* levels of Sequence */

typedef struct steps_reading {
    organ_tokenizer *t;
    const char *label;  /* name of the file in messages */
    const char *part;   /* "normalizer" or "pre_tokenizer" */
    organ_step *steps;  /* output: the steps of the part, in `t` */
    size_t *count;      /* output: number of these steps */
    const json_t *from; /* the JSON object being read */
    const char *type;   /* its member "type" */
    organ_error *error; /* the first error is kept; values read after it are not used */
} steps_reading;

__attribute__((format(printf, 2, 3))) static void refuse_step(const steps_reading *r, const char *format, ...)
{
    char reason[200];
    ORGAN_FORMAT_REST(reason, format);
    organ_refuse(r->error, r->label, "%s: %.80s: %s", r->part, r->type, reason);
}

/* Takes ownership of the step's regular expression, which is freed after any error. */
static void add_step(const steps_reading *r, const organ_step *step)
{
    if (*r->count == ORGAN_STEP_LIMIT)
        organ_refuse(r->error, r->label, "%s: more than %u steps", r->part, ORGAN_STEP_LIMIT);
    if (r->error->status)
        pcre2_code_free(step->regex);
    else
        r->steps[(*r->count)++] = *step;
}

static const char *copy_step_text(const steps_reading *r, const char *text, size_t bytes)
{
    const char *const kept = organ_arena_copy(&r->t->arena, text, bytes);
    if (!kept)
        organ_fail_errno(r->error, ENOMEM, "%s: %s", r->label, r->part);
    return kept;
}

static void get_text(const steps_reading *r, const json_t *from, const char *field, const char **kept, size_t *bytes)
{
    const json_t *value = json_object_get(from, field);
    if (!json_is_string(value)) {
        refuse_step(r, "'%s' is not a string", field);
        return;
    }
    *bytes = json_string_length(value);
    *kept = copy_step_text(r, json_string_value(value), *bytes);
}

static bool get_flag(const steps_reading *r, const char *field, bool fallback)
{
    const json_t *value = json_object_get(r->from, field);
    if (value && !json_is_boolean(value))
        refuse_step(r, "'%s' is neither true nor false", field);
    return value ? json_is_true(value) : fallback;
}

static void set_regex(const steps_reading *r, organ_step *step, const char *pattern, size_t bytes)
{
    char what[300];
    snprintf(what, sizeof what, "%.200s: %s", r->label, r->part);
    step->pattern = copy_step_text(r, pattern, bytes);
    if (!r->error->status)
        organ_regex_compile(what, step->pattern, bytes, &step->regex, r->error);
}

static void add_split(const steps_reading *r, const char *pattern, organ_behaviour behaviour, bool invert)
{
    organ_step step = {.kind = ORGAN_STEP_SPLIT, .behaviour = behaviour, .invert = invert};
    set_regex(r, &step, pattern, strlen(pattern));
    add_step(r, &step);
}

static void get_pattern(const steps_reading *r, organ_step *step)
{
    const json_t *pattern = json_object_get(r->from, "pattern"), *regex = json_object_get(pattern, "Regex");
    if (json_object_get(pattern, "String"))
        get_text(r, pattern, "String", &step->text, &step->text_bytes);
    else if (json_is_string(regex))
        set_regex(r, step, json_string_value(regex), json_string_length(regex));
    else
        refuse_step(r, "'pattern' has neither a string 'String' nor 'Regex'");
}

static organ_behaviour get_behaviour(const steps_reading *r)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = json_string_value(json_object_get(r->from, "behavior"));
    for (unsigned k = 0; name && k < sizeof names / sizeof *names; k++)
        if (strcmp(name, names[k]) == 0)
            return (organ_behaviour)k;
    refuse_step(r, "unknown behavior '%.80s'", name ? name : "");
    return ORGAN_ISOLATED;
}

/* ---- pre-tokenizers ---- */

static void read_split(const steps_reading *r)
{
    organ_step step = {.kind = ORGAN_STEP_SPLIT, .behaviour = get_behaviour(r), .invert = get_flag(r, "invert", false)};
    get_pattern(r, &step);
    add_step(r, &step);
}

/* The blank is put by a Metaspace step whose mark is a blank. */
static void read_byte_level(const steps_reading *r)
{
    const bool prefix = get_flag(r, "add_prefix_space", true), regex = get_flag(r, "use_regex", true);
    if (prefix)
        add_step(r, &(organ_step){
                        .kind = ORGAN_STEP_METASPACE, .text = " ", .text_bytes = 1, .prefix = ORGAN_PREFIX_ALWAYS});
    if (regex)
        add_split(r, ORGAN_GPT2_PATTERN, ORGAN_ISOLATED, /*invert=*/false);
    r->t->byte_level = true;
    add_step(r, &(organ_step){.kind = ORGAN_STEP_BYTES});
}

static void read_digits(const steps_reading *r)
{
    add_split(r, get_flag(r, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", ORGAN_ISOLATED, /*invert=*/false);
}

/* prepend_scheme sets step.prefix; files without it have the older add_prefix_space. */
static void read_metaspace(const steps_reading *r)
{
    static const char *const schemes[] = {
        [ORGAN_PREFIX_NEVER] = "never", [ORGAN_PREFIX_FIRST] = "first", [ORGAN_PREFIX_ALWAYS] = "always"};
    organ_step step = {.kind = ORGAN_STEP_METASPACE, .behaviour = ORGAN_MERGED_WITH_NEXT};
    const char *const scheme = json_string_value(json_object_get(r->from, "prepend_scheme"));
    get_text(r, r->from, "replacement", &step.text, &step.text_bytes);
    step.cuts = get_flag(r, "split", true);
    step.prefix = get_flag(r, "add_prefix_space", true) ? ORGAN_PREFIX_ALWAYS : ORGAN_PREFIX_NEVER;
    if (step.text_bytes == 0)
        refuse_step(r, "'replacement' is empty");
    unsigned known = 0;
    while (scheme && known < 3 && strcmp(scheme, schemes[known]) != 0)
        known++;
    if (known == 3)
        refuse_step(r, "unknown prepend_scheme '%.80s'", scheme);
    if (scheme)
        step.prefix = (organ_prefix)known;
    add_step(r, &step);
}

/* By default each sign is a piece. */
static void read_punctuation(const steps_reading *r)
{
    const bool known = json_object_get(r->from, "behavior");
    add_split(r, PUNCTUATION, known ? get_behaviour(r) : ORGAN_ISOLATED, /*invert=*/false);
}

/* Each run of word characters becomes a piece, and so does each run of other characters; white space is dropped. */
static void read_whitespace(const steps_reading *r)
{
    add_split(r, "[" WORD "]+|[^" WORD "\\s]+", ORGAN_REMOVED, /*invert=*/true);
}

static void read_bert(const steps_reading *r)
{
    add_split(r, "\\s", ORGAN_REMOVED, /*invert=*/false);
    add_split(r, PUNCTUATION, ORGAN_ISOLATED, /*invert=*/false);
}

static void read_delimiter(const steps_reading *r)
{
    organ_step step = {.kind = ORGAN_STEP_SPLIT, .behaviour = ORGAN_REMOVED};
    get_text(r, r->from, "delimiter", &step.text, &step.text_bytes);
    if (!step.text_bytes)
        refuse_step(r, "'delimiter' is empty");
    add_step(r, &step);
}

static void read_whitespace_split(const steps_reading *r) { add_split(r, "\\s", ORGAN_REMOVED, /*invert=*/false); }

/* ---- normalising ---- */

static void read_form(const steps_reading *r)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    organ_step step = {.kind = ORGAN_STEP_NORMAL_FORM};
    while (strcmp(r->type, forms[step.form]) != 0)
        step.form++;
    add_step(r, &step);
}

static void read_lowercase(const steps_reading *r) { add_step(r, &(organ_step){.kind = ORGAN_STEP_LOWERCASE}); }

static void read_prepend(const steps_reading *r)
{
    organ_step step = {.kind = ORGAN_STEP_PREPEND};
    get_text(r, r->from, "prepend", &step.text, &step.text_bytes);
    add_step(r, &step);
}

static void read_replace(const steps_reading *r)
{
    organ_step step = {.kind = ORGAN_STEP_REPLACE};
    get_text(r, r->from, "content", &step.content, &step.content_bytes);
    get_pattern(r, &step);
    add_step(r, &step);
}

static void read_strip_ends(const steps_reading *r)
{
    static const char *const fields[] = {"strip_left", "strip_right"}, *const patterns[] = {"\\A\\s+", "\\s+\\z"};
    for (size_t k = 0; k < 2; k++)
        if (get_flag(r, fields[k], false)) {
            organ_step step = {.kind = ORGAN_STEP_REPLACE, .content = ""};
            set_regex(r, &step, patterns[k], strlen(patterns[k]));
            add_step(r, &step);
        }
}

/* ---- all types ---- */

typedef struct steps_kind {
    const char *type;
    void (*read)(const steps_reading *r);
} steps_kind;

static const steps_kind pretokenizer_kinds[] = {{"Split", read_split},
                                                {"ByteLevel", read_byte_level},
                                                {"Digits", read_digits},
                                                {"Metaspace", read_metaspace},
                                                {"Punctuation", read_punctuation},
                                                {"Whitespace", read_whitespace},
                                                {"WhitespaceSplit", read_whitespace_split},
                                                {"BertPreTokenizer", read_bert},
                                                {"CharDelimiterSplit", read_delimiter},
                                                {NULL, NULL}};
static const steps_kind normalizers[] = {{"NFC", read_form},
                                         {"NFD", read_form},
                                         {"NFKC", read_form},
                                         {"NFKD", read_form},
                                         {"Lowercase", read_lowercase},
                                         {"Prepend", read_prepend},
                                         {"Replace", read_replace},
                                         {"Strip", read_strip_ends},
                                         {NULL, NULL}};

static void read_step(steps_reading *r, const json_t *from, unsigned depth)
{
    const bool pretokenizer = strcmp(r->part, "pre_tokenizer") == 0;
    r->from = from;
    r->type = organ_json_plain(json_object_get(from, "type"));
    if (!r->type) {
        organ_refuse(r->error, r->label, "%s: 'type' is missing or not a string", r->part);
        return;
    }
    if (strcmp(r->type, "Sequence") != 0) {
        const steps_kind *one = pretokenizer ? pretokenizer_kinds : normalizers;
        while (one->type && strcmp(one->type, r->type) != 0)
            one++;
        if (one->type)
            one->read(r);
        else
            refuse_step(r, "this kind is not supported");
        return;
    }
    const json_t *list = json_object_get(from, pretokenizer ? "pretokenizers" : "normalizers");
    if (!json_is_array(list) || depth == DEPTH_LIMIT)
        refuse_step(r, depth == DEPTH_LIMIT ? "it is nested too deep" : "it has no list of members");
    for (size_t k = 0; k < json_array_size(list) && !r->error->status; k++)
        read_step(r, json_array_get(list, k), depth + 1);
}

organ_status organ_tokenizer_steps(organ_tokenizer *t, const char *label, const json_t *normalizer,
                                   const json_t *pretokenizer, organ_error *error)
{
    steps_reading normal = {.t = t,
                            .label = label,
                            .part = "normalizer",
                            .steps = t->normalizer,
                            .count = &t->normalizer_count,
                            .error = error};
    steps_reading cut = {.t = t,
                         .label = label,
                         .part = "pre_tokenizer",
                         .steps = t->pretokenizer,
                         .count = &t->pretokenizer_count,
                         .error = error};
    if (normalizer && !json_is_null(normalizer))
        read_step(&normal, normalizer, 0);
    if (!error->status && pretokenizer && !json_is_null(pretokenizer))
        read_step(&cut, pretokenizer, 0);
    return error->status;
}

/* To remove the text between two matches, the step is inverted: that text counts as match, and ORGAN_REMOVED drops
 * it. */
organ_status organ_tokenizer_split_at(organ_tokenizer *t, const char *label, const char *pattern, bool drops,
                                      organ_error *error)
{
    const steps_reading r = {.t = t,
                             .label = label,
                             .part = "pre_tokenizer",
                             .steps = t->pretokenizer,
                             .count = &t->pretokenizer_count,
                             .error = error};
    add_split(&r, pattern, drops ? ORGAN_REMOVED : ORGAN_ISOLATED, drops);
    return error->status;
}
