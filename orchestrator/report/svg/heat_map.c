/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg.h"

#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 960,
    LEFT = 20,
    RIGHT = 20,
    SCALE_STEP = 11,   /* width of a colour in the key */
    TITLE_ROW = 26,    /* y of the title */
    STEPS = 21,        /* colours of a scale */
    MAX_CELLS = 4096,  /* cells of the picture */
    MAX_SIDE = 256,    /* rows, and columns, of the picture */
    LONGEST_NAME = 30, /* characters of a name */
    DIGITS = 3         /* significant digits of a number */
};

#define LEAST_SPAN   0.02 /* of a scale, relative to its largest absolute value */
#define EQUAL_MARGIN 0.05 /* on both sides of a value that all cells have, relative to it */
#define LEAST_MARGIN 0.5  /* at least this on both sides */
#define LONG_INTEGER 1e6  /* from here on, whole numbers are shortened like others */

typedef struct heat_map_drawing {
    const organ_heat_map *map;
    FILE *out;
    size_t row_step, column_step;           /* rows and columns of the map that are merged into one of the picture */
    size_t rows, columns;                   /* of the picture */
    double *values;                         /* [rows][columns] of the picture; NaN: no value */
    bool *marked;                           /* [rows][columns] of the picture */
    double low, high;                       /* ends of the colour scale */
    int decimals;                           /* of numbers in cells; negative: each has three significant digits */
    bool gaps, marks;                       /* some cells have no value; some are marked */
    double left, top;                       /* of the first cell */
    double cell_width, cell_height, height; /* height: of the whole chart */
    double names_height;                    /* of the column names below the cells */
    bool slanted;                           /* column names are slanted */
    double text_size;                       /* of numbers in cells; 0: no numbers */
} heat_map_drawing;

/* ---- the picture's cells ---- */

/* Begins with the smallest steps that give at most MAX_SIDE rows and columns. While the picture has more than
 * MAX_CELLS cells, adds 1 to row_step if it has more rows than columns, else to column_step. */
static void choose_steps(heat_map_drawing *d)
{
    d->row_step = (d->map->rows + MAX_SIDE - 1) / MAX_SIDE;
    d->column_step = (d->map->columns + MAX_SIDE - 1) / MAX_SIDE;
    d->row_step += d->row_step == 0;
    d->column_step += d->column_step == 0;
    for (;;) {
        d->rows = (d->map->rows + d->row_step - 1) / d->row_step;
        d->columns = (d->map->columns + d->column_step - 1) / d->column_step;
        if (d->rows * d->columns <= MAX_CELLS)
            return;
        if (d->rows > d->columns)
            d->row_step++;
        else
            d->column_step++;
    }
}

static void fold_cell(heat_map_drawing *d, size_t row, size_t column)
{
    const organ_heat_map *const m = d->map;
    double sum = 0, count = 0;
    bool marked = false;
    for (size_t r = row * d->row_step; r < m->rows && r < (row + 1) * d->row_step; r++)
        for (size_t c = column * d->column_step; c < m->columns && c < (column + 1) * d->column_step; c++) {
            const size_t at = r * m->columns + c;
            marked = marked || (m->marked && m->marked[at]);
            if (isfinite(m->values[at])) {
                sum += m->values[at];
                count++;
            }
        }
    d->values[row * d->columns + column] = count > 0 ? sum / count : (double)NAN;
    d->marked[row * d->columns + column] = marked;
    d->gaps = d->gaps || count == 0;
    d->marks = d->marks || marked;
}

/* The range is that of the map. If the map has none, it is the range of the values, widened if all values are equal
 * or nearly equal. */
static void choose_range(heat_map_drawing *d, organ_extent values)
{
    const bool given = d->map->low != d->map->high;
    d->low = given ? d->map->low : values.low;
    d->high = given ? d->map->high : values.high;
    if (d->low > d->high) { /* no finite value */
        d->low = 0;
        d->high = 1;
    } else if (d->low == d->high) {
        const double margin = fmax(fabs(d->low) * EQUAL_MARGIN, LEAST_MARGIN); /* any: there is one colour */
        d->low -= margin;
        d->high += margin;
    } else if (!given && d->high - d->low < LEAST_SPAN * fmax(fabs(d->low), fabs(d->high))) {
        /* nearly equal values get nearly the same colour */
        const double middle = (d->low + d->high) / 2, margin = LEAST_SPAN / 2 * fmax(fabs(d->low), fabs(d->high));
        d->low = middle - margin;
        d->high = middle + margin;
    }
}

