/* SPDX-License-Identifier: MIT
 * perplexity, evaluate, generate: run models on a text. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/evaluate.h>

typedef struct perplexity_call {
    organ_call call;
    organ_perplexity_options perplexity;
    organ_evaluate_options evaluate;
    organ_words pruned;      /* evaluate PRUNED... */
    organ_words experiments; /* evaluate --experiment */
    const char *tasks;       /* evaluate --tasks */
    organ_generate_options generate;
} perplexity_call;
#define CALL perplexity_call

/* Tables are laid out by hand. */
/* clang-format off */

/* Options and help texts that perplexity, evaluate and generate share. `verb` is the member of CALL with the options of
 * the verb. */
#define COMPUTE_HELP \
    "exact: FP32, the same bits on every machine; split: each operand as a sum of up to three BF16 numbers (24 " \
    "bits), by AMX (Intel Xeon from 4th generation); last digits differ from exact; bf16: each operand rounded to " \
    "BF16, by AMX or AVX512-BF16 (AMD from Zen 4). split and bf16 fail on a CPU that cannot compute them faster than " \
    "exact; 'organ version' names the instructions of this CPU"
#define TEXT_INPUT(verb, ...) \
    INPUT("text", "FILE", verb.experiment.text, \
          "the UTF-8 text to predict; it is not normalised or stripped", .common = true, __VA_ARGS__)
#define REPORT_DIR(verb) \
    OUTPUT("DIR", verb.experiment.output, "new directory for the report as JSON, Markdown and HTML"), \
    FORCE(verb.experiment.force)
#define PROTOCOL_OPTIONS(verb) \
    TEXT("style", "STYLE", verb.experiment.style, \
         "hf: scores every token of a window but the first, also in the last, shorter window; llama.cpp: the second " \
         "half of each whole window; lm-eval: every token, in a rolling window, with perplexity per word and per " \
         "byte", \
         .fallback = "hf", .choices = "hf|llama.cpp|lm-eval", .topic = &organ_topic_scoring), \
    NUMBER("context", "N", verb.experiment.context, \
           "tokens in a window; default 2048 (llama.cpp: 512), or the model's context if that is less", \
           .letter = 'c', .range = {TEXT_CONTEXTS}, .common = true, .topic = &organ_topic_scoring), \
    NUMBER("max-tokens", "N", verb.experiment.max_tokens, \
           "the text is only its first N tokens, which are scored in their order; default: all", \
           .range = {TEXT_TOKENS}, .common = true, .topic = &organ_topic_scoring), \
    NUMBER("max-windows", "N", verb.max_windows, \
           "score the N windows that --max-error scores first, spread over the text; a report names N to repeat it", \
           .range = {TEXT_WINDOWS}, .topic = &organ_topic_scoring), \
    REAL("max-error", "PERCENT", verb.max_error, \
         "score windows that are spread over the text until the whole text's perplexity has this standard error or, " \
         "with several models, its ratio to the first model's; a text of less than 1e12 multiply-adds is scored " \
         "whole; 0: score all; default 2 for one model, 0.5 for several, 0 with --max-tokens and --max-windows", \
         .range = {0, 100}, .unset = -1, .topic = &organ_topic_scoring), \
    COMPUTE("compute", verb.experiment.compute, COMPUTE_HELP, .fallback = "exact", .topic = &organ_topic_scoring), \
    TEXT("kv-cache", "KIND", verb.experiment.kv_cache, \
         "fp8: round keys and values to FP8 E4M3, as servers do that keep them so, with the model's scales or 1; of " \
         "several models not the first; off: do not; default: as each model declares", \
         .choices = "fp8|off", .topic = &organ_topic_scoring)
#define DRAFTS(verb) \
    FLAG("mtp", verb.mtp, \
         "also measure how many tokens servers accept that the model's blocks for multi-token prediction draft: the " \
         "first one on the text, up to 8 on greedy continuations of it"), \
    NUMBER("continuations", "N", verb.continuations, \
           "with --mtp: number of these continuations, of 64 tokens each; 0: only the text", \
           .range = {0, 10000}, .fallback = "8", .topic = &organ_topic_scoring), \
    INPUT("draft-tokens", "FILE", verb.draft_tokens, \
          "with --mtp: the blocks propose only the tokens that FILE lists, the report of organ vocabulary " \
          "--draft-head (--json)", .topic = &organ_topic_scoring)
