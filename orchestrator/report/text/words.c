/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/report_text.h"

#include <organ/machine.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/quantity.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PEFT_PREFIX "base_model.model." /* of every key of an adapter */

enum { LONGEST_PATH = 128, LONGEST_FORM = 32 }; /* bytes with the final 0; longer paths and forms are cut */

/* Returns `out`, which gets the first `length` bytes of `s`. */
static const char *copied_part(const char *s, size_t length, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)length, s);
    return out;
}

/* ---- paths and conditions ---- */

const json_t *organ_scope_at(const organ_scope *scope, const char *path)
{
    const bool absolute = *path == '/';
    /* without the slash; "." is the row, whose path is "" for organ_json_at */
    return organ_json_at(absolute ? scope->report : scope->row, path + (absolute || strcmp(path, ".") == 0));
}

/* `named` is a number or the path of a member. */
static double amount_named(const organ_scope *scope, const char *named)
{
    return isdigit((unsigned char)*named) || *named == '-' ? organ_strtod(named, NULL)
                                                           : organ_json_amount(organ_scope_at(scope, named));
}

/* A term is a path, or a path, '=' or '>' and the requested value; '!' before it negates it. */
static bool term_is_true(const organ_scope *scope, const char *term, size_t length)
{
    char path[LONGEST_PATH], requested[LONGEST_PATH];
    const bool negated = *term == '!';
    term += negated;
    length -= negated;
    size_t end = 0;
    while (end < length && term[end] != '=' && term[end] != '>')
        end++;
    const json_t *const value = organ_scope_at(scope, copied_part(term, end, path, sizeof path));
    bool holds = organ_json_has_something(value);
    if (end < length) {
        copied_part(term + end + 1, length - end - 1, requested, sizeof requested);
        if (json_is_string(value))
            holds = strcmp(json_string_value(value), requested) == 0;
        else {
            const double limit = amount_named(scope, requested);
            holds = value && !json_is_null(value) &&
                    (term[end] == '=' ? organ_json_amount(value) == limit : organ_json_amount(value) > limit);
        }
    }
    return holds != negated;
}

/* '&' binds more tightly than '|'. */
static bool condition_is_true(const organ_scope *scope, const char *condition, size_t length)
{
    bool all = true;
    for (size_t at = 0; at <= length; at++) {
        const size_t term = at;
        while (at < length && condition[at] != '&' && condition[at] != '|')
            at++;
        all = all && term_is_true(scope, condition + term, at - term);
        if (at == length || condition[at] == '|') {
            if (all || at == length)
                return all;
            all = true;
        }
    }
    return all;
}

bool organ_scope_holds(const organ_scope *scope, const char *condition)
{
    return !condition || condition_is_true(scope, condition, strlen(condition));
}

/* ---- members ---- */

static void put_text(FILE *out, const char *s, bool code, organ_words_for to)
{
    if (to == ORGAN_WORDS_MARKDOWN)
        organ_markdown_text(out, s, code);
    else if (to == ORGAN_WORDS_TERMINAL)
        organ_text_visible(out, s);
    else
        fputs(s, out);
}

static void put_plain(FILE *out, const json_t *value, bool code, organ_words_for to)
{
    if (json_is_string(value))
        put_text(out, json_string_value(value), code, to);
    else if (json_is_integer(value))
        fprintf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        organ_fprintf(out, "%.15g", json_real_value(value));
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", out);
    else
        fputs("-", out);
}

static void put_joined(FILE *out, const json_t *array, const char *between, organ_words_for to)
{
    for (size_t k = 0; k < json_array_size(array); k++) {
        fputs(k ? between : "", out);
        put_plain(out, organ_json_row_at(array, k), /*code=*/false, to);
    }
}

/* The form ~0 has three decimals below 100, none from 100 on; an exponent below 0.001 and from a million on. */
static const char *general_form(double size)
{
    if (size != 0 && (size < 0.001 || size >= 1e6))
        return "%.2e";
    return size != 0 && size < 100 ? "%.3f" : "%.0f";
}

/* 0 digits select the format of general_form. A rounded 0 has no minus. */
static const char *words_rounded(double x, int digits, char out[ORGAN_NUMBER_ROOM])
{
    const double size = fabs(x);
    if (digits == 0)
        organ_snprintf(out, ORGAN_NUMBER_ROOM, general_form(size), x);
    else
        organ_snprintf(out, ORGAN_NUMBER_ROOM, "%.*f", digits, x);
    return out + (*out == '-' && strspn(out, "-0.") == strlen(out));
}

/* A document of another program may have any number: negative and NaN give 0, too large gives UINT64_MAX. */
static uint64_t words_count_of(double x)
{
    if (!(x > 0))
        return 0;
    return x < (double)UINT64_MAX ? (uint64_t)x : UINT64_MAX;
}

/* "share" is x 100 as percent; "~N" has N decimals (words_rounded); "%.Nf" and "%.N" are x 100, with and without a
 * percent sign. */
