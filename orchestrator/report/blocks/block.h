/* SPDX-License-Identifier: MIT
 * A view of a document: the blocks that a reader meets, in their order, given once. A terminal, a Markdown file and an
 * HTML page are three ways to walk them. All words are templates (words.h) over the row that the block is about: of a
 * view the report itself. */
#ifndef ORGAN_BLOCK_H
#define ORGAN_BLOCK_H

#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/text/report_text.h"

/* Where a block stands. */
enum {
    ON_TERMINAL = 1,
    ON_MARKDOWN = 2,
    ON_PAGE = 4,
    ON_TENSORS = 8, /* on a terminal that was asked for every tensor */
    ON_FILES = ON_MARKDOWN | ON_PAGE,
    ON_TEXT = ON_TERMINAL | ON_MARKDOWN,
    ON_ALL = ON_TERMINAL | ON_MARKDOWN | ON_PAGE
};

typedef enum organ_block_kind {
    ORGAN_BLOCK_HEADING, /* of a Markdown file */
    ORGAN_BLOCK_LINES,   /* lines as they are; on a terminal without a newline at the end, on a page each a paragraph */
    ORGAN_BLOCK_SECTION, /* its title */
    ORGAN_BLOCK_SAY,     /* a sentence or some; `lead` stands before it on a terminal */
    ORGAN_BLOCK_WARN,    /* what must be read */
    ORGAN_BLOCK_COMMAND, /* a command line */
    ORGAN_BLOCK_ITEM,    /* a line of a list */
    ORGAN_BLOCK_TABLE,   /* of rows */
    ORGAN_BLOCK_ITEMS,   /* a table of names and values */
    ORGAN_BLOCK_MERITS,  /* the few figures that a reader came for; on a page */
    ORGAN_BLOCK_CHECKS,  /* `rows` of {"check", "ok", "detail"} */
    ORGAN_BLOCK_CAUTIONS, /* `rows` of sentences that must be read, together under their title; files and pages */
    ORGAN_BLOCK_TERMS, /* `rows`, an object of terms and what they mean; a table on a page, with the titles `lead` and
                          `words` */
    ORGAN_BLOCK_BARS,  /* charts, on a page */
    ORGAN_BLOCK_MAP,
    ORGAN_BLOCK_GRID,
    ORGAN_BLOCK_PANELS,
    ORGAN_BLOCK_CURVES,
    ORGAN_BLOCK_POINTS,
    ORGAN_BLOCK_FIGURE,
    ORGAN_BLOCK_ENDING,  /* of a page, where blocks stand behind it: definitions and run, which else are the last */
    ORGAN_BLOCK_PART,    /* blocks about `rows`, one object; nothing where it is not there */
    ORGAN_BLOCK_MADE,    /* blocks about an object that a function makes of the row: a fold of it */
    ORGAN_BLOCK_EACH,    /* blocks about each of `rows`, an array */
    ORGAN_BLOCK_TOGETHER /* blocks about {"rows": those of `rows` that are meant}; nothing where there is none */
} organ_block_kind;

typedef struct organ_block organ_block;

/* A table. Fields whose `when` does not hold for the report are left out. */
typedef struct organ_table_of {
    const organ_field *fields;
    size_t count;
    const char *total, *total_row; /* the name of the last row, words, and the path of what stands in it; NULL: none */
    const char *sums,
        *sums_name; /* rows below the line, before that one: their path, and the member that is their first field */
    const char *caption; /* on a page; NULL: none */
    size_t most; /* rows on a page and in a Markdown file; if there are more, a sentence below says how many `what`
                    ("tensors"). 0: all */
    const char *what;
} organ_table_of;

