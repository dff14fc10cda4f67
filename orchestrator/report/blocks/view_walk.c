/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/blocks.h"

#include "formats/base/rows.h"
#include <organ/base.h>
#include <organ/machine.h>

#include <stdint.h>
#include <stdlib.h>

enum { MAX_HIGHLIGHTS = 16, ITEM_COLUMNS = 4 }; /* limits: results at the top of a page; columns of values in ITEMS */

static char *walk_words_of(organ_view_walk *walk, const char *words)
{
    char *const text = organ_words_text(&walk->scope, words, walk->writer->form);
    if (!text)
        organ_block_lacks_memory(walk);
    return text;
}

/* NULL if there is no value at block->rows; without block->rows, the result is the walk's row. */
static const json_t *walk_rows_of(const organ_view_walk *walk, const organ_block *block)
{
    return block->rows ? organ_scope_at(&walk->scope, block->rows) : walk->scope.row;
}

/* ---- words and tables ---- */

static void put_words(organ_view_walk *walk, const organ_block *block)
{
    ORGAN_OWNED char *const text = walk_words_of(walk, block->words);
    if (text)
        walk->writer->words(walk, block, text);
}

static void put_table_of(organ_view_walk *walk, organ_table *table, const char *caption)
{
    ORGAN_OWNED char *const text = caption ? walk_words_of(walk, caption) : NULL;
    walk->writer->table(walk, table, text && *text ? text : NULL);
}

static void put_cut_note(organ_view_walk *walk, size_t max, size_t count, const char *what)
{
    static const char said[] = "The table shows the first %s of %s %s; the JSON report has all.";
    char shown[32], all[32];
    organ_count_text(max, shown);
    organ_count_text(count, all);
    if (walk->html) {
        organ_html_paragraph(walk->html, said, shown, all, what);
        return;
    }
    fputc('\n', walk->out);
    fprintf(walk->out, said, shown, all, what);
    fputc('\n', walk->out);
}

static void put_table(organ_view_walk *walk, const organ_block *block)
{
    const organ_table_of *const style = block->table;
    json_t *const rows = organ_block_rows(walk, block);
    const size_t max = walk->writer->form != ORGAN_WORDS_TERMINAL && style->max ? style->max : SIZE_MAX;
    ORGAN_OWNED char *const total = style->total ? organ_words_text(&walk->scope, style->total, ORGAN_WORDS_PAGE)
                                                 : NULL; /* a table escapes its cells */
    organ_field fields[ORGAN_FIELDS_MAX];
    size_t count = 0;
    for (size_t k = 0; k < style->count && count < ORGAN_FIELDS_MAX; k++)
        if (organ_scope_holds(&(organ_scope){walk->scope.report, walk->scope.report}, style->fields[k].when))
            fields[count++] = style->fields[k];
    organ_table *const table = organ_field_table(fields, count, rows, max);
    if (style->total || style->sums)
        organ_table_totals(table);
    if (style->sums)
        organ_field_rows(table, fields, count, style->sums_name, organ_scope_at(&walk->scope, style->sums));
    if (style->total && !total)
        organ_table_take(table, /*text=*/NULL); /* memory ran out: makes the table fail */
    if (total)
        organ_field_row(table, fields, count, total, organ_scope_at(&walk->scope, style->total_row));
    put_table_of(walk, table, style->caption);
    if (style->what && json_array_size(rows) > max)
        put_cut_note(walk, max, json_array_size(rows), style->what);
    organ_json_release_rows(rows);
}

/* Stores the objects of the columns of values in rows[]; returns their number. */
static size_t value_rows(const organ_view_walk *walk, const organ_items_of *style, const json_t *rows[ITEM_COLUMNS])
{
    const json_t *const of = style->of ? organ_scope_at(&walk->scope, style->of) : NULL;
    const size_t count = json_array_size(of) < ITEM_COLUMNS ? json_array_size(of) : ITEM_COLUMNS;
    for (size_t k = 0; k < count; k++)
        rows[k] = organ_json_row_at(of, k);
    if (style->of)
        return count;
    rows[0] = walk->scope.row;
    return 1;
}