#define ACTIVATIONS(verb, usual, more) \
    TEXT("activations", "WHICH", verb.experiment.activations, \
         "on: inputs of linear layers are rounded as a quantised model declares that servers do (INT8, FP8, FP4); " \
         "off: they are not, so that figures are those of the weights alone; both: on, with the loss of the weights " \
         "alone beside it" more, \
         .fallback = usual, .choices = "on|off|both")

#define SCORING_PLAN "score nothing; print the windows, the memory and the time that the run needs"

/* ---- perplexity ---- */

static const organ_option perplexity_options[] = {
    TEXT_INPUT(perplexity, .required = true),
    MODEL("compare", "OTHER", perplexity.compare,
          "also score OTHER on the same tokens: difference and ratio of perplexities with errors, KL divergence from "
          "MODEL and top-1 agreement", .common = true),
    REPORT_DIR(perplexity),
    FLAG("write-imatrix", perplexity.experiment.imatrix,
         "also write DIR/imatrix.gguf: the importance matrix of MODEL over the text, as 'organ imatrix' makes it, but "
         "from the windows of --style", .common = true),
    DRAFTS(perplexity),
    DRY_RUN(perplexity.dry_run, SCORING_PLAN)};
static const organ_option perplexity_protocol[] = {PROTOCOL_OPTIONS(perplexity), ACTIVATIONS(perplexity, "on", "")};

/* The options have `access` in their member `experiment`, so RUN_REMOTE cannot be used. */
RUN_FIRST(perplexity, organ_perplexity, perplexity,
          (own->perplexity.experiment.access = &call->access, own->perplexity.announce = !call->json))

const organ_verb organ_perplexity_verb = {
    .name = "perplexity",
    .common = true,
    .shares = true,
    .summary = "measure how well a model predicts a text",
    .about = "Computes the perplexity of a model on a text: exp of the mean -ln p over the scored tokens. organ runs "
             "the model one layer at a time, so that only the weights of one layer are in memory, and computes in "
             "FP32 for every stored type unless --compute selects another arithmetic. 'organ help scoring' describes "
             "styles and windows.",
    OPERANDS(OPERAND("MODEL", MODEL, perplexity.model,
                     "a model directory with its tokenizer, a .gguf file, or a .safetensors file or "
                     "model.safetensors.index.json next to its tokenizer")),
    GROUPS(GROUP("Options", perplexity_options), GROUP("Protocol", perplexity_protocol),
           MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ perplexity Qwen2.5-0.5B --text wiki.test.raw",
              "Prints perplexity with its standard error, and bits per byte."},
             {"organ perplexity Qwen2.5-0.5B --compare pruned --text wiki.test.raw",
              "Compares a pruned model with its donor."},
             {"organ perplexity model.gguf --text wiki.test.raw --style llama.cpp -c 512",
              "Computes the figure of llama-perplexity."},
             {"organ perplexity model --text wiki.test.raw --max-tokens 20000 --json",
              "Scores the first 20,000 tokens and prints JSON."}),
    .exits = {.content = "OTHER has another tokenizer"},
    .run = run_perplexity};

/* ---- evaluate ---- */

static const organ_option evaluate_options[] = {
    TEXT_INPUT(evaluate, .required = false),
    INPUT("tasks", "FILE", tasks,
          "in place of a text: questions with several choices, one JSON object per line with \"context\", \"choices\" "
          "and \"gold\"; reports acc and acc_norm of lm-evaluation-harness", .required = false, .common = true),
    FLAG("answers", evaluate.answers, "with --tasks: the JSON report has each model's answer to each question"),
    SELECT(evaluate.targets, "count killed weights in these matrices instead of those in the log of each pruning, or "
                             "else the projections", .former = "targets"),
    WORDS("experiment", "NAME=MODEL", experiments,
          "gives the experiment of MODEL, a path or a pattern of paths or names, the name NAME; may be repeated; "
          "required if two experiments have one method and calibration text", .common = true),
    DRAFTS(evaluate),
    REPORT_DIR(evaluate),
    DRY_RUN(evaluate.dry_run, SCORING_PLAN)};
static const organ_option evaluate_protocol[] = {
    PROTOCOL_OPTIONS(evaluate),
    ACTIVATIONS(evaluate, "both", "; with --tasks, both is on: answers are those of the model as served")};

