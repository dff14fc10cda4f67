/* SPDX-License-Identifier: MIT
 * organ.generate/1 as a page. */
#include "orchestrator/report/view/generate_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"

#include <string.h>

/* Each line a paragraph. */
static void put_text(organ_html *page, const char *text)
{
    for (const char *line = text; *line;) {
        const size_t length = strcspn(line, "\n");
        if (length)
            organ_html_paragraph(page, "%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

organ_status organ_generate_report_html(const json_t *report, char **html, organ_error *error)
{
    const char *const made = organ_json_text(report, "generated.text");
    const size_t asked = json_array_size(organ_json_at(report, "prompt.ids")),
                 came = json_array_size(organ_json_at(report, "generated.ids"));
    char before[32], behind[32];
    const organ_html_figure_of_merit figures[] = {{organ_count_text(asked, before), "tokens of the prompt"},
                                                  {organ_count_text(came, behind), "tokens made"}};
    organ_html *const page = organ_html_create("Generated text", organ_json_text(report, "model.name"), NULL);
    organ_html_figures_of_merit(page, figures, sizeof figures / sizeof *figures);
    organ_html_section(page, "Prompt");
    put_text(page, organ_json_text(report, "prompt.text"));
    organ_html_section(page, "What the model added");
    put_text(page, *made ? made : "(nothing that can be seen)");
    organ_html_paragraph(page,
                         "The likeliest token each time; %s. That a model speaks does not say how well: organ perplexity measures that.",
                         strcmp(organ_json_text(report, "stopped"), "eos") == 0 ? "it stopped by itself, at EOS"
                                                                                : "it stopped at the number of tokens that was asked for");
    organ_html_section(page, "Model");
    organ_html_model(page, "Model", organ_json_at(report, "model"));
    organ_html_paragraph(page, "Digest of the tokenizer: %s.", organ_json_text(report, "tokenizer_digest"));
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}