/* Column k has the sentences of the array `list` of rows[k]; shorter arrays get empty cells. */
static void list_rows(organ_table *table, const char *list, const json_t *const *rows, size_t count)
{
    size_t max = 0;
    for (size_t k = 0; k < count; k++)
        max = json_array_size(organ_json_at(rows[k], list)) > max ? json_array_size(organ_json_at(rows[k], list)) : max;
    for (size_t at = 0; at < max; at++)
        for (size_t k = 0; k < count; k++)
            organ_table_cell(table, "%s", organ_json_text(organ_json_row_at(organ_json_at(rows[k], list), at), ""));
}

static void put_items(organ_view_walk *walk, const organ_block *block)
{
    const organ_items_of *const style = block->items;
    const json_t *rows[ITEM_COLUMNS];
    char *titles[ITEM_COLUMNS];
    organ_column columns[ITEM_COLUMNS + 1] = {{.title = style->name, .align = ORGAN_LEFT}};
    const size_t names = style->name != NULL /* 1 column or none */, count = value_rows(walk, style, rows);
    for (size_t k = 0; k < count; k++) {
        titles[k] = organ_words_text(&(organ_scope){walk->scope.report, rows[k]}, style->value, ORGAN_WORDS_PAGE);
        columns[names + k] = (organ_column){.title = titles[k] ? titles[k] : "", .align = style->align};
    }
    organ_table *const table = organ_table_create(columns, names + count);
    for (size_t i = 0; i < style->count; i++) {
        if (!organ_scope_holds(&walk->scope, style->items[i].when))
            continue;
        if (names) /* a table escapes its cells itself */
            organ_table_take(table, organ_words_text(&walk->scope, style->items[i].name, ORGAN_WORDS_PAGE));
        for (size_t k = 0; k < count; k++)
            organ_table_take(table, organ_words_text(&(organ_scope){walk->scope.report, rows[k]}, style->items[i].value,
                                                     ORGAN_WORDS_PAGE));
    }
    if (style->list)
        list_rows(table, style->list, rows, count);
    put_table_of(walk, table, style->caption);
    for (size_t k = 0; k < count; k++)
        free(titles[k]);
}

/* The results at the top of a page. */
typedef struct highlights {
    organ_html_metric figures[MAX_HIGHLIGHTS];
    char *texts[2 * MAX_HIGHLIGHTS]; /* value and name of each */
    size_t count;
} highlights;

/* Adds the item for the walk's row if its condition holds and there is room. */
static void add_highlight(organ_view_walk *walk, const organ_item *item, highlights *made)
{
    if (made->count == MAX_HIGHLIGHTS || !organ_scope_holds(&walk->scope, item->when))
        return;
    char *const value = walk_words_of(walk, item->value), *const name = walk_words_of(walk, item->name);
    made->texts[2 * made->count] = value;
    made->texts[2 * made->count + 1] = name;
    made->figures[made->count++] = (organ_html_metric){value ? value : "", name ? name : ""};
}

static void put_highlights(organ_view_walk *walk, const organ_block *block)
{
    const organ_items_of *const style = block->items;
    const json_t *const own = walk->scope.row, *const rows = style->of ? organ_scope_at(&walk->scope, style->of) : NULL;
    const size_t first = style->of != NULL, room = MAX_HIGHLIGHTS + first - style->count;
    highlights made = {.count = 0};
    for (size_t k = 0; k < json_array_size(rows) && made.count < room; k++) {
        walk->scope.row = organ_json_row_at(rows, k);
        add_highlight(walk, &style->items[0], &made);
    }
    walk->scope.row = own;
    for (size_t k = first; k < style->count; k++)
        add_highlight(walk, &style->items[k], &made);
    organ_html_metrics(walk->html, made.figures, made.count);
    for (size_t k = 0; k < 2 * made.count; k++)
        free(made.texts[k]);
}

static void put_figure(organ_view_walk *walk, const organ_block *block)
{
    ORGAN_OWNED char *const caption = walk_words_of(walk, block->words);
    organ_html_chart(walk->html, block->draw(walk->scope.row), caption ? caption : "");
}

/* ---- the walk ---- */

static void end_list(organ_view_walk *walk)
{
    organ_html_list(walk->html, walk->items);
    organ_clear_json(&walk->items);
}

