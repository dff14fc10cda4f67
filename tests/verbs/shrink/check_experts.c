/* SPDX-License-Identifier: MIT
 * Tests of the scores of experts: those of the reference for any threads, memory, CPU and ranks; the file of scores;
 * the choice of experts. */
#include "orchestrator/verbs/shrink/experts_parts.h"
#include <organ/quantize.h>
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/rank_threads.h"
#include "tests/kit/require.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/shrink/experts_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL "fixtures/tiny-moe"
#define TEXT  MODEL "/calibration.txt"

/* ---- measuring scores ---- */

typedef struct requested {
    const char *model;
    unsigned samples, context, threads;
    uint64_t memory;
    const char *scratch, *isa, *file;
    bool without_loss;
    organ_ranks *ranks;
    organ_stop *stop;
} requested;

static const requested usual = {
    .model = MODEL, .samples = GOLDEN_SAMPLES, .context = GOLDEN_CONTEXT, .threads = 2, .memory = ROOMY};

/* Measures the scores. *whole: the file of scores was complete. */
static organ_status measure(const requested *a, organ_expert_scores *scores, bool *whole, organ_error *error)
{
    session s;
    const char *why;
    organ_expert_measure *m = NULL;
    ck_assert_msg(session_open(&s, a->model, a->threads, a->memory, error) == ORGAN_OK, "%s", error->message);
    s.engine.kernels = organ_kernels_choose(organ_cpu_detect(), a->isa, &why);
    s.engine.ranks = a->ranks;
    s.engine.stop = a->stop;
    const organ_expert_measure_options options = {.model = s.model,
                                                  .calibration.text = TEXT,
                                                  .calibration.samples = a->samples,
                                                  .calibration.context = a->context,
                                                  .calibration.scratch = a->scratch,
                                                  .engine = &s.engine};
    if (organ_expert_scores_open(s.model, &s.engine, !a->without_loss, scores, error) == ORGAN_OK &&
        organ_expert_measure_open(&options, scores, &m, error) == ORGAN_OK &&
        (!a->file ||
         organ_expert_scores_read(scores, m->identity, a->file, "to measure again, give another file with `scores`",
                                  whole, error) == ORGAN_OK))
        organ_expert_measure_run(m, NULL, a->file, error);
    organ_expert_measure_close(m);
    session_close(&s);
    return error->status;
}

static organ_expert_scores measured(const requested *a)
{
    organ_expert_scores scores;
    organ_error error = {0};
    bool whole;
    ck_assert_msg(measure(a, &scores, &whole, &error) == ORGAN_OK, "%s", error.message);
    return scores;
}

/* ---- comparison with the reference ---- */

static bool near(double a, double b) { return fabs(a - b) <= 1e-4 * fabs(b) + 1e-12; }

static void compare(const organ_expert_scores *s, const expert_table *g)
{
    ck_assert_uint_eq(s->layers, g->dense + g->layers);
    for (size_t l = 0; l < g->dense; l++)
        ck_assert(s->of[l].known && s->of[l].dense);
    for (size_t l = 0; l < g->layers; l++) {
        const organ_expert_layer *const layer = &s->of[g->dense + l];
        const expert_row *const wanted = &g->of[l];
        REQUIRE_MSG(layer->known && !layer->dense && near(layer->power, wanted->power), "layer %zu: power %g, not %g",
                    l, layer->power, wanted->power);
        for (size_t e = 0; e < g->experts; e++) {
            REQUIRE_MSG(layer->frequency[e] == wanted->frequency[e], "layer %zu, expert %zu: %llu", l, e,
                        (unsigned long long)layer->frequency[e]);
            REQUIRE_MSG(near(layer->sum[e], wanted->sum[e]), "layer %zu, expert %zu: sum %g, not %g", l, e,
                        layer->sum[e], wanted->sum[e]);
            REQUIRE(layer->frequency[e] == 0 || near(layer->reap[e], wanted->sum[e] / (double)wanted->frequency[e]));
        }
        for (size_t k = 0; k < g->steps; k++) {
            REQUIRE_MSG(layer->removed[k] == wanted->removed[k], "layer %zu, step %zu: %u", l, k, layer->removed[k]);
            REQUIRE_MSG(near(layer->loss[k], wanted->loss[k]), "layer %zu, step %zu: loss %g, not %g", l, k,
                        layer->loss[k], wanted->loss[k]);
        }
    }
}

