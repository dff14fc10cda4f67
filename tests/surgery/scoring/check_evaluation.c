/* SPDX-License-Identifier: MIT
 * Tests of --evaluate for every operation that writes a model: the figures of organ_perplexity for any threads and
 * memory; errors before anything is written; and a complete output although its evaluation failed. */
#include <organ/report.h>
#include <organ/prune.h>
#include <organ/lora.h>
#include <organ/organs.h>
#include <organ/quantize.h>
#include <organ/purify.h>
#include <organ/evaluate.h>
#include "tests/kit/model_maker.h"
#include "tests/kit/run_rig.h"
#include "tests/kit/suite_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DONOR "fixtures/tiny-qwen2"
#define TEXT  DONOR "/heldout.txt"
#define GGUF  "fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf"

static json_t *report;

/* A run: donor, output and options. NULL and zeros: DONOR, "out", the text's first 200 tokens, 256 MiB, two threads. */
typedef struct made_way {
    const char *model, *output;
    const organ_experiment_options *evaluate;
    const organ_progress *progress;
    const organ_stop *stop;
    size_t threads;
    uint64_t memory;
    bool dry_run, resume, plain; /* plain: without --evaluate */
} made_way;

typedef organ_status make_with(const made_way *w, const char *model, const char *output,
                               const organ_experiment_options *e, const organ_engine *engine, organ_error *error);

static organ_status prune_by(const char *method, const made_way *w, const char *model, const char *output,
                             const organ_experiment_options *e, const organ_engine *engine, organ_error *error)
{
    const bool v1 = strcmp(method, "physarum-v1") == 0, wanda = strcmp(method, "wanda") == 0;
    const organ_prune_options o = {.donor = model,
                                   .write.output = output,
                                   .block_size = 256,
                                   .iterations = 30,
                                   .beta = 2,
                                   .coupling = 1,
                                   .sparsity = v1 ? -1 : 30,
                                   .write.resume = w->resume,
                                   .write.dry_run = w->dry_run,
                                   .write.evaluate = e,
                                   .calibrated.method = method,
                                   .calibrated.calibration.text = wanda ? DONOR "/calibration.txt" : NULL,
                                   .calibrated.calibration.samples = wanda ? 4 : 128,
                                   .calibrated.calibration.context = wanda ? 64 : 512};
    return organ_prune(&o, engine, w->progress, &report, error);
}

static organ_status prune(const made_way *w, const char *model, const char *output, const organ_experiment_options *e,
                          const organ_engine *engine, organ_error *error)
{
    return prune_by("physarum-v1", w, model, output, e, engine, error);
}

static organ_status wanda(const made_way *w, const char *model, const char *output, const organ_experiment_options *e,
                          const organ_engine *engine, organ_error *error)
{
    return prune_by("wanda", w, model, output, e, engine, error);
}

static organ_status purify(const made_way *w, const char *model, const char *output, const organ_experiment_options *e,
                           const organ_engine *engine, organ_error *error)
{
    const organ_purify_options o = {.model = model,
                                    .write.output = output,
                                    .method = "haar",
                                    .threshold = -1,
                                    .strength = 0.3,
                                    .layers = "0",
                                    .write.dry_run = w->dry_run,
                                    .write.evaluate = e};
    return organ_purify(&o, engine, w->progress, &report, error);
}

static organ_status quantize(const made_way *w, const char *model, const char *output,
                             const organ_experiment_options *e, const organ_engine *engine, organ_error *error)
{
    const organ_quantize_options o = {.model = model,
                                      .write.output = output,
                                      .scheme = "int4-group32",
                                      .write.max_shard_size = 5 << 20,
                                      .write.dry_run = w->dry_run,
                                      .write.evaluate = e};
    return organ_quantize(&o, engine, w->progress, &report, error);
}

static organ_status dequantize(const made_way *w, const char *model, const char *output,
                               const organ_experiment_options *e, const organ_engine *engine, organ_error *error)
{
    const organ_dequantize_options o = {.model = model,
                                        .write.output = output,
                                        .dtype = "bf16",
                                        .write.max_shard_size = 5 << 20,
                                        .write.dry_run = w->dry_run,
                                        .write.evaluate = e};
    return organ_dequantize(&o, engine, w->progress, &report, error);
}

