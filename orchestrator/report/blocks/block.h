/* SPDX-License-Identifier: MIT
 * A view of a document is a constant list of blocks in reading order. Three writers print the same list: for a
 * terminal, as a Markdown file and as an HTML page. All words are templates (report/text/words.h) over the block's
 * row; the row of a top-level block is the report itself. */
#ifndef ORGAN_BLOCK_H
#define ORGAN_BLOCK_H

#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/text/report_text.h"

/* Outputs that print a block; flags of organ_block.on. */
enum {
    ON_TERMINAL = 1,
    ON_MARKDOWN = 2,
    ON_PAGE = 4,
    ON_TENSORS = 8, /* a terminal, if the caller asked for every tensor */
    ON_FILES = ON_MARKDOWN | ON_PAGE,
    ON_TEXT = ON_TERMINAL | ON_MARKDOWN,
    ON_ALL = ON_TERMINAL | ON_MARKDOWN | ON_PAGE
};

typedef enum organ_block_kind {
    ORGAN_BLOCK_HEADING, /* the heading of a Markdown file */
    ORGAN_BLOCK_LINES,   /* lines printed unchanged; on a terminal without a final newline, on a page one paragraph each
                          */
    ORGAN_BLOCK_SECTION, /* the title of a section */
    ORGAN_BLOCK_SAY,     /* one or more sentences; a terminal prints `lead` first */
    ORGAN_BLOCK_WARN,    /* a warning */
    ORGAN_BLOCK_COMMAND, /* a command line */
    ORGAN_BLOCK_ITEM,    /* a line of a list */
    ORGAN_BLOCK_TABLE,   /* a table with a line for each of `rows` */
    ORGAN_BLOCK_ITEMS,   /* a table of names and values */
    ORGAN_BLOCK_HIGHLIGHTS, /* the main results, at the top of a page */
    ORGAN_BLOCK_CHECKS,     /* `rows` of {"check", "ok", "detail"} */
    ORGAN_BLOCK_CAUTIONS,   /* `rows`, an array of warnings, in one box with a title; Markdown files and pages */
    ORGAN_BLOCK_TERMS, /* `rows`, an object of terms and definitions; on a page a table whose columns are titled `lead`
                          and `words` */
    ORGAN_BLOCK_BARS,  /* charts, on a page */
    ORGAN_BLOCK_MAP,
    ORGAN_BLOCK_GRID,
    ORGAN_BLOCK_PANELS,
    ORGAN_BLOCK_CURVES,
    ORGAN_BLOCK_POINTS,
    ORGAN_BLOCK_FIGURE,
    ORGAN_BLOCK_ENDING,  /* on a page: definitions and run, printed here instead of at the end because other blocks
                            follow */
    ORGAN_BLOCK_PART,    /* `blocks` with the object at `rows` as their row; skipped if it is missing */
    ORGAN_BLOCK_MADE,    /* `blocks` with the object that `make` returns as their row */
    ORGAN_BLOCK_EACH,    /* `blocks` once for each of `rows`, an array */
    ORGAN_BLOCK_TOGETHER /* `blocks` with the row {"rows": the selected `rows`}; skipped if none is selected */
} organ_block_kind;

typedef struct organ_block organ_block;

/* A table. Fields whose condition `when` is false for the report are omitted. */
typedef struct organ_table_of {
    const organ_field *fields;
    size_t count;
    const char *total, *total_row; /* last row: words for its first field, path of its values; NULL: none */
    const char *sums,
        *sums_name;      /* rows between the line and the total: their path, and the member that is their first field */
    const char *caption; /* printed on a page; NULL: none */
    size_t max; /* limit of rows on a page and in a Markdown file; a sentence below a shortened table names `what`
                    ("tensors"). 0: no limit */
    const char *what;
} organ_table_of;

/* A table of names and values. */
typedef struct organ_item {
    const char *when, *name, *value;
} organ_item;
typedef struct organ_items_of {
    const char *name;  /* the title of the column of names; NULL: no names */
    const char *value; /* words: the title of a column of values */
    organ_align align; /* of the values */
    const char *of;   /* a path of rows: a column of values for each of the first four; NULL: one for the block's row */
    const char *list; /* ITEMS only: a member of each row, an array of sentences that follow the items, one a line;
                         NULL: none */
    const char *caption;
    const organ_item *items; /* with HIGHLIGHTS the name explains the value */
    size_t count;
} organ_items_of;

/* In the words of charts, `subtitle` and the second `series` of bars are templates. Numbers of all rows are multiplied
 * by `factor` unless it is 0. */

/* One or two bars for each row. */
typedef struct organ_bars_of {
    organ_ranking style;    /* all members except bars and count */
    const char *name;       /* member of the row, a text */
    const char *named;      /* words about the row that replace `name`; NULL: the member */
    const char *values[2];  /* members of the row; the second NULL: one bar */
    bool sums;              /* rows of the same name are added up in one bar */
    bool bytes;             /* the values are bytes; they are shown in one unit, which the label and the values name */
    const char *low, *high; /* members at both ends of the whisker; NULL: none */
    const char *error;      /* or the member that is half the length of a whisker around the first value; NULL: none */
    bool ascending;         /* sort bars by their first values */
    const char *depth;      /* the member with the depth of the bar; NULL: 0 */
    const char *remark;     /* words about the row after the value; NULL: none */
    const char *spread;     /* a path of rows: the whisker spans values of rows with the bar's name; NULL: none */
    double factor;
    const char *caption;
} organ_bars_of;

