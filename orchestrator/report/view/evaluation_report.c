/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/evaluation_report.h"

#include "orchestrator/report/blocks/walk.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/view/evaluation.h"

#include <stdlib.h>

static const organ_block blocks[] = {EVALUATION_ON(ON_ALL)};
static const organ_view view = {.kind = "", .title = "", BLOCKS(blocks)};

organ_status organ_evaluation_terminal(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    char *text = NULL;
    if (organ_view_terminal(&view, report, page, false, &text, error) == ORGAN_OK)
        fputs(text, out);
    free(text);
    return error->status;
}

organ_status organ_evaluation_markdown(FILE *out, const json_t *report, organ_error *error)
{
    char *text = NULL;
    if (organ_view_markdown(&view, report, &text, error) == ORGAN_OK && *text)
        fprintf(out, "\n%s", text);
    free(text);
    return error->status;
}

void organ_evaluation_html(organ_html *html, const json_t *report) { organ_blocks_page(blocks, 1, report, html); }
