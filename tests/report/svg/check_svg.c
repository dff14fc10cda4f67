/* SPDX-License-Identifier: MIT
 * Tests of charts: well-formed for any input, always the same bytes, marks at the right places. `build/tests/svg
 * --print NAME` writes one of the charts of the tests to stdout, to look at; "small" is the golden file. */
#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/svg/svg_parts.h"
#include "tests/kit/comma_locale.h"

#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/svg_reader.h"

#include <locale.h>
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 9
static const double places[PLACES] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

/* ---- charts ---- */

static const double small_a[] = {0.5, 0.25, NAN, 0.75}, small_b[] = {0.125, 0.375, 0.625, 0.5},
                    small_r[] = {0.4, 0.4, 0.4, 0.4};
static const double *const small_y[] = {small_a, small_b, small_r};
static const double small_low[] = {0.3, 0.3, 0.35, 0.35}, small_high[] = {0.5, 0.5, 0.45, 0.45};
static const organ_chart_series small_series[] = {
    {"measured & found", 0, false}, {"again", 1, false}, {"expected", 0, true}};
static const organ_chart_panel small_panel[] = {{"q_proj", 4, places, small_y, small_low, small_high}};
static const organ_chart small = {.title = "A small chart",
                                  .subtitle = "of two series",
                                  .description = "Two series over four layers.",
                                  .x_label = "layer",
                                  .y_label = "share",
                                  .whole_x = true,
                                  .series = small_series,
                                  .series_count = 3,
                                  .band_name = "usual",
                                  .panels = small_panel,
                                  .panel_count = 1};

static char *draw(const organ_chart *chart)
{
    organ_error error = {0};
    char *svg = NULL;
    ck_assert_msg(organ_chart_svg(chart, &svg, &error) == ORGAN_OK, "%s", error.message);
    return svg;
}

/* ---- tests ---- */

START_TEST(golden_chart)
{
    char *svg = draw(&small);
    size_t size;
    char *golden = slurp("tests/report/svg/small_chart.svg", &size);
    svg_must_be_well_formed(svg);
    ck_assert_ptr_nonnull(golden);
    ck_assert_msg(strlen(svg) == size && memcmp(svg, golden, size) == 0,
                  "differs from tests/report/svg/small_chart.svg");
    free(golden);
    free(svg);
}
END_TEST

START_TEST(no_locale_shows)
{
    char *plain = draw(&small);
    comma_locale_begin();
    char *again = draw(&small);
    setlocale(LC_NUMERIC, "C"); /* for the next test of this process */
    ck_assert_str_eq(plain, again);
    free(plain);
    free(again);
}
END_TEST

START_TEST(marks_lie_at_their_values)
{
    char *svg = draw(&small);
    /* axis 0 to 1 over 320 pixels; the lowest grid line is 0, the highest 1 */
    const char *const grid = strstr(svg, "class=\"oc-grid\" d=\"M76 ");
    ck_assert_ptr_nonnull(grid);
    const double zero = strtod(strstr(grid, "M76 ") + 4, NULL);
    ck_assert_msg(count_in(svg, "<title>measured &amp; found, layer") == 3, "a gap has a mark");
    ck_assert_uint_eq(count_in(svg, "<title>again, layer"), 4);
    ck_assert_uint_eq(count_in(svg, "<title>expected"), 0);
    const char *mark = strstr(svg, "<title>measured &amp; found, layer 0: 0.5<");
    ck_assert_ptr_nonnull(mark);
    while (strncmp(mark, "d=\"M", 4) != 0)
        mark--;
    char *behind;
    const double x = strtod(mark + 4, &behind) + 3, y = strtod(behind, NULL);
    ck_assert_double_eq_tol(x, 76 + (960 - 96) * 0.6 / 4.2, 0.011);
    ck_assert_double_eq_tol(zero - y, 320 * 0.5 / 0.8, 0.011); /* the axis ends at 0.8, above the tick at 0.75 */
    free(svg);
}
END_TEST

