/* SPDX-License-Identifier: MIT
 * organ.generate/1 */
#include "orchestrator/report/view/views.h"

static const organ_item merits[] = {{NULL, "tokens of the prompt", "{prompt.ids:size}"},
                                    {NULL, "tokens made", "{generated.ids:size}"}};

static const organ_block blocks[] = {
    GAP(NULL), /* a terminal has the text already */
    MERITS(NULL, merits),
    SECTION(ON_PAGE, NULL, "Prompt"),
    LINES_ON(ON_PAGE, "prompt.text", "{prompt.text}"),
    SECTION(ON_PAGE, NULL, "What the model added"),
    LINES_ON(ON_PAGE, "generated.text", "{generated.text}"),
    SAY(ON_PAGE, "!generated.text", "(nothing that can be seen)"),
    SAY(ON_PAGE, NULL,
        "The likeliest token each time; {stopped=eos?it stopped at EOS|it stopped at the number of tokens "
        "that was asked for}. "
        "That a model speaks does not say how well: organ perplexity measures that."),
    SECTION(ON_PAGE, NULL, "Model"),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_PAGE, NULL,
        "Digest of the tokenizer: {tokenizer_digest}; compute {compute?{compute}|exact}{compute_isa? by "
        "{compute_isa}}."),
};

const organ_view organ_generate_view = {
    .schema = "organ.generate/1", .kind = "Generated text", .title = "{model.name}", BLOCKS_OF(blocks)};
