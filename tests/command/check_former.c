/* SPDX-License-Identifier: MIT
 * Tests of names of older versions: the parser accepts them, nothing shows them. */
#include "orchestrator/cli/cli_parts.h"

#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum { MAX_WORDS = 16 };

/* Writes the values of all options and operands to a text, which the caller frees. */
static char *values_of(const organ_verb *verb, const organ_call *call)
{
    organ_text text;
    organ_error error = {0};
    char *values;
    const organ_option *option;
    ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
    for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++) {
        const void *const member = (const char *)call + option->offset;
        const char *const typed = option->value == ORGAN_VALUE_TEXT ? *(char *const *)member : NULL;
        fprintf(text.out, "%s=", option->name);
        if (option->value == ORGAN_VALUE_FLAG)
            fprintf(text.out, "%d\n", *(const bool *)member);
        else if (option->value == ORGAN_VALUE_COUNT)
            fprintf(text.out, "%u\n", *(const unsigned *)member);
        else
            fprintf(text.out, "%s\n", typed ? typed : "-");
    }
    organ_text_finish(&text, &values, &error);
    ck_assert_ptr_nonnull(values);
    return values;
}

/* Parses the line, the verb and its arguments. Returns the values, which the caller frees. --help is appended, so that
 * no argument is missing. */
