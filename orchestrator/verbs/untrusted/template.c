/* SPDX-License-Identifier: MIT
 * Checks chat templates: splits them into the tokens of Jinja and looks for constructs that run code or never end. */
#include "orchestrator/verbs/untrusted/untrusted_parts.h"

#include "formats/base/plain_numbers.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORD_ROOM = 512,      /* bytes of a string literal that are checked together */
    TAG_ROOM = 4096,      /* bytes of all string literals of a tag that are checked together */
    HISTORY = 4,          /* number of recent tokens that are kept */
    LONGEST = 1 << 20,    /* bytes of a template that are scanned */
    RANGE_MAX = 100000,   /* largest argument of range, as in the sandbox of Jinja */
    REPEAT_MAX = 1000000, /* largest factor that repeats a text; no real template has as large a number */
};

typedef enum template_hazard {
    HAZARD_DUNDER,    /* a name of Python's internals with two underscores on both sides */
    HAZARD_PIECE,     /* a part of such a name, from which a template may join it */
    HAZARD_ATTRIBUTE, /* an attribute that gives access to the interpreter */
    HAZARD_CALL,      /* a function or module that runs code */
    HAZARD_FILTER,    /* a filter that reads attributes by computed names */
    HAZARD_FORMAT,    /* characters made from numbers */
    HAZARD_LETTERS,   /* text made from the names of keyword arguments */
    HAZARD_IMPORT,    /* another template is loaded */
    HAZARD_ENDLESS,   /* a very large number of repetitions */
    HAZARD_LONG,      /* the template is longer than LONGEST */
    HAZARDS           /* number of kinds */
} template_hazard;

/* %s is the word that was found. */
static const char *const hazard_messages[HAZARDS] = {
    [HAZARD_DUNDER] = "it uses '%s', which gives access to the interpreter",
    [HAZARD_PIECE] = "the text '%s' is a piece of such a name as '__class__'",
    [HAZARD_ATTRIBUTE] = "it reads the attribute '%s', which a sandbox forbids",
    [HAZARD_CALL] = "it uses '%s', which runs or imports code",
    [HAZARD_FILTER] = "the filter '%s' reads attributes by computed names",
    [HAZARD_FORMAT] = "the text '%s' makes characters from numbers, which hides names",
    [HAZARD_LETTERS] = "it builds text from names by '%s'",
    [HAZARD_IMPORT] = "'%s' loads another template",
    [HAZARD_ENDLESS] = "'%s' is a very large number of repetitions",
    [HAZARD_LONG] = "it has %s bytes; only the beginning was examined",
};

/* Attributes, functions and modules that no chat template needs, with the kind of their finding. */
static const struct {
    const char *word;
    template_hazard hazard;
} hazard_words[] = {{"mro", HAZARD_ATTRIBUTE},
                    {"func_globals", HAZARD_ATTRIBUTE},
                    {"func_code", HAZARD_ATTRIBUTE},
                    {"gi_frame", HAZARD_ATTRIBUTE},
                    {"gi_code", HAZARD_ATTRIBUTE},
                    {"cr_frame", HAZARD_ATTRIBUTE},
                    {"cr_code", HAZARD_ATTRIBUTE},
                    {"ag_frame", HAZARD_ATTRIBUTE},
                    {"ag_code", HAZARD_ATTRIBUTE},
                    {"f_globals", HAZARD_ATTRIBUTE},
                    {"f_locals", HAZARD_ATTRIBUTE},
                    {"f_builtins", HAZARD_ATTRIBUTE},
                    {"f_back", HAZARD_ATTRIBUTE},
                    {"tb_frame", HAZARD_ATTRIBUTE},
                    {"im_func", HAZARD_ATTRIBUTE},
                    {"popen", HAZARD_CALL},
                    {"subprocess", HAZARD_CALL},
                    {"builtins", HAZARD_CALL},
                    {"importlib", HAZARD_CALL},
                    {"import_module", HAZARD_CALL},
                    {"getattr", HAZARD_CALL},
                    {"eval", HAZARD_CALL},
                    {"exec", HAZARD_CALL},
                    {"lipsum", HAZARD_CALL},
                    {"get_flashed_messages", HAZARD_CALL},
                    {"url_for", HAZARD_CALL},
                    {"check_output", HAZARD_CALL}};

