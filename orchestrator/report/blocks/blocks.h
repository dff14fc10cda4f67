/* SPDX-License-Identifier: MIT
 * Views of documents as lists of blocks, and the three writers that print them. Input: a document and its view. Output:
 * text for a terminal, a Markdown file or an HTML page.
 * view_walk.c iterates over the blocks, block_places.c writes them in each form, charts.c and plots.c draw charts. */
#ifndef ORGAN_REPORT_BLOCKS_BLOCKS_H
#define ORGAN_REPORT_BLOCKS_BLOCKS_H

#include "orchestrator/report/html/page.h"
#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/text/report_text.h"

#include <jansson.h>

/* A view of a document (a report as JSON) is a constant list of blocks in reading order. Three writers print the same
 * list: for a terminal, as a Markdown file and as an HTML page. Each block is printed for a row, a JSON object; the row
 * of a top-level block is the report itself. All texts are templates, called words below, over
 * the block's row. A path names a member of the row (organ_scope_at). */

/* Outputs that print a block; flags of organ_block.on. A page is an HTML page. */
enum {
    ON_TERMINAL = 1,
    ON_MARKDOWN = 2,
    ON_PAGE = 4,
    ON_TENSORS = 8, /* a terminal, if the caller requests every tensor */
    ON_FILES = ON_MARKDOWN | ON_PAGE,
    ON_TEXT = ON_TERMINAL | ON_MARKDOWN,
    ON_ALL = ON_TERMINAL | ON_MARKDOWN | ON_PAGE
};

/* The kinds of blocks, by their output. */
typedef enum organ_block_kind {
    ORGAN_BLOCK_HEADING, /* the title of a Markdown file */
    /* lines printed unchanged; on a terminal no newline is added at the end, on a page each line is a paragraph */
    ORGAN_BLOCK_LINES,
    ORGAN_BLOCK_SECTION,    /* the heading of a section */
    ORGAN_BLOCK_SAY,        /* one or more sentences; a terminal prints `lead` first */
    ORGAN_BLOCK_WARN,       /* a warning */
    ORGAN_BLOCK_COMMAND,    /* a command line */
    ORGAN_BLOCK_ITEM,       /* a line of a list */
    ORGAN_BLOCK_TABLE,      /* a table with a line for each of `rows` */
    ORGAN_BLOCK_ITEMS,      /* a table of names and values */
    ORGAN_BLOCK_HIGHLIGHTS, /* the main results, at the top of a page */
    ORGAN_BLOCK_CHECKS,     /* a table of checks; `rows` are {"check", "ok", "detail"} */
    ORGAN_BLOCK_CAUTIONS,   /* `rows`, an array of warnings, in one box titled `words`; Markdown files and pages */
    /* `rows`, an object of terms and definitions; on a page a table with the column titles `lead` and `words` */
    ORGAN_BLOCK_TERMS,
    /* charts on a page, from here to FIGURE; each kind but FIGURE has its own member of organ_block */
    ORGAN_BLOCK_BARS,
    ORGAN_BLOCK_MAP,
    ORGAN_BLOCK_GRID,
    ORGAN_BLOCK_PANELS,
    ORGAN_BLOCK_CURVES,
    ORGAN_BLOCK_POINTS,
    ORGAN_BLOCK_FIGURE,
    /* prints definitions and run of a page here instead of at its end, because other blocks follow */
    ORGAN_BLOCK_ENDING,
    ORGAN_BLOCK_PART,    /* prints `blocks` with the object at the path `rows` as their row; nothing if it is missing */
    ORGAN_BLOCK_MADE,    /* prints `blocks` with the object that `make` returns as their row */
    ORGAN_BLOCK_EACH,    /* prints `blocks` once for each element of `rows`, which is its row */
    ORGAN_BLOCK_TOGETHER /* prints `blocks` with the row {"rows": the selected `rows`}; nothing if none is selected */
} organ_block_kind;

