/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>

/* All colours are set by classes, so that one block of rules changes light to dark. */
const char organ_svg_style[] =
    ".oc-paper{fill:#ffffff}.oc-text{fill:#1f2328;font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu "
    "Sans',sans-serif}"
    ".oc-text{paint-order:stroke;stroke:#ffffff;stroke-width:3px;stroke-linejoin:round}"
    ".oc-title{font-size:17px;font-weight:600}.oc-head{font-weight:600}.oc-faint{fill:#59636e}.oc-tick{font-size:11px;"
    "fill:#59636e}\n"
    ".oc-grid{stroke:#d1d9e0;stroke-width:1;fill:none}.oc-axis{stroke:#818b98;stroke-width:1;fill:none}"
    ".oc-band{fill:#818b98;fill-opacity:.22;stroke:#768390;stroke-width:1}.oc-line{fill:none;stroke-width:1.8;stroke-"
    "linejoin:round;stroke-"
    "linecap:round}"
    ".oc-ref{fill:none;stroke:#59636e;stroke-width:1.5;stroke-dasharray:5 "
    "4}.oc-mark{stroke:none}.oc-whisker{fill:none;stroke:#1f2328;stroke-width:1.4}\n"
    ".oc-s0{stroke:#0072b2}.oc-f0{fill:#0072b2}.oc-s1{stroke:#d55e00}.oc-f1{fill:#d55e00}.oc-s2{stroke:#007f5f}.oc-f2{"
    "fill:#007f5f}"
    ".oc-s3{stroke:#a8508a}.oc-f3{fill:#a8508a}.oc-s4{stroke:#8a6d00}.oc-f4{fill:#8a6d00}.oc-s5{stroke:#3f3f9f}.oc-f5{"
    "fill:#3f3f9f}\n"
    "@media screen and (prefers-color-scheme:dark){"
    ".oc-paper{fill:#0d1117}.oc-text{fill:#e6edf3;stroke:#0d1117}.oc-faint,.oc-tick{fill:#9198a1}.oc-grid{stroke:#"
    "2f353d}.oc-axis{stroke:#"
    "656c76}"
    ".oc-band{fill:#9198a1;fill-opacity:.25;stroke:#768390}.oc-ref{stroke:#b1bac4}.oc-whisker{stroke:#e6edf3}\n"
    ".oc-s0{stroke:#58b4e9}.oc-f0{fill:#58b4e9}.oc-s1{stroke:#ff9248}.oc-f1{fill:#ff9248}.oc-s2{stroke:#35c79a}.oc-f2{"
    "fill:#35c79a}"
    ".oc-s3{stroke:#e29ac4}.oc-f3{fill:#e29ac4}.oc-s4{stroke:#e6c84f}.oc-f4{fill:#e6c84f}.oc-s5{stroke:#a5a8ff}.oc-f5{"
    "fill:#a5a8ff}}\n";

/* Colours of heat maps: one hue from pale to deep, and from blue to orange; in dark mode the ends are bright. Text in a
 * cell is black or white, whichever has more contrast, never below 4.6 : 1. */