/* Parts of names that give access to the interpreter, such as "__subclasses__". Each string literal, and the joined
 * literals of a tag, are searched for them. */
static const char *const hazard_parts[] = {"subclasses", "builtins", "getattribute", "func_globals",
                                           "popen",      "gi_frame", "f_globals"};

typedef struct template_token {
    char kind;     /* 'n' name, 's' string, '9' number, or the character of a mark such as '('; 0: none */
    char word[64]; /* the name, or the beginning of the string, number or mark */
} template_token;

typedef struct template_scan {
    organ_findings *findings;
    const char *where, *text;
    size_t at, end;                 /* position, and end of the scanned part of the text */
    size_t line;                    /* number of the current line, from 1 on */
    bool reported[HAZARDS];         /* for each kind: it has a finding already */
    template_token recent[HISTORY]; /* recent tokens of the tag, the newest first */
    char joined[TAG_ROOM];          /* all string literals of the tag, joined, as far as there is room */
    size_t joined_length;
    bool in_range, has_dict; /* the tag has called range, or dict */
    bool is_raw;             /* the tag begins a raw block */
    size_t open;             /* number of open brackets in the tag */
} template_scan;

static void report_hazard(template_scan *s, template_hazard kind, const char *word)
{
    char where[600], what[300];
    const char *const message = hazard_messages[kind], *const place = strstr(message, "%s");
    if (s->reported[kind])
        return;
    s->reported[kind] = true;
    if (s->where && *s->where)
        snprintf(where, sizeof where, "%s, line %zu", s->where, s->line);
    else
        snprintf(where, sizeof where, "line %zu", s->line);
    snprintf(what, sizeof what, "%.*s%.80s%s", (int)(place - message), message, word, place + strlen("%s"));
    organ_findings_add(s->findings, ORGAN_FINDING_TEMPLATE, where, "%s", what);
}

/* ---- texts ---- */

/* The names have two underscores on both sides, such as "__class__". `name` becomes the first. */
static bool has_dunder(const char *text, char name[64])
{
    for (const char *begin = text; (begin = strstr(begin, "__")); begin++) {
        size_t length = 2;
        while (isalnum((unsigned char)begin[length]) || (begin[length] == '_' && begin[length + 1] != '_'))
            length++;
        if (length > 2 && isalpha((unsigned char)begin[2]) && strncmp(begin + length, "__", 2) == 0) {
            snprintf(name, 64, "%.*s", (int)(length + 2 > 60 ? 60 : length + 2), begin);
            return true;
        }
    }
    return false;
}

/* A template could join a name such as __class__ from pieces: "__cla", "ss__" or "__". */
static bool is_piece(const char *text)
{
    const size_t length = strlen(text);
    if (length < 2)
        return false;
    const bool begins = strncmp(text, "__", 2) == 0, ends = strcmp(text + length - 2, "__") == 0;
    return (begins && (isalpha((unsigned char)text[2]) || strspn(text, "_") == length)) ||
           (ends && length > 2 && isalpha((unsigned char)text[length - 3]));
}

static void check_string_literal(template_scan *s, const char *text)
{
    char name[64];
    if (has_dunder(text, name))
        report_hazard(s, HAZARD_DUNDER, name);
    for (size_t k = 0; k < sizeof hazard_parts / sizeof *hazard_parts; k++)
        if (strcasestr(text, hazard_parts[k]))
            report_hazard(s, HAZARD_PIECE, hazard_parts[k]);
}

