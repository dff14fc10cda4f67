/* SPDX-License-Identifier: MIT
 * Keeps the tokens of the texts that a chat template writes around the messages. */
#include "formats/base/results.h"
#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <string.h>

static const char *const roles[] = {"system", "developer", "user", "assistant", "model", "tool", "function", "ipython"};

/* Texts that templates make of tools, tool calls and dates. The filter tojson writes ", " and ": ", or lines. */
static const char *const made[] = {
    "[{\"type\": \"function\", \"function\": {\"name\": \"name\", \"description\": \"text\", \"parameters\": "
    "{\"type\": "
    "\"object\", \"properties\": {\"name\": {\"type\": \"string\", \"enum\": [\"a\", \"b\"], \"description\": "
    "\"text\"}, "
    "\"n\": {\"type\": \"integer\"}, \"x\": {\"type\": \"number\"}, \"f\": {\"type\": \"boolean\"}, \"l\": {\"type\": "
    "\"array\", \"items\": {\"type\": \"string\"}}}, \"required\": [\"name\", \"n\"]}, \"return\": {\"type\": "
    "\"string\"}}}]",
    "{\n    \"type\": \"function\",\n    \"function\": {\n        \"name\": \"name\",\n        \"description\": "
    "\"text\",\n        \"parameters\": {\n            \"type\": \"object\",\n            \"properties\": {\n          "
    " "
    "     \"name\": {\n                    \"type\": \"string\",\n                    \"description\": \"text\"\n      "
    " "
    "         }\n            },\n            \"required\": [\n                \"name\"\n            ]\n        }\n    "
    "}\n}",
    "{\"name\": \"name\", \"arguments\": {\"name\": \"text\", \"n\": 1, \"x\": 0.5, \"f\": true, \"g\": false, \"h\": "
    "null}}",
    "{\"name\": \"name\", \"parameters\": {\"name\": \"text\", \"n\": 1}}",
    "01 Jan 2025 02 Feb 2026 03 Mar 2027 04 Apr 2028 05 May 2029 06 Jun 2030 07 Jul 08 Aug 09 Sep 10 Oct 11 Nov 12 Dec",
    "January February March April May June July August September October November December",
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday 2025-01-31",
    "0123456789 0 1 2 3 4 5 6 7 8 9 Call_0 call_1 True False None true false null\n\n\n"};

enum { ROLES = sizeof roles / sizeof *roles, MADE = sizeof made / sizeof *made };

typedef struct template_state {
    organ_kept_tokens *kept;
    organ_bytes text; /* the current piece, then what follows or precedes it */
    organ_error *error;
} template_state;

static bool keep_text(template_state *s, const char *text, size_t bytes)
{
    uint32_t *ids = NULL;
    size_t count = 0;
    if (!s->error->status && bytes &&
        organ_tokenizer_encode(s->kept->tokenizer, text, bytes, /*special=*/true, &ids, &count, s->error) == ORGAN_OK)
        organ_kept_use(s->kept, ids, count, s->error);
    free(ids);
    return !s->error->status;
}

static bool keep_joined(template_state *s, const char *const *parts, const size_t *lengths, size_t count)
{
    s->text.used = 0;
    for (size_t k = 0; k < count; k++)
        if (!organ_bytes_add(&s->text, parts[k], lengths[k]))
            return !organ_fail_memory(s->error, "the chat template");
    return keep_text(s, s->text.data, s->text.used);
}

/* A piece occurs alone, before a new line, and around the name of a role. */
static bool keep_piece(template_state *s, const char *piece, size_t bytes)
{
    bool kept = keep_text(s, piece, bytes) && keep_joined(s, (const char *[]){piece, "\n"}, (size_t[]){bytes, 1}, 2);
    for (size_t k = 0; k < ROLES && kept; k++) {
        const size_t role = strlen(roles[k]);
        kept = keep_joined(s, (const char *[]){piece, roles[k], "\n"}, (size_t[]){bytes, role, 1}, 3) &&
               keep_joined(s, (const char *[]){piece, roles[k]}, (size_t[]){bytes, role}, 2) &&
               keep_joined(s, (const char *[]){roles[k], piece}, (size_t[]){role, bytes}, 2);
    }
    return kept;
}

/* Text outside of tags occurs whole, and without the white space at its ends that tags with `-` remove. */
static bool keep_outside(template_state *s, const char *from, const char *to)
{
    static const char space[] = " \t\r\n";
    bool kept = from == to || keep_piece(s, from, (size_t)(to - from));
    const char *const whole_from = from, *const whole_to = to;
    while (from < to && strchr(space, *from))
        from++;
    while (from < to && strchr(space, to[-1]))
        to--;
    if (kept && from < to && (from != whole_from || to != whole_to))
        kept = keep_piece(s, from, (size_t)(to - from));
    return kept;
}

static char escaped(char letter)
{
    static const char letters[] = "ntr", meanings[] = "\n\t\r";
    const char *const at = letter ? strchr(letters, letter) : NULL;
    return at ? meanings[at - letters] : letter;
}

/* Keeps the text of a literal, which begins after its quote, and sets *end to the place after it. */
static bool keep_literal(template_state *s, const char *at, char quote, const char **end)
{
    organ_bytes text = {0};
    bool complete = true;
    for (; *at && *at != quote && complete; at++) {
        char c = *at;
        if (c == '\\' && at[1]) {
            at++;
            c = escaped(*at);
        }
        complete = organ_bytes_add(&text, &c, 1);
    }
    *end = *at ? at + 1 : at;
    if (!complete)
        organ_fail_memory(s->error, "the chat template");
    complete = complete && (text.used == 0 || keep_piece(s, text.data, text.used));
    organ_bytes_release(&text);
    return complete;
}

/* `at` is behind the beginning of a tag, whose end is "}}", "%}" or "#}". */
static bool keep_tag(template_state *s, const char *at, char kind, const char **end)
{
    const char last = kind == '{' ? '}' : kind;
    bool kept = true;
    while (*at && !(at[0] == last && at[1] == '}') && kept)
        if (kind != '#' && (*at == '\'' || *at == '"'))
            kept = keep_literal(s, at + 1, *at, &at);
        else
            at++;
    *end = *at ? at + 2 : at;
    return kept;
}

organ_status organ_kept_template(organ_kept_tokens *kept, const char *template, organ_error *error)
{
    template_state s = {.kept = kept, .error = error};
    bool complete = true;
    for (const char *at = template, *begin = template; *begin && complete;) {
        if (*at && !(at[0] == '{' && (at[1] == '{' || at[1] == '%' || at[1] == '#'))) {
            at++;
            continue;
        }
        complete = keep_outside(&s, begin, at) && (!*at || keep_tag(&s, at + 2, at[1], &at));
        begin = at;
    }
    for (size_t k = 0; k < ROLES && complete; k++)
        complete = keep_piece(&s, roles[k], strlen(roles[k]));
    for (size_t k = 0; k < MADE && complete; k++)
        complete = keep_text(&s, made[k], strlen(made[k]));
    organ_bytes_release(&s.text);
    return error->status;
}
