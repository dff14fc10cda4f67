/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/html/parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As for a chart that could not be made. */
void organ_html_fail(organ_html *html) { organ_html_chart(html, NULL, NULL); }

void organ_html_left_out(organ_html *html, size_t all, size_t most, const char *what)
{
    char shown[32], count[32];
    if (all > most)
        organ_html_paragraph(html, "The table shows the first %s of %s %s; the report as JSON has all.", organ_count_text(most, shown),
                             organ_count_text(all, count), what);
}

char *organ_scatter_of(organ_scatter look, organ_point *points, size_t count)
{
    char *svg = NULL;
    look.points = points;
    look.count = count;
    if (points)
        organ_scatter_svg(&look, &svg, &(organ_error){0});
    free(points);
    return svg;
}

double organ_json_number(const json_t *row, const char *key)
{
    const json_t *const value = organ_json_at(row, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

double organ_json_percent(const json_t *row, const char *key) { return 100 * organ_json_number(row, key); }