typedef struct organ_block organ_block;

/* Columns and totals of a TABLE block. Its lines are the block's `rows`, a JSON object each; a field of `fields`
 * describes a column. Columns whose condition organ_field.when is false for the report are
 * omitted. */
typedef struct organ_table_of {
    const organ_field *fields;
    size_t count;
    /* last line, the total: words for its first cell, and path of the object with its values; NULL: none */
    const char *total, *total_row;
    /* subtotals before the total: path of an array of objects, and the member that is the first cell of each */
    const char *sums, *sums_name;
    const char *caption; /* words printed on a page; NULL: none */
    /* limit of lines on a page and in a Markdown file; 0: no limit. A sentence below a shortened table names `what`
     * ("tensors") */
    size_t max;
    const char *what;
} organ_table_of;

/* A line of a table of names and values: a condition (NULL: always), and words for name and value. */
typedef struct organ_item {
    const char *when, *name, *value;
} organ_item;
/* A table of names and values (ITEMS), or the results at the top of a page (HIGHLIGHTS). */
typedef struct organ_items_of {
    const char *name;  /* title of the column of names; NULL: no names */
    const char *value; /* words for the title of a column of values */
    organ_align align; /* of the values */
    /* Path of an array. ITEMS: a column of values for each of its first four elements. HIGHLIGHTS: the first item is
     * printed for each element, the others for the block's row. NULL: all are for the block's row */
    const char *of;
    /* ITEMS only: member of each row with a column, an array of sentences; these follow the items, one a line. NULL:
     * none */
    const char *list;
    const char *caption;
    const organ_item *items; /* the lines; with HIGHLIGHTS the name explains the value */
    size_t count;
} organ_items_of;

/* ---- charts ---- */

/* Charts take title, labels and scale from `style`, a struct of report/svg. These are plain texts, except for
 * templates: the subtitles of bars and points, the second `series` of bars, and the title of a map. Values of all rows
 * are multiplied by `factor` unless it is 0. */

/* Horizontal bars, one or two for each row. */
typedef struct organ_bars_of {
    organ_ranking style;   /* bars and count are ignored; the writer sets them */
    const char *name;      /* member of the row, a text */
    const char *named;     /* words over the row that are the bar's name instead of `name`; NULL: `name` is used */
    const char *values[2]; /* members of the row with the values; the second NULL: one bar */
    bool sums;             /* rows with the same name share a bar of their sums */
    /* the values are bytes. All are shown in the unit (kB, MB, ...) that fits the largest; label and values end with
     * this unit */
    bool bytes;
    const char *low, *high; /* members with the two ends of a whisker; NULL: none */
    const char *error;      /* member with half the length of a whisker around the first value; NULL: none */
    bool ascending;         /* sort bars by their first values */
    const char *depth;      /* member with the bar's level of indentation; NULL: 0 */
    const char *remark;     /* words over the row, printed after the value; NULL: none */
    /* path of an array of rows: the whisker reaches from the least to the greatest first value of those that have the
     * bar's name; NULL: none */
    const char *spread;
    double factor;
    const char *caption;
} organ_bars_of;

/* A series of a chart of panels. Row k of each series belongs to the same tensor; its role and layer are read from row
 * k of the first series. */
typedef struct organ_series_of {
    const char *name;         /* words for the legend */
    const char *rows, *value; /* path of its rows, and their member with the value; a series without rows is omitted */
    unsigned style;           /* style and reference as in organ_chart_series */
    bool reference;
} organ_series_of;
enum { ORGAN_SERIES_MAX = 4 };
/* Lines or bars over the layers, one panel for each role. */
typedef struct organ_panels_of {
    organ_chart style; /* series, panels and the x axis are ignored; the writer sets them */
    const char *role;  /* member of the row: "role" */
    organ_series_of series[ORGAN_SERIES_MAX];
    /* member of the first series' rows: this value times band_factor is half the width of a band around 0; NULL: no
     * such band */
    const char *band;
    double band_factor;
    /* without `band`: members with the lower edge of the band (NULL: it has no lower end) and with its upper edge
     * (NULL: no band) */
    const char *edges[2];
    const char *caption;
} organ_panels_of;

