/* SPDX-License-Identifier: MIT
 * perplexity, evaluate, generate: whether a model still speaks, and what an operation cost. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/report/view/perplexity_report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* clang-format off: tables are laid out by hand */

#define EXPERIMENT(verb)                                                                                                                   \
    {.name = "text", .value = ORGAN_VALUE_TEXT, .argument = "FILE", .required = true, .offset = AT(verb.experiment.text),                  \
     .help = "the text to predict, UTF-8; taken as it is", .names = ORGAN_NAMES_INPUT},                                                    \
    {.name = "style", .value = ORGAN_VALUE_TEXT, .argument = "STYLE", .fallback = "hf", .choices = "hf|llama.cpp|lm-eval",                 \
     .offset = AT(verb.experiment.style),                                                                                                  \
     .help = "hf: every token of a window but its first is scored, the last short window too; llama.cpp: the second half of each whole "   \
             "window; lm-eval: every token, rolling, also per word and per byte"},                                                         \
    {.name = "context", .letter = 'c', .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {4, 1048576, false, false},                   \
     .offset = AT(verb.experiment.context),                                                                                                \
     .help = "tokens of a window; if not given, 2048 (llama.cpp: 512), or what the model was made for if that is less"},                   \
    {.name = "max-tokens", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {2, 4294967295.0, false, false},                          \
     .offset = AT(verb.experiment.max_tokens), .help = "only the first N tokens of the text; if not given, all"},                          \
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "DIR", .offset = AT(verb.experiment.output),                  \
     .help = "the directory to make, with the report as JSON, Markdown and HTML", .names = ORGAN_NAMES_OUTPUT},                            \
    FORCE(verb.experiment.force, "DIR")

#define EXITS "0 done; 2 wrong usage, DIR exists, or --memory does not hold one layer and one window; 3 an input is malformed or changed " \
              "meanwhile, its architecture or tokenizer is not known, or the text is too short"
#define PROTOCOLS \
    "The same model has other perplexities by other protocols, so each report states text, tokenizer, style and context, and only " \
    "numbers where all four agree stand beside each other. Bits per byte, over the bytes of just the scored tokens, compare " \
    "across tokenizers."

/* ---- perplexity ---- */

static const organ_operand perplexity_operands[] = {
    {"MODEL", "a model directory, a .safetensors or .gguf file, or an index; with its tokenizer", AT(perplexity.model), false,
     ORGAN_NAMES_MODEL}};
static const organ_option perplexity_options[] = {
    EXPERIMENT(perplexity),
    {.name = "compare", .value = ORGAN_VALUE_TEXT, .argument = "OTHER", .offset = AT(perplexity.compare),
     .help = "score OTHER on the same tokens too: difference and ratio with error, KL divergence from MODEL, and how often both find "
             "the same token likeliest", .names = ORGAN_NAMES_MODEL}};