/* None if all values are whole numbers, such as ranks; else as many as give the largest three significant digits. */
static void choose_decimals(heat_map_drawing *d, organ_extent values)
{
    const double most = values.low <= values.high ? fmax(fabs(values.low), fabs(values.high)) : 0,
                 largest = fmax(fmax(fabs(d->low), fabs(d->high)), most);
    bool integers = true;
    for (size_t k = 0; k < d->rows * d->columns; k++)
        integers = integers && (!isfinite(d->values[k]) || d->values[k] == floor(d->values[k]));
    d->decimals = integers && largest < LONG_INTEGER ? 0 : organ_decimals_for(largest, DIGITS);
}

static void choose_scale(heat_map_drawing *d)
{
    organ_extent values = ORGAN_EXTENT_NONE;
    for (size_t k = 0; k < d->rows * d->columns; k++)
        organ_extent_widen(&values, d->values[k]);
    choose_range(d, values);
    choose_decimals(d, values);
}

/* ---- numbers ---- */

/* The number has d->decimals decimals, as in all cells of the map, but one significant digit if these decimals would
 * show a value other than 0 as 0. If d->decimals is negative, each number has three significant digits. */
static const char *value_text(const heat_map_drawing *d, double value, char out[32])
{
    if (d->decimals >= 0 && value != 0 && fabs(value) < 0.5 * pow(10, -d->decimals))
        return organ_number_text(value, 1, out);
    return d->decimals < 0 ? organ_number_text(value, DIGITS, out) : organ_fixed_text(value, d->decimals, out);
}

/* Returns the index of the value's colour, 0 to STEPS - 1. */
static unsigned colour_of(const heat_map_drawing *d, double value)
{
    const double place = (value - d->low) / (d->high - d->low);
    return (unsigned)lround(fmin(fmax(place, 0), 1) * (STEPS - 1));
}

static char ramp_of(const heat_map_drawing *d) { return d->map->diverging ? 'd' : 'q'; }

static const char *name_of(const char *const *names, size_t at, char number[32])
{
    if (names)
        return names[at];
    snprintf(number, 32, "%zu", at);
    return number;
}

/* ---- layout ---- */

/* In pixels. Of numbers, which stand for names that are NULL, the last is the widest. */
static double widest_name(const char *const *names, size_t count)
{
    char number[32];
    double width = 0;
    if (!names)
        return count ? organ_svg_pixels(name_of(/*names=*/NULL, count - 1, number)) : 0;
    for (size_t k = 0; k < count; k++)
        width = fmax(width, organ_svg_pixels(names[k]));
    return fmin(width, 6.6 * LONGEST_NAME);
}

/* Digits are 0.58 times as wide as the text is high; numbers of less than 8 pixels are not legible, so not drawn. */
static void choose_text_size(heat_map_drawing *d)
{
    size_t longest = 1;
    char text[32];
    for (size_t k = 0; k < d->rows * d->columns; k++)
        if (isfinite(d->values[k]))
            longest = fmax(longest, strlen(value_text(d, d->values[k], text)));
    const double size = fmin((d->cell_width - 3) / (0.58 * (double)longest), 12);
    d->text_size = !d->map->plain && size >= 8 && d->cell_height >= size + 3 ? size : 0;
}

/* The label is horizontal above the rows if it is longer than all rows together are high. Otherwise it is upright,
 * left of the rows. */
static bool is_row_label_horizontal(const heat_map_drawing *d)
{
    return organ_svg_pixels(d->map->row_label) > d->cell_height * (double)d->rows;
}

static void arrange(heat_map_drawing *d)
{
    const organ_heat_map *const m = d->map;
    const bool square = m->plain && !m->row_names && !m->column_names;
    const double column_names = widest_name(m->column_names, m->columns);
    d->left = 44 + widest_name(m->row_names, m->rows) + 8;
    d->cell_width = fmin((WIDTH - d->left - RIGHT) / (double)(d->columns ? d->columns : 1), square ? 40 : 150);
    d->cell_height = d->rows <= 16 ? 27 : fmax(440.0 / (double)d->rows, 3);
    if (square) { /* cells of a map of tiles are square as far as the limits permit */
        const double max = 600.0 / (double)(d->rows ? d->rows : 1);
        d->cell_height = fmax(fmin(d->cell_width, max), 3);
        d->cell_width = fmin(d->cell_width, fmax(d->cell_height, 3));
    }
    /* Names of at most 6 characters are not slanted: if not all fit, put_column_names leaves some out. */
    d->slanted = column_names > 6 * 6.6 && column_names + 8 > d->cell_width;
    d->names_height = d->slanted ? 16 + column_names * 0.62 : 20; /* 0.62: sine of the slant of 38 degrees */
    d->top = TITLE_ROW + (m->subtitle || d->row_step * d->column_step > 1 ? 20 : 0) + 58 +
             (is_row_label_horizontal(d) ? 10 : 0);
    d->height = ceil(d->top + d->cell_height * (double)d->rows + d->names_height + 30);
    choose_text_size(d);
}