/* A heat map of roles by layers. Each row has a "layer"; rows without one are in a column of their own. */
typedef struct organ_map_of {
    organ_heat_map style; /* labels and scale; its title is a template */
    const char *role;     /* member of the row: "role" */
    const char *value;    /* member of the row */
    /* member with the row's weight: a cell has the weighted mean of its rows. NULL: a cell has the largest value of its
     * rows, unless `least` or `mean` is set */
    const char *weight;
    bool least, mean;  /* without `weight`: a cell has the smallest value, or the mean, of its rows */
    const char *marks; /* path of an array of rows whose cells are outlined; NULL: none */
    double beyond;     /* cells with a larger absolute value are outlined, too; 0: none */
    double factor;
    /* the scale ends at a multiple of `step`, but at style.high (or 100 if that is 0) at most; step 0: at style.high */
    double step;
    double floor; /* with `step`: the scale ends at or above it */
    bool zero;    /* the scale begins at 0 and ends at the largest value; step and style.high do not apply */
    bool bytes;   /* the values are bytes, shown in the unit that fits the largest; the label ends with this unit.
                     Requires `zero` */
    bool varies;  /* the map is omitted if all values are equal */
    bool layers;  /* rows without a layer are ignored */
    /* rows without a layer are ignored, a map of one cell is omitted, and roles keep the order of the rows */
    bool inside;
    const char *caption;
} organ_map_of;

/* A heat map with a line for each row. Its columns are `members` (without those that no row has) or, if that is NULL,
 * the elements of the array `values`. */
typedef struct organ_grid_of {
    organ_heat_map style;
    const char *name;           /* member of the row */
    const char *const *members; /* ends with NULL */
    const char *values;         /* member of the row that is an array */
    double factor;
    /* the scale ends at a multiple of `step`, but at style.high (or 100 if that is 0) at most; step 0: at style.high */
    double step;
    double floor; /* with `step`: the scale ends at or above it */
    const char *caption;
} organ_grid_of;

/* A chart with lines over the layers, in one of two forms. With `values`, each row is a layer, and each member that
 * `values` lists is a line. With `name`, rows whose member `name` has the same text form a line, which has in each
 * layer the mean of their member `value`; if `only` is not NULL, the line is drawn only if one of its rows satisfies
 * this condition. */
typedef struct organ_curves_of {
    organ_chart style; /* series, panels and the x axis ("layer") are ignored; the writer sets them */
    const char *values[ORGAN_CHART_COLOURS];
    const char *name, *value, *only;
    double factor;
    const char *caption;
} organ_curves_of;

/* A scatter chart with a point for each row. */
typedef struct organ_points_of {
    /* points and kind_count are ignored; the writer sets them. `kinds` ends with NULL; the legend shows the kinds up to
     * the last one that a row has */
    organ_scatter style;
    const char *name, *x, *y; /* members of the row */
    /* member of the row with one of the names in style.kinds (any other text is the last kind); NULL: all points are of
     * the first kind */
    const char *kind;
    double x_factor;
    size_t named; /* number of points, those farthest to the upper right, that have their names next to them */
    const char *caption;
} organ_points_of;

