/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/views.h"

#include "formats/base/results.h"
#include "orchestrator/report/text/report_text.h"

#include <organ/base.h>
#include <organ/report.h>
#include <stdio.h>
#include <stdlib.h>
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
    return organ_view_terminal(organ_view_of(report), report, page, /*tensors=*/false, text, error);
}

organ_status organ_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return organ_view_terminal(organ_view_of(report), report, page, /*tensors=*/true, text, error);
}

organ_status organ_report_markdown(const json_t *report, char **text, organ_error *error)
{
    return organ_view_markdown(organ_view_of(report), report, text, error);
}

void organ_html_report_schemas(char *out, size_t size)
{
    size_t length = 0;
    for (size_t k = 0; k < ORGAN_VIEWS && length < size; k++)
        length += (size_t)snprintf(out + length, size - length, "%s%s", k ? ", " : "", organ_views[k]->schema);
}

organ_status organ_html_report(const json_t *report, char **html, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const bool object = json_is_object(report); /* the views add members to it */
    const char *const schema = object ? organ_json_text(report, "schema") : "";
    const organ_view *const view = object ? organ_view_of(report) : NULL;
    char known[1024] = "";
    *html = NULL;
    if (view) {
        const organ_memory_work work = organ_memory_work_begin();
        organ_view_page(view, report, html, error);
        if (organ_memory_work_end(&work, /*document=*/NULL, "the page of a report", error) != ORGAN_OK)
            organ_clear(html);
        return error->status;
    }
    organ_html_report_schemas(known, sizeof known);
    if (!*schema)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "the document has no \"schema\", so it is not a report; there are pages for %s", known);
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "there is no page for a report with the schema '%s'; there are pages for %s", schema, known);
}

organ_status organ_html_report_write(const char *path, const json_t *report, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    ORGAN_OWNED char *html = NULL;
    if (organ_html_report(report, &html, error) == ORGAN_OK)
        organ_text_write(path, html, error);
    return error->status;
}

organ_status organ_html_report_next_to(const char *markdown_path, const json_t *report, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const char *const dot = strrchr(markdown_path, '.');
    const int length = dot && strcmp(dot, ".md") == 0 ? (int)(dot - markdown_path) : (int)strlen(markdown_path);
    ORGAN_OWNED char *path = NULL;
    if (asprintf(&path, "%.*s.html", length, markdown_path) < 0)
        return organ_fail(error, ORGAN_IO, "%s: no memory for its page", markdown_path);
    organ_html_report_write(path, report, error);
    return error->status;
}
