/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "formats/names/names.h"
#include "orchestrator/command/foreign_words.h"

#include <string.h>
#include <sys/stat.h>

#define CALL organ_call

/* Tables are laid out by hand. */
/* clang-format off */

/* --ranks, a row of two tables. */
#define RANKS_OPTION \
    NUMBER("ranks", "N", ranks_requested, \
           "fail unless mpirun or srun has started exactly N processes, which share the work; default: accept any " \
           "number", \
           .range = {RANKS}, .topic = &organ_topic_machine)

const organ_option organ_machine_options[] = {
    NUMBER("threads", "N", threads,
           "worker threads, pinned to cores if the system allows it; default: one per core. The result does not depend "
           "on the number", .letter = 't', .range = {THREADS}, .topic = &organ_topic_machine),
    BYTES("memory", "SIZE", memory,
          "limit of the memory for all buffers together; auto: what the run needs to run well, at most half of the "
          "free memory. The result does not depend on it",
          .letter = 'm', .range = {8 * 1048576.0, 16384.0 * 1073741824.0}, .automatic = true,
          .fallback = ORGAN_AUTOMATIC, .common = true, .topic = &organ_topic_machine),
    NUMBER("readers", "N", readers,
           "threads that read files at the same time; 1 suits a spinning disk, a few a network file system; default: "
           "all threads",
           .range = {THREADS}, .topic = &organ_topic_machine),
    RANKS_OPTION};

const organ_option organ_ranks_options[] = {RANKS_OPTION};

const organ_option organ_reporting_options[] = {
    FLAG("json", json, "print the report as JSON and nothing else on stdout", .common = true,
         .topic = &organ_topic_reports),
    FLAG("csv", csv,
         "print the rows of the report's main table as CSV and nothing else on stdout: every tensor, model or pair, "
         "with the names of --json and all digits",
         .topic = &organ_topic_reports),
    TEXT("html", "FILE", html,
         "also write the report as a web page; an existing FILE is replaced only if it is a page of organ",
         .names = ORGAN_NAMES_OUTPUT, .topic = &organ_topic_reports),
    TEXT("progress", "HOW", progress,
         "format of progress on stderr: a bar, a line for each tensor, or events as JSON; auto: a bar if stderr is a "
         "terminal, else a line every ten seconds",
         .fallback = "auto", .choices = "auto|bar|lines|json|none", .topic = &organ_topic_reports),
    FLAG("quiet", quiet, "print no progress and no notes", .letter = 'q', .topic = &organ_topic_reports),
    FLAG("help", help, "explain all options; -h: the most used ones", .letter = 'h', .topic = &organ_topic_reports)};

const organ_option organ_reach_options[] = {
    WORDS("header", "HEADER", headers,
          "HTTP header that organ sends to the server of a URL, for example 'Authorization: Bearer TOKEN'; may be "
          "repeated", .topic = &organ_topic_urls),
    NUMBER("patience", "SECONDS", patience,
           "longest wait that a server may ask for (Retry-After); organ then repeats the request. A longer wait is an "
           "error",
           .range = {1, 86400}, .fallback = "60", .topic = &organ_topic_urls)};

const organ_option organ_evaluation_options[] = {
    INPUT("evaluate", "FILE", evaluation.text,
          "score the input model and the output on this UTF-8 text: perplexity, KL divergence and top-1 "
          "agreement", .common = true, .topic = &organ_topic_evaluation),
    TEXT("evaluate-style", "STYLE", evaluation.style,
         "which tokens are scored, see --style in 'organ help scoring'; default hf",
         .choices = "hf|llama.cpp|lm-eval", .topic = &organ_topic_evaluation),
    NUMBER("evaluate-context", "N", evaluation.context,
           "tokens in a window; default 2048 (--evaluate-style llama.cpp: 512), or the model's context if that is less",
           .range = {TEXT_CONTEXTS}, .topic = &organ_topic_evaluation),
    NUMBER("evaluate-max-tokens", "N", evaluation.max_tokens,
           "score only the first N tokens of the text; default: all", .range = {TEXT_TOKENS},
           .topic = &organ_topic_evaluation),
    COMPUTE("evaluate-compute", evaluation.compute,
            "arithmetic of the evaluation, see --compute in 'organ help scoring'; default exact. It does not affect "
            "the written model", .topic = &organ_topic_evaluation)};

const organ_option organ_help_options[] = {
    FLAG("help", help, "explain all options; -h: the most used ones", .letter = 'h', .topic = &organ_topic_reports)};

