/* SPDX-License-Identifier: MIT
 * Tests of heat maps, rankings and scatter charts: well-formed for any input, marks at the right places, limited
 * size. */
#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/svg/svg_parts.h"
#include "tests/kit/comma_locale.h"

#include "tests/kit/suite_table.h"
#include "tests/kit/svg_reader.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *heat(const organ_heat_map *map)
{
    organ_error error = {0};
    char *svg = NULL;
    ck_assert_msg(organ_heat_map_svg(map, &svg, &error) == ORGAN_OK, "%s", error.message);
    svg_must_be_well_formed(svg);
    return svg;
}

static char *rank(const organ_ranking *ranking)
{
    organ_error error = {0};
    char *svg = NULL;
    ck_assert_msg(organ_ranking_svg(ranking, &svg, &error) == ORGAN_OK, "%s", error.message);
    svg_must_be_well_formed(svg);
    return svg;
}

static char *scatter_of(const organ_scatter *scatter)
{
    organ_error error = {0};
    char *svg = NULL;
    ck_assert_msg(organ_scatter_svg(scatter, &svg, &error) == ORGAN_OK, "%s", error.message);
    svg_must_be_well_formed(svg);
    return svg;
}

static void must_have(const char *svg, const char *what) { ck_assert_msg(strstr(svg, what) != NULL, "no '%s'", what); }

/* ---- heat maps ---- */

static const char *const rows[] = {"q_proj", "k_proj"};
static const double values[] = {0, 5, 10, 2.5, NAN, 7.5};
static const bool marked[] = {false, true, false, false, false, false};
static const organ_heat_map small = {.title = "small",
                                     .description = "Six cells.",
                                     .row_label = "projection",
                                     .column_label = "layer",
                                     .value_label = "percent",
                                     .rows = 2,
                                     .columns = 3,
                                     .row_names = rows,
                                     .values = values,
                                     .marked = marked,
                                     .mark_name = "a well"};

START_TEST(cells_have_colour_text_and_tip)
{
    char *svg = heat(&small);
    must_have(svg, "class=\"oc-q0\"><title>q_proj, layer 0: 0</title>");
    must_have(svg, "class=\"oc-q10\"><title>q_proj, layer 1: 5 (a well)</title>");
    must_have(svg, "class=\"oc-q20\"><title>q_proj, layer 2: 10</title>");
    must_have(svg, "class=\"oc-q5\"><title>k_proj, layer 0: 2.5</title>");
    must_have(svg, "<title>k_proj, layer 1: no value</title>");
    must_have(svg, "class=\"oc-tq20\">10.0</text>");
    must_have(svg, "class=\"oc-tq5\">2.5</text>");
    must_have(svg, ">a well</text>");
    must_have(svg, ">no value</text>");
    ck_assert_uint_eq(count_in(svg, "oc-gleam\" d="), 2); /* the cell, and its sample in the legend */
    free(svg);
}
END_TEST

START_TEST(cells_are_listed)
{
    char *svg = heat(&small); /* the three layers are rows */
    must_have(
        svg,
        "<metadata>layer \\ projection\tq_proj\tk_proj\t\n0\t0\t2.5\t\n1\t5 (a well)\t\t\n2\t10\t7.5\t\n</metadata>");
    free(svg);
}
END_TEST

/* Colours and digits show differences in their true size. */
START_TEST(small_differences_look_small)
{
    static const double near[] = {50.001, 49.999, 50.004, 50, 49.998, 50.002}, tiny[] = {0, 0.0004, 20, 10, 5, 0};
    organ_heat_map map = small;
    map.values = near;
    char *svg = heat(&map);
    ck_assert_uint_eq(count_in(svg, "class=\"oc-tq10\">50.0</text>"), 6);
    must_have(svg, ">49.5</text>");
    must_have(svg, ">50.5</text>");
    free(svg);
    map.values = tiny;
    svg = heat(&map);
    must_have(svg, ">0.0004</text>");
    ck_assert_uint_eq(count_in(svg, ">0.0</text>"), 2);
    free(svg);
}
END_TEST

