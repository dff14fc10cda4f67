/* SPDX-License-Identifier: MIT
 * Tests of lora sanitize and resize. */
#include "tests/kit/lora_rig.h"
#include "tests/kit/suite_table.h"

#include <organ/weights.h>
#include <organ/report.h>
#include "orchestrator/verbs/lora/rewrite.h"
#include "orchestrator/report/view/views.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PAIR         LORA_PAIR
#define EIGHT        "\"r\": 8, \"lora_alpha\": 8, \"target_modules\": [\"q_proj\"]" /* for factors of rank 4 */
#define SANE         "\"r\": 4, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\"]"

static const made_tensor q[] = {PAIR("model.layers.0.self_attn.q_proj", 4, 72, 72)};

/* Returns || X - Y || / || X || for the products of a module in two adapters. */
static double distance(const char *x, const char *y, const char *module)
{
    size_t out, in;
    double *const a = lora_product(x, module, &out, &in), *const b = lora_product(y, module, &out, &in);
    double miss = 0, all = 0;
    for (size_t k = 0; k < out * in; k++) {
        miss += (a[k] - b[k]) * (a[k] - b[k]);
        all += a[k] * a[k];
    }
    free(a);
    free(b);
    return sqrt(miss / all);
}

static double norm_of(const char *adapter, const char *module)
{
    size_t out, in;
    double *const a = lora_product(adapter, module, &out, &in), sum = 0;
    for (size_t k = 0; k < out * in; k++)
        sum += a[k] * a[k];
    free(a);
    return sqrt(sum);
}

static const json_t *row_of(const char *list, const char *key, const char *value)
{
    const json_t *const rows = organ_json_at(lora_report, list);
    for (size_t k = 0; k < json_array_size(rows); k++)
        if (strcmp(organ_json_text(json_array_get(rows, k), key), value) == 0)
            return json_array_get(rows, k);
    ck_abort_msg("%s has no %s", list, value);
    return NULL;
}

static organ_adapter *open_adapter(const char *name)
{
    organ_adapter *adapter;
    organ_error error = {0};
    ck_assert_msg(organ_adapter_open(scratch_path("%s", name), &adapter, &error) == ORGAN_OK, "%s", error.message);
    return adapter;
}

/* ---- sanitize ---- */

/* The kept modules act as before, and a check finds nothing any more. */
START_TEST(sanitised)
{
    mkdir(scratch_path("adapter/organ"), 0777);
    spill(scratch_path("adapter/organ/old.json"), "{}", 2);
    spill(scratch_path("adapter/adapter_model.bin"), "x", 1);
    lora_must((lora_way){.verb = LORA_SANITIZE, .base = "donor", .output = "out"});
    const json_t *row = row_of("dropped", "tensor", LORA_PREFIX "model.norm.weight");
    ck_assert_str_eq(organ_json_text(row, "norm_of"), "its change");
    size_t n;
    float *const saved =
        lora_values(scratch_path("adapter/adapter_model.safetensors"), LORA_PREFIX "model.norm.weight", &n);
    float *const base = lora_values(scratch_path("donor"), "model.norm.weight", NULL);
    double change = 0;
    for (size_t k = 0; k < n; k++)
        change += ((double)saved[k] - (double)base[k]) * ((double)saved[k] - (double)base[k]);
    ck_assert(change > 0 && fabs(organ_json_real(row, "norm") / sqrt(change) - 1) < 1e-12);
    free(saved);
    free(base);
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "dropped")), 1);
    row = row_of("modules", "module", "model.layers.1.mlp.down_proj");
    ck_assert(fabs(organ_json_real(row, "norm") / norm_of("adapter", "model.layers.1.mlp.down_proj") - 1) < 1e-6);
    organ_adapter *const a = open_adapter("out");
    ck_assert_uint_eq(a->pair_count, 6);
    ck_assert_uint_eq(a->rest_count, 0);
    ck_assert(a->r == 6 && a->alpha == 6 && !a->rslora);
    for (size_t k = 0; k < a->pair_count; k++) {
        ck_assert(a->pairs[k].rank == 6 && a->pairs[k].scale == 1);
        const bool narrow = strstr(a->pairs[k].module, "k_proj") != NULL;
        ck_assert_int_eq(a->pairs[k].b->dtype, narrow ? ORGAN_BF16 : ORGAN_F32);
        ck_assert(distance("adapter", "out", a->pairs[k].module) < (narrow ? 4e-3 : 1e-6));
    }
    const json_t *const targets = json_object_get(a->config, "target_modules");
    ck_assert_uint_eq(json_array_size(targets), 6);
    ck_assert(json_is_null(json_object_get(a->config, "modules_to_save")));
    ck_assert_str_eq(a->base, "donor");
    organ_adapter_close(a);
    ck_assert(same_files(scratch_path("adapter/README.md"), scratch_path("out/README.md")));
    ck_assert(!exists(scratch_path("out/organ/old.json")) && !exists(scratch_path("out/adapter_model.bin")));
    ck_assert(exists(scratch_path("out/organ/lora_sanitize.json")) &&
              exists(scratch_path("out/organ/LORA_SANITIZE_REPORT.md")));
    lora_must((lora_way){.verb = LORA_SANITIZE, .adapter = "out", .base = "donor", .check = true});
    ck_assert_uint_eq(json_array_size(organ_json_at(lora_report, "findings")), 0);
}
END_TEST

