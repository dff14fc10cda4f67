/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "orchestrator/version.h"

#include <string.h>

/* In columns: indentation of lists, widest and narrowest running text, and width if the page has no width. */
enum { INDENT = 2, WIDEST = 100, NARROWEST = 40, PIPED = 80 };

static organ_page page_for_reading(const organ_page *page)
{
    const size_t width = page->width == 0 ? PIPED : page->width;
    const size_t narrow = width < NARROWEST ? NARROWEST : width;
    return (organ_page){.width = narrow > WIDEST ? WIDEST : narrow, .utf8 = page->utf8};
}

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

static void option_term(const organ_option *option, char *out, size_t size)
{
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(out, size, "%s--%s%s%s", letter, option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
}

void organ_help_meaning(const organ_option *option, char meaning[ORGAN_MEANING_ROOM])
{
    char range[ORGAN_RANGE_ROOM];
    organ_option_range(option, range, sizeof range);
    if (option->choices && strcmp(option->choices, option->argument) == 0)
        *range = '\0'; /* the term in front of the meaning lists the choices already */
    const size_t used = (size_t)snprintf(meaning, ORGAN_MEANING_ROOM, "%s", option->help);
    if (*range || option->fallback)
        snprintf(meaning + used, ORGAN_MEANING_ROOM - used, " (%s%s%s%s)", range,
                 *range && option->fallback ? "; " : "", option->fallback ? "default " : "",
                 option->fallback ? option->fallback : "");
}

static void put_exits(FILE *out, const organ_verb *verb, const organ_page *page)
{
    enum { COLUMN = 7 };
    for (size_t k = 0; k < ORGAN_EXITS; k++) {
        char code[16], meaning[ORGAN_EXIT_ROOM];
        snprintf(code, sizeof code, "%d", organ_exits[k].code);
        if (organ_exit_of_verb(verb, k, meaning))
            put_help_entry(out, code, COLUMN, meaning, page);
    }
}

static void put_option_help(FILE *out, const organ_option *option, size_t column, const organ_page *page)
{
    char term[96], meaning[ORGAN_MEANING_ROOM];
    option_term(option, term, sizeof term);
    organ_help_meaning(option, meaning);
    put_help_entry(out, term, column, meaning, page);
}

static void put_usage(FILE *out, const organ_verb *verb, const organ_page *page)
{
    char line[512];
    for (const char *form = verb->usage; form && *form; form += strcspn(form, "\n"), form += *form == '\n') {
        snprintf(line, sizeof line, "organ %s %.*s", verb->name, (int)strcspn(form, "\n"), form);
        organ_text_wrap(out, form == verb->usage ? "Usage: " : "       ", 7, line, page);
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
    organ_text_wrap(out, "Usage: ", 7, line, page);
    fputc('\n', out);
}

void organ_help_of_verb(FILE *out, const organ_verb *verb, const organ_page *page)
{
    enum { COLUMN = 26, NARROW_COLUMN = 8, OPERAND_COLUMN = 12 };
    const organ_page narrow = page_for_reading(page);
    const size_t column = narrow.width < 60 ? NARROW_COLUMN : COLUMN;
    put_usage(out, verb, &narrow);
    put_paragraphs(out, verb->about, 0, &narrow);
    fputs(verb->operand_count ? "\n" : "", out);
    for (size_t k = 0; k < verb->operand_count; k++)
        put_help_entry(out, verb->operands[k].name, OPERAND_COLUMN, verb->operands[k].help, &narrow);
    for (size_t g = 0; g < verb->group_count; g++) {
        fprintf(out, "\n%s:\n", verb->groups[g].title);
        for (size_t k = 0; k < verb->groups[g].count; k++)
            put_option_help(out, &verb->groups[g].options[k], column, &narrow);
    }
    fputs("\nExit code:\n", out);
    put_exits(out, verb, &narrow);
    fputs(verb->example_count ? "\nExamples:\n" : "", out);
    for (size_t k = 0; k < verb->example_count; k++) {
        fprintf(out, "%s  %s\n", k ? "\n" : "", verb->examples[k].command);
        organ_text_wrap(out, "      ", 6, verb->examples[k].does, &narrow);
    }
}

static void put_program_title(FILE *out, const organ_page *page)
{
    fprintf(out, "organ %s\n\n", ORGAN_VERSION);
    organ_text_wrap(out, "", 0,
                    "Inspects, prunes, quantises, cuts and evaluates language models as files, within a limit of "
                    "memory.",
                    page);
    fputs("\nUsage: organ VERB ARGUMENTS [options]\n", out);
}

void organ_help_start(FILE *out, const organ_verb_table *table, const organ_page *page)
{
    enum { COLUMN = 12 };
    static const char *const first_needed[] = {"inspect", "prune", "audit", "measure", "evaluate", "serve"};
    const organ_page narrow = page_for_reading(page);
    put_program_title(out, &narrow);
    for (size_t n = 0; n < sizeof first_needed / sizeof *first_needed; n++)
        for (size_t k = 0; k < table->count; k++) {
            const organ_verb *const verb = table->verbs[k];
            if (strcmp(verb->name, first_needed[n]) != 0)
                continue;
            fputc('\n', out);
            put_help_entry(out, verb->name, COLUMN, verb->summary, &narrow);
            fprintf(out, "%*s%s\n", COLUMN, "", verb->examples[0].command);
        }
    fputc('\n', out);
    organ_text_wrap(out, "", 0, "'organ help' lists all verbs, 'organ help VERB' explains one with examples.", &narrow);
}

void organ_help_overview(FILE *out, const organ_verb_table *table, const organ_page *page)
{
    enum { COLUMN = 17 };
    const organ_page narrow = page_for_reading(page);
    put_program_title(out, &narrow);
    for (size_t k = 0; k < table->count; k++) {
        const char *const title = organ_verb_section_at(table, table->verbs[k]);
        if (title)
            fprintf(out, "\n%s:\n", title);
        put_help_entry(out, table->verbs[k]->name, COLUMN, table->verbs[k]->summary, &narrow);
    }
    fputc('\n', out);
    organ_text_wrap(out, "", 0, "'organ help VERB' explains a verb with examples.", &narrow);
}

bool organ_help_family(FILE *out, const organ_verb_table *table, const char *word, const organ_page *page)
{
    enum { COLUMN = 17 };
    const organ_page narrow = page_for_reading(page);
    const size_t length = strlen(word);
    bool found = false;
    for (size_t k = 0; k < table->count; k++) {
        if (strncmp(table->verbs[k]->name, word, length) != 0 || table->verbs[k]->name[length] != ' ')
            continue;
        if (!found)
            fprintf(out, "Usage: organ %s VERB ARGUMENTS [options]\n\n", word);
        put_help_entry(out, table->verbs[k]->name, COLUMN, table->verbs[k]->summary, &narrow);
        found = true;
    }
    if (found)
        fprintf(out, "\n'organ help %s VERB' explains one with examples.\n", word);
    return found;
}