START_TEST(scores_are_those_of_the_oracle)
{
    organ_expert_scores s = measured(&usual);
    ck_assert_uint_eq(s.tokens, GOLDEN_SAMPLES * GOLDEN_CONTEXT);
    const expert_table oracle = expert_table_of("divided");
    compare(&s, &oracle);
    organ_expert_scores_release(&s);
}
END_TEST

static void copy_model(const char *to)
{
    static const char *const files[] = {"config.json",
                                        "tokenizer.json",
                                        "model.safetensors.index.json",
                                        "model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    mkdir(scratch_path("%s", to), 0700);
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        char from[100];
        snprintf(from, sizeof from, MODEL "/%s", files[k]);
        copy_file(from, scratch_path("%s/%s", to, files[k]));
    }
}

/* Makes the same model without normalised router weights: dropping an expert then changes its weights for every
 * token. */
static const char *plain_model(void)
{
    json_error_t fault;
    copy_model("plain");
    json_t *const config = json_load_file(MODEL "/config.json", 0, &fault);
    json_object_set_new(config, "norm_topk_prob", json_false());
    ck_assert_int_eq(json_dump_file(config, scratch_path("plain/config.json"), 0), 0);
    json_decref(config);
    return scratch_path("plain");
}

START_TEST(gates_that_are_not_divided_are_known_too)
{
    requested a = usual;
    a.model = plain_model();
    a.samples = PLAIN_SAMPLES;
    a.context = PLAIN_CONTEXT;
    organ_expert_scores s = measured(&a);
    const expert_table oracle = expert_table_of("plain");
    compare(&s, &oracle);
    organ_expert_scores_release(&s);
}
END_TEST

/* A dense layer, two layers with a router correction and two groups, and a block for multi-token prediction like these
 * two, whose scores are those of its inputs in use. */
static const char *logistic_model(void)
{
    mkdir(scratch_path("logistic"), 0700);
    copy_file("fixtures/forward/glm4moe/config.json", scratch_path("logistic/config.json"));
    copy_file("fixtures/forward/glm4moe/model.safetensors", scratch_path("logistic/model.safetensors"));
    copy_file(MODEL "/tokenizer.json", scratch_path("logistic/tokenizer.json"));
    return scratch_path("logistic");
}

static requested of_logistic(void)
{
    requested a = usual;
    a.model = logistic_model();
    a.samples = LOGISTIC_SAMPLES;
    a.context = LOGISTIC_CONTEXT;
    return a;
}

START_TEST(logistic_routers_with_groups_are_known_too)
{
    requested a = of_logistic();
    a.file = scratch_path("logistic.json");
    organ_expert_scores s = measured(&a), again;
    const expert_table oracle = expert_table_of("logistic");
    compare(&s, &oracle);
    ck_assert_uint_eq(s.trunk, 3);
    for (size_t l = 1; l < 4; l++) {
        uint32_t kept[6];
        for (organ_expert_score score = ORGAN_EXPERT_LOSS; score <= ORGAN_EXPERT_FREQUENCY; score++) {
            organ_expert_scores_choose(&s, l, score, 4, kept);
            ck_assert_mem_eq(kept, oracle.of[l - 1].kept + 4 * score, sizeof(uint32_t) * 4);
        }
    }
    again = measured(&a); /* read from the file */
    ck_assert(again.of[0].dense && memcmp(again.of[2].sum, s.of[2].sum, 6 * sizeof(double)) == 0);
    ck_assert_mem_eq(again.of[2].removed, s.of[2].removed, 2 * sizeof(uint32_t));
    ck_assert_mem_eq(again.of[3].loss, s.of[3].loss, 2 * sizeof(double));
    organ_expert_scores_release(&s);
    organ_expert_scores_release(&again);
}
END_TEST

/* ---- bit identity ---- */

