/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/html/page.h"

#include "formats/base/embedded.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/report/svg/svg.h"

#include <ctype.h>
#include <organ/machine.h>
#include <organ/report.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct organ_html {
    organ_text front, contents, body;
    size_t sections, charts, tables; /* numbers of those written so far */
    char *section;                   /* title of the last section */
    bool failed;                     /* memory ran out: the page would be incomplete */
};

static void put_between(FILE *out, const char *before, const char *text, const char *behind)
{
    fputs(before, out);
    organ_markup_text(out, text);
    fputs(behind, out);
}

/* The style sheet of every page, and its script: it sorts and filters tables, copies commands, and makes boxes that
 * scroll focusable. */
ORGAN_EMBEDDED(organ_page_css, "orchestrator/report/html/page.css")
ORGAN_EMBEDDED(organ_page_js, "orchestrator/report/html/page.js")

const char organ_html_script_hash[] = "sha256-Vg9OUeZF/7JNSLnkxdi5V/g/OVF+dVxeqZI23fU53u0=";

/* The first line is the licence. */
static const char *embedded_text(const char *file) { return strchr(file, '\n') + 1; }

static void put_front(FILE *out, const char *kind, const char *title, const char *lead)
{
    fprintf(out,
            ORGAN_PAGE_START "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src '%s'; "
                             "base-uri 'none'; form-action 'none'\">\n<title>",
            organ_html_script_hash);
    put_between(out, "", kind, ": ");
    organ_markup_text(out, title);
    fprintf(out, "</title>\n<style>\n%s%s%s</style>\n</head>\n<body>\n", embedded_text(organ_page_css), organ_svg_style,
            organ_svg_heat_style);
    fputs("<a class=\"skip\" href=\"#main\">Skip to the report</a>\n<header>\n<p class=\"kind\">", out);
    organ_markup_text(out, kind);
    put_between(out, "</p>\n<h1>", title, "</h1>\n");
    if (lead)
        put_between(out, "<p class=\"lead\">", lead, "</p>\n");
    fputs("</header>\n", out);
}

organ_html *organ_html_create(const char *kind, const char *title, const char *lead, organ_error *error)
{
    organ_html *const html = calloc(1, sizeof *html);
    if (!html) {
        organ_fail(error, ORGAN_IO, "no memory for a page");
        return NULL;
    }
    organ_text *const parts[] = {&html->front, &html->contents, &html->body};
    for (size_t k = 0; k < 3; k++)
        if (organ_text_open(parts[k], error) != ORGAN_OK) {
            while (k--)
                organ_text_discard(parts[k]);
            free(html);
            return NULL;
        }
    put_front(html->front.out, kind, title, lead);
    return html;
}

/* ---- text ---- */

void organ_html_metrics(organ_html *html, const organ_html_metric *figures, size_t count)
{
    if (count == 0)
        return;
    fputs("<ul class=\"merits\">\n", html->body.out);
    for (size_t k = 0; k < count; k++) {
        put_between(html->body.out, "<li><b>", figures[k].value, "</b> <span>");
        put_between(html->body.out, "", figures[k].meaning, "</span></li>\n");
    }
    fputs("</ul>\n", html->body.out);
}

/* The anchor is "s", the section's number, and words of its title, such as "s3-sparsity-by-layer". */
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
    put_between(out, "\">", title, "</h2>\n");
    fputs("<li><a href=\"#", contents);
    put_anchor(contents, html->sections, title);
    put_between(contents, "\">", title, "</a></li>\n");
}

void organ_html_paragraph(organ_html *html, const char *format, ...)
{
    ORGAN_OWNED char *text = NULL;
    va_list args;
    va_start(args, format);
    if (organ_vasprintf(&text, format, args) < 0)
        html->failed = true;
    else
        put_between(html->body.out, "<p>", text, "</p>\n");
    va_end(args);
}

void organ_html_caution(organ_html *html, const char *text)
{
    put_between(html->body.out, "<p class=\"caution\"><b>Note:</b> ", text, "</p>\n");
}

void organ_html_list(organ_html *html, const json_t *sentences)
{
    if (json_array_size(sentences) == 0)
        return;
    fputs("<ul>\n", html->body.out);
    for (size_t k = 0; k < json_array_size(sentences); k++)
        put_between(html->body.out, "<li>", organ_json_text(organ_json_row_at(sentences, k), ""), "</li>\n");
    fputs("</ul>\n", html->body.out);
}

void organ_html_cautions(organ_html *html, const char *title, const json_t *sentences)
{
    if (json_array_size(sentences) == 0)
        return;
    put_between(html->body.out, "<div class=\"caution\"><b>", title, "</b>\n");
    organ_html_list(html, sentences);
    fputs("</div>\n", html->body.out);
}

