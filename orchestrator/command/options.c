/* SPDX-License-Identifier: MIT */
#include "orchestrator/command/option_tables.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/word_lists.h"
#include "orchestrator/command/foreign_words.h"

#include <errno.h>
#include <organ/machine.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* MAX_NAMES and MAX_CHOICES limit what is compared with a wrong word. */
/* Messages shorten a list of choices of more than MANY_BYTES. */
enum { MAX_NAMES = 64, LONGEST_NAME = 32, MAX_CHOICES = 96, LONGEST_NUMBER = 64, MANY_BYTES = 300 };

/* ---- values ---- */

/* An amount of 1,024 bytes or more gets the largest of the units M, G and T that divides the amount, else K. */
static void bound_text(const organ_option *option, double bound, char out[32])
{
    const uint64_t bytes = (uint64_t)bound;
    static const char units[] = "KMGT";
    if (option->value != ORGAN_VALUE_BYTES || bytes < 1024) {
        organ_snprintf(out, 32, "%.15g", bound);
        return;
    }
    size_t unit = 0;
    uint64_t amount = bytes / 1024;
    for (; amount % 1024 == 0 && unit < 3; unit++)
        amount /= 1024;
    snprintf(out, 32, "%llu%c", (unsigned long long)amount, units[unit]);
}

bool organ_option_choice(const organ_option *option, size_t k, char choice[ORGAN_LONGEST_CHOICE])
{
    const char *at = option->choices;
    for (; at && k > 0; k--)
        at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL;
    if (at)
        snprintf(choice, ORGAN_LONGEST_CHOICE, "%.*s", (int)strcspn(at, "|"), at);
    return at != NULL;
}

/* The range of a text is its choices, of a number its two limits. The words "above" and "below" mark a limit that is
 * not itself valid (after_from, before_to). Other options get "". */