/* ---- cells ---- */

static double x_of(const heat_map_drawing *d, size_t column) { return d->left + d->cell_width * (double)column; }

static double y_of(const heat_map_drawing *d, size_t row) { return d->top + d->cell_height * (double)row; }

static void put_cell_path(const heat_map_drawing *d, size_t row, size_t column, double width)
{
    ORGAN_SVG(d->out, "M%f %fh%fv%fh-%fz", x_of(d, column), y_of(d, row), width, d->cell_height, width);
}

static void put_tip(const heat_map_drawing *d, size_t row, size_t column)
{
    char number[32];
    const organ_heat_map *const m = d->map;
    const size_t at = row * d->columns + column;
    fputs("<title>", d->out);
    if (!m->row_names) {
        organ_svg_text(d->out, m->row_label, 40);
        fputc(' ', d->out);
    }
    organ_svg_text(d->out, name_of(m->row_names, row * d->row_step, number), 80);
    fputs(", ", d->out);
    if (!m->column_names) {
        organ_svg_text(d->out, m->column_label, 40);
        fputc(' ', d->out);
    }
    organ_svg_text(d->out, name_of(m->column_names, column * d->column_step, number), 80);
    fprintf(d->out, ": %s", isfinite(d->values[at]) ? organ_number_text(d->values[at], 4, number) : "no value");
    if (d->marked[at] && m->mark_name) {
        fputs(" (", d->out);
        organ_svg_text(d->out, m->mark_name, 60);
        fputc(')', d->out);
    }
    fputs("</title>", d->out);
}

static void put_cell(const heat_map_drawing *d, size_t row, size_t column)
{
    char text[32];
    const double value = d->values[row * d->columns + column];
    const unsigned step = isfinite(value) ? colour_of(d, value) : 0;
    fputs("<path d=\"", d->out);
    put_cell_path(d, row, column, d->cell_width);
    if (!isfinite(value)) {
        ORGAN_SVG(d->out, "m0 %fL%f %f\" class=\"oc-void\" pointer-events=\"all\">", d->cell_height,
                  x_of(d, column) + d->cell_width, y_of(d, row));
    } else
        fprintf(d->out, "\" class=\"oc-%c%u\">", ramp_of(d), step);
    put_tip(d, row, column);
    fputs("</path>\n", d->out);
    if (!isfinite(value) || d->text_size <= 0)
        return;
    ORGAN_SVG(d->out, "<text x=\"%f\" y=\"%f\"", x_of(d, column) + d->cell_width / 2,
              y_of(d, row) + d->cell_height / 2 + d->text_size * 0.35);
    fprintf(d->out, " class=\"oc-t%c%u\">%s</text>\n", ramp_of(d), step, value_text(d, value, text));
}

/* Cells of this colour that are neighbours in a row are one rectangle. */
static void put_colour(const heat_map_drawing *d, unsigned step)
{
    bool open = false;
    for (size_t r = 0; r < d->rows; r++)
        for (size_t c = 0; c < d->columns; c++) {
            const double *const row = &d->values[r * d->columns];
            size_t end = c;
            while (end < d->columns && isfinite(row[end]) && colour_of(d, row[end]) == step)
                end++;
            if (end == c)
                continue;
            if (!open)
                fprintf(d->out, "<path class=\"oc-%c%u\" d=\"", ramp_of(d), step);
            open = true;
            put_cell_path(d, r, c, d->cell_width * (double)(end - c));
            c = end;
        }
    if (open)
        fputs("\"/>\n", d->out);
}