/* An expression in target_modules could match removed modules, so the modules are listed by name. */
START_TEST(targets_by_expression)
{
    lora_adapter("lora",
                 "\"r\": 4, \"lora_alpha\": 4, \"target_modules\": \".*(q_proj|embed_tokens)\", \"bias\": \"all\"", q,
                 2);
    lora_must((lora_way){.verb = LORA_SANITIZE, .adapter = "lora", .output = "out"});
    organ_adapter *const a = open_adapter("out");
    const json_t *const targets = json_object_get(a->config, "target_modules");
    ck_assert_uint_eq(json_array_size(targets), 1);
    ck_assert_str_eq(json_string_value(json_array_get(targets, 0)), "model.layers.0.self_attn.q_proj");
    ck_assert_str_eq(organ_json_text(a->config, "bias"), "none");
    organ_adapter_close(a);
}
END_TEST

static const struct finding {
    const char *members;
    made_tensor more[2];
    unsigned max_rank;
    const char *base, *where, *text;
} findings[] = {
    {SANE ", \"modules_to_save\": [\"lm_head\"]", .where = "modules_to_save",
     .text = "loads whole modules only for classifiers"},
    {SANE ", \"use_dora\": true", .where = "use_dora", .text = "DoRA"},
    {SANE ", \"bias\": \"lora_only\"", .where = "bias", .text = "trained biases"},
    {SANE ", \"lora_bias\": true", .where = "lora_bias", .text = "biases of B"},
    {SANE ", \"trainable_token_indices\": [1]", .where = "trainable_token_indices", .text = "tokens"},
    {SANE ", \"init_lora_weights\": \"olora\"", .where = "init_lora_weights", .text = "olora"},
    {"\"r\": 4, \"lora_alpha\": 4", .where = "target_modules", .text = "missing"},
    {"\"r\": 4, \"lora_alpha\": 4, \"target_modules\": null", .where = "target_modules", .text = "missing"},
    {"\"r\": 4, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\", \"x.norm\"]", .where = "target_modules",
     .text = "'x.norm' cannot"},
    {SANE, {{LORA_PREFIX "x.weight", ORGAN_F32, 1, {3}}}, .where = LORA_PREFIX "x.weight", .text = "not a factor"},
    {SANE,
     {{LORA_PREFIX "x.rotary_emb.inv", ORGAN_F32, 1, {3}}},
     .where = LORA_PREFIX "x.rotary_emb.inv",
     .text = "not a factor"},
    {SANE,
     {{LORA_PREFIX "x.lora_B.bias", ORGAN_F32, 1, {3}}},
     .where = LORA_PREFIX "x.lora_B.bias",
     .text = "not a factor"},
    {SANE, {PAIR("x.layernorm", 4, 9, 72)}, .where = LORA_PREFIX "x.layernorm.lora_A.weight", .text = "norms"},
    {SANE,
     {{"x.lora_A.weight", ORGAN_F32, 2, {4, 2}}, {LORA_PREFIX "x.lora_B.weight", ORGAN_F32, 2, {2, 4}}},
     .where = "x.lora_A.weight",
     .text = "silently"},
    {SANE,
     {{LORA_PREFIX "x.lora_A.default.weight", ORGAN_F32, 2, {4, 2}},
      {LORA_PREFIX "x.lora_B.weight", ORGAN_F32, 2, {2, 4}}},
     .where = LORA_PREFIX "x.lora_A.default.weight",
     .text = "'default'"},
    {SANE, .max_rank = 3, .where = "r", .text = "the rank is 4, above 3"},
    {SANE, {PAIR("x", 4, 9, 72)}, .base = "donor", .where = "x", .text = "the base has no 'x.weight'"},
    {SANE,
     {PAIR("model.layers.1.mlp.up_proj", 4, 9, 72)},
     .base = "donor",
     .where = "model.layers.1.mlp.up_proj",
     .text = "is [181, 72]"},
};

