/* SPDX-License-Identifier: MIT
 * What a walk through blocks needs of the place that it writes to: a terminal, a Markdown file, a page. */
#ifndef ORGAN_BLOCK_PLACE_H
#define ORGAN_BLOCK_PLACE_H

#include "orchestrator/report/blocks/block.h"
#include "orchestrator/report/html/page.h"

typedef struct organ_block_place organ_block_place;

/* One walk. */
typedef struct organ_walk {
    const organ_block_place *place;
    unsigned on;
    organ_scope scope;
    FILE *out;              /* of text */
    const organ_page *page; /* of a terminal */
    bool began, in_list;    /* of Markdown: something stands there; the last block was an item */
    organ_html *html;       /* of a page */
    json_t *items;          /* of a page: the list that has not ended */
    bool ended;             /* of a page: definitions and run stand there */
    organ_error *error;
} organ_walk;

struct organ_block_place {
    organ_words_for form;
    /* A block of words: from HEADING to ITEM. */
    void (*words)(organ_walk *walk, const organ_block *block, const char *text);
    /* Takes the table over. `caption`: NULL for none. */
    void (*table)(organ_walk *walk, organ_table *table, const char *caption);
    /* CHECKS, CAUTIONS and TERMS. */
    void (*list)(organ_walk *walk, const organ_block *block, const json_t *rows);
};

extern const organ_block_place organ_place_terminal, organ_place_markdown, organ_place_page;

#define ORGAN_BLOCK_CELLS 1500 /* of a map; of more no numbers stand in them */

/* Notes that the report, or the page, cannot be made. */
void organ_block_lacks_memory(organ_walk *walk);

/* The rows of a block that are meant (`where`, `same`, `new`), to be given back; NULL: there are none. */
json_t *organ_block_rows(organ_walk *walk, const organ_block *block);

/* A table of {"check", "ok", "detail"}. */
organ_table *organ_block_checks(const json_t *checks);

/* Charts of a page. */
void organ_bars_put(organ_walk *walk, const organ_block *block);
void organ_map_put(organ_walk *walk, const organ_block *block);
void organ_panels_put(organ_walk *walk, const organ_block *block);
void organ_grid_put(organ_walk *walk, const organ_block *block);
void organ_curves_put(organ_walk *walk, const organ_block *block);
void organ_points_put(organ_walk *walk, const organ_block *block);

/* What they share: a chart and its caption, words (to be freed; NULL: none), a number of a row, the end of a scale. */
void organ_block_chart(organ_walk *walk, char *svg, const char *caption);
char *organ_block_text(organ_walk *walk, const char *words);
double organ_block_number(const json_t *row, const char *path, double factor);
double organ_block_scale(double step, double least, double high, const double *values, size_t count);

#endif
