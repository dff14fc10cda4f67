/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/verb_parts.h"

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
         "format of progress on stderr: a bar, lines, or events as JSON; auto: a bar if stderr is a terminal, else "
         "lines",
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