/* The literal is appended to s->joined, because a name may be joined from several literals. */
static void check_string(template_scan *s, const char *text)
{
    check_string_literal(s, text);
    if (is_piece(text) && !s->reported[HAZARD_DUNDER])
        report_hazard(s, HAZARD_PIECE, text);
    if (strstr(text, "%c") || strstr(text, ":c}"))
        report_hazard(s, HAZARD_FORMAT, text);
    if (strcmp(text, "attr") == 0 && s->recent[0].kind == '(' && strcmp(s->recent[1].word, "map") == 0)
        report_hazard(s, HAZARD_FILTER, "map('attr')");
    for (size_t k = 0; k < sizeof hazard_words / sizeof *hazard_words; k++)
        if (hazard_words[k].hazard == HAZARD_ATTRIBUTE && strcmp(text, hazard_words[k].word) == 0)
            report_hazard(s, HAZARD_ATTRIBUTE, text);
    const size_t length = strlen(text), room = TAG_ROOM - 1 - s->joined_length;
    memcpy(s->joined + s->joined_length, text, length < room ? length : room);
    s->joined_length += length < room ? length : room;
    s->joined[s->joined_length] = 0;
}

/* ---- tokens ---- */

static void push_token(template_scan *s, char kind, const char *word)
{
    memmove(s->recent + 1, s->recent, sizeof s->recent - sizeof *s->recent);
    s->recent[0].kind = kind;
    snprintf(s->recent[0].word, sizeof s->recent[0].word, "%.63s", word);
}

/* Returns the number that `count` digits at `text` form; -1 if there are fewer digits. */
static long digits_of(const char *text, size_t remaining, size_t count, int base)
{
    char digits[9] = "";
    char *end;
    if (remaining < count)
        return -1;
    memcpy(digits, text, count);
    const long value = strtol(digits, &end, base);
    return end == digits + count && isxdigit((unsigned char)*digits) ? value : -1;
}

/* *taken becomes the number of bytes of the escape. Only numbers are decoded (\x, \u, \U, octal); other escapes
 * become the character after the backslash. NUL and characters outside ASCII become '?', because the searched names
 * do not contain them. */
static char decode_escape(const char *text, size_t remaining, size_t *taken)
{
    static const struct {
        char letter;
        size_t digits;
        int base;
    } kinds[] = {{'x', 2, 16}, {'u', 4, 16}, {'U', 8, 16}};
    *taken = remaining > 1 ? 2 : 1;
    for (size_t k = 0; remaining > 1 && k < sizeof kinds / sizeof *kinds; k++) {
        const long value =
            text[1] == kinds[k].letter ? digits_of(text + 2, remaining - 2, kinds[k].digits, kinds[k].base) : -1;
        if (value >= 0) {
            *taken = 2 + kinds[k].digits;
            return value > 0 && value < 0x80 ? (char)value : '?';
        }
    }
    for (size_t count = 3; remaining > 1 && text[1] >= '0' && text[1] <= '7' && count > 0; count--) {
        const long value = digits_of(text + 1, remaining - 1, count, 8);
        if (value >= 0) {
            *taken = 1 + count;
            return value > 0 && value < 0x80 ? (char)value : '?';
        }
    }
    return remaining > 1 ? text[1] : '\\';
}

/* Escapes are decoded, so that "\x5f\x5fclass__" is found, too. */
static void scan_string(template_scan *s)
{
    const char quote = s->text[s->at++];
    char word[WORD_ROOM];
    size_t length = 0, taken;
    while (s->at < s->end && s->text[s->at] != quote) {
        char c = s->text[s->at];
        taken = 1;
        if (c == '\\')
            c = decode_escape(s->text + s->at, s->end - s->at, &taken);
        s->line += c == '\n';
        if (length + 1 < sizeof word && c)
            word[length++] = c;
        s->at += taken;
        if (length + 1 == sizeof word) { /* a long string is checked in overlapping parts */
            word[length] = 0;
            check_string_literal(s, word);
            memmove(word, word + length / 2, length - length / 2);
            length -= length / 2;
        }
    }
    s->at += s->at < s->end;
    word[length] = 0;
    check_string(s, word);
    push_token(s, 's', word);
}