START_TEST(scale_may_be_given_and_diverge)
{
    organ_heat_map map = small;
    map.low = -10;
    map.high = 10;
    map.diverging = true;
    char *svg = heat(&map);
    must_have(svg, "class=\"oc-d10\"><title>q_proj, layer 0: 0</title>");
    must_have(svg, "class=\"oc-d20\"><title>q_proj, layer 2: 10</title>");
    must_have(svg, ">-10</text>");
    free(svg);
    map.high = -5; /* all values are above the range and get its colour */
    svg = heat(&map);
    must_have(svg, "class=\"oc-d20\"><title>q_proj, layer 0: 0</title>");
    free(svg);
}
END_TEST

START_TEST(many_cells_are_means)
{
    enum { SIDE = 300 };
    double *const many = malloc(SIDE * SIDE * sizeof *many);
    ck_assert_ptr_nonnull(many);
    for (size_t k = 0; k < SIDE * SIDE; k++)
        many[k] = k / SIDE % 2 ? 1 : 3; /* rows of 1 and 3: means of an even number of them are 2 */
    const organ_heat_map map = {.title = "many",
                                .description = "",
                                .row_label = "row",
                                .column_label = "column",
                                .value_label = "v",
                                .rows = SIDE,
                                .columns = SIDE,
                                .values = many,
                                .low = 1,
                                .high = 3};
    char *svg = heat(&map);
    ck_assert_uint_le(count_in(svg, "<title>row "), 4096);
    ck_assert_uint_ge(count_in(svg, "<title>row "), 2048);
    must_have(svg, "each cell is the mean of ");
    ck_assert_uint_lt(strlen(svg), 600000);
    free(svg);
    organ_heat_map plain = map;
    plain.plain = true;
    svg = heat(&plain);
    ck_assert_uint_eq(count_in(svg, "<title>"), 1);
    ck_assert_uint_lt(strlen(svg), 200000);
    free(svg);
    free(many);
}
END_TEST

START_TEST(odd_shapes_are_drawn)
{
    static const size_t shapes[][2] = {{0, 0}, {1, 1}, {1, 5000}, {5000, 1}, {0, 7}, {3, 700}};
    double *const some = calloc(5000, sizeof *some);
    ck_assert_ptr_nonnull(some);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int kind = 0; kind < 6; kind++) {
            static const double hard[] = {NAN, 0, 1e308, 5e-324, -1e15, INFINITY};
            for (size_t k = 0; k < 5000; k++)
                some[k] = k % 3 ? hard[kind] : hard[(kind + 1) % 6];
            const organ_heat_map map = {.title = "t",
                                        .description = "d",
                                        .row_label = "r",
                                        .column_label = "c",
                                        .value_label = "v",
                                        .rows = shapes[s][0],
                                        .columns = shapes[s][1],
                                        .values = some,
                                        .diverging = kind % 2,
                                        .plain = kind > 3};
            free(heat(&map));
        }
    free(some);
}
END_TEST

/* ---- rankings ---- */

START_TEST(bars_end_at_their_values)
{
    const organ_ranking_bar bars[] = {{.name = "parent", .remark = "of 8", .value = {10, 5}, .low = 8, .high = 12},
                                      {.name = "child", .value = {4.25, NAN}, .depth = 1}};
    const organ_ranking ranking = {.title = "t",
                                   .description = "d",
                                   .value_label = "percent",
                                   .series = {"own", "whole"},
                                   .digits = 4,
                                   .unit = " %",
                                   .bars = bars,
                                   .count = 2};
    char *svg = rank(&ranking);
    must_have(svg, "class=\"oc-mark oc-f0\"><title>parent, own: 10.00 %</title>");
    must_have(svg, "class=\"oc-mark oc-f1\"><title>parent, whole: 5.00 %</title>");
    must_have(svg, "<title>child, own: 4.25 %</title>");
    ck_assert_ptr_null(strstr(svg, "child, whole"));
    must_have(svg, ">of 8</text>");
    must_have(svg, "class=\"oc-whisker\"");
    /* both bars of the parent begin at zero; one is twice as long */
    double width[2];
    for (int k = 0; k < 2; k++) {
        const char *bar = strstr(svg, k ? "oc-f1\"><title>parent" : "oc-f0\"><title>parent");
        while (strncmp(bar, "width=\"", 7) != 0)
            bar--;
        width[k] = strtod(bar + 7, NULL);
    }
    ck_assert_double_eq_tol(width[0], 2 * width[1], 0.02);
    free(svg);
}
END_TEST

