/* SPDX-License-Identifier: MIT
 * A table that can be printed on a terminal of some width and as Markdown. */
#ifndef ORGAN_TEXT_TABLE_H
#define ORGAN_TEXT_TABLE_H

#include "orchestrator/report/text/text.h"

typedef enum organ_align { ORGAN_LEFT, ORGAN_RIGHT } organ_align;

/* A column of a table. */
typedef struct organ_column {
    const char *title;
    organ_align align; /* of title and cells */
    bool shortens;     /* shorten cells in the middle if the table is wider than the screen */
    bool code;         /* format cells as code in Markdown */
} organ_column;

typedef struct organ_table organ_table;

/* Creates a table. The titles of the columns must outlive it. Returns NULL if out of memory; all functions below accept
 * NULL, and printing then reports the error. */
organ_table *organ_table_create(const organ_column *columns, size_t count);
void organ_table_destroy(organ_table *table);

/* Adds the next cell, row by row from left to right. Control characters and invalid UTF-8 are made visible. */
void organ_table_cell(organ_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds `text` like organ_table_cell and frees it. NULL stands for a text whose allocation failed: printing then returns
 * ORGAN_IO. */
void organ_table_take(organ_table *table, char *text);

/* If the table is too wide and is printed in parts, makes a part begin with this column. */
void organ_table_part_at(organ_table *table, size_t column);

/* Declares that the next cell begins the total rows: its row and all later ones. A line separates them from the rows
 * above; in Markdown they are bold. */
void organ_table_totals(organ_table *table);

/* Prints the table for a terminal. A table that is wider than the page although columns were shortened is printed in
 * parts below each other, each with the columns that name the rows. Missing cells of the last row are empty. Returns
 * ORGAN_IO if memory ran out; write errors are left in the error flag of `out`. */
organ_status organ_table_print(const organ_table *table, FILE *out, const organ_page *page, organ_error *error);
/* Prints the table as Markdown. Missing cells and errors are treated as by organ_table_print. */
organ_status organ_table_markdown(const organ_table *table, FILE *out, organ_error *error);

/* The contents of a table, for writers of other forms. The table owns all pointers; they are valid until it changes. */
typedef struct organ_table_view {
    const organ_column *columns;
    size_t column_count;
    char *const *cells; /* visible UTF-8; rows from left to right, the last may be shorter */
    size_t cell_count;
    size_t totals; /* the first cell of the totals; cell_count: none */
} organ_table_view;
/* Sets *view to the contents of the table. Returns ORGAN_IO if memory ran out while cells were added. */
organ_status organ_table_view_of(const organ_table *table, organ_table_view *view, organ_error *error);

/* Writes `s` escaped, so that Markdown renders it literally in running text or in a cell; `code` formats it as code. */
void organ_markdown_text(FILE *out, const char *s, bool code);

#endif
