/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "orchestrator/version.h"

#include <string.h>

/* In columns: indentation of lists, widest and narrowest running text, width if the page has no width, and the columns
 * in which the explanations of verbs, topics and exit codes begin. */
enum { INDENT = 2, WIDEST = 100, NARROWEST = 40, PIPED = 80, VERB_COLUMN = 17, TOPIC_COLUMN = 15, EXIT_COLUMN = 7 };

/* Limits the width of `page` to one that is easy to read. */
static organ_page page_for_reading(const organ_page *page)
{
    const size_t width = page->width == 0 ? PIPED : page->width;
    const size_t narrow = width < NARROWEST ? NARROWEST : width;
    return (organ_page){.width = narrow > WIDEST ? WIDEST : narrow, .utf8 = page->utf8};
}

/* Prints each line of `text` as a paragraph of its own, with a blank line between two. */
static void put_paragraphs(FILE *out, const char *text, size_t indent, const organ_page *page)
{
    while (*text) {
        char paragraph[1024], lead[16];
        const size_t length = strcspn(text, "\n");
        snprintf(paragraph, sizeof paragraph, "%.*s", (int)length, text);
        snprintf(lead, sizeof lead, "%*s", (int)indent, "");
        organ_text_wrap(out, lead, indent, paragraph, page);
        text += length + (text[length] == '\n');
        fputs(*text ? "\n" : "", out);
    }
}

/* Prints the term, and next to it, from `column` on, its meaning; a long term has a line of its own. */
static void put_help_entry(FILE *out, const char *term, size_t column, const char *meaning, const organ_page *page)
{
    char lead[128];
    const size_t width = INDENT + strlen(term);
    if (width + 2 <= column)
        snprintf(lead, sizeof lead, "%*s%-*s", INDENT, "", (int)(column - INDENT), term);
    else {
        fprintf(out, "%*s%s\n", INDENT, "", term);
        snprintf(lead, sizeof lead, "%*s", (int)column, "");
    }
    organ_text_wrap(out, lead, column, meaning, page);
}

