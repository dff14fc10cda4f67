/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/verb_parts.h"

#define CALL organ_call

/* Tables are laid out by hand. */
/* clang-format off */

#define RANKS_OPTION \
    NUMBER("ranks", "N", ranks_wanted, \
           "refuse to run unless mpirun or srun has started N processes, which share the work; 1: this one alone", \
           .range = {RANKS})

const organ_option organ_machine_options[] = {
    NUMBER("threads", "N", threads,
           "threads to work with, pinned to cores where the system allows it; if not given, one per core; the result "
           "is the same with any number", .letter = 't', .range = {THREADS}),
    BYTES("memory", "SIZE", memory,
          "how much the buffers may take, whatever the size of the model",
          .letter = 'm', .range = {8 * 1048576.0, 16384.0 * 1073741824.0}, .fallback = "512M"),
    RANKS_OPTION};

const organ_option organ_ranks_options[] = {RANKS_OPTION};

const organ_option organ_reporting_options[] = {
    FLAG("json", json, "print the report as JSON on stdout, and nothing else there"),
    TEXT("html", "FILE", html,
         "write the report as a web page, too; a page of organ that is there is replaced, any other file is left alone",
         .names = ORGAN_NAMES_OUTPUT),
    TEXT("progress", "HOW", progress,
         "how to show on stderr how far it is: a bar, lines, or events as JSON; auto is a bar on a terminal",
         .fallback = "auto", .choices = "auto|bar|lines|json|none"),
    FLAG("quiet", quiet, "show no progress and no notes", .letter = 'q'),
    FLAG("help", help, "show this help", .letter = 'h')};

const organ_option organ_reach_options[] = {
    WORDS("header", "HEADER", headers,
          "sent to the server of a URL, for example 'Authorization: Bearer TOKEN'; may be given several times"),
    NUMBER("patience", "SECONDS", patience,
           "how long the server of a URL may ask to wait before it is asked again",
           .range = {1, 86400}, .fallback = "60")};

const organ_option organ_evaluation_options[] = {
    INPUT("evaluate", "FILE", evaluation.text,
          "score what there was and what was made of it on this text, UTF-8: perplexity, KL divergence and top-1 "
          "agreement"),
    TEXT("evaluate-style", "STYLE", evaluation.style,
         "the protocol, as of perplexity; if not given, hf", .choices = "hf|llama.cpp|lm-eval"),
    NUMBER("evaluate-context", "N", evaluation.context, "tokens of a window; if not given, as of perplexity",
           .range = {TEXT_CONTEXTS}),
    NUMBER("evaluate-max-tokens", "N", evaluation.max_tokens,
           "only the first N tokens of the text; if not given, all", .range = {TEXT_TOKENS}),
    COMPUTE(evaluation.compute,
            "what the evaluation computes with, as of perplexity; if not given, exact. What is written does not depend "
            "on it")};

const organ_option organ_help_options[] = {
    FLAG("help", help, "show this help", .letter = 'h')};