/* A block. Members that its kind does not need are 0. */
struct organ_block {
    organ_block_kind kind;
    unsigned on;      /* outputs that print it: flags ON_... */
    const char *when; /* a condition on the row; NULL: always */
    const char *lead; /* terminal: text before the words; NULL: the default of the kind */
    const char *words;
    /* path of an array or object; a table may have several paths, separated by blanks, each of one object */
    const char *rows;
    const char *where; /* condition that selects elements of `rows`; NULL: all */
    /* words over a row: of the rows that give the same text only the first is shown, with their number as member
     * "count"; NULL: all rows */
    const char *same;
    /* a member: rows in which it has the same text as in the row before are skipped; NULL: none is skipped */
    const char *new;
    const organ_table_of *table;
    const organ_items_of *items;
    const organ_bars_of *bars;
    const organ_map_of *map;
    const organ_grid_of *grid;
    const organ_panels_of *panels;
    const organ_curves_of *curves;
    const organ_points_of *points;
    const organ_block *blocks;
    size_t count; /* length of `blocks` */
    size_t max;   /* EACH: limit of printed rows; 0: none */
    /* EACH: words printed if there are more rows than `max`, over {"more": rows omitted, "all": rows, "most": `max`} */
    const char *rest;
    /* MADE: returns the row of `blocks`, which the caller releases; NULL if out of memory */
    json_t *(*make)(const json_t *row);
    /* FIGURE: returns an SVG document, which the caller frees; NULL makes the page fail */
    char *(*draw)(const json_t *row);
};

/* File names of a report, which is written as JSON, as Markdown, and as an HTML page that has the name of the Markdown
 * file with the ending ".html". */
typedef struct organ_report_files {
    const char *json;     /* "purify.json"; next to X.gguf the file is "X.purify.json" */
    const char *markdown; /* "PURIFY_REPORT.md"; next to X.gguf the file is "X.PURIFY_REPORT.md" */
    const char *lines;    /* "prune.jsonl", a file that the caller writes to organ_output_report_path; NULL: none */
} organ_report_files;

/* A view: how the documents of one schema are printed, and how a model names the verb that has written it. */
typedef struct organ_view {
    const char *schema; /* the member "schema" of these documents: "organ.purify/1" */
    /* words for the page: the sort of report, its subject (NULL: the name of report.model), and its result */
    const char *kind, *title, *lead;
    /* returns the report extended by values that only the view needs, as the row of the blocks; NULL: the report itself
     * is the row */
    json_t *(*make)(const json_t *report);
    const organ_block *blocks;
    size_t count;
    bool only_text; /* the terminal's text is for other programs: its last line does not name what bound the run */
    organ_report_files files; /* all NULL: the verb writes no report next to its output or to -o */
    /* The verb, if its output is a model that keeps this report ("lora merge"); NULL: the output is none. */
    const char *made_by;
    const char *method; /* words for the method of that model; NULL: parameters.method of the report */
} organ_view;

/* Initializers of a block's inner blocks: from an array, or listed in place. */
#define BLOCKS_OF(list) .blocks = (list), .count = sizeof(list) / sizeof *(list)

#define BLOCKS(...)                                                                                                    \
    .blocks = (const organ_block[]){__VA_ARGS__},                                                                      \
    .count = sizeof((const organ_block[]){__VA_ARGS__}) / sizeof(organ_block)

/* Initializers of a block, by its kind: `places` are the flags ON_... of `on`; `if_` is `when`, `text` is `words`,
 * `path` is `rows`, `only` is `where`, `before` is `lead`. Further arguments initialize other members: of the block's
 * style (BARS, MAP, ...) or of the block itself (PART, EACH, ...). */
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
#define CHECKS(places, if_, path)          BLOCK(CHECKS, places, if_, .rows = (path))
#define CAUTIONS(places, if_, path, title) BLOCK(CAUTIONS, places, if_, .rows = (path), .words = (title))
#define TERMS(places, if_, path, of, mean) BLOCK(TERMS, places, if_, .rows = (path), .lead = (of), .words = (mean))
#define BARS(if_, path, ...)               BARS_WHERE(if_, path, NULL, __VA_ARGS__)
#define BARS_WHERE(if_, path, only, ...)                                                                               \
    BLOCK(BARS, ON_PAGE, if_, .rows = (path), .where = (only), .bars = &(const organ_bars_of){__VA_ARGS__})