/* The joined keys of dict(...) can spell any name. */
static void check_filter(template_scan *s, const char *word)
{
    if (strcmp(word, "attr") == 0)
        report_hazard(s, HAZARD_FILTER, word);
    if (s->has_dict && (strcmp(word, "join") == 0 || strcmp(word, "first") == 0))
        report_hazard(s, HAZARD_LETTERS, "dict(...) | join");
}

static void check_name(template_scan *s, const char *word)
{
    static const char *const loads[] = {"import", "from", "include", "extends"};
    char name[64];
    const char before = s->recent[0].kind;
    const size_t length = strlen(word);
    s->is_raw |= before == '%' && strcmp(word, "raw") == 0;
    if (has_dunder(word, name) || (length > 2 && strncmp(word, "__", 2) == 0))
        report_hazard(s, HAZARD_DUNDER, word);
    else if (before == '.' && *word == '_')
        report_hazard(s, HAZARD_ATTRIBUTE, word);
    if (before == '|' || (before == 'n' && strcmp(s->recent[0].word, "filter") == 0))
        check_filter(s, word);
    for (size_t k = 0; before == '%' && k < sizeof loads / sizeof *loads; k++)
        if (strcmp(word, loads[k]) == 0)
            report_hazard(s, HAZARD_IMPORT, word);
    for (size_t k = 0; k < sizeof hazard_words / sizeof *hazard_words; k++)
        if (strcmp(word, hazard_words[k].word) == 0 && (hazard_words[k].hazard == HAZARD_CALL || before == '.'))
            report_hazard(s, hazard_words[k].hazard, word);
}

static void scan_name(template_scan *s)
{
    char word[64];
    size_t length = 0;
    while (s->at < s->end && (isalnum((unsigned char)s->text[s->at]) || s->text[s->at] == '_')) {
        if (length + 1 < sizeof word)
            word[length++] = s->text[s->at];
        s->at++;
    }
    word[length] = 0;
    check_name(s, word);
    push_token(s, 'n', word);
}

/* Digits may have underscores between them. RANGE_MAX limits numbers in a tag that calls range, REPEAT_MAX those
 * that are factors. */
static void scan_number(template_scan *s)
{
    char word[64] = "";
    size_t length = 0, next;
    for (; s->at < s->end && (isalnum((unsigned char)s->text[s->at]) || s->text[s->at] == '_'); s->at++)
        if (s->text[s->at] != '_' && length + 1 < sizeof word)
            word[length++] = s->text[s->at];
    word[length] = 0;
    const double value = organ_strtod(word, NULL);
    for (next = s->at; next < s->end && s->text[next] == ' ';)
        next++;
    if ((s->in_range && value > RANGE_MAX) ||
        (value > REPEAT_MAX && (s->recent[0].kind == '*' || (next < s->end && s->text[next] == '*'))))
        report_hazard(s, HAZARD_ENDLESS, word);
    push_token(s, '9', word);
}

/* A string of underscores that is multiplied is a finding, because it may become a part of "__class__". */
static void scan_mark(template_scan *s)
{
    const char c = s->text[s->at++], mark[2] = {c, 0};
    if (c == '(' && s->recent[0].kind == 'n' && strcmp(s->recent[0].word, "range") == 0)
        s->in_range = true;
    if (c == '(' && s->recent[0].kind == 'n' && strcmp(s->recent[0].word, "dict") == 0)
        s->has_dict = true;
    if (c == '*' && s->recent[0].kind == 's' && *s->recent[0].word &&
        strspn(s->recent[0].word, "_") == strlen(s->recent[0].word))
        report_hazard(s, HAZARD_PIECE, s->recent[0].word);
    s->line += c == '\n';
    s->open += c == '(' || c == '[' || c == '{';
    s->open -= (c == ')' || c == ']' || c == '}') && s->open > 0;
    /* the '-' or '+' of "{%-" is no token, so that the name after it follows the '%' */
    if (!isspace((unsigned char)c) && !(s->recent[0].kind == '%' && (c == '-' || c == '+')))
        push_token(s, c, mark);
}