/* Names and values. */
typedef struct organ_item {
    const char *when, *name, *value;
} organ_item;
typedef struct organ_items_of {
    const char *name;  /* the title of the names; NULL: there are none */
    const char *value; /* words: the title of the values */
    organ_align align; /* of the values */
    const char *of;   /* a path of rows: values are of each of them, beside each other, but for those behind the fourth;
                         NULL: of the row */
    const char *list; /* of ITEMS an array of each row, a sentence a line behind the items; NULL: none */
    const char *caption;
    const organ_item *items; /* with MERITS the name is what the value means */
    size_t count;
} organ_items_of;

/* Of the words of charts `subtitle` and the second of `series` of bars are templates. The numbers of all rows are
 * multiplied by `factor`, if that is not 0. */

/* One bar for each of the rows, or two. */
typedef struct organ_bars_of {
    organ_ranking look;     /* all but bars and count */
    const char *name;       /* member of the row, a text */
    const char *named;      /* or words about the row; NULL: there is the member */
    const char *values[2];  /* the second NULL: one bar */
    bool sums;              /* rows of one name are one bar, their sum */
    bool bytes;             /* numbers of bytes, in a unit that stands behind the label and the values */
    const char *low, *high; /* members that the whisker spans; NULL: none */
    const char *error;      /* or the member that it goes as far to both sides as; NULL: none */
    bool ascending;         /* by their first values */
    const char *depth;      /* the member that is the depth of the bar; NULL: 0 */
    const char *remark;     /* words about the row, behind the value; NULL: none */
    const char *spread; /* rows whose first value spans the whisker of the bar of the same name: a path; NULL: none */
    double factor;
    const char *caption;
} organ_bars_of;

/* Lines or bars over the layers, one panel a role. All series are of rows in the same order; roles and layers are those
 * of the first. */
typedef struct organ_series_of {
    const char *name;         /* words */
    const char *rows, *value; /* where there are no such rows, there is no such series */
    unsigned look;
    bool reference; /* as in organ_chart_series */
} organ_series_of;
enum { ORGAN_SERIES_MOST = 4 };
typedef struct organ_panels_of {
    organ_chart look; /* all but series, panels and the x axis */
    const char *role; /* member of the row: "role" */
    organ_series_of series[ORGAN_SERIES_MOST];
    const char *band; /* member of the first rows: half the width of the band round 0; NULL: none */
    double band_factor;
    const char *edges[2]; /* or members that are its lower edge (NULL: all below) and its upper one */
    const char *caption;
} organ_panels_of;

/* Roles by layers, of rows with "layer". */
typedef struct organ_map_of {
    organ_heat_map look; /* the words and the scale; the title is a template */
    const char *role;    /* member of the row: "role" */
    const char *value;   /* member of the row */
    const char *weight;  /* of a mean; NULL: the greatest of several values counts */
    bool least, mean;    /* without a weight: the least of several values counts, or their mean */
    const char *marks;   /* path of rows whose cells have an outline; NULL: none */
    double beyond;       /* cells of values of a greater size have one too; 0: none has */
    double factor;
    double step;  /* the scale ends at a multiple of it, the end of `look` (0: 100) at most; 0: as `look` says */
    double floor; /* that end is no less */
    bool zero;    /* the scale goes from 0 to the greatest value */
    bool bytes;   /* as of bars; with `zero` */
    bool varies;  /* not shown where all values are the same */
    bool layers;  /* rows of no layer are not shown */
    bool inside;  /* nor a model of one cell; roles stand as they are met */
    const char *caption;
} organ_map_of;

/* A row for each of the rows: columns are members of these names, but for those that no row has, or the numbers of an
 * array. */
typedef struct organ_grid_of {
    organ_heat_map look;
    const char *name;           /* member of the row */
    const char *const *members; /* NULL behind the last */
    const char *values;         /* member of the row, an array */
    double factor;
    double step;  /* the scale ends at a multiple of it, the end of `look` (0: 100) at most; 0: as `look` says */
    double floor; /* that end is no less */
    const char *caption;
} organ_grid_of;

/* Lines through the layers: one for each of the members `values` of rows that have a layer each, or one for each name,
 * the means of its rows, of those names of which a row is `only` (a condition). */
