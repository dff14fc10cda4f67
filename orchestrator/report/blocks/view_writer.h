/* SPDX-License-Identifier: MIT
 * The writers of a view: functions that print blocks to a terminal's text, a Markdown file or a page, and the state of
 * one pass over the blocks. */
#ifndef ORGAN_VIEW_WRITER_H
#define ORGAN_VIEW_WRITER_H

#include "orchestrator/report/blocks/block.h"
#include "orchestrator/report/html/page.h"

typedef struct organ_block_writer organ_block_writer;

/* State of one pass over the blocks of a view. */
typedef struct organ_view_walk {
    const organ_block_writer *writer;
    unsigned on;            /* flags ON_... of the output */
    organ_scope scope;      /* the report, and the row of the blocks that are printed */
    FILE *out;              /* terminal and Markdown: the text so far */
    const organ_page *page; /* terminal: its width and characters */
    bool began;             /* Markdown: a block was written already */
    bool in_list;           /* Markdown: the last block was a list item */
    organ_html *html;       /* page; NULL for the other outputs */
    json_t *items;          /* page: items (strings) of a list that is not written yet; NULL: none */
    bool ended;             /* page: definitions and run were printed */
    organ_error *error;
} organ_view_walk;

/* A writer: one for each output. */
struct organ_block_writer {
    organ_words_for form; /* the output for which words are expanded */
    /* Prints a block of words (kinds HEADING to ITEM); `text` is the block's words, expanded. */
    void (*words)(organ_view_walk *walk, const organ_block *block, const char *text);
    /* Prints and destroys the table. `caption`: NULL for none. */
    void (*table)(organ_view_walk *walk, organ_table *table, const char *caption);
    /* Prints a block of CHECKS, CAUTIONS or TERMS. */
    void (*list)(organ_view_walk *walk, const organ_block *block, const json_t *rows);
};

extern const organ_block_writer organ_writer_terminal, organ_writer_markdown, organ_writer_page;

#define ORGAN_BLOCK_CELLS 1500 /* maps with more cells are drawn without numbers */

/* Records that memory ran out: organ_view_terminal, organ_view_markdown or organ_view_page then returns ORGAN_IO. */
void organ_block_lacks_memory(organ_view_walk *walk);

/* Returns the rows of a block, selected by its `where`, `same` and `new`; if block->rows is NULL, the walk's row. The
 * caller releases them with organ_json_release_rows. Returns NULL if the report has no value at block->rows, or if
 * memory runs out, which the walk records. */
json_t *organ_block_rows(organ_view_walk *walk, const organ_block *block);

/* Returns a table with a row for each element of `checks`, an array of {"check", "ok", "detail"}. The caller destroys
 * the table. Returns NULL if out of memory. */
organ_table *organ_block_checks(const json_t *checks);

/* Each function draws the chart of a block of one kind (BARS, MAP, PANELS, GRID, CURVES or POINTS) on the page. */
void organ_bars_put(organ_view_walk *walk, const organ_block *block);
void organ_map_put(organ_view_walk *walk, const organ_block *block);
void organ_panels_put(organ_view_walk *walk, const organ_block *block);
void organ_grid_put(organ_view_walk *walk, const organ_block *block);
void organ_curves_put(organ_view_walk *walk, const organ_block *block);
void organ_points_put(organ_view_walk *walk, const organ_block *block);

/* ---- helpers of these functions ---- */

/* Puts the SVG document `svg` on the page and frees it; `caption` are words. If `svg` is NULL, because memory ran out,
 * the page fails. */
void organ_block_chart(organ_view_walk *walk, char *svg, const char *caption);

/* Returns the template `words` (report/text/words.h) for an HTML page, with members of the walk's row and report in
 * place of its placeholders. The caller frees the text. Returns NULL if `words` is NULL or the text is empty; also if
 * memory runs out: organ_html_finish then fails. */
char *organ_block_text(organ_view_walk *walk, const char *words);

/* Returns the number at a path of a row times `factor` (0: times 1); NaN if `path` is NULL or the row has no number
 * there. */
double organ_block_number(const json_t *row, const char *path, double factor);

/* Returns the upper end of the scale for `count` values: `high` if `step` is 0; otherwise the smallest multiple of
 * `step` that is not below any value, `least` and 1, but at most `high` (0: 100). */
double organ_block_scale(double step, double least, double high, const double *values, size_t count);

#endif