/* The file of --tasks becomes experiment.text, and o->tasks says that it has questions. Either --text or --tasks is
 * required. */
WORK(evaluate_work)
{
    organ_evaluate_options *const o = &own->evaluate;
    o->pruned = own->pruned.word;
    o->count = own->pruned.count;
    o->experiments = own->experiments.word;
    o->experiment_count = own->experiments.count;
    o->experiment.access = &call->access;
    o->announce = !call->json;
    if (!o->experiment.text == !own->tasks)
        return organ_fail(error, ORGAN_USAGE,
                          "give either --text FILE, on which models are compared (organ evaluate DONOR OUT --text "
                          "FILE), "
                          "or --tasks FILE, whose questions they answer (organ evaluate MODEL --tasks FILE)");
    if (!own->tasks && !o->count)
        return organ_fail(error, ORGAN_USAGE, "--text needs PRUNED, a model to compare with the donor; "
                                              "'organ perplexity' scores one model");
    if (!own->tasks && o->answers)
        return organ_fail(error, ORGAN_USAGE, "--answers belongs to --tasks");
    if (own->tasks && (o->mtp || o->draft_tokens))
        return organ_fail(error, ORGAN_USAGE, "--mtp belongs to --text");
    o->tasks = own->tasks != NULL;
    if (own->tasks)
        o->experiment.text = own->tasks;
    return organ_evaluate(o, engine, progress, report, error);
}
RUN_WORK(evaluate, true)

const organ_verb organ_evaluate_verb = {
    .name = "evaluate",
    .common = true,
    .shares = true,
    .summary = "compare models made from one donor in one table",
    .about = "Computes the perplexity of the donor (the original model) and of models made from it on the same text, "
             "and compares them. It also counts killed weights from the bytes (not zero in the donor, zero in the "
             "other model), as a share of the pruned tensors and of the full model. The method of each model comes "
             "from its log (organ/prune.json).\n"
             "Two models belong to one experiment if the donor, the method with its version and parameters, and the "
             "calibration text are equal; the sparsity may differ. Models of several experiments get the name of their "
             "method, which the table shows; if two would get the same name, --experiment must name them.\n"
             "A difference is a model's perplexity minus the donor's; its standard error is computed from differences "
             "on the same tokens, by window. KL is the mean of KL(donor || model) in nats per token. Top-1 is the "
             "share of tokens for which model and donor predict the same token. 'organ help scoring' describes "
             "styles and windows.\n"
             "Models with different vocabularies are compared by bits per byte: each scores the same bytes in its own "
             "tokens. If all tokens of a model are tokens of the donor, as after 'organ vocabulary', KL is that over "
             "these tokens, and the probability that the donor gives to all others is reported.\n"
             "--tasks FILE scores multiple-choice questions instead: acc is the share of questions whose likeliest "
             "choice is right; acc_norm divides each log-likelihood by the number of characters of the choice before "
             "the comparison. Differences from the donor have a 95 % interval and McNemar's test. docs/tasks.md says "
             "how to export ARC, HellaSwag and others.",
    OPERANDS(OPERAND("DONOR", MODEL, evaluate.donor, "the original model"),
             OPTIONAL("PRUNED...", MODEL, pruned, "models made from DONOR; --tasks also accepts DONOR alone")),
    GROUPS(GROUP("Options", evaluate_options), GROUP("Protocol", evaluate_protocol),
           MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ evaluate Qwen2.5-0.5B pruned-22 pruned-50 --text heldout.txt",
              "Compares two prunings with their donor."},
             {"organ evaluate donor a b c --text heldout.txt --context 256 -o evaluation",
              "Also writes the table as Markdown, HTML and JSON."},
             {"organ evaluate donor a b --tasks arc.jsonl",
              "Compares accuracies on multiple-choice questions."},
             {"organ evaluate donor a b --text a.txt --experiment flow=a --experiment half=b",
              "Compares two experiments in one table, each under its name."}),
    .exits = {.content = "the tokens of a model do not spell the text, or with --tasks are not those of the donor"},
    .run = run_evaluate};

/* ---- generate ---- */

/* -n N is the form of older versions. */
#define TOKENS_OPTION(...) \
    NUMBER("tokens", "N", generate.count, "largest number of tokens to generate", .range = {1, 65536}, __VA_ARGS__)