const char organ_svg_heat_style[] =
    ".oc-cell{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    ".oc-void{fill:none;stroke:#818b98;stroke-width:1}.oc-rim{fill:none;stroke:#1f2328;stroke-width:4}"
    ".oc-gleam{fill:none;stroke:#ffffff;stroke-width:1.5}\n"
    ".oc-q0{fill:#eaf2fb}.oc-q1{fill:#ddebf8}.oc-q2{fill:#d0e4f5}.oc-q3{fill:#c3ddf2}.oc-q4{fill:#b6d6ef}.oc-q5{fill:#"
    "a9cfec}"
    ".oc-q6{fill:#98c5e7}.oc-q7{fill:#86bae2}.oc-q8{fill:#75b0dd}.oc-q9{fill:#62a5d7}.oc-q10{fill:#4f9bd2}"
    ".oc-q11{fill:#4590ca}.oc-q12{fill:#3b86c2}.oc-q13{fill:#307bbb}.oc-q14{fill:#2570b3}.oc-q15{fill:#1a66ab}"
    ".oc-q16{fill:#175b9c}.oc-q17{fill:#134f8d}.oc-q18{fill:#10447f}.oc-q19{fill:#0d3a71}.oc-q20{fill:#0a2f63}\n"
    ".oc-tq0,.oc-tq1,.oc-tq2,.oc-tq3,.oc-tq4,.oc-tq5,.oc-tq6,.oc-tq7,.oc-tq8,.oc-tq9,.oc-tq10,.oc-tq11,.oc-tq12,"
    ".oc-tq13{fill:#000000}.oc-tq14,.oc-tq15,.oc-tq16,.oc-tq17,.oc-tq18,.oc-tq19,.oc-tq20{fill:#ffffff}\n"
    ".oc-d0{fill:#0b4a8f}.oc-d1{fill:#205c9e}.oc-d2{fill:#336ead}.oc-d3{fill:#4580bc}.oc-d4{fill:#5792cb}.oc-d5{fill:#"
    "69a5da}"
    ".oc-d6{fill:#85b4df}.oc-d7{fill:#a0c4e4}.oc-d8{fill:#bbd3e8}.oc-d9{fill:#d6e2ec}.oc-d10{fill:#f1f1ef}"
    ".oc-d11{fill:#f1e1d2}.oc-d12{fill:#f0d1b5}.oc-d13{fill:#efc198}.oc-d14{fill:#edb079}.oc-d15{fill:#ea9f58}"
    ".oc-d16{fill:#da8b49}.oc-d17{fill:#ca7839}.oc-d18{fill:#ba6429}.oc-d19{fill:#aa5117}.oc-d20{fill:#9a3d00}\n"
    ".oc-td3,.oc-td4,.oc-td5,.oc-td6,.oc-td7,.oc-td8,.oc-td9,.oc-td10,.oc-td11,.oc-td12,.oc-td13,.oc-td14,.oc-td15,.oc-"
    "td16,"
    ".oc-td17,.oc-td18{fill:#000000}.oc-td0,.oc-td1,.oc-td2,.oc-td19,.oc-td20{fill:#ffffff}\n"
    "@media screen and (prefers-color-scheme:dark){\n"
    ".oc-void{stroke:#656c76}.oc-rim{stroke:#0d1117}.oc-gleam{stroke:#ffffff}\n"
    ".oc-q0{fill:#14263e}.oc-q1{fill:#162d49}.oc-q2{fill:#183454}.oc-q3{fill:#193b60}.oc-q4{fill:#1b436c}.oc-q5{fill:#"
    "1c4a78}"
    ".oc-q6{fill:#205486}.oc-q7{fill:#235f94}.oc-q8{fill:#2769a3}.oc-q9{fill:#2b74b2}.oc-q10{fill:#2f7fc1}"
    ".oc-q11{fill:#408bca}.oc-q12{fill:#4f97d3}.oc-q13{fill:#5ea3dc}.oc-q14{fill:#6dafe5}.oc-q15{fill:#7cbbee}"
    ".oc-q16{fill:#92c6f2}.oc-q17{fill:#a7d1f5}.oc-q18{fill:#bcdcf9}.oc-q19{fill:#d1e7fc}.oc-q20{fill:#e6f2ff}\n"
    ".oc-tq10,.oc-tq11,.oc-tq12,.oc-tq13,.oc-tq14,.oc-tq15,.oc-tq16,.oc-tq17,.oc-tq18,.oc-tq19,.oc-tq20{fill:#000000}."
    "oc-tq0,"
    ".oc-tq1,.oc-tq2,.oc-tq3,.oc-tq4,.oc-tq5,.oc-tq6,.oc-tq7,.oc-tq8,.oc-tq9{fill:#ffffff}\n"
    ".oc-d0{fill:#9ccdff}.oc-d1{fill:#88bdf2}.oc-d2{fill:#73aee5}.oc-d3{fill:#5f9ed8}.oc-d4{fill:#4a8fcc}.oc-d5{fill:#"
    "3380bf}"
    ".oc-d6{fill:#336ea0}.oc-d7{fill:#325d83}.oc-d8{fill:#2f4c66}.oc-d9{fill:#2b3b4b}.oc-d10{fill:#262b31}"
    ".oc-d11{fill:#433833}.oc-d12{fill:#604534}.oc-d13{fill:#7e5131}.oc-d14{fill:#9d5e2c}.oc-d15{fill:#bd6a20}"
    ".oc-d16{fill:#ca7a36}.oc-d17{fill:#d78b4a}.oc-d18{fill:#e59b5c}.oc-d19{fill:#f2ac6e}.oc-d20{fill:#ffbd80}\n"
    ".oc-td0,.oc-td1,.oc-td2,.oc-td3,.oc-td4,.oc-td5,.oc-td15,.oc-td16,.oc-td17,.oc-td18,.oc-td19,.oc-td20{fill:#"
    "000000}"
    ".oc-td6,.oc-td7,.oc-td8,.oc-td9,.oc-td10,.oc-td11,.oc-td12,.oc-td13,.oc-td14{fill:#ffffff}\n"
    "}\n";

/* The cells of a line of numbers are escaped already, and each ends with a tab. */
static void put_row(FILE *out, const char *from, const char *end, bool head)
{
    fputs("<tr>", out);
    for (bool first = true; from < end; first = false) {
        const char *const tab = memchr(from, '\t', (size_t)(end - from)), *const stop = tab ? tab : end;
        const char *const cell = first ? "<th scope=\"row\">" : "<td>";
        fputs(head ? "<th scope=\"col\">" : cell, out);
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

/* ---- numbers ---- */

/* `figures` has at most 15 digits and no decimal point; the result is the power of ten of the first digit. */
static int decimal_digits(double value, int digits, char figures[16])
{
    char text[48];
    size_t count = 0;
    organ_snprintf(text, sizeof text, "%.*e", digits - 1, fabs(value));
    const char *at = text;
    for (; *at && *at != 'e'; at++)
        if (*at >= '0' && *at <= '9' && count < 15)
            figures[count++] = *at;
    figures[count] = 0;
    return *at ? atoi(at + 1) : 0;
}

/* Numbers with exponents from -4 to 8 have no power of ten, but zeros before or after their digits. */
char *organ_number_text(double value, int digits, char out[32])
{
    char figures[16];
    const int exponent = decimal_digits(value, digits, figures);
    const char *const sign = value < 0 ? "-" : "";
    size_t count = strlen(figures);
    while (count > 1 && figures[count - 1] == '0')
        figures[--count] = 0;
    const int behind = (int)count - 1 - exponent; /* digits after the decimal point, without an exponent */
    if (exponent < -4 || exponent > 8)
        snprintf(out, 32, "%s%c%s%se%d", sign, figures[0], count > 1 ? "." : "", figures + 1, exponent);
    else if (exponent < 0)
        snprintf(out, 32, "%s0.%.*s%s", sign, -exponent - 1, "0000", figures);
    else if (behind <= 0)
        snprintf(out, 32, "%s%s%.*s", sign, figures, -behind, "00000000");
    else
        snprintf(out, 32, "%s%.*s.%s", sign, exponent + 1, figures, figures + exponent + 1);
    return out;
}

static void power_text(int exponent, char out[32])
{
    static const char *const raised[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    char digits[12];
    snprintf(digits, sizeof digits, "%d", abs(exponent));
    size_t used = (size_t)snprintf(out, 32, "10%s", exponent < 0 ? "⁻" : "");
    for (const char *d = digits; *d; d++)
        used += (size_t)snprintf(out + used, 32 - used, "%s", raised[*d - '0']);
}

/* Writes `count` steps of the scale. Computes with integers if they suffice, so that 3 * 0.1 is "0.3". */
static void tick_text(double count, const organ_scale *scale, char out[32])
{
    const double integer = count * scale->mantissa;
    char figures[24];
    if (scale->exponent >= 0 || scale->exponent < -6 || fabs(integer) >= 1e9) {
        organ_number_text(integer * pow(10, scale->exponent), 9, out);
        return;
    }
    const int behind = -scale->exponent;
    snprintf(figures, sizeof figures, "%0*ld", behind + 1, labs((long)integer));
    const int before = (int)strlen(figures) - behind;
    snprintf(out, 32, "%s%.*s.%s", integer < 0 ? "-" : "", before, figures, figures + before);
}

/* ---- scales ---- */

static int clamp(int n, int least, int max)
{
    if (n < least)
        return least;
    return n > max ? max : n;
}

/* The step is the smallest number of the form 1, 2 or 5 x 10^n that is at least `least`. */
static void choose_step(organ_scale *s, double least)
{
    char figures[16];
    s->exponent = decimal_digits(least, 15, figures);
    const double unit = pow(10, s->exponent), ratio = least / unit;
    s->mantissa = 1;
    if (ratio > 1)
        s->mantissa = ratio <= 2 ? 2 : 5;
    if (ratio > 5) {
        s->mantissa = 1;
        s->exponent++;
    }
    s->step = s->mantissa * pow(10, s->exponent);
}

static organ_scale log_scale(double low, double high, unsigned ticks)
{
    organ_scale s = {.log = true, .first = floor(log10(low)), .last = ceil(log10(high))};
    if (s.last <= s.first)
        s.last = s.first + 1;
    s.step = ceil((s.last - s.first) / ticks);
    s.last = s.first + ceil((s.last - s.first) / s.step) * s.step;
    return s;
}

/* The step is 1, 2 or 5 times a power of 10, or with `log` whole decades. The default scale is 0 .. 1, or 0.1 .. 1
 * with `log`. */
organ_scale organ_scale_over(double low, double high, unsigned ticks, bool log, bool integers)
{
    /* rounding both ends outwards adds up to two ticks */
    ticks = (unsigned)clamp((int)ticks, 2, ORGAN_MAX_TICKS - 3);
    if (low > high) {
        low = log ? 0.1 : 0;
        high = 1;
    }
    if (log)
        return log_scale(low, high, ticks);
    organ_scale s = {0};
    /* Divides before subtracting, because the difference may overflow. The step is at least 1e-9 of the largest value,
     * because the labels, which have 9 digits, would be equal with smaller steps. */
    double least = high / ticks - low / ticks;
    const double max = fmax(fabs(low), fabs(high));
    least = fmax(least, max * 1e-9);
    least = fmax(least, low == high && max > 0 ? max / ticks : 1e-290);
    choose_step(&s, max > 0 || integers ? least : 1.0 / ticks);
    if (integers && s.step < 1) {
        s.step = s.mantissa = 1;
        s.exponent = 0;
    }
    /* Tolerance for rounding errors: 0.3 / 0.1 is not exactly 3. */
    s.first = floor(low / s.step + 1e-9);
    s.last = ceil(high / s.step - 1e-9);
    if (s.last <= s.first)
        s.last = s.first + 1;
    return s;
}

organ_scale organ_scale_tight(double low, double high, unsigned ticks, bool integers)
{
    organ_scale s = organ_scale_over(low, high, ticks, /*log=*/false, integers);
    s.first = low / s.step;
    s.last = high / s.step;
    return s;
}

double organ_scale_place(const organ_scale *s, double value)
{
    return ((s->log ? log10(value) : value / s->step) - s->first) / (s->last - s->first);
}

/* For at most two decades, which have at most 7 ticks: 1, 2 and 5 times each power of ten. */
static size_t few_decades(const organ_scale *s, organ_tick ticks[ORGAN_MAX_TICKS])
{
    static const double parts[] = {1, 2, 5};
    size_t count = 0;
    for (double decade = s->first; decade <= s->last; decade++)
        for (size_t k = 0; k < (decade < s->last ? 3 : 1); k++) {
            ticks[count].at = (decade + log10(parts[k]) - s->first) / (s->last - s->first);
            organ_number_text(parts[k] * pow(10, decade), 3, ticks[count++].text);
        }
    return count;
}

size_t organ_scale_ticks(const organ_scale *s, organ_tick ticks[ORGAN_MAX_TICKS])
{
    size_t count = 0;
    if (s->log && s->last - s->first <= 2)
        return few_decades(s, ticks);
    const double stride = s->log ? s->step : 1;
    for (double at = ceil(s->first - 1e-9); at <= s->last + 1e-9 && count < ORGAN_MAX_TICKS; at += stride) {
        ticks[count].at = (at - s->first) / (s->last - s->first);
        if (!s->log)
            tick_text(at, s, ticks[count].text);
        else if (fabs(at) <= 4)
            organ_number_text(pow(10, at), 1, ticks[count].text);
        else
            power_text((int)at, ticks[count].text);
        count++;
    }
    return count;
}

organ_axis organ_axis_of(organ_scale scale)
{
    organ_axis axis = {.scale = scale};
    axis.count = organ_scale_ticks(&scale, axis.ticks);
    return axis;
}

void organ_extent_widen(organ_extent *extent, double value)
{
    if (!isfinite(value))
        return;
    extent->low = fmin(extent->low, value);
    extent->high = fmax(extent->high, value);
}

int organ_decimals_for(double largest, int digits)
{
    if (!(fabs(largest) < 1e6) || fabs(largest) < 1e-2)
        return -1;
    const int decimals = digits - 1 - (int)floor(log10(fabs(largest)));
    return clamp(decimals, 0, 6);
}

char *organ_fixed_text(double value, int decimals, char out[32])
{
    unsigned long long power = 1;
    for (int k = 0; k < decimals; k++)
        power *= 10;
    const unsigned long long scaled = (unsigned long long)llround(fabs(value) * (double)power), rest = scaled % power;
    int length = snprintf(out, 32, "%s%llu%s", value < 0 && scaled ? "-" : "", scaled / power, decimals ? "." : "");
    for (unsigned long long place = power / 10; place; place /= 10)
        out[length++] = (char)('0' + rest / place % 10);
    out[length] = '\0';
    return out;
}

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
    ORGAN_OWNED char *const visible = organ_text_made_visible(s ? s : "");
    ORGAN_OWNED char *const cut = visible ? organ_text_shorten(visible, longest, /*utf8=*/true) : NULL;
    organ_markup_text(out, cut ? cut : "");
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
    const unsigned kind = organ_svg_shape(style); /* circle, square, triangle, diamond, triangle upside down, cross */
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
