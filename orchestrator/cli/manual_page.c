/* SPDX-License-Identifier: MIT
 * Writes manual pages in roff. Lines of the source are short, because tools for manual pages warn about long ones. */
#include "orchestrator/cli/cli_parts.h"

#include "orchestrator/command/options.h"
#include "orchestrator/stream/pass_parts.h"
#include "orchestrator/version.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_WIDTH = 78 };

/* ---- roff ---- */

/* *s must be valid UTF-8; it moves to the next character. */
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
        const size_t width = put_escaped(NULL, text, word) + (*text == '-' || *text == '.' ? 2 : 0);
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

static void manual_name(const organ_verb *verb, char name[ORGAN_MANUAL_NAME_ROOM])
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

static void put_roff_option(FILE *out, const organ_option *option)
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
    organ_help_meaning(option, meaning);
    put_roff_text(out, meaning);
}

static void put_options(FILE *out, const organ_verb *verb)
{
    for (size_t k = 0; k < verb->operand_count; k++) {
        fputs(k == 0 ? ".SH ARGUMENTS\n.TP\n" : ".TP\n", out);
        put_argument(out, verb->operands[k].name);
        fputc('\n', out);
        put_roff_text(out, verb->operands[k].help);
    }
    fputs(".SH OPTIONS\n", out);
    for (size_t g = 0; g < verb->group_count; g++) {
        if (verb->group_count > 1)
            fprintf(out, ".SS %s\n", verb->groups[g].title);
        for (size_t k = 0; k < verb->groups[g].count; k++)
            put_roff_option(out, &verb->groups[g].options[k]);
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
    manual_name(verb, name);
    fputs(".BR \\%", out);
    put_roff_word(out, name);
    fprintf(out, " (1)%s\n", end);
}

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

/* Prints organ-VERB(1), the manual page of a verb, which must be in the table: the page refers to its neighbours. */
static void manual_of_verb(FILE *out, const organ_verb_table *table, const organ_verb *verb)
{
    char name[ORGAN_MANUAL_NAME_ROOM];
    manual_name(verb, name);
    put_header(out, name);
    const size_t taken = put_escaped(out, name, strlen(name));
    fputs(" \\-", out); /* 3 bytes more in the line of the summary */
    put_roff_words(out, verb->summary, strlen(verb->summary), taken + 3);
    put_synopsis(out, verb);
    fputs(".SH DESCRIPTION\n", out);
    put_roff_text(out, verb->about);
    put_options(out, verb);
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

/* The lines "@@" of the template organ.1 stand for the list of verbs, for the exit codes and, at the end of the page,
 * for references to the pages of all verbs. */
static void manual_of_program(FILE *out, const organ_verb_table *table)
{
    put_header(out, "organ");
    const char *rest = organ_embedded_part(out, organ_manual_template);
    put_verbs(out, table);
    rest = organ_embedded_part(out, rest);
    for (size_t k = 0; k < ORGAN_EXITS; k++)
        put_exit(out, organ_exits[k].code, organ_exits[k].meaning);
    organ_embedded_part(out, rest);
    for (size_t k = 0; k < table->count; k++)
        put_reference(out, table->verbs[k], k + 1 < table->count ? "," : "");
}

/* version, help, manual, completion: the verbs about the program itself. */

typedef struct help_call {
    organ_call call;
    const char *topic, *topic_second; /* operands of help, manual and completion: "VERB WORD", or the shell */
    bool list;                        /* manual --list */
} help_call;
#define CALL help_call

static void print_computes(const organ_kernels *kernels)
{
    fputs("\ncompute  exact", stdout);
    for (int k = ORGAN_COMPUTE_EXACT + 1; k < ORGAN_COMPUTES; k++) {
        organ_engine engine = {.kernels = kernels};
        const char *const name = organ_compute_name((organ_compute)k), *why;
        if (organ_engine_compute(&engine, name, &(organ_error){0}) == ORGAN_OK)
            printf("; %s by %s", name, engine.dots->isa);
        else if (!organ_dots_choose(organ_cpu_detect(), kernels, (organ_compute)k, &why))
            printf("; %s is not available (%s)", name, why);
        else
            printf("; %s is not available (the kernel denies the use of AMX)", name);
    }
}

/* The line "tiles" names the kernels for the tiles of physarum; if there are two implementations of the tile for
 * this CPU, organ_kernels_for_tiles times both. */
static organ_status run_version(void *context, organ_error *error)
{
    (void)context;
    const char *const requested = getenv("ORGAN_ISA");
    const organ_kernels *const chosen = organ_kernels_selected(error);
    const organ_kernels *const best =
        chosen ? organ_kernels_choose(organ_cpu_detect(), NULL, &(const char *){0}) : NULL;
    organ_topology *topology = NULL;
    if (!chosen || organ_topology_discover(&topology, error) != ORGAN_OK)
        return error->status;
    printf("organ %s\n", ORGAN_VERSION);
    if (requested && *requested)
        printf("kernels  %s, as set by ORGAN_ISA; the best for this CPU is %s\n", chosen->isa, best->isa);
    else
        printf("kernels  %s, the best for this CPU\n", chosen->isa);
    fputs("usable  ", stdout);
    static const char *const names[] = {"scalar", "neon", "avx2", "avx512"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (organ_kernels_choose(organ_cpu_detect(), names[k], &(const char *){0}))
            printf(" %s", names[k]);
    const bool timed = !(requested && *requested) && organ_kernels_other_tile(chosen);
    printf("\ntiles    %s%s", organ_kernels_for_tiles(&(organ_engine){.kernels = chosen})->isa,
           timed ? ", the faster of two on this CPU" : "");
    print_computes(chosen);
    const size_t cores = organ_topology_cores(topology), nodes = organ_topology_nodes(topology);
    printf("\nmachine  %zu core%s on %zu memory node%s\n", cores, cores == 1 ? "" : "s", nodes, nodes == 1 ? "" : "s");
    organ_topology_destroy(topology);
    return ORGAN_OK;
}

static organ_status run_help(void *context, organ_error *error)
{
    const CALL *const own = context;
    const organ_page page = organ_terminal_page(stdout);
    if (own->topic && !own->topic_second && organ_help_family(stdout, own->call.table, own->topic, &page))
        return ORGAN_OK;
    const organ_verb *const verb =
        own->topic ? organ_verb_topic(own->call.table, own->topic, own->topic_second, "help", error) : NULL;
    if (verb)
        organ_help_of_verb(stdout, verb, &page);
    else if (!own->topic)
        organ_help_overview(stdout, own->call.table, &page);
    return error->status;
}

static organ_status run_manual(void *context, organ_error *error)
{
    const CALL *const own = context;
    const organ_verb_table *const table = own->call.table;
    char name[ORGAN_MANUAL_NAME_ROOM];
    if (own->list) {
        puts("organ");
        for (size_t k = 0; k < table->count; k++) {
            manual_name(table->verbs[k], name);
            puts(name);
        }
        return ORGAN_OK;
    }
    for (size_t k = 0; own->topic && k < table->count; k++) {
        manual_name(table->verbs[k], name);
        if (strcmp(own->topic, name) == 0 && !own->topic_second) {
            manual_of_verb(stdout, table, table->verbs[k]);
            return ORGAN_OK;
        }
    }
    if (!own->topic || strcmp(own->topic, "organ") == 0) {
        manual_of_program(stdout, table);
        return ORGAN_OK;
    }
    const organ_verb *const verb = organ_verb_topic(table, own->topic, own->topic_second, "manual", error);
    if (verb)
        manual_of_verb(stdout, table, verb);
    return error->status;
}

static organ_status run_completion(void *context, organ_error *error)
{
    (void)error;
    fputs(organ_completion_script(((const CALL *)context)->topic), stdout);
    return ORGAN_OK;
}

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option manual_options[] = {
    FLAG("list", list, "print the names of all pages")};

const organ_verb organ_version_verb = {
    .name = "version",
    .summary = "print the version and the kernels that run on this machine",
    .about = "Prints the version, the instruction set of the kernels and why it was chosen, and the cores and memory "
             "nodes that this process may use. The environment variable ORGAN_ISA (scalar, avx2, avx512, avx512-mixed, "
             "neon) chooses another instruction set; the results are the same with all. avx512-mixed is avx512 with "
             "other kernels for physarum-v1, the method of prune without a text. If ORGAN_ISA is not set, prune times "
             "both on this CPU and uses the faster.",
    GROUPS(HELP_GROUP("Output")),
    .run = run_version};

const organ_verb organ_help_verb = {
    .name = "help",
    .summary = "explain a verb",
    .about = "Explains a verb with all its options and examples.",
    OPERANDS(OPTIONAL("VERB", VERB, topic, "the verb to explain; default: a summary of all verbs"),
             OPTIONAL("WORD", VERB, topic_second, "the second word of a verb of two: lora extract")),
    GROUPS(HELP_GROUP("Options")),
    .run = run_help};

const organ_verb organ_manual_verb = {
    .name = "manual",
    .summary = "print a page of the manual",
    .about = "Prints a page of the manual in roff, the format of man pages. 'ninja install' installs all pages. "
             "Pages and help are made from one table and have the same texts.",
    OPERANDS(OPTIONAL("VERB", VERB, topic,
                      "the verb to explain, or the name of its page, organ-VERB; default: the whole program"),
             OPTIONAL("WORD", VERB, topic_second, "the second word of a verb of two: lora extract")),
    GROUPS(GROUP("Options", manual_options), HELP_GROUP("Output")),
    EXAMPLES({"organ manual prune | man -l -", "Formats the page of prune, installed or not."},
             {"organ manual --list", "Lists the pages that 'ninja install' installs in share/man/man1."}),
    .run = run_manual};

const organ_verb organ_completion_verb = {
    .name = "completion",
    .summary = "print a completion script for a shell",
    .about = "Prints a script for bash, zsh or fish that completes verbs, options, values of options with a few "
             "choices, and files where an argument is a path. 'ninja install' installs all three where these "
             "shells look for them.",
    OPERANDS(OPERAND("bash|zsh|fish", NOTHING, topic, "the shell to write for")),
    GROUPS(HELP_GROUP("Output")),
    EXAMPLES({"source <(organ completion bash)", "Enables completion in this bash."},
             {"organ completion zsh >~/.zfunc/_organ", "Enables completion in zsh, if ~/.zfunc is in fpath."},
             {"organ completion fish >~/.config/fish/completions/organ.fish", "Enables completion in fish."}),
    .run = run_completion};
