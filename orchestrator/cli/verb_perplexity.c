/* SPDX-License-Identifier: MIT
 * perplexity, evaluate, generate: whether a model still speaks, and what an operation cost. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/text/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct perplexity_call {
    organ_call call;
    organ_perplexity_options perplexity;
    organ_evaluate_options evaluate;
    organ_words pruned;      /* evaluate PRUNED... */
    organ_words experiments; /* evaluate --experiment */
    organ_generate_options generate;
} perplexity_call;
#define CALL perplexity_call

/* Tables are laid out by hand. */
/* clang-format off */

#define COMPUTE_HELP \
    "exact: FP32 with the same bits on every machine; split: the same 24 bits by AMX, other last digits; bf16: " \
    "operands rounded to BF16, by AMX or AVX512-BF16. Refused where the CPU does neither faster than exact"
#define EXPERIMENT(verb) \
    INPUT("text", "FILE", verb.experiment.text, "the text to predict, UTF-8; taken as it is", .required = true), \
    TEXT("style", "STYLE", verb.experiment.style, \
         "hf: every token of a window but its first is scored, the last short window too; llama.cpp: the second half " \
         "of each whole window; lm-eval: every token, rolling, also per word and per byte", \
         .fallback = "hf", .choices = "hf|llama.cpp|lm-eval"), \
    NUMBER("context", "N", verb.experiment.context, \
           "tokens of a window; if not given, 2048 (llama.cpp: 512), or what the model was made for if that is less", \
           .letter = 'c', .range = {TEXT_CONTEXTS}), \
    NUMBER("max-tokens", "N", verb.experiment.max_tokens, \
           "only the first N tokens of the text; if not given, all", .range = {TEXT_TOKENS}), \
    COMPUTE(verb.experiment.compute, COMPUTE_HELP, .fallback = "exact"), \
    OUTPUT("DIR", verb.experiment.output, "the directory to make, with the report as JSON, Markdown and HTML"), \
    FORCE(verb.experiment.force, "DIR")

#define EXITS "0 done; 2 wrong usage, DIR exists, or --memory does not hold one layer and one window; 3 an input is " \
              "malformed or changed meanwhile, its architecture or tokenizer is not known, or the text is too short"
#define PROTOCOLS \
    "The same model has other perplexities by other protocols, so each report states text, tokenizer, style, context " \
    "and compute, and only numbers where all five agree stand beside each other. Bits per byte, over the bytes of " \
    "just the scored tokens, compare across tokenizers."

/* ---- perplexity ---- */

static const organ_option perplexity_options[] = {
    EXPERIMENT(perplexity),
    MODEL("compare", "OTHER", perplexity.compare,
          "score OTHER on the same tokens too: difference and ratio with error, KL divergence from MODEL, and how "
          "often both find the same token likeliest")};

RUN_FIRST(perplexity, organ_perplexity, perplexity,
          own->perplexity.experiment.access = &call->access)

const organ_verb organ_perplexity_verb = {
    .name = "perplexity",
    .shares = true,
    .summary = "how well a model predicts a text, alone or beside another",
    .about = "Runs the model over the text, layer by layer: one layer's weights are in memory at a time; all is "
             "computed in FP32, whatever type they are stored in, unless --compute says otherwise. Perplexity is exp "
             "of the mean of -ln p over the scored tokens.\n"
             PROTOCOLS "\n"
                       "hf: windows of --context tokens side by side, the last one shorter; every token but the first "
                       "of a window is scored. BOS stands once before the text where the model's tokenizer puts one.\n"
                       "llama.cpp: whole windows, at least two, the rest is not used; the second half of each is "
                       "scored; where the tokenizer puts BOS, it replaces the first token of every window. Names of "
                       "special tokens in the text are plain characters.\n"
                       "lm-eval: BOS (EOS where there is none) before the text, which is one document; every token is "
                       "scored once, with one token of context from the window before; perplexity per word and per "
                       "byte too.",
    OPERANDS(OPERAND("MODEL", MODEL, perplexity.model,
                     "a model directory, a .safetensors or .gguf file, or an index; with its tokenizer")),
    GROUPS(GROUP("Options", perplexity_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ perplexity Qwen2.5-0.5B --text wiki.test.raw",
              "Perplexity with its standard error, and bits per byte."},
             {"organ perplexity Qwen2.5-0.5B --compare pruned --text wiki.test.raw", "What the pruning cost."},
             {"organ perplexity model.gguf --text wiki.test.raw --style llama.cpp -c 512",
              "As llama-perplexity counts."},
             {"organ perplexity model --text wiki.test.raw --max-tokens 20000 --json", "A quick look, for a program."}),
    .exits = EXITS ", or OTHER has another tokenizer; 4 an input cannot be read, or DIR not written; 130 interrupted, "
                   "nothing is left.",
    .run = run_perplexity};

/* ---- evaluate ---- */

