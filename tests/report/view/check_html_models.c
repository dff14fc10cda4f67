/* SPDX-License-Identifier: MIT
 * Tests of the pages of measure, purify, extract, assemble, graft and inspect: from reports of the verbs on the
 * fixtures, with their numbers; from malformed reports; limited size; complete or absent. `build/tests/html_models
 * --print` writes the page of a measured fleet of generated models to stdout, to look at. */
#include <organ/report.h>
#include <organ/measure.h>
#include "tests/kit/effort.h"
#include "tests/kit/condition_rig.h"
#include "tests/kit/html_reader.h"
#include "tests/report/view/html_rig.h"
#include "tests/report/view/kin_suite.h"
#include "tests/kit/memory_rig.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/svg_reader.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define QWEN "fixtures/tiny-qwen2"
#define Q8   "fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf"
#define BF16 "fixtures/tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf"

/* ---- pages ---- */

static void must_say(const char *page, const char *what) { ck_assert_msg(strstr(page, what) != NULL, "no '%s'", what); }
static void must_not_say(const char *page, const char *what)
{
    ck_assert_msg(strstr(page, what) == NULL, "'%s'", what);
}

/* Checks that the page contains a number as the figures of merit print it. */
static void must_say_real(const char *page, const char *format, double x)
{
    char text[64];
    snprintf(text, sizeof text, format, x);
    must_say(page, text);
}

static size_t rows_of(const char *page, const char *prefix)
{
    char row[80];
    snprintf(row, sizeof row, "<tr><th scope=\"row\">%s", prefix);
    return count_in(page, row);
}

START_TEST(page_of_a_measured_model)
{
    json_t *const report = measured((const char *const[]){Q8}, 1), *const model = json_array_get(
                                                                       json_object_get(report, "models"), 0);
    char *const page = html_page_of(report);
    must_say_real(page, "<b>%.2f°</b>", organ_json_real(model, "theta_mean"));
    must_say_real(page, "<b>%.2f°</b>", organ_json_real(model, "theta_weighted"));
    must_say(page, "<b>4 of 50</b>");
    must_say(page, "A higher theta is no evidence of a better model");
    ck_assert_uint_eq(rows_of(page, "blk."), 48);
    ck_assert_uint_eq(rows_of(page, "token_embd.weight"), 1);
    ck_assert_uint_eq(count_in(page, "<svg"), 7); /* a heat map, three line charts, roles, two charts of indicators */
    must_say(page, "None: no tensor is that far below");
    must_not_say(page, "gravitational well</text>"); /* no cell is outlined */
    free(page);
    json_decref(report);
}
END_TEST

START_TEST(wells_are_outlined)
{
    json_t *const report = measured((const char *const[]){Q8}, 1), *const model = json_array_get(
                                                                       json_object_get(report, "models"), 0);
    json_array_append_new(json_object_get(model, "wells"),
                          json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f}", "name", "blk.1.attn_q.weight", "role",
                                    "q_proj", "layer", 1, "theta", 7.5, "before", 12.5, "after", 8.25, "std", 0.5));
    char *const page = html_page_of(report);
    must_say(page, "gravitational well</text>");
    must_say(page,
             "<tr><th scope=\"row\">blk.1.attn_q.weight</th><td>q_proj</td><td>7.50</td><td>12.50</td><td>8.25</td>");
    must_not_say(page, "None");
    free(page);
    json_decref(report);
}
END_TEST

START_TEST(chimeras_stand_beside_their_bodies)
{
    char chimera[4096];
    snprintf(chimera, sizeof chimera, "%s", scratch_path("chimera.gguf"));
    json_decref(grafted(Q8, BF16, chimera, false));
    json_t *const report = measured((const char *const[]){Q8, BF16, chimera}, 3);
    char *const page = html_page_of(report);
    must_say(page, "with 6 of tiny-qwen2-Q8_0.gguf");
    must_say(page, "<td>graft, target</td><td>tiny-qwen2-BF16-00001-of-00002.gguf</td><td>44</td><td>50</td>");
    must_say(page, "<td>graft, source</td><td>tiny-qwen2-Q8_0.gguf</td><td>6</td><td>50</td>");
    ck_assert_uint_eq(count_in(page, "graft, target</td>"), 1);
    must_say(page, "<b>3</b>");
    free(page);
    json_decref(report);
}
END_TEST