static organ_status merge(const made_way *w, const char *model, const char *output, const organ_experiment_options *e,
                          const organ_engine *engine, organ_error *error)
{
    const organ_lora_merge_options o = {.base = model,
                                        .adapter = "fixtures/tiny-lora",
                                        .write.output = output,
                                        .scale = 0.5,
                                        .write.max_shard_size = 5 << 20,
                                        .write.dry_run = w->dry_run,
                                        .write.evaluate = e};
    return organ_lora_merge(&o, engine, w->progress, &report, error);
}

/* Makes layer 0 a copy of layer 2. */
static organ_status graft(const made_way *w, const char *model, const char *output, const organ_experiment_options *e,
                          const organ_engine *engine, organ_error *error)
{
    const organ_graft_options o = {.source = model,
                                   .target = model,
                                   .write.output = output,
                                   .layers = "2",
                                   .map = "2:0",
                                   .write.dry_run = w->dry_run,
                                   .write.evaluate = e,
                                   .engine = engine};
    return organ_graft(&o, engine->kernels, w->progress, engine->stop, &report, error);
}

static const struct {
    const char *name, *before;
    make_with *run;
} makers[] = {{"prune", "donor", prune},       {"wanda", "donor", wanda},           {"purify", "model", purify},
              {"quantize", "model", quantize}, {"dequantize", "model", dequantize}, {"merge", "base", merge},
              {"graft", "target", graft}};
enum { MAKERS = sizeof makers / sizeof *makers };

/* A file with the beginning of TEXT in the scratch directory. */
static char text_path[256];
static const organ_experiment_options usual = {.text = text_path, .context = 64, .max_tokens = 200};

static organ_status make(make_with *run, made_way w, organ_error *error)
{
    run_engine room;
    *error = (organ_error){0};
    json_decref(report);
    report = NULL;
    run_engine_open(&room, (run_way){.threads = w.threads, .memory = w.memory ? w.memory : 256 << 20, .stop = w.stop});
    const organ_experiment_options *const evaluate = w.evaluate ? w.evaluate : &usual;
    const organ_status status = run(&w, w.model ? w.model : DONOR, scratch_path("%s", w.output ? w.output : "out"),
                                    w.plain ? NULL : evaluate, &room.engine, error);
    run_engine_close(&room);
    return status;
}

static void must(make_with *run, made_way w)
{
    organ_error error;
    ck_assert_msg(make(run, w, &error) == ORGAN_OK, "%s", error.message);
}

static void setup(void)
{
    size_t size;
    char *const text = slurp(TEXT, &size);
    scratch_make();
    snprintf(text_path, sizeof text_path, "%s", scratch_path("text.txt"));
    spill(text_path, text, 2000);
    free(text);
}

static void teardown(void)
{
    json_decref(report);
    report = NULL;
    scratch_remove();
}

/* ---- figures of an evaluation ---- */

static json_t *perplexity_of(const char *before, const char *after, const organ_experiment_options *e)
{
    const organ_perplexity_options o = {.model = before, .compare = after, .experiment = *e};
    run_engine room;
    organ_error error = {0};
    json_t *found = NULL;
    run_engine_open(&room, (run_way){.memory = 256 << 20});
    ck_assert_msg(organ_perplexity(&o, &room.engine, NULL, &found, &error) == ORGAN_OK, "%s", error.message);
    run_engine_close(&room);
    return found;
}

static void same(const json_t *a, const json_t *b, const char *what)
{
    char *const x = json_dumps(a, JSON_INDENT(1) | JSON_ENCODE_ANY), *const y = json_dumps(b, JSON_INDENT(1) |
                                                                                                  JSON_ENCODE_ANY);
    ck_assert_msg(a && b && json_equal(a, b), "%s: %s\n%s", what, x ? x : "nothing", y ? y : "nothing");
    free(x);
    free(y);
}

/* Compares the figures of the last report with those of perplexity for both models. */
static void expect_figures(const char *before, const char *after, const organ_experiment_options *e)
{
    json_t *const found = perplexity_of(before, after, e);
    const json_t *const models = organ_json_at(found, "models"), *const first = json_array_get(models, 0),
                        *const second = json_array_get(models, 1);
    same(organ_json_at(report, "evaluation.experiment"), organ_json_at(found, "experiment"), "experiment");
    same(organ_json_at(report, "evaluation.before.figures"), organ_json_at(first, "figures"), "before");
    same(organ_json_at(report, "evaluation.after.figures"), organ_json_at(second, "figures"), "after");
    same(organ_json_at(report, "evaluation.comparison"), organ_json_at(second, "comparison"), "comparison");
    ck_assert(json_is_null(organ_json_at(report, "evaluation.not_evaluated")));
    json_decref(found);
}