#define HIGHLIGHTS(if_, list) HIGHLIGHTS_OF(if_, NULL, list)
#define HIGHLIGHTS_OF(if_, path, list)                                                                                 \
    BLOCK(HIGHLIGHTS, ON_PAGE, if_, .items = &(const organ_items_of){.of = (path), ITEM_LIST(list)})
#define MAP(if_, path, ...)  BLOCK(MAP, ON_PAGE, if_, .rows = (path), .map = &(const organ_map_of){__VA_ARGS__})
#define PANELS(if_, of)      BLOCK(PANELS, ON_PAGE, if_, .panels = (of))
#define GRID(if_, path, ...) BLOCK(GRID, ON_PAGE, if_, .rows = (path), .grid = &(const organ_grid_of){__VA_ARGS__})
#define CURVES(if_, path, ...)                                                                                         \
    BLOCK(CURVES, ON_PAGE, if_, .rows = (path), .curves = &(const organ_curves_of){__VA_ARGS__})
#define POINTS(if_, path, only, ...)                                                                                   \
    BLOCK(POINTS, ON_PAGE, if_, .rows = (path), .where = (only), .points = &(const organ_points_of){__VA_ARGS__})
#define FIGURE(if_, function, text) BLOCK(FIGURE, ON_PAGE, if_, .draw = (function), .words = (text))
/* Example: PART(ON_ALL, "path", BLOCKS(...)) */
#define PART(places, path, ...)          PART_IF(places, NULL, path, __VA_ARGS__)
#define PART_IF(places, if_, path, ...)  BLOCK(PART, places, if_, .rows = (path), __VA_ARGS__)
#define MADE(places, if_, function, ...) BLOCK(MADE, places, if_, .make = (function), __VA_ARGS__)
/* Example: EACH(ON_ALL, "rows", BLOCKS(...), .where = "b", .max = 20, .rest = "And {more} more.") */
#define EACH(places, path, ...)         EACH_IF(places, NULL, path, __VA_ARGS__)
#define EACH_IF(places, if_, path, ...) BLOCK(EACH, places, if_, .rows = (path), __VA_ARGS__)
#define PAGE_ENDING                     BLOCK(ENDING, ON_PAGE, NULL, .words = NULL)
/* Example: TOGETHER(ON_ALL, NULL, "rows", BLOCKS(...), .where = "b") */
#define TOGETHER(places, if_, path, ...) BLOCK(TOGETHER, places, if_, .rows = (path), __VA_ARGS__)
/* clang-format off */
#define DEFINITIONS \
    SECTION(ON_MARKDOWN, NULL, "Definitions"), TERMS(ON_MARKDOWN, NULL, "/definitions", NULL, NULL)
/* clang-format on */

/* ---- a value for every role in every layer ---- */

/* A value for every role in every layer, collected tensor by tensor. Heat maps and line charts over the layers are
 * drawn from it. */

#define ORGAN_LAYER_MAP_ROLES 32 /* limit of roles; further ones count as the last, unless in_order_of_rows */

typedef struct organ_layer_map_note organ_layer_map_note;

/* The rule that combines several values of one cell. */
typedef enum organ_layer_map_fold { ORGAN_FOLD_MEAN, ORGAN_FOLD_MIN, ORGAN_FOLD_MAX } organ_layer_map_fold;

/* A value for every role in every layer. The caller sets the first two members before it adds values;
 * organ_layer_map_finish computes the others. */
