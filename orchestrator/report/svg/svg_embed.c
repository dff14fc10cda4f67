/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg_embed.h"

#include <stdbool.h>
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