START_TEST(figures_are_those_of_perplexity)
{
    must(makers[_i].run, (made_way){0});
    ck_assert_str_eq(organ_json_text(report, "evaluation.before.is"), makers[_i].before);
    expect_figures(DONOR, scratch_path("out"), &usual);
    ck_assert_uint_eq(organ_json_count(report, "evaluation.experiment.text.bytes"), 2000);
    ck_assert(organ_json_count(report, "evaluation.experiment.tokens_scored") > 180);
}
END_TEST

/* The style of perplexity is an option. */
START_TEST(style_is_that_of_the_options)
{
    const organ_experiment_options e = {.text = text_path, .style = "lm-eval", .context = 32, .max_tokens = 100};
    must(makers[_i].run, (made_way){.evaluate = &e});
    expect_figures(DONOR, scratch_path("out"), &e);
    ck_assert(json_is_real(organ_json_at(report, "evaluation.after.figures.word_perplexity")));
}
END_TEST

START_TEST(packed_weights_are_scored_as_they_are)
{
    must(quantize, (made_way){.output = "packed", .plain = true});
    const char *const packed = scratch_path("packed");
    must(dequantize, (made_way){.model = packed});
    expect_figures(packed, scratch_path("out"), &usual);
    ck_assert(organ_json_real(report, "evaluation.comparison.kl_divergence") < 1e-3);
    must(merge, (made_way){.model = packed, .output = "merged"});
    expect_figures(packed, scratch_path("merged"), &usual);
}
END_TEST

/* One GGUF file, an organ directory, a model named by its index. */
START_TEST(models_in_other_forms)
{
    organ_error error = {0};
    json_t *extracted = NULL;
    must(purify, (made_way){.model = GGUF, .output = "out.gguf"});
    expect_figures(GGUF, scratch_path("out.gguf"), &usual);
    must(dequantize, (made_way){.model = GGUF, .output = "plain.gguf"});
    expect_figures(GGUF, scratch_path("plain.gguf"), &usual);
    must(graft, (made_way){.model = GGUF, .output = "graft.gguf"});
    expect_figures(GGUF, scratch_path("graft.gguf"), &usual);
    const char *const organs = scratch_path("organs");
    ck_assert_int_eq(
        organ_extract(&(organ_extract_options){.model = DONOR, .write.output = organs}, NULL, NULL, &extracted, &error),
        ORGAN_OK);
    json_decref(extracted);
    must(purify, (made_way){.model = organs, .output = "pure"});
    expect_figures(organs, scratch_path("pure"), &usual);
    must(graft, (made_way){.model = organs, .output = "mixed"});
    expect_figures(organs, scratch_path("mixed"), &usual);
    must(prune, (made_way){.model = DONOR "/model.safetensors.index.json", .output = "named"});
    ck_assert(json_is_object(organ_json_at(report, "evaluation.comparison")));
    ck_assert(exists(scratch_path("named/model.safetensors.index.json")));
}
END_TEST

/* A single .safetensors file has no config.json; the donor's describes how to compute. */
START_TEST(tensors_alone)
{
    organ_error error;
    must(merge, (made_way){.output = "out.safetensors"});
    must(merge, (made_way){.output = "out"});
    const json_t *const alone = json_incref(json_object_get(report, "evaluation"));
    same(organ_json_at(report, "evaluation.after.figures"), organ_json_at(alone, "after.figures"), "figures");
    json_decref((json_t *)alone);
    must(quantize, (made_way){.output = "packed", .plain = true});
    ck_assert_int_eq(
        make(dequantize, (made_way){.model = scratch_path("packed"), .output = "plain.safetensors"}, &error),
        ORGAN_USAGE);
    ck_assert_msg(strstr(error.message, "`evaluate`: ") && strstr(error.message, "name a directory"), "%s",
                  error.message);
    ck_assert(!scratch_left("plain.safetensors"));
}
END_TEST

START_TEST(threads_and_memory_change_nothing)
{
    must(makers[_i].run, (made_way){0});
    json_t *const first = json_incref(json_object_get(report, "evaluation"));
    must(makers[_i].run, (made_way){.output = "other", .threads = 1, .memory = 48 << 20});
    json_t *const other = json_object_get(report, "evaluation");
    json_object_del(json_object_get(first, "after"), "output");
    json_object_del(json_object_get(other, "after"), "output");
    same(first, other, makers[_i].name);
    json_decref(first);
}
END_TEST

/* ---- before the output is written ---- */