static void walk_blocks(organ_view_walk *walk, const organ_block *blocks, size_t count);

/* The recursion is as deep as the constant tables of the view. */
static void walk_row(organ_view_walk *walk, const organ_block *block, const json_t *row)
{
    const json_t *const before = walk->scope.row;
    walk->scope.row = row;
    walk_blocks(walk, block->blocks, block->count);
    walk->scope.row = before;
}

static void put_rest_note(organ_view_walk *walk, const organ_block *block, size_t all)
{
    const organ_block say = {.kind = ORGAN_BLOCK_SAY, .on = block->on, .lead = block->lead, .words = block->rest};
    ORGAN_OWNED_JSON json_t *const row =
        ORGAN_OBJECT(SET_COUNT("more", all - block->max), SET_COUNT("all", all), SET_COUNT("most", block->max));
    if (row)
        walk_row(walk, &(organ_block){.blocks = &say, .count = 1}, row);
    else
        organ_block_lacks_memory(walk);
}

static void walk_each(organ_view_walk *walk, const organ_block *block)
{
    json_t *const rows = organ_block_rows(walk, block);
    const size_t all = json_array_size(rows), shown = block->max && block->max < all ? block->max : all;
    for (size_t k = 0; k < shown; k++)
        walk_row(walk, block, organ_json_row_at(rows, k));
    if (block->rest && shown < all)
        put_rest_note(walk, block, all);
    organ_json_release_rows(rows);
}

/* Walks the inner blocks once, over one row whose member "rows" holds all selected rows. If the block selects no row,
 * prints nothing. */
static void walk_together(organ_view_walk *walk, const organ_block *block)
{
    json_t *const rows = organ_block_rows(walk, block), *const row = ORGAN_OBJECT(SET_HELD("rows", rows));
    if (!row)
        organ_block_lacks_memory(walk);
    else if (json_array_size(rows) > 0)
        walk_row(walk, block, row);
    json_decref(row);
    organ_json_release_rows(rows);
}

static void put_list(organ_view_walk *walk, const organ_block *block)
{
    const json_t *const rows = walk_rows_of(walk, block);
    if (json_array_size(rows) + json_object_size(rows) > 0)
        walk->writer->list(walk, block, rows);
}

static void put_part(organ_view_walk *walk, const organ_block *block)
{
    if (json_is_object(walk_rows_of(walk, block)))
        walk_row(walk, block, walk_rows_of(walk, block));
}

static void put_ending(organ_view_walk *walk, const organ_block *block)
{
    (void)block;
    organ_html_ending(walk->html, json_object_get(walk->scope.row, "definitions"),
                      json_object_get(walk->scope.row, "run"));
    walk->ended = true;
}

static void walk_made_row(organ_view_walk *walk, const organ_block *block)
{
    ORGAN_OWNED_JSON json_t *const made = block->make(walk->scope.row);
    if (made)
        walk_row(walk, block, made);
    else
        organ_block_lacks_memory(walk);
}

static void (*const put_kind[])(organ_view_walk *walk, const organ_block *block) = {
    [ORGAN_BLOCK_HEADING] = put_words,       [ORGAN_BLOCK_LINES] = put_words,
    [ORGAN_BLOCK_SECTION] = put_words,       [ORGAN_BLOCK_SAY] = put_words,
    [ORGAN_BLOCK_WARN] = put_words,          [ORGAN_BLOCK_COMMAND] = put_words,
    [ORGAN_BLOCK_ITEM] = put_words,          [ORGAN_BLOCK_TABLE] = put_table,
    [ORGAN_BLOCK_ITEMS] = put_items,         [ORGAN_BLOCK_HIGHLIGHTS] = put_highlights,
    [ORGAN_BLOCK_CHECKS] = put_list,         [ORGAN_BLOCK_CAUTIONS] = put_list,
    [ORGAN_BLOCK_TERMS] = put_list,          [ORGAN_BLOCK_BARS] = organ_bars_put,
    [ORGAN_BLOCK_MAP] = organ_map_put,       [ORGAN_BLOCK_PANELS] = organ_panels_put,
    [ORGAN_BLOCK_GRID] = organ_grid_put,     [ORGAN_BLOCK_CURVES] = organ_curves_put,
    [ORGAN_BLOCK_POINTS] = organ_points_put, [ORGAN_BLOCK_ENDING] = put_ending,
    [ORGAN_BLOCK_FIGURE] = put_figure,       [ORGAN_BLOCK_PART] = put_part,
    [ORGAN_BLOCK_MADE] = walk_made_row,      [ORGAN_BLOCK_EACH] = walk_each,
    [ORGAN_BLOCK_TOGETHER] = walk_together};

