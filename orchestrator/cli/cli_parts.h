/* SPDX-License-Identifier: MIT
 * Macros and shared options for the files verb_*.c. A verb consists of a struct that receives the values of its
 * options, a table of options, a run function, and an organ_verb with all of these and the help texts. For example:
 *
 *   CALL_WITH(NAME, organ_NAME_options);
 *   #define CALL NAME_call
 *   static const organ_option NAME_options[] = {OUTPUT("OUT", NAME.write.output, "the directory to make"), ...};
 *   RUN_WRITING(NAME, organ_NAME, NAME)
 *   const organ_verb organ_NAME_verb = {.name = "NAME", ..., .run = run_NAME}; */
#ifndef ORGAN_CLI_CLI_PARTS_H
#define ORGAN_CLI_CLI_PARTS_H

#include "formats/base/arena.h"
#include "orchestrator/command/exits.h"
#include "orchestrator/command/option_tables.h"
#include "orchestrator/output/verb_requirements.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/text/report_text.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/options.h>
#include <organ/stream.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- verbs found in a table by their names ---- */

/* Returns whether the table has a verb of this name, or with this name in an older version. */
bool organ_has_verb(const organ_verb_table *table, const char *name);

/* Returns whether the verb has a name of two words and `family` is the first ("lora"). */
bool organ_verb_is_of_family(const organ_verb *verb, const char *family);

/* Returns the verb `name`, or `name second` if its name has two words ("lora extract"). `second` is the word after
 * `name` or NULL. *words becomes the number of words in the name of the verb, 1 or 2. Returns NULL with ORGAN_USAGE and
 * a suggestion if there is no such verb. */
const organ_verb *organ_verb_find(const organ_verb_table *table, const char *name, const char *second, int *words,
                                  organ_error *error);

/* Returns the verb that the operands of `organ help` or `organ manual` name: `name`, or `name second` (`second` may be
 * NULL). `asker` is "help" or "manual", for messages. Returns NULL with ORGAN_USAGE if there is no such verb. */
const organ_verb *organ_verb_topic(const organ_verb_table *table, const char *name, const char *second,
                                   const char *asker, organ_error *error);

/* ---- options that several verbs share ---- */

/* The values of these options. A verb with further options has a struct whose first member, `call`, is an organ_call.
 */
typedef struct organ_call {
    const organ_verb *verb;              /* that runs */
    organ_words headers;                 /* --header */
    unsigned patience;                   /* --patience */
    organ_model_access access;           /* made from `headers` and `patience` by organ_call_complete */
    organ_experiment_options evaluation; /* --evaluate of verbs that write a model */
    bool tensors;                        /* --tensors: the report on the terminal lists all tensors */
    unsigned threads;                    /* 0: one per core */
    uint64_t memory;                     /* --memory in bytes */
    unsigned readers;                    /* --readers; 0: all threads */
    const char *progress;                /* --progress, see organ_terminal_open; NULL: auto */
    const char *html;                    /* --html: file to which the report is also written as a page; NULL: none */
    bool json, csv, quiet, help;
    const organ_stop *stop;        /* main sets it when a signal requests the end of the run */
    unsigned ranks_requested;      /* --ranks: required number of processes; 0: any */
    organ_ranks *ranks;            /* the processes that share the work; NULL: this process does it alone */
    const organ_verb_table *table; /* all verbs of the program */
    organ_arena names;             /* owns the paths by which organ_call_resolve_names replaces names of models */
} organ_call;

/* Returns the options of --evaluate, for organ_write_options.evaluate; NULL if it was not given. */
static inline const organ_experiment_options *organ_call_evaluation(const organ_call *call)
{
    return call->evaluation.text ? &call->evaluation : NULL;
}

/* ---- progress on stderr ---- */

/* Displays progress on stderr: one line that is redrawn on a terminal, a line every ten seconds in a log, a line for
 * each tensor, or events. */

