/* SPDX-License-Identifier: MIT
 * The view of organ.generate/1, the report of `organ generate`. */
#include "orchestrator/report/view/views.h"

static const organ_item highlights[] = {{NULL, "tokens of the prompt", "{prompt.ids:size}"},
                                        {NULL, "tokens generated", "{generated.ids:size}"}};

static const organ_block blocks[] = {
    GAP(NULL), /* after the text, which a terminal has already */
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Prompt"),
    LINES_ON(ON_PAGE, "prompt.text", "{prompt.text}"),
    SECTION(ON_PAGE, NULL, "Continuation"),
    LINES_ON(ON_PAGE, "generated.text", "{generated.text}"),
    SAY(ON_PAGE, "!generated.text", "(no visible characters)"),
    SAY(ON_PAGE, NULL,
        "Greedy decoding; it stopped at {stopped=eos?EOS|the requested number of tokens}. A continuation does not show "
        "how good a model is: organ perplexity measures that."),
    SECTION(ON_PAGE, NULL, "Model"),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_PAGE, NULL,
        "Digest of the tokenizer: {tokenizer_digest}; compute {compute?{compute}|exact}{compute_isa? by "
        "{compute_isa}}."),
};

const organ_view organ_generate_view = {.schema = "organ.generate/1",
                                        .kind = "Generated text",
                                        .title = "{model.name}",
                                        BLOCKS_OF(blocks),
                                        .only_text = true};