START_TEST(found)
{
    const struct finding *const f = &findings[_i];
    made_tensor all[4];
    memcpy(all, q, sizeof q);
    memcpy(all + 2, f->more, sizeof f->more);
    lora_adapter("lora", f->members, all, 2 + (f->more[0].name || f->more[1].name) + (f->more[1].name != NULL));
    lora_refused(
        (lora_way){.verb = LORA_SANITIZE, .adapter = "lora", .base = f->base, .rank = f->max_rank, .check = true},
        ORGAN_CHECK_FAILED, "a server would reject");
    const json_t *const row = row_of("findings", "where", f->where);
    ck_assert_msg(strstr(organ_json_text(row, "text"), f->text), "%s", organ_json_text(row, "text"));
}
END_TEST

START_TEST(nothing_found)
{
    lora_adapter(
        "lora", SANE ", \"rank_pattern\": {}, \"bias\": \"none\", \"modules_to_save\": [], \"use_rslora\": true", q, 2);
    lora_must((lora_way){.verb = LORA_SANITIZE, .adapter = "lora", .base = "donor", .rank = 4, .check = true});
    ck_assert_uint_eq(organ_json_count(lora_report, "output.max_lora_rank"), 8);
    /* Patterns that change nothing about the scale lora_alpha / r. */
    lora_adapter("lora", EIGHT ", \"rank_pattern\": {\"q_proj\": 4}, \"alpha_pattern\": {\"q_proj\": 4}", q, 2);
    lora_must((lora_way){.verb = LORA_SANITIZE, .adapter = "lora", .check = true});
    static const struct {
        uint64_t rank;
        unsigned served;
    } limits[] = {{1, 1}, {2, 8}, {8, 8}, {9, 16}, {128, 128}, {257, 320}, {512, 512}, {513, 0}};
    for (size_t k = 0; k < COUNT(limits); k++)
        ck_assert_uint_eq(organ_served_rank(limits[k].rank), limits[k].served);
}
END_TEST

START_TEST(not_to_be_mended)
{
    const lora_way way = {.verb = LORA_SANITIZE, .adapter = "lora", .output = "out"};
    static const made_tensor head[] = {PAIR("x.norm", 4, 9, 72)};
    lora_adapter("lora", SANE ", \"use_dora\": true", q, 2);
    lora_refused(way, ORGAN_BAD_INPUT, "use_dora is set");
    lora_adapter("lora", SANE ", \"init_lora_weights\": \"corda\"", q, 2);
    lora_refused(way, ORGAN_BAD_INPUT, "init_lora_weights is \"corda\"");
    lora_adapter("lora", SANE, head, 2);
    lora_refused(way, ORGAN_BAD_INPUT, "no module remains that a server would accept");
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 1e60", q, 2);
    lora_refused(way, ORGAN_BAD_INPUT, "beyond FP32 with its scale");
    static const made_tensor half[] = {{LORA_PREFIX "m.lora_A.weight", ORGAN_F16, 2, {4, 9}},
                                       {LORA_PREFIX "m.lora_B.weight", ORGAN_F16, 2, {9, 4}}};
    lora_adapter("lora", "\"r\": 4, \"lora_alpha\": 1e12", half, 2);
    lora_refused(way, ORGAN_BAD_INPUT, "exceeds the range of F16");
    static const made_tensor other[] = {PAIR("model.layers.7.mlp.up_proj", 4, 181, 72)};
    lora_adapter("lora", SANE, other, 2);
    lora_refused((lora_way){.verb = LORA_SANITIZE, .adapter = "lora", .base = "donor", .output = "out"},
                 ORGAN_BAD_INPUT, "module 'model.layers.7.mlp.up_proj' does not fit");
    lora_refused((lora_way){.verb = LORA_SANITIZE, .output = "out", .check = true}, ORGAN_USAGE,
                 "`check` writes no output");
    lora_refused((lora_way){.verb = LORA_SANITIZE}, ORGAN_USAGE, "-o OUT is missing");
}
END_TEST