START_TEST(only_the_first_bars_are_drawn)
{
    organ_ranking_bar bars[100];
    for (size_t k = 0; k < 100; k++)
        bars[k] = (organ_ranking_bar){.name = "b", .value = {(double)k - 50, 0}};
    const organ_ranking ranking = {.title = "t",
                                   .description = "d",
                                   .value_label = "v",
                                   .series = {"s", NULL},
                                   .digits = 3,
                                   .bars = bars,
                                   .count = 100};
    char *svg = rank(&ranking);
    ck_assert_uint_eq(count_in(svg, "<title>b: "), 60);
    must_have(svg, "the first 60 of 100");
    free(svg);
}
END_TEST

/* ---- scatter ---- */

START_TEST(points_are_where_they_should_be)
{
    static const char *const kinds[] = {"K", "C"};
    const organ_point points[] = {{.x = 1, .y = 10, .name = "first", .named = true},
                                  {.x = 100, .y = 20, .name = "second", .joined = true},
                                  {.x = 10, .y = 15, .kind = 1},
                                  {.x = 0, .y = 5},
                                  {.x = NAN, .y = 5}};
    const organ_scatter scatter = {.title = "t",
                                   .description = "d",
                                   .x_label = "x",
                                   .y_label = "y",
                                   .log_x = true,
                                   .kinds = kinds,
                                   .kind_count = 2,
                                   .points = points,
                                   .count = 5};
    char *svg = scatter_of(&scatter);
    must_have(svg, "<title>first: 1, 10</title>");
    must_have(svg, "<title>second: 100, 20</title>");
    must_have(svg, "<title>C: 10, 15</title>");
    must_have(svg, "2 of 5 are outside the plot");
    must_have(svg, ">first</text>");
    ck_assert_ptr_null(strstr(svg, ">second</text>"));
    ck_assert_uint_eq(count_in(svg, "class=\"oc-line oc-s0\""), 1);
    free(svg);
}
END_TEST

