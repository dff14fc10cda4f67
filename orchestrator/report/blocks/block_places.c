/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/blocks.h"

#include "formats/base/rows.h"

#include <math.h>
#include <organ/report.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* `known` maps each kind to the copy of its first row in `kept`; the copy's member "count" is the number of merged
 * rows. Returns false if out of memory. */
static bool merge_row(json_t *kept, json_t *known, const char *kind, json_t *row)
{
    json_t *const count = json_object_get(json_object_get(known, kind), "count");
    if (count)
        return json_integer_set(count, json_integer_value(count) + 1) == 0;
    json_t *const made = json_is_object(row) ? json_copy(row) : json_object(); /* a report may hold anything */
    const bool counted = ORGAN_ADD(made, SET_COUNT("count", 1));
    return json_array_append_new(kept, made) == 0 && counted && json_object_set(known, kind, made) == 0;
}

json_t *organ_rows_merged(const json_t *report, const json_t *rows, const char *where, const char *same)
{
    json_t *const kept = json_array(), *const known = json_object();
    bool complete = true;
    for (size_t k = 0; k < json_array_size(rows) && complete; k++) {
        const organ_scope scope = {report, organ_json_row_at(rows, k)};
        if (!organ_scope_holds(&scope, where))
            continue;
        ORGAN_OWNED char *const kind = organ_words_text(&scope, same, ORGAN_WORDS_PAGE);
        complete = kind && merge_row(kept, known, kind, organ_json_row_at(rows, k));
    }
    json_decref(known);
    if (complete)
        return kept;
    organ_json_release_rows(kept);
    return NULL;
}

/* Returns the rows that satisfy the condition `where` and whose member `new` (NULL: no such test) differs from that of
 * the row selected before. */
static json_t *rows_of_new_value(const json_t *report, const json_t *rows, const char *where, const char *new)
{
    json_t *const kept = json_array();
    const char *before = ""; /* the member `new` of the last returned row */
    for (size_t k = 0; k < json_array_size(rows); k++) {
        json_t *const row = organ_json_row_at(rows, k);
        if (!organ_scope_holds(&(organ_scope){report, row}, where) ||
            (new &&strcmp(organ_json_text(row, new), before) == 0))
            continue;
        before = new ? organ_json_text(row, new) : before;
        if (json_array_append(kept, row) != 0) {
            organ_json_release_rows(kept);
            return NULL;
        }
    }
    return kept;
}

void organ_block_lacks_memory(organ_view_walk *walk)
{
    if (walk->html)
        organ_html_fail(walk->html);
    else if (!walk->error->status)
        organ_fail(walk->error, ORGAN_IO, "no memory for a report");
}

static void result_cell(organ_table *table, const json_t *check)
{
    organ_table_cell(table, "%s", json_is_true(json_object_get(check, "ok")) ? "ok" : "FAILED");
}

/* Returns a table with a row for each element of `checks`, an array of {"check", "ok", "detail"}. The caller destroys
 * the table. Returns NULL if out of memory. */
static organ_table *checks_table(const json_t *checks)
{
    static const organ_field fields[] = {FIELD_TEXT("check", "check", ORGAN_FIELD_SHORTENS),
                                         FIELD_BY("result", result_cell, ORGAN_FIELD_LEFT),
                                         FIELD_TEXT("detail", "detail", ORGAN_FIELD_SHORTENS)};
    return organ_field_table(FIELD_LIST(fields), checks, SIZE_MAX);
}

/* Returns an array of the values at the paths, which are separated by blanks; paths without a value are skipped. */
static json_t *rows_at(const organ_scope *scope, const char *paths)
{
    json_t *const rows = json_array();
    while (*paths) {
        const size_t length = strcspn(paths, " ");
        char path[64];
        snprintf(path, sizeof path, "%.*s", (int)length, paths);
        json_array_append(rows, (json_t *)(uintptr_t)organ_scope_at(scope, path));
        paths += length + (paths[length] == ' ');
    }
    return rows;
}