typedef struct organ_curves_of {
    organ_chart look; /* all but series and panels; x is "layer" */
    const char *values[ORGAN_CHART_COLOURS];
    const char *name, *value, *only;
    double factor;
    const char *caption;
} organ_curves_of;

/* A point for each of the rows. */
typedef struct organ_points_of {
    organ_scatter look; /* all but points and kind_count; kinds end with NULL, and those behind the last that is met are
                           not named */
    const char *name, *x, *y; /* members of the row */
    const char *kind;         /* the same: one of the names of kinds, else the last of them; NULL: all are the first */
    double x_factor;
    size_t named; /* so many of those farthest out have their names beside them */
    const char *caption;
} organ_points_of;

struct organ_block {
    organ_block_kind kind;
    unsigned on;
    const char *when; /* NULL: always */
    const char *lead; /* on a terminal: "  " unless given */
    const char *words;
    const char *rows;  /* a path; of a table also several with a blank between them, each of an object */
    const char *where; /* a condition on each of the rows; NULL: all of them */
    const char *same; /* words: rows about which they are the same are one, the first, with "count", how many; NULL: all
                         of them */
    const char *new;  /* only rows in which this member is another text than in the row before that is meant; NULL: all
                         of them */
    const organ_table_of *table;
    const organ_items_of *items;
    const organ_bars_of *bars;
    const organ_map_of *map;
    const organ_grid_of *grid;
    const organ_panels_of *panels;
    const organ_curves_of *curves;
    const organ_points_of *points;
    const organ_block *blocks;
    size_t count;                       /* of the blocks */
    size_t most;                        /* rows of EACH; 0: all */
    const char *rest;                   /* said where EACH has more rows: a template over {"more", "all", "most"} */
    json_t *(*make)(const json_t *row); /* NULL without memory */
    char *(*draw)(const json_t *row);   /* an SVG; NULL fails the page */
};

/* A document and its view. */
typedef struct organ_view {
    const char *schema;                    /* "organ.purify/1" */
    const char *kind, *title, *lead;       /* of the page, templates; what is reported, of what, and what came out */
    json_t *(*make)(const json_t *report); /* the document with what only its view needs, which blocks are about; NULL:
                                              they are about it */
    const organ_block *blocks;
    size_t count;
} organ_view;

/* Blocks inside a block: those of an array, or as they stand here. */
#define BLOCKS_OF(list) .blocks = (list), .count = sizeof(list) / sizeof *(list)

#define BLOCKS(...)                                                                                                    \
    .blocks = (const organ_block[]){__VA_ARGS__},                                                                      \
    .count = sizeof((const organ_block[]){__VA_ARGS__}) / sizeof(organ_block)

#define BLOCK(name, where_, if_, ...)                                                                                  \
    {                                                                                                                  \
        .kind = ORGAN_BLOCK_##name, .on = (where_), .when = (if_), __VA_ARGS__                                         \
    }
#define HEADING(text)                        BLOCK(HEADING, ON_MARKDOWN, NULL, .words = (text))
#define LINES_ON(places, if_, text)          BLOCK(LINES, places, if_, .words = (text))
#define LINES(if_, text)                     LINES_ON(ON_TERMINAL, if_, text)
#define GAP(if_)                             LINES(if_, "\n")
#define SECTION(places, if_, text)           BLOCK(SECTION, places, if_, .words = (text))
#define SAY(places, if_, text)               BLOCK(SAY, places, if_, .words = (text))
#define SAY_AFTER(places, if_, before, text) BLOCK(SAY, places, if_, .lead = (before), .words = (text))
#define WARN(places, if_, text)              BLOCK(WARN, places, if_, .words = (text))
#define COMMAND(places, if_, text)           BLOCK(COMMAND, places, if_, .words = (text))
#define ITEM(places, if_, text)              BLOCK(ITEM, places, if_, .words = (text))
#define TABLE(places, if_, path, ...)        TABLE_WHERE(places, if_, path, NULL, __VA_ARGS__)
#define TABLE_WHERE(places, if_, path, only, ...)                                                                      \
    BLOCK(TABLE, places, if_, .rows = (path), .where = (only), .table = &(const organ_table_of){__VA_ARGS__})
