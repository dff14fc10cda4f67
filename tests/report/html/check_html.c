/* SPDX-License-Identifier: MIT
 * Tests of report pages: any report gives a complete, well-formed HTML document of limited size that loads nothing, or
 * none when memory runs out. The program is linked with --wrap for the allocation functions. `build/tests/html --print`
 * writes the page of a large generated report to stdout, to look at. */
#include "orchestrator/report/html/page.h"
#include "orchestrator/report/svg/svg.h"
#include <organ/report.h>

#include "tests/kit/effort.h"
#include "tests/kit/html_reader.h"
#include "tests/kit/memory_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/svg_reader.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reports to render ---- */

static json_t *counts_json(json_int_t elements, json_int_t killed)
{
    return json_pack("{s:I, s:I, s:f}", "elements", elements, "killed", killed, "percent",
                     100.0 * (double)killed / (double)elements);
}

static json_t *tensor_json(const char *prefix, size_t layer, const char *module)
{
    char name[400];
    const json_int_t elements = 4096 * 4096,
                     killed = (json_int_t)(3600000 + 2000 * layer + 300 * (unsigned char)module[0]);
    snprintf(name, sizeof name, "%s.layers.%zu.%s.weight", prefix, layer, module);
    json_t *const row = counts_json(elements, killed);
    json_object_set_new(row, "name", json_string(name));
    json_object_set_new(row, "module", json_string(module));
    json_object_set_new(row, "layer", json_integer((json_int_t)layer));
    json_object_set_new(row, "expert", json_null());
    json_object_set_new(row, "dtype", json_string("BF16"));
    json_object_set_new(row, "shape", json_pack("[i, i]", 4096, 4096));
    json_object_set_new(row, "zero_before", json_integer(0));
    json_object_set_new(row, "kept", json_integer(elements - killed));
    return row;
}

static json_t *tile_map_json(const char *tensor)
{
    json_t *const killed = json_array();
    for (int k = 0; k < 1024; k++)
        json_array_append_new(killed, json_integer(3000 + k % 700));
    return json_pack("{s:s, s:f, s:f, s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "tensor", tensor, "percent", 22.5, "mean",
                     21.5, "matrices", 1, "matrix_rows", 4096, "matrix_cols", 4096, "tile", 128, "rows", 32, "cols", 32,
                     "killed", killed);
}

/* Makes the report of a pruning of that number of layers of seven projections; `name` is every name in it and
 * must be valid UTF-8. */
static json_t *prune_report(size_t layers, const char *name)
{
    static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};
    json_t *const tensors = json_array(), *const by_layer = json_array(), *const projections = json_array();
    for (size_t l = 0; l < layers; l++) {
        for (size_t m = 0; m < 7; m++)
            json_array_append_new(tensors, tensor_json(name, l, modules[m]));
        json_t *const row = counts_json(7 * 16777216, 7 * 3600000 + (json_int_t)l);
        json_object_set_new(row, "layer", json_integer((json_int_t)l));
        json_object_set_new(row, "tensors", json_integer(7));
        json_array_append_new(by_layer, row);
    }
    for (size_t m = 0; m < 7; m++) {
        json_t *const row = counts_json((json_int_t)layers * 16777216, (json_int_t)layers * 3600000);
        json_object_update_new(row, json_pack("{s:s, s:I, s:f, s:f, s:f}", "name", m ? modules[m] : name, "tensors",
                                              (json_int_t)layers, "mean", 21.5, "min", 21.0, "max", 22.5));
        json_array_append_new(projections, row);
    }
    json_t *const report =
        json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:s, s:i}, s:{s:s, s:s}, s:{s:o, s:o}}", "schema", "organ.prune/1",
                  "definition", "physarum-v1/1", "dry_run", 0, "donor", "name", name, "format", "safetensors",
                  "architecture", name, "files", 3, "parameters", "method", "physarum-v1", "targets", name, "totals",
                  "target", counts_json(7 * (json_int_t)layers * 16777216, 7 * (json_int_t)layers * 3600000), "full",
                  counts_json(9 * (json_int_t)layers * 16777216, 7 * (json_int_t)layers * 3600000));
    json_object_update_new(
        report,
        json_pack("{s:{s:f, s:i, s:i}, s:{s:i, s:f, s:f, s:f}, s:o, s:o, s:o, s:o, s:[s], s:[s], s:[{s:s, s:b, s:s}]}",
                  "coverage", "percent", 100.0, "tiles", 144, "processed_elements", 100000, "per_tensor", "tensors",
                  (int)layers * 7, "mean", 21.5, "min", 21.0, "max", 22.5, "projections", projections, "layers",
                  by_layer, "tensors", tensors, "tile_map", tile_map_json(name), "errata", name, "not_in_this_report",
                  name, "integrity", "check", name, "ok", 0, "detail", name));
    json_object_update_new(report, json_pack("{s:{s:s, s:s}, s:{s:s, s:s, s:f, s:f, s:[s], s:[{s:s, s:i}]}}",
                                             "definitions", "killed", name, name, "a term", "run", "donor", name,
                                             "output", name, "seconds", 0.25, "bytes_per_second", 3e8, "words", name,
                                             "shards", "file", name, "tensors", 3));
    return report;
}

