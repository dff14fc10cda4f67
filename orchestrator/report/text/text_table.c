/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/report_text.h"

#include "formats/base/arena.h"
#include "formats/base/plain_numbers.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct organ_table {
    organ_column *columns;
    size_t column_count, cell_count, capacity; /* capacity: allocated length of `cells` */
    size_t totals;                             /* index of the first cell that belongs to a total row, or SIZE_MAX */
    char **cells;                              /* visible text, row by row; cell k is in column k % column_count */
    bool failed;                               /* memory ran out: the table would be incomplete */
};

/* All values are in columns. SHORTEST is the least width to which a column is shortened. */
enum { GAP = 2, INDENT = 2, SHORTEST = 12 };
/* The limit is in columns: a longer Markdown cell does not widen the others of its column. */
enum { WIDEST_PADDING = 72 };

organ_table *organ_table_create(const organ_column *columns, size_t count)
{
    organ_column *const own = malloc(count * sizeof *own + 1);
    organ_table *const table = own ? malloc(sizeof *table) : NULL;
    if (table)
        *table = (organ_table){
            .columns = memcpy(own, columns, count * sizeof *own), .column_count = count, .totals = SIZE_MAX};
    else
        free(own);
    return table;
}

void organ_table_destroy(organ_table *table)
{
    if (!table)
        return;
    for (size_t k = 0; k < table->cell_count; k++)
        free(table->cells[k]);
    ORGAN_FREE_ARRAYS(table->cells, table->columns, table);
}

void organ_table_take(organ_table *table, char *text)
{
    if (table && !table->failed) {
        char *const cell = text ? organ_text_made_visible(text) : NULL;
        table->failed = !cell || !organ_grow(&table->cells, table->cell_count, &table->capacity, sizeof *table->cells);
        if (table->failed)
            free(cell);
        else
            table->cells[table->cell_count++] = cell;
    }
    free(text);
}

void organ_table_cell(organ_table *table, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    organ_table_take(table, organ_vasprintf(&text, format, args) < 0 ? NULL : text);
    va_end(args);
}

void organ_table_totals(organ_table *table)
{
    if (table)
        table->totals = table->cell_count;
}

static organ_status check_complete(const organ_table *table, organ_error *error)
{
    return table && !table->failed ? ORGAN_OK : organ_fail(error, ORGAN_IO, "no memory for a table");
}

organ_status organ_table_view_of(const organ_table *table, organ_table_view *view, organ_error *error)
{
    if (check_complete(table, error) != ORGAN_OK)
        return ORGAN_IO;
    *view = (organ_table_view){table->columns, table->column_count, table->cells, table->cell_count,
                               table->totals < table->cell_count ? table->totals : table->cell_count};
    return ORGAN_OK;
}

/* ---- terminal ---- */

static void table_measure(const organ_table *table, size_t *widths)
{
    for (size_t c = 0; c < table->column_count; c++)
        widths[c] = organ_text_width(table->columns[c].title);
    for (size_t k = 0; k < table->cell_count; k++) {
        const size_t width = organ_text_width(table->cells[k]);
        if (width > widths[k % table->column_count])
            widths[k % table->column_count] = width;
    }
}

/* The first `names` columns and columns [from, to) are printed together. If a table is too wide, it is printed in
 * several such parts. */
typedef struct text_table_part {
    const size_t *widths;   /* of all columns */
    size_t names, from, to; /* indices of columns; from >= names */
} text_table_part;

/* Returns the index in the table of the k-th column of the part; column_count if the part has no k-th column. */
static size_t column_of(const organ_table *table, const text_table_part *p, size_t k)
{
    const size_t column = k < p->names ? k : p->from + k - p->names;
    return k < p->names || column < p->to ? column : table->column_count;
}

static size_t line_width(const organ_table *table, const text_table_part *p)
{
    size_t width = INDENT;
    for (size_t k = 0, c; (c = column_of(table, p, k)) < table->column_count; k++)
        width += p->widths[c] + (k ? GAP : 0);
    return width;
}

/* Returns the number of columns that name a row: the columns of numbers before the first column with text, and that
 * column; only the first column if these would be all columns of the table. */
static size_t count_names(const organ_table *table)
{
    size_t names = 1;
    while (names < table->column_count && table->columns[names - 1].align == ORGAN_RIGHT)
        names++;
    return names < table->column_count ? names : 1;
}

/* The part has at least one column, and as many as fit in `limit` (0: all). */
static text_table_part part_from(const organ_table *table, const size_t *widths, size_t from, size_t limit)
{
    text_table_part p = {.widths = widths, .names = count_names(table), .from = from, .to = from + 1};
    while (p.to < table->column_count) {
        p.to++;
        if (limit == 0 || line_width(table, &p) <= limit)
            continue;
        p.to--;
        break;
    }
    return p;
}