const char *organ_number_form(double x, const char *form, char out[ORGAN_NUMBER_ROOM])
{
    const size_t capacity = ORGAN_NUMBER_ROOM;
    const char last = *form ? form[strlen(form) - 1] : ' ';
    const char *precise = last == 'e' ? "%.*e" : "%.*g";
    if (last == 'f')
        precise = "%.*f";
    if (strcmp(form, "count") == 0)
        return organ_count_text(words_count_of(x), out);
    if (strcmp(form, "bytes") == 0)
        return organ_quantity_text(words_count_of(x), out);
    if (strcmp(form, "memory") == 0)
        return organ_memory_text(words_count_of(x), out);
    if (strcmp(form, "option") == 0)
        return organ_quantity_option(words_count_of(x), out);
    if (strcmp(form, "percent") == 0 || strcmp(form, "share") == 0)
        return organ_percent_text(*form == 's' ? 100 * x : x, out);
    if (strcmp(form, "time") == 0)
        return organ_duration_text(x, out);
    if (*form == '~')
        return words_rounded(x, atoi(form + 1), out);
    if (*form == '%')
        organ_snprintf(out, capacity, last == 'f' ? "%.*f %%" : "%.*f", atoi(form + 2), 100 * x);
    else if (*form == '.')
        organ_snprintf(out, capacity, precise, atoi(form + 1), x);
    else
        return ORGAN_FIELD_MISSING;
    return out;
}

/* Returns the decimals with which `error` has two digits, but at least 4 (of a percentage 2) and at most 2 more. */
static int decimals_for(double error, bool percent)
{
    const int digits = error > 0 && isfinite(error) ? 1 - (int)floor(log10(error)) : 0, least = percent ? 2 : 4;
    if (digits < least)
        return least;
    return digits > least + 2 ? least + 2 : digits;
}

/* The standard error is the member at PATH_error. The form selects both (measured), only the number (figure) or only
 * the error (deviation); its prefixes are those of report_text.h. */
static void put_value_and_error(FILE *out, const organ_scope *scope, const char *path, const json_t *value,
                                const char *form)
{
    char error_path[LONGEST_PATH + sizeof "_error"];
    const bool percent = *form == '%', sign = *form == '+';
    const char *const what = form + strspn(form, "%+~"), *const between = strchr(form, '~') ? "\u00b1" : "+-";
    snprintf(error_path, sizeof error_path, "%s_error", path);
    const json_t *const error = organ_scope_at(scope, error_path);
    const double x = (percent ? 100 : 1) * json_number_value(value), e = (percent ? 100 : 1) * json_number_value(error);
    const bool known = json_is_number(value) && json_is_number(error) && fabs(x) < 1e6;
    const int decimals = known ? decimals_for(e, percent) : 4;
    if (strcmp(what, "deviation") == 0 && known)
        organ_fprintf(out, ", %s %.*f", between, decimals, e);
    if (strcmp(what, "deviation") == 0)
        return;
    if (!json_is_number(value))
        fputs("too large", out);
    else if (fabs(x) >= 1e6)
        organ_fprintf(out, sign ? "%+.4g" : "%.4g", x);
    else
        organ_fprintf(out, sign ? "%+.*f" : "%.*f", decimals, x);
    if (known && strcmp(what, "measured") == 0)
        organ_fprintf(out, " %s %.*f", between, decimals, e);
}

static const char *words_module_of(const char *key)
{
    const size_t length = sizeof PEFT_PREFIX - 1;
    return key + (strncmp(key, PEFT_PREFIX, length) == 0 ? length : 0);
}

static void put_stem(FILE *out, const char *path, organ_words_for to)
{
    const char *const dot = strrchr(path, '.');
    ORGAN_OWNED char *const stem = strndup(path, dot ? (size_t)(dot + 1 - path) : strlen(path));
    if (!stem)
        organ_memory_count_refusal();
    put_text(out, stem ? stem : "", /*code=*/false, to);
}

/* Prints "tiny-qwen2 (Qwen2ForCausalLM, safetensors, 3 files, 9.9 MB)". If parts of the model are not run, adds for
 * example "; not run: vision, 300 tensors of 800 MB" before the last parenthesis. */
static void put_model(FILE *out, const json_t *model, organ_words_for to)
{
    char size[16], count[32];
    const unsigned long long files = organ_json_count(model, "files");
    const char *const architecture = organ_json_text(model, "architecture");
    put_text(out, organ_json_text(model, "name"), /*code=*/false, to);
    fputs(" (", out);
    put_text(out, architecture, /*code=*/false, to);
    fprintf(out, "%s%s, %s file%s, %s", *architecture ? ", " : "", organ_json_text(model, "format"),
            organ_count_text(files, count), files == 1 ? "" : "s",
            organ_quantity_text(organ_json_count(model, "bytes"), size));
    const json_t *row;
    size_t k;
    json_array_foreach(json_object_get(model, "not_run"), k, row) fprintf(
        out, "%s %s, %s tensor%s of %s", k ? ";" : "; not run:", organ_json_text(row, "role"),
        organ_count_text(organ_json_count(row, "tensors"), count), organ_json_count(row, "tensors") == 1 ? "" : "s",
        organ_quantity_text(organ_json_count(row, "bytes"), size));
    fputc(')', out);
}

