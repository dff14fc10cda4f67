/* SPDX-License-Identifier: MIT
 * The help of each verb. */
#include "orchestrator/cli/cli_parts.h"
#include "orchestrator/command/option_tables.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Replaces each run of blanks and line ends of `text` by one blank. */
static char *folded(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++)
        if (!strchr(" \n", *from))
            *to++ = *from;
        else if (to > text && to[-1] != ' ')
            *to++ = ' ';
    *to = '\0';
    return text;
}

/* Finds the words of `wanted`, a part of the help of `verb`, in `*rest`, which then begins after them. */
static void expect_next(const organ_verb *verb, const char **rest, const char *wanted)
{
    char words[8192];
    ck_assert_int_lt(snprintf(words, sizeof words, "%s", wanted), (int)sizeof words);
    const char *const found = strstr(*rest, folded(words));
    ck_assert_msg(found, "organ help %s does not have '%s' in its place", verb->name, words);
    *rest = found + strlen(words);
}

/* "-o, --output OUT meaning"; `verb` as in organ_help_meaning. */
static void option_line(const organ_verb *verb, const organ_option *option, char line[ORGAN_MEANING_ROOM + 200])
{
    char meaning[ORGAN_MEANING_ROOM];
    const char letter[] = {'-', option->letter, ',', '\0'};
    organ_help_meaning(verb, option, meaning);
    snprintf(line, ORGAN_MEANING_ROOM + 200, "%s --%s %s %s", option->letter ? letter : "", option->name,
             option->argument ? option->argument : "", meaning);
}

/* Options without a topic are explained, under the title of their group; all others are named after their topic. */
static void expect_options(const organ_verb *verb, const char **rest)
{
    char line[ORGAN_MEANING_ROOM + 200], names[ORGAN_TOPIC_ROOM];
    for (size_t g = 0; g < verb->group_count; g++) {
        bool titled = false;
        for (size_t k = 0; k < verb->groups[g].count; k++) {
            if (verb->groups[g].options[k].topic)
                continue;
            snprintf(line, sizeof line, "%s:", verb->groups[g].title);
            if (!titled)
                expect_next(verb, rest, line);
            titled = true;
            option_line(verb, &verb->groups[g].options[k], line);
            expect_next(verb, rest, line);
        }
    }
    bool any = false;
    for (size_t k = 0; k < organ_all_verbs.topic_count; k++)
        any = any || organ_topic_names(verb, organ_all_verbs.topics[k], names, sizeof names);
    if (any)
        expect_next(verb, rest, "Shared options, described by 'organ help TOPIC' ('organ help common' has all):");
    for (size_t k = 0; k < organ_all_verbs.topic_count; k++)
        if (organ_topic_names(verb, organ_all_verbs.topics[k], names, sizeof names)) {
            snprintf(line, sizeof line, "%s %s", organ_all_verbs.topics[k]->name, names);
            expect_next(verb, rest, line);
        }
}

static void expect_exits(const organ_verb *verb, const char **rest)
{
    for (size_t k = 0; k < ORGAN_EXITS; k++) {
        char line[16 + ORGAN_EXIT_ROOM], meaning[ORGAN_EXIT_ROOM];
        snprintf(line, sizeof line, "%d %s", organ_exits[k].code, organ_exits[k].title);
        if (organ_exit_of_verb(verb, k, meaning))
            snprintf(line, sizeof line, "%d %s", organ_exits[k].code, meaning);
        if (*meaning)
            expect_next(verb, rest, line);
    }
}

/* The help of each verb has everything that the table says of it, in the order of the table. */
START_TEST(help_says_what_the_table_says)
{
    for (size_t v = 0; v < organ_all_verbs.count; v++) {
        const organ_verb *const verb = organ_all_verbs.verbs[v];
        const organ_page page = {.width = 80, .utf8 = true};
        organ_text text;
        organ_error error = {0};
        char *help = NULL, line[1024];
        ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
        organ_help_of_verb(text.out, &organ_all_verbs, verb, &page);
        ck_assert_int_eq(organ_text_finish(&text, &help, &error), ORGAN_OK);
        const char *rest = folded(help);
        snprintf(line, sizeof line, "Usage: organ %s", verb->name);
        ck_assert_msg(strncmp(rest, line, strlen(line)) == 0, "%s", help);
        expect_next(verb, &rest, verb->about);
        for (size_t k = 0; k < verb->operand_count; k++) {
            snprintf(line, sizeof line, "%s %s", verb->operands[k].name, verb->operands[k].help);
            expect_next(verb, &rest, line);
        }
        expect_options(verb, &rest);
        expect_exits(verb, &rest);
        for (size_t k = 0; k < verb->example_count; k++) {
            expect_next(verb, &rest, verb->examples[k].command);
            expect_next(verb, &rest, verb->examples[k].does);
        }
        ck_assert_msg(strspn(rest, " ") == strlen(rest), "organ help %s has more: '%s'", verb->name, rest);
        free(help);
    }
}
END_TEST

static char *read_page(const char *path)
{
    char *text = NULL;
    size_t room = 0;
    FILE *const file = fopen(path, "r");
    ck_assert_msg(file && getdelim(&text, &room, '\0', file) > 0, "%s cannot be read", path);
    fclose(file);
    return text;
}

/* docs/troubleshooting.md has all rows of organ_exits after its mark, docs/python.md an exception for each code of an
 * error. In docs/troubleshooting.md words of the command line are in backticks. */