/* Writes the option as a user types it, "-o, --output DIR"; blanks take the place of a missing letter. */
static void option_term(const organ_option *option, char *out, size_t size)
{
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(out, size, "%s--%s%s%s", letter, option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
}

/* The first n bytes of the help, then in parentheses the values that the option takes, if any, its default, and what
 * it needs. */
static void write_meaning(const organ_option *option, size_t n, const char *values, const char *needs,
                          char meaning[ORGAN_MEANING_ROOM])
{
    const char *const fallback = option->fallback;
    const size_t used = (size_t)snprintf(meaning, ORGAN_MEANING_ROOM, "%.*s", (int)n, option->help);
    if (*values || fallback || *needs)
        snprintf(meaning + used, ORGAN_MEANING_ROOM - used, " (%s%s%s%s%s%s)", values, *values && fallback ? "; " : "",
                 fallback ? "default " : "", fallback ? fallback : "", (*values || fallback) && *needs ? "; " : "",
                 needs);
}

void organ_help_meaning(const organ_verb *verb, const organ_option *option, char meaning[ORGAN_MEANING_ROOM])
{
    char needs[ORGAN_REQUIREMENT_ROOM] = "";
    char range[ORGAN_RANGE_ROOM];
    organ_option_range(option, range, sizeof range);
    if (option->choices && strcmp(option->choices, option->argument) == 0)
        *range = '\0'; /* the term in front of the meaning lists the choices already */
    if (verb)
        organ_option_describe_needs(verb, option, needs, sizeof needs);
    write_meaning(option, strlen(option->help), range, needs, meaning);
}

static size_t option_column(const organ_page *page)
{
    enum { COLUMN = 26, NARROW_COLUMN = 8, NARROW = 60 };
    return page->width < NARROW ? NARROW_COLUMN : COLUMN;
}

static void put_exits(FILE *out, const organ_verb *verb, const organ_page *page)
{
    for (size_t k = 0; k < ORGAN_EXITS; k++) {
        char code[16], meaning[ORGAN_EXIT_ROOM];
        snprintf(code, sizeof code, "%d", organ_exits[k].code);
        if (organ_exit_of_verb(verb, k, meaning))
            put_help_entry(out, code, EXIT_COLUMN, meaning, page);
    }
}

/* `verb` as in organ_help_meaning. */
static void put_option_help(FILE *out, const organ_verb *verb, const organ_option *option, const organ_page *page)
{
    char term[96], meaning[ORGAN_MEANING_ROOM];
    option_term(option, term, sizeof term);
    organ_help_meaning(verb, option, meaning);
    put_help_entry(out, term, option_column(page), meaning, page);
}

/* Prints the forms of the verb (verb->usage, one in a line), or one that is made from its operands and options. */
static void put_usage(FILE *out, const organ_verb *verb, const organ_page *page)
{
    char line[512];
    for (const char *form = verb->usage; form && *form; form += strcspn(form, "\n"), form += *form == '\n') {
        snprintf(line, sizeof line, "organ %s %.*s", verb->name, (int)strcspn(form, "\n"), form);
        organ_text_wrap(out, form == verb->usage ? "Usage: " : "       ", strlen("Usage: "), line, page);
    }
    if (verb->usage) {
        fputc('\n', out);
        return;
    }
    size_t used = (size_t)snprintf(line, sizeof line, "organ %s", verb->name);
    for (size_t k = 0; k < verb->operand_count && used < sizeof line; k++)
        used += (size_t)snprintf(line + used, sizeof line - used, verb->operands[k].optional ? " [%s]" : " %s",
                                 verb->operands[k].name);
    const organ_option *option;
    for (size_t k = 0; used < sizeof line && (option = organ_verb_option_at(verb, k)); k++)
        if (option->required && option->letter)
            used += (size_t)snprintf(line + used, sizeof line - used, " -%c %s", option->letter, option->argument);
        else if (option->required)
            used += (size_t)snprintf(line + used, sizeof line - used, " --%s %s", option->name, option->argument);
    if (verb->group_count && used < sizeof line)
        snprintf(line + used, sizeof line - used, " [options]");
    organ_text_wrap(out, "Usage: ", strlen("Usage: "), line, page);
    fputc('\n', out);
}

/* ---- topics ---- */

/* Returns whether an earlier row of the table, option `at` of the verb with this number being the present one, is the
 * same option: it has the same name and topic. */
static bool seen_before(const organ_verb_table *table, size_t verb, size_t at)
{
    const organ_option *const option = organ_verb_option_at(table->verbs[verb], at), *other;
    for (size_t v = 0; v <= verb; v++)
        for (size_t k = 0; (v < verb || k < at) && (other = organ_verb_option_at(table->verbs[v], k)); k++)
            if (other->topic == option->topic && strcmp(other->name, option->name) == 0)
                return true;
    return false;
}

const organ_option *organ_topic_option(const organ_verb_table *table, const organ_topic *topic, size_t number)
{
    const organ_option *option;
    for (size_t v = 0; v < table->count; v++)
        for (size_t k = 0; (option = organ_verb_option_at(table->verbs[v], k)); k++)
            if (option->topic == topic && !seen_before(table, v, k) && number-- == 0)
                return option;
    return NULL;
}

bool organ_topic_names(const organ_verb *verb, const organ_topic *topic, char *out, size_t size)
{
    const organ_option *option;
    size_t used = 0;
    *out = '\0';
    for (size_t k = 0; used < size && (option = organ_verb_option_at(verb, k)); k++)
        if (option->topic == topic)
            used += (size_t)snprintf(out + used, size - used, "%s--%s", used ? ", " : "", option->name);
    return used > 0;
}

void organ_help_topic(FILE *out, const organ_verb_table *table, const organ_topic *topic, const organ_page *page)
{
    const organ_page narrow = page_for_reading(page);
    const organ_option *option;
    organ_text_wrap(out, "", 0, topic->title, &narrow);
    if (topic->about) {
        fputc('\n', out);
        put_paragraphs(out, topic->about, 0, &narrow);
    }
    fputc('\n', out);
    for (size_t k = 0; (option = organ_topic_option(table, topic, k)); k++)
        put_option_help(out, NULL, option, &narrow);
}

void organ_help_topics(FILE *out, const organ_verb_table *table, const organ_page *page)
{
    const organ_page narrow = page_for_reading(page);
    organ_text_wrap(out, "", 0, "Options that several verbs have. The help of a verb lists those that it has.",
                    &narrow);
    for (size_t k = 0; k < table->topic_count; k++) {
        fprintf(out, "\n%s: ", table->topics[k]->name);
        organ_help_topic(out, table, table->topics[k], page);
    }
}

static void put_topics_of(FILE *out, const organ_verb_table *table, const organ_verb *verb, const organ_page *page)
{
    bool any = false;
    for (size_t k = 0; k < table->topic_count; k++) {
        char names[ORGAN_TOPIC_ROOM];
        if (!organ_topic_names(verb, table->topics[k], names, sizeof names))
            continue;
        if (!any) {
            fputc('\n', out);
            organ_text_wrap(out, "", 0,
                            "Shared options, described by 'organ help TOPIC' ('organ help common' has all):", page);
        }
        any = true;
        put_help_entry(out, table->topics[k]->name, TOPIC_COLUMN, names, page);
    }
}

/* Prints each wording once, because verbs may describe an option of the same name differently. */
bool organ_help_option(FILE *out, const organ_verb_table *table, const char *name, const organ_page *page)
{
    const organ_page narrow = page_for_reading(page);
    bool found = false;
    for (size_t v = 0; v < table->count; v++) {
        const organ_option *const option = organ_verb_option(table->verbs[v], name), *before = NULL;
        for (size_t k = 0; option && k < v && !before; k++)
            if ((before = organ_verb_option(table->verbs[k], name)) && strcmp(before->help, option->help) != 0)
                before = NULL;
        if (!option || before || strcmp(option->name, name) != 0)
            continue;
        fputs(found ? "\n" : "", out);
        organ_text_say(out, &narrow, "", "Option of 'organ %s'%s%s%s:", table->verbs[v]->name,
                       option->topic ? " and other verbs ('organ help " : "", option->topic ? option->topic->name : "",
                       option->topic ? "')" : "");
        put_option_help(out, table->verbs[v], option, &narrow);
        found = true;
    }
    return found;
}

void organ_help_exits(FILE *out, const organ_page *page)
{
    const organ_page narrow = page_for_reading(page);
    organ_text_wrap(out, "", 0, "Exit codes; the help of a verb says more:", &narrow);
    for (size_t k = 0; k < ORGAN_EXITS; k++) {
        char code[16];
        snprintf(code, sizeof code, "%d", organ_exits[k].code);
        put_help_entry(out, code, EXIT_COLUMN, organ_exits[k].meaning, &narrow);
    }
}

/* ---- verbs ---- */

static void put_group(FILE *out, const organ_verb *verb, const organ_option_group *group, const organ_page *page)
{
    bool any = false;
    for (size_t k = 0; k < group->count; k++) {
        if (group->options[k].topic)
            continue;
        if (!any)
            fprintf(out, "\n%s:\n", group->title);
        any = true;
        put_option_help(out, verb, &group->options[k], page);
    }
}

static void put_examples(FILE *out, const organ_verb *verb, size_t count, const organ_page *page)
{
    for (size_t k = 0; k < verb->example_count && k < count; k++) {
        fprintf(out, "%s  %s\n", k ? "\n" : "", verb->examples[k].command);
        organ_text_wrap(out, "      ", 6, verb->examples[k].does, page);
    }
}

void organ_help_of_verb(FILE *out, const organ_verb_table *table, const organ_verb *verb, const organ_page *page)
{
    enum { OPERAND_COLUMN = 12 };
    const organ_page narrow = page_for_reading(page);
    put_usage(out, verb, &narrow);
    put_paragraphs(out, verb->about, 0, &narrow);
    fputs(verb->operand_count ? "\n" : "", out);
    for (size_t k = 0; k < verb->operand_count; k++)
        put_help_entry(out, verb->operands[k].name, OPERAND_COLUMN, verb->operands[k].help, &narrow);
    for (size_t g = 0; g < verb->group_count; g++)
        put_group(out, verb, &verb->groups[g], &narrow);
    put_topics_of(out, table, verb, &narrow);
    fputs("\nExit code:\n", out);
    put_exits(out, verb, &narrow);
    fputs(verb->example_count ? "\nExamples:\n" : "", out);
    put_examples(out, verb, verb->example_count, &narrow);
}

/* Copies the first sentence of a text, which ends at ". " or at the end of its paragraph. */
static void first_sentence(const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (text[n] && text[n] != '\n' && !(text[n] == '.' && text[n + 1] == ' '))
        n++;
    snprintf(out, size, "%.*s", (int)(n + (text[n] == '.' && text[n + 1] == ' ')), text);
}

/* Copies the choices of an option, the first of them if they are many. */
static void some_choices(const organ_option *option, char out[ORGAN_RANGE_ROOM])
{
    enum { MANY = 90, SOME = 50 }; /* bytes */
    organ_option_range(option, out, ORGAN_RANGE_ROOM);
    if (!option->choices || strcmp(option->choices, option->argument) == 0)
        *out = '\0'; /* a range, or the term in front of the meaning lists the choices already */
    else if (strlen(out) > MANY) {
        char *const last = strchr(out + SOME, ','); /* a choice has less than MANY - SOME bytes */
        snprintf(last, ORGAN_RANGE_ROOM - (size_t)(last - out), ", ...");
    }
}

/* Returns whether the help begins with a choice and its explanation, "hf: ...". */
static bool starts_with_choice(const organ_option *option)
{
    const size_t word = strcspn(option->help, ": ");
    return option->choices && option->help[word] == ':' && organ_option_has_choice(option, option->help, word);
}

/* The help of the option up to its first '.' or, unless it explains its choices, ';'. */
static void put_brief_option(FILE *out, const organ_option *option, size_t column, const organ_page *page)
{
    char term[96], choices[ORGAN_RANGE_ROOM], meaning[ORGAN_MEANING_ROOM];
    size_t n = strcspn(option->help, starts_with_choice(option) ? "" : ";");
    for (size_t k = 0; k < n; k++)
        if (option->help[k] == '.' && option->help[k + 1] == ' ')
            n = k;
    option_term(option, term, sizeof term);
    some_choices(option, choices);
    write_meaning(option, n, choices, "", meaning);
    put_help_entry(out, term, column, meaning, page);
}

void organ_help_brief(FILE *out, const organ_verb *verb, const organ_page *page)
{
    enum { COMMANDS = 2 };
    const organ_page narrow = page_for_reading(page);
    const organ_option *option;
    char sentence[512];
    size_t count = 0;
    put_usage(out, verb, &narrow);
    first_sentence(verb->about, sentence, sizeof sentence);
    organ_text_wrap(out, "", 0, sentence, &narrow);
    fputs(verb->example_count ? "\n" : "", out);
    put_examples(out, verb, COMMANDS, &narrow);
    for (bool any = false; (option = organ_verb_option_at(verb, count)); count++)
        if (option->common || option->required) {
            fputs(any ? "" : "\nOptions:\n", out);
            put_brief_option(out, option, option_column(&narrow), &narrow);
            any = true;
        }
    fputc('\n', out);
    organ_text_say(out, &narrow, "",
                   count > 1 ? "'organ %s --help' describes all %zu options." : "'organ %s --help' has more.",
                   verb->name, count);
}

/* ---- the program ---- */

static void put_program_title(FILE *out, const organ_page *page)
{
    organ_text_wrap(out, "", 0,
                    "organ " ORGAN_VERSION
                    ": quantises, converts, prunes, cuts, merges, compares and evaluates language "
                    "models as files, makes importance matrices and adapters, and checks what it wrote, on a CPU, "
                    "within a limit of memory.",
                    page);
    fputs("\nUsage: organ VERB ARGUMENTS [options]\n", out);
}

/* Lists the verbs with the titles of their sections; `common` alone if that is set. */
static void put_verbs(FILE *out, const organ_verb_table *table, bool common, const organ_page *page)
{
    const char *title = NULL;
    for (size_t k = 0; k < table->count; k++) {
        const char *const next = organ_verb_section_at(table, table->verbs[k]);
        title = next ? next : title;
        if (common && !table->verbs[k]->common)
            continue;
        if (title)
            fprintf(out, "\n%s:\n", title);
        title = NULL;
        put_help_entry(out, table->verbs[k]->name, VERB_COLUMN, table->verbs[k]->summary, page);
    }
}

void organ_help_start(FILE *out, const organ_verb_table *table, const organ_page *page)
{
    const organ_page narrow = page_for_reading(page);
    put_program_title(out, &narrow);
    put_verbs(out, table, /*common=*/true, &narrow);
    fputc('\n', out);
    organ_text_wrap(out, "", 0,
                    "'organ VERB -h' shows a verb with its most used options, 'organ VERB --help' explains it, 'organ "
                    "help' lists all verbs and topics.",
                    &narrow);
}

void organ_help_overview(FILE *out, const organ_verb_table *table, const organ_page *page)
{
    const organ_page narrow = page_for_reading(page);
    put_program_title(out, &narrow);
    put_verbs(out, table, /*common=*/false, &narrow);
    fputs("\nTopics, options that several verbs have ('organ help TOPIC'):\n", out);
    for (size_t k = 0; k < table->topic_count; k++)
        put_help_entry(out, table->topics[k]->name, VERB_COLUMN, table->topics[k]->title, &narrow);
    put_help_entry(out, ORGAN_ALL_TOPICS, VERB_COLUMN, "all of these", &narrow);
    fputc('\n', out);
    organ_text_wrap(
        out, "", 0,
        "'organ help VERB' explains a verb with examples, 'organ help OPTION' an option, 'organ help " ORGAN_EXIT_TOPIC
        "' the exit codes.",
        &narrow);
}

bool organ_help_family(FILE *out, const organ_verb_table *table, const char *word, const organ_page *page)
{
    const organ_page narrow = page_for_reading(page);
    bool found = false;
    for (size_t k = 0; k < table->count; k++) {
        if (!organ_verb_is_of_family(table->verbs[k], word))
            continue;
        if (!found)
            fprintf(out, "Usage: organ %s VERB ARGUMENTS [options]\n\n", word);
        put_help_entry(out, table->verbs[k]->name, VERB_COLUMN, table->verbs[k]->summary, &narrow);
        found = true;
    }
    if (found)
        fprintf(out, "\n'organ help %s VERB' explains one with examples.\n", word);
    return found;
}