static double words_sum_of(const json_t *rows, const char *key)
{
    double sum = 0;
    for (size_t k = 0; k < json_array_size(rows); k++)
        sum += organ_json_amount(organ_json_at(organ_json_row_at(rows, k), key));
    return sum;
}

static void put_sum(FILE *out, const json_t *rows, const char *form)
{
    char key[LONGEST_FORM], text[ORGAN_NUMBER_ROOM];
    const size_t length = strcspn(form, ":");
    const double sum = words_sum_of(rows, copied_part(form, length, key, sizeof key));
    fputs(organ_number_form(sum, form[length] ? form + length + 1 : ".15g", text), out);
}

static void put_value(FILE *out, const organ_scope *scope, const json_t *value, const char *form, organ_words_for to)
{
    char number[ORGAN_NUMBER_ROOM];
    const char *joint = strcmp(form, "join") == 0 ? ", " : " ";
    if (strcmp(form, "shape") == 0)
        joint = " x ";
    if (!*form || strcmp(form, "code") == 0)
        put_plain(out, value, /*code=*/*form, to);
    else if (strcmp(form, "size") == 0)
        fprintf(out, "%zu", json_array_size(value));
    else if (*form == '-')
        organ_fprintf(out, "%.0f", organ_json_amount(value) - amount_named(scope, form + 1));
    else if (strncmp(form, "sum.", 4) == 0)
        put_sum(out, value, form + 4);
    else if (strcmp(form, "s") == 0)
        fputs(organ_json_amount(value) == 1 ? "" : "s", out);
    else if (strcmp(form, "join") == 0 || strcmp(form, "shape") == 0 || strcmp(form, "words") == 0)
        put_joined(out, value, joint, to);
    else if (strcmp(form, "model") == 0)
        put_model(out, value, to);
    else if (strcmp(form, "module") == 0)
        put_text(out, words_module_of(organ_json_text(value, "")), /*code=*/false, to);
    else if (strcmp(form, "stem") == 0)
        put_stem(out, organ_json_text(value, ""), to);
    else if (strcmp(form, "shell") == 0)
        organ_shell_word(out, organ_json_text(value, ""));
    else if (!json_is_number(value))
        fputs("-", out);
    else
        fputs(organ_number_form(json_number_value(value), form, number), out);
}

/* ---- braces ---- */

/* Returns the index of the first `stop` outside of inner braces; `length` if there is none. */
static size_t length_before(const char *s, size_t length, char stop)
{
    size_t depth = 0, k = 0;
    for (; k < length; k++) {
        if (depth == 0 && s[k] == stop)
            return k;
        depth += s[k] == '{';
        depth -= s[k] == '}' && depth > 0;
    }
    return k;
}

static void put_words(FILE *out, const organ_scope *scope, const char *words, size_t length, organ_words_for to);

static bool is_measured(const char *form)
{
    form += strspn(form, "%+~");
    return strcmp(form, "measured") == 0 || strcmp(form, "figure") == 0 || strcmp(form, "deviation") == 0;
}

/* `place` is the text between two braces: a condition with its words, or a path with its form. */
static void put_place(FILE *out, const organ_scope *scope, const char *place, size_t length, organ_words_for to)
{
    char path[LONGEST_PATH], form[LONGEST_FORM] = "";
    const size_t condition = length_before(place, length, '?');
    if (condition < length) {
        const char *const words = place + condition + 1;
        const size_t rest = length - condition - 1, words_length = length_before(words, rest, '|');
        if (condition_is_true(scope, place, condition))
            put_words(out, scope, words, words_length, to);
        else if (words_length < rest) /* there are words after '|' */
            put_words(out, scope, words + words_length + 1, rest - words_length - 1, to);
        return;
    }
    const size_t end = length_before(place, length, ':');
    if (end < length)
        copied_part(place + end + 1, length - end - 1, form, sizeof form);
    const json_t *const value = organ_scope_at(scope, copied_part(place, end, path, sizeof path));
    if (value && is_measured(form))
        put_value_and_error(out, scope, path, value, form);
    else if (value)
        put_value(out, scope, value, form, to);
    else
        fputs(ORGAN_FIELD_MISSING, out);
}

/* Recurses only into inner braces, whose depth is that of a constant sentence. */
static void put_words(FILE *out, const organ_scope *scope, const char *words, size_t length, organ_words_for to)
{
    for (size_t at = 0; at < length; at++) {
        const size_t plain = length_before(words + at, length - at, '{');
        fwrite(words + at, 1, plain, out);
        at += plain;
        if (at == length)
            return;
        const size_t place = length_before(words + at + 1, length - at - 1, '}');
        put_place(out, scope, words + at + 1, place, to);
        at += place + 1;
    }
}

char *organ_words_text(const organ_scope *scope, const char *words, organ_words_for to)
{
    organ_text text;
    organ_error ignored = {0};
    char *whole = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    put_words(text.out, scope, words ? words : "", words ? strlen(words) : 0, to);
    organ_text_finish(&text, &whole, &ignored);
    return whole;
}
