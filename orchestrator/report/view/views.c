/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/views.h"

#include "orchestrator/report/blocks/blocks.h"
#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

#include <string.h>

#define ORGAN_VIEW_PLACE(name) &organ_##name##_view,
const organ_view *const organ_views[ORGAN_VIEWS] = {ORGAN_VIEW_LIST(ORGAN_VIEW_PLACE)};

const organ_view *organ_view_of(const json_t *report)
{
    for (size_t k = 0; k < ORGAN_VIEWS; k++)
        if (strcmp(organ_views[k]->schema, organ_json_text(report, "schema")) == 0)
            return organ_views[k];
    return NULL;
}

organ_status organ_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return organ_view_terminal(organ_view_of(report), report, page, false, text, error);
}

organ_status organ_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return organ_view_terminal(organ_view_of(report), report, page, true, text, error);
}

organ_status organ_report_markdown(const json_t *report, char **text, organ_error *error)
{
    return organ_view_markdown(organ_view_of(report), report, text, error);
}