typedef struct watcher {
    organ_stop stop;
    unsigned stages;
    const char *text; /* a file to change when the scoring begins; NULL: request a stop */
} watcher;

static void on_stage(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    watcher *const w = context;
    (void)bytes, (void)tensors;
    w->stages++;
    if (strcmp(what, "scoring") == 0 && !w->text)
        organ_stop_request(&w->stop);
    else if (strcmp(what, "scoring") != 0 && w->text)
        spill(w->text, "another text, and not a long one", 32);
}

static void expect_refusal(size_t maker, made_way w, organ_status status, const char *text)
{
    watcher watch = {0};
    const organ_progress progress = {.context = &watch, .begin = on_stage};
    organ_error error;
    w.progress = &progress;
    ck_assert_int_eq(make(makers[maker].run, w, &error), status);
    ck_assert_msg(strstr(error.message, "`evaluate`: ") && strstr(error.message, text), "%s: %s", makers[maker].name,
                  error.message);
    ck_assert(report == NULL && watch.stages == 0 && !scratch_left("out"));
}

/* Makes a model of links to DONOR, except for the file `other`, which is missing (NULL) or has the text. */
static void link_model(const char *name, const char *other, const char *text)
{
    static const char *const files[] = {"config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "model.safetensors.index.json",
                                        "model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    char home[512], from[700];
    ck_assert(getcwd(home, sizeof home) && mkdir(scratch_path("%s", name), 0777) == 0);
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        snprintf(from, sizeof from, "%s/" DONOR "/%s", home, files[k]);
        if (strcmp(files[k], other) != 0)
            ck_assert_int_eq(symlink(from, scratch_path("%s/%s", name, files[k])), 0);
        else if (text)
            spill(scratch_path("%s/%s", name, files[k]), text, strlen(text));
    }
}

START_TEST(what_cannot_be_evaluated_is_not_begun)
{
    const organ_experiment_options none = {.text = scratch_path("none.txt")},
                                   brief = {.text = scratch_path("brief.txt")},
                                   strange = {.text = text_path, .style = "gpt"};
    spill(scratch_path("brief.txt"), "", 0);
    expect_refusal((size_t)_i, (made_way){.evaluate = &none}, ORGAN_IO, "none.txt");
    expect_refusal((size_t)_i, (made_way){.evaluate = &brief}, ORGAN_BAD_INPUT, "has 0 tokens");
    expect_refusal((size_t)_i, (made_way){.evaluate = &strange}, ORGAN_USAGE, "'gpt'");
    if (makers[_i].run == wanda) /* which needs these files itself and reports them first */
        return;
    expect_refusal((size_t)_i, (made_way){.memory = 10 << 20}, ORGAN_USAGE, "M is enough");
    link_model("mute", "tokenizer.json", NULL);
    expect_refusal((size_t)_i, (made_way){.model = scratch_path("mute")}, ORGAN_BAD_INPUT, "tokenizer");
    link_model("unheard", "config.json", "{\"architectures\": [\"UnheardOfModel\"], \"model_type\": \"unheard\"}");
    expect_refusal((size_t)_i, (made_way){.model = scratch_path("unheard")}, ORGAN_BAD_INPUT, "UnheardOfModel");
    expect_refusal((size_t)_i, (made_way){.model = scratch_path("unheard"), .dry_run = true}, ORGAN_BAD_INPUT,
                   "UnheardOfModel");
}
END_TEST

START_TEST(a_dry_run_says_what_would_be_scored)
{
    must(makers[_i].run, (made_way){.dry_run = true});
    ck_assert(json_is_true(organ_json_at(report, "dry_run")) && !scratch_left("out"));
    ck_assert_uint_eq(organ_json_count(report, "evaluation.experiment.tokens_used"), 200);
    ck_assert(json_is_null(organ_json_at(report, "evaluation.before.figures")));
    ck_assert(json_is_null(organ_json_at(report, "evaluation.comparison")));
    must(makers[_i].run, (made_way){.dry_run = true, .plain = true});
    ck_assert_ptr_null(organ_json_at(report, "evaluation"));
}
END_TEST

/* ---- a failed evaluation keeps the complete output ---- */