/* A display of progress and the state of the present stage. Times are in seconds of `now`. */
typedef struct organ_terminal {
    FILE *out;
    const organ_verb *verb; /* whose options notes name in place of fields of the library; NULL: none */
    double (*now)(void);    /* the clock: organ_seconds_now, or that of a test */
    bool quiet;             /* --quiet or --progress none: print nothing */
    bool events;            /* --progress json: print events */
    bool live;              /* draw a bar in a line that is redrawn; false: print lines */
    bool each;              /* print a line for each tensor; false, without `live`: one every ten seconds, and one at
                             * the end of a stage that was longer */
    bool colour;            /* the line is coloured; only if `live` */
    organ_page page;        /* width and encoding of `out` */
    char what[32];          /* name of the stage; "" between stages */
    char finished[192];     /* name of the tensor finished last, "" before the first one */
    char remark[64];        /* remark about that tensor, or "" */
    uint64_t bytes, done;   /* of the stage: bytes in total and done */
    size_t tensors, count;  /* of the stage: tensors in total and finished */
    double started, drawn;  /* time at which the stage began, and time of the last output */
    double speed;           /* average of bytes per second (measure_speed); 0: not yet known */
    double measured;        /* time of the last measurement of the speed */
    uint64_t measured_done; /* value of `done` at that time */
} organ_terminal;

/* Returns width and encoding of the output on `stream`. The width is that of its terminal, else the variable COLUMNS,
 * else 0 (no limit). utf8 is true if the encoding of the locale is UTF-8. */
organ_page organ_terminal_page(FILE *stream);

/* Prepares the display of progress on `out`. `progress` is "bar", "lines", "json", "none", or
 * "auto": a bar if `out` is a terminal that can redraw a line, else a line every ten seconds. NULL is "auto"; `quiet`
 * means "none". "lines" prints a line for each tensor. The bar has colour if organ_stream_has_colour allows it. */
void organ_terminal_open(organ_terminal *terminal, FILE *out, const char *progress, bool quiet);

/* Returns callbacks that display progress on `terminal`, which must outlive them. */
organ_progress organ_terminal_progress(organ_terminal *terminal);

/* Returns the progress line at the time `now`, without colour, at most `page.width` columns wide (80 if that is 0). The
 * caller frees it; NULL if memory runs out. */
char *organ_terminal_line(const organ_terminal *terminal, double now);

/* ---- the frame around the work of a verb ---- */

/* Resources that the program opens for a verb: the engine and the display of progress. */
typedef struct organ_engine_room {
    const organ_call *call;
    organ_terminal terminal;
    organ_progress shown;           /* callbacks of `terminal` */
    const organ_progress *progress; /* the callbacks that the verb calls: `shown`, or under mpirun those that collect
                                     * the progress of all ranks for `shown` of rank 0 (organ_ranks_progress) */
    organ_engine *engine;           /* NULL for verbs without an engine */
} organ_engine_room;

/* Opens the display of progress on stderr and, if `with_engine`, an engine with the threads and memory of the call;
 * verbs that only read or copy bytes need no engine. Prints a note if threads could not be pinned. Returns ORGAN_USAGE
 * if options of --evaluate are given without it, otherwise the status of organ_engine_create. After an error there is
 * nothing to close. */
organ_status organ_engine_room_open(organ_engine_room *room, const organ_call *call, bool with_engine,
                                    organ_error *error);

/* Closes the engine, then writes `report` on stdout, as tables, with --json as JSON or with --csv as CSV, and with
 * --html as a page. Takes the reference of `report`; NULL: there is none. Writes it also if `error` is set, because a
 * report may describe a failed check. Returns the status of `error`. */
organ_status organ_engine_room_close(organ_engine_room *room, json_t *report, organ_error *error);

/* Returns the best kernels for this CPU, or those that the environment variable ORGAN_ISA names. Returns NULL with
 * ORGAN_USAGE if no kernels have that name or the CPU cannot run them. */
const organ_kernels *organ_kernels_selected(organ_error *error);
/* Returns the kernels for tiles of physarum: those that ORGAN_ISA names; without ORGAN_ISA those that
 * organ_engine_choose_tile finds to be faster on this CPU. */
const organ_kernels *organ_kernels_for_tiles(const organ_engine *engine);

/* The number of elements of an array. */
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* clang-format would break the macros and tables into many short lines. */
/* clang-format off */

/* ---- options ---- */

/* The topics of options that verbs share. */
extern const organ_topic organ_topic_machine, organ_topic_outputs, organ_topic_calibration, organ_topic_budget,
    organ_topic_evaluation, organ_topic_scoring, organ_topic_urls, organ_topic_reports;

