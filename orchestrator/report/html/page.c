/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/html/page.h"

#include "formats/model/recognise.h"
#include "orchestrator/report/html/style.h"
#include "orchestrator/report/svg/numbers.h"
#include "orchestrator/report/svg/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/markup.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The table of contents is known last and stands before the body: three texts that become one. */
struct organ_html {
    organ_text front, contents, body;
    size_t sections, charts, tables;
    char *section; /* the title of the last one */
    bool failed;   /* something could not be made: the page would be incomplete */
};

static void put_front(FILE *out, const char *kind, const char *title, const char *lead)
{
    fprintf(out,
            ORGAN_PAGE_START "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src '%s'; "
                             "base-uri 'none'; form-action 'none'\">\n<title>",
            organ_html_script_hash);
    organ_markup_text(out, kind);
    fputs(": ", out);
    organ_markup_text(out, title);
    fprintf(out, "</title>\n<style>\n%s%s%s</style>\n</head>\n<body>\n", organ_html_style, organ_svg_style, organ_svg_heat_style);
    fputs("<a class=\"skip\" href=\"#main\">Skip to the report</a>\n<header>\n<p class=\"kind\">", out);
    organ_markup_text(out, kind);
    fputs("</p>\n<h1>", out);
    organ_markup_text(out, title);
    fputs("</h1>\n", out);
    if (lead) {
        fputs("<p class=\"lead\">", out);
        organ_markup_text(out, lead);
        fputs("</p>\n", out);
    }
    fputs("</header>\n", out);
}

organ_html *organ_html_create(const char *kind, const char *title, const char *lead)
{
    organ_error ignored = {0};
    organ_html *const html = calloc(1, sizeof *html);
    if (!html)
        return NULL;
    organ_text *const parts[] = {&html->front, &html->contents, &html->body};
    for (size_t k = 0; k < 3; k++)
        if (organ_text_open(parts[k], &ignored) != ORGAN_OK) {
            while (k--)
                organ_text_discard(parts[k]);
            free(html);
            return NULL;
        }
    put_front(html->front.out, kind, title, lead);
    return html;
}

/* ---- text ---- */

void organ_html_figures_of_merit(organ_html *html, const organ_html_figure_of_merit *figures, size_t count)
{
    if (!html || count == 0)
        return;
    fputs("<ul class=\"merits\">\n", html->body.out);
    for (size_t k = 0; k < count; k++) {
        fputs("<li><b>", html->body.out);
        organ_markup_text(html->body.out, figures[k].value);
        fputs("</b> <span>", html->body.out);
        organ_markup_text(html->body.out, figures[k].meaning);
        fputs("</span></li>\n", html->body.out);
    }
    fputs("</ul>\n", html->body.out);
}

/* What an address may end with: "3-sparsity-by-layer". */
static void put_anchor(FILE *out, size_t number, const char *title)
{
    bool gap = true;
    fprintf(out, "s%zu", number);
    for (size_t length = 0; *title && length < 48; title++) {
        if (!isascii((unsigned char)*title) || !isalnum((unsigned char)*title)) {
            gap = true;
            continue;
        }
        fprintf(out, "%s%c", gap ? "-" : "", tolower((unsigned char)*title));
        gap = false;
        length++;
    }
}

void organ_html_section(organ_html *html, const char *title)
{
    if (!html)
        return;
    FILE *const out = html->body.out, *const contents = html->contents.out;
    free(html->section);
    html->section = strdup(title);
    html->failed = html->failed || !html->section;
    if (html->sections++)
        fputs("</section>\n", out);
    fputs("<section aria-labelledby=\"", out);
    put_anchor(out, html->sections, title);
    fputs("\">\n<h2 id=\"", out);
    put_anchor(out, html->sections, title);
    fputs("\">", out);
    organ_markup_text(out, title);
    fputs("</h2>\n", out);
    fputs("<li><a href=\"#", contents);
    put_anchor(contents, html->sections, title);
    fputs("\">", contents);
    organ_markup_text(contents, title);
    fputs("</a></li>\n", contents);
}

static void put_formatted(organ_html *html, const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) {
        html->failed = true;
        return;
    }
    organ_markup_text(html->body.out, text);
    free(text);
}

void organ_html_paragraph(organ_html *html, const char *format, ...)
{
    if (!html)
        return;
    va_list args;
    va_start(args, format);
    fputs("<p>", html->body.out);
    put_formatted(html, format, args);
    fputs("</p>\n", html->body.out);
    va_end(args);
}

void organ_html_caution(organ_html *html, const char *format, ...)
{
    if (!html)
        return;
    va_list args;
    va_start(args, format);
    fputs("<p class=\"caution\"><b>Mind:</b> ", html->body.out);
    put_formatted(html, format, args);
    fputs("</p>\n", html->body.out);
    va_end(args);
}

void organ_html_list(organ_html *html, const json_t *sentences)
{
    if (!html || json_array_size(sentences) == 0)
        return;
    fputs("<ul>\n", html->body.out);
    for (size_t k = 0; k < json_array_size(sentences); k++) {
        fputs("<li>", html->body.out);
        organ_markup_text(html->body.out, organ_json_text(json_array_get(sentences, k), ""));
        fputs("</li>\n", html->body.out);
    }
    fputs("</ul>\n", html->body.out);
}

