/* SPDX-License-Identifier: MIT
 * Writes manual pages in roff. Lines of the source are short, because tools for manual pages warn about long ones. */
#include "orchestrator/cli/cli_parts.h"

#include "formats/base/embedded.h"
#include "orchestrator/version.h"

#include <string.h>

enum { LINE_WIDTH = 78 };

/* ---- roff ---- */

/* *s must be valid UTF-8; it moves to the next character. The first byte says how many follow (`more`) and has the
 * character's high bits, each further byte 6 bits. */
static uint32_t next_character(const char **s)
{
    const unsigned char *const at = (const unsigned char *)*s;
    const size_t more = (size_t)(*at >= 0x80) + (*at >= 0xe0) + (*at >= 0xf0);
    uint32_t character = more ? *at & (0x3fu >> more) : *at;
    for (size_t k = 1; k <= more; k++)
        character = character << 6 | (at[k] & 0x3fu);
    *s += more + 1;
    return character;
}

/* Unescaped, roff would read a backslash as a command and replace dashes and quotes. Returns the number of bytes. */
static size_t escape_for_roff(uint32_t c, char out[16])
{
    static const struct {
        char c;
        const char *name;
    } names[] = {{'\\', "\\e"},  {'-', "\\-"},   {'\'', "\\(aq"}, {'"', "\\(dq"},
                 {'`', "\\(ga"}, {'^', "\\(ha"}, {'~', "\\(ti"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (c == (uint32_t)names[k].c)
            return (size_t)snprintf(out, 16, "%s", names[k].name);
    return (size_t)snprintf(out, 16, c < 0x80 ? "%c" : "\\[u%04X]", c);
}

/* Prints the first `length` bytes of `text`; `out` NULL only counts. Returns the number of bytes with escapes. */
static size_t put_escaped(FILE *out, const char *text, size_t length)
{
    size_t sum = 0;
    char escaped[16];
    for (const char *end = text + length; text < end;) {
        sum += escape_for_roff(next_character(&text), escaped);
        if (out)
            fputs(escaped, out);
    }
    return sum;
}

static void put_roff_word(FILE *out, const char *word) { put_escaped(out, word, strlen(word)); }

/* The first line already has `column` bytes. Escapes a dot at the start of a line, which would begin a command, with
 * \&, and prevents the hyphenation of options with \%. */
static void put_roff_words(FILE *out, const char *text, size_t length, size_t column)
{
    for (const char *end = text + length; text < end;) {
        const size_t space = strcspn(text, " "), word = space < (size_t)(end - text) ? space : (size_t)(end - text);
        /* 2 bytes more for \& or \% */
        const size_t width = put_escaped(/*out=*/NULL, text, word) + (*text == '-' || *text == '.' ? 2 : 0);
        if (column > 0 && column + 1 + width > LINE_WIDTH) {
            fputc('\n', out);
            column = 0;
        } else if (column > 0)
            column += (size_t)fprintf(out, " ");
        if (column == 0 && *text == '.')
            fputs("\\&", out);
        else if (*text == '-')
            fputs("\\%", out);
        put_escaped(out, text, word);
        column += width;
        text += word + strspn(text + word, " ");
    }
    fputc('\n', out);
}

static void put_roff_text(FILE *out, const char *text)
{
    while (*text) {
        const size_t length = strcspn(text, "\n");
        put_roff_words(out, text, length, 0);
        text += length + (text[length] == '\n');
        fputs(*text ? ".PP\n" : "", out);
    }
}

static void put_header(FILE *out, const char *page)
{
    char title[ORGAN_MANUAL_NAME_ROOM];
    size_t k = 0;
    for (; page[k] && k + 1 < sizeof title; k++)
        title[k] = (char)(page[k] >= 'a' && page[k] <= 'z' ? page[k] - 'a' + 'A' : page[k]);
    title[k] = '\0';
    fprintf(out,
            ".\\\" Made by organ from its table of verbs and options.\n.TH %s 1 %s \"organ %s\" \"organ manual\"\n.SH "
            "NAME\n",
            title, ORGAN_RELEASED, ORGAN_VERSION);
}

/* ---- a verb ---- */

void organ_manual_name(const organ_verb *verb, char name[ORGAN_MANUAL_NAME_ROOM])
{
    snprintf(name, ORGAN_MANUAL_NAME_ROOM, "organ-%s", verb->name);
    for (char *space = strchr(name, ' '); space; space = strchr(space, ' '))
        *space = '-';
}

static void put_argument(FILE *out, const char *argument)
{
    fputs("\\fI", out);
    put_roff_word(out, argument);
    fputs("\\fR", out);
}

/* Prints a required option with its value, by its letter if it has one. */
static void put_required(FILE *out, const organ_option *option)
{
    fputs("\\fB", out);
    if (option->letter)
        fprintf(out, "\\-%c", option->letter);
    else {
        fputs("\\-\\-", out);
        put_roff_word(out, option->name);
    }
    fputs("\\fR\n", out);
    put_argument(out, option->argument);
    fputc('\n', out);
}

static void put_synopsis(FILE *out, const organ_verb *verb)
{
    fputs(".SH SYNOPSIS\n", out);
    for (const char *form = verb->usage; form && *form; form += strcspn(form, "\n"), form += *form == '\n') {
        fprintf(out, "%s.B organ %s\n", form == verb->usage ? "" : ".br\n", verb->name);
        put_roff_words(out, form, strcspn(form, "\n"), 0);
    }
    if (verb->usage)
        return;
    fprintf(out, ".B organ %s\n", verb->name);
    for (size_t k = 0; k < verb->operand_count; k++) {
        fputs(verb->operands[k].optional ? "[" : "", out);
        put_argument(out, verb->operands[k].name);
        fputs(verb->operands[k].optional ? "]\n" : "\n", out);
    }
    const organ_option *option;
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++)
        if (option->required)
            put_required(out, option);
    fputs("[\\fIoptions\\fR]\n", out);
}

static void put_roff_option(FILE *out, const organ_verb *verb, const organ_option *option)
{
    char meaning[ORGAN_MEANING_ROOM];
    fputs(".TP\n", out);
    if (option->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", out);
    put_roff_word(out, option->name);
    fputs("\\fR", out);
    if (option->argument) {
        fputc(' ', out);
        put_argument(out, option->argument);
    }
    fputc('\n', out);
    organ_help_meaning(verb, option, meaning);
    put_roff_text(out, meaning);
}

static void put_group(FILE *out, const organ_verb *verb, const organ_option_group *group)
{
    bool any = false;
    for (size_t k = 0; k < group->count; k++) {
        if (group->options[k].topic)
            continue;
        if (!any)
            fprintf(out, ".SS %s\n", group->title);
        any = true;
        put_roff_option(out, verb, &group->options[k]);
    }
}

static void put_options(FILE *out, const organ_verb_table *table, const organ_verb *verb)
{
    for (size_t k = 0; k < verb->operand_count; k++) {
        fputs(k == 0 ? ".SH ARGUMENTS\n.TP\n" : ".TP\n", out);
        put_argument(out, verb->operands[k].name);
        fputc('\n', out);
        put_roff_text(out, verb->operands[k].help);
    }
    fputs(".SH OPTIONS\n", out);
    for (size_t g = 0; g < verb->group_count; g++)
        put_group(out, verb, &verb->groups[g]);
    fputs(".SS Shared options\n.BR organ (1)\ndescribes these options:\n", out);
    for (size_t k = 0; k < table->topic_count; k++) {
        char names[ORGAN_TOPIC_ROOM];
        if (!organ_topic_names(verb, table->topics[k], names, sizeof names))
            continue;
        fputs(".TP\n", out);
        put_argument(out, table->topics[k]->name);
        fputc('\n', out);
        put_roff_text(out, names);
    }
}

static void put_exit(FILE *out, int code, const char *meaning)
{
    fprintf(out, ".TP\n.B %d\n", code);
    put_roff_text(out, meaning);
}

static void put_exits(FILE *out, const organ_verb *verb)
{
    char meaning[ORGAN_EXIT_ROOM];
    fputs(".SH EXIT STATUS\n", out);
    for (size_t k = 0; k < ORGAN_EXITS; k++)
        if (organ_exit_of_verb(verb, k, meaning))
            put_exit(out, organ_exits[k].code, meaning);
}

static void put_example(FILE *out, const organ_example *example, bool first)
{
    fputs(first ? "" : ".PP\n", out);
    put_roff_text(out, example->does);
    fputs(".PP\n.in +4n\n.EX\n", out);
    put_roff_word(out, example->command);
    fputs("\n.EE\n.in\n", out);
}

static void put_reference(FILE *out, const organ_verb *verb, const char *end)
{
    char name[ORGAN_MANUAL_NAME_ROOM];
    organ_manual_name(verb, name);
    fputs(".BR \\%", out);
    put_roff_word(out, name);
    fprintf(out, " (1)%s\n", end);
}

/* Refers to organ(1) and to the other verbs of the verb's section, which are table->verbs[from .. to). */
static void put_neighbours(FILE *out, const organ_verb_table *table, const organ_verb *verb)
{
    size_t at = 0, from = 0, to = 0;
    while (table->verbs[at] != verb)
        at++;
    for (from = at; !organ_verb_section_at(table, table->verbs[from]);)
        from--;
    for (to = at + 1; to < table->count && !organ_verb_section_at(table, table->verbs[to]);)
        to++;
    fprintf(out, ".SH SEE ALSO\n.BR organ (1)%s\n", to - from > 1 ? "," : "");
    for (size_t k = from, remaining = to - from - 1; k < to; k++)
        if (k != at)
            put_reference(out, table->verbs[k], --remaining ? "," : "");
}

void organ_manual_of_verb(FILE *out, const organ_verb_table *table, const organ_verb *verb)
{
    char name[ORGAN_MANUAL_NAME_ROOM];
    organ_manual_name(verb, name);
    put_header(out, name);
    const size_t taken = put_escaped(out, name, strlen(name));
    fputs(" \\-", out); /* 3 bytes more in the line of the summary */
    put_roff_words(out, verb->summary, strlen(verb->summary), taken + 3);
    put_synopsis(out, verb);
    fputs(".SH DESCRIPTION\n", out);
    put_roff_text(out, verb->about);
    put_options(out, table, verb);
    put_exits(out, verb);
    fputs(verb->example_count ? ".SH EXAMPLES\n" : "", out);
    for (size_t k = 0; k < verb->example_count; k++)
        put_example(out, &verb->examples[k], k == 0);
    put_neighbours(out, table, verb);
}

/* ---- the program ---- */

ORGAN_EMBEDDED(organ_manual_template, "orchestrator/cli/organ.1")

static void put_verbs(FILE *out, const organ_verb_table *table)
{
    for (size_t k = 0; k < table->count; k++) {
        const char *const title = organ_verb_section_at(table, table->verbs[k]);
        if (title)
            fprintf(out, ".SS %s\n", title);
        fputs(".TP\n", out);
        put_reference(out, table->verbs[k], "");
        put_roff_text(out, table->verbs[k]->summary);
    }
}

static void put_topics(FILE *out, const organ_verb_table *table)
{
    const organ_option *option;
    for (size_t t = 0; t < table->topic_count; t++) {
        const organ_topic *const topic = table->topics[t];
        fprintf(out, ".SS %s\n", topic->title);
        if (topic->about)
            put_roff_text(out, topic->about);
        for (size_t k = 0; (option = organ_topic_option(table, topic, k)); k++)
            put_roff_option(out, NULL, option);
    }
}

/* Prints the template up to its next line "@@", or to its end if there is none. Returns the rest after that line, or
 * "". */
static const char *put_part(FILE *out, const char *text)
{
    const char *const mark = strstr(text, "@@\n");
    const size_t length = mark ? (size_t)(mark - text) : strlen(text);
    fwrite(text, 1, length, out);
    return mark ? mark + 3 : text + length;
}

/* The lines "@@" of the template organ.1 stand for the list of verbs, the options that verbs share, the exit codes, and
 * references to the pages of all verbs, at the end of the page. */
void organ_manual_of_program(FILE *out, const organ_verb_table *table)
{
    put_header(out, "organ");
    const char *rest = put_part(out, organ_manual_template);
    put_verbs(out, table);
    rest = put_part(out, rest);
    put_topics(out, table);
    rest = put_part(out, rest);
    for (size_t k = 0; k < ORGAN_EXITS; k++)
        put_exit(out, organ_exits[k].code, organ_exits[k].meaning);
    put_part(out, rest);
    for (size_t k = 0; k < table->count; k++)
        put_reference(out, table->verbs[k], k + 1 < table->count ? "," : "");
}