static bool text_follows(const template_scan *s, const char *text)
{
    return s->end - s->at >= strlen(text) && strncmp(s->text + s->at, text, strlen(text)) == 0;
}

/* s->at is after the opening braces. `end`, "}}" or "%}", is not recognised inside brackets. */
static void scan_tag(template_scan *s, const char *end)
{
    memset(s->recent, 0, sizeof s->recent);
    s->joined_length = 0;
    s->joined[0] = 0;
    s->in_range = s->has_dict = s->is_raw = false;
    s->open = 0;
    if (*end == '%')
        push_token(s, '%', "");
    while (s->at < s->end && (s->open > 0 || !text_follows(s, end))) {
        const unsigned char c = (unsigned char)s->text[s->at];
        if (c == '\'' || c == '"')
            scan_string(s);
        else if (isdigit(c))
            scan_number(s);
        else if (isalpha(c) || c == '_')
            scan_name(s);
        else
            scan_mark(s);
    }
    s->at += s->at < s->end ? 2 : 0;
    check_string_literal(s, s->joined);
}

/* Skips text up to and with `end`; NULL: up to the next tag or comment. */
static void skip_untagged(template_scan *s, const char *end)
{
    while (s->at < s->end &&
           !(end ? text_follows(s, end) : text_follows(s, "{{") || text_follows(s, "{%") || text_follows(s, "{#")))
        s->line += s->text[s->at++] == '\n';
    s->at += end && s->at < s->end ? 2 : 0;
}

/* Text in {% raw %} is printed, not executed. */
static void skip_raw(template_scan *s)
{
    while (s->at < s->end && !text_follows(s, "endraw"))
        s->line += s->text[s->at++] == '\n';
    skip_untagged(s, "%}");
}

/* Names outside of tags are found, too: an engine may find tags that this scan does not. */
static void check_hazard_names(template_scan *s, size_t length)
{
    static const char *const names[] = {"__subclasses__", "__globals__", "__builtins__", "__import__",      "__mro__",
                                        "__bases__",      "__base__",    "__class__",    "__getattribute__"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const char *const there = memmem(s->text, length, names[k], strlen(names[k]));
        if (!there)
            continue;
        s->line = 1;
        for (const char *c = s->text; c < there; c++)
            s->line += *c == '\n';
        report_hazard(s, HAZARD_DUNDER, names[k]);
    }
}

/* Only the first LONGEST bytes are scanned. The whole template is searched for names that sandboxes forbid. */
void organ_template_check(organ_findings *findings, const char *where, const char *text, size_t length)
{
    template_scan s = {
        .findings = findings, .where = where, .text = text, .end = length > LONGEST ? LONGEST : length, .line = 1};
    char bytes[32];
    snprintf(bytes, sizeof bytes, "%zu", length);
    if (length > LONGEST)
        report_hazard(&s, HAZARD_LONG, bytes);
    while (s.at < s.end) {
        const bool code = text_follows(&s, "{{") || text_follows(&s, "{%"), comment = text_follows(&s, "{#");
        const char *const end = code && s.text[s.at + 1] == '%' ? "%}" : "}}";
        s.at += code || comment ? 2 : 0;
        if (code)
            scan_tag(&s, end);
        else
            skip_untagged(&s, comment ? "#}" : NULL);
        if (code && s.is_raw)
            skip_raw(&s);
    }
    check_hazard_names(&s, length);
}