static void same(const organ_expert_scores *a, const organ_expert_scores *b, const char *what)
{
    for (size_t l = 0; l < a->layers; l++) {
        const organ_expert_layer *const x = &a->of[l], *const y = &b->of[l];
        REQUIRE_MSG(x->known && y->known, "%s: layer %zu is not known", what, l);
        if (x->dense)
            continue;
        REQUIRE_MSG(memcmp(x->frequency, y->frequency, a->experts * sizeof *x->frequency) == 0, "%s: frequency", what);
        REQUIRE_MSG(memcmp(x->sum, y->sum, a->experts * sizeof *x->sum) == 0, "%s: sum", what);
        REQUIRE_MSG(memcmp(x->reap, y->reap, a->experts * sizeof *x->reap) == 0, "%s: reap", what);
        if (!a->with_loss || !b->with_loss)
            continue;
        REQUIRE_MSG(memcmp(&x->power, &y->power, sizeof x->power) == 0, "%s: power", what);
        REQUIRE_MSG(memcmp(x->removed, y->removed, (a->experts - a->least) * sizeof *x->removed) == 0, "%s: removed",
                    what);
        REQUIRE_MSG(memcmp(x->loss, y->loss, (a->experts - a->least) * sizeof *x->loss) == 0, "%s: loss", what);
    }
}

/* Returns a run over two chunks of windows, or over one under emulation. */
static requested longer(void)
{
    requested a = usual;
    a.samples = (unsigned)sampled(11, 4);
    return a;
}

/* Returns the least memory that is enough. */
static uint64_t least(const requested *a)
{
    organ_expert_scores s;
    organ_error error = {0};
    bool whole;
    requested poor = *a;
    poor.memory = (uint64_t)1 << 20;
    ck_assert_int_eq(measure(&poor, &s, &whole, &error), ORGAN_USAGE);
    organ_expert_scores_release(&s);
    const char *const named = strstr(error.message, "; --memory ");
    ck_assert_msg(named && strstr(error.message, "is enough"), "%s", error.message);
    char *unit;
    const uint64_t number = strtoull(named + 11, &unit, 10);
    return number << (*unit == 'M' ? 20 : 10);
}

static void compare_cpus(requested a)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    const char *why;
    organ_expert_scores first = measured(&a);
    for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
        if (!organ_kernels_choose(organ_cpu_detect(), isas[k], &why))
            continue;
        a.isa = isas[k];
        a.threads = 1 + (unsigned)k;
        organ_expert_scores other = measured(&a);
        same(&first, &other, isas[k]);
        organ_expert_scores_release(&other);
    }
    organ_expert_scores_release(&first);
}

START_TEST(no_cpu_shows)
{
    requested a = usual;
    a.samples = 2;
    compare_cpus(a);
    if (sampled(1, 0))
        compare_cpus(of_logistic());
}
END_TEST

START_TEST(neither_threads_nor_memory_show)
{
    requested a = longer();
    organ_expert_scores first = measured(&a);
    a.threads = 3;
    a.memory = least(&a);
    organ_expert_scores little = measured(&a);
    same(&first, &little, "little memory");
    organ_expert_scores_release(&little);
    const uint64_t without = a.memory;
    a.scratch = scratch_path(".");
    a.memory = least(&a);
    ck_assert_uint_lt(a.memory, without + (uint64_t)sampled(0, 1)); /* few windows may need less */
    little = measured(&a);
    same(&first, &little, "products in a file");
    organ_expert_scores_release(&little);
    a = longer();
    a.without_loss = true;
    organ_expert_scores cheap = measured(&a);
    same(&first, &cheap, "without the loss");
    organ_expert_scores_release(&cheap);
    organ_expert_scores_release(&first);
}
END_TEST