/* ---- tests ---- */

START_TEST(a_thousand_tensors_stay_below_a_megabyte)
{
    json_t *const report = prune_report(143, "model");
    char *const page = html_page_of(report);
    ck_assert_uint_eq(json_array_size(json_object_get(report, "tensors")), 1001);
    ck_assert_uint_lt(strlen(page), 1000000);
    ck_assert_msg(count_in(page, "<tr><th scope=\"row\">model.layers.") == 1001, "%zu rows",
                  count_in(page, "<tr><th scope=\"row\">model.layers."));
    free(page);
    json_decref(report);
}
END_TEST

START_TEST(what_varies_stands_in_the_last_section)
{
    json_t *const one = prune_report(2, "model"), *const two = prune_report(2, "model");
    json_object_set_new(two, "run",
                        json_pack("{s:s, s:s, s:f}", "donor", "elsewhere", "output", "there", "seconds", 99.0));
    char *const pages[] = {html_page_of(one), html_page_of(two)};
    const char *const runs[] = {strstr(pages[0], "<section aria-labelledby=\"s12-run\">"),
                                strstr(pages[1], "<section aria-labelledby=\"s12-run\">")};
    ck_assert(runs[0] && runs[1]);
    ck_assert_int_eq(runs[0] - pages[0], runs[1] - pages[1]);
    ck_assert(memcmp(pages[0], pages[1], (size_t)(runs[0] - pages[0])) == 0);
    ck_assert_uint_eq(count_in(runs[0], "<section"), 1);
    ck_assert_ptr_nonnull(strstr(runs[1], "organ audit elsewhere there"));
    for (int k = 0; k < 2; k++)
        free(pages[k]);
    json_decref(one);
    json_decref(two);
}
END_TEST

START_TEST(hostile_names_in_reports)
{
    for (size_t k = 0; k < HOSTILE_NAMES; k++) {
        json_t *const valid = json_string(hostile_names[k]);
        json_t *const report = valid ? prune_report(3, hostile_names[k]) : NULL;
        json_decref(valid);
        if (!report)
            continue; /* documents contain valid UTF-8 only */
        char *const page = html_page_of(report);
        ck_assert_uint_eq(count_in(page, "<script"), 1);
        free(page);
        json_decref(report);
    }
}
END_TEST

