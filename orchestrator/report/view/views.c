/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/views.h"

#include "formats/base/results.h"
#include "orchestrator/report/text/report_text.h"

#include <organ/base.h>
#include <organ/report.h>
#include <stdio.h>
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

/* The table of --csv: of the rows with the report's schema, the first whose array the report has. `inner` and `outer`
 * are those of organ_csv_print. */
static const struct {
    const char *schema, *rows, *inner, *outer;
} csv_tables[] = {
    {"adapter_rows", "tensors", NULL, NULL},
    {"assemble", "files", NULL, NULL},
    {"audit", "tensors", NULL, NULL},
    {"audit_combine", "problems", NULL, NULL},
    {"audit_cut", "layers", NULL, NULL},
    {"audit_gguf", "keys", NULL, NULL},
    {"audit_labels", "problems", NULL, NULL},
    {"audit_merge", "problems", NULL, NULL},
    {"audit_patch", "problems", NULL, NULL},
    {"audit_rows", "problems", NULL, NULL},
    {"audit_vocabulary", "problems", NULL, NULL},
    {"autopsy", "tensors", NULL, NULL},
    {"compare", "pairs", NULL, NULL},
    {"convert", "types", NULL, NULL},
    {"dequantize", "weights", NULL, NULL},
    {"draft_head", "texts", NULL, NULL},
    {"evaluate", "models", NULL, NULL},
    {"experts", "layers", NULL, NULL},
    {"experts_prediction", "points", NULL, NULL},
    {"extract", "folders", NULL, NULL},
    {"fetch", "files", NULL, NULL},
    {"fleet", "models", NULL, NULL},
    {"generate", "generated.ids", NULL, NULL},
    {"gguf", "files", NULL, NULL},
    {"graft", "tensors", NULL, NULL},
    {"graft", "groups", NULL, NULL},
    {"imatrix", "entries", NULL, NULL},
    {"inspect", "tensors", NULL, NULL},
    {"inspect", "roles", NULL, NULL},
    {"labels", "labels", NULL, NULL},
    {"layers", "search.blocks", NULL, NULL},
    {"layers", "kinds", NULL, NULL},
    {"layers", "settings", NULL, NULL},
    {"lora_combine", "modules", NULL, NULL},
    {"lora_combine", "compared", NULL, NULL},
    {"lora_extract", "modules", NULL, NULL},
    {"lora_merge", "modules", NULL, NULL},
    {"lora_resize", "modules", NULL, NULL},
    {"lora_sanitize", "modules", NULL, NULL},
    {"measure", "models", "per_tensor", "model.name"},
    {"merge", "donors", NULL, NULL},
    {"models", "models", NULL, NULL},
    {"noise_pairs", "modules", NULL, NULL},
    {"orthogonality", "modules", NULL, NULL},
    {"patch", "tensors", NULL, NULL},
    {"perplexity", "models", NULL, NULL},
    {"prune", "tensors", NULL, NULL},
    {"prune", "projections", NULL, NULL},
    {"purify", "tensors", NULL, NULL},
    {"purify", "roles", NULL, NULL},
    {"quantize", "tensors", NULL, NULL},
    {"quantize", "roles", NULL, NULL},
    {"quantize_sizes", "outputs", NULL, NULL},
    {"schemas", "schemas", NULL, NULL},
    {"smooth", "folds", NULL, NULL},
    {"tasks", "results", NULL, NULL},
    {"tokenize", "ids", NULL, NULL},
    {"tokenize", "first", NULL, NULL},
    {"topology", "workers", NULL, NULL},
    {"untrusted", "findings", NULL, NULL},
    {"vocabularies", "models", NULL, NULL},
    {"vocabulary", "policies", NULL, NULL},
    {"vocabulary_add", "tokens", NULL, NULL},
    {"width", "projections", NULL, NULL},
};

organ_status organ_report_csv(const json_t *report, FILE *out, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const char *const schema = organ_json_text(report, "schema");
    bool known = false;
    for (size_t k = 0; k < sizeof csv_tables / sizeof *csv_tables; k++) {
        char name[64];
        snprintf(name, sizeof name, "organ.%s/1", csv_tables[k].schema);
        const bool same = strcmp(schema, name) == 0;
        const json_t *const rows = same ? organ_json_at(report, csv_tables[k].rows) : NULL;
        known = known || same;
        if (json_is_array(rows))
            return organ_csv_print(rows, csv_tables[k].inner, csv_tables[k].outer, out, error);
    }
    return known ? ORGAN_OK
                 : organ_fail(error, ORGAN_BAD_INPUT, "a document with the schema '%s' has no table for --csv", schema);
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