/* Without `where`, `same` and `new`, returns a new reference to the report's own array or object. If `same` is set,
 * `new` has no effect. block->rows may have several paths. */
json_t *organ_block_rows(organ_view_walk *walk, const organ_block *block)
{
    if (block->rows && strchr(block->rows, ' '))
        return rows_at(&walk->scope, block->rows);
    json_t *const rows =
                      (json_t *)(uintptr_t)(block->rows ? organ_scope_at(&walk->scope, block->rows) : walk->scope.row),
                  *kept;
    if ((!block->where && !block->new && !block->same) || !json_is_array(rows))
        return json_incref(rows);
    if (block->same)
        kept = organ_rows_merged(walk->scope.report, rows, block->where, block->same);
    else
        kept = rows_of_new_value(walk->scope.report, rows, block->where, block->new);
    if (!kept)
        organ_block_lacks_memory(walk);
    return kept;
}

double organ_block_number(const json_t *row, const char *path, double factor)
{
    if (!path)
        return NAN;
    return (factor != 0 ? factor : 1) * organ_json_number(row, path);
}

void organ_block_chart(organ_view_walk *walk, char *svg, const char *caption)
{
    ORGAN_OWNED char *const text = organ_words_text(&walk->scope, caption, ORGAN_WORDS_PAGE);
    organ_html_chart(walk->html, svg, text ? text : "");
}

char *organ_block_text(organ_view_walk *walk, const char *words)
{
    char *const text = words ? organ_words_text(&walk->scope, words, ORGAN_WORDS_PAGE) : NULL;
    if (words && !text)
        organ_html_fail(walk->html);
    if (text && *text)
        return text;
    free(text);
    return NULL;
}

double organ_block_scale(double step, double least, double high, const double *values, size_t count)
{
    double max = fmax(1, least);
    for (size_t k = 0; k < count; k++)
        max = isfinite(values[k]) ? fmax(max, values[k]) : max;
    return step > 0 ? fmin(high > 0 ? high : 100, step * ceil(max / step)) : high;
}

static void put_lines(organ_html *html, const char *text)
{
    while (*text) {
        const size_t length = strcspn(text, "\n");
        if (length)
            organ_html_paragraph(html, "%.*s", (int)length, text);
        text += length + (text[length] == '\n');
    }
}

static void page_words(organ_view_walk *walk, const organ_block *block, const char *text)
{
    switch (block->kind) {
    case ORGAN_BLOCK_SECTION:
        organ_html_section(walk->html, text);
        break;
    case ORGAN_BLOCK_WARN:
        organ_html_caution(walk->html, text);
        break;
    case ORGAN_BLOCK_LINES:
        put_lines(walk->html, text);
        break;
    case ORGAN_BLOCK_COMMAND:
        organ_html_command(walk->html, text);
        break;
    case ORGAN_BLOCK_ITEM:
        if (!walk->items)
            walk->items = json_array();
        if (json_array_append_new(walk->items, json_string(text)) != 0)
            organ_html_fail(walk->html);
        break;
    default:
        organ_html_paragraph(walk->html, "%s", text);
    }
}

static void page_table(organ_view_walk *walk, organ_table *table, const char *caption)
{
    organ_html_table(walk->html, table, caption);
}

static void page_list(organ_view_walk *walk, const organ_block *block, const json_t *rows)
{
    if (block->kind == ORGAN_BLOCK_CHECKS)
        organ_html_checks(walk->html, rows);
    else if (block->kind == ORGAN_BLOCK_CAUTIONS)
        organ_html_cautions(walk->html, block->words, rows);
    else
        organ_html_terms(walk->html, rows, block->lead, block->words);
}

const organ_block_writer organ_writer_page = {ORGAN_WORDS_PAGE, page_words, page_table, page_list};

static void print_wrapped(const organ_view_walk *walk, const char *lead, const char *text)
{
    organ_text_wrap(walk->out, lead, organ_text_width(lead), text, walk->page);
}