/* A row of a table of options: the kind of its value (organ_value), its name, the name of its value in help, the member
 * of CALL that gets the value, its help, and further members of organ_option as designated initialisers. Each file of
 * verbs defines CALL, the struct that begins with an organ_call. */
#define OPTION(kind, called, value_name, member, ...) \
    {.name = called, .value = ORGAN_VALUE_##kind, .argument = value_name, .offset = offsetof(CALL, member), \
     .field = #member, .help = __VA_ARGS__}
/* The same for each kind of value. CHOICE: its value is one of the words in `of`, "bf16|f16". DTYPE: --dtype. MODEL,
 * INPUT, OUTPUT: its value is a path (organ_names); OUTPUT is --output and -o. */
#define FLAG(called, member, ...) OPTION(FLAG, called, NULL, member, __VA_ARGS__)
#define TEXT(...)   OPTION(TEXT, __VA_ARGS__)
#define WORDS(...)  OPTION(WORDS, __VA_ARGS__)
#define NUMBER(...) OPTION(COUNT, __VA_ARGS__)
#define REAL(...)   OPTION(REAL, __VA_ARGS__)
#define BYTES(...)  OPTION(BYTES, __VA_ARGS__)
#define CHOICE(called, of, member, ...)        TEXT(called, of, member, __VA_ARGS__, .choices = of)
#define DTYPE(member, ...)                     CHOICE("dtype", "bf16|f16|f32", member, __VA_ARGS__, .any_case = true)
#define MODEL(called, value_name, member, ...) TEXT(called, value_name, member, __VA_ARGS__, .names = ORGAN_NAMES_MODEL)
#define INPUT(called, value_name, member, ...) TEXT(called, value_name, member, __VA_ARGS__, .names = ORGAN_NAMES_INPUT)
#define OUTPUT(value_name, member, ...) \
    TEXT("output", value_name, member, __VA_ARGS__, .letter = 'o', .common = true, .names = ORGAN_NAMES_OUTPUT)

/* Declares NAME_call, the CALL of a verb whose own values are one structure of options, the member NAME. */
#define CALL_WITH(name, options) typedef struct name##_call { organ_call call; options name; } name##_call

/* The digits of a macro that is a number, as a string for .fallback. */
#define DIGITS(constant) DIGITS_OF(constant)
#define DIGITS_OF(digits) #digits

/* Ranges (organ_range) of options that several verbs have. */
#define THREADS       1, 4096
#define RANKS         1, 65536 /* number of processes, or rank of a matrix */
#define SEEDS         0, 4294967295.0
#define TEXT_CONTEXTS 4, 1048576      /* tokens in a window of perplexity and of --evaluate */
#define TEXT_TOKENS   2, 4294967295.0 /* tokens of a text */
#define TEXT_WINDOWS  1, 4294967295.0 /* windows of a text */

/* Options that have the same meaning in every verb. `member` gets the value. */
#define RESUME(member) FLAG("resume", member, \
    "continue an interrupted run; the output equals that of an uninterrupted one", .topic = &organ_topic_outputs)
#define FORCE(member) \
    FLAG("force", member, \
         "replace an existing output if it is a model, an adapter or an output of organ and contains no other files", \
         .letter = 'f', .topic = &organ_topic_outputs)
#define DRY_RUN(member, what) FLAG("dry-run", member, "write no output: " what, .letter = 'n', .common = true)
/* Help of --dry-run for verbs that print a plan. */
#define AND_PLAN  ", the size of the output, the least --memory and an estimate of the time"
#define AND_NEEDS ", the size of the output, the memory and an estimate of the time"
/* --resume, --force and --dry-run of a verb that writes a model. `of.write` is an organ_write_options, `dry` the help
 * of --dry-run. */
#define WRITING(of, dry) RESUME(of.write.resume), FORCE(of.write.force), DRY_RUN(of.write.dry_run, dry)
/* --saturate of a verb that stores values in a narrower type. `of.write` is an organ_write_options. */
#define SATURATE(of) \
    FLAG("saturate", of.write.saturate, \
         "store values beyond the range of their new type as its greatest value; otherwise they are an error", \
         .topic = &organ_topic_outputs)