START_TEST(page_of_a_purification)
{
    char output[4096];
    snprintf(output, sizeof output, "%s", scratch_path("pure"));
    json_t *const report = purified(QWEN, output, 0.1, false), *const dry =
                                                                   purified(QWEN, scratch_path("none"), 0.1, true);
    char *page = html_page_of(report), percent[32];
    snprintf(percent, sizeof percent, "<b>%.2f %%</b>", organ_json_real(report, "totals.energy_removed_percent"));
    must_say(page, percent);
    must_say_real(page, "<b>%.2f°</b>", organ_json_real(report, "totals.theta_after"));
    must_say(page, "A higher theta is no evidence of a better model.");
    must_say(page, "More than 5 % of the energy");
    ck_assert_uint_eq(rows_of(page, "model.layers."), 28);
    ck_assert_uint_eq(count_in(page, "<svg"), 2);
    free(page);
    page = html_page_of(dry);
    must_say(page, "28</b> <span>tensors would be purified; nothing was written");
    ck_assert_uint_eq(count_in(page, "<svg"), 0);
    free(page);
    ck_assert(exists(scratch_path("pure/organ/PURIFY_REPORT.html")));
    json_decref(report);
    json_decref(dry);
}
END_TEST

START_TEST(pages_of_parts)
{
    char parts[4096], whole[4096];
    snprintf(parts, sizeof parts, "%s", scratch_path("parts"));
    snprintf(whole, sizeof whole, "%s", scratch_path("whole"));
    json_t *const taken = extracted(QWEN, parts), *const made = assembled(parts, whole);
    char *page = html_page_of(taken);
    must_say(page, "attention");
    must_say(page, "manifest.json has the XXH3 digest of every tensor");
    must_say(page, "<b>50</b>");
    ck_assert_uint_eq(count_in(page, "<svg"), 2);
    free(page);
    page = html_page_of(made);
    must_say(page, "the output equals the donor byte for byte");
    ck_assert_uint_eq(rows_of(page, "model-0000"), 3);
    free(page);
    json_object_set_new(made, "donor_again", json_false());
    json_array_append_new(json_object_get(made, "changed"), json_string("model.layers.2.mlp.up_proj.weight"));
    page = html_page_of(made);
    must_say(page, "<tr><th scope=\"row\">model.layers.2.mlp.up_proj.weight</th><td>up_proj</td>");
    free(page);
    json_decref(taken);
    json_decref(made);
}
END_TEST

/* The digest of a tensor that keeps its type equals that of its model of origin, as an extraction of that model reports
 * it. */
START_TEST(page_of_a_graft)
{
    char output[4096];
    snprintf(output, sizeof output, "%s", scratch_path("grafted.gguf"));
    json_t *const report = grafted(Q8, BF16, output, false), *const tensor =
                                                                 json_array_get(json_object_get(report, "tensors"), 0);
    json_decref(extracted(Q8, scratch_path("parts")));
    json_t *const manifest = json_load_file(scratch_path("parts/manifest.json"), 0, NULL);
    const json_t *const donors = json_object_get(json_object_get(manifest, "tensors"), organ_json_text(tensor, "from"));
    ck_assert_str_eq(organ_json_text(tensor, "xxh3"), organ_json_text(donors, "xxh3"));
    char *page = html_page_of(report);
    must_say(page, "<b>33.44 %</b>");
    must_say(page, "<b>6 of 50</b>");
    must_say(page, organ_json_text(tensor, "xxh3"));
    ck_assert_uint_eq(rows_of(page, "blk."), 6);
    free(page);
    json_object_set_new(report, "mismatches", json_pack("[s]", "hidden size 320 and 64"));
    page = html_page_of(report);
    must_say(page, "hidden size 320 and 64");
    must_say(page, "do not fit");
    free(page);
    json_t *const dry = grafted(Q8, BF16, scratch_path("none.gguf"), true);
    page = html_page_of(dry);
    must_not_say(page, "XXH3");
    free(page);
    json_decref(report), json_decref(dry), json_decref(manifest);
}
END_TEST

