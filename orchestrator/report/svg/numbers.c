/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/numbers.h"

#include "orchestrator/report/svg/chart_scale.h"
#include "orchestrator/report/svg/parts.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

void organ_svg_numbers_begin(FILE *out) { fputs("<metadata>", out); }
void organ_svg_numbers_end(FILE *out) { fputs("</metadata>\n", out); }

/* Control characters become visible, so no cell holds a tab or the end of a line. */
void organ_svg_numbers_text(FILE *out, const char *s)
{
    organ_svg_text(out, s, 120);
    fputc('\t', out);
}

void organ_svg_numbers_value(FILE *out, double value)
{
    char number[32];
    if (isfinite(value))
        fputs(organ_number_text(value, 5, number), out);
    fputc('\t', out);
}

void organ_svg_numbers_row(FILE *out) { fputc('\n', out); }

static void put_row(FILE *out, const char *from, const char *end, bool head)
{
    fputs("<tr>", out);
    for (bool first = true; from < end; first = false) {
        const char *const tab = memchr(from, '\t', (size_t)(end - from)), *const stop = tab ? tab : end;
        fputs(head ? "<th scope=\"col\">" : first ? "<th scope=\"row\">" : "<td>", out);
        fwrite(from, 1, (size_t)(stop - from), out);
        fputs(head || first ? "</th>" : "</td>", out);
        from = stop + 1;
    }
    fputs("</tr>\n", out);
}

void organ_svg_numbers_html(FILE *out, const char *from, const char *to)
{
    fputs("<thead>\n", out);
    for (bool head = true; from < to; head = false) {
        const char *const newline = memchr(from, '\n', (size_t)(to - from)), *const end = newline ? newline : to;
        put_row(out, from, end, head);
        fputs(head ? "</thead>\n<tbody>\n" : "", out);
        from = end + 1;
    }
    fputs("</tbody>\n", out);
}