#define FIELDS(list)                       .fields = (list), .count = sizeof(list) / sizeof *(list)
#define ITEMS(places, if_, ...)            BLOCK(ITEMS, places, if_, .items = &(const organ_items_of){__VA_ARGS__})
#define ITEM_LIST(list)                    .items = (list), .count = sizeof(list) / sizeof *(list)
#define MERITS(if_, of)                    BLOCK(MERITS, ON_PAGE, if_, .items = &(const organ_items_of){ITEM_LIST(of)})
#define CHECKS(places, if_, path)          BLOCK(CHECKS, places, if_, .rows = (path))
#define CAUTIONS(places, if_, path, title) BLOCK(CAUTIONS, places, if_, .rows = (path), .words = (title))
#define TERMS(places, if_, path, of, mean) BLOCK(TERMS, places, if_, .rows = (path), .lead = (of), .words = (mean))
#define BARS(if_, path, ...)               BARS_WHERE(if_, path, NULL, __VA_ARGS__)
#define BARS_WHERE(if_, path, only, ...)                                                                               \
    BLOCK(BARS, ON_PAGE, if_, .rows = (path), .where = (only), .bars = &(const organ_bars_of){__VA_ARGS__})
#define MAP(if_, path, ...)  BLOCK(MAP, ON_PAGE, if_, .rows = (path), .map = &(const organ_map_of){__VA_ARGS__})
#define PANELS(if_, of)      BLOCK(PANELS, ON_PAGE, if_, .panels = (of))
#define GRID(if_, path, ...) BLOCK(GRID, ON_PAGE, if_, .rows = (path), .grid = &(const organ_grid_of){__VA_ARGS__})
#define CURVES(if_, path, ...)                                                                                         \
    BLOCK(CURVES, ON_PAGE, if_, .rows = (path), .curves = &(const organ_curves_of){__VA_ARGS__})
#define POINTS(if_, path, only, ...)                                                                                   \
    BLOCK(POINTS, ON_PAGE, if_, .rows = (path), .where = (only), .points = &(const organ_points_of){__VA_ARGS__})
#define FIGURE(if_, function, text) BLOCK(FIGURE, ON_PAGE, if_, .draw = (function), .words = (text))
/* PART(ON_ALL, "path", BLOCKS(...)) */
#define PART(places, path, ...)          PART_IF(places, NULL, path, __VA_ARGS__)
#define PART_IF(places, if_, path, ...)  BLOCK(PART, places, if_, .rows = (path), __VA_ARGS__)
#define MADE(places, if_, function, ...) BLOCK(MADE, places, if_, .make = (function), __VA_ARGS__)
/* EACH(ON_ALL, "rows", BLOCKS(...), .where = "b", .most = 20, .rest = "And {more} more.") */
#define EACH(places, path, ...)         EACH_IF(places, NULL, path, __VA_ARGS__)
#define EACH_IF(places, if_, path, ...) BLOCK(EACH, places, if_, .rows = (path), __VA_ARGS__)
#define PAGE_ENDING                     BLOCK(ENDING, ON_PAGE, NULL, .words = NULL)
/* TOGETHER(ON_ALL, NULL, "rows", BLOCKS(...), .where = "b") */
#define TOGETHER(places, if_, path, ...) BLOCK(TOGETHER, places, if_, .rows = (path), __VA_ARGS__)
/* clang-format off */
#define DEFINITIONS \
    SECTION(ON_MARKDOWN, NULL, "Definitions"), TERMS(ON_MARKDOWN, NULL, "/definitions", NULL, NULL)
/* clang-format on */

#endif
