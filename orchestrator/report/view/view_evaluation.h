/* SPDX-License-Identifier: MIT
 * Blocks for "evaluation" in the reports of operations that write a model: the figures of --evaluate, in the same form
 * for every operation. */
#ifndef ORGAN_VIEW_EVALUATION_H
#define ORGAN_VIEW_EVALUATION_H

#include "orchestrator/report/blocks/blocks.h"

enum { ORGAN_EVALUATION_BLOCKS = 13 };
extern const organ_block organ_evaluation_blocks[ORGAN_EVALUATION_BLOCKS];

/* Results for HIGHLIGHTS: the perplexity before and after, and the KL divergence from the donor, if the report has an
 * evaluation. Views list them first. */
#define EVALUATION_HIGHLIGHTS                                                                                          \
    {"evaluation.comparison", "perplexity; before: {evaluation.before.figures.perplexity:figure}",                     \
     "{evaluation.after.figures.perplexity:figure}"},                                                                  \
    {                                                                                                                  \
        "evaluation.comparison", "KL divergence from the donor, nats per token",                                       \
            "{evaluation.comparison.kl_divergence:figure}"                                                             \
    }

/* Prints the member "evaluation" of a report that has it: on a page and in a Markdown file as a section, on a terminal
 * after an empty line. */
#define EVALUATION_ON(where) PART(where, "evaluation", BLOCKS_OF(organ_evaluation_blocks))

/* Sentences about the member "experiment": text, tokenizer, protocol and compute. A report without "experiment.compute"
 * is older than the option --compute, so its compute was exact. */
#define EXPERIMENT_WORDS                                                                                               \
    "Text {experiment.text.name}: {experiment.text.bytes:count} bytes, {experiment.text.tokens:count} tokens"          \
    "{experiment.text.tokens>experiment.tokens_used? (the first {experiment.tokens_used:count} are used)}, XXH3 "      \
    "{experiment.text.xxh3}. "                                                                                         \
    "{experiment.text.utf8?|Bytes that are not UTF-8 are read as U+FFFD. }"                                            \
    "Tokenizer: {experiment.tokenizer.kind} of {experiment.tokenizer.vocabulary}, digest "                             \
    "{experiment.tokenizer.digest}. "                                                                                  \
    "Style {experiment.style}, context {experiment.context}, compute {experiment.compute?{experiment.compute}|exact}"  \
    "{experiment.compute_isa? by {experiment.compute_isa}}: {experiment.windows:count} window{experiment.windows:s}, " \
    "{experiment.tokens_scored:count} token{experiment.tokens_scored:s} scored; {experiment.bos}."

/* A table of the experiment for a page; its row is the member "experiment". */
enum { ORGAN_EXPERIMENT_BLOCKS = 1 };
extern const organ_block organ_experiment_blocks[ORGAN_EXPERIMENT_BLOCKS];

#endif