void organ_option_range(const organ_option *option, char *out, size_t size)
{
    char from[32], to[32], choice[ORGAN_LONGEST_CHOICE];
    *out = '\0';
    for (size_t k = 0, used = 0; used < size && organ_option_choice(option, k, choice); k++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", k ? ", " : "", choice);
    if (option->value < ORGAN_VALUE_COUNT)
        return;
    bound_text(option, option->range.from, from);
    bound_text(option, option->range.to, to);
    if (!option->after_from && !option->before_to)
        snprintf(out, size, "%s to %s", from, to);
    else
        snprintf(out, size, "%s %s, %s %s", option->after_from ? "above" : "at least", from,
                 option->before_to ? "below" : "at most", to);
}

void organ_option_allows(const organ_option *option, char *out, size_t size)
{
    static const char *const kinds[] = {
        [ORGAN_VALUE_FLAG] = "no value",          [ORGAN_VALUE_TEXT] = "a non-empty text",
        [ORGAN_VALUE_WORDS] = "a non-empty text", [ORGAN_VALUE_COUNT] = "a whole number",
        [ORGAN_VALUE_REAL] = "a number",          [ORGAN_VALUE_BYTES] = "an amount of bytes like 512M, 2GiB or 5GB"};
    char range[ORGAN_RANGE_ROOM];
    organ_option_range(option, range, sizeof range);
    if (option->choices && !option->open)
        snprintf(out, size, "one of %s", range);
    else
        snprintf(out, size, *range && !option->open ? "%s%s (%s)" : "%s%s%.0s", /* %.0s leaves the range out */
                 option->automatic ? ORGAN_AUTOMATIC " or " : "", kinds[option->value], range);
}

/* Infinities, hexadecimal numbers, and signs or fractions in a count are no numbers of an option. */
static bool read_option_number(const organ_option *option, const char *text, double *number)
{
    const char *const letters = option->value == ORGAN_VALUE_COUNT ? "0123456789" : "0123456789.eE+-";
    char *end = NULL;
    uint64_t bytes = 0;
    if (option->value == ORGAN_VALUE_BYTES) {
        const bool read = organ_quantity_parse(text, &bytes);
        *number = (double)bytes;
        return read;
    }
    if (*text == '\0' || text[strspn(text, letters)] != '\0')
        return false;
    errno = 0;
    *number = organ_strtod(text, &end);
    return *end == '\0' && errno == 0;
}

bool organ_in_range(const organ_option *option, double number)
{
    return (option->after_from ? number > option->range.from : number >= option->range.from) &&
           (option->before_to ? number < option->range.to : number <= option->range.to);
}

static void store_number(const organ_option *option, double number, void *member)
{
    if (option->value == ORGAN_VALUE_COUNT)
        *(unsigned *)member = (unsigned)number;
    else if (option->value == ORGAN_VALUE_REAL)
        *(double *)member = number;
    else
        *(uint64_t *)member = (uint64_t)number;
}

bool organ_option_has_choice(const organ_option *option, const char *text, size_t length)
{
    char choice[ORGAN_LONGEST_CHOICE];
    for (size_t k = 0; organ_option_choice(option, k, choice); k++)
        if (strlen(choice) == length &&
            (option->any_case ? strncasecmp(text, choice, length) : memcmp(text, choice, length)) == 0)
            return true;
    return option->accepts && option->accepts(text, length);
}

/* Writes "; did you mean 'dare_linear' or 'dare_ties'?" if two to four choices begin with the text. */
static bool list_beginning(const char *const *names, size_t count, const char *text, char hint[ORGAN_HINT_ROOM])
{
    enum { MOST = 4 };
    size_t used = 0, found = 0;
    for (size_t k = 0; k < count; k++)
        if (strncasecmp(names[k], text, strlen(text)) == 0 && found++ < MOST)
            used += (size_t)snprintf(hint + used, ORGAN_HINT_ROOM - used, "%s'%s'",
                                     found == 1 ? "; did you mean " : " or ", names[k]);
    if (found < 2 || found > MOST)
        *hint = '\0';
    else
        snprintf(hint + used, ORGAN_HINT_ROOM - used, "?");
    return *hint;
}

/* The list of choices is left out if there is a hint, and shortened if it is long. */
static organ_status refuse_choice(const organ_verb *verb, const organ_option *option, const char *text,
                                  organ_error *error)
{
    char choices[MAX_CHOICES][ORGAN_LONGEST_CHOICE], typed[2 * LONGEST_NAME], allowed[2 * ORGAN_RANGE_ROOM];
    char hint[ORGAN_HINT_ROOM] = "";
    const char *names[MAX_CHOICES];
    size_t count = 0;
    for (; count < MAX_CHOICES && organ_option_choice(option, count, choices[count]); count++)
        names[count] = choices[count];
    snprintf(typed, sizeof typed, "%.*s", (int)sizeof typed - 1, text);
    for (size_t k = 0; k < count; k++)
        if (strcasecmp(text, names[k]) == 0)
            return organ_fail(error, ORGAN_USAGE, "%s: --%s cannot be '%s'; did you mean '%s'?", verb->name,
                              option->name, text, names[k]);
    const char *const why = option->explain ? option->explain(typed) : NULL;
    if (why)
        return organ_fail(error, ORGAN_USAGE, "%s: --%s cannot be '%.200s': %s", verb->name, option->name, text, why);
    if (strlen(text) > 3 && !list_beginning(names, count, text, hint)) /* "f64" is close to "f16" but another type */
        organ_nearest_hint(typed, names, count, "", hint);
    if (*hint)
        return organ_fail(error, ORGAN_USAGE, "%s: --%s cannot be '%.200s'%s", verb->name, option->name, text, hint);
    organ_option_allows(option, allowed, sizeof allowed);
    char *const cut = strlen(allowed) > MANY_BYTES ? strchr(allowed + MANY_BYTES, ',') : NULL;
    if (cut)
        *cut = '\0';
    return organ_fail(error, ORGAN_USAGE,
                      cut ? "%s: --%s is '%.200s', but must be %s, ...; 'organ %s --help' lists all"
                          : "%s: --%s is '%.200s', but must be %s",
                      verb->name, option->name, text, allowed, verb->name);
}

/* A value between 0 and 1 without '%' may be meant as a share, so it gives ORGAN_USAGE. */
static organ_status read_percent(const organ_verb *verb, const organ_option *option, const char *text,
                                 char number[LONGEST_NUMBER], organ_error *error)
{
    const size_t length = strlen(text);
    const bool sign = length > 1 && text[length - 1] == '%';
    double value = 0;
    snprintf(number, LONGEST_NUMBER, "%.*s", (int)(length < LONGEST_NUMBER ? length - sign : LONGEST_NUMBER), text);
    if (!sign && read_option_number(option, number, &value) && value > 0 && value < 1)
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: --%s is in percent, and %s is less than one: did you mean %.15g? For %s percent, write %s%%",
            verb->name, option->name, number, 100 * value, number, number);
    return ORGAN_OK;
}

