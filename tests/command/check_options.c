/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/cli: the table of verbs and the parser. */
#include "orchestrator/cli/cli_parts.h"
#include "orchestrator/command/option_tables.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum { MAX_WORDS = 32 };

/* The verb of the last parsed line. */
static const organ_verb *parsed;
static organ_call *call;

/* Replaces the last call by an empty call of `verb`. */
static void begin_call(const organ_verb *verb)
{
    organ_error error = {0};
    free(call);
    parsed = verb;
    call = organ_call_create(verb, NULL, &error);
    ck_assert_ptr_nonnull(call);
}

/* Returns the address of the member that receives the option or operand `name`. */
static const void *member_of(const char *name)
{
    const organ_option *const option = organ_verb_option(parsed, name);
    for (size_t k = 0; k < parsed->operand_count; k++)
        if (strcmp(parsed->operands[k].name, name) == 0)
            return (const char *)call + parsed->operands[k].offset;
    ck_assert_msg(option, "%s has no %s", parsed->name, name);
    return (const char *)call + option->offset;
}
#define GIVEN(type, name) (*(const type *)member_of(name))
#define GIVEN_TEXT(name)  GIVEN(char *const, name)

/* Splits `line` at blanks ('_' stands for a blank inside a word, '~' for an empty word) and parses what follows the
 * verb. */
static organ_status parse(const char *line, organ_help *help, organ_error *error)
{
    static char buffer[512];
    char *words[MAX_WORDS];
    int count = 0;
    snprintf(buffer, sizeof buffer, "%s", line);
    for (char *word = strtok(buffer, " "); word && count < MAX_WORDS; word = strtok(NULL, " ")) {
        for (char *p = word; *p; p++)
            if (*p == '_' || *p == '~')
                *p = *p == '_' ? ' ' : '\0';
        words[count++] = word;
    }
    int used = 0;
    const organ_verb *const verb =
        organ_verb_find(&organ_all_verbs, words[0], count > 1 ? words[1] : NULL, &used, error);
    ck_assert_ptr_nonnull(verb);
    begin_call(verb);
    *help = ORGAN_HELP_NONE;
    return organ_options_parse(verb, count - used, words + used, call, help, error);
}

static void parse_well(const char *line)
{
    organ_error error = {0};
    organ_help help = ORGAN_HELP_BRIEF;
    ck_assert_msg(parse(line, &help, &error) == ORGAN_OK, "%s: %s", line, error.message);
    ck_assert(!help);
}

START_TEST(defaults_come_from_the_table)
{
    parse_well("prune donor -o out");
    ck_assert_str_eq(GIVEN_TEXT("DONOR"), "donor");
    ck_assert_str_eq(GIVEN_TEXT("output"), "out");
    ck_assert_uint_eq(GIVEN(unsigned, "block-size"), 256);
    ck_assert_uint_eq(GIVEN(unsigned, "iterations"), 30);
    ck_assert(GIVEN(double, "beta") == 2.0 && GIVEN(double, "coupling") == 1.0 && GIVEN(double, "sparsity") < 0);
    ck_assert(!GIVEN(bool, "resume") && !GIVEN(bool, "force") && !GIVEN(bool, "dry-run") && !call->json &&
              !call->quiet);
    ck_assert_ptr_null(GIVEN_TEXT("targets"));
    ck_assert_uint_eq(call->threads, 0);
    ck_assert_uint_eq(call->memory, 0); /* auto */
}
END_TEST