/* Shortens the widest of the columns with the flag `shortens` until the table fits in `limit` (0: no limit). If that is
 * not enough, the table is printed in parts, so each of these columns then gets its full width or half of `limit`. */
static void shrink_columns(const organ_table *table, size_t *widths, size_t limit)
{
    const text_table_part all = {.widths = widths, .to = table->column_count};
    for (size_t excess = line_width(table, &all); limit && excess > limit; excess--) {
        size_t widest = table->column_count;
        for (size_t c = 0; c < table->column_count; c++)
            if (table->columns[c].shortens && widths[c] > SHORTEST &&
                (widest == table->column_count || widths[c] > widths[widest]))
                widest = c;
        if (widest < table->column_count) {
            widths[widest]--;
            continue;
        }
        table_measure(table, widths);
        for (size_t c = 0; c < table->column_count; c++)
            if (table->columns[c].shortens && widths[c] > limit / 2)
                widths[c] = limit / 2 > SHORTEST ? limit / 2 : SHORTEST;
        return;
    }
}

/* The smallest part has the columns of names and one other column. If they are too wide for `limit` (0: no limit),
 * shortens the last column of names or the other column, whichever is wider. Columns of numbers are never shortened. */
static void shrink_names_and_column(const organ_table *table, size_t *widths, size_t limit)
{
    const size_t names = count_names(table);
    for (size_t c = names; limit && c < table->column_count; c++) {
        const text_table_part p = {.widths = widths, .names = names, .from = c, .to = c + 1};
        while (line_width(table, &p) > limit) {
            const bool text = table->columns[c].align == ORGAN_LEFT && widths[c] > widths[names - 1];
            const size_t giving = text ? c : names - 1;
            if (table->columns[giving].align != ORGAN_LEFT || widths[giving] <= SHORTEST)
                break;
            widths[giving]--;
        }
    }
}

static void print_field(FILE *out, const char *text, size_t width, organ_align align, bool last)
{
    const size_t used = organ_text_width(text);
    const int blanks = used < width ? (int)(width - used) : 0;
    if (align == ORGAN_RIGHT)
        fprintf(out, "%*s%s", blanks, "", text);
    else
        fprintf(out, "%s%*s", text, last ? 0 : blanks, "");
}

/* Returns false if memory runs out; so does print_part. */
static bool print_row(const organ_table *table, char *const *cells, size_t count, const text_table_part *p, FILE *out,
                      const organ_page *page)
{
    size_t last = 0; /* the last cell with text; empty cells after it would be blanks at the end of the line */
    for (size_t k = 0, c; (c = column_of(table, p, k)) < count; k++)
        last = *cells[c] ? k : last;
    for (size_t k = 0; k <= last; k++) {
        const size_t c = column_of(table, p, k);
        /* columns narrower than SHORTEST were not shortened, so their cells fit */
        ORGAN_OWNED char *const text =
            organ_text_shorten(cells[c], p->widths[c] > SHORTEST ? p->widths[c] : SHORTEST, page->utf8);
        if (!text)
            return false;
        fprintf(out, "%*s", k ? GAP : INDENT, "");
        print_field(out, text, p->widths[c], table->columns[c].align, k == last);
    }
    fputc('\n', out);
    return true;
}

static void print_titles(const organ_table *table, const text_table_part *p, FILE *out)
{
    for (size_t k = 0, c; (c = column_of(table, p, k)) < table->column_count; k++) {
        fprintf(out, "%*s", k ? GAP : INDENT, "");
        print_field(out, table->columns[c].title, p->widths[c], table->columns[c].align,
                    column_of(table, p, k + 1) == table->column_count);
    }
    fputc('\n', out);
}

static void print_rule(const organ_table *table, const text_table_part *p, FILE *out, const organ_page *page)
{
    fprintf(out, "%*s", INDENT, "");
    for (size_t k = INDENT, end = line_width(table, p); k < end; k++)
        fputs(page->utf8 ? "─" : "-", out);
    fputc('\n', out);
}

static bool print_part(const organ_table *table, const text_table_part *p, FILE *out, const organ_page *page)
{
    print_titles(table, p, out);
    print_rule(table, p, out, page);
    bool complete = true;
    for (size_t k = 0; k < table->cell_count && complete; k += table->column_count) {
        const size_t remaining = table->cell_count - k;
        if (k == table->totals)
            print_rule(table, p, out, page);
        complete = print_row(table, table->cells + k, remaining < table->column_count ? remaining : table->column_count,
                             p, out, page);
    }
    return complete;
}