void organ_html_cautions(organ_html *html, const char *title, const json_t *sentences)
{
    if (!html || json_array_size(sentences) == 0)
        return;
    fputs("<div class=\"caution\"><b>", html->body.out);
    organ_markup_text(html->body.out, title);
    fputs("</b>\n", html->body.out);
    organ_html_list(html, sentences);
    fputs("</div>\n", html->body.out);
}

void organ_html_command(organ_html *html, const char *command)
{
    if (!html)
        return;
    fputs("<div class=\"command\"><pre tabindex=\"0\"><code>", html->body.out);
    organ_markup_text(html->body.out, command);
    fputs("</code></pre></div>\n", html->body.out);
}

/* ---- tables ---- */

/* One class a column says how it is set; that is shorter than one a cell. */
static void put_column_classes(FILE *out, const organ_table_view *view)
{
    bool first = true;
    for (size_t c = 0; c < view->column_count; c++) {
        if (view->columns[c].align == ORGAN_RIGHT)
            fprintf(out, "%sn%zu", first ? " class=\"" : " ", c + 1);
        else if (view->columns[c].code)
            fprintf(out, "%sc%zu", first ? " class=\"" : " ", c + 1);
        else
            continue;
        first = false;
    }
    fputs(first ? "" : "\"", out);
}

static void put_rows(FILE *out, const organ_table_view *view, size_t from, size_t to, const char *group)
{
    if (from >= to && strcmp(group, "tfoot") == 0)
        return;
    fprintf(out, "<%s>\n", group);
    for (size_t k = from; k < to; k++) {
        const size_t column = k % view->column_count;
        fputs(column ? "<td>" : "<tr><th scope=\"row\">", out);
        organ_markup_text(out, view->cells[k]);
        fputs(column ? "</td>" : "</th>", out);
        for (size_t c = column + 1; c < view->column_count && k + 1 == to; c++)
            fputs("<td></td>", out);
        if (column + 1 == view->column_count || k + 1 == to)
            fputs("</tr>\n", out);
    }
    fprintf(out, "</%s>\n", group);
}

/* A table without a caption is still called something by those who read it aloud: as its section is. */
static void put_caption(const organ_html *html, const char *caption)
{
    FILE *const out = html->body.out;
    fprintf(out, caption ? "<caption id=\"table%zu\"><span>" : "<caption class=\"unseen\" id=\"table%zu\"><span>", html->tables);
    if (caption)
        organ_markup_text(out, caption);
    else {
        fprintf(out, "Table %zu: ", html->tables);
        organ_markup_text(out, html->section ? html->section : "");
    }
    fputs("</span></caption>\n", out);
}

static void put_table(const organ_html *html, const organ_table_view *view, const char *caption)
{
    FILE *const out = html->body.out;
    fprintf(out, "<div class=\"table\"><div class=\"box\" role=\"group\" tabindex=\"0\" aria-labelledby=\"table%zu\">\n<table",
            html->tables);
    put_column_classes(out, view);
    fputs(">\n", out);
    put_caption(html, caption);
    fputs("<thead>\n<tr>", out);
    for (size_t c = 0; c < view->column_count; c++) {
        fputs("<th scope=\"col\">", out);
        if (*view->columns[c].title)
            organ_markup_text(out, view->columns[c].title);
        else /* whoever hears the table wants a name for what is plain to see */
            fputs("<span class=\"unseen\">mark</span>", out);
        fputs("</th>", out);
    }
    fputs("</tr>\n</thead>\n", out);
    put_rows(out, view, 0, view->totals, "tbody");
    put_rows(out, view, view->totals, view->cell_count, "tfoot");
    fputs("</table>\n</div></div>\n", out);
}

void organ_html_table(organ_html *html, organ_table *table, const char *caption)
{
    organ_table_view view;
    organ_error ignored = {0};
    if (html && organ_table_look(table, &view, &ignored) == ORGAN_OK) {
        html->tables++;
        put_table(html, &view, caption);
    } else if (html)
        html->failed = true;
    organ_table_destroy(table);
}

void organ_html_checks(organ_html *html, const json_t *checks)
{
    if (!html)
        return;
    FILE *const out = html->body.out;
    fprintf(out, "<div class=\"table\"><div class=\"box\" role=\"group\" tabindex=\"0\" aria-labelledby=\"table%zu\">\n<table>\n",
            ++html->tables);
    put_caption(html, NULL);
    fputs("<thead>\n<tr><th scope=\"col\">check</th><th scope=\"col\">result</th><th scope=\"col\">detail</th></tr>\n"
          "</thead>\n<tbody>\n",
          out);
    for (size_t k = 0; k < json_array_size(checks); k++) {
        const json_t *const check = json_array_get(checks, k);
        fputs("<tr><th scope=\"row\">", out);
        organ_markup_text(out, organ_json_text(check, "check"));
        fputs(json_is_true(json_object_get(check, "ok")) ? "</th><td class=\"yes\">\u2713 holds</td><td>"
                                                         : "</th><td class=\"no\">\u2717 FAILED</td><td>",
              out);
        organ_markup_text(out, organ_json_text(check, "detail"));
        fputs("</td></tr>\n", out);
    }
    fputs("</tbody>\n</table>\n</div></div>\n", out);
}

