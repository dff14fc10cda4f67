/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg_parts.h"

#include "orchestrator/report/svg/chart_scale.h"
#include "orchestrator/report/svg/svg_embed.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdlib.h>

/* Writes a coordinate with at most two decimals and a point in every locale. Limits it to +-1e6, which is outside of
 * any chart, so that lround cannot overflow. */
static void parts_put_number(FILE *out, double value)
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
            parts_put_number(out, *numbers++);
            at++;
        } else {
            fputc(*at, out);
        }
}

void organ_svg_text(FILE *out, const char *s, size_t longest)
{
    char *const visible = organ_text_made_visible(s ? s : ""), *const cut =
                                                                   visible ? organ_text_shorten(visible, longest, true)
                                                                           : NULL;
    organ_markup_text(out, cut ? cut : "");
    free(visible);
    free(cut);
}

double organ_svg_pixels(const char *s) { return 6.6 * (double)organ_text_width(s ? s : ""); }
double organ_svg_pixels_cut(const char *s, size_t longest) { return fmin(organ_svg_pixels(s), 6.6 * (double)longest); }

void organ_svg_label(FILE *out, double x, double y, const char *class, const char *anchor, const char *s,
                     size_t longest)
{
    ORGAN_SVG(out, "<text x=\"%f\" y=\"%f\"", x, y);
    fprintf(out, " class=\"oc-text%s\" text-anchor=\"%s\">", class, anchor);
    organ_svg_text(out, s, longest);
    fputs("</text>\n", out);
}

void organ_svg_head(FILE *out, double left, const char *title, const char *subtitle, const char *note, size_t longest)
{
    enum { TITLE_ROW = 26 }; /* y of the title */
    char text[512];
    snprintf(text, sizeof text, "%s%s%s", subtitle ? subtitle : "", subtitle && *note ? "; " : "", note);
    organ_svg_label(out, left, TITLE_ROW, " oc-title", "start", title, 90);
    if (*text)
        organ_svg_label(out, left, TITLE_ROW + 20, " oc-faint", "start", text, longest);
}

void organ_svg_upright(FILE *out, double middle, const char *s, size_t longest)
{
    ORGAN_SVG(out, "<text transform=\"translate(18 %f) rotate(-90)\" class=\"oc-text\" text-anchor=\"middle\">",
              middle);
    organ_svg_text(out, s, longest);
    fputs("</text>\n", out);
}

void organ_svg_line_end(FILE *out, unsigned style)
{
    static const char *const dashes[ORGAN_SVG_LOOKS] = {"", "7 3", "2 4", "9 3 2 3", "4 2", "1 3"};
    const char *const dash = dashes[organ_svg_shape(style)];
    fprintf(out, " class=\"oc-line oc-s%u\"%s%s%s/>\n", style % ORGAN_SVG_LOOKS, *dash ? " stroke-dasharray=\"" : "",
            dash, *dash ? "\"" : "");
}

unsigned organ_svg_shape(unsigned kind) { return (kind + kind / ORGAN_SVG_LOOKS * 2) % ORGAN_SVG_LOOKS; }

void organ_svg_marker(FILE *out, unsigned style, double x, double y)
{
    const unsigned kind = organ_svg_shape(style);
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
    fprintf(out, "\" class=\"oc-mark oc-f%u\">", style % ORGAN_SVG_LOOKS);
}

void organ_svg_begin(FILE *out, double width, double height, const char *title, const char *description,
                     const char *more_style)
{
    ORGAN_SVG(out,
              "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %f %f\" width=\"%f\" height=\"%f\" "
              "role=\"img\">\n<title>",
              width, height, width, height);
    organ_svg_text(out, title, 200);
    fputs("</title>\n<desc>", out);
    organ_svg_text(out, description, 4000);
    fprintf(out, "</desc>\n<style>\n%s%s</style>\n", organ_svg_style, more_style);
    ORGAN_SVG(out, "<rect width=\"%f\" height=\"%f\" class=\"oc-paper\"/>\n", width, height);
}

/* ---- numbers ---- */

void organ_svg_numbers_begin(FILE *out) { fputs("<metadata>", out); }
void organ_svg_numbers_end(FILE *out) { fputs("</metadata>\n", out); }

/* Cuts the text in its middle to 120 columns. Control characters become visible, so no cell contains a tab or a line
 * end. */
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