START_TEST(options_are_written_in_many_ways)
{
    static const char *const lines[] = {
        "prune donor -o out --sparsity 30 --block-size 64 --memory 1.5G --json -q",
        "prune -o out --sparsity=30 donor --block-size=64 --memory=1.5G --json --quiet",
        "prune -oout -s30 -qm1.5G --block-size 64 --json -- donor",
        "prune --block-size 512 --output=other --json -q -s 99 -m 64M --output out --sparsity 3e1 --block-size 64 -m "
        "1.5G donor",
    };
    for (size_t k = 0; k < LENGTH(lines); k++) {
        parse_well(lines[k]);
        ck_assert_str_eq(GIVEN_TEXT("DONOR"), "donor");
        ck_assert_str_eq(GIVEN_TEXT("output"), "out");
        ck_assert(GIVEN(double, "sparsity") == 30.0);
        ck_assert_uint_eq(GIVEN(unsigned, "block-size"), 64);
        ck_assert_uint_eq(call->memory, 1536ull << 20);
        ck_assert(call->json && call->quiet);
    }
}
END_TEST

START_TEST(the_last_operand_may_take_many_words)
{
    char *words[ORGAN_MAX_WORDS + 2];
    organ_error error = {0};
    organ_help help;
    int used;
    parse_well("measure a --tensors b -o out c");
    ck_assert_uint_eq(GIVEN(organ_words, "MODEL...").count, 3);
    ck_assert_str_eq(GIVEN(organ_words, "MODEL...").word[0], "a");
    ck_assert_str_eq(GIVEN(organ_words, "MODEL...").word[2], "c");
    for (size_t k = 0; k < LENGTH(words); k++)
        words[k] = "model";
    for (int k = 0; k < 2; k++) {
        begin_call(organ_verb_find(&organ_all_verbs, "measure", NULL, &used, &error));
        ck_assert_int_eq(organ_options_parse(parsed, ORGAN_MAX_WORDS + k, words, call, &help, &error),
                         k ? ORGAN_USAGE : ORGAN_OK);
    }
    ck_assert_msg(strstr(error.message, "more than 256 of MODEL...") != NULL, "%s", error.message);
}
END_TEST

START_TEST(an_option_may_take_two_words)
{
    static const char *const lines[] = {"orthogonality --pair a b --pair=c d e",
                                        "orthogonality --pair=a b e --pair c d",
                                        "orthogonality e --pair a -b --pair c d"};
    for (size_t k = 0; k < LENGTH(lines); k++) {
        parse_well(lines[k]);
        ck_assert_uint_eq(GIVEN(organ_words, "pair").count, 4);
        ck_assert_str_eq(GIVEN(organ_words, "pair").word[0], "a");
        ck_assert_str_eq(GIVEN(organ_words, "pair").word[1], k == 2 ? "-b" : "b");
        ck_assert_str_eq(GIVEN(organ_words, "pair").word[2], "c");
        ck_assert_str_eq(GIVEN(organ_words, "pair").word[3], "d");
        ck_assert_str_eq(GIVEN_TEXT("CLEAN"), "e");
        ck_assert_ptr_null(GIVEN_TEXT("NOISY"));
    }
}
END_TEST

START_TEST(what_looks_like_an_option_can_be_named)
{
    parse_well("inspect -- --tensors");
    ck_assert_str_eq(GIVEN_TEXT("MODEL"), "--tensors");
    ck_assert(!GIVEN(bool, "tensors"));
    parse_well("inspect -");
    ck_assert_str_eq(GIVEN_TEXT("MODEL"), "-");
    parse_well("inspect m --select -x");
    ck_assert_str_eq(GIVEN_TEXT("match"), "-x");
    parse_well("inspect m --select=a=b");
    ck_assert_str_eq(GIVEN_TEXT("match"), "a=b");
    parse_well("audit a_b c");
    ck_assert_str_eq(GIVEN_TEXT("DONOR"), "a b");
    ck_assert_str_eq(GIVEN_TEXT("PRUNED"), "c");
}
END_TEST

START_TEST(bounds_are_values_too)
{
    static const char *const lines[] = {
        "--block-size 16",  "--block-size 4096", "--iterations 1",   "--iterations 100000", "--beta 64",
        "--beta 0.001",     "--coupling 0",      "--coupling 8",     "--sparsity 0.01%",    "--sparsity 99.99",
        "--threads 1",      "--threads 4096",    "--memory 8M",      "--memory 16T",        "--beta .5",
        "--block-size 020", "--beta 1e1",        "--memory 8388608", "--coupling -0"};
    for (size_t k = 0; k < LENGTH(lines); k++) {
        char line[128];
        snprintf(line, sizeof line, "prune d -o o %s", lines[k]);
        parse_well(line);
    }
}
END_TEST