/* The sums over layers equal the totals. */
static void must_add_up(const json_t *report, const char *key, const char *total)
{
    const json_t *const lines = json_object_get(json_object_get(report, "by_layer"), key);
    json_int_t sum = 0;
    for (size_t l = 0; l < json_array_size(lines); l++)
        for (size_t r = 0; r < json_array_size(json_array_get(lines, l)); r++)
            sum += json_integer_value(json_array_get(json_array_get(lines, l), r));
    ck_assert_int_eq(sum, json_integer_value(organ_json_at(report, total)));
}

START_TEST(layers_add_up)
{
    json_t *const looked = inspected(Q8), *const taken = extracted(QWEN, scratch_path("parts"));
    json_t *const mixed = grafted(Q8, BF16, scratch_path("mixed.gguf"), false);
    must_add_up(looked, "bytes", "totals.bytes");
    must_add_up(looked, "elements", "totals.elements");
    must_add_up(taken, "bytes", "totals.bytes");
    must_add_up(mixed, "bytes", "totals.output.bytes");
    must_add_up(mixed, "elements", "totals.output.elements");
    must_add_up(mixed, "grafted", "totals.grafted.elements");
    const json_t *const layers = organ_json_at(looked, "by_layer.layers");
    ck_assert_uint_eq(json_array_size(layers), 5);
    ck_assert_int_eq(json_integer_value(json_array_get(layers, 4)), -1);
    json_decref(looked), json_decref(taken), json_decref(mixed);
}
END_TEST

START_TEST(page_of_an_inspection)
{
    json_t *const report = inspected(Q8), *const packed = inspected("fixtures/precision/fp8-block128");
    char *page = html_page_of(report);
    must_say(page, "<b>4,960,832</b>");
    must_say(page, "<b>8.522</b>");
    must_say(page, "no problems found");
    ck_assert_uint_eq(rows_of(page, "blk."), 48);
    ck_assert_uint_eq(count_in(page, "<svg"), 4); /* charts of roles, types, bytes, bits */
    json_array_append_new(json_object_get(report, "problems"), json_string("the index names a file that is not there"));
    free(page);
    page = html_page_of(report);
    must_say(page, "the index names a file that is not there");
    must_not_say(page, "no problems found");
    free(page);
    page = html_page_of(packed);
    must_say(page, "bits per element"); /* per weight, not per packed word */
    must_say(page, "Quantisation");
    free(page);
    json_decref(report);
    json_decref(packed);
}
END_TEST