organ_status organ_table_print(const organ_table *table, FILE *out, const organ_page *page, organ_error *error)
{
    if (check_complete(table, error) != ORGAN_OK)
        return ORGAN_IO;
    ORGAN_OWNED size_t *const widths = calloc(table->column_count, sizeof *widths);
    if (!widths)
        return organ_fail(error, ORGAN_IO, "no memory for a table");
    table_measure(table, widths);
    shrink_columns(table, widths, page->width);
    shrink_names_and_column(table, widths, page->width);
    text_table_part p = part_from(table, widths, count_names(table), page->width);
    bool complete = print_part(table, &p, out, page);
    while (complete && p.to < table->column_count) {
        p = part_from(table, widths, p.to, page->width);
        fputc('\n', out);
        complete = print_part(table, &p, out, page);
    }
    return complete ? ORGAN_OK : organ_fail(error, ORGAN_IO, "no memory for a table");
}

/* ---- Markdown ---- */

/* The delimiters have one backtick more than the longest run of backticks in the text. */
static void markdown_code(FILE *out, const char *s)
{
    size_t run = 0, longest = 0;
    for (const char *p = s; *p; p++) {
        run = *p == '`' ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    for (size_t k = 0; k <= longest; k++)
        fputc('`', out);
    fputs(longest ? " " : "", out);
    for (; *s; s++)
        fputs(*s == '|' ? "\\|" : (char[]){*s, '\0'}, out);
    fputs(longest ? " " : "", out);
    for (size_t k = 0; k <= longest; k++)
        fputc('`', out);
}

void organ_markdown_text(FILE *out, const char *s, bool code)
{
    if (code && *s) {
        markdown_code(out, s);
        return;
    }
    for (char before = ' '; *s; before = *s++) {
        /* An underscore inside a word is plain text. */
        const bool inner = *s == '_' && isalnum((unsigned char)before) && isalnum((unsigned char)s[1]);
        if (*s == '<' || *s == '&')
            fputs(*s == '<' ? "&lt;" : "&amp;", out);
        else
            fprintf(out, "%s%c", strchr("|*_`[]\\", *s) && !inner ? "\\" : "", *s);
    }
}

/* The caller frees the entry. Entries are the titles and then the cells, row by row; entries after the last cell are
 * "". Each entry is made twice, to measure and to print it, instead of storing all: a table of 100,000 rows has a
 * million entries. */
static char *markdown_entry(const organ_table *table, size_t k)
{
    const size_t column = k % table->column_count, cell = k - table->column_count; /* cell: not of a title */
    const bool title = k < table->column_count, bold = !title && cell >= table->totals;
    const char *const filled = !title && cell < table->cell_count ? table->cells[cell] : "";
    const char *const content = title ? table->columns[column].title : filled;
    organ_text text;
    organ_error ignored = {0};
    char *entry = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    fputs(bold && *content ? "**" : "", text.out);
    organ_markdown_text(text.out, content, table->columns[column].code && !title && !bold);
    fputs(bold && *content ? "**" : "", text.out);
    organ_text_finish(&text, &entry, &ignored);
    return entry;
}

static void markdown_rule(const organ_table *table, const size_t *widths, FILE *out)
{
    for (size_t c = 0; c < table->column_count; c++) {
        fputc('|', out);
        for (size_t dash = 0; dash < widths[c] + 1; dash++)
            fputc('-', out);
        fputs(table->columns[c].align == ORGAN_RIGHT ? ":" : "-", out);
    }
    fputs("|\n", out);
}

/* `count` is the number of entries (markdown_entry). widths[] must be 0; it gets the padded widths of the columns. */
static organ_status markdown_rows(const organ_table *table, size_t count, size_t *widths, FILE *out, organ_error *error)
{
    const size_t columns = table->column_count;
    char *entry;
    for (size_t k = 0; k < count; k++, free(entry)) {
        if (!(entry = markdown_entry(table, k)))
            return organ_fail(error, ORGAN_IO, "no memory for a table");
        const size_t width = organ_text_width(entry);
        if (width > widths[k % columns])
            widths[k % columns] = width < WIDEST_PADDING ? width : WIDEST_PADDING;
    }
    for (size_t k = 0; k < count; k++, free(entry)) {
        if (!(entry = markdown_entry(table, k)))
            return organ_fail(error, ORGAN_IO, "no memory for a table");
        fputs(k % columns ? " | " : "| ", out);
        print_field(out, entry, widths[k % columns], table->columns[k % columns].align, /*last=*/false);
        if (k % columns + 1 == columns)
            fputs(" |\n", out);
        if (k + 1 == columns)
            markdown_rule(table, widths, out);
    }
    return ORGAN_OK;
}

organ_status organ_table_markdown(const organ_table *table, FILE *out, organ_error *error)
{
    if (check_complete(table, error) != ORGAN_OK)
        return ORGAN_IO;
    const size_t columns = table->column_count, rows = (table->cell_count + columns - 1) / columns + 1; /* and titles */
    ORGAN_OWNED size_t *const widths = calloc(columns, sizeof *widths);
    return widths ? markdown_rows(table, rows * columns, widths, out, error)
                  : organ_fail(error, ORGAN_IO, "no memory for a table");
}