static organ_status store_value(const organ_verb *verb, const organ_option *option, const char *text, void *values,
                                organ_error *error)
{
    void *const member = (char *)values + option->offset;
    char allowed[2 * ORGAN_RANGE_ROOM], percent[LONGEST_NUMBER];
    const char *const typed = text;
    double number = 0;
    if (option->percent && read_percent(verb, option, text, percent, error) != ORGAN_OK)
        return error->status;
    if (option->percent)
        text = percent;
    if (option->value == ORGAN_VALUE_FLAG) {
        *(bool *)member = true;
        return ORGAN_OK;
    }
    if (option->choices && !option->open && !organ_option_has_choice(option, text, strlen(text)))
        return refuse_choice(verb, option, text, error);
    if (option->value == ORGAN_VALUE_TEXT && *text) {
        *(const char **)member = text;
        return ORGAN_OK;
    }
    if (option->value == ORGAN_VALUE_WORDS && *text) {
        organ_words *const words = member;
        if (words->count == ORGAN_MAX_WORDS)
            return organ_fail(error, ORGAN_USAGE, "%s: --%s is given more than %d times", verb->name, option->name,
                              ORGAN_MAX_WORDS);
        words->word[words->count++] = text;
        return ORGAN_OK;
    }
    const bool automatic = option->automatic && strcmp(text, ORGAN_AUTOMATIC) == 0;
    if (automatic || (option->value >= ORGAN_VALUE_COUNT && read_option_number(option, text, &number) &&
                      organ_in_range(option, number))) {
        store_number(option, automatic ? option->automatic_as : number, member);
        return ORGAN_OK;
    }
    const char *const why = option->explain ? option->explain(typed) : NULL;
    organ_option_allows(option, allowed, sizeof allowed);
    return organ_fail(error, ORGAN_USAGE, "%s: --%s is '%s', but must be %s%s%s", verb->name, option->name, typed,
                      allowed, why ? ": " : "", why ? why : "");
}

/* ---- finding options ---- */

const char *organ_verb_section_at(const organ_verb_table *table, const organ_verb *verb)
{
    for (size_t k = 0; k < table->section_count; k++)
        if (table->sections[k].first == verb)
            return table->sections[k].title;
    return NULL;
}

const organ_topic *organ_topic_find(const organ_verb_table *table, const char *name)
{
    for (size_t k = 0; k < table->topic_count; k++)
        if (strcmp(table->topics[k]->name, name) == 0)
            return table->topics[k];
    return NULL;
}

const organ_option *organ_verb_option_at(const organ_verb *verb, size_t k)
{
    for (size_t g = 0; g < verb->group_count; k -= verb->groups[g++].count)
        if (k < verb->groups[g].count)
            return &verb->groups[g].options[k];
    return NULL;
}