START_TEST(help_wins_over_what_is_missing)
{
    static const struct {
        const char *line;
        organ_help help;
    } rows[] = {{"prune --help", ORGAN_HELP_COMPLETE},
                {"prune -h", ORGAN_HELP_BRIEF},
                {"prune x -qh", ORGAN_HELP_BRIEF},
                {"prune -h --help", ORGAN_HELP_COMPLETE},
                {"audit a --help -h", ORGAN_HELP_COMPLETE},
                {"version --help", ORGAN_HELP_COMPLETE},
                {"help -h", ORGAN_HELP_BRIEF}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        organ_error error = {0};
        organ_help help = ORGAN_HELP_NONE;
        ck_assert_int_eq(parse(rows[k].line, &help, &error), ORGAN_OK);
        ck_assert_int_eq(help, rows[k].help);
    }
}
END_TEST

START_TEST(faults_name_option_value_and_range)
{
    static const char *const rows[][2] = {
        {"prune d -o o --block-size 15", "prune: --block-size is '15', but must be a whole number (16 to 4096)"},
        {"prune d -o o --block-size 4097", "prune: --block-size is '4097', but must be a whole number (16 to 4096)"},
        {"prune d -o o --block-size 16.5", "prune: --block-size is '16.5', but must be a whole number (16 to 4096)"},
        {"prune d -o o --block-size -5", "prune: --block-size is '-5', but must be a whole number (16 to 4096)"},
        {"prune d -o o --iterations 0", "prune: --iterations is '0', but must be a whole number (1 to 100000)"},
        {"prune d -o o --iterations 99999999999999999999",
         "prune: --iterations is '99999999999999999999', but must be a whole number (1 to 100000)"},
        {"prune d -o o --beta 0", "prune: --beta is '0', but must be a number (above 0, at most 64)"},
        {"prune d -o o --beta 64.1", "prune: --beta is '64.1', but must be a number (above 0, at most 64)"},
        {"prune d -o o --beta nan", "prune: --beta is 'nan', but must be a number (above 0, at most 64)"},
        {"prune d -o o --beta 0x2", "prune: --beta is '0x2', but must be a number (above 0, at most 64)"},
        {"prune d -o o --beta 2,5", "prune: --beta is '2,5', but must be a number (above 0, at most 64)"},
        {"prune d -o o --beta=", "prune: --beta is '', but must be a number (above 0, at most 64)"},
        {"prune d -o o --coupling inf", "prune: --coupling is 'inf', but must be a number (0 to 8)"},
        {"prune d -o o --coupling 1e400", "prune: --coupling is '1e400', but must be a number (0 to 8)"},
        {"prune d -o o --sparsity 100", "prune: --sparsity is '100', but must be a number (above 0, below 100)"},
        {"prune d -o o --sparsity 0", "prune: --sparsity is '0', but must be a number (above 0, below 100)"},
        {"prune d -o o --threads 0", "prune: --threads is '0', but must be a whole number (1 to 4096)"},
        {"prune d -o o -m 1M",
         "prune: --memory is '1M', but must be auto or an amount of bytes like 512M, 2GiB or 5GB (8M to 16T)"},
        {"prune d -o o -m much",
         "prune: --memory is 'much', but must be auto or an amount of bytes like 512M, 2GiB or 5GB (8M to 16T)"},
        {"prune d -o o --select=", "prune: --select is '', but must be a non-empty text"},
        {"prune d -o", "prune: --output needs a value: a non-empty text"},
        {"orthogonality --pair a", "orthogonality: --pair needs 2 values: CLEAN NOISY"},
        {"orthogonality --pair", "orthogonality: --pair needs 2 values: CLEAN NOISY"},
        {"prune d --beta", "prune: --beta needs a value: a number (above 0, at most 64)"},
        {"prune d -o o --json=1", "prune: --json takes no value, but got '1'"},
        {"prune d -o o --blocksize 3", "prune: unknown option '--blocksize'; did you mean '--block-size'?"},
        {"prune d -o o --dry", "prune: unknown option '--dry'; did you mean '--dry-run'?"},
        {"prune d -o o --treads=3", "prune: unknown option '--treads'; did you mean '--threads'?"},
        {"prune d -o o --temperature x", "prune: unknown option '--temperature'"},
        {"prune d -o o -x", "prune: unknown option '-x'"},
        {"prune d -o o -qx", "prune: unknown option '-x'"},
        {"prune d -o o --=3", "prune: unknown option '--'"},
        {"prune -o o", "prune: DONOR is missing: the model to prune; it is not changed"},
        {"prune d", "prune: -o OUT is missing: new directory of the output; X.gguf or X.safetensors: a single file, "
                    "if DONOR is a single file"},
        {"prune d e -o o", "prune: unexpected argument 'e'"},
        {"prune ~ -o o", "prune: DONOR is empty"},
        {"audit a b c", "audit: unexpected argument 'c'"},
        {"inspect", "inspect: MODEL is missing: a model directory, a .safetensors or .gguf file, or a "
                    "model.safetensors.index.json"},
        {"inspect m --tensor", "inspect: unknown option '--tensor'; did you mean '--tensors'?"},
        {"inspect m --threads 2", "inspect: unknown option '--threads'"},
        {"version --json", "version: unknown option '--json'"},
        {"version now", "version: unexpected argument 'now'"},
        {"help lora extract more", "help: unexpected argument 'more'"},
    };
    for (size_t k = 0; k < LENGTH(rows); k++) {
        organ_error error = {0};
        organ_help help = ORGAN_HELP_NONE;
        ck_assert_msg(parse(rows[k][0], &help, &error) == ORGAN_USAGE, "%s is accepted", rows[k][0]);
        ck_assert_str_eq(error.message, rows[k][1]);
    }
}
END_TEST