void organ_html_command(organ_html *html, const char *command)
{
    put_between(html->body.out, "<div class=\"command\"><pre tabindex=\"0\"><code>", command, "</code></pre></div>\n");
}

void organ_html_fail(organ_html *html) { html->failed = true; }

/* ---- tables ---- */

/* Writes the class attribute of the open tag <table: for column 3, n3 if it is aligned to the right, c3 if it is code
 * (page.css). Classes of cells would be longer. */
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

/* Writes the cells [from, to) as rows; cells that the last row lacks are empty. */
static void put_rows(FILE *out, const organ_table_view *view, size_t from, size_t to, const char *group)
{
    if (from >= to && strcmp(group, "tfoot") == 0)
        return;
    fprintf(out, "<%s>\n", group);
    for (size_t k = from; k < to; k++) {
        const size_t column = k % view->column_count;
        put_between(out, column ? "<td>" : "<tr><th scope=\"row\">", view->cells[k], column ? "</td>" : "</th>");
        for (size_t c = column + 1; c < view->column_count && k + 1 == to; c++)
            fputs("<td></td>", out);
        if (column + 1 == view->column_count || k + 1 == to)
            fputs("</tr>\n", out);
    }
    fprintf(out, "</%s>\n", group);
}

/* Without a caption, the table gets an invisible one for screen readers: its number and the title of its section. */
static void put_caption(const organ_html *html, const char *caption)
{
    FILE *const out = html->body.out;
    fprintf(out, caption ? "<caption id=\"table%zu\"><span>" : "<caption class=\"unseen\" id=\"table%zu\"><span>",
            html->tables);
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
    fprintf(
        out,
        "<div class=\"table\"><div class=\"box\" role=\"group\" tabindex=\"0\" aria-labelledby=\"table%zu\">\n<table",
        html->tables);
    put_column_classes(out, view);
    fputs(">\n", out);
    put_caption(html, caption);
    fputs("<thead>\n<tr>", out);
    for (size_t c = 0; c < view->column_count; c++) {
        if (*view->columns[c].title)
            put_between(out, "<th scope=\"col\">", view->columns[c].title, "</th>");
        else /* screen readers need a name for the column */
            fputs("<th scope=\"col\"><span class=\"unseen\">mark</span></th>", out);
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
    if (organ_table_view_of(table, &view, &ignored) == ORGAN_OK) {
        html->tables++;
        put_table(html, &view, caption);
    } else
        html->failed = true;
    organ_table_destroy(table);
}

void organ_html_checks(organ_html *html, const json_t *checks)
{
    FILE *const out = html->body.out;
    fprintf(out,
            "<div class=\"table\"><div class=\"box\" role=\"group\" tabindex=\"0\" "
            "aria-labelledby=\"table%zu\">\n<table>\n",
            ++html->tables);
    put_caption(html, /*caption=*/NULL);
    fputs("<thead>\n<tr><th scope=\"col\">check</th><th scope=\"col\">result</th><th scope=\"col\">detail</th></tr>\n"
          "</thead>\n<tbody>\n",
          out);
    for (size_t k = 0; k < json_array_size(checks); k++) {
        const json_t *const check = organ_json_row_at(checks, k);
        put_between(out, "<tr><th scope=\"row\">", organ_json_text(check, "check"),
                    json_is_true(json_object_get(check, "ok")) ? "</th><td class=\"yes\">\u2713 passed</td><td>"
                                                               : "</th><td class=\"no\">\u2717 FAILED</td><td>");
        put_between(out, "", organ_json_text(check, "detail"), "</td></tr>\n");
    }
    fputs("</tbody>\n</table>\n</div></div>\n", out);
}

/* ---- charts ---- */

/* Returns the address after `mark`. If the mark is missing, writes all of `svg` and returns its end. */
static const char *put_until(FILE *out, const char *svg, const char *mark)
{
    const char *const found = strstr(svg, mark);
    fwrite(svg, 1, found ? (size_t)(found - svg) : strlen(svg), out);
    return found ? found + strlen(mark) : svg + strlen(svg);
}

/* Omits the chart's style, which the page has once. The ids of the chart get its number, because ids must be unique
 * in the page. Returns the start of the chart's table of numbers, which is left out here, or NULL if it has none. */
static const char *put_inline(FILE *out, const char *svg, size_t number)
{
    svg = put_until(out, svg, "role=\"img\">");
    fprintf(out, "role=\"img\" aria-describedby=\"about%zu\">", number);
    svg = put_until(out, svg, "<desc>");
    fprintf(out, "<desc id=\"about%zu\">", number);
    svg = put_until(out, svg, "<style>\n");
    const char *const end = strstr(svg, "</style>\n"), *const rest = end ? end + strlen("</style>\n") : svg;
    const char *const numbers = strstr(rest, "<metadata>");
    const char *const behind = numbers ? strstr(numbers, "</metadata>\n") : NULL;
    if (!behind) {
        fputs(rest, out);
        return NULL;
    }
    fwrite(rest, 1, (size_t)(numbers - rest), out);
    fputs(behind + strlen("</metadata>\n"), out);
    return numbers + strlen("<metadata>");
}

static void put_title(FILE *out, const char *svg)
{
    const char *const title = strstr(svg, "<title>") + strlen("<title>");
    fwrite(title, 1, strcspn(title, "<"), out);
}

static void page_put_numbers(FILE *out, const char *svg, const char *numbers, size_t number)
{
    fprintf(out,
            "<details class=\"numbers\"><summary>Figure %zu as a table</summary>\n<div class=\"box\" role=\"group\" "
            "tabindex=\"0\" "
            "aria-labelledby=\"numbers%zu\">\n<table>\n<caption id=\"numbers%zu\"><span>",
            number, number, number);
    put_title(out, svg);
    fputs("</span></caption>\n", out);
    organ_svg_numbers_html(out, numbers, strstr(numbers, "</metadata>"));
    fputs("</table>\n</div></details>\n", out);
}

void organ_html_chart(organ_html *html, char *svg, const char *caption)
{
    if (svg) {
        FILE *const out = html->body.out;
        const size_t number = ++html->charts;
        fputs("<figure>\n<div class=\"box\" role=\"group\" tabindex=\"0\" aria-label=\"", out);
        put_title(out, svg);
        fputs("\">\n", out);
        const char *const numbers = put_inline(out, svg, number);
        fprintf(out, "</div>\n<figcaption>Figure %zu. ", number);
        put_between(out, "", caption, "</figcaption>\n</figure>\n");
        if (numbers)
            page_put_numbers(out, svg, numbers, number);
    } else
        html->failed = true;
    free(svg);
}

/* ---- the end of the page ---- */

static void put_end(organ_html *html)
{
    FILE *const out = html->body.out;
    if (html->sections)
        fputs("</section>\n", out);
    fprintf(out,
            "</main>\n<footer>Made by organ. This page is self-contained: it loads nothing from a "
            "network.</footer>\n<script>%s</script>\n</body>\n</html>\n",
            embedded_text(organ_page_js));
}

/* Returns false if out of memory. The caller frees parts[0] to parts[2] in any case. Continues after a text that
 * failed, so that the streams of all three are closed. */
static bool write_parts(organ_html *html, char *parts[3])
{
    organ_error ignored = {0};
    organ_text *const texts[] = {&html->front, &html->contents, &html->body};
    bool complete = true;
    for (size_t k = 0; k < 3; k++)
        complete = organ_text_finish(texts[k], &parts[k], &ignored) == ORGAN_OK && complete;
    return complete;
}

organ_status organ_html_finish(organ_html *html, char **text, organ_error *error)
{
    char *parts[3] = {NULL, NULL, NULL};
    *text = NULL;
    put_end(html);
    const bool contents = html->sections > 1, whole = write_parts(html, parts) && !html->failed;
    if (!whole || asprintf(text, "%s%s%s%s<main id=\"main\">\n%s", parts[0],
                           contents ? "<nav aria-label=\"Contents\">\n<ul>\n" : "", contents ? parts[1] : "",
                           contents ? "</ul>\n</nav>\n" : "", parts[2]) < 0) {
        *text = NULL;
        organ_fail(error, ORGAN_IO, "no memory for a page");
    }
    ORGAN_FREE_ARRAYS(parts[0], parts[1], parts[2], html->section, html);
    return error->status;
}

/* ---- the end of every page: definitions, then the members that differ from run to run ---- */

enum { MAX_COLUMNS = 12, MAX_NUMBERS = 16 }; /* limits: columns of a table (put_list); numbers of a printed list */

static bool key_ends_with(const char *key, const char *kind)
{
    return strcmp(key, kind) == 0 || organ_ends_with(key, kind);
}

/* For a number, the name `key` decides whether it is written as a time, an amount of bytes, a percentage or a plain
 * number. */
static void put_value(FILE *out, const char *key, const json_t *value)
{
    char text[32], room[ORGAN_NUMBER_ROOM];
    const double number = json_number_value(value);
    if (json_is_string(value))
        fputs(json_string_value(value), out);
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", out);
    else if (json_is_number(value) && key_ends_with(key, "bytes_per_second"))
        fprintf(out, "%s/s", organ_number_form(number, "bytes", room));
    else if (json_is_number(value) && key_ends_with(key, "share"))
        fprintf(out, "%s %%", organ_number_form(100 * number, ".1f", room));
    else if (json_is_number(value) && key_ends_with(key, "seconds"))
        fputs(organ_duration_text(number, text), out);
    else if (json_is_integer(value) && strcmp(key, "memory") == 0)
        fputs(organ_number_form(number, "memory", room), out);
    else if (json_is_integer(value) && key_ends_with(key, "bytes"))
        fputs(organ_quantity_text((uint64_t)json_integer_value(value), text), out);
    else if (json_is_integer(value) && json_integer_value(value) >= 0)
        fputs(organ_count_text((uint64_t)json_integer_value(value), text), out);
    else if (json_is_number(value))
        organ_fprintf(out, "%.6g", number);
    else
        fputs("-", out);
}

static void value_cell(organ_table *table, const char *key, const json_t *value)
{
    organ_text text;
    organ_error error = {0};
    char *cell = NULL;
    if (organ_text_open(&text, &error) == ORGAN_OK) {
        if (!json_is_array(value))
            put_value(text.out, key, value);
        for (size_t k = 0; k < json_array_size(value); k++) {
            fputs(k ? ", " : "", text.out);
            put_value(text.out, key, organ_json_row_at(value, k));
        }
        organ_text_finish(&text, &cell, &error);
    }
    organ_table_take(table, cell);
}

/* "bytes_per_second" becomes "bytes per second". `before` (or "") is the name of the object around the member. */
static void name_cell(organ_table *table, const char *before, const char *key)
{
    char *name = organ_format("%s%s%s", before, *before ? ", " : "", key);
    for (char *at = name; at && (at = strchr(at, '_'));)
        *at = ' ';
    organ_table_take(table, name);
}

/* Empty lists and long lists of numbers are omitted. */
static bool is_omitted(const json_t *value)
{
    const size_t count = json_array_size(value);
    return json_is_array(value) && (count == 0 || (count > MAX_NUMBERS && json_is_number(organ_json_row_at(value, 0))));
}

static bool is_list_of_objects(const json_t *value) { return json_is_object(organ_json_row_at(value, 0)); }

/* An object in `object` gives a row for each of its members; `before` is then its name, else "". Objects in it, and
 * lists of objects, give no rows. */
static void member_rows(organ_table *table, const char *before, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        if (json_is_object(value) && !*before)
            member_rows(table, key, value);
        else if (!is_list_of_objects(value) && !json_is_object(value) && !is_omitted(value)) {
            name_cell(table, before, key);
            value_cell(table, key, value);
        }
    }
}