/* Packed weights are measured in their packed form and give the scores of their values. */
START_TEST(packed_weights_are_measured)
{
    session s;
    organ_error error = {0};
    json_t *report;
    const char *const packed = scratch_path("packed"), *const values = scratch_path("values");
    ck_assert_int_eq(session_open(&s, MODEL, 2, ROOMY, &error), ORGAN_OK);
    const organ_quantize_options q = {
        .model = MODEL, .write.output = packed, .scheme = "int4-group32", .write.max_shard_size = UINT64_MAX};
    ck_assert_msg(organ_quantize(&q, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    const organ_dequantize_options d = {
        .model = packed, .write.output = values, .dtype = "f32", .write.max_shard_size = UINT64_MAX};
    ck_assert_msg(organ_dequantize(&d, &s.engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    session_close(&s);
    requested a = usual;
    a.samples = 3;
    a.model = packed;
    organ_expert_scores codes = measured(&a), other;
    a.model = values;
    other = measured(&a);
    same(&codes, &other, "packed");
    organ_expert_scores_release(&codes);
    organ_expert_scores_release(&other);
}
END_TEST

/* An expert of layer 1 whose outputs are NaN. */
START_TEST(what_is_no_number_is_refused)
{
    organ_model *model;
    organ_error error = {0};
    organ_expert_scores s;
    bool whole;
    requested a = usual;
    copy_model("broken");
    a.model = scratch_path("broken");
    ck_assert_int_eq(organ_model_open(a.model, &model, &error), ORGAN_OK);
    const organ_tensor *const tensor = organ_model_find(model, "model.layers.1.mlp.experts.3.down_proj.weight");
    FILE *const file = fopen(scratch_path("broken/%s", model->files[tensor->file].name), "r+b");
    ck_assert(file && fseek(file, (long)tensor->offset, SEEK_SET) == 0 && fwrite("\xff\x7f", 1, 2, file) == 2 &&
              fclose(file) == 0);
    organ_model_close(model);
    for (size_t k = 0; k < 2; k++) {
        a.without_loss = k == 1;
        error = (organ_error){0};
        ck_assert_msg(measure(&a, &s, &whole, &error) == ORGAN_BAD_INPUT, "%s", error.message);
        ck_assert_msg(strstr(error.message, "expert 3 of layer 1 returns a value that is not finite") != NULL, "%s",
                      error.message);
        organ_expert_scores_release(&s);
    }
}
END_TEST

static organ_expert_scores of_rank[MAX_PLAYERS];

static void play_rank(organ_ranks *ranks, organ_error *error)
{
    requested a = longer();
    bool whole;
    a.ranks = ranks;
    a.threads = 1;
    measure(&a, &of_rank[organ_ranks_rank(ranks)], &whole, error);
}

START_TEST(ranks_measure_what_one_process_does)
{
    const requested a = longer();
    organ_expert_scores alone = measured(&a);
    for (size_t count = 2; count <= 3; count++) {
        play(count, play_rank);
        for (size_t r = 0; r < count; r++) {
            ck_assert_msg(players[r].error.status == ORGAN_OK, "%s", players[r].error.message);
            same(&alone, &of_rank[r], "ranks");
            organ_expert_scores_release(&of_rank[r]);
        }
    }
    organ_expert_scores_release(&alone);
}
END_TEST

/* ---- the file of scores ---- */

static json_t *document_of(const char *path)
{
    json_error_t fault;
    json_t *const document = json_load_file(path, 0, &fault);
    ck_assert_msg(document != NULL, "%s", fault.text);
    return document;
}

/* A run that was ended in its third layer has stored the first two; the final file has the same bytes. */
START_TEST(an_unfinished_measurement_goes_on)
{
    requested a = usual;
    a.samples = 4;
    a.context = 64;
    a.file = scratch_path("scores.json");
    organ_expert_scores first = measured(&a), second;
    copy_file(a.file, scratch_path("whole.json"));
    json_t *const document = document_of(a.file);
    for (size_t l = 2; l < LAYERS; l++)
        json_array_set_new(json_object_get(document, "layers"), l, json_null());
    json_dump_file(document, a.file, 0);
    json_decref(document);
    organ_error error = {0};
    bool whole = true;
    ck_assert_msg(measure(&a, &second, &whole, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!whole);
    same(&first, &second, "goes on");
    ck_assert(same_files(a.file, scratch_path("whole.json")));
    organ_expert_scores_release(&second);
    ck_assert_msg(measure(&a, &second, &whole, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(whole);
    same(&first, &second, "is read");
    organ_expert_scores_release(&second);
    organ_stop stop = {0};
    organ_stop_request(&stop);
    a.stop = &stop;
    a.file = NULL;
    ck_assert_int_eq(measure(&a, &second, &whole, &error), ORGAN_INTERRUPTED);
    organ_expert_scores_release(&second);
    organ_expert_scores_release(&first);
}
END_TEST

typedef struct wrong_file {
    const char *member; /* a member of the document, or "layers.MEMBER" of its second layer */
    const char *value;
    organ_status status;
    const char *message;
} wrong_file;

static void spoil(const wrong_file *wrong, const char *from, const char *to)
{
    json_t *const document = document_of(from), *object = document;
    const char *member = wrong->member;
    if (strncmp(member, "layers.", 7) == 0) {
        object = json_array_get(json_object_get(document, "layers"), 1);
        member += 7;
    }
    json_object_set_new(object, member, json_loads(wrong->value, JSON_DECODE_ANY, NULL));
    json_dump_file(document, to, 0);
    json_decref(document);
}

START_TEST(what_is_wrong_in_a_file_is_named)
{
    static const wrong_file wrongs[] = {
        {"schema", "\"organ.prune/1\"", ORGAN_BAD_INPUT, "its schema is 'organ.prune/1', not organ.expert_scores/1"},
        {"model", "\"0123456789abcdef\"", ORGAN_USAGE,
         "contains the scores of a different run: its model is \"0123456789abcdef\", but here it is"},
        {"text", "\"0123456789abcdef\"", ORGAN_USAGE, "its text is \"0123456789abcdef\""},
        {"samples", "5", ORGAN_USAGE,
         "its samples is 5, but here it is 4; to measure again, give another file with `scores`"},
        {"experts", "15", ORGAN_USAGE, "its experts is 15, but here it is 16"},
        {"loss", "false", ORGAN_USAGE, "was measured without the loss, which `score` loss needs"},
        {"layers", "[]", ORGAN_BAD_INPUT, "has 0 layers, but the model has 4"},
        {"tokens", "0", ORGAN_BAD_INPUT, "tokens is not a count"},
        {"layers.layer", "2", ORGAN_BAD_INPUT, "layers[1].layer is not 1"},
        {"layers.sum", "[1,2]", ORGAN_BAD_INPUT, "layers[1].sum is not 16 numbers of 0 to 1e+300"},
        {"layers.frequency", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,0.5]", ORGAN_BAD_INPUT,
         "layers[1].frequency is not 16 numbers"},
        {"layers.removed", "[0,1,2,3,4,5,6,7,8,9,10,16]", ORGAN_BAD_INPUT,
         "layers[1].removed is not 12 numbers of 0 to 15"},
        {"layers.removed", "[0,1,2,3,4,5,6,7,8,9,10,3]", ORGAN_BAD_INPUT, "layers[1].removed has expert 3 twice"},
        {"layers.loss", "[0,1,2,3,4,5,6,7,8,9,10,-3]", ORGAN_BAD_INPUT,
         "layers[1].loss is not 12 numbers of 0 to 1e+300"},
        {"layers.power", "null", ORGAN_BAD_INPUT, "layers[1].power is not a number of at least 0"}};
    requested a = usual;
    a.samples = 4;
    a.context = 64;
    a.file = scratch_path("good.json");
    organ_expert_scores s = measured(&a);
    organ_expert_scores_release(&s);
    char good[200];
    snprintf(good, sizeof good, "%s", a.file);
    a.file = scratch_path("wrong.json");
    for (size_t k = 0; k < sizeof wrongs / sizeof *wrongs; k++) {
        organ_error error = {0};
        bool whole;
        spoil(&wrongs[k], good, a.file);
        ck_assert_msg(measure(&a, &s, &whole, &error) == wrongs[k].status, "%s: %s", wrongs[k].member, error.message);
        ck_assert_msg(strstr(error.message, wrongs[k].message) != NULL, "%s", error.message);
        for (size_t l = 0; l < LAYERS; l++)
            ck_assert(!s.of[l].known);
        organ_expert_scores_release(&s);
    }
}
END_TEST

/* ---- the choice of experts ---- */

START_TEST(what_stays_is_chosen)
{
    uint64_t frequency[6] = {3, 0, 5, 5, 0, 1};
    double sum[6] = {9, 0, 5, 10, 0, 8}, reap[6] = {3, 0, 1, 2, 0, 8}, loss[4] = {0, 0, 4, 6};
    uint32_t removed[4] = {4, 1, 2, 5}, kept[6];
    organ_expert_layer layer = {true, frequency, sum, reap, 20, removed, loss, false};
    const organ_expert_scores s = {
        .layers = 1, .experts = 6, .used = 2, .least = 2, .groups = 1, .with_loss = true, .of = &layer};
    static const struct {
        organ_expert_score score;
        uint32_t keep, kept[6];
    } cases[] = {{ORGAN_EXPERT_REAP, 3, {0, 3, 5}},
                 {ORGAN_EXPERT_SUM, 3, {0, 3, 5}},
                 {ORGAN_EXPERT_SUM, 2, {0, 3}},
                 {ORGAN_EXPERT_FREQUENCY, 3, {0, 2, 3}},
                 {ORGAN_EXPERT_FREQUENCY, 5, {0, 1, 2, 3, 5}},
                 {ORGAN_EXPERT_LOSS, 6, {0, 1, 2, 3, 4, 5}},
                 {ORGAN_EXPERT_LOSS, 4, {0, 2, 3, 5}},
                 {ORGAN_EXPERT_LOSS, 2, {0, 3}}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        organ_expert_scores_choose(&s, 0, cases[k].score, cases[k].keep, kept);
        ck_assert_msg(memcmp(kept, cases[k].kept, cases[k].keep * sizeof *kept) == 0, "case %zu", k);
    }
    ck_assert_double_eq(organ_expert_scores_missed(&s, 0, 6), 0);
    ck_assert_double_eq(organ_expert_scores_missed(&s, 0, 3), 0.2);
}
END_TEST

/* The layer that loses less drops more experts, down to the number that a token uses. */
START_TEST(a_budget_goes_where_it_costs_least)
{
    double losses[3][3] = {{1, 2, 3}, {0, 0, 90}, {10, 20, 30}};
    organ_expert_layer layers[3] = {
        {.power = 10, .loss = losses[0]}, {.power = 100, .loss = losses[1]}, {.power = 20, .loss = losses[2]}};
    const organ_expert_scores s = {.layers = 3, .experts = 4, .used = 1, .least = 1, .groups = 1, .of = layers};
    uint32_t keep[3];
    organ_expert_scores_divide(&s, 10, keep);
    ck_assert(keep[0] == 4 && keep[1] == 2 && keep[2] == 4);
    organ_expert_scores_divide(&s, 7, keep);
    ck_assert(keep[0] == 1 && keep[1] == 2 && keep[2] == 4);
    organ_expert_scores_divide(&s, 3, keep);
    ck_assert(keep[0] == 1 && keep[1] == 1 && keep[2] == 1);
}
END_TEST

START_TEST(what_cannot_be_measured_is_refused)
{
    organ_error error = {0};
    organ_model *model;
    organ_expert_scores s;
    organ_expert_score score;
    ck_assert_int_eq(organ_model_open("fixtures/tiny-qwen2", &model, &error), ORGAN_OK);
    ck_assert_int_eq(organ_expert_scores_open(model, /*engine=*/NULL, true, &s, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "fixtures/tiny-qwen2 has no experts, its layers are dense"));
    organ_expert_scores_release(&s);
    organ_model_close(model);
    error = (organ_error){0};
    ck_assert_int_eq(organ_expert_score_named("reap", &score, &error), ORGAN_OK);
    ck_assert_int_eq(score, ORGAN_EXPERT_REAP);
    ck_assert_str_eq(organ_expert_score_name(score), "reap");
    ck_assert_int_eq(organ_expert_score_named("reaper", &score, &error), ORGAN_USAGE);
    ck_assert_str_eq(error.message, "`score` 'reaper' is unknown: loss, reap, sum or frequency");
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"scores",
         {scores_are_those_of_the_oracle, gates_that_are_not_divided_are_known_too,
          logistic_routers_with_groups_are_known_too, what_is_no_number_is_refused}},
        {"the same",
         {no_cpu_shows, neither_threads_nor_memory_show, packed_weights_are_measured,
          ranks_measure_what_one_process_does}},
        {"file", {an_unfinished_measurement_goes_on, what_is_wrong_in_a_file_is_named}},
        {"choice", {what_stays_is_chosen, a_budget_goes_where_it_costs_least, what_cannot_be_measured_is_refused}},
    };
    Suite *const suites[] = {suite_of("experts", cases, sizeof cases / sizeof *cases, scratch_make, scratch_remove),
                             NULL};
    return run_suites(suites);
}