START_TEST(near_names_are_found)
{
    static const char *const names[] = {"inspect", "prune", "audit", "version", "help"};
    static const char *const rows[][2] = {{"prun", "prune"},   {"purne", "prune"}, {"Prune", "prune"},
                                          {"insp", "inspect"}, {"audti", "audit"}, {"verison", "version"},
                                          {"hlep", "help"},    {"xyz", NULL},      {"", NULL},
                                          {"p", NULL},         {"quantize", NULL}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        const char *const nearest = organ_nearest(rows[k][0], names, LENGTH(names));
        ck_assert_msg((!nearest && !rows[k][1]) || (nearest && rows[k][1] && strcmp(nearest, rows[k][1]) == 0),
                      "%s: %s", rows[k][0], nearest ? nearest : "none");
    }
    char endless[4096];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    ck_assert_ptr_null(organ_nearest(endless, names, LENGTH(names)));
}
END_TEST

START_TEST(unknown_verbs_are_refused)
{
    organ_error error = {0};
    int words = 0;
    ck_assert_ptr_null(organ_verb_find(&organ_all_verbs, "prunee", NULL, &words, &error));
    ck_assert_int_eq(error.status, ORGAN_USAGE);
    ck_assert_str_eq(error.message, "unknown verb 'prunee'; did you mean 'prune'?");
    error = (organ_error){0};
    ck_assert_ptr_null(organ_verb_find(&organ_all_verbs, "dance", NULL, &words, &error));
    ck_assert_str_eq(error.message, "unknown verb 'dance'");
}
END_TEST