/* Compares the output with that of the same run without --evaluate. */
static void expect_whole(size_t maker, const char *why)
{
    ck_assert_msg(strstr(organ_json_text(report, "evaluation.not_evaluated"), why), "%s: %s", makers[maker].name,
                  organ_json_text(report, "evaluation.not_evaluated"));
    ck_assert(json_is_null(organ_json_at(report, "evaluation.comparison")));
    ck_assert(exists(scratch_path("out")) && !exists(scratch_path(".out.organ-partial")));
    must(makers[maker].run, (made_way){.output = "plain", .plain = true});
    const char *const names[] = {"model-00001-of-00003.safetensors", "model-00001-of-00002.safetensors",
                                 "model.safetensors", "config.json"};
    size_t compared = 0;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (exists(scratch_path("plain/%s", names[k]))) {
            ck_assert(same_files(scratch_path("out/%s", names[k]), scratch_path("plain/%s", names[k])));
            compared++;
        }
    ck_assert_uint_ge(compared, 2);
}

START_TEST(an_interrupted_evaluation_leaves_the_output)
{
    watcher watch = {0};
    const organ_progress progress = {.context = &watch, .begin = on_stage};
    organ_error error;
    ck_assert_int_eq(make(makers[_i].run, (made_way){.progress = &progress, .stop = &watch.stop}, &error),
                     ORGAN_INTERRUPTED);
    ck_assert_msg(strstr(error.message, "out is complete, but it could not be evaluated: "), "%s", error.message);
    expect_whole((size_t)_i, "stopped");
}
END_TEST

START_TEST(a_text_that_changes_leaves_the_output)
{
    watcher watch = {.text = text_path};
    const organ_progress progress = {.context = &watch, .begin = on_stage};
    organ_error error;
    const organ_status status = make(makers[_i].run, (made_way){.progress = &progress}, &error);
    ck_assert_msg(status == ORGAN_BAD_INPUT && strstr(error.message, "was changed during the run: its digest was "),
                  "%d %s", (int)status, error.message);
    expect_whole((size_t)_i, "was changed during the run");
}
END_TEST

/* ---- interrupted and resumed prunings ---- */

static void stop_soon(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    watcher *const w = context;
    (void)bytes, (void)remark;
    if (tensor && ++w->stages == 5)
        organ_stop_request(&w->stop);
}

START_TEST(a_resumed_pruning_is_evaluated)
{
    watcher watch = {0};
    const organ_progress progress = {.context = &watch, .advance = stop_soon};
    organ_error error;
    must(prune, (made_way){.output = "whole"});
    ck_assert_int_eq(make(prune, (made_way){.progress = &progress, .stop = &watch.stop, .threads = 1}, &error),
                     ORGAN_INTERRUPTED);
    ck_assert_msg(strstr(error.message, "`resume` continues"), "%s", error.message);
    must(prune, (made_way){.resume = true});
    ck_assert(json_is_true(organ_json_at(report, "run.resumed")));
    expect_figures(DONOR, scratch_path("out"), &usual);
    same_reports("whole", "out", "prune.json", "evaluation"); /* which contains the name of the output */
}
END_TEST

START_TEST(what_a_report_does_not_tell)
{
    must(prune, (made_way){0});
    const char *const with = json_string_value(json_array_get(organ_json_at(report, "not_in_this_report"), 0));
    ck_assert_msg(strstr(with, "beyond the one text"), "%s", with);
    must(prune, (made_way){.output = "plain", .plain = true});
    const char *const without = json_string_value(json_array_get(organ_json_at(report, "not_in_this_report"), 0));
    ck_assert_msg(strstr(without, "No forward pass was run"), "%s", without);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("evaluation");
    const struct {
        const char *name;
        const TTest *test;
        int times;
    } cases[] = {{"figures", figures_are_those_of_perplexity, MAKERS},
                 {"style", style_is_that_of_the_options, 1},
                 {"packed", packed_weights_are_scored_as_they_are, 1},
                 {"forms", models_in_other_forms, 1},
                 {"alone", tensors_alone, 1},
                 {"threads", threads_and_memory_change_nothing, 1},
                 {"refused", what_cannot_be_evaluated_is_not_begun, MAKERS},
                 {"dry", a_dry_run_says_what_would_be_scored, MAKERS},
                 {"interrupted", an_interrupted_evaluation_leaves_the_output, MAKERS},
                 {"changed", a_text_that_changes_leaves_the_output, MAKERS},
                 {"resume", a_resumed_pruning_is_evaluated, 1},
                 {"not told", what_a_report_does_not_tell, 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        TCase *const tcase = tcase_create(cases[k].name);
        tcase_set_timeout(tcase, 60);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, cases[k].test, 0, cases[k].times);
        suite_add_tcase(suite, tcase);
    }
    return run_suites((Suite *const[]){suite, NULL});
}
