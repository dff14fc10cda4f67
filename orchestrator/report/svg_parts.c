/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg_parts.h"

#include "orchestrator/report/markup.h"
#include "orchestrator/report/text.h"

#include <math.h>
#include <stdlib.h>

/* Everything that is drawn is a class, so that one block of rules turns light into dark. */
const char organ_svg_style[] =
    ".oc-paper{fill:#ffffff}.oc-text{fill:#1f2328;font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    ".oc-title{font-size:17px;font-weight:600}.oc-head{font-weight:600}.oc-faint{fill:#59636e}.oc-tick{font-size:11px;fill:#59636e}\n"
    ".oc-grid{stroke:#d1d9e0;stroke-width:1;fill:none}.oc-axis{stroke:#818b98;stroke-width:1;fill:none}"
    ".oc-band{fill:#818b98;fill-opacity:.28}.oc-line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}"
    ".oc-ref{fill:none;stroke:#59636e;stroke-width:1.5;stroke-dasharray:5 4}.oc-mark{stroke:none}\n"
    ".oc-s0{stroke:#0072b2}.oc-f0{fill:#0072b2}.oc-s1{stroke:#d55e00}.oc-f1{fill:#d55e00}.oc-s2{stroke:#007f5f}.oc-f2{fill:#007f5f}"
    ".oc-s3{stroke:#a8508a}.oc-f3{fill:#a8508a}.oc-s4{stroke:#8a6d00}.oc-f4{fill:#8a6d00}.oc-s5{stroke:#3f3f9f}.oc-f5{fill:#3f3f9f}\n"
    "@media screen and (prefers-color-scheme:dark){"
    ".oc-paper{fill:#0d1117}.oc-text{fill:#e6edf3}.oc-faint,.oc-tick{fill:#9198a1}.oc-grid{stroke:#2f353d}.oc-axis{stroke:#656c76}"
    ".oc-band{fill:#9198a1;fill-opacity:.3}.oc-ref{stroke:#b1bac4}\n"
    ".oc-s0{stroke:#58b4e9}.oc-f0{fill:#58b4e9}.oc-s1{stroke:#ff9248}.oc-f1{fill:#ff9248}.oc-s2{stroke:#35c79a}.oc-f2{fill:#35c79a}"
    ".oc-s3{stroke:#e29ac4}.oc-f3{fill:#e29ac4}.oc-s4{stroke:#e6c84f}.oc-f4{fill:#e6c84f}.oc-s5{stroke:#a5a8ff}.oc-f5{fill:#a5a8ff}}\n";

const char *const organ_svg_dashes[ORGAN_SVG_LOOKS] = {"", "7 3", "2 4", "9 3 2 3", "4 2", "1 3"};

/* A coordinate in hundredths: no locale, no more digits than a screen shows. */
static void put_number(FILE *out, double value)
{
    const long hundredths = lround(fmin(fmax(value, -1e6), 1e6) * 100);
    const long whole = labs(hundredths) / 100, rest = labs(hundredths) % 100;
    fprintf(out, "%s%ld", hundredths < 0 ? "-" : "", whole);
    if (rest)
        fprintf(out, rest % 10 ? ".%02ld" : ".%.1ld", rest % 10 ? rest : rest / 10);
}

void organ_svg_put(FILE *out, const char *format, const double *numbers)
{
    for (const char *at = format; *at; at++)
        if (at[0] == '%' && at[1] == 'f') {
            put_number(out, *numbers++);
            at++;
        } else {
            fputc(*at, out);
        }
}

void organ_svg_text(FILE *out, const char *s, size_t longest)
{
    organ_text text;
    organ_error ignored = {0};
    char *visible = NULL, *cut = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return;
    organ_text_visible(text.out, s ? s : "");
    if (organ_text_finish(&text, &visible, &ignored) == ORGAN_OK)
        cut = organ_text_shorten(visible, longest, true);
    organ_markup_text(out, cut ? cut : "");
    free(visible);
    free(cut);
}

double organ_svg_pixels(const char *s) { return 6.6 * (double)organ_text_width(s ? s : ""); }

void organ_svg_label(FILE *out, double x, double y, const char *class, const char *anchor, const char *s, size_t longest)
{
    ORGAN_SVG(out, "<text x=\"%f\" y=\"%f\"", x, y);
    fprintf(out, " class=\"oc-text%s\" text-anchor=\"%s\">", class, anchor);
    organ_svg_text(out, s, longest);
    fputs("</text>\n", out);
}

void organ_svg_marker(FILE *out, unsigned kind, double x, double y)
{
    fputs("<path d=\"", out);
    if (kind == 0)
        ORGAN_SVG(out, "M%f %fa3 3 0 1 0 6 0a3 3 0 1 0-6 0z", x - 3, y);
    else if (kind == 1)
        ORGAN_SVG(out, "M%f %fh5.2v5.2h-5.2z", x - 2.6, y - 2.6);
    else if (kind == 2)
        ORGAN_SVG(out, "M%f %fl3.6 6.2h-7.2z", x, y - 3.8);
    else if (kind == 3)
        ORGAN_SVG(out, "M%f %fl3.8 3.8l-3.8 3.8l-3.8-3.8z", x, y - 3.8);
    else if (kind == 4)
        ORGAN_SVG(out, "M%f %fl-3.6-6.2h7.2z", x, y + 3.8);
    else
        ORGAN_SVG(out, "M%f %fh2v-2.5h2.6v2.5h2v2.6h-2v2.5h-2.6v-2.5h-2z", x - 3.3, y - 1.3);
    fprintf(out, "\" class=\"oc-mark oc-f%u\">", kind);
}

void organ_svg_begin(FILE *out, double width, double height, const char *title, const char *description, const char *more_style)
{
    ORGAN_SVG(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %f %f\" width=\"%f\" height=\"%f\" role=\"img\">\n<title>",
              width, height, width, height);
    organ_svg_text(out, title, 200);
    fputs("</title>\n<desc>", out);
    organ_svg_text(out, description, 4000);
    fprintf(out, "</desc>\n<style>\n%s%s</style>\n", organ_svg_style, more_style);
    ORGAN_SVG(out, "<rect width=\"%f\" height=\"%f\" class=\"oc-paper\"/>\n", width, height);
}