/* ---- ranks ---- */

/* Checks that ranks above the requested one are cut to the best approximation, and that the loss is that of the
 * singular values in the report. */
static void expect_cut(unsigned rank)
{
    static const char *const modules[] = {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj",
                                          "model.layers.1.mlp.down_proj"};
    for (size_t k = 0; k < COUNT(modules); k++) {
        const json_t *const row = row_of("modules", "module", modules[k]), *const sigma = json_object_get(row, "sigma");
        const double residual = organ_json_real(row, "residual");
        double tail = 0, all = 0;
        for (size_t j = 0; j < json_array_size(sigma); j++) {
            const double s = json_number_value(json_array_get(sigma, j));
            all += s * s;
            tail += j >= rank ? s * s : 0;
        }
        ck_assert_msg(fabs(distance("adapter", "out", modules[k]) - residual) < 2e-6, "%s", modules[k]);
        ck_assert(all > 0 ? fabs(sqrt(tail / all) - residual) < 2e-6 : residual == 0);
        ck_assert_uint_eq(organ_json_count(row, "rank"),
                          organ_json_count(row, "rank_before") < rank ? organ_json_count(row, "rank_before") : rank);
    }
}

START_TEST(cut_to_rank)
{
    const unsigned rank = 1 + (unsigned)_i;
    lora_must((lora_way){.verb = LORA_RESIZE, .output = "out", .rank = rank});
    expect_cut(rank);
    organ_adapter *a = open_adapter("out");
    ck_assert(a->r == (int64_t)(rank < 6 ? rank : 6) && a->pair_count == 6 && a->rest_count == 1 &&
              a->pairs[0].scale == 1);
    organ_adapter_close(a);
    lora_must((lora_way){.verb = LORA_SANITIZE, .output = "out", .rank = rank, .force = true});
    expect_cut(rank);
    a = open_adapter("out");
    ck_assert(a->r == (int64_t)(rank < 6 ? rank : 6) && a->pair_count == 6);
    organ_adapter_close(a);
    lora_must((lora_way){.verb = LORA_SANITIZE, .adapter = "out", .rank = rank, .check = true});
}
END_TEST

START_TEST(by_energy)
{
    lora_must((lora_way){.verb = LORA_RESIZE, .output = "out", .rank = 6, .energy = 0.7});
    const json_t *const rows = organ_json_at(lora_report, "modules");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k), *const sigma = json_object_get(row, "sigma");
        const size_t rank = organ_json_count(row, "rank");
        double all = 0, kept = 0, last = 0;
        for (size_t j = 0; j < json_array_size(sigma); j++) {
            const double s = json_number_value(json_array_get(sigma, j)) * json_number_value(json_array_get(sigma, j));
            all += s;
            kept += j < rank ? s : 0;
            last = j + 1 == rank ? s : last;
        }
        ck_assert(kept >= 0.7 * all && kept - last < 0.7 * all);
        ck_assert(fabs(organ_json_real(row, "explained") - kept / all) < 1e-6);
        ck_assert(fabs(distance("adapter", "out", organ_json_text(row, "module")) - organ_json_real(row, "residual")) <
                  4e-3);
    }
    lora_must((lora_way){.verb = LORA_RESIZE, .output = "all", .rank = 600, .energy = 1});
    ck_assert(distance("adapter", "all", "model.layers.1.mlp.up_proj") < 1e-5);
}
END_TEST

