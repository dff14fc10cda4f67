/* SPDX-License-Identifier: MIT
 * Pages of organ.extract/1 and organ.assemble/1. */
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/anatomy_html.h"
#include "orchestrator/report/view/organs_report.h"

#include "formats/tensor/tensor.h"
#include "orchestrator/machine/quantity.h"

#include <stdint.h>
#include <stdlib.h>

enum { MOST_CHANGED = 1000 };

static bool is_dry(const json_t *report) { return json_is_true(json_object_get(report, "dry_run")); }

static void put_figures(organ_html *html, const json_t *report, const char *fact, const char *meaning)
{
    char size[16], tensors[32];
    organ_quantity_text(organ_json_count(report, "totals.bytes"), size);
    organ_count_text(organ_json_count(report, "totals.tensors"), tensors);
    const organ_html_figure_of_merit figures[] = {
        {size, is_dry(report) ? "would be written" : "written"}, {tensors, "tensors"}, {fact, meaning}};
    organ_html_figures_of_merit(html, figures, fact ? 3 : 2);
}

static void put_beside(organ_html *html, const json_t *report, const char *where)
{
    char size[16], count[32];
    const unsigned long long files = organ_json_count(report, "beside.files");
    if (files)
        organ_html_paragraph(html, "Beside the tensors: %s file%s, %s%s.", organ_count_text(files, count), files == 1 ? "" : "s",
                             organ_quantity_text(organ_json_count(report, "beside.bytes"), size), where);
}

/* ---- extract ---- */

static organ_table *sources_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("file", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE), FIELD_BYTES("size", "bytes"),
                                         FIELD_BYTES("header", "header_bytes"), FIELD_BYTES("between tensors", "gap_bytes")};
    return organ_field_table(FIELD_LIST(fields), json_object_get(report, "sources"), SIZE_MAX);
}

organ_status organ_extract_report_html(const json_t *report, char **text, organ_error *error)
{
    const bool dry = is_dry(report);
    char files[32];
    organ_html *const html =
        organ_html_create("Extraction", organ_json_text(report, "model.name"),
                          dry ? "A dry run: what the model would be taken apart into; nothing was written."
                              : "The model taken apart: a file for every tensor, in folders for skeleton, organs, embedding and norms.");
    organ_count_text(json_array_size(json_object_get(report, "sources")), files);
    put_figures(html, report, files, "headers, kept as they are");
    organ_html_model(html, "Model", json_object_get(report, "model"));
    organ_html_section(html, "Anatomy");
    organ_anatomy_html_groups(html, json_object_get(report, "folders"));
    organ_html_table(html, organ_extract_folders_table(report), "What lies in each folder.");
    organ_anatomy_html_bytes(html, report);
    organ_html_section(html, "Sources");
    organ_html_table(html, sources_table(report),
                     "The files that were taken apart: their headers are kept in header/, and so is what "
                     "stands between tensors and is not zeros.");
    put_beside(html, report, ", in files/");
    if (!dry)
        organ_html_paragraph(html, "What proves it: manifest.json has the XXH3 digest of every tensor and of every header. organ assemble "
                                   "compares them with the bytes that it finds, and says whether the donor is there again.");
    organ_html_ending(html, NULL, json_object_get(report, "run"));
    return organ_html_finish(html, text, error);
}

/* ---- assemble ---- */

static organ_table *changed_table(const json_t *changed)
{
    static const organ_column columns[] = {{"tensor", ORGAN_LEFT, true, true}, {"role", ORGAN_LEFT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; k < json_array_size(changed) && k < MOST_CHANGED; k++) {
        const char *const name = organ_json_text(json_array_get(changed, k), "");
        organ_table_cell(table, "%s", name);
        organ_table_cell(table, "%s", organ_role_describe(organ_anatomy_of(name).role)->name);
    }
    return table;
}

static void put_proof(organ_html *html, const json_t *report)
{
    const json_t *const changed = json_object_get(report, "changed");
    organ_html_section(html, "Proof");
    if (json_is_true(json_object_get(report, "merged")))
        organ_html_paragraph(html, "The donor's files were merged into one with a new header.");
    if (is_dry(report))
        organ_html_paragraph(html, "A dry run reads no tensor: nothing is proved.");
    else if (json_is_true(json_object_get(report, "donor_again")))
        organ_html_paragraph(html, "No tensor was changed: byte for byte what the donor was. The XXH3 digest of every tensor that was "
                                   "written is the one in manifest.json.");
    else if (json_array_size(changed) == 0)
        organ_html_paragraph(html, "No tensor was changed since the directory was made; it is no longer its donor.");
    else
        organ_html_table(html, changed_table(changed),
                         "Tensors that are not as taken out of the donor: their XXH3 digest is not the one "
                         "in manifest.json.");
    organ_html_left_out(html, json_array_size(changed), MOST_CHANGED, "changed tensors");
}

organ_status organ_assemble_report_html(const json_t *report, char **text, organ_error *error)
{
    const bool dry = is_dry(report), again = json_is_true(json_object_get(report, "donor_again"));
    const size_t count = json_array_size(json_object_get(report, "changed"));
    char changed[32];
    organ_html *const html = organ_html_create("Assembly", organ_json_text(report, "model.name"),
                                               dry ? "A dry run: the model that would be made of the parts; nothing was written."
                                                   : "The parts put together into a model.");
    organ_count_text(count, changed);
    put_figures(html, report,
                dry     ? NULL
                : again ? "yes"
                        : changed,
                again ? "the donor, byte for byte" : "tensors not as taken out of the donor");
    organ_html_model(html, "Made of", json_object_get(report, "model"));
    organ_html_section(html, "Anatomy");
    organ_anatomy_html_groups(html, json_object_get(report, "groups"));
    organ_anatomy_html_bytes(html, report);
    organ_html_section(html, "Files");
    organ_html_table(html, organ_files_table(report), dry ? "What would be written." : "What was written.");
    put_beside(html, report, "");
    put_proof(html, report);
    organ_html_ending(html, NULL, json_object_get(report, "run"));
    return organ_html_finish(html, text, error);
}