static const organ_option generate_options[] = {
    TEXT("prompt", "TEXT", generate.prompt, "the prompt", .letter = 'p', .required = true),
    TOKENS_OPTION(.fallback = "64"),
    COMPUTE("compute", generate.compute, COMPUTE_HELP, .fallback = "exact", .topic = &organ_topic_scoring)};

/* clang-format on */

/* This is an organ_listener callback, which prints immediately; `context` is a bool that becomes true. */
static void print_generated(void *context, const char *text, size_t bytes)
{
    bool *const printed_any = context;
    *printed_any = true;
    fwrite(text, 1, bytes, stdout);
    fflush(stdout);
}

WORK(generate_work)
{
    bool said = false;
    const organ_listener listener = {&said, print_generated};
    own->generate.access = &call->access;
    organ_generate(&own->generate, engine, progress, call->json || call->csv ? NULL : &listener, report, error);
    if (!*report && said)
        fputc('\n', stdout);
    return error->status;
}

RUN_WORK(generate, true)

/* clang-format off */

const organ_verb organ_generate_verb = {
    .name = "generate",
    .common = true,
    .summary = "continue a prompt with greedy decoding, as a smoke test",
    .about = "Continues the prompt with the most probable token at each step and prints each token when it is "
             "computed, without the prompt; it stops at EOS. The KV cache and as many layers as fit are held in "
             "--memory. generate reads all other layers again for each token; in a mixture of experts, only the "
             "experts that the token is routed to. generate is a smoke test, not a chat program.\n"
             "BOS precedes the prompt if the model's tokenizer adds it; names of special tokens in the prompt are read "
             "as those tokens. Control characters in the answer, except newline and tab, are printed as \\xNN.",
    OPERANDS(OPERAND("MODEL", MODEL, generate.model,
                     "a model directory with its tokenizer, a .gguf file, or a .safetensors file or "
                     "model.safetensors.index.json next to its tokenizer")),
    GROUPS(GROUP("Options", generate_options), ALONE_GROUP, REACH_GROUP, REPORTING_GROUP),
    FORMERLY(TOKENS_OPTION(.letter = 'n')),
    EXAMPLES({"organ generate stories260K.gguf --prompt 'Once upon a time' --tokens 100",
              "Prints a story, token by token."},
             {"organ generate pruned -p 'In the beginning' --json | jq .generated.ids",
              "Prints the ids of the generated tokens."}),
    .run = run_generate};

/* ---- tokenize: splits a text into the tokens of a model ---- */

CALL_WITH(tokenize, organ_tokenize_options);
#undef CALL
#define CALL tokenize_call

static const organ_option options[] = {
    INPUT("text", "FILE", tokenize.text, "the text; - reads standard input", .required = true),
    FLAG("ids", tokenize.ids, "print the ids, one per line; with --json, add them to the document", .common = true),
    FLAG("special", tokenize.special,
         "read special tokens in the text, such as <|endoftext|>, as tokens; default: as text", .common = true)};

/* Needs no engine, because it runs no model. */
WORK(tokenize_work)
{
    own->tokenize.access = &call->access;
    return organ_tokenize(&own->tokenize, call->stop, report, error);
}
RUN_WORK(tokenize, false)

const organ_verb organ_tokenize_verb = {
    .name = "tokenize",
    .summary = "split a text into the tokens of a model",
    .about = "Reads the model's tokenizer (byte-level BPE or SentencePiece-style BPE, from tokenizer.json, Mistral's "
             "tekken.json, Kimi's tiktoken.model or the metadata of a GGUF file) and splits a text into tokens. It "
             "rejects other kinds of tokenizers with an error that names the kind. Bytes that are not valid UTF-8 are "
             "read as U+FFFD. The digest of the tokenizer covers vocabulary, merges and settings: models with the "
             "same digest have the same tokens.",
    OPERANDS(OPERAND("MODEL", MODEL, tokenize.model,
                     "a model directory with a tokenizer, or a GGUF model with one")),
    GROUPS(GROUP("Options", options), REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ tokenize Qwen2.5-7B-Instruct --text book.txt",
              "Prints the number of tokens and the bytes per token."},
             {"organ tokenize model.gguf --text book.txt --ids", "Prints the ids, one per line."},
             {"echo 'Hello world' | organ tokenize Qwen3-4B --text - --json",
              "Prints the first tokens with their text as JSON."}),
    .run = run_tokenize};