const organ_topic organ_topic_machine = {"machine", "Threads, memory and processes", NULL};

const organ_topic organ_topic_outputs = {
    "outputs", "Outputs and interrupted runs",
    "An output appears under its name only when it is complete. Reports with all numbers are in its folder organ; "
    "if it is a single file, they are next to it (for X.gguf: X.REPORT.md and so on).\n"
    "If a run is interrupted, the same command with --resume continues it."};

const organ_topic organ_topic_calibration = {
    "calibration", "Calibration text",
    "organ runs the windows of the calibration text through the model, one layer at a time. --memory must be large "
    "enough for one layer and the hidden states of the windows: --samples x --context x hidden size x 4 bytes, "
    "twice that if the verb also runs the changed model. --scratch DIR stores the hidden states in an unnamed "
    "temporary file instead, which the system removes when the run ends. If the text has fewer windows than "
    "--samples, organ uses the whole text. Use a text that resembles the use of the model, and never one on which "
    "it is evaluated.\n"
    "--compute exact computes the forward pass and the second moments of inputs in FP32, with the same bits on every "
    "machine. --compute bf16 rounds the factors of these products to BF16, which is faster on CPUs with such "
    "instructions, and --compute split divides them into BF16 terms, with errors like those of FP32. What they "
    "compute has the same bits only on CPUs with the same instructions ('organ version' names them), so a run is "
    "not continued on another CPU. Solvers always compute exactly."};

const organ_topic organ_topic_budget = {
    "budget", "One budget for the whole model",
    "--allocate global divides one --budget over all targets: tensors that lose less get less. To predict the loss, "
    "organ changes each tensor of some layers alone in two strengths (prune: zeros of 50 and 80 %; quantize: 2 and "
    "4 bits), calibrated on half of --samples, and measures the KL divergence from the model on other tokens of the "
    "text. The losses in other layers and strengths are estimated. --allocation FILE stores the measurements, so "
    "that a run with another budget or with --resume does not repeat them."};

const organ_topic organ_topic_evaluation = {
    "evaluation", "Loss of the output (--evaluate)",
    "--evaluate FILE scores the output and the model from which it was made on the text in FILE. The report then "
    "has the perplexities of both, the KL divergence, and top-1, the share of tokens for which both predict the "
    "same next token. organ checks text, tokenizer, architecture and --memory before it writes anything. If the "
    "evaluation fails later or is interrupted, the output is complete nevertheless, and the report states why it "
    "has no figures."};

const organ_topic organ_topic_scoring = {
    "scoring", "How a text is scored",
    "Perplexity depends on the protocol: compare two figures only if text, tokenizer, style, context and compute "
    "agree. Every report states all five. Bits per byte, over the bytes of the scored tokens, are comparable across "
    "tokenizers.\n"
    "Without --max-tokens, organ scores windows that are spread over the whole text until the standard error is at "
    "most --max-error, in an order that only the number of windows decides. Standard errors come from the variance "
    "between windows. With the --max-windows that the report names, another model is scored on the same windows. "
    "Texts of less than 1e12 multiply-adds, about a minute of one core, are scored whole.\n"
    "--style hf: consecutive windows of --context tokens, the last one shorter; every token but the first of a "
    "window is scored. BOS precedes the text once if the model's tokenizer adds it.\n"
    "--style llama.cpp: whole windows, at least two; tokens after the last whole window are not used. The second "
    "half of each window is scored. If the tokenizer adds BOS, BOS replaces the first token of every window. Names "
    "of special tokens in the text are read as plain characters.\n"
    "--style lm-eval: BOS (EOS if there is none) precedes the text, which is one document. Every token is scored "
    "once. A window begins with the last token that was scored in the window before it; the last window begins "
    "earlier, to be as long as the others. The report also has perplexity per word and per byte."};

const organ_topic organ_topic_urls = {"urls", "Models at URLs", NULL};

const organ_topic organ_topic_reports = {"reports", "Reports, progress and help", NULL};

bool organ_verb_is_of_family(const organ_verb *verb, const char *family)
{
    const size_t length = strlen(family);
    return strncmp(verb->name, family, length) == 0 && verb->name[length] == ' ';
}