organ_option organ_operand_as_option(const organ_operand *operand)
{
    return (organ_option){.name = operand->name,
                          .value = organ_operand_repeats(operand) ? ORGAN_VALUE_WORDS : ORGAN_VALUE_TEXT,
                          .required = !operand->optional,
                          .help = operand->help,
                          .offset = operand->offset,
                          .names = operand->names,
                          .adapted = operand->adapted};
}

bool organ_verb_text_at(const organ_verb *verb, const void *values, size_t n, organ_verb_text *text)
{
    const organ_option *option = NULL;
    for (size_t k = 0; k < verb->operand_count || (option = organ_verb_option_at(verb, k - verb->operand_count)); k++) {
        const organ_option argument = option ? *option : organ_operand_as_option(&verb->operands[k]);
        void *const at = (char *)(uintptr_t)values + argument.offset;
        organ_words *const words = argument.value == ORGAN_VALUE_WORDS ? at : NULL;
        const size_t count = words ? words->count : argument.value == ORGAN_VALUE_TEXT;
        if (n < count) {
            *text = (organ_verb_text){argument, k, words ? &words->word[n] : at};
            return true;
        }
        n -= count;
    }
    return false;
}

bool organ_is_former(const char *former, const char *name, size_t length)
{
    return organ_lists_word(former, '|', name, length);
}

bool organ_verb_is_named(const organ_verb *verb, const char *name)
{
    return strcmp(verb->name, name) == 0 || organ_is_former(verb->former, name, strlen(name));
}

static bool is_named(const organ_option *option, const char *name, size_t length)
{
    return (strlen(option->name) == length && memcmp(option->name, name, length) == 0) ||
           organ_is_former(option->former, name, length);
}

/* Former options come last, because one may have the name of a present option. */
static const organ_option *find_long(const organ_verb *verb, const char *name, size_t length)
{
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (is_named(option, name, length))
            return option;
    for (size_t k = 0; k < verb->former_count; k++)
        if (is_named(&verb->former_options[k], name, length))
            return &verb->former_options[k];
    return NULL;
}

/* Returns the flag that "--name" undoes, of --force --no-force and the other way around; NULL: there is none. */
static const organ_option *find_opposite(const organ_verb *verb, const char *name, size_t length)
{
    static const char no[] = "no-";
    const size_t dashed = sizeof no - 1;
    char opposite[LONGEST_NAME + sizeof no];
    const bool negated = length > dashed && memcmp(name, no, dashed) == 0;
    if (length >= LONGEST_NAME)
        return NULL;
    snprintf(opposite, sizeof opposite, "%s%.*s", negated ? "" : no, (int)(length - (negated ? dashed : 0)),
             name + (negated ? dashed : 0));
    const organ_option *const option = find_long(verb, opposite, strlen(opposite));
    return option && option->both ? option : NULL;
}

const organ_option *organ_verb_option(const organ_verb *verb, const char *name)
{
    return find_long(verb, name, strlen(name));
}

static const organ_option *find_short(const organ_verb *verb, char letter)
{
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (option->letter == letter)
            return option;
    for (size_t k = 0; k < verb->former_count; k++)
        if (verb->former_options[k].letter == letter)
            return &verb->former_options[k];
    return NULL;
}

/* Users of other programs write an option for an operand, such as --model. Returns the operand that `name` means; NULL:
 * none. The usual names mean the first operand. */
static const organ_operand *operand_of(const organ_verb *verb, const char *name, size_t length)
{
    static const char *const usual[] = {"model", "input", "in", "model-path", "file"};
    bool found = false;
    for (size_t k = 0; k < sizeof usual / sizeof *usual && !found; k++)
        found = strlen(usual[k]) == length && memcmp(usual[k], name, length) == 0;
    for (size_t k = 0; k < verb->operand_count; k++)
        if (found ||
            (strlen(verb->operands[k].name) == length && strncasecmp(verb->operands[k].name, name, length) == 0))
            return &verb->operands[k];
    return NULL;
}