/* A band without a lower end reaches the bottom (428), and an axis has the range of its chart. */
START_TEST(bands_and_axes_end_where_they_should)
{
    static const double open[] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    organ_chart_panel panel = small_panel[0];
    organ_chart chart = small;
    panel.band_low = open;
    chart.panels = &panel;
    char *svg = draw(&chart);
    ck_assert(strstr(svg, "class=\"oc-band\" d=\"M96.57 428V228H302.29") &&
              strstr(svg, "H919.43V428H713.71V428H508V428H302.29V428z"));
    free(svg);
    chart.min_span = 100;
    svg = draw(&chart);
    ck_assert(strstr(svg, ">-40</text>") && strstr(svg, ">40</text>"));
    free(svg);
}
END_TEST

START_TEST(bars_stand_at_whole_places)
{
    static const double y[] = {-1, 2, 0}, limit[] = {1, 1, 1};
    const double *const ys[] = {y, limit};
    const organ_chart_series series[] = {{"share", 3, false}, {"limit", 0, true}};
    const organ_chart_panel panel = {NULL, 3, places, ys, NULL, NULL};
    const organ_chart chart = {.title = "t",
                               .x_label = "projection",
                               .y_label = "y",
                               .bars = true,
                               .whole_x = true,
                               .series = series,
                               .series_count = 2,
                               .panels = &panel,
                               .panel_count = 1};
    char *svg = draw(&chart);
    svg_must_be_well_formed(svg);
    for (size_t k = 0; k < 3; k++) {
        char label[40];
        snprintf(label, sizeof label, ">%zu</text>", k);
        ck_assert_msg(strstr(svg, label), "no label %s", label);
    }
    ck_assert(strstr(svg, "class=\"oc-mark oc-f3\"><title>share, projection 0: -1</title>") &&
              strstr(svg, "share, projection 2: 0<"));
    ck_assert_uint_eq(count_in(svg, "class=\"oc-ref\""), 2); /* the line, and its sample in the legend */
    free(svg);
}
END_TEST

START_TEST(any_names_are_shown)
{
    const double y[] = {1, 2, 3};
    const double *const ys[] = {y};
    for (size_t k = 0; k < HOSTILE_NAMES; k++)
        for (int bars = 0; bars < 2; bars++) {
            const organ_chart_series series[] = {{hostile_names[k], 7, false}};
            const organ_chart_panel panel[] = {{hostile_names[k], 3, places, ys, y, y}};
            const organ_chart chart = {.title = hostile_names[k],
                                       .subtitle = hostile_names[k],
                                       .description = hostile_names[k],
                                       .x_label = hostile_names[k],
                                       .y_label = hostile_names[k],
                                       .series = series,
                                       .series_count = 1,
                                       .band_name = hostile_names[k],
                                       .panels = panel,
                                       .panel_count = 1,
                                       .bars = bars};
            char *svg = draw(&chart);
            svg_must_be_well_formed(svg);
            ck_assert_ptr_null(strstr(svg, "<script"));
            ck_assert_ptr_null(strstr(svg, "\xe2\x80\xae"));
            free(svg);
        }
}
END_TEST