/* Lines or bars by layer, one panel for each role. All series have their rows in the same order; roles and layers are
 * read from the rows of the first series. */
typedef struct organ_series_of {
    const char *name;         /* words */
    const char *rows, *value; /* a series without rows is omitted */
    unsigned style;
    bool reference; /* as in organ_chart_series */
} organ_series_of;
enum { ORGAN_SERIES_MAX = 4 };
typedef struct organ_panels_of {
    organ_chart style; /* all members except series, panels and the x axis */
    const char *role;  /* member of the row: "role" */
    organ_series_of series[ORGAN_SERIES_MAX];
    const char *band; /* member of the first series' rows: half the width of a band around 0; NULL: none */
    double band_factor;
    const char *edges[2]; /* or members with the band's lower edge (NULL: no lower end) and upper edge */
    const char *caption;
} organ_panels_of;

/* A heat map of roles by layers. Each row has a "layer". */
typedef struct organ_map_of {
    organ_heat_map style; /* the words and the scale; the title is a template */
    const char *role;     /* member of the row: "role" */
    const char *value;    /* member of the row */
    const char *weight;   /* member with the weight in a mean; NULL: the greatest of several values in a cell counts */
    bool least, mean;     /* without a weight: the least of several values counts, or their unweighted mean */
    const char *marks;    /* path of rows whose cells are outlined; NULL: none */
    double beyond;        /* cells whose absolute value is greater are outlined, too; 0: none */
    double factor;
    double step;  /* the scale ends at a multiple of it, the end of `style` (0: 100) at most; 0: as `style` says */
    double floor; /* lower bound of that end */
    bool zero;    /* the scale is [0, greatest value] */
    bool bytes;   /* as organ_bars_of.bytes; requires `zero` */
    bool varies;  /* omitted if all values are equal */
    bool layers;  /* rows outside layers are ignored */
    bool inside;  /* rows outside layers are ignored, a map of one cell is omitted, and roles keep the order of the rows
                   */
    const char *caption;
} organ_map_of;

/* A heat map with a line for each row. Columns are the listed members (without those that no row has) or the elements
 * of one array. */
typedef struct organ_grid_of {
    organ_heat_map style;
    const char *name;           /* member of the row */
    const char *const *members; /* ends with NULL */
    const char *values;         /* member of the row, an array */
    double factor;
    double step;  /* the scale ends at a multiple of it, the end of `style` (0: 100) at most; 0: as `style` says */
    double floor; /* lower bound of that end */
    const char *caption;
} organ_grid_of;

/* A chart with lines over the layers, in one of two forms. With `values`, each row is one layer, and each of these
 * members is a line. With `name`, the rows of each name become a line, in each layer the mean of their `value`; a name
 * is left out unless at least one of its rows satisfies the condition `only`. */
typedef struct organ_curves_of {
    organ_chart style; /* all members except series and panels; x is "layer" */
    const char *values[ORGAN_CHART_COLOURS];
    const char *name, *value, *only;
    double factor;
    const char *caption;
} organ_curves_of;

/* A scatter chart with a point for each row. */
typedef struct organ_points_of {
    organ_scatter style; /* all members except points and kind_count; kinds end with NULL, and the legend ends with the
                           last kind that occurs */
    const char *name, *x, *y; /* members of the row */
    const char *kind; /* member of the row: one of the names of kinds (any other text counts as the last kind); NULL:
                         all points are of the first kind */
    double x_factor;
    size_t named; /* the number of outermost points that are labelled with their names */
    const char *caption;
} organ_points_of;

struct organ_block {
    organ_block_kind kind;
    unsigned on;
    const char *when; /* NULL: always */
    const char *lead; /* on a terminal: text before the words; NULL: its default */
    const char *words;
    const char *rows;  /* a path; a table may name several, separated by blanks, each of one object */
    const char *where; /* a condition that selects rows; NULL: all */
    const char *same;  /* words: of all rows that give the same words only the first is shown, with their number as
                          "count"; NULL: all rows */
    const char *new;   /* a member: skip rows whose text repeats that of the row before; NULL: show all */
    const organ_table_of *table;
    const organ_items_of *items;
    const organ_bars_of *bars;
    const organ_map_of *map;
    const organ_grid_of *grid;
    const organ_panels_of *panels;
    const organ_curves_of *curves;
    const organ_points_of *points;
    const organ_block *blocks;
    size_t count;     /* length of `blocks` */
    size_t max;       /* EACH: limit of rows; 0: none */
    const char *rest; /* EACH: words printed if rows exceed `max`, a template over {"more", "all", "most"} */
    json_t *(*make)(const json_t *row); /* NULL without memory */
    char *(*draw)(const json_t *row);   /* returns an SVG; NULL fails the page */
};

/* A document and its view. */
typedef struct organ_view {
    const char *schema;                    /* "organ.purify/1" */
    const char *kind, *title, *lead;       /* templates for the page: the sort of report, its subject, and its result */
    json_t *(*make)(const json_t *report); /* returns the report extended by values that only the view needs, as row of
                                              the blocks; NULL: the report itself is the row */
    const organ_block *blocks;
    size_t count;
} organ_view;

/* Initializers of a block's inner blocks: from an array, or listed in place. */
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
#define HIGHLIGHTS(if_, of) BLOCK(HIGHLIGHTS, ON_PAGE, if_, .items = &(const organ_items_of){ITEM_LIST(of)})
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
