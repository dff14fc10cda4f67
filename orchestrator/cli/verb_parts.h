/* SPDX-License-Identifier: MIT
 * Macros and shared options for the files verb_*.c. A verb consists of a struct that receives the values of its
 * options, a table of options, a run function, and an organ_verb with all of these and the help texts. For example:
 *
 *   typedef struct scale_call { organ_call call; organ_scale_options scale; } scale_call;
 *   #define CALL scale_call
 *   static const organ_option scale_options[] = {OUTPUT("OUT", scale.write.output, "the directory to make"), ...};
 *   RUN_WRITING(scale, organ_scale, scale)
 *   const organ_verb organ_scale_verb = {.name = "scale", ..., .run = run_scale}; */
#ifndef ORGAN_VERB_PARTS_H
#define ORGAN_VERB_PARTS_H

#include "orchestrator/cli/engine_room.h"
#include <organ/options.h>

#include <stddef.h>

/* The number of elements of an array. */
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* clang-format would break the macros and tables into many short lines. */
/* clang-format off */

/* ---- options ---- */

/* A row of a table of options: the kind of its value (organ_value), its name, the name of its value in help, the member
 * of CALL that gets the value, its help, and further members of organ_option as designated initialisers. Each file of
 * verbs defines CALL, the struct that begins with an organ_call. */
#define OPTION(kind, called, value_name, member, ...) \
    {.name = called, .value = ORGAN_VALUE_##kind, .argument = value_name, .offset = offsetof(CALL, member), \
     .help = __VA_ARGS__}
/* The same for each kind of value. CHOICE: its value is one of the words in `of`, "bf16|f16". MODEL, INPUT, OUTPUT: its
 * value is a path (organ_names); OUTPUT is --output and -o. */
#define FLAG(called, member, ...) OPTION(FLAG, called, NULL, member, __VA_ARGS__)
#define TEXT(...)   OPTION(TEXT, __VA_ARGS__)
#define WORDS(...)  OPTION(WORDS, __VA_ARGS__)
#define NUMBER(...) OPTION(COUNT, __VA_ARGS__)
#define REAL(...)   OPTION(REAL, __VA_ARGS__)
#define BYTES(...)  OPTION(BYTES, __VA_ARGS__)
#define CHOICE(called, of, member, ...)        TEXT(called, of, member, __VA_ARGS__, .choices = of)
#define MODEL(called, value_name, member, ...) TEXT(called, value_name, member, __VA_ARGS__, .names = ORGAN_NAMES_MODEL)
#define INPUT(called, value_name, member, ...) TEXT(called, value_name, member, __VA_ARGS__, .names = ORGAN_NAMES_INPUT)
#define OUTPUT(value_name, member, ...) \
    TEXT("output", value_name, member, __VA_ARGS__, .letter = 'o', .names = ORGAN_NAMES_OUTPUT)

/* The digits of a macro that is a number, as a string for .fallback. */
#define DIGITS(constant) DIGITS_OF(constant)
#define DIGITS_OF(digits) #digits

/* Ranges (organ_range) of options that several verbs have. */
#define THREADS       1, 4096
#define RANKS         1, 65536 /* number of processes, or rank of a matrix */
#define SEEDS         0, 4294967295.0
#define TEXT_CONTEXTS 4, 1048576      /* tokens in a window of perplexity and of --evaluate */
#define TEXT_TOKENS   2, 4294967295.0 /* tokens of a text */

/* Options that have the same meaning in every verb. `member` gets the value. */
#define RESUME(member) FLAG("resume", member, \
    "continue an interrupted run; the output equals that of an uninterrupted one")
#define FORCE(member, what) \
    FLAG("force", member, \
         "replace " what " if it is a model, an adapter or an output of organ and contains no other files", \
         .letter = 'f')
#define DRY_RUN(member, what) FLAG("dry-run", member, "write no output: " what, .letter = 'n')
/* Help of --dry-run for verbs that print a plan. */
#define AND_PLAN ", the size of the output, the least --memory and an estimate of the time"
/* --resume, --force and --dry-run of a verb that writes a model. `of.write` is an organ_write_options, `what` the name
 * of the output in help, `dry` the help of --dry-run. */