static const organ_option_group perplexity_groups[] = {{"Options", perplexity_options, COUNT(perplexity_options)},
                                                       {"Machine", ORGAN_MACHINE_OPTIONS},
                                                       {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                       {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example perplexity_examples[] = {
    {"organ perplexity Qwen2.5-0.5B --text wiki.test.raw", "Perplexity with its standard error, and bits per byte."},
    {"organ perplexity Qwen2.5-0.5B --compare pruned --text wiki.test.raw", "What the pruning cost."},
    {"organ perplexity model.gguf --text wiki.test.raw --style llama.cpp -c 512", "As llama-perplexity counts."},
    {"organ perplexity model --text wiki.test.raw --max-tokens 20000 --json",
     "A quick look, for a program."}};

static organ_status perplexity(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                               organ_error *error)
{
    return organ_perplexity(&call->perplexity, engine, progress, report, error);
}

static organ_status run_perplexity(void *call, organ_error *error)
{
    return organ_run_work(call, perplexity, organ_perplexity_report_terminal, error);
}

const organ_verb organ_perplexity_verb = {
    .name = "perplexity",
    .summary = "how well a model predicts a text, alone or beside another",
    .about = "Runs the model over the text, layer by layer: one layer's weights are in memory at a time, in FP32, whatever type they are "
             "stored in. Perplexity is exp of the mean of -ln p over the scored tokens.\n"
             PROTOCOLS "\n"
             "hf: windows of --context tokens side by side, the last one shorter; every token but the first of a window is scored. BOS "
             "stands once before the text where the model's tokenizer puts one.\n"
             "llama.cpp: whole windows, at least two, the rest is not used; the second half of each is scored; where the tokenizer puts "
             "BOS, it replaces the first token of every window. Names of special tokens in the text are plain characters.\n"
             "lm-eval: BOS (EOS where there is none) before the text, which is one document; every token is scored once, with one token "
             "of context from the window before; perplexity per word and per byte too.",
    .operands = perplexity_operands, .operand_count = COUNT(perplexity_operands),
    .groups = perplexity_groups, .group_count = COUNT(perplexity_groups),
    .examples = perplexity_examples, .example_count = COUNT(perplexity_examples),
    .exits = EXITS ", or OTHER has another tokenizer; 4 an input cannot be read, or DIR not written; 130 interrupted, nothing is left.",
    .run = run_perplexity};

/* ---- evaluate ---- */

static const organ_operand evaluate_operands[] = {
    {"DONOR", "the model as it was", AT(evaluate.donor), false, ORGAN_NAMES_MODEL},
    {"PRUNED...", "what was made of it, one or more", AT(pruned), false, ORGAN_NAMES_MODEL}};
static const organ_option evaluate_options[] = {
    EXPERIMENT(evaluate),
    {.name = "targets", .value = ORGAN_VALUE_TEXT, .argument = "GLOB,...", .offset = AT(evaluate.targets),
     .help = "the tensors whose killed weights are counted; if not given, those that the log of each pruning names, else the projections"},
    {.name = "experiment", .value = ORGAN_VALUE_WORDS, .argument = "NAME=MODEL", .offset = AT(experiments),
     .help = "the name of the experiment that MODEL belongs to, or each whose path or name matches that pattern; may be given several "
             "times; two experiments come into one table only under two names"}};
static const organ_option_group evaluate_groups[] = {{"Options", evaluate_options, COUNT(evaluate_options)},
                                                     {"Machine", ORGAN_MACHINE_OPTIONS},
                                                     {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                     {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example evaluate_examples[] = {
    {"organ evaluate Qwen2.5-0.5B pruned-22 pruned-50 --text heldout.txt", "One table: what each pruning cost."},
    {"organ evaluate donor a b c --text heldout.txt --context 256 -o evaluation", "The same as Markdown and JSON."},
    {"organ evaluate donor a b --text a.txt --experiment flow=a --experiment half=b",
     "Two experiments in one table, each by its name."}};

static organ_status evaluate(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                             organ_error *error)
{
    organ_evaluate_options options = call->evaluate;
    options.pruned = call->pruned.word;
    options.count = call->pruned.count;
    options.experiments = call->experiments.word;
    options.experiment_count = call->experiments.count;
    return organ_evaluate(&options, engine, progress, report, error);
}

static organ_status run_evaluate(void *call, organ_error *error)
{
    return organ_run_work(call, evaluate, organ_perplexity_report_terminal, error);
}

const organ_verb organ_evaluate_verb = {
    .name = "evaluate",
    .summary = "what prunings of a model cost, in one table",
    .about = "Scores the donor and everything made of it on the same tokens in one run, and counts the killed weights anew from the "
             "bytes: not zero in the donor, zero in the copy, over the target tensors and over the full model. The method is what the log "
             "beside a pruned model names (organ/prune.json).\n"
             "Killed weights are of one experiment where donor (by its fingerprint), method, definition, parameters and calibration are "
             "the same, whatever the sparsity. Two experiments are refused, unless --experiment gives each a name of its own, which then "
             "stands in the table. The report says what must be read with the numbers.\n"
             PROTOCOLS "\n"
             "Differences are to the donor, their errors those of paired tokens; KL is the mean of KL(donor || model) in nats a token; "
             "top-1 the share of tokens for which both find the same one likeliest.",
    .operands = evaluate_operands, .operand_count = COUNT(evaluate_operands),
    .groups = evaluate_groups, .group_count = COUNT(evaluate_groups),
    .examples = evaluate_examples, .example_count = COUNT(evaluate_examples),
    .exits = EXITS ", or a model has another tokenizer than the donor; 4 an input cannot be read, or DIR not written; 130 interrupted, "
             "nothing is left.",
    .run = run_evaluate};

/* ---- generate ---- */

static const organ_operand generate_operands[] = {
    {"MODEL", "a model directory, a .safetensors or .gguf file, or an index; with its tokenizer", AT(generate.model), false,
     ORGAN_NAMES_MODEL}};
static const organ_option generate_options[] = {
    {.name = "prompt", .letter = 'p', .value = ORGAN_VALUE_TEXT, .argument = "TEXT", .required = true, .offset = AT(generate.prompt),
     .help = "what the text begins with"},
    {.name = "tokens", .letter = 'n', .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 65536, false, false}, .fallback = "64",
     .offset = AT(generate.count), .help = "tokens to make, at most"}};
static const organ_option_group generate_groups[] = {{"Options", generate_options, COUNT(generate_options)},
                                                     {"Machine", ORGAN_MACHINE_OPTIONS},
                                                     {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                     {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example generate_examples[] = {
    {"organ generate stories260K.gguf --prompt 'Once upon a time' -n 100", "A story, token by token."},
    {"organ generate pruned -p 'In the beginning' --json | jq .generated.ids", "The ids that were chosen."}};

/* clang-format on */

static void hear(void *context, const char *text, size_t bytes)
{
    bool *const said = context;
    *said = true;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
}

static organ_status no_more(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    (void)report;
    (void)page;
    return (*text = strdup("\n")) ? ORGAN_OK : organ_fail_errno(error, errno, "text");
}

static organ_status generate(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                             organ_error *error)
{
    bool said = false;
    const organ_listener listener = {&said, hear};
    organ_generate(&call->generate, engine, progress, call->json ? NULL : &listener, report, error);
    if (!*report && said)
        fputc('\n', stdout);
    return error->status;
}

static organ_status run_generate(void *call, organ_error *error) { return organ_run_work(call, generate, no_more, error); }

/* clang-format off: as above */

const organ_verb organ_generate_verb = {
    .name = "generate",
    .summary = "greedy text: whether a model still speaks",
    .about = "Continues the prompt with the likeliest token each time and prints what is added as it comes, without the prompt; stops at "
             "EOS. Keys and values of the text stay in memory, and the weights of as many layers as --memory holds beside them; all others "
             "are read anew for each token. That is a smoke test, not a way to chat.\n"
             "BOS stands before the prompt where the model's tokenizer puts one; names of special tokens in the prompt are those tokens. "
             "Control characters in the answer, but newline and tab, are shown as \\xNN.",
    .operands = generate_operands, .operand_count = COUNT(generate_operands),
    .groups = generate_groups, .group_count = COUNT(generate_groups),
    .examples = generate_examples, .example_count = COUNT(generate_examples),
    .exits = "0 done; 2 wrong usage, or --memory does not hold one layer and keys and values of the text; 3 the model is malformed or "
             "changed meanwhile, its architecture or tokenizer is not known; 4 it cannot be read; 130 interrupted.",
    .run = run_generate};
