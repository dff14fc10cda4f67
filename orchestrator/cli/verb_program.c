/* SPDX-License-Identifier: MIT
 * version, help, manual, completion: the verbs about the program itself. */
#include "orchestrator/cli/cli_parts.h"

#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/pass_parts.h"
#include "orchestrator/version.h"

#include <stdlib.h>
#include <string.h>

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
        if (organ_engine_compute(&engine, "compute", name, &(organ_error){0}) == ORGAN_OK)
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

static bool is_exit_topic(const char *topic)
{
    static const char *const words[] = {ORGAN_EXIT_TOPIC, "exit", "codes", "exit-codes", NULL};
    return organ_is_one_of(topic, words);
}

/* `topic` is a verb, the first word of several verbs, a topic of options, an option, or NULL. Verbs come before options
 * of the same name ("compare", "evaluate"). */
static organ_status put_help(FILE *out, const help_call *own, const organ_page *page, organ_error *error)
{
    const organ_verb_table *const table = own->call.table;
    const char *const topic = own->topic_second ? NULL : own->topic;
    const organ_topic *const shared = topic ? organ_topic_find(table, topic) : NULL;
    const organ_verb *verb = NULL;
    if (!own->topic)
        organ_help_overview(out, table, page);
    else if (topic && strcmp(topic, ORGAN_ALL_TOPICS) == 0)
        organ_help_topics(out, table, page);
    else if (shared)
        organ_help_topic(out, table, shared, page);
    else if (topic && is_exit_topic(topic))
        organ_help_exits(out, page);
    else if (topic &&
             (organ_help_family(out, table, topic, page) ||
              (!organ_has_verb(table, topic) && organ_help_option(out, table, topic + strspn(topic, "-"), page))))
        return ORGAN_OK;
    else if ((verb = organ_verb_topic(table, own->topic, own->topic_second, "help", error)))
        organ_help_of_verb(out, table, verb, page);
    return error->status;
}

static organ_status run_help(void *context, organ_error *error)
{
    const organ_page page = organ_terminal_page(stdout);
    organ_text text;
    ORGAN_OWNED char *help = NULL;
    if (organ_text_open(&text, error) != ORGAN_OK)
        return error->status;
    put_help(text.out, context, &page, error);
    if (organ_text_end(&text, &help, error) == ORGAN_OK)
        organ_pager_print(help);
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
            organ_manual_name(table->verbs[k], name);
            puts(name);
        }
        return ORGAN_OK;
    }
    for (size_t k = 0; own->topic && k < table->count; k++) {
        organ_manual_name(table->verbs[k], name);
        if (strcmp(own->topic, name) == 0 && !own->topic_second) {
            organ_manual_of_verb(stdout, table, table->verbs[k]);
            return ORGAN_OK;
        }
    }
    if (!own->topic || strcmp(own->topic, "organ") == 0) {
        organ_manual_of_program(stdout, table);
        return ORGAN_OK;
    }
    const organ_verb *const verb = organ_verb_topic(table, own->topic, own->topic_second, "manual", error);
    if (verb)
        organ_manual_of_verb(stdout, table, verb);
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
    FLAG("list", list, "print the names of all pages", .common = true)};

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
    .usage = "[VERB [WORD] | TOPIC | OPTION | exits] [options]",
    .summary = "explain a verb, or the options that verbs share",
    .about = "Explains a verb with all its options and examples, the options of a topic, an option without its dashes "
             "(organ help memory), or the exit codes. On a terminal the text goes through a pager: ORGAN_PAGER, else "
             "PAGER, else less.",
    OPERANDS(OPTIONAL("VERB", VERB, topic, "the verb, topic or option; default: a list of all verbs and topics"),
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