/* ---- charts ---- */

/* Writes `svg` up to `mark` and returns what is behind it; where there is no such mark the whole. */
static const char *put_until(FILE *out, const char *svg, const char *mark)
{
    const char *const found = strstr(svg, mark);
    fwrite(svg, 1, found ? (size_t)(found - svg) : strlen(svg), out);
    return found ? found + strlen(mark) : svg + strlen(svg);
}

/* The page has the style already, and many figures: names must be told apart. Returns the numbers of the figure, NULL: it has none. */
static const char *put_inline(FILE *out, const char *svg, size_t number)
{
    svg = put_until(out, svg, "role=\"img\">");
    fprintf(out, "role=\"img\" aria-describedby=\"about%zu\">", number);
    svg = put_until(out, svg, "<desc>");
    fprintf(out, "<desc id=\"about%zu\">", number);
    svg = put_until(out, svg, "<style>\n");
    const char *const end = strstr(svg, "</style>\n"), *const rest = end ? end + strlen("</style>\n") : svg;
    const char *const numbers = strstr(rest, "<metadata>"), *const behind = numbers ? strstr(numbers, "</metadata>\n") : NULL;
    if (!behind) {
        fputs(rest, out);
        return NULL;
    }
    fwrite(rest, 1, (size_t)(numbers - rest), out);
    fputs(behind + strlen("</metadata>\n"), out);
    return numbers + strlen("<metadata>");
}

/* The figure's title, as it stands there: escaped already. */
static void put_title(FILE *out, const char *svg)
{
    const char *const title = strstr(svg, "<title>") + strlen("<title>");
    fwrite(title, 1, strcspn(title, "<"), out);
}

/* What the figure shows as a table, folded up: it is for those who cannot see the figure, or want more digits than it has. */
static void put_numbers(FILE *out, const char *svg, const char *numbers, size_t number)
{
    fprintf(out,
            "<details class=\"numbers\"><summary>Figure %zu as a table</summary>\n<div class=\"box\" role=\"group\" tabindex=\"0\" "
            "aria-labelledby=\"numbers%zu\">\n<table>\n<caption id=\"numbers%zu\"><span>",
            number, number, number);
    put_title(out, svg);
    fputs("</span></caption>\n", out);
    organ_svg_numbers_html(out, numbers, strstr(numbers, "</metadata>"));
    fputs("</table>\n</div></details>\n", out);
}

void organ_html_chart(organ_html *html, char *svg, const char *caption)
{
    if (html && svg) {
        FILE *const out = html->body.out;
        const size_t number = ++html->charts;
        fputs("<figure>\n<div class=\"box\" role=\"group\" tabindex=\"0\" aria-label=\"", out);
        put_title(out, svg);
        fputs("\">\n", out);
        const char *const numbers = put_inline(out, svg, number);
        fprintf(out, "</div>\n<figcaption>Figure %zu. ", number);
        organ_markup_text(out, caption);
        fputs("</figcaption>\n</figure>\n", out);
        if (numbers)
            put_numbers(out, svg, numbers, number);
    } else if (html)
        html->failed = true;
    free(svg);
}

/* ---- the whole ---- */

static void put_end(organ_html *html)
{
    FILE *const out = html->body.out;
    if (html->sections)
        fputs("</section>\n", out);
    fprintf(out,
            "</main>\n<footer>Made by organ. This page is whole: it asks nothing of a "
            "network.</footer>\n<script>%s</script>\n</body>\n</html>\n",
            organ_html_script);
}

/* Takes all three texts, whatever happens to one of them. */
static bool finish_parts(organ_html *html, char *parts[3])
{
    organ_error ignored = {0};
    organ_text *const texts[] = {&html->front, &html->contents, &html->body};
    bool whole = true;
    for (size_t k = 0; k < 3; k++)
        whole = organ_text_finish(texts[k], &parts[k], &ignored) == ORGAN_OK && whole;
    return whole;
}

organ_status organ_html_finish(organ_html *html, char **text, organ_error *error)
{
    char *parts[3] = {NULL, NULL, NULL};
    *text = NULL;
    if (!html)
        return organ_fail(error, ORGAN_IO, "no memory for a page");
    put_end(html);
    const bool contents = html->sections > 1, whole = finish_parts(html, parts) && !html->failed;
    if (!whole || asprintf(text, "%s%s%s%s<main id=\"main\">\n%s", parts[0], contents ? "<nav aria-label=\"Contents\">\n<ul>\n" : "",
                           contents ? parts[1] : "", contents ? "</ul>\n</nav>\n" : "", parts[2]) < 0) {
        *text = NULL;
        organ_fail(error, ORGAN_IO, "no memory for a page");
    }
    for (size_t k = 0; k < 3; k++)
        free(parts[k]);
    free(html->section);
    free(html);
    return error->status;
}
