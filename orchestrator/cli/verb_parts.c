/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/cli_parts.h"

#include "formats/names/names.h"

#include <stdio.h>
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
           .range = {RANKS})

const organ_option organ_machine_options[] = {
    NUMBER("threads", "N", threads,
           "worker threads, pinned to cores if the system allows it; default: one per core. The result does not depend "
           "on the number", .letter = 't', .range = {THREADS}),
    BYTES("memory", "SIZE", memory,
          "limit of the memory for all buffers together",
          .letter = 'm', .range = {8 * 1048576.0, 16384.0 * 1073741824.0}, .fallback = "512M"),
    NUMBER("readers", "N", readers,
           "threads that read files at the same time; 1 suits a spinning disk, a few a network file system; default: "
           "all threads",
           .range = {THREADS}),
    RANKS_OPTION};

const organ_option organ_ranks_options[] = {RANKS_OPTION};

const organ_option organ_reporting_options[] = {
    FLAG("json", json, "print the report as JSON and nothing else on stdout"),
    TEXT("html", "FILE", html,
         "also write the report as a web page; an existing FILE is replaced only if it is a page of organ",
         .names = ORGAN_NAMES_OUTPUT),
    TEXT("progress", "HOW", progress,
         "format of progress on stderr: a bar, a line for each tensor, or events as JSON; auto: a bar if stderr is a "
         "terminal, else a line every ten seconds",
         .fallback = "auto", .choices = "auto|bar|lines|json|none"),
    FLAG("quiet", quiet, "print no progress and no notes", .letter = 'q'),
    FLAG("help", help, "show this help", .letter = 'h')};

const organ_option organ_reach_options[] = {
    WORDS("header", "HEADER", headers,
          "HTTP header that organ sends to the server of a URL, for example 'Authorization: Bearer TOKEN'; may be "
          "repeated"),
    NUMBER("patience", "SECONDS", patience,
           "longest wait that a server may ask for (Retry-After); organ then repeats the request. A longer wait is an "
           "error",
           .range = {1, 86400}, .fallback = "60")};

const organ_option organ_evaluation_options[] = {
    INPUT("evaluate", "FILE", evaluation.text,
          "score the input model and the output on this UTF-8 text: perplexity, KL divergence and top-1 "
          "agreement"),
    TEXT("evaluate-style", "STYLE", evaluation.style,
         "which tokens are scored, see --style in 'organ help perplexity'; default hf",
         .choices = "hf|llama.cpp|lm-eval"),
    NUMBER("evaluate-context", "N", evaluation.context,
           "tokens in a window; default 2048 (--evaluate-style llama.cpp: 512), or the model's context if that is less",
           .range = {TEXT_CONTEXTS}),
    NUMBER("evaluate-max-tokens", "N", evaluation.max_tokens,
           "score only the first N tokens of the text; default: all", .range = {TEXT_TOKENS}),
    COMPUTE(evaluation.compute,
            "arithmetic of the evaluation, see --compute in 'organ help perplexity'; default exact. It does not affect "
            "the written model")};

const organ_option organ_help_options[] = {
    FLAG("help", help, "show this help", .letter = 'h')};

static bool is_family(const char *name, const organ_verb *verb)
{
    const size_t length = strlen(name);
    return strncmp(verb->name, name, length) == 0 && verb->name[length] == ' ';
}

static const organ_verb *refuse_second(const organ_verb_table *table, const char *family, const char *second,
                                       organ_error *error)
{
    char all[256] = "";
    const char *names[ORGAN_MAX_VERBS];
    size_t count = 0;
    for (size_t k = 0; k < table->count; k++)
        if (is_family(family, table->verbs[k])) {
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

static bool has_verb(const organ_verb_table *table, const char *name)
{
    bool found = false;
    for (size_t k = 0; k < table->count && !found; k++)
        found = organ_verb_is_named(table->verbs[k], name);
    return found;
}

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
    else if (has_verb(table, name))
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
        family = family || is_family(name, table->verbs[k]);
        *words = is_family(name, table->verbs[k]) ? 2 : 1;
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