#define WRITING(of, what, dry) RESUME(of.write.resume), FORCE(of.write.force, what), DRY_RUN(of.write.dry_run, dry)
/* --saturate of a verb that stores values in a narrower type. `of.write` is an organ_write_options. */
#define SATURATE(of) \
    FLAG("saturate", of.write.saturate, \
         "store values beyond the range of their new type as its greatest value; otherwise they are an error")
#define SHARD_SIZE(of) \
    BYTES("max-shard-size", "SIZE", of.write.max_shard_size, \
          "largest size of a shard; a tensor that does not fit begins a new shard", \
          .range = {1, 16384.0 * 1073741824.0}, .fallback = "5G")
/* An option whose value is a list of groups of roles (docs/terms.md). */
#define TYPES(called, member, ...) \
    TEXT(called, "TYPE,...", member, __VA_ARGS__, .choices = "skeleton|organ|embed|norm|other|all", .several = true)

/* --samples, --context and --scratch; `of.calibration` is an organ_calibration_text. */
#define WINDOWS_CALIBRATION(of) \
    NUMBER("samples", "N", of.calibration.samples, "number of windows, spread evenly over the text", \
                                       .range = {ORGAN_SAMPLES}, .fallback = DIGITS(ORGAN_SAMPLES_DEFAULT)), \
    NUMBER("context", "N", of.calibration.context, "tokens in a window", .range = {ORGAN_CONTEXTS}, \
                                                   .fallback = DIGITS(ORGAN_CONTEXT_DEFAULT)), \
    INPUT("scratch", "DIR", of.calibration.scratch, \
          "store hidden states in a temporary file in DIR, best on a local disk, instead of in --memory", \
          .temporary = true)

/* --all-experts; `of.all_experts` is a bool. */
#define ALL_EXPERTS(of) \
    FLAG("all-experts", of.all_experts, \
         "calibrate every expert on all tokens of its layer instead of only its routed tokens; the layer's output " \
         "still comes from the routed experts")

/* --compute, the arithmetic of the forward pass. */
#define COMPUTE(member, ...) \
    TEXT("compute", "KIND", member, __VA_ARGS__, .choices = "exact|split|bf16")

/* Options that divide one budget over all targets. `member` is an organ_allocate_options; `example` is the help of a
 * budget of this verb. Only prune has ALLOCATION_WAY. */
#define ALLOCATION_OF(member, example) \
    CHOICE("allocate", "global", member.allocate, \
           "divide one --budget over all targets by the KL divergence that each tensor alone is predicted to cost, " \
           "from measurements on a part of --calibration"), \
    TEXT("budget", "AMOUNT", member.budget, "amount to divide: " example), \
    TEXT("allocation", "FILE", member.file, "file of the measurements of --allocate: read if it exists, else written", \
         .names = ORGAN_NAMES_INPUT, .written = true)
#define ALLOCATION_ROUNDS(member) \
    NUMBER("rounds", "N", member.rounds, \
           "after the division, move budget from one tensor to another in N rounds; each round runs the whole model " \
           "and keeps the moves that lower the divergence; default 0", \
           .range = {ORGAN_ALLOCATE_ROUNDS})
#define ALLOCATION_TOKENS(member) \
    NUMBER("allocate-tokens", "N", member.tokens, \
           "tokens on which the divergence is measured; they are not used for calibration; default 1024", \
           .range = {ORGAN_ALLOCATE_TOKENS}), \
    NUMBER("allocate-layers", "N", member.layers, "largest number of layers to measure, evenly spread; default 16", \
           .range = {ORGAN_ALLOCATE_LAYERS})
#define ALLOCATION_WAY(member) \
    REAL("allocate-way", "W", member.way, \
         "mixes two divisions: 1 is the one with the least predicted divergence; the lower W, the closer to an " \
         "equal sparsity of all tensors; default 0.8", \
         .range = {0, 1}, \
         .after_from = true)

/* ---- operands, groups of options, examples ---- */