START_TEST(kinds_are_told_apart_and_listed)
{
    enum { KINDS = 9 };
    static const char *const kinds[KINDS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    organ_point points[KINDS];
    organ_scatter scatter = {
        .title = "t", .description = "d", .x_label = "x", .y_label = "y", .kinds = kinds, .kind_count = KINDS};
    for (unsigned k = 0; k < KINDS; k++) {
        points[k] = (organ_point){.x = 50, .y = 7, .kind = k, .name = "n", .joined = k > 0};
        for (unsigned j = 0; j < k; j++)
            ck_assert(j % 6 != k % 6 || organ_svg_shape(j) != organ_svg_shape(k));
    }
    scatter.points = points;
    scatter.count = KINDS;
    char *svg = scatter_of(&scatter);
    must_have(svg, "<metadata>what\tkind\tx\ty\t\nn\ta\t50\t7\t\nn\tb\t50\t7\t\n");
    must_have(svg, "<path d=\"M503 282a3"); /* a single point is in the middle of both axes: at 506, 282 */
    free(svg);
    scatter.listed = true;
    svg = scatter_of(&scatter);
    ck_assert_ptr_null(strstr(svg, "<metadata>"));
    free(svg);
}
END_TEST

/* ---- all charts ---- */

START_TEST(hostile_names_are_shown)
{
    for (size_t k = 0; k < HOSTILE_NAMES; k++) {
        const char *const name = hostile_names[k], *const names[] = {name, name, name};
        const organ_heat_map map = {.title = name,
                                    .subtitle = name,
                                    .description = name,
                                    .row_label = name,
                                    .column_label = name,
                                    .value_label = name,
                                    .rows = 2,
                                    .columns = 3,
                                    .row_names = names,
                                    .column_names = names,
                                    .values = values,
                                    .marked = marked,
                                    .mark_name = name};
        const organ_ranking_bar bars[] = {{.name = name, .remark = name, .value = {1, 2}, .depth = 30}};
        const organ_ranking ranking = {.title = name,
                                       .subtitle = name,
                                       .description = name,
                                       .value_label = name,
                                       .series = {name, name},
                                       .digits = 3,
                                       .unit = name,
                                       .bars = bars,
                                       .count = 1};
        const organ_point points[] = {{.x = 1, .y = 1, .kind = 7, .name = name, .named = true}};
        const organ_scatter scatter = {.title = name,
                                       .subtitle = name,
                                       .description = name,
                                       .x_label = name,
                                       .y_label = name,
                                       .kinds = names,
                                       .kind_count = 3,
                                       .points = points,
                                       .count = 1};
        char *const svgs[] = {heat(&map), rank(&ranking), scatter_of(&scatter)};
        for (size_t s = 0; s < 3; s++) {
            ck_assert_ptr_null(strstr(svgs[s], "<script"));
            ck_assert_ptr_null(strstr(svgs[s], "\xe2\x80\xae"));
            free(svgs[s]);
        }
    }
}
END_TEST

START_TEST(hard_values_are_drawn)
{
    static const double hard[] = {NAN, 0, 1e308, -1e308, 5e-324, -1, INFINITY, 1e15};
    enum { COUNT = sizeof hard / sizeof *hard };
    static const char *const kinds[] = {"k"};
    for (size_t a = 0; a < COUNT; a++)
        for (size_t b = 0; b < COUNT; b++)
            for (int log = 0; log < 4; log++) {
                const organ_point points[] = {{.x = hard[a], .y = hard[b]},
                                              {.x = hard[b], .y = hard[a], .joined = true}};
                const organ_scatter scatter = {.title = "t",
                                               .description = "d",
                                               .x_label = "x",
                                               .y_label = "y",
                                               .log_x = log & 1,
                                               .log_y = log & 2,
                                               .kinds = kinds,
                                               .kind_count = 1,
                                               .points = points,
                                               .count = log == 3 ? 0 : 2};
                free(scatter_of(&scatter));
                const organ_ranking_bar bars[] = {
                    {.name = "n", .value = {hard[a], hard[b]}, .low = hard[b], .high = hard[a]}};
                const organ_ranking ranking = {.title = "t",
                                               .description = "d",
                                               .value_label = "v",
                                               .series = {"s", log ? "t" : NULL},
                                               .digits = 1 + log,
                                               .bars = bars,
                                               .count = log != 2};
                free(rank(&ranking));
            }
}
END_TEST

START_TEST(no_locale_changes_them)
{
    char *const before = heat(&small);
    comma_locale_begin();
    char *const after = heat(&small);
    setlocale(LC_NUMERIC, "C"); /* for the next test of this process */
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
}
END_TEST

Suite *svg_maps_suite(void)
{
    const suite_case cases[] = {
        {"heat maps",
         {cells_have_colour_text_and_tip, cells_are_listed, small_differences_look_small,
          scale_may_be_given_and_diverge, many_cells_are_means, odd_shapes_are_drawn}},
        {"rankings", {bars_end_at_their_values, only_the_first_bars_are_drawn}},
        {"scatter", {points_are_where_they_should_be, kinds_are_told_apart_and_listed}},
        {"all", {hostile_names_are_shown, hard_values_are_drawn, no_locale_changes_them}},
    };
    return suite_of("svg maps", cases, sizeof cases / sizeof *cases, NULL, NULL);
}