static char *parsed(const char *line)
{
    char buffer[256], *words[MAX_WORDS], *rest = NULL;
    int count = 0, used = 0;
    organ_help help = ORGAN_HELP_NONE;
    organ_error error = {0};
    snprintf(buffer, sizeof buffer, "%s --help", line);
    for (char *word = strtok_r(buffer, " ", &rest); word && count < MAX_WORDS; word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    const organ_verb *const verb = organ_verb_find(&organ_all_verbs, words[0], words[1], &used, &error);
    ck_assert_msg(verb, "%s: %s", line, error.message);
    organ_call *const call = organ_call_create(verb, NULL, &error);
    ck_assert_ptr_nonnull(call);
    ck_assert_msg(organ_options_parse(verb, count - used, words + used, call, &help, &error) == ORGAN_OK, "%s: %s",
                  line, error.message);
    char *const values = values_of(verb, call);
    free(call);
    return values;
}

/* Every option and verb that had another name in version 0.4, and its name now. */
START_TEST(former_names_have_the_same_effect)
{
    static const char *const rows[][2] = {
        {"experts --heal", "experts --refit"},
        {"layers --heal", "layers --refit"},
        {"prune --no-compensate", "prune --no-refit"},
        {"quantize --no-resolve", "quantize --no-refit"},
        {"width --no-resolve", "width --no-refit"},
        {"audit --compensated", "audit --refitted"},
        {"convert --type q8_0", "convert --dtype q8_0"},
        {"convert --type=same", "convert --dtype=same"},
        {"prune --targets *.mlp.*", "prune --select *.mlp.*"},
        {"quantize --targets *.mlp.*,*.o_proj", "quantize --select *.mlp.*,*.o_proj"},
        {"audit --targets *.mlp.*", "audit --select *.mlp.*"},
        {"evaluate --targets *.mlp.*", "evaluate --select *.mlp.*"},
        {"inspect --match *.mlp.*", "inspect --select *.mlp.*"},
        {"autopsy --match *.mlp.*", "autopsy --select *.mlp.*"},
        {"lora extract --modules q_proj", "lora extract --select q_proj"},
        {"orthogonality --modules *.mlp.*", "orthogonality --select *.mlp.*"},
        {"measure --type organ,norm", "measure --select organ,norm"},
        {"purify --type skeleton", "purify --select skeleton"},
        {"graft --type organ", "graft --select organ"},
        {"chimera --base A --donor B --take organ -o C", "graft --target A --source B --select organ -o C"},
        {"generate -n 100", "generate --tokens 100"},
        {"generate -n100", "generate --tokens=100"}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        char *const former = parsed(rows[k][0]), *const now = parsed(rows[k][1]);
        ck_assert_str_eq(former, now);
        free(former);
        free(now);
    }
}
END_TEST

/* --layers of measure, purify and graft was an option besides --type. */
START_TEST(layers_are_a_second_list)
{
    static const char *const rows[] = {"measure --layers 5-20", "purify --layers=0-3,8", "chimera --layers 1"};
    for (size_t k = 0; k < LENGTH(rows); k++)
        free(parsed(rows[k]));
}
END_TEST

START_TEST(a_refit_can_be_undone)
{
    static const char *const rows[][2] = {
        {"layers --refit --no-refit", "layers"},         {"layers --no-refit --refit", "layers --refit"},
        {"experts --heal --no-heal", "experts"},         {"width --no-refit --refit", "width"},
        {"quantize --no-resolve --resolve", "quantize"}, {"prune --compensate --no-compensate", "prune --no-refit"}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        char *const long_way = parsed(rows[k][0]), *const short_way = parsed(rows[k][1]);
        ck_assert_str_eq(long_way, short_way);
        free(long_way);
        free(short_way);
    }
}
END_TEST

/* Other flags have no opposite. */
START_TEST(other_flags_cannot_be_undone)
{
    organ_error error = {0};
    int used = 0;
    organ_help help = ORGAN_HELP_NONE;
    const organ_verb *const verb = organ_verb_find(&organ_all_verbs, "prune", NULL, &used, &error);
    static const char *const words[] = {"--no-force", "--refit=yes", "--no-refit=no"};
    static const char *const faults[] = {"prune: unknown option '--no-force'",
                                         "prune: --refit takes no value, but got 'yes'",
                                         "prune: --no-refit takes no value, but got 'no'"};
    for (size_t k = 0; k < LENGTH(words); k++) {
        organ_call *const call = organ_call_create(verb, NULL, &error);
        char word[32], *const argv[] = {word};
        snprintf(word, sizeof word, "%s", words[k]);
        error = (organ_error){0};
        ck_assert_int_eq(organ_options_parse(verb, 1, argv, call, &help, &error), ORGAN_USAGE);
        ck_assert_str_eq(error.message, faults[k]);
        free(call);
    }
}
END_TEST

/* Returns whether the text has the word "--NAME". */
static bool shows(const char *text, const char *name, size_t length)
{
    for (const char *at = strstr(text, "--"); at; at = strstr(at + 2, "--"))
        if (strncmp(at + 2, name, length) == 0 && at[2 + length] != '-' && !isalpha((unsigned char)at[2 + length]))
            return true;
    return false;
}

static void expect_hidden(const char *text, const organ_verb *verb, const organ_option *option)
{
    for (const char *at = option->former; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
        const size_t length = strcspn(at, "|");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        ck_assert_msg(!shows(text, at, length), "%s shows --%s: %s", verb->name, name, text);
        ck_assert_msg(organ_verb_option(verb, name) == option, "%s --%s", verb->name, name);
    }
}

static char *shown(const organ_verb *verb)
{
    organ_text text;
    organ_error error = {0};
    const organ_page page = {.width = 100};
    char first[32], second[32] = "", dashes[] = "--", *words[3] = {first, dashes, NULL}, *out;
    sscanf(verb->name, "%31s %31s", first, second);
    if (*second) {
        words[1] = second;
        words[2] = dashes;
    }
    ck_assert_int_eq(organ_text_open(&text, &error), ORGAN_OK);
    organ_help_of_verb(text.out, &organ_all_verbs, verb, &page);
    organ_complete(text.out, &organ_all_verbs, *second ? 3 : 2, words);
    organ_text_finish(&text, &out, &error);
    ck_assert_ptr_nonnull(out);
    return out;
}

START_TEST(help_and_completion_show_no_former_name)
{
    size_t seen = 0;
    for (size_t v = 0; v < organ_all_verbs.count; v++) {
        const organ_verb *const verb = organ_all_verbs.verbs[v];
        const organ_option *option;
        char *const text = shown(verb);
        for (size_t k = 0; (option = organ_verb_option_at(verb, k)); k++) {
            expect_hidden(text, verb, option);
            seen += option->former != NULL;
        }
        for (size_t k = 0; k < verb->former_count; k++)
            ck_assert_msg(organ_verb_option(verb, verb->former_options[k].name) != &verb->former_options[k] ||
                              !shows(text, verb->former_options[k].name, strlen(verb->former_options[k].name)),
                          "%s shows --%s", verb->name, verb->former_options[k].name);
        ck_assert_msg(!strstr(text, "chimera"), "%s", text);
        free(text);
    }
    ck_assert_uint_ge(seen, 19);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("former");
    TCase *const group = tcase_create("names");
    tcase_add_test(group, former_names_have_the_same_effect);
    tcase_add_test(group, layers_are_a_second_list);
    tcase_add_test(group, a_refit_can_be_undone);
    tcase_add_test(group, other_flags_cannot_be_undone);
    tcase_add_test(group, help_and_completion_show_no_former_name);
    suite_add_tcase(suite, group);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
