/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_evaluation.h"

#define FIGURE_WORDS(member) "{figures." member "?{figures." member ":.4f}|too large}"

static const organ_item experiment[] = {
    {NULL, "text", "{text.name}, {text.bytes:count} bytes, {text.tokens:count} tokens"},
    {NULL, "digest of the text (XXH3)", "{text.xxh3}"},
    {NULL, "tokenizer", "{tokenizer.kind} of {tokenizer.vocabulary:count}"},
    {NULL, "digest of the tokenizer", "{tokenizer.digest}"},
    {NULL, "style", "{style}; {bos}"},
    {NULL, "context", "{context:count} tokens"},
    {NULL, "compute", "{compute?{compute}|exact}{compute_isa? by {compute_isa}}"},
    {NULL, "scored", "{tokens_scored:count} of the first {tokens_used:count} tokens, in {windows} window{windows:s}"}};

const organ_block organ_experiment_blocks[ORGAN_EXPERIMENT_BLOCKS] = {
    ITEMS(ON_PAGE, NULL, .name = "setting", .value = "value", ITEM_LIST(experiment),
          .caption = "Conditions that must be the same for a comparison with other figures")};

#define LM_EVAL "evaluation.experiment.style=lm-eval"
static const organ_field models[] = {
    FIELD_WORDS("model", "{model?before: {is} {model.name}|after}", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_LEFT),
    FIELD_WORDS("perplexity", "{figures.perplexity:measured}", 0),
    FIELD_WORDS("bits/byte", FIGURE_WORDS("bits_per_byte"), 0),
    FIELD_WORDS_IF(LM_EVAL, "per word", FIGURE_WORDS("word_perplexity"), 0),
    FIELD_WORDS_IF(LM_EVAL, "per byte", FIGURE_WORDS("byte_perplexity"), 0)};

static const organ_item comparison[] = {{NULL, "difference in perplexity", "{comparison.difference:+measured}"},
                                        {NULL, "ratio of perplexities", "{comparison.ratio:measured}"},
                                        {NULL, "KL divergence, nats per token", "{comparison.kl_divergence:measured}"},
                                        {NULL, "same top token, %", "{comparison.top1_agreement:%measured}"}};

const organ_block organ_evaluation_blocks[ORGAN_EVALUATION_BLOCKS] = {
    GAP(NULL),
    SECTION(ON_FILES, NULL, "Evaluation"),
    SAY_AFTER(ON_TERMINAL, "not_evaluated", "  NOT EVALUATED  ", "The output is complete, but: {not_evaluated}"),
    SAY(ON_MARKDOWN, "not_evaluated", "> **Not evaluated.** The output is complete, but: {not_evaluated}"),
    WARN(ON_PAGE, "not_evaluated", "The output is complete, but it was not evaluated: {not_evaluated}"),
    SAY(ON_MARKDOWN, NULL, EXPERIMENT_WORDS),
    TABLE(ON_ALL, "comparison", "before after", FIELDS(models),
          .caption = "Perplexity before and after, on the same tokens, with standard errors"),
    ITEMS(ON_ALL, "comparison", .name = "after versus before", .value = "value", .align = ORGAN_RIGHT,
          ITEM_LIST(comparison), .caption = "Changes; errors are those of paired tokens"),
    SAY(ON_TERMINAL, NULL,
        "{comparison|not_evaluated?|Would be evaluated before and after, on the same tokens. }" EXPERIMENT_WORDS),
    SAY(ON_MARKDOWN, "comparison", "Errors are standard errors and treat tokens as independent."),
    TERMS(ON_MARKDOWN, NULL, "definitions", NULL, NULL),
    PART(ON_PAGE, "experiment", BLOCKS_OF(organ_experiment_blocks)),
    WARN(ON_PAGE, "!experiment.text.utf8", "Bytes of the text that are not UTF-8 are read as U+FFFD."),
};