/* A larger rank adds nothing and loses nothing; tensors that are no factors keep their bytes. */
START_TEST(larger)
{
    size_t n, m;
    lora_must((lora_way){.verb = LORA_RESIZE, .output = "out", .rank = 64});
    organ_adapter *const a = open_adapter("out");
    ck_assert(a->r == 6 && a->alpha == 6);
    for (size_t k = 0; k < a->pair_count; k++)
        ck_assert(distance("adapter", "out", a->pairs[k].module) < 4e-3);
    organ_adapter_close(a);
    float *const was =
        lora_values(scratch_path("adapter/adapter_model.safetensors"), LORA_PREFIX "model.norm.weight", &n);
    float *const is = lora_values(scratch_path("out/adapter_model.safetensors"), LORA_PREFIX "model.norm.weight", &m);
    ck_assert(n == m && memcmp(was, is, n * sizeof *is) == 0);
    free(was);
    free(is);
    lora_refused((lora_way){.verb = LORA_RESIZE, .output = "none"}, ORGAN_USAGE, "the rank is 0");
    lora_refused((lora_way){.verb = LORA_RESIZE, .output = "none", .rank = 2, .energy = 1.5}, ORGAN_USAGE,
                 "energy 1.5");
    static const made_tensor alone[] = {{"x", ORGAN_F32, 1, {3}}};
    lora_adapter("lora", SANE, alone, 1);
    lora_refused((lora_way){.verb = LORA_RESIZE, .adapter = "lora", .output = "none", .rank = 2}, ORGAN_BAD_INPUT,
                 "no pair of factors");
}
END_TEST

START_TEST(any_threads_and_memory)
{
    static const size_t threads[] = {1, 3, 8};
    lora_must((lora_way){.verb = LORA_RESIZE, .output = "out", .rank = 3});
    for (size_t k = 0; k < COUNT(threads); k++) {
        lora_must((lora_way){.verb = LORA_RESIZE,
                             .output = "again",
                             .rank = 3,
                             .force = true,
                             .threads = threads[k],
                             .memory = k ? 1 : 1u << 30});
        ck_assert(
            same_files(scratch_path("out/adapter_model.safetensors"), scratch_path("again/adapter_model.safetensors")));
        ck_assert(same_files(scratch_path("out/adapter_config.json"), scratch_path("again/adapter_config.json")));
    }
}
END_TEST

/* ---- the writer ---- */

/* A tensor of an adapter that a test makes. */
typedef struct given_tensor {
    const char *name;
    organ_dtype dtype;
    uint64_t shape[2];
    const float *values;
} given_tensor;

/* An adapter whose units have one of these tensors each. */
typedef struct given_adapter {
    const given_tensor *tensors;
    size_t count;
    json_t *config; /* NULL: it cannot be made */
} given_adapter;

static organ_status fill_given(void *context, organ_adapter_writer *w, organ_error *error)
{
    const given_adapter *const given = context;
    for (size_t k = 0; k < given->count && !error->status; k++) {
        const given_tensor *const t = &given->tensors[k];
        if (organ_adapter_begin(w, k, error) == ORGAN_OK &&
            organ_adapter_add(w, t->name, t->dtype, 2, t->shape, t->values, error) == ORGAN_OK)
            organ_adapter_end(w, json_object(), error);
    }
    return error->status;
}

static json_t *config_given(void *context, organ_error *error)
{
    const given_adapter *const given = context;
    if (!given->config)
        organ_fail(error, ORGAN_BAD_INPUT, "no config");
    return json_incref(given->config);
}

static json_t *document_given(void *context, const organ_writing *writing)
{
    (void)context, (void)writing;
    return json_object();
}

static organ_status make_given(given_adapter *given, organ_error *error)
{
    run_engine room;
    json_t *report = NULL;
    organ_piece units[4] = {{0}};
    static const char *const names[4] = {"one", "two", "three", "four"};
    organ_adapter *const old = open_adapter("adapter");
    const organ_model whole = organ_adapter_whole(old);
    const organ_write_options requested = {.output = scratch_path("out")};
    run_engine_open(&room, (run_way){0});
    for (size_t k = 0; k < given->count; k++)
        units[k] = (organ_piece){.name = names[k], .bytes = 64};
    organ_adapter_making making = {.write = {.model = &whole,
                                             .requested = &requested,
                                             .engine = &room.engine,
                                             .context = given,
                                             .names = {.definition = "test/1",
                                                       .view = &organ_extract_view,
                                                       .stage = "testing",
                                                       .model = "adapter"},
                                             .report = {.document = document_given}},
                                   .units = units,
                                   .unit_count = given->count,
                                   .tensors = 2,
                                   .name_bytes = 64,
                                   .fill = fill_given,
                                   .config = config_given};
    *error = (organ_error){0};
    organ_adapter_make(&making, &report, error);
    json_decref(report);
    run_engine_close(&room);
    organ_adapter_close(old);
    return error->status;
}