#define SHARD_SIZE(of) \
    BYTES("max-shard-size", "SIZE", of.write.max_shard_size, \
          "largest size of a shard; a tensor that does not fit begins a new shard", \
          .range = {1, 16384.0 * 1073741824.0}, .fallback = "5G", .topic = &organ_topic_outputs)
/* --select, a list of words that select tensors (organ_selection_parse). `what` begins its help: "prune these tensors
 * instead of the projections". */
#define SELECT(member, what, ...) \
    TEXT("select", "WHAT,...", member, \
         what ": names or patterns of names ('*.mlp.*'), roles (down_proj), layers (5-20) and groups", \
         .choices = "attention|feed-forward|embed|norm|other|mtp|all", .open = true, .common = true, __VA_ARGS__)
/* --for, a list of programs; `what` begins its help. */
#define READERS(member, what) \
    TEXT("for", "NAMES", member, \
         what "; commas separate the names", \
         .choices = "vllm|transformers|llama.cpp|mlx|openvino|mistralrs", .open = true)
/* --layers, an option of older versions: a second list for --select. */
#define LAYERS_FORMERLY(member) TEXT("layers", "RANGE,...", member, "layers that --select selects")

/* --samples, --context, --compute and --scratch; `of.calibration` is an organ_calibration_text. */
#define WINDOWS_CALIBRATION(of) \
    NUMBER("samples", "N", of.calibration.samples, "number of windows, spread evenly over the text", \
                                       .range = {ORGAN_SAMPLES}, .fallback = DIGITS(ORGAN_SAMPLES_DEFAULT), \
                                       .topic = &organ_topic_calibration), \
    NUMBER("context", "N", of.calibration.context, "tokens in a window", .range = {ORGAN_CONTEXTS}, \
                                                   .fallback = DIGITS(ORGAN_CONTEXT_DEFAULT), \
                                       .topic = &organ_topic_calibration), \
    COMPUTE("compute", of.calibration.compute, \
            "arithmetic with which the calibration text runs: exact, or faster split or bf16; default exact", \
            .topic = &organ_topic_calibration), \
    INPUT("scratch", "DIR", of.calibration.scratch, \
          "store hidden states in a temporary file in DIR, best on a local disk, instead of in --memory", \
          .temporary = true, .topic = &organ_topic_calibration)

/* --moments; `member` is a text. */
#define MOMENTS(member) \
    CHOICE("moments", "whole|blocks", member, \
           "keep the second moments of each matrix's inputs whole, or only blocks of 256 inputs, which need less " \
           "memory and give a larger error; default whole")

/* --all-experts; `of.all_experts` is a bool. */
#define ALL_EXPERTS(of) \
    FLAG("all-experts", of.all_experts, \
         "calibrate every expert on all tokens of its layer instead of only its routed tokens; the layer's output " \
         "still comes from the routed experts", .topic = &organ_topic_calibration)

/* An option that selects the arithmetic of a forward pass. */
#define COMPUTE(name, member, ...) TEXT(name, "KIND", member, __VA_ARGS__, .choices = "exact|split|bf16")

/* Options that divide one budget over all targets. `member` is an organ_allocate_options; `example` is the help of a
 * budget of this verb. Only prune has ALLOCATION_WAY. */
#define ALLOCATION_OF(member, example) \
    CHOICE("allocate", "global", member.allocate, \
           "divide one --budget over all targets by the KL divergence that each tensor alone is predicted to cost, " \
           "from measurements on a part of --calibration", .topic = &organ_topic_budget), \
    TEXT("budget", "AMOUNT", member.budget, "amount to divide: " example), \
    TEXT("allocation", "FILE", member.file, "file of the measurements of --allocate: read if it exists, else written", \
         .names = ORGAN_NAMES_INPUT, .written = true, .topic = &organ_topic_budget)
#define ALLOCATION_ROUNDS(member) \
    NUMBER("rounds", "N", member.rounds, \
           "after the division, move budget from one tensor to another in N rounds; each round runs the whole model " \
           "and keeps the moves that lower the divergence; default 0", \
           .range = {ORGAN_ALLOCATE_ROUNDS}, .topic = &organ_topic_budget)