/* `second` may be NULL (missing). Returns NULL, for the caller to return. */
static const organ_verb *refuse_second(const organ_verb_table *table, const char *family, const char *second,
                                       organ_error *error)
{
    char all[256] = "";
    const char *names[ORGAN_MAX_VERBS];
    size_t count = 0;
    for (size_t k = 0; k < table->count; k++)
        if (organ_verb_is_of_family(table->verbs[k], family)) {
            names[count] = strchr(table->verbs[k]->name, ' ') + 1;
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", count ? ", " : "", names[count]);
            count++;
        }
    const char *const nearest = second ? organ_nearest(second, names, count) : NULL;
    if (!second)
        organ_fail(error, ORGAN_USAGE, "%s: the second word is missing: one of %s", family, all);
    else if (nearest)
        organ_fail(error, ORGAN_USAGE, "unknown verb '%s %s'; did you mean '%s %s'?", family, second, family, nearest);
    else
        organ_fail(error, ORGAN_USAGE, "unknown verb '%s %s': after '%s' use %s", family, second, family, all);
    return NULL;
}

bool organ_has_verb(const organ_verb_table *table, const char *name)
{
    bool found = false;
    for (size_t k = 0; k < table->count && !found; k++)
        found = organ_verb_is_named(table->verbs[k], name);
    return found;
}

/* Returns the name of the verb of two words whose second is `word`; NULL if there is none. */
static const char *with_second(const organ_verb_table *table, const char *word)
{
    for (size_t k = 0; k < table->count; k++) {
        const char *const blank = strchr(table->verbs[k]->name, ' ');
        if (blank && strcmp(blank + 1, word) == 0)
            return table->verbs[k]->name;
    }
    return NULL;
}

static bool has_option(const organ_verb_table *table, const char *name)
{
    for (size_t k = 0; k < table->count; k++)
        if (organ_verb_option(table->verbs[k], name))
            return true;
    return false;
}

/* A word with dashes in place of the verb. */
static void refuse_dashes(const organ_verb_table *table, const char *word, organ_error *error)
{
    const char *const name = word + strspn(word, "-");
    if (strcmp(name, "v") == 0)
        organ_fail(error, ORGAN_USAGE, "unknown option '%s'; did you mean 'organ --version' (-V)?", word);
    else if (organ_has_verb(table, name))
        organ_fail(error, ORGAN_USAGE, "unknown option '%s'; did you mean 'organ %s'?", word, name);
    else if (has_option(table, name))
        organ_fail(error, ORGAN_USAGE, "option '%s' before a verb: write it after the verb, organ VERB %s", word, word);
    else
        organ_fail(error, ORGAN_USAGE, "unknown option '%s' before a verb", word);
}

/* A word in place of the verb that is a path or the name of a model. */
static bool is_of_model(const char *word)
{
    struct stat about;
    return strchr(word, '/') || organ_name_has_prefix(word) || organ_ends_with(word, ".gguf") ||
           organ_ends_with(word, ".safetensors") || lstat(word, &about) == 0;
}

const organ_verb *organ_verb_find(const organ_verb_table *table, const char *name, const char *second, int *words,
                                  organ_error *error)
{
    const char *names[ORGAN_MAX_VERBS];
    bool family = false;
    for (size_t k = 0; k < table->count; k++) {
        names[k] = table->verbs[k]->name;
        *words = organ_verb_is_of_family(table->verbs[k], name) ? 2 : 1;
        family = family || *words == 2;
        if (*words == 2 ? second && strcmp(second, names[k] + strlen(name) + 1) == 0
                        : organ_verb_is_named(table->verbs[k], name))
            return table->verbs[k];
    }
    if (family)
        return refuse_second(table, name, second, error);
    if (*name == '-')
        refuse_dashes(table, name, error);
    else if (is_of_model(name))
        organ_fail(error, ORGAN_USAGE, "'%s' is no verb; did you mean 'organ inspect %s'?", name, name);
    else if (organ_foreign_verb(name))
        organ_fail(error, ORGAN_USAGE, "unknown verb '%s': %s", name, organ_foreign_verb(name));
    if (error->status)
        return NULL;
    const char *const of_family = with_second(table, name);
    const char *const nearest = of_family ? of_family : organ_nearest(name, names, table->count);
    organ_fail(error, ORGAN_USAGE, nearest ? "unknown verb '%s'; did you mean '%s'?" : "unknown verb '%s'", name,
               nearest);
    return NULL;
}

const organ_verb *organ_verb_topic(const organ_verb_table *table, const char *name, const char *second,
                                   const char *asker, organ_error *error)
{
    int words = 1;
    const organ_verb *const verb = organ_verb_find(table, name, second, &words, error);
    if (!verb || words == 2 || !second)
        return verb;
    organ_fail(error, ORGAN_USAGE, "%s: '%s' is one word too many: '%s' is a verb of one word", asker, second,
               verb->name);
    return NULL;
}