START_TEST(writer_refuses)
{
    static const float good[2] = {1, 2}, bad[2] = {1, NAN}, large[2] = {1, 3.4e38f};
    static const struct {
        organ_dtype dtype;
        const char *name;
        const float *values;
        uint64_t rows;
        const char *text;
    } rows[] = {{ORGAN_F32, "a", good, 1, "two tensors would have the name 'a'"},
                {ORGAN_F32, "b", good, 9, "tensor 'b' is too large"},
                {ORGAN_F32, "b", bad, 1, "tensor 'b': value 1 is nan"},
                {ORGAN_BF16, "b", large, 1, "tensor 'b': value 1 is 3.4e+38, which exceeds the range of BF16"}};
    for (size_t k = 0; k < COUNT(rows); k++) {
        organ_error error;
        const given_tensor tensors[2] = {{"a", ORGAN_F32, {1, 2}, good},
                                         {rows[k].name, rows[k].dtype, {rows[k].rows, 2}, rows[k].values}};
        given_adapter given = {tensors, 2, json_object()};
        ck_assert_int_eq(make_given(&given, &error), ORGAN_BAD_INPUT);
        ck_assert_msg(strstr(error.message, rows[k].text), "%s", error.message);
        ck_assert(!scratch_left("out"));
        json_decref(given.config);
    }
}
END_TEST

/* Descriptor 0 belongs to the caller. */
START_TEST(failed_config_closes_nothing)
{
    static const float values[2] = {1, 2};
    static const given_tensor tensors[1] = {{"a", ORGAN_F32, {1, 2}, values}};
    organ_error error;
    given_adapter given = {tensors, 1, NULL};
    ck_assert_int_ge(fcntl(0, F_GETFD), 0);
    ck_assert_int_eq(make_given(&given, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "no config");
    ck_assert_int_ge(fcntl(0, F_GETFD), 0);
}
END_TEST

START_TEST(config_that_all_read)
{
    static const char *const modules[] = {"model.layers.1.mlp.up_proj", "model.layers.0.self_attn.q_proj",
                                          "model.layers.0.mlp.up_proj", "x"};
    static const float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    static const given_tensor tensors[2] = {{LORA_PREFIX "x.lora_A.weight", ORGAN_F32, {2, 4}, values},
                                            {LORA_PREFIX "x.lora_B.weight", ORGAN_BF16, {4, 2}, values}};
    organ_error error;
    given_adapter given = {tensors, 2, organ_adapter_config_make("a/b", 2, organ_adapter_targets(modules, 4))};
    ck_assert_ptr_nonnull(given.config);
    ck_assert_msg(make_given(&given, &error) == ORGAN_OK, "%s", error.message);
    json_decref(given.config);
    organ_adapter *const a = open_adapter("out");
    ck_assert(a->r == 2 && a->alpha == 2 && a->pair_count == 1 && a->pairs[0].scale == 1);
    ck_assert_str_eq(a->base, "a/b");
    const json_t *const targets = json_object_get(a->config, "target_modules");
    ck_assert_uint_eq(json_array_size(targets), 3);
    ck_assert_str_eq(json_string_value(json_array_get(targets, 1)), "up_proj");
    organ_adapter_close(a);
    lora_must((lora_way){.verb = LORA_SANITIZE, .adapter = "out", .check = true});
}
END_TEST

Suite *lora_rank_suite(void)
{
    Suite *const suite = suite_create("lora_ranks");
    TCase *const all = tcase_create("results");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, lora_setup, lora_teardown);
    tcase_add_test(all, sanitised);
    tcase_add_test(all, targets_by_expression);
    tcase_add_loop_test(all, found, 0, COUNT(findings));
    tcase_add_test(all, nothing_found);
    tcase_add_test(all, not_to_be_mended);
    tcase_add_loop_test(all, cut_to_rank, 0, 7);
    tcase_add_test(all, by_energy);
    tcase_add_test(all, larger);
    tcase_add_test(all, any_threads_and_memory);
    tcase_add_test(all, writer_refuses);
    tcase_add_test(all, failed_config_closes_nothing);
    tcase_add_test(all, config_that_all_read);
    suite_add_tcase(suite, all);
    return suite;
}