static void walk_blocks(organ_view_walk *walk, const organ_block *blocks, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        if (!(blocks[k].on & walk->on) || !organ_scope_holds(&walk->scope, blocks[k].when))
            continue;
        if (walk->items && blocks[k].kind != ORGAN_BLOCK_ITEM && blocks[k].kind != ORGAN_BLOCK_EACH)
            end_list(walk);
        put_kind[blocks[k].kind](walk, &blocks[k]);
    }
}

/* ---- the three outputs ---- */

/* The last line on a terminal, in the reports of all verbs with workers. */
static const organ_block bound_line =
    LINES("!dry_run&run.activity",
          "Bound by {run.activity.bound=processor?the processor|{run.activity.bound=one_thread?one "
          "thread|{run.activity.bound=waiting?workers that wait for each other|{run.activity.bound}}}} "
          "({run.activity.bound_share:%.0f}).\n");

/* The row of the blocks is the report or, if the view has `make`, the object that it returns. */
static void walk_view(organ_view_walk *walk, const organ_view *view)
{
    const organ_block all = {.kind = view->make ? ORGAN_BLOCK_MADE : ORGAN_BLOCK_PART,
                             .on = walk->on,
                             .make = view->make,
                             .blocks = view->blocks,
                             .count = view->count};
    walk_blocks(walk, &all, 1);
}

static organ_status write_text(organ_view_walk *walk, const organ_view *view, const json_t *report, char **text,
                               organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    walk->scope = (organ_scope){report, report};
    walk->out = buffer.out;
    walk->error = error;
    const organ_memory_work work = organ_memory_work_begin();
    walk_view(walk, view);
    if (walk->on & ON_TERMINAL && !view->only_text)
        walk_blocks(walk, &bound_line, 1);
    organ_text_end(&buffer, text, error);
    if (organ_memory_work_end(&work, /*document=*/NULL, "a report", error) != ORGAN_OK)
        organ_clear(text);
    return error->status;
}

organ_status organ_view_terminal(const organ_view *view, const json_t *report, const organ_page *page, bool tensors,
                                 char **text, organ_error *error)
{
    organ_view_walk walk = {
        .writer = &organ_writer_terminal, .on = ON_TERMINAL | (tensors ? ON_TENSORS : 0), .page = page};
    return write_text(&walk, view, report, text, error);
}

organ_status organ_view_markdown(const organ_view *view, const json_t *report, char **text, organ_error *error)
{
    organ_view_walk walk = {.writer = &organ_writer_markdown, .on = ON_MARKDOWN};
    return write_text(&walk, view, report, text, error);
}

organ_status organ_view_page(const organ_view *view, const json_t *report, char **text, organ_error *error)
{
    const organ_scope scope = {report, report};
    char *const kind = organ_words_text(&scope, view->kind, ORGAN_WORDS_PAGE),
                *const title = organ_words_text(&scope, view->title ? view->title : "{model.name}", ORGAN_WORDS_PAGE),
                *const lead = organ_words_text(&scope, view->lead, ORGAN_WORDS_PAGE);
    organ_view_walk walk = {.writer = &organ_writer_page, .on = ON_PAGE, .scope = scope, .error = error};
    if (kind && title && lead)
        walk.html = organ_html_create(kind, title, *lead ? lead : NULL, error);
    else
        organ_fail(error, ORGAN_IO, "no memory for a page");
    ORGAN_FREE_ARRAYS(kind, title, lead);
    *text = NULL;
    if (!walk.html)
        return error->status;
    walk_view(&walk, view);
    end_list(&walk);
    if (!walk.ended)
        put_ending(&walk, /*block=*/NULL);
    return organ_html_finish(walk.html, text, error);
}