/* In a plain map all cells of a colour are one path, which makes the file of a large map small. */
static void put_cells(const heat_map_drawing *d)
{
    if (d->map->plain)
        for (unsigned step = 0; step < STEPS; step++)
            put_colour(d, step);
    ORGAN_SVG(d->out, "<g class=\"oc-cell\" text-anchor=\"middle\" font-size=\"%f\">\n",
              d->text_size > 0 ? d->text_size : 10);
    for (size_t k = 0; k < d->rows * d->columns; k++)
        if (!d->map->plain || !isfinite(d->values[k]))
            put_cell(d, k / d->columns, k % d->columns);
    fputs("</g>\n", d->out);
    for (size_t k = 0; k < d->rows * d->columns; k++)
        if (d->marked[k])
            for (int highlight = 0; highlight < 2; highlight++)
                ORGAN_SVG(d->out,
                          highlight ? "<path class=\"oc-gleam\" d=\"M%f %fh%fv%fh-%fz\"/>\n"
                                    : "<path class=\"oc-rim\" d=\"M%f %fh%fv%fh-%fz\"/>\n",
                          x_of(d, k % d->columns) + 2, y_of(d, k / d->columns) + 2, d->cell_width - 4,
                          d->cell_height - 4, d->cell_width - 4);
}

/* ---- names and scale ---- */

/* Returns the smallest n of 1, 2, 5, 10, 20, ... for which names of `name_size` pixels do not overlap if only every
 * n-th is written; the cells are `pitch` pixels apart. */
static size_t names_step(double pitch, double name_size)
{
    static const unsigned char steps[] = {1, 2, 5};
    for (size_t k = 0, decade = 1; k < 24; k++, decade *= k % 3 == 0 ? 10 : 1)
        if (pitch * (double)(steps[k % 3] * decade) >= name_size)
            return steps[k % 3] * decade;
    return 1000000000; /* only the first name */
}

static void put_row_names(const heat_map_drawing *d)
{
    char number[32];
    const size_t step = names_step(d->cell_height, 11);
    for (size_t r = 0; r < d->rows; r += step)
        organ_svg_label(d->out, d->left - 7, y_of(d, r) + d->cell_height / 2 + 4, " oc-tick", "end",
                        name_of(d->map->row_names, r * d->row_step, number), LONGEST_NAME);
    if (is_row_label_horizontal(d)) {
        organ_svg_label(d->out, LEFT, d->top - 6, "", "start", d->map->row_label, 40);
        return;
    }
    organ_svg_upright(d->out, d->top + d->cell_height * (double)d->rows / 2, d->map->row_label, 40);
}

static void put_column_names(const heat_map_drawing *d)
{
    char number[32];
    const double y = d->top + d->cell_height * (double)d->rows;
    const double needed_width = d->slanted ? 12 : widest_name(d->map->column_names, d->map->columns) + 6;
    const size_t step = names_step(d->cell_width, needed_width);
    for (size_t c = 0; c < d->columns; c += step) {
        const char *const name = name_of(d->map->column_names, c * d->column_step, number);
        const double x = x_of(d, c) + d->cell_width / 2;
        if (!d->slanted) {
            organ_svg_label(d->out, x, y + 16, " oc-tick", "middle", name, LONGEST_NAME);
            continue;
        }
        ORGAN_SVG(d->out,
                  "<text transform=\"translate(%f %f) rotate(-38)\" class=\"oc-text oc-tick\" text-anchor=\"end\">",
                  x + 4, y + 13);
        organ_svg_text(d->out, name, LONGEST_NAME);
        fputs("</text>\n", d->out);
    }
    organ_svg_label(d->out, d->left + d->cell_width * (double)d->columns / 2, d->height - 10, "", "middle",
                    d->map->column_label, 60);
}

/* ---- the numbers ---- */

static void put_name_of(const heat_map_drawing *d, bool row, size_t k)
{
    char number[32];
    organ_svg_numbers_text(d->out, row ? name_of(d->map->row_names, k * d->row_step, number)
                                       : name_of(d->map->column_names, k * d->column_step, number));
}

/* The longer side of the picture has the rows of the table. */
static void put_numbers(const heat_map_drawing *d)
{
    const bool turned = d->columns > d->rows;
    const size_t down = turned ? d->columns : d->rows, across = turned ? d->rows : d->columns;
    char text[128], number[32];
    if (down == 0 || across == 0)
        return;
    organ_svg_numbers_begin(d->out);
    snprintf(text, sizeof text, "%.50s \\ %.50s", turned ? d->map->column_label : d->map->row_label,
             turned ? d->map->row_label : d->map->column_label);
    organ_svg_numbers_text(d->out, text);
    for (size_t a = 0; a < across; a++)
        put_name_of(d, turned, a);
    organ_svg_numbers_row(d->out);
    for (size_t k = 0; k < down; k++) {
        put_name_of(d, !turned, k);
        for (size_t a = 0; a < across; a++) {
            const size_t at = turned ? a * d->columns + k : k * d->columns + a;
            snprintf(text, sizeof text, "%s%s%.60s%s",
                     isfinite(d->values[at]) ? organ_number_text(d->values[at], 4, number) : "",
                     d->marked[at] ? " (" : "", d->marked[at] && d->map->mark_name ? d->map->mark_name : "",
                     d->marked[at] ? ")" : "");
            organ_svg_numbers_text(d->out, text);
        }
        organ_svg_numbers_row(d->out);
    }
    organ_svg_numbers_end(d->out);
}

