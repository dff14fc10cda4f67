/* SPDX-License-Identifier: MIT
 * organ.generate/1 */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/views.h"

#include <string.h>

static const organ_item merits[] = {{NULL, "tokens of the prompt", "{prompt.ids:size}"}, {NULL, "tokens made", "{generated.ids:size}"}};

/* Each line of a text a paragraph. */
static void put_text(organ_html *page, const json_t *text)
{
    for (const char *line = organ_json_text(text, "text"); *line;) {
        const size_t length = strcspn(line, "\n");
        if (length)
            organ_html_paragraph(page, "%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

static const organ_block text[] = {DRAW("text", put_text)};

static const organ_block blocks[] = {
    GAP(NULL), /* a terminal has the text already */
    MERITS(NULL, merits),
    SECTION(ON_PAGE, NULL, "Prompt"),
    PART(ON_PAGE, "prompt", text),
    SECTION(ON_PAGE, NULL, "What the model added"),
    PART(ON_PAGE, "generated", text),
    SAY(ON_PAGE, "!generated.text", "(nothing that can be seen)"),
    SAY(ON_PAGE, NULL,
        "The likeliest token each time; {stopped=eos?it stopped by itself, at EOS|it stopped at the number of tokens that was asked for}. "
        "That a model speaks does not say how well: organ perplexity measures that."),
    SECTION(ON_PAGE, NULL, "Model"),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_PAGE, NULL, "Digest of the tokenizer: {tokenizer_digest}."),
};

const organ_view organ_generate_view = {.schema = "organ.generate/1", .kind = "Generated text", .title = "{model.name}", BLOCKS(blocks)};