/* Writes what the verb has for an option of other programs to `hint` and returns it; "" if the option is not known. */
static const char *foreign_hint(const organ_verb *verb, const char *name, size_t length, char hint[ORGAN_HINT_ROOM])
{
    const organ_foreign_option *row = NULL;
    *hint = '\0';
    while ((row = organ_foreign_option_next(row, verb->name, name, length)))
        if (!row->meant || organ_verb_option(verb, row->meant))
            break;
    if (row)
        snprintf(hint, ORGAN_HINT_ROOM, row->advice ? "%s" : "; did you mean '--%s'?",
                 row->advice ? row->advice : row->meant);
    return hint;
}

static organ_status fail_unknown_option(const organ_verb *verb, const char *name, size_t length, organ_error *error)
{
    const char *names[MAX_NAMES];
    char typed[2 * LONGEST_NAME], hint[ORGAN_HINT_ROOM];
    size_t count = 0;
    for (const organ_option *option; count < MAX_NAMES && (option = organ_verb_option_at(verb, count));)
        names[count++] = option->name;
    snprintf(typed, sizeof typed, "%.*s", (int)(length < sizeof typed ? length : sizeof typed - 1), name);
    const organ_operand *const operand = operand_of(verb, name, length);
    if (operand)
        return organ_fail(error, ORGAN_USAGE, "%s: unknown option '--%.*s': write %s without an option, organ %s %s",
                          verb->name, (int)length, name, operand->name, verb->name, operand->name);
    if (!*foreign_hint(verb, name, length, hint))
        organ_nearest_hint(typed, names, count, "--", hint);
    return organ_fail(error, ORGAN_USAGE, "%s: unknown option '--%.*s'%s", verb->name, (int)length, name, hint);
}

/* ---- the parser ---- */

typedef struct parser {
    const organ_verb *verb;
    void *values;
    char *const *argv;
    int argc, at;    /* number of words, and index of the next one */
    size_t operands; /* number of operands that have a value */
    uint64_t given;  /* bit k: the k-th option of the verb was given */
    organ_help help; /* the help that --help or -h requests */
} parser;

/* Returns a bit of parser.given; 0 for a former option, which is never required. */
static uint64_t bit_of(const organ_verb *verb, const organ_option *requested)
{
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (option == requested)
            return UINT64_C(1) << k;
    return 0;
}

static organ_status fail_value_missing(const parser *p, const organ_option *option, organ_error *error)
{
    char allowed[2 * ORGAN_RANGE_ROOM];
    organ_option_allows(option, allowed, sizeof allowed);
    if (option->takes > 1)
        return organ_fail(error, ORGAN_USAGE, "%s: --%s needs %u values: %s", p->verb->name, option->name,
                          option->takes, option->argument);
    return organ_fail(error, ORGAN_USAGE, "%s: --%s needs a value: %s", p->verb->name, option->name, allowed);
}

/* `brief`: the option was written as a letter. */
static organ_status parse_option(parser *p, const organ_option *option, const char *inline_value, bool brief,
                                 organ_error *error)
{
    const char *text = inline_value;
    p->given |= bit_of(p->verb, option);
    if (strcmp(option->name, "help") == 0 && p->help != ORGAN_HELP_COMPLETE)
        p->help = brief ? ORGAN_HELP_BRIEF : ORGAN_HELP_COMPLETE;
    for (unsigned k = 0; k < (option->takes ? option->takes : 1) && !error->status; k++, text = NULL) {
        if (option->value != ORGAN_VALUE_FLAG && !text && p->at >= p->argc)
            return fail_value_missing(p, option, error);
        if (option->value != ORGAN_VALUE_FLAG && !text)
            text = p->argv[p->at++];
        store_value(p->verb, option, text, p->values, error);
    }
    return error->status;
}