START_TEST(page_of_a_fleet)
{
    static const made_tensor alone[] = {{"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {64, 64}},
                                        {"model.norm.weight", ORGAN_F32, 1, {64}}};
    json_t *report = NULL;
    organ_error error = {0};
    char models[4096], output[4096];
    size_t size;
    snprintf(models, sizeof models, "%s", scratch_path("models"));
    snprintf(output, sizeof output, "%s", scratch_path("fleet"));
    mkdir(models, 0777);
    make_model(scratch_path("models/sharded"), 3, 64);
    make_shard(scratch_path("models/alone.safetensors"), alone, 2);
    spill(scratch_path("models/broken.gguf"), "GGUF\3\0\0\0junk", 12);
    const organ_fleet_options options = {.directory = models, .output = output};
    ck_assert_int_eq(organ_fleet(&options, &html_room.engine, NULL, &report, &error), ORGAN_CHECK_FAILED);
    char *page = html_page_of(report);
    must_say(page, "Failed: broken.gguf");
    must_not_say(page, "Ranking");
    free(page);
    page = slurp(scratch_path("fleet/Z_MEASURE_REPORT.html"), &size);
    ck_assert_ptr_nonnull(page);
    html_must_be_page(page);
    must_say(page, "Failed: broken.gguf");
    must_say(page, "Ranking");
    must_say(page, "Dissection");
    must_say(page, ">sharded</h2>");
    free(page);
    json_decref(report);
}
END_TEST

/* The page next to the Markdown report is that of the JSON document there. */
static void must_lie_beside(const char *json, const char *html)
{
    size_t size;
    json_t *const report = json_load_file(json, 0, NULL);
    /* A page is made of the report before it gets its seal. */
    ck_assert_int_eq(json_object_del(json_object_get(report, "run"), "seal"), 0);
    char *const there = slurp(html, &size), *const page = html_page_of(report);
    const size_t length = strlen(page);
    ck_assert_ptr_nonnull(there);
    ck_assert_msg(size > length && memcmp(there, page, length) == 0, "%s is not the page of %s", html, json);
    ck_assert_uint_eq(html_seal(there + length), size - length);
    free(there), free(page);
    json_decref(report);
}

START_TEST(pages_lie_beside_the_other_views)
{
    json_t *report = NULL;
    organ_error error = {0};
    char output[4096], small[4096];
    snprintf(output, sizeof output, "%s", scratch_path("out"));
    snprintf(small, sizeof small, "%s", scratch_path("small"));
    make_model(small, 2, 32);
    const organ_measure_options options = {.models = (const char *const[]){small}, .model_count = 1, .output = output};
    ck_assert_int_eq(organ_measure(&options, &html_room.engine, NULL, &report, &error), ORGAN_OK);
    json_decref(report);
    json_decref(purified(small, scratch_path("pure"), 0.1, false));
    make_shard(scratch_path("one.safetensors"),
               (const made_tensor[]){{"model.layers.0.mlp.up_proj.weight", ORGAN_BF16, 2, {64, 64}}}, 1);
    json_decref(purified(scratch_path("one.safetensors"), scratch_path("other.safetensors"), 0.1, false));
    must_lie_beside(scratch_path("out/z_report.json"), scratch_path("out/Z_MEASURE_REPORT.html"));
    must_lie_beside(scratch_path("pure/organ/purify.json"), scratch_path("pure/organ/PURIFY_REPORT.html"));
    must_lie_beside(scratch_path("other.purify.json"), scratch_path("other.PURIFY_REPORT.html"));
}
END_TEST

/* ---- size ---- */

/* Returns a measured model with more layers: copies of layer 1 with small differences. */
static json_t *deeper(const json_t *model, int layers, int seed)
{
    json_t *const deep = json_deep_copy(model), *const tensors = json_array(), *const rows = json_array();
    const json_t *const few = json_object_get(model, "per_tensor");
    for (int l = 0; l < layers; l++) {
        for (size_t k = 0; k < json_array_size(few); k++) {
            const json_t *const row = json_array_get(few, k);
            if (json_integer_value(json_object_get(row, "layer")) != 1)
                continue;
            json_t *const copy = json_copy((json_t *)row);
            json_object_set_new(copy, "layer", json_integer(l));
            json_object_set_new(copy, "name", json_sprintf("model.layers.%d.%s", l, organ_json_text(row, "name") + 6));
            json_object_set_new(copy, "theta",
                                json_real(organ_json_real(row, "theta") + 7 * ((l * 31 + seed + (int)k * 17) % 11)));
            json_object_set_new(copy, "std", json_real(0.01 + 1e-5 * (double)(l * 100 + seed + (int)k)));
            json_array_append_new(tensors, copy);
        }
        json_t *const layer = json_copy(json_array_get(json_object_get(model, "layers"), 1));
        json_object_set_new(layer, "layer", json_integer(l));
        json_array_append_new(rows, layer);
    }
    json_object_set_new(deep, "per_tensor", tensors);
    json_object_set_new(deep, "layers", rows);
    return deep;
}

static json_t *deep_report(size_t models, int layers)
{
    json_t *const report = measured((const char *const[]){Q8}, 1), *const list = json_array();
    for (size_t m = 0; m < models; m++)
        json_array_append_new(list, deeper(json_array_get(json_object_get(report, "models"), 0), layers, (int)m * 7));
    json_object_set_new(report, "models", list);
    return report;
}

START_TEST(pages_stay_below_a_megabyte)
{
    json_t *const one = deep_report(1, 84), *const fleet = deep_report(13, 48), *const endless = deep_report(1, 700);
    char *page = html_page_of(one);
    ck_assert_uint_ge(rows_of(page, "model.layers."), 1000);
    ck_assert_msg(strlen(page) < 1000000, "one: %zu", strlen(page));
    free(page);
    page = html_page_of(fleet);
    ck_assert_msg(strlen(page) < 1000000, "fleet: %zu", strlen(page));
    free(page);
    page = html_page_of(endless);
    ck_assert_msg(strlen(page) < 2000000, "endless: %zu", strlen(page));
    must_say(page, "The table shows the first 1,500 of 8,400 tensors");
    free(page);
    json_decref(one), json_decref(fleet), json_decref(endless);
}
END_TEST

/* ---- malformed documents ---- */

/* A small report of each kind. */
enum { KINDS = 7 };
static void all_kinds(json_t *reports[KINDS])
{
    char parts[4096];
    snprintf(parts, sizeof parts, "%s", scratch_path("parts"));
    make_model(scratch_path("small"), 3, 32);
    const char *const small = scratch_path("small");
    reports[0] = measured((const char *const[]){small}, 1);
    reports[1] = measured((const char *const[]){small, small}, 2);
    reports[2] = purified(small, scratch_path("pure"), 1, false);
    reports[3] = extracted(small, parts);
    reports[4] = assembled(parts, scratch_path("whole"));
    reports[5] = grafted(small, scratch_path("pure"), scratch_path("mixed"), false);
    reports[6] = inspected(small);
}

/* Replaces every string of a document except its schema. */
static void rename_all(json_t *json, const char *name)
{
    const char *key;
    json_t *value;
    for (size_t k = 0; k < json_array_size(json); k++)
        if (json_is_string(json_array_get(json, k)))
            json_array_set_new(json, k, json_string(name));
        else
            rename_all(json_array_get(json, k), name);
    json_object_foreach(json, key, value)
    {
        if (!json_is_string(value))
            rename_all(value, name);
        else if (strcmp(key, "schema") != 0)
            json_string_set(value, name);
    }
}

START_TEST(hostile_names_anywhere)
{
    json_t *reports[KINDS];
    all_kinds(reports);
    for (size_t r = 0; r < KINDS; r++)
        for (size_t k = 0; k < HOSTILE_NAMES; k++) {
            json_t *const valid = json_string(hostile_names[k]), *const report = json_deep_copy(reports[r]);
            if (valid) { /* documents contain valid UTF-8 only */
                rename_all(report, hostile_names[k]);
                char *const page = html_page_of(report);
                ck_assert_uint_eq(count_in(page, "<script"), 1);
                free(page);
            }
            json_decref(valid);
            json_decref(report);
        }
    for (size_t r = 0; r < KINDS; r++)
        json_decref(reports[r]);
}
END_TEST

/* Puts each of `others` in place of each member below `json` in turn (of arrays, their first element) and makes the
 * page. Under emulation and sanitizers it tries one in five, different ones for each member. */
static void replace_each(const json_t *report, json_t *json, json_t *const *others, size_t count)
{
    static size_t turn;
    const size_t step = sampled(1, 5);
    const char *key;
    json_t *value;
    void *next;
    for (size_t k = 0; k < json_array_size(json) && k < 1; k++)
        replace_each(report, json_array_get(json, k), others, count);
    json_object_foreach_safe(json, next, key, value)
    {
        if (strcmp(key, "schema") == 0)
            continue;
        json_t *const was = json_incref(value);
        for (size_t k = turn++ % step; k < count; k += step) {
            organ_error error = {0};
            char *page = NULL;
            json_object_set(json, key, others[k]);
            ck_assert_msg(organ_html_report(report, &page, &error) == ORGAN_OK, "%s of %s: %s", key,
                          organ_json_text(report, "schema"), error.message);
            free(page);
        }
        json_object_set_new(json, key, was);
        replace_each(report, was, others, count);
    }
}

START_TEST(any_member_may_be_anything)
{
    json_t *reports[KINDS], *const others[] = {json_null(),
                                               json_string("<b>"),
                                               json_integer(-1),
                                               json_integer(INT64_MAX),
                                               json_real(-1e308),
                                               json_array(),
                                               json_pack("[[], {}, 3]"),
                                               json_pack("{s:{s:[i]}}", "name", "layer", 7)};
    all_kinds(reports);
    for (size_t r = 0; r < KINDS; r++) {
        replace_each(reports[r], reports[r], others, sizeof others / sizeof *others);
        json_decref(reports[r]);
    }
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        json_decref(others[k]);
}
END_TEST

START_TEST(no_memory)
{
    json_t *reports[KINDS];
    all_kinds(reports);
    for (size_t r = 0; r < KINDS; r++) {
        long last = 0;
        while (!memory_of_page(reports[r], last)) /* each of the first, then fewer */
            last += 1 + last / 50;
        ck_assert_int_gt(last, 10);
        json_decref(reports[r]);
    }
}
END_TEST

START_TEST(conditions_name_members)
{
    const char *const parts = scratch_path("parts"), *const mixed = scratch_path("mixed.gguf"),
                      *const pure = scratch_path("pure");
    json_t *const taken = extracted(QWEN, parts), *const mix = grafted(Q8, BF16, mixed, false);
    json_t *const reports[] = {taken,
                               mix,
                               assembled(parts, scratch_path("whole")),
                               grafted(Q8, BF16, scratch_path("none.gguf"), true),
                               measured((const char *const[]){Q8}, 1),
                               measured((const char *const[]){Q8, BF16, mixed}, 3),
                               purified(QWEN, pure, 0.1, false),
                               purified(QWEN, scratch_path("none"), 0.1, true),
                               inspected(Q8),
                               inspected(QWEN),
                               inspected("fixtures/precision/fp8-block128")};
    conditions_must_name_members(reports, sizeof reports / sizeof *reports);
    for (size_t k = 0; k < sizeof reports / sizeof *reports; k++)
        json_decref(reports[k]);
}
END_TEST

static int print_fleet(void)
{
    organ_error error = {0};
    char *page = NULL;
    html_setup();
    json_t *const report = deep_report(13, 48);
    if (organ_html_report(report, &page, &error) == ORGAN_OK)
        fputs(page, stdout);
    free(page);
    json_decref(report);
    html_teardown();
    return error.status;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0)
        return print_fleet();
    const suite_case cases[] = {
        {"pages",
         {page_of_a_measured_model, wells_are_outlined, chimeras_stand_beside_their_bodies, page_of_a_purification,
          pages_of_parts, page_of_a_graft, layers_add_up, page_of_an_inspection, page_of_a_fleet,
          pages_lie_beside_the_other_views}},
        {"size", {pages_stay_below_a_megabyte}},
        {"anything", {hostile_names_anywhere, any_member_may_be_anything, no_memory, conditions_name_members}},
    };
    return run_suites((Suite *const[]){
        suite_of("html_models", cases, sizeof cases / sizeof *cases, html_setup, html_teardown), kin_suite(), NULL});
}
