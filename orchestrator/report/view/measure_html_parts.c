/* SPDX-License-Identifier: MIT
 * What pages of one and of several measured models share. */
#include "orchestrator/report/view/measure_html.h"

#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/measure_report.h"

static void put_ratings(FILE *out, const json_t *model, const organ_page *page)
{
    (void)page;
    organ_measure_ratings_line(out, model);
    fputc('\n', out);
}

void organ_measure_html_ratings(organ_html *html, const json_t *model) { organ_html_words(html, put_ratings, model); }

void organ_measure_html_first(organ_html *html, const json_t *model, const char *key, size_t most,
                              organ_table *(*make)(const json_t *model), const char *what, const char *caption)
{
    json_t *const part = organ_json_first(model, key, most);
    organ_html_table(html, part ? make(part) : NULL, caption);
    organ_html_left_out(html, json_array_size(json_object_get(model, key)), most, what);
    json_decref(part);
}

void organ_measure_html_wells(organ_html *html, const json_t *model, size_t most)
{
    if (json_array_size(json_object_get(model, "wells")) == 0)
        organ_html_paragraph(html, "There are none: no tensor lies that far below both of its neighbours.");
    else
        organ_measure_html_first(
            html, model, "wells", most, organ_measure_wells_table, "wells",
            "Theta of each well, of its neighbours in the layers before and after, and how much theta varies within its role.");
}