static organ_status parse_long_option(parser *p, const char *name, organ_error *error)
{
    const size_t length = strcspn(name, "=");
    const organ_option *const option = find_long(p->verb, name, length);
    const organ_option *const opposite = option ? NULL : find_opposite(p->verb, name, length);
    if (!option && !opposite)
        return fail_unknown_option(p->verb, name, length, error);
    if (name[length] == '=' && (opposite || option->value == ORGAN_VALUE_FLAG))
        return organ_fail(error, ORGAN_USAGE, "%s: --%.*s takes no value, but got '%s'", p->verb->name, (int)length,
                          name, name + length + 1);
    if (opposite) {
        *(bool *)((char *)p->values + opposite->offset) = false;
        return ORGAN_OK;
    }
    return parse_option(p, option, name[length] == '=' ? name + length + 1 : NULL, /*brief=*/false, error);
}

/* Suggests what the letters together, as in "-ngl", or this letter mean in other programs, else the option whose name
 * begins with the letter, if there is only one. */
static organ_status fail_unknown_letter(const organ_verb *verb, const char *letters, char letter, organ_error *error)
{
    const organ_option *option, *found = NULL;
    char hint[ORGAN_HINT_ROOM];
    size_t count = 0;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (option->name[0] == letter) {
            found = option;
            count++;
        }
    if (!*foreign_hint(verb, letters, strlen(letters), hint) && !*foreign_hint(verb, &letter, 1, hint) && count == 1)
        snprintf(hint, sizeof hint, "; did you mean '--%s'?", found->name);
    return organ_fail(error, ORGAN_USAGE, "%s: unknown option '-%c'%s", verb->name, letter, hint);
}

/* Options without a value may be joined ("-nf"). For an option with a value, the text after its letter is the value;
 * if there is none, the next word is. `letters` has no dash. */
static organ_status parse_short_options(parser *p, const char *letters, organ_error *error)
{
    for (const char *const all = letters; *letters; letters++) {
        const organ_option *const option = find_short(p->verb, *letters);
        if (!option)
            return fail_unknown_letter(p->verb, all, *letters, error);
        if (option->value != ORGAN_VALUE_FLAG)
            return parse_option(p, option, letters[1] ? letters + 1 : NULL, /*brief=*/true, error);
        if (parse_option(p, option, /*inline_value=*/NULL, /*brief=*/true, error) != ORGAN_OK)
            return error->status;
    }
    return ORGAN_OK;
}

bool organ_operand_repeats(const organ_operand *operand) { return organ_ends_with(operand->name, "..."); }

/* Returns whether the option was given or follows among the words that are not parsed yet. */
static bool is_given(const parser *p, const organ_option *option)
{
    const size_t length = strlen(option->name);
    bool given = p->given & bit_of(p->verb, option);
    for (int k = p->at; k < p->argc && !given; k++)
        given = p->argv[k][0] == '-' && (p->argv[k][1] == '-' ? strncmp(p->argv[k] + 2, option->name, length) == 0
                                                              : option->letter && p->argv[k][1] == option->letter);
    return given;
}

/* After a letter that is a flag here and has a value in other programs, as in "-f FILE", the message names both. Else
 * it suggests the first required option without choices that is not given: the word may be its value. */
static organ_status fail_unexpected(const parser *p, const char *text, organ_error *error)
{
    const organ_option *option;
    const char *const before = p->at >= 2 ? p->argv[p->at - 2] : "";
    char hint[ORGAN_HINT_ROOM];
    if (before[0] == '-' && before[1] != '-' && strlen(before) == 2 && (option = find_short(p->verb, before[1])) &&
        option->value == ORGAN_VALUE_FLAG && *foreign_hint(p->verb, before + 1, 1, hint))
        return organ_fail(error, ORGAN_USAGE, "%s: %s is --%s, without a value%s", p->verb->name, before, option->name,
                          hint);
    for (size_t k = 0; (option = organ_verb_option_at(p->verb, k)); k++)
        if (option->required && option->value == ORGAN_VALUE_TEXT && !option->choices && !is_given(p, option)) {
            const char letter[] = {option->letter, '\0'};
            return organ_fail(error, ORGAN_USAGE, "%s: unexpected argument '%s'; did you mean %s%s '%s'?",
                              p->verb->name, text, option->letter ? "-" : "--", option->letter ? letter : option->name,
                              text);
        }
    return organ_fail(error, ORGAN_USAGE, "%s: unexpected argument '%s'", p->verb->name, text);
}