/* The parser and help rely on these properties of the table. */
START_TEST(the_table_is_sound)
{
    for (size_t v = 0; v < organ_all_verbs.count; v++) {
        const organ_verb *const verb = organ_all_verbs.verbs[v];
        char letters[64] = "";
        ck_assert(verb->run && *verb->summary && *verb->about);
        for (size_t g = 0; g < verb->group_count; g++)
            for (size_t k = 0; k < verb->groups[g].count; k++) {
                const organ_option *const option = &verb->groups[g].options[k];
                ck_assert_msg((option->value == ORGAN_VALUE_FLAG) == (option->argument == NULL), "%s --%s", verb->name,
                              option->name);
                ck_assert_msg(option->value < ORGAN_VALUE_COUNT || option->range.to > option->range.from, "%s --%s",
                              verb->name, option->name);
                ck_assert_msg(!option->topic ||
                                  organ_topic_find(&organ_all_verbs, option->topic->name) == option->topic,
                              "%s --%s", verb->name, option->name);
                ck_assert_msg(option->help[strlen(option->help) - 1] != '.', "%s --%s", verb->name, option->name);
                ck_assert_msg(!option->letter || !strchr(letters, option->letter), "%s -%c", verb->name,
                              option->letter);
                letters[strlen(letters)] = option->letter;
            }
    }
}
END_TEST