static void terminal_words(organ_view_walk *walk, const organ_block *block, const char *text)
{
    switch (block->kind) {
    case ORGAN_BLOCK_SAY:
        print_wrapped(walk, block->lead ? block->lead : "  ", text);
        break;
    case ORGAN_BLOCK_WARN:
        print_wrapped(walk, "  WARNING  ", text);
        break;
    case ORGAN_BLOCK_ITEM:
        print_wrapped(walk, block->lead ? block->lead : "  - ", text);
        break;
    case ORGAN_BLOCK_COMMAND:
        fprintf(walk->out, "    %s\n", text);
        break;
    default:
        fputs(text, walk->out);
    }
}

static void terminal_table(organ_view_walk *walk, organ_table *table, const char *caption)
{
    (void)caption;
    organ_table_print(table, walk->out, walk->page, walk->error);
    organ_table_destroy(table);
    fputc('\n', walk->out);
}

static void terminal_list(organ_view_walk *walk, const organ_block *block, const json_t *rows)
{
    if (block->kind == ORGAN_BLOCK_CHECKS)
        terminal_table(walk, checks_table(rows), /*caption=*/NULL);
    if (block->kind != ORGAN_BLOCK_CAUTIONS) /* a terminal has no TERMS */
        return;
    fprintf(walk->out, "  %s:\n", block->words);
    for (size_t k = 0; k < json_array_size(rows); k++)
        organ_text_say(walk->out, walk->page, "  - ", "%s", organ_json_text(organ_json_row_at(rows, k), ""));
    fputc('\n', walk->out);
}

const organ_block_writer organ_writer_terminal = {ORGAN_WORDS_TERMINAL, terminal_words, terminal_table, terminal_list};

static void begin_block(organ_view_walk *walk, bool item)
{
    if (walk->began && !(item && walk->in_list))
        fputc('\n', walk->out);
    walk->began = true;
    walk->in_list = item;
}

static void markdown_words(organ_view_walk *walk, const organ_block *block, const char *text)
{
    static const char *const leads[] = {
        [ORGAN_BLOCK_HEADING] = "# ", [ORGAN_BLOCK_SECTION] = "## ",  [ORGAN_BLOCK_SAY] = "",
        [ORGAN_BLOCK_LINES] = "",     [ORGAN_BLOCK_COMMAND] = "    ", [ORGAN_BLOCK_WARN] = "> **Warning.** ",
        [ORGAN_BLOCK_ITEM] = "- "};
    begin_block(walk, block->kind == ORGAN_BLOCK_ITEM);
    fprintf(walk->out, "%s%s\n", leads[block->kind], text);
}

static void markdown_table(organ_view_walk *walk, organ_table *table, const char *caption)
{
    (void)caption;
    begin_block(walk, /*item=*/false);
    organ_table_markdown(table, walk->out, walk->error);
    organ_table_destroy(table);
}

static void put_terms(FILE *out, const json_t *terms)
{
    const char *term;
    json_t *sentence;
    json_object_foreach((json_t *)(uintptr_t)terms, term, sentence)
    {
        fprintf(out, "- **%s**: ", term);
        organ_markdown_text(out, organ_json_text(sentence, ""), /*code=*/false);
        fputc('\n', out);
    }
}

static void markdown_list(organ_view_walk *walk, const organ_block *block, const json_t *rows)
{
    if (block->kind == ORGAN_BLOCK_CHECKS) {
        markdown_table(walk, checks_table(rows), /*caption=*/NULL);
        return;
    }
    begin_block(walk, /*item=*/false);
    if (block->kind == ORGAN_BLOCK_TERMS) {
        put_terms(walk->out, rows);
        return;
    }
    fprintf(walk->out, "> **%s.**\n>\n", block->words); /* ORGAN_BLOCK_CAUTIONS */
    for (size_t k = 0; k < json_array_size(rows); k++) {
        fputs("> - ", walk->out);
        organ_markdown_text(walk->out, organ_json_text(organ_json_row_at(rows, k), ""), /*code=*/false);
        fputc('\n', walk->out);
    }
}

const organ_block_writer organ_writer_markdown = {ORGAN_WORDS_MARKDOWN, markdown_words, markdown_table, markdown_list};