static const organ_option evaluate_options[] = {
    EXPERIMENT(evaluate),
    TEXT("targets", "GLOB,...", evaluate.targets,
         "the tensors whose killed weights are counted; if not given, those that the log of each pruning names, else "
         "the projections"),
    WORDS("experiment", "NAME=MODEL", experiments,
          "the name of the experiment that MODEL belongs to, or each whose path or name matches that pattern; may be "
          "given several times; two experiments come into one table only under two names")};

WORK(evaluate_work)
{
    organ_evaluate_options *const o = &own->evaluate;
    o->pruned = own->pruned.word;
    o->count = own->pruned.count;
    o->experiments = own->experiments.word;
    o->experiment_count = own->experiments.count;
    o->experiment.access = &call->access;
    return organ_evaluate(o, engine, progress, report, error);
}
RUN_WORK(evaluate, true)

const organ_verb organ_evaluate_verb = {
    .name = "evaluate",
    .shares = true,
    .summary = "what prunings of a model cost, in one table",
    .about = "Scores the donor and everything made of it on the same tokens in one run, and counts the killed weights "
             "anew from the bytes: not zero in the donor, zero in the copy, over the target tensors and over the full "
             "model. The method is what the log beside a pruned model names (organ/prune.json).\n"
             "Killed weights are of one experiment where donor (by its fingerprint), method, definition, parameters "
             "and calibration are the same, whatever the sparsity. Two experiments are refused, unless --experiment "
             "gives each a name of its own, which then stands in the table. The report says what must be read with the "
             "numbers.\n"
             PROTOCOLS "\n"
                       "Differences are to the donor, their errors those of paired tokens; KL is the mean of KL(donor "
                       "|| model) in nats a token; top-1 the share of tokens for which both find the same one "
                       "likeliest.",
    OPERANDS(OPERAND("DONOR", MODEL, evaluate.donor, "the model as it was"),
             OPERAND("PRUNED...", MODEL, pruned, "what was made of it, one or more")),
    GROUPS(GROUP("Options", evaluate_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ evaluate Qwen2.5-0.5B pruned-22 pruned-50 --text heldout.txt",
              "One table: what each pruning cost."},
             {"organ evaluate donor a b c --text heldout.txt --context 256 -o evaluation",
              "The same as Markdown and JSON."},
             {"organ evaluate donor a b --text a.txt --experiment flow=a --experiment half=b",
              "Two experiments in one table, each by its name."}),
    .exits = EXITS ", or a model has another tokenizer than the donor; 4 an input cannot be read, or DIR not written; "
                   "130 interrupted, nothing is left.",
    .run = run_evaluate};

/* ---- generate ---- */

static const organ_option generate_options[] = {
    TEXT("prompt", "TEXT", generate.prompt, "what the text begins with", .letter = 'p', .required = true),
    NUMBER("tokens", "N", generate.count, "tokens to make, at most",
           .letter = 'n', .range = {1, 65536}, .fallback = "64"),
    COMPUTE(generate.compute, COMPUTE_HELP, .fallback = "exact")};

/* clang-format on */

static void print_generated(void *context, const char *text, size_t bytes)
{
    bool *const said = context;
    *said = true;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
}

WORK(generate_work)
{
    bool said = false;
    const organ_listener listener = {&said, print_generated};
    own->generate.access = &call->access;
    organ_generate(&own->generate, engine, progress, call->json ? NULL : &listener, report, error);
    if (!*report && said)
        fputc('\n', stdout);
    return error->status;
}

RUN_WORK(generate, true)

/* clang-format off */

const organ_verb organ_generate_verb = {
    .name = "generate",
    .summary = "greedy text: whether a model still speaks",
    .about = "Continues the prompt with the likeliest token each time and prints what is added as it comes, without "
             "the prompt; stops at EOS. Keys and values of the text stay in memory, and the weights of as many layers "
             "as --memory holds beside them; all others are read anew for each token. That is a smoke test, not a way "
             "to chat.\n"
             "BOS stands before the prompt where the model's tokenizer puts one; names of special tokens in the prompt "
             "are those tokens. Control characters in the answer, but newline and tab, are shown as \\xNN.",
    OPERANDS(OPERAND("MODEL", MODEL, generate.model,
                     "a model directory, a .safetensors or .gguf file, or an index; with its tokenizer")),
    GROUPS(GROUP("Options", generate_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ generate stories260K.gguf --prompt 'Once upon a time' -n 100", "A story, token by token."},
             {"organ generate pruned -p 'In the beginning' --json | jq .generated.ids", "The ids that were chosen."}),
    .exits = "0 done; 2 wrong usage, or --memory does not hold one layer and keys and values of the text; 3 the model "
             "is malformed or changed meanwhile, its architecture or tokenizer is not known; 4 it cannot be read; 130 "
             "interrupted.",
    .run = run_generate};