static organ_table *table_of(const char *text)
{
    static const organ_column columns[] = {{"a & b", ORGAN_LEFT, true, true}, {"<n>", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, 2);
    organ_table_cell(table, "%s", text);
    organ_table_cell(table, "1,234");
    organ_table_totals(table);
    organ_table_cell(table, "all");
    organ_table_cell(table, "%s", text);
    return table;
}

static organ_html *page_with(const char *text)
{
    static const double values[] = {1, 2, 3, 4};
    const organ_html_metric highlights[] = {{text, text}};
    const organ_heat_map map = {.title = text,
                                .description = text,
                                .row_label = text,
                                .column_label = text,
                                .value_label = text,
                                .rows = 2,
                                .columns = 2,
                                .values = values};
    organ_html *const html = organ_html_create(text, text, text, &(organ_error){0});
    organ_html_metrics(html, highlights, 1);
    for (int twice = 0; twice < 2; twice++) {
        organ_error ignored = {0};
        char *svg = NULL;
        organ_html_section(html, text);
        organ_html_paragraph(html, "%s", text);
        organ_html_caution(html, text);
        organ_html_command(html, text);
        organ_html_table(html, table_of(text), twice ? NULL : text);
        organ_heat_map_svg(&map, &svg, &ignored);
        organ_html_chart(html, svg, text);
    }
    return html;
}

START_TEST(hostile_names_anywhere)
{
    for (size_t k = 0; k < HOSTILE_NAMES; k++) {
        organ_error error = {0};
        char *page = NULL;
        ck_assert_int_eq(organ_html_finish(page_with(hostile_names[k]), &page, &error), ORGAN_OK);
        html_must_be_page(page);
        ck_assert_uint_eq(count_in(page, "<script"), 1);
        free(page);
    }
}
END_TEST

START_TEST(parts_are_where_they_belong)
{
    organ_error error = {0};
    char *page = NULL;
    ck_assert_int_eq(organ_html_finish(page_with("Some & text"), &page, &error), ORGAN_OK);
    ck_assert(strstr(page, "<title>Some &amp; text: Some &amp; text</title>"));
    ck_assert(strstr(page, "<li><a href=\"#s1-some-text\">Some &amp; text</a></li>"));
    ck_assert(strstr(page, "<h2 id=\"s2-some-text\">"));
    ck_assert(strstr(page, "<table class=\"c1 n2\">\n<caption id=\"table1\"><span>Some &amp; text</span></caption>"));
    ck_assert(strstr(page, "<th scope=\"col\">&lt;n&gt;</th>"));
    ck_assert(
        strstr(page, "<tbody>\n<tr><th scope=\"row\">Some &amp; text</th><td>1,234</td></tr>\n</tbody>\n<tfoot>"));
    ck_assert(strstr(page, "<caption class=\"unseen\" id=\"table2\"><span>Table 2: Some &amp; text</span></caption>"));
    ck_assert(strstr(page, "role=\"img\" aria-describedby=\"about2\""));
    ck_assert(strstr(page, "<figcaption>Figure 2. Some &amp; text</figcaption>"));
    ck_assert_uint_eq(count_in(page, ".oc-paper{fill:#ffffff}"), 1);
    free(page);
}
END_TEST

START_TEST(figures_are_tables_too)
{
    organ_error error = {0};
    char *page = NULL;
    ck_assert_int_eq(organ_html_finish(page_with("a <b>"), &page, &error), ORGAN_OK);
    ck_assert(strstr(page, "<div class=\"box\" role=\"group\" tabindex=\"0\" aria-label=\"a &lt;b&gt;\">\n<svg"));
    ck_assert(strstr(page, "<summary>Figure 2 as a table</summary>"));
    ck_assert(strstr(page,
                     "<caption id=\"numbers2\"><span>a &lt;b&gt;</span></caption>\n<thead>\n<tr><th scope=\"col\">"
                     "a &lt;b&gt; \\ a &lt;b&gt;</th><th scope=\"col\">0</th><th scope=\"col\">1</th></tr>\n</thead>"));
    ck_assert(strstr(page, "<tr><th scope=\"row\">1</th><td>3</td><td>4</td></tr>\n</tbody>"));
    ck_assert_ptr_null(strstr(page, "<metadata>"));
    free(page);
}
END_TEST

/* Replaces each member of a valid report in turn: the result is a page or an error, never a crash. */
START_TEST(any_member_may_be_anything)
{
    json_t *const report = prune_report(2, "model");
    json_t *const others[] = {json_null(),
                              json_string("<b>"),
                              json_integer(-1),
                              json_real(1e308),
                              json_array(),
                              json_pack("[[], {}, 3]"),
                              json_pack("{s:{s:[i]}}", "name", "layer", 7)};
    char *page;
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(report, next, key, value)
    {
        json_t *const was = json_incref(value);
        for (size_t k = 0; k < sizeof others / sizeof *others && strcmp(key, "schema") != 0; k++) {
            json_object_set(report, key, others[k]);
            page = html_page_of(report);
            free(page);
        }
        json_object_set_new(report, key, was);
    }
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        json_decref(others[k]);
    json_decref(report);
}
END_TEST

/* A document with its schema alone has a page, for every schema. */
START_TEST(bare_documents)
{
    char known[2000], *rest;
    size_t count = 0;
    organ_html_report_schemas(known, sizeof known);
    for (char *schema = strtok_r(known, ", ", &rest); schema; schema = strtok_r(NULL, ", ", &rest), count++) {
        json_t *const report = json_pack("{s:s}", "schema", schema);
        char *const page = html_page_of(report);
        free(page);
        json_decref(report);
    }
    ck_assert_uint_ge(count, 2);
}
END_TEST

START_TEST(what_has_no_page_is_refused)
{
    static const char *const texts[] = {"{}", "{\"schema\": 7}", "[]", "3", "{\"schema\": \"organ.nothing/1\"}"};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        organ_error error = {0};
        char *page = (char *)"";
        json_t *const report = json_loads(texts[k], JSON_DECODE_ANY, NULL);
        ck_assert_ptr_nonnull(report);
        ck_assert_int_eq(organ_html_report(report, &page, &error), ORGAN_BAD_INPUT);
        ck_assert_ptr_null(page);
        ck_assert_msg(strstr(error.message, "organ.prune/1"), "%s", error.message);
        ck_assert_msg(k < 4 || strstr(error.message, "organ.nothing/1"), "%s", error.message);
        json_decref(report);
    }
}
END_TEST

START_TEST(no_memory)
{
    json_t *const report = prune_report(2, "model");
    const bool each = effort_is("all");
    long last = 0;
    while (!memory_of_page(report, last)) { /* each of the first, then fewer; all would take seconds */
        last += each ? 1 : 1 + last / 50;
        ck_assert_int_lt(last, 100000);
    }
    ck_assert_int_gt(last, 30);
    json_decref(report);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        organ_error error = {0};
        json_t *const report = prune_report(143, "model");
        char *page = NULL;
        if (organ_html_report(report, &page, &error) == ORGAN_OK)
            fputs(page, stdout);
        free(page);
        json_decref(report);
        return error.status;
    }
    const suite_case cases[] = {
        {"pages", {parts_are_where_they_belong, figures_are_tables_too, hostile_names_anywhere}},
        {"reports",
         {a_thousand_tensors_stay_below_a_megabyte, what_varies_stands_in_the_last_section, hostile_names_in_reports,
          any_member_may_be_anything, bare_documents, what_has_no_page_is_refused}},
        {"no memory", {no_memory}},
    };
    return run_suites((Suite *const[]){suite_of("html", cases, sizeof cases / sizeof *cases, NULL, NULL), NULL});
}