static void put_key(const heat_map_drawing *d)
{
    char number[32];
    const double y = d->top - 46 - (is_row_label_horizontal(d) ? 10 : 0), left = LEFT + 8,
                 end = left + STEPS * SCALE_STEP;
    double x = end + 26;
    for (unsigned k = 0; k < STEPS; k++) {
        ORGAN_SVG(d->out, "<path d=\"M%f %fh%fv12h-%fz\"", left + SCALE_STEP * (double)k, y, SCALE_STEP, SCALE_STEP);
        fprintf(d->out, " class=\"oc-%c%u\"/>\n", ramp_of(d), k);
    }
    for (int k = 0; k < 3; k++)
        organ_svg_label(d->out, left + (end - left) * k / 2, y + 25, " oc-tick", "middle",
                        organ_number_text(d->low + (d->high - d->low) * k / 2, 3, number), 16);
    organ_svg_label(d->out, x, y + 10, "", "start", d->map->value_label, 80);
    x += organ_svg_pixels_cut(d->map->value_label, 80) + 26;
    if (d->marks && d->map->mark_name) {
        ORGAN_SVG(
            d->out,
            "<path class=\"oc-rim\" d=\"M%f %fh14v10h-14z\"/>\n<path class=\"oc-gleam\" d=\"M%f %fh14v10h-14z\"/>\n", x,
            y + 1, x, y + 1);
        organ_svg_label(d->out, x + 22, y + 10, "", "start", d->map->mark_name, 40);
        x += 22 + organ_svg_pixels_cut(d->map->mark_name, 40) + 24;
    }
    if (d->gaps) {
        ORGAN_SVG(d->out, "<path class=\"oc-void\" d=\"M%f %fh16v12h-16zm0 12l16-12\"/>\n", x, y);
        organ_svg_label(d->out, x + 22, y + 10, "", "start", "no value", 20);
    }
}

static void put_heat_map(const heat_map_drawing *d)
{
    char note[80] = "";
    if (d->row_step * d->column_step > 1)
        snprintf(note, sizeof note, "each cell is the mean of %zu x %zu", d->row_step, d->column_step);
    organ_svg_begin(d->out, WIDTH, d->height, d->map->title, d->map->description, organ_svg_heat_style);
    organ_svg_head(d->out, LEFT, d->map->title, d->map->subtitle, note, 125);
    put_key(d);
    put_cells(d);
    ORGAN_SVG(d->out, "<path class=\"oc-axis\" d=\"M%f %fh%fv%fh-%fz\"/>\n", d->left, d->top,
              d->cell_width * (double)d->columns, d->cell_height * (double)d->rows, d->cell_width * (double)d->columns);
    put_row_names(d);
    put_column_names(d);
    if (d->rows * d->columns == 0)
        organ_svg_label(d->out, WIDTH / 2.0, d->top + 10, " oc-faint", "middle", "no values", 32);
    put_numbers(d);
    fputs("</svg>\n", d->out);
}

organ_status organ_heat_map_svg(const organ_heat_map *map, char **svg, organ_error *error)
{
    heat_map_drawing d = {.map = map};
    organ_text text;
    *svg = NULL;
    choose_steps(&d);
    const size_t cells = d.rows * d.columns;
    d.values = calloc(cells + 1, sizeof *d.values);
    d.marked = calloc(cells + 1, sizeof *d.marked);
    if (!d.values || !d.marked)
        organ_fail(error, ORGAN_IO, "no memory for a chart");
    else if (organ_text_open(&text, error) == ORGAN_OK) {
        for (size_t k = 0; k < cells; k++)
            fold_cell(&d, k / d.columns, k % d.columns);
        choose_scale(&d);
        arrange(&d);
        d.out = text.out;
        put_heat_map(&d);
        organ_text_finish(&text, svg, error);
    }
    ORGAN_FREE_ARRAYS(d.values, d.marked);
    return error->status;
}