/* A row of OPERANDS: the name of the operand in help, the kind of thing that it names (`what`: MODEL, INPUT, VERB,
 * NOTHING), the member of CALL that gets the value, and its help. OPTIONAL: the operand may be missing. */
#define OPERAND(called, what, member, text)  {called, text, offsetof(CALL, member), false, ORGAN_NAMES_##what}
#define OPTIONAL(called, what, member, text) {called, text, offsetof(CALL, member), true, ORGAN_NAMES_##what}

extern const organ_option organ_machine_options[4];           /* --threads, --memory, --readers, --ranks */
extern const organ_option organ_ranks_options[1];             /* --ranks */
extern const organ_option organ_reporting_options[5];         /* --json, --html, --progress, --quiet, --help */
extern const organ_option organ_evaluation_options[5];        /* --evaluate and its options */
extern const organ_option organ_reach_options[2];             /* --header, --patience */
extern const organ_option organ_help_options[1];              /* --help */

/* A row of GROUPS: a table of options under a title in help. */
#define GROUP(title, options) {title, options, COUNT(options)}
#define MACHINE_GROUP     GROUP("Machine", organ_machine_options)
#define RANKS_GROUP       GROUP("Machine", organ_ranks_options)
#define REACH_GROUP       GROUP("Models at URLs", organ_reach_options)
#define EVALUATION_GROUP  GROUP("Evaluation", organ_evaluation_options)
#define REPORTING_GROUP   GROUP("Output", organ_reporting_options)
#define HELP_GROUP(title) GROUP(title, organ_help_options)

/* Initialisers of members of an organ_verb that are tables: the rows and their number. GROUPS also sets call_size. */
#define ROWS(member, count, type, ...) \
    .member = (const type[]){__VA_ARGS__}, .count = COUNT(((const type[]){__VA_ARGS__}))
#define OPERANDS(...) ROWS(operands, operand_count, organ_operand, __VA_ARGS__)
#define GROUPS(...)   .call_size = sizeof(CALL), ROWS(groups, group_count, organ_option_group, __VA_ARGS__)
#define EXAMPLES(...) ROWS(examples, example_count, organ_example, __VA_ARGS__)

/* Text of `about` and `exits` for verbs that have --evaluate. */
#define ORGAN_EVALUATION_ABOUT(before) \
    "--evaluate FILE scores the output and " before " on the text in FILE. The report then has the perplexities of " \
    "both, the KL divergence, and top-1, the share of tokens for which both predict the same next token. organ " \
    "checks text, tokenizer, architecture and --memory before it writes anything. If the evaluation fails later or " \
    "is interrupted, the output is complete nevertheless, and the report states why it has no figures."
#define ORGAN_EVALUATION_EXITS \
    ".\nWith --evaluate also: 2 --memory is too small for the evaluation; 3 the text is too short, or the tokenizer " \
    "or architecture is not supported; 130 only the evaluation was interrupted"

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

/* ---- the verbs, defined in verb_*.c ---- */

extern const organ_verb organ_inspect_verb, organ_models_verb, organ_fetch_verb;
extern const organ_verb organ_prune_verb, organ_audit_verb, organ_purify_verb;
extern const organ_verb organ_measure_verb, organ_fleet_verb, organ_autopsy_verb, organ_orthogonality_verb,
    organ_report_verb;
extern const organ_verb organ_extract_verb, organ_assemble_verb, organ_graft_verb, organ_chimera_verb;
extern const organ_verb organ_layers_verb, organ_width_verb;
extern const organ_verb organ_dequantize_verb, organ_quantize_verb, organ_convert_verb;
extern const organ_verb organ_experts_verb;
extern const organ_verb organ_lora_extract_verb, organ_lora_sanitize_verb, organ_lora_merge_verb,
    organ_lora_resize_verb;
extern const organ_verb organ_tokenize_verb, organ_perplexity_verb, organ_evaluate_verb, organ_generate_verb;
extern const organ_verb organ_serve_verb;
extern const organ_verb organ_version_verb, organ_topology_verb, organ_help_verb, organ_manual_verb,
    organ_completion_verb;

#endif