static void expect_fallback(const organ_verb *verb, const organ_option *option)
{
    organ_error error = {0};
    organ_call *const given = organ_call_create(verb, NULL, &error), *const silent =
                                                                         organ_call_create(verb, NULL, &error);
    organ_help help = ORGAN_HELP_NONE;
    static const size_t sizes[] = {sizeof(bool), sizeof(char *), 0, sizeof(unsigned), sizeof(double), sizeof(uint64_t)};
    char name[64], *const words[] = {name, (char *)(uintptr_t)option->fallback,
                                     (char[]){"--help"}}; /* with --help no operand is required */
    snprintf(name, sizeof name, "--%s", option->name);
    ck_assert_msg(organ_options_parse(verb, 3, words, given, &help, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(organ_options_parse(verb, 1, words + 2, silent, &help, &error), ORGAN_OK);
    ck_assert_msg(memcmp((char *)given + option->offset, (char *)silent + option->offset, sizes[option->value]) == 0,
                  "%s --%s %s", verb->name, option->name, option->fallback);
    free(given);
    free(silent);
}

/* Each row of a table of requirements is about an option of the verb, or other rows name it. */
START_TEST(requirements_are_about_options)
{
    for (size_t v = 0; v < organ_all_verbs.count; v++)
        for (size_t n = 0; n < organ_all_verbs.verbs[v]->need_count; n++)
            for (size_t r = 0; r < organ_all_verbs.verbs[v]->needs[n].table->count; r++) {
                const organ_verb *const verb = organ_all_verbs.verbs[v];
                const organ_requirement *const row = &verb->needs[n].table->rows[r];
                const organ_option *option;
                size_t k = 0;
                while ((option = organ_verb_option_at(verb, k)) &&
                       option->offset != verb->needs[n].offset + row->offset)
                    k++;
                ck_assert_msg(option || (!row->with && !row->never) || strcmp(row->field, "write.evaluate") == 0,
                              "%s: %s", verb->name, row->field);
            }
}
END_TEST

typedef struct needy {
    const char *way, *text;
    unsigned rounds;
    double share;
} needy;

static void needy_facts(const void *options, organ_facts *facts)
{
    const needy *const o = options;
    organ_facts_assume(facts, "way", o->way ? NULL : "plain", "plain, the default");
    organ_facts_add(facts, "outputs in", o->text ? "GGUF" : NULL, NULL);
}

static const organ_requirement needy_rows[] = {
    ORGAN_REQUIREMENT(needy, way), ORGAN_REQUIREMENT(needy, text, .never = "way=b*", .why = "it reads none"),
    ORGAN_REQUIREMENT(needy, rounds, .with = "way=first,second|text"),
    ORGAN_REQUIREMENT(needy, share, .with = "outputs in=GGUF")};
static const organ_requirements needy_table = {needy_rows, LENGTH(needy_rows), needy_facts};

static void needs(needy options, const char *message)
{
    const needy defaults = {.share = 1};
    organ_error error = {0};
    organ_requirements_check(&needy_table, &options, &defaults, &error);
    ck_assert_int_eq(error.status, message ? ORGAN_USAGE : ORGAN_OK);
    ck_assert_str_eq(error.message, message ? message : "");
}

/* A double that is 0 is given if that is not the default. */
START_TEST(requirements_are_checked)
{
    needs((needy){.share = 1}, NULL);
    needs((needy){.way = "second", .rounds = 3, .share = 1}, NULL);
    needs((needy){.text = "t", .rounds = 3}, NULL);
    needs((needy){.rounds = 3, .share = 1},
          "`rounds` has no meaning with plain, the default: it is for `way` first or second or `text`");
    needs((needy){.way = "third", .rounds = 3, .share = 1},
          "`rounds` has no meaning with `way` third: it is for `way` first or second or `text`");
    needs((needy){.way = "both", .text = "t", .share = 1}, "`text` has no meaning with `way` both: it reads none");
    needs((needy){.share = 0}, "`share` has no meaning without outputs in GGUF");
}
END_TEST

/* Completion leaves out what an option that is typed excludes, but not what a default excludes. */
START_TEST(requirements_allow)
{
    const needy defaults = {.share = 1}, third = {.way = "third", .share = 1}, both = {.way = "both", .share = 1};
    ck_assert(organ_requirements_allow(&needy_table, &needy_rows[2], &defaults, &defaults));
    ck_assert(!organ_requirements_allow(&needy_table, &needy_rows[2], &third, &defaults));
    ck_assert(!organ_requirements_allow(&needy_table, &needy_rows[1], &both, &defaults));
}
END_TEST

/* Help and manual explain each option: its effect, its values and its default; these agree with the table. */
START_TEST(every_option_is_explained)
{
    for (size_t v = 0; v < organ_all_verbs.count; v++)
        for (size_t g = 0; g < organ_all_verbs.verbs[v]->group_count; g++)
            for (size_t k = 0; k < organ_all_verbs.verbs[v]->groups[g].count; k++) {
                const organ_option *const option = &organ_all_verbs.verbs[v]->groups[g].options[k];
                char meaning[ORGAN_MEANING_ROOM], range[ORGAN_RANGE_ROOM], choice[ORGAN_LONGEST_CHOICE];
                organ_help_meaning(organ_all_verbs.verbs[v], option, meaning);
                organ_option_range(option, range, sizeof range);
                ck_assert_msg(strlen(option->help) >= 8 && strlen(meaning) < sizeof meaning - 1, "%s --%s",
                              organ_all_verbs.verbs[v]->name, option->name);
                ck_assert_msg(strstr(meaning, range) ||
                                  (option->choices && strcmp(option->choices, option->argument) == 0),
                              "%s", meaning);
                ck_assert_msg(!option->fallback || strstr(meaning, option->fallback), "%s", meaning);
                if (option->fallback)
                    expect_fallback(organ_all_verbs.verbs[v], option);
                for (size_t c = 0; organ_option_choice(option, c, choice); c++)
                    ck_assert_msg(*choice && strlen(choice) < ORGAN_LONGEST_CHOICE - 1 && !strpbrk(choice, " ,'"), "%s",
                                  choice);
                ck_assert(!option->choices || option->value == ORGAN_VALUE_TEXT);
            }
}
END_TEST

START_TEST(choices_are_held_to)
{
    static const char methods[] =
        "but must be one of physarum-v1, physarum-v2, physarum-v3, alps, magnitude, wanda, sparsegpt";
    static const struct {
        const char *line, *fault, *allowed, *hint; /* NULL fault: the line is accepted */
    } rows[] = {
        {"prune --method wanda -h", NULL, "", ""},
        {"prune --method=wanda -h", NULL, "", ""},
        {"prune --method wanda2", "prune: --method cannot be 'wanda2'", "", "; did you mean 'wanda'?"},
        {"prune --method WANDA", "prune: --method cannot be 'WANDA'", "", "; did you mean 'wanda'?"},
        {"prune --method ~", "prune: --method is '', ", methods, ""},
        {"prune --method physarum-v1|physarum-v2", "prune: --method is 'physarum-v1|physarum-v2', ", methods, ""},
        {"measure --select feed-forward,norm,all -h", NULL, "", ""},
        {"measure --select *.mlp.*,nrom -h", NULL, "", ""}, /* names, too */
        {"completion fish", NULL, "", ""},
        {"completion fis", "completion: 'fis' is not one of bash|zsh|fish", "", ""}};
    for (size_t k = 0; k < LENGTH(rows); k++) {
        organ_error error = {0};
        organ_help help = ORGAN_HELP_NONE;
        char message[400] = "";
        if (rows[k].fault)
            snprintf(message, sizeof message, "%s%s", rows[k].fault, *rows[k].hint ? rows[k].hint : rows[k].allowed);
        ck_assert_int_eq(parse(rows[k].line, &help, &error), rows[k].fault ? ORGAN_USAGE : ORGAN_OK);
        ck_assert_str_eq(error.message, message);
    }
}
END_TEST

/* The struct of a verb that reads many files. */
typedef struct reader {
    organ_call call;
    organ_words files;
    const char *page;
} reader;

/* The output of a command is compared with each of its inputs, also with the last of many. */
START_TEST(outputs_are_compared_with_all_inputs)
{
    enum { FILES = 200 };
    static const organ_operand files[] = {
        {.name = "FILE...", .offset = offsetof(reader, files), .names = ORGAN_NAMES_INPUT}};
    static const organ_option options[] = {
        {.name = "html", .value = ORGAN_VALUE_TEXT, .offset = offsetof(reader, page), .names = ORGAN_NAMES_OUTPUT}};
    static const organ_option_group groups[] = {{"options", options, 1}};
    static const organ_verb verb = {.name = "read",
                                    .operands = files,
                                    .operand_count = 1,
                                    .groups = groups,
                                    .group_count = 1,
                                    .call_size = sizeof(reader)};
    static char names[FILES][32];
    static reader given = {.page = "no-such-file-199", .files.count = FILES};
    organ_error error = {0};
    for (size_t k = 0; k < FILES; k++) {
        snprintf(names[k], sizeof names[k], "no-such-file-%zu", k);
        given.files.word[k] = names[k];
    }
    ck_assert_int_eq(organ_call_check_outputs(&verb, &given.call, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message,
                     "read: --html no-such-file-199 would be written over its input FILE... no-such-file-199");
    given.page = "no-such-file-200";
    error = (organ_error){0};
    ck_assert_int_eq(organ_call_check_outputs(&verb, &given.call, &error), ORGAN_OK);
}
END_TEST

int main(void)
{
    const struct {
        const char *name;
        const TTest *tests[12];
    } cases[] = {{"options",
                  {defaults_come_from_the_table, options_are_written_in_many_ways, the_last_operand_may_take_many_words,
                   an_option_may_take_two_words, what_looks_like_an_option_can_be_named, bounds_are_values_too,
                   help_wins_over_what_is_missing, faults_name_option_value_and_range, near_names_are_found,
                   unknown_verbs_are_refused, choices_are_held_to}},
                 {"outputs", {outputs_are_compared_with_all_inputs}},
                 {"requirements", {requirements_are_about_options, requirements_are_checked, requirements_allow}},
                 {"help", {the_table_is_sound, every_option_is_explained}}};
    Suite *const suite = suite_create("options");
    for (size_t c = 0; c < LENGTH(cases); c++) {
        TCase *const group = tcase_create(cases[c].name);
        for (size_t k = 0; cases[c].tests[k]; k++)
            tcase_add_test(group, cases[c].tests[k]);
        suite_add_tcase(suite, group);
    }
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