/* Values that are difficult to draw, one row each. */
static const double hard[][PLACES] = {
    {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
    {0, 0, 0, 0, 0, 0, 0, 0, 0},
    {1e308, -1e308, 0, 1, 2, 3, 4, 5, INFINITY},
    {5e-324, 1e-310, 0, 0, 0, 0, 0, 0, 0},
    {1e-300, 1e300, 1, 1e100, 1e-100, -1, 0, NAN, -INFINITY},
    {1e15, 1e15 + 1, 1e15 + 2, 1e15, 1e15, 1e15, 1e15, 1e15, 1e15},
    {NAN, 7, NAN, NAN, 7, NAN, 7, NAN, NAN},
    {-3e-5, -2e-5, -1e-5, 0, 1e-5, 2e-5, 3e-5, 4e-5, 5e-5},
    {1.7976931348623157e308, 1.7976931348623157e308, 0, 0, 0, 0, 0, 0, 0},
};

START_TEST(any_values_are_drawn)
{
    static const size_t counts[] = {PLACES, 1, 0};
    const organ_chart_series series[] = {{"one", 4, false}, {"two", 5, false}, {"three", 0, true}};
    for (size_t k = 0; k < sizeof hard / sizeof *hard; k++)
        for (int kind = 0; kind < 4; kind++)
            for (size_t n = 0; n < 3; n++) {
                const double *const ys[] = {hard[k], NULL, hard[k]};
                const organ_chart_panel panels[] = {{NULL, counts[n], places, ys, hard[k], hard[k]},
                                                    {"none", 0, NULL, ys, NULL, NULL}};
                const organ_chart chart = {.title = "t",
                                           .x_label = "x",
                                           .y_label = "y",
                                           .series = series,
                                           .series_count = 3,
                                           .band_name = "band",
                                           .panels = panels,
                                           .panel_count = 1 + n % 2,
                                           .bars = kind & 1,
                                           .log_y = kind & 2,
                                           .whole_x = n == 1};
                char *svg = draw(&chart);
                svg_must_be_well_formed(svg);
                if (k == 0 || counts[n] == 0)
                    ck_assert_uint_ge(count_in(svg, ">no values<"), 1);
                free(svg);
            }
    const organ_chart nothing = {.title = "nothing"};
    char *svg = draw(&nothing);
    svg_must_be_well_formed(svg);
    free(svg);
}
END_TEST

START_TEST(ticks_are_round)
{
    static const struct {
        double low, high;
        bool log, whole;
        const char *texts;
    } rows[] = {
        {0, 1, false, false, "0.0 0.2 0.4 0.6 0.8 1.0"},
        {-0.013, 0.021, false, false, "-0.02 -0.01 0.00 0.01 0.02 0.03"},
        {0, 27, false, true, "0 10 20 30"},
        {3, 3, false, true, "3 4"},
        {0.1, 0.3, false, false, "0.10 0.15 0.20 0.25 0.30"},
        {1200, 98000, false, false, "0 20000 40000 60000 80000 100000"},
        {0.3, 2, true, false, "0.1 0.2 0.5 1 2 5 10"},
        {1e-7, 1e-2, true, false, "10⁻⁷ 10⁻⁶ 10⁻⁵ 0.0001 0.001 0.01"},
        {1, 0, false, false, "0.0 0.2 0.4 0.6 0.8 1.0"},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char all[512] = "";
        organ_tick ticks[ORGAN_MAX_TICKS];
        const organ_scale scale = organ_scale_over(rows[k].low, rows[k].high, 5, rows[k].log, rows[k].whole);
        const size_t count = organ_scale_ticks(&scale, ticks);
        for (size_t t = 0; t < count; t++)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", t ? " " : "", ticks[t].text);
        ck_assert_str_eq(all, rows[k].texts);
        ck_assert_double_eq_tol(ticks[0].at, 0, 1e-12);
        ck_assert_double_eq_tol(ticks[count - 1].at, 1, 1e-12);
    }
}
END_TEST

START_TEST(numbers_are_short)
{
    static const struct {
        double value;
        int digits;
        const char *text;
    } rows[] = {{0, 4, "0"},
                {-0.0, 4, "0"},
                {1, 4, "1"},
                {-120, 4, "-120"},
                {0.00412, 4, "0.00412"},
                {1.5e-7, 4, "1.5e-7"},
                {123456, 4, "123500"},
                {12.34567, 4, "12.35"},
                {9.9999, 3, "10"},
                {1e9, 4, "1e9"},
                {-2.5e300, 4, "-2.5e300"},
                {0.0001, 4, "0.0001"},
                {5e-324, 4, "4.941e-324"},
                {100000000, 9, "100000000"}};
    char out[32];
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        ck_assert_str_eq(organ_number_text(rows[k].value, rows[k].digits, out), rows[k].text);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        organ_error error = {0};
        char *svg = NULL;
        if (organ_chart_svg(&small, &svg, &error) == ORGAN_OK)
            fputs(svg, stdout);
        free(svg);
        return error.status;
    }
    const suite_case cases[] = {
        {"charts",
         {golden_chart, no_locale_shows, marks_lie_at_their_values, bands_and_axes_end_where_they_should,
          bars_stand_at_whole_places, any_names_are_shown, any_values_are_drawn}},
        {"axes", {ticks_are_round, numbers_are_short}},
    };
    return run_suites(
        (Suite *const[]){suite_of("svg", cases, sizeof cases / sizeof *cases, NULL, NULL), svg_maps_suite(), NULL});
}