#define ALLOCATION_TOKENS(member) \
    NUMBER("allocate-tokens", "N", member.tokens, \
           "tokens on which the divergence is measured; they are not used for calibration; default 1024", \
           .range = {ORGAN_ALLOCATE_TOKENS}, .topic = &organ_topic_budget), \
    NUMBER("allocate-layers", "N", member.layers, "largest number of layers to measure, evenly spread; default 16", \
           .range = {ORGAN_ALLOCATE_LAYERS}, .topic = &organ_topic_budget)
#define ALLOCATION_WAY(member) \
    REAL("allocate-way", "W", member.way, \
         "mixes two divisions: 1 is the one with the least predicted divergence; the lower W, the closer to an " \
         "equal sparsity of all tensors; default 0.8", \
         .range = {0, 1}, \
         .after_from = true)

/* ---- operands, groups of options, examples ---- */

/* A row of OPERANDS: the name of the operand in help, the kind of thing that it names (`what`: MODEL, INPUT, VERB,
 * NOTHING), the member of CALL that gets the value, and its help. OPTIONAL: the operand may be missing. */
#define OPERAND(called, what, member, text) \
    {called, text, offsetof(CALL, member), false, ORGAN_NAMES_##what, false, #member}
#define KEEP_TIED                                                                                                      \
    "if the output head of the base is its embedding, let that of the output be, too; default: a head of its own if "  \
    "only one of both changes"
/* models, or MODEL+ADAPTER */
#define ADAPTED(called, member, text) \
    {called, text, offsetof(CALL, member), false, ORGAN_NAMES_MODEL, true, #member}
#define OPTIONAL(called, what, member, text) \
    {called, text, offsetof(CALL, member), true, ORGAN_NAMES_##what, false, #member}

extern const organ_option organ_machine_options[4];           /* --threads, --memory, --readers, --ranks */
extern const organ_option organ_ranks_options[1];             /* --ranks */
extern const organ_option organ_reporting_options[6];         /* --json, --csv, --html, --progress, --quiet, --help */
extern const organ_option organ_evaluation_options[5];        /* --evaluate and its options */
extern const organ_option organ_reach_options[2];             /* --header, --patience */
extern const organ_option organ_help_options[1];              /* --help */

/* A row of GROUPS: a table of options under a title in help. */
#define GROUP(title, options) {title, options, COUNT(options)}
#define MACHINE_GROUP     GROUP("Machine", organ_machine_options)
/* of verbs that processes of a launcher cannot share: without --ranks, the last one */
#define ALONE_GROUP       {"Machine", organ_machine_options, COUNT(organ_machine_options) - 1}
#define RANKS_GROUP       GROUP("Machine", organ_ranks_options)
#define REACH_GROUP       GROUP("Models at URLs", organ_reach_options)
#define EVALUATION_GROUP  GROUP("Evaluation", organ_evaluation_options)
#define REPORTING_GROUP   GROUP("Output", organ_reporting_options)
#define HELP_GROUP(title) GROUP(title, organ_help_options)

/* Initialisers of members of an organ_verb that are tables: the rows and their number. GROUPS also sets call_size. */
#define ROWS(member, count, type, ...) \
    .member = (const type[]){__VA_ARGS__}, .count = COUNT(((const type[]){__VA_ARGS__}))
#define OPERANDS(...) ROWS(operands, operand_count, organ_operand, __VA_ARGS__)
#define FORMERLY(...) ROWS(former_options, former_count, organ_option, __VA_ARGS__)
#define GROUPS(...)   .call_size = sizeof(CALL), ROWS(groups, group_count, organ_option_group, __VA_ARGS__)
/* Rows of NEEDS: a table of requirements, and the member of CALL with its options. */
#define NEED(operation, member) {&organ_##operation##_requirements, offsetof(CALL, member)}
#define NEEDS(...)    ROWS(needs, need_count, organ_option_needs, __VA_ARGS__)
#define EXAMPLES(...) ROWS(examples, example_count, organ_example, __VA_ARGS__)

/* ---- runs ---- */

/* Begins the definition of the function that does the work of a verb. `own` and `call` point to the same struct;
 * `engine` is NULL for verbs without one. The function may set *report, which its caller releases, also if it fails.
 * */
#define WORK(function) \
    static organ_status function(CALL *own __attribute__((unused)), const organ_call *call __attribute__((unused)), \
                                 const organ_engine *engine __attribute__((unused)), \
                                 const organ_progress *progress __attribute__((unused)), json_t **report, \
                                 organ_error *error)

/* Defines run_NAME, which opens the engine if `with_engine` is true, calls NAME_work and prints its report. */
#define RUN_WORK(name, with_engine) \
    static organ_status run_##name(void *values, organ_error *error) \
    { \
        organ_engine_room room; \
        json_t *report = NULL; \
        if (organ_engine_room_open(&room, values, with_engine, error) != ORGAN_OK) \
            return error->status; \
        name##_work(values, values, room.engine, room.progress, &report, error); \
        return organ_engine_room_close(&room, report, error); \
    }

/* RUN defines NAME_work and run_NAME: run_NAME calls the function `operation` with the options own->OPTIONS and an
 * engine. RUN_WRITING passes --evaluate in OPTIONS.write, RUN_REMOTE --header and --patience in OPTIONS.access, and
 * RUN_FIRST executes the statement `first` before the call. */
#define RUN_FIRST(name, operation, options, first) \
    WORK(name##_work) { first; return operation(&own->options, engine, progress, report, error); } \
    RUN_WORK(name, true)
#define RUN(name, operation, options)         RUN_FIRST(name, operation, options, (void)0)
#define RUN_WRITING(name, operation, options) \
    RUN_FIRST(name, operation, options, own->options.write.evaluate = organ_call_evaluation(call))
#define RUN_REMOTE(name, operation, options)  RUN_FIRST(name, operation, options, own->options.access = &call->access)

/* clang-format on */

/* ---- advice for values of options ---- */

/* Returns whether the word names a recipe of organ merge, which takes the place of models: it ends in .yaml or .yml. */
bool organ_names_recipe(const char *word);

/* These are organ_option.explain of --scheme, --then and --sparsity. */
const char *organ_explain_scheme(const char *typed);
const char *organ_explain_then(const char *typed); /* of prune */
const char *organ_explain_then_of_merge(const char *typed);
const char *organ_explain_sparsity(const char *typed);
/* organ_option.accepts of --scheme: names of schemes and recipes in any case, the latter also without "recipe:". */
bool organ_scheme_is_named(const char *text, size_t length);

/* ---- the verbs, defined in verb_*.c ---- */

extern const organ_verb organ_inspect_verb, organ_models_verb, organ_fetch_verb;
extern const organ_verb organ_vocabulary_verb;
extern const organ_verb organ_prune_verb, organ_audit_verb, organ_purify_verb;
extern const organ_verb organ_measure_verb, organ_fleet_verb, organ_autopsy_verb, organ_orthogonality_verb,
    organ_compare_verb, organ_report_verb;
extern const organ_verb organ_merge_verb, organ_extract_verb, organ_assemble_verb, organ_graft_verb;
extern const organ_verb organ_gguf_split_verb, organ_gguf_join_verb, organ_gguf_edit_verb;
extern const organ_verb organ_patch_extract_verb, organ_patch_apply_verb;
extern const organ_verb organ_layers_verb, organ_width_verb;
extern const organ_verb organ_dequantize_verb, organ_quantize_verb, organ_convert_verb, organ_imatrix_verb;
extern const organ_verb organ_experts_verb;
extern const organ_verb organ_lora_extract_verb, organ_lora_sanitize_verb, organ_lora_merge_verb,
    organ_lora_resize_verb, organ_lora_combine_verb;
extern const organ_verb organ_tokenize_verb, organ_perplexity_verb, organ_evaluate_verb, organ_generate_verb;
extern const organ_verb organ_serve_verb;
extern const organ_verb organ_version_verb, organ_topology_verb, organ_schema_verb, organ_help_verb, organ_manual_verb,
    organ_completion_verb;

/* ---- checks of the path of --html ---- */

/* Checks that the page of --html can be written to `path`; creates nothing. Returns ORGAN_USAGE if `path` exists and is
 * neither empty nor an unchanged page of this program (organ_check_report_place), or if its directory does not exist;
 * ORGAN_IO if the directory is not writable. */
organ_status organ_html_file_check(const char *path, organ_error *error);

/* Returns ORGAN_USAGE if `path` is inside the directory of a model that an operand or option of the verb names.
 * `values` is the struct that organ_options_parse filled. */
organ_status organ_html_file_check_distinct(const char *path, const organ_verb *verb, const void *values,
                                            organ_error *error);

/* ---- help texts, generated from the table of verbs ---- */

/* Prints the text of `organ` without arguments: the verbs that most users need (organ_verb.common), on one screen.
 * `page` in all these functions is the width and encoding of `out`. */
void organ_help_start(FILE *out, const organ_verb_table *table, const organ_page *page);

/* Prints the text of `organ help`: all verbs, grouped by purpose, and the topics. */
void organ_help_overview(FILE *out, const organ_verb_table *table, const organ_page *page);

/* Prints the text of `organ VERB -h`: a sentence, two commands and the most used options, at most 40 lines of 80
 * columns. */
void organ_help_brief(FILE *out, const organ_verb *verb, const organ_page *page);

/* Prints the text of `organ help VERB` and `organ VERB --help`. It lists the options that have a topic by name only. */
void organ_help_of_verb(FILE *out, const organ_verb_table *table, const organ_verb *verb, const organ_page *page);

/* Prints the text of `organ help TOPIC`; organ_help_topics that of `organ help common`: all topics. */
#define ORGAN_ALL_TOPICS "common"
void organ_help_topic(FILE *out, const organ_verb_table *table, const organ_topic *topic, const organ_page *page);
void organ_help_topics(FILE *out, const organ_verb_table *table, const organ_page *page);

/* Returns the option of a topic with this number, in the order of the table; all verbs with the option describe it
 * alike. NULL after the last. */
const organ_option *organ_topic_option(const organ_verb_table *table, const organ_topic *topic, size_t number);

/* Writes the names of the verb's options of this topic to `out` (`size` bytes): "--threads, --memory". Returns whether
 * there are any. */
#define ORGAN_TOPIC_ROOM 400
bool organ_topic_names(const organ_verb *verb, const organ_topic *topic, char *out, size_t size);

/* Prints the texts that the verbs have for an option, `name` without dashes. Returns false, without printing, if no
 * verb has the option. */
bool organ_help_option(FILE *out, const organ_verb_table *table, const char *name, const organ_page *page);

/* Prints the text of `organ help exits`. */
#define ORGAN_EXIT_TOPIC "exits"
void organ_help_exits(FILE *out, const organ_page *page);

/* Prints the verbs of two words whose first is `word` ("lora"). Returns false and prints nothing if there are none. */
bool organ_help_family(FILE *out, const organ_verb_table *table, const char *word, const organ_page *page);

/* Writes the help text of an option with its range, its default and what it needs, "... (1 to 64; default 8; only with
 * --method gptq)". `verb` NULL: the option is described for all verbs, without needs. */
#define ORGAN_MEANING_ROOM 2048
void organ_help_meaning(const organ_verb *verb, const organ_option *option, char meaning[ORGAN_MEANING_ROOM]);

/* ---- long texts on a terminal ---- */

/* Prints a text on stdout. If that is a terminal that can move its cursor, the text goes through the pager that
 * ORGAN_PAGER or PAGER names, a command for the shell, else `less` with the options FRX unless LESS is set; "" and
 * "cat" name none. Prints the text without a pager if the shell does not find it. A pager that ends before it has read
 * all is no error. */
void organ_pager_print(const char *text);

/* ---- pages of the manual in roff (man macros), made from the table of verbs ---- */

/* Writes the name of a verb's manual page, such as "organ-lora-extract". */
#define ORGAN_MANUAL_NAME_ROOM 64
void organ_manual_name(const organ_verb *verb, char name[ORGAN_MANUAL_NAME_ROOM]);

/* Prints organ(1). */
void organ_manual_of_program(FILE *out, const organ_verb_table *table);

/* Prints organ-VERB(1), the page of a verb, which must be in the table: the page refers to its neighbours. */
void organ_manual_of_verb(FILE *out, const organ_verb_table *table, const organ_verb *verb);

/* ---- names of models on the command line, and outputs as private as the inputs ---- */

/* Replaces names of models in the values of all operands and options of the verb. Each value that names a model
 * (ORGAN_NAMES_MODEL), and each other input with a prefix such as "hf:", becomes the path that organ_name_resolve
 * finds. A model "hf:..." that is not in the cache becomes the URL of its commit at the hub, and call->access gets the
 * user's token; for a verb without --header it is an error.
 * Returns ORGAN_USAGE for a URL that is an output, an input other than a model, or a model of a verb without --header:
 * such files must be on this machine. Other errors are those of organ_name_resolve and organ_hub_stream.
 * The paths and URLs are valid until organ_arena_release(&call->names). */
organ_status organ_call_resolve_names(const organ_verb *verb, organ_call *call, organ_error *error);

/* Returns ORGAN_BAD_INPUT if a model of the call is a LoRA adapter; the message names the command that merges it with
 * its base. Verbs that read the tensors of any file accept adapters, and a note on stderr says that it is one. If
 * `error` is set already, to ORGAN_BAD_INPUT or ORGAN_USAGE, replaces it, and also recognises adapters in GGUF files.
 */
void organ_call_refuse_adapters(const organ_verb *verb, const organ_call *call, organ_error *error);

/* Adds to the umask of the process the permissions that outputs of the verb must not have, because group or others do
 * not have them on the models and other inputs that the call names. Call it after organ_call_resolve_names. */
void organ_call_close_modes(const organ_verb *verb, const organ_call *call);

/* ---- paths that a command writes, compared with each other and with its inputs ---- */

/* Returns ORGAN_USAGE, before any work, if two of the paths in the operands and options of the verb cannot both be
 * used:
 * - two outputs are the same file or directory, or one is inside the other, or inside the hidden directory of
 *   the other;
 * - an output is a file that the command reads, or contains one and would replace it;
 * - an output is a report that the run writes next to the single file of -o;
 * - standard output is a file that is also an output or an input.
 * Links, hard links and different spellings of a path count as the same path. Models and directories that the command
 * reads are left out: each verb compares its output with them when it opens them. `call` is the struct that
 * organ_options_parse filled. */
organ_status organ_call_check_outputs(const organ_verb *verb, const organ_call *call, organ_error *error);

/* ---- progress for programs (--progress json) ---- */

/* One JSON object per line on stderr, each written immediately.
 *
 *   {"event": "begin", "what": "pruning", "bytes": N, "tensors": N}
 *       a stage begins; the totals of the stage
 *   {"event": "advance", "bytes": N, "of": N, "tensors": N, "tensor": NAME|null, "remark": TEXT|null}
 *       amount done so far in the stage; NAME is the tensor that was just finished
 *   {"event": "end", "bytes": N, "of": N, "tensors": N}
 *       the stage has ended, complete or not; "tensors" is 0 in stages that count only bytes
 *   {"event": "note", "level": "note"|"warning", "text": TEXT}
 *       a message for the user
 *   {"event": "error", "status": NAME, "code": N, "message": TEXT}
 *       the run failed; N is the exit code; always the last line */

/* Prints the event "error". */
void organ_event_error(FILE *out, const organ_error *error);

/* ---- the verbs of the program ---- */

extern const organ_verb_table organ_all_verbs;

/* Allocates the struct that receives the options of `verb` (verb->call_size bytes, zeros except call->stop and
 * call->table). The caller frees it. Returns NULL with an error if memory runs out. */
organ_call *organ_call_create(const organ_verb *verb, const organ_stop *stop, organ_error *error);

/* Sets call->access from --header and --patience. call->access points into `call`, which must not be moved
 * afterwards. */
void organ_call_complete(organ_call *call);

/* ---- completion in shells ---- */

/* The scripts for bash, zsh and fish contain no verbs or options: they run the hidden verb
 * `organ complete WORD...`, which computes the candidates from the table of verbs. */

/* Returns the embedded script for `shell`, "bash" or "zsh"; any other text selects the script for fish. */
const char *organ_completion_script(const char *shell);

/* The name of the hidden verb. Its arguments are the words of the command line after "organ"; the last one is the
 * word to complete, up to the cursor, and may be empty. */
#define ORGAN_COMPLETE "complete"

/* Prints the candidates for the last of `count` words, one per line:
 *   WORD TAB DESCRIPTION  the shell may replace the whole last word by WORD; the description may be empty
 *   @HEAD                 the shell may replace it by HEAD followed by the path of any file
 *   +                     the shell must append no blank to a candidate, because a list may continue after it */
void organ_complete(FILE *out, const organ_verb_table *table, int count, char *const *words);

#endif