/* The columns are the members of the first object. */
static void put_list(organ_html *html, const char *name, const json_t *list)
{
    organ_column columns[MAX_COLUMNS];
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach(organ_json_row_at(list, 0), key, value)
    {
        if (count < MAX_COLUMNS)
            columns[count++] = (organ_column){.title = key, .align = json_is_number(value) ? ORGAN_RIGHT : ORGAN_LEFT};
    }
    organ_table *const table = organ_table_create(columns, count);
    for (size_t k = 0; count && k < json_array_size(list); k++)
        for (size_t c = 0; c < count; c++)
            value_cell(table, columns[c].title, json_object_get(organ_json_row_at(list, k), columns[c].title));
    organ_html_table(html, table, name);
}

static void put_run(organ_html *html, const json_t *run)
{
    static const organ_column columns[] = {{.title = "item", .align = ORGAN_LEFT},
                                           {.title = "value", .align = ORGAN_LEFT}};
    const char *key;
    json_t *value;
    organ_html_section(html, "Run");
    organ_html_paragraph(html, "This section differs between runs; everything above does not.");
    organ_table *const table = organ_table_create(columns, 2);
    member_rows(table, /*before=*/"", run);
    organ_html_table(html, table, /*caption=*/NULL);
    json_object_foreach((json_t *)run, key, value)
    {
        if (is_list_of_objects(value))
            put_list(html, key, value);
    }
}

void organ_html_terms(organ_html *html, const json_t *terms, const char *term, const char *meaning)
{
    const organ_column columns[] = {{.title = term, .align = ORGAN_LEFT}, {.title = meaning, .align = ORGAN_LEFT}};
    organ_table *const table = organ_table_create(columns, 2);
    const char *key;
    json_t *sentence;
    json_object_foreach((json_t *)terms, key, sentence)
    {
        organ_table_cell(table, "%s", key);
        organ_table_cell(table, "%s", organ_json_text(sentence, ""));
    }
    organ_html_table(html, table, /*caption=*/NULL);
}

void organ_html_ending(organ_html *html, const json_t *definitions, const json_t *run)
{
    if (json_object_size(definitions)) {
        organ_html_section(html, "Definitions");
        organ_html_terms(html, definitions, "term", "meaning");
    }
    if (json_object_size(run))
        put_run(html, run);
}