/* The last operand may accept several words. Returns ORGAN_USAGE if there is no operand for the word, or if the word
 * is empty or not allowed. */
static organ_status parse_operand(parser *p, const char *text, organ_error *error)
{
    const size_t count = p->verb->operand_count;
    const bool repeated = count > 0 && p->operands == count && organ_operand_repeats(&p->verb->operands[count - 1]);
    if (p->operands == count && !repeated)
        return fail_unexpected(p, text, error);
    const organ_operand *const operand = &p->verb->operands[repeated ? count - 1 : p->operands++];
    const organ_option allowed = {.name = operand->name, .choices = strchr(operand->name, '|') ? operand->name : NULL};
    void *const member = (char *)p->values + operand->offset;
    organ_words *const words = organ_operand_repeats(operand) ? member : NULL;
    if (*text == '\0')
        return organ_fail(error, ORGAN_USAGE, "%s: %s is empty", p->verb->name, operand->name);
    if (allowed.choices && !organ_option_has_choice(&allowed, text, strlen(text)))
        return organ_fail(error, ORGAN_USAGE, "%s: '%s' is not one of %s", p->verb->name, text, operand->name);
    if (words && words->count == ORGAN_MAX_WORDS)
        return organ_fail(error, ORGAN_USAGE, "%s: more than %d of %s", p->verb->name, ORGAN_MAX_WORDS, operand->name);
    if (words)
        words->word[words->count++] = text;
    else
        *(const char **)member = text;
    return ORGAN_OK;
}

/* After "--" every word is an operand, and so is "-" anywhere. */
static organ_status parse_arguments(parser *p, organ_error *error)
{
    bool options = true;
    organ_status status = ORGAN_OK;
    while (p->at < p->argc && status == ORGAN_OK) {
        const char *const word = p->argv[p->at++];
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && word[0] == '-' && word[1] == '-')
            status = parse_long_option(p, word + 2, error);
        else if (options && word[0] == '-' && word[1])
            status = parse_short_options(p, word + 1, error);
        else
            status = parse_operand(p, word, error);
    }
    return status;
}

static organ_status check_nothing_missing(const parser *p, organ_error *error)
{
    if (p->operands < p->verb->operand_count && !p->verb->operands[p->operands].optional) {
        const organ_operand *const operand = &p->verb->operands[p->operands];
        return organ_fail(error, ORGAN_USAGE, "%s: %s is missing: %s", p->verb->name, operand->name, operand->help);
    }
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(p->verb, k)); k++) {
        const char letter[] = {'-', option->letter, '\0'};
        if (option->required && !(p->given >> k & 1))
            return organ_fail(error, ORGAN_USAGE, "%s: %s%s %s is missing: %s", p->verb->name,
                              option->letter ? letter : "--", option->letter ? "" : option->name, option->argument,
                              option->help);
    }
    return ORGAN_OK;
}

/* A real number without default is set to option->unset. Nothing may be missing, unless --help is among the words. */
organ_status organ_options_parse(const organ_verb *verb, int argc, char *const *argv, void *values, organ_help *help,
                                 organ_error *error)
{
    parser p = {.verb = verb, .values = values, .argv = argv, .argc = argc};
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (!option->fallback && option->value == ORGAN_VALUE_REAL)
            store_number(option, option->unset, (char *)values + option->offset);
        else if (option->fallback && store_value(verb, option, option->fallback, values, error) != ORGAN_OK)
            return error->status;
    const organ_status status = parse_arguments(&p, error);
    *help = p.help;
    return status != ORGAN_OK || p.help ? status : check_nothing_missing(&p, error);
}