typedef struct organ_layer_map {
    organ_layer_map_fold fold;
    /* keep roles in the order of their first values, and ignore all after the first ORGAN_LAYER_MAP_ROLES */
    bool in_order_of_rows;
    size_t layers, roles; /* their numbers; 0: the map is empty */
    bool outside;         /* the last layer stands for the tensors outside layers, and `layers` includes it */
    double *layer; /* numbers of the layers, ascending; with `outside` the last is one more than its predecessor */
    const char *role[ORGAN_LAYER_MAP_ROLES]; /* in the order of a layer's computation, unless in_order_of_rows */
    double *value;                           /* [roles][layers]; NAN: no such tensor */
    bool *marked;                            /* [roles][layers]: the cell is outlined */
    organ_layer_map_note *notes;             /* the values and marks that were added: an array of `count` */
    size_t count, capacity;                  /* capacity: allocated length of `notes` */
    bool failed;                             /* memory ran out */
} organ_layer_map;

/* Returns the member "layer" of a row; -1: the row belongs to no layer. */
long long organ_row_layer(const json_t *row);

/* Creates an empty map; NULL if out of memory. All functions below accept NULL and then do nothing or draw no chart. */
organ_layer_map *organ_layer_map_create(void);
void organ_layer_map_destroy(organ_layer_map *map);

/* Adds the value of one tensor to the cell of its layer and role; layer < 0: outside the layers. Values of the same
 * cell are combined by `fold`; a mean is weighted by `weight`, which is above 0. A value that is NAN (for a mean, also
 * an infinite one) only creates the cell. `role` must outlive the map. */
void organ_layer_map_add(organ_layer_map *map, long long layer, const char *role, double value, double weight);

/* Outlines the cell of a layer and role, which is created if it has no value. */
void organ_layer_map_mark(organ_layer_map *map, long long layer, const char *role);

/* Computes the layers, roles and values; no value may be added afterwards. Returns false if out of memory or if the map
 * is empty. */
bool organ_layer_map_finish(organ_layer_map *map);

/* Returns an SVG document with roles as rows and layers as columns. Takes layers, roles, values and marks from the map;
 * the columns are labelled "layer". Takes all other words, and the scale, from `style` (row_label NULL: "role").
 * Returns NULL if memory ran out or the map has no cells. */
char *organ_layer_map_svg(const organ_layer_map *map, const organ_heat_map *style);

/* ---- selections of a document's rows ---- */

/* Selects the rows that satisfy the condition `where` (NULL: all), and expands the words `same` over each of them.
 * Merges rows with the same expanded text: the result has a copy of the first of these rows, with their number as
 * member "count". The caller releases the result with organ_json_release_rows; NULL if out of memory. */
json_t *organ_rows_merged(const json_t *report, const json_t *rows, const char *where, const char *same);

/* ---- printing a view for a terminal, as Markdown or as a page ---- */

/* Prints a view of the report as text for a terminal of the width and encoding in `page`. `tensors`: includes the
 * blocks marked ON_TENSORS. The caller frees *text, which is NULL on error. Returns ORGAN_IO if out of memory. */
organ_status organ_view_terminal(const organ_view *view, const json_t *report, const organ_page *page, bool tensors,
                                 char **text, organ_error *error);
/* Prints a view as Markdown. *text and the returned status are as with organ_view_terminal. */
organ_status organ_view_markdown(const organ_view *view, const json_t *report, char **text, organ_error *error);
/* Prints a view as an HTML page. *text and the returned status are as with organ_view_terminal. The page ends with the
 * report's definitions and run, unless an ENDING block printed them before. */
organ_status organ_view_page(const organ_view *view, const json_t *report, char **text, organ_error *error);

/* Draws one chart with panels as an SVG document, which the caller frees; *svg is NULL on error. If no row of the
 * report belongs to a layer, the chart is one empty panel with the words "no values". Returns ORGAN_IO if out of
 * memory. */
organ_status organ_panels_svg(const organ_panels_of *panels, const json_t *report, char **svg, organ_error *error);

/* ---- the writers of a view ---- */

/* The writers of a view: functions that print blocks to a terminal's text, a Markdown file or a page, and the state of
 * one pass over the blocks. */

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

/* Returns the template `words` for an HTML page, with members of the walk's row and report in
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