START_TEST(pages_have_the_exit_codes)
{
    static const char mark[] = "<!-- exit codes -->\n| code | meaning |\n|--:|---|\n";
    char *const page = read_page("docs/troubleshooting.md"), *const python = read_page("docs/python.md");
    char *at = strstr(page, mark), line[ORGAN_EXIT_ROOM];
    ck_assert_msg(at, "docs/troubleshooting.md lacks the table");
    at += strlen(mark);
    for (size_t k = 0; k < ORGAN_EXITS; k++) {
        char *const end = strchr(at, '\n'), *to = at;
        for (const char *from = at; from < end; from++)
            if (*from != '`')
                *to++ = *from;
        snprintf(line, sizeof line, "| %d | %s |", organ_exits[k].code, organ_exits[k].meaning);
        ck_assert_msg((size_t)(to - at) == strlen(line) && strncmp(at, line, strlen(line)) == 0,
                      "docs/troubleshooting.md has '%.*s' instead of '%s'", (int)(to - at), at, line);
        snprintf(line, sizeof line, " | %d | %s", organ_exits[k].code, organ_exits[k].title);
        ck_assert_msg(k == 0 || strstr(python, line), "docs/python.md lacks '%s'", line);
        at = end + 1;
    }
    ck_assert_msg(*at == '\n', "docs/troubleshooting.md has more codes");
    free(page);
    free(python);
}
END_TEST

/* Each option of each verb that has a topic is described there, with the words of that verb. */
START_TEST(topics_describe_the_options_of_all_verbs)
{
    for (size_t v = 0; v < organ_all_verbs.count; v++) {
        const organ_option *option;
        for (size_t k = 0; (option = organ_verb_option_at(organ_all_verbs.verbs[v], k)); k++) {
            const organ_page page = {.width = 80, .utf8 = true};
            organ_text text;
            organ_error error = {0};
            char *help = NULL, line[ORGAN_MEANING_ROOM + 200];
            if (!option->topic)
                continue;
            ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
            organ_help_topic(text.out, &organ_all_verbs, option->topic, &page);
            ck_assert_int_eq(organ_text_finish(&text, &help, &error), ORGAN_OK);
            const char *rest = folded(help);
            option_line(NULL, option, line); /* topics describe options for all verbs */
            expect_next(organ_all_verbs.verbs[v], &rest, line);
            free(help);
        }
    }
}
END_TEST

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

/* -h and the text of `organ` fit a screen of 40 lines; -h has every required option and at most ten in all. */
START_TEST(brief_help_is_brief)
{
    enum { LINES = 40, OPTIONS = 10 };
    const organ_page page = {.width = 80, .utf8 = true};
    for (size_t v = 0; v <= organ_all_verbs.count; v++) {
        const organ_verb *const verb = v < organ_all_verbs.count ? organ_all_verbs.verbs[v] : NULL;
        const organ_option *option;
        organ_text text;
        organ_error error = {0};
        char *help = NULL;
        size_t common = 0;
        ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
        if (verb)
            organ_help_brief(text.out, verb, &page);
        else
            organ_help_start(text.out, &organ_all_verbs, &page);
        ck_assert_int_eq(organ_text_finish(&text, &help, &error), ORGAN_OK);
        ck_assert_msg(count_lines(help) <= LINES, "%zu lines:\n%s", count_lines(help), help);
        ck_assert_msg(strstr(help, "--help'"), "%s", help);
        for (size_t k = 0; verb && (option = organ_verb_option_at(verb, k)); k++) {
            char name[64];
            snprintf(name, sizeof name, " --%s ", option->name);
            common += option->common || option->required;
            ck_assert_msg(!(option->common || option->required) || strstr(help, name), "%s -h lacks%s", verb->name,
                          name);
        }
        ck_assert_msg(!verb || (strstr(help, "\nOptions:\n") != NULL) == (common > 0), "%s -h:\n%s",
                      verb ? verb->name : "", help);
        ck_assert_msg(common <= OPTIONS, "%s -h has %zu options", verb->name, common);
        free(help);
    }
}
END_TEST

START_TEST(help_fits_the_screen)
{
    for (size_t width = 50; width <= 130; width += 10)
        for (size_t v = 0; v < organ_all_verbs.count; v++) {
            const organ_page page = {.width = width, .utf8 = true};
            organ_text text;
            organ_error error = {0};
            char *help = NULL;
            ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
            organ_help_start(text.out, &organ_all_verbs, &page);
            organ_help_overview(text.out, &organ_all_verbs, &page);
            organ_help_topics(text.out, &organ_all_verbs, &page);
            organ_help_brief(text.out, organ_all_verbs.verbs[v], &page);
            organ_help_of_verb(text.out, &organ_all_verbs, organ_all_verbs.verbs[v], &page);
            ck_assert_int_eq(organ_text_finish(&text, &help, &error), ORGAN_OK);
            for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
                ck_assert_msg(organ_text_width(line) <= (width < 80 ? 80 : width), "%zu columns: '%s'", width, line);
            free(help);
        }
}
END_TEST

/* --ranks only has a meaning for verbs that processes of a launcher can share. */
START_TEST(only_verbs_that_share_have_ranks)
{
    for (size_t v = 0; v < organ_all_verbs.count; v++) {
        const organ_verb *const verb = organ_all_verbs.verbs[v];
        bool ranks = false;
        for (size_t g = 0; g < verb->group_count; g++)
            for (size_t k = 0; k < verb->groups[g].count; k++)
                ranks = ranks || strcmp(verb->groups[g].options[k].name, "ranks") == 0;
        ck_assert_msg(ranks == verb->shares, "%s", verb->name);
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"help",
         {help_says_what_the_table_says, pages_have_the_exit_codes, topics_describe_the_options_of_all_verbs,
          brief_help_is_brief, help_fits_the_screen, only_verbs_that_share_have_ranks}}};
    return run_suites((Suite *const[]){suite_of("help", cases, 1, NULL, NULL), NULL});
}
