/* SPDX-License-Identifier: MIT
 * Tests of healing a cut mixture: less loss on held-out tokens, bit identity, interrupted and resumed runs. */
#include "formats/gguf/file.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/verbs/shrink/experts_parts.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/rank_threads.h"
#include "tests/kit/require.h"
#include "tests/kit/resume_rig.h"
#include "tests/kit/samples.h"
#include "tests/kit/suite_table.h"
#include "tests/verbs/prune/method_rig.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODEL "fixtures/tiny-moe"
#define TEXT  MODEL "/calibration.txt"

enum { LAYERS = 4, KEPT = 8, STACKED_LAYERS = 3, STACKED_KEPT = 3 };

static const uint32_t kept_of_stacks[STACKED_LAYERS][STACKED_KEPT] = {{0, 2, 5}, {1, 3, 4}, {0, 1, 5}};
static const uint32_t kept[LAYERS][KEPT] = {
    {0, 2, 3, 5, 6, 8, 9, 14}, {4, 8, 10, 11, 12, 13, 14, 15}, {1, 2, 4, 5, 6, 8, 9, 10}, {0, 1, 4, 6, 7, 11, 13, 15}};

typedef struct heal_way {
    bool stacked; /* true: the donor in the scratch directory, 3 layers of 6 experts; false: fixtures/tiny-moe */
    const char *isa;
    unsigned samples, context;
    size_t threads;
    uint64_t memory;
    size_t largest; /* largest block of the ridge */
    bool scratch, dry_run;
    organ_ranks *ranks;
    organ_stop *stop;
} heal_way;

static const heal_way usual = {.samples = 8, .context = 64, .threads = 2, .memory = (uint64_t)256 << 20};
static _Thread_local json_t *report; /* of the last run */

/* ---- a donor in GGUF blocks ---- */

enum { HIDDEN = 64, WIDTH = 32, EXPERTS = 6, WORDS = 96 };

typedef struct blocks_tensor {
    const char *name;
    organ_dtype dtype;
    unsigned rank;
    uint64_t shape[3];
} blocks_tensor;

static const blocks_tensor of_model[] = {{"token_embd.weight", ORGAN_F32, 2, {WORDS, HIDDEN}},
                                         {"output.weight", ORGAN_F32, 2, {WORDS, HIDDEN}},
                                         {"output_norm.weight", ORGAN_F32, 1, {HIDDEN}}};
static const blocks_tensor of_layer[] = {{"attn_norm.weight", ORGAN_F32, 1, {HIDDEN}},
                                         {"ffn_norm.weight", ORGAN_F32, 1, {HIDDEN}},
                                         {"attn_q_norm.weight", ORGAN_F32, 1, {16}},
                                         {"attn_k_norm.weight", ORGAN_F32, 1, {16}},
                                         {"attn_q.weight", ORGAN_F32, 2, {HIDDEN, HIDDEN}},
                                         {"attn_k.weight", ORGAN_F32, 2, {HIDDEN / 2, HIDDEN}},
                                         {"attn_v.weight", ORGAN_F32, 2, {HIDDEN / 2, HIDDEN}},
                                         {"attn_output.weight", ORGAN_F32, 2, {HIDDEN, HIDDEN}},
                                         {"ffn_gate_inp.weight", ORGAN_F32, 2, {EXPERTS, HIDDEN}},
                                         {"ffn_gate_exps.weight", ORGAN_F32, 3, {EXPERTS, WIDTH, HIDDEN}},
                                         {"ffn_up_exps.weight", ORGAN_F32, 3, {EXPERTS, WIDTH, HIDDEN}},
                                         {"ffn_down_exps.weight", ORGAN_Q8_0, 3, {EXPERTS, HIDDEN, WIDTH}}};

enum { OF_MODEL = sizeof of_model / sizeof *of_model, OF_LAYER = sizeof of_layer / sizeof *of_layer };

/* Writes values: norms are ones, and the experts of a stack are similar, so that kept ones can replace others. */
static void put_values(FILE *out, const blocks_tensor *t, samples *from)
{
    const organ_kernels *const kernels = organ_kernels_scalar;
    const size_t stack = t->rank == 3 ? t->shape[0] : 1,
                 each = t->rank == 1 ? t->shape[0] : t->shape[t->rank - 2] * t->shape[t->rank - 1];
    float *const common = malloc(each * sizeof *common), *const own = malloc(each * sizeof *own);
    samples_fill(from, NORMAL, common, each);
    for (size_t e = 0; e < stack; e++) {
        samples_fill(from, NORMAL, own, each);
        for (size_t k = 0; k < each; k++)
            if (t->rank == 1)
                own[k] = 1;
            else
                own[k] = 0.2f * common[k] + (t->rank == 2 ? 0 : 0.1f * own[k]);
        unsigned char blocks[HIDDEN * WIDTH / 32 * 34];
        if (t->dtype == ORGAN_Q8_0)
            kernels->quantize[organ_dtype_describe(ORGAN_Q8_0)->ggml](own, blocks, each / 32);
        const bool packed = t->dtype == ORGAN_Q8_0;
        ck_assert_uint_eq(
            fwrite(packed ? (const void *)blocks : own, packed ? each / 32 * 34 : each * sizeof *own, 1, out), 1);
    }
    free(common);
    free(own);
}

static void put_number(organ_gguf_writer *writer, const char *key, organ_gguf_type type, const void *value,
                       organ_error *error)
{
    const organ_gguf_kv kv = {key, type, type, 1, value, 4};
    organ_gguf_writer_kv(writer, &kv, error);
}

/* Makes donor/model.gguf with the tokenizer and text of method_make_donor. */
static void make_blocks(void)
{
    static const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"block_count", STACKED_LAYERS},
                   {"context_length", 64},
                   {"embedding_length", HIDDEN},
                   {"feed_forward_length", WIDTH},
                   {"expert_feed_forward_length", WIDTH},
                   {"attention.head_count", 4},
                   {"attention.head_count_kv", 2},
                   {"attention.key_length", 16},
                   {"attention.value_length", 16},
                   {"expert_count", EXPERTS},
                   {"expert_used_count", 2}};
    const float base = 10000, epsilon = 1e-6f;
    organ_error error = {0};
    organ_gguf_writer *writer = NULL;
    organ_gguf_layout layout;
    blocks_tensor all[OF_MODEL + STACKED_LAYERS * OF_LAYER];
    char names[OF_MODEL + STACKED_LAYERS * OF_LAYER][64];
    size_t count = 0;
    method_make_donor("qwen3moe.gguf");
    ck_assert_int_eq(organ_gguf_writer_create(&writer, &error), ORGAN_OK);
    organ_gguf_writer_set_string(writer, "general.architecture", "qwen3moe", 8, &error);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        char key[64];
        snprintf(key, sizeof key, "qwen3moe.%s", numbers[k].key);
        put_number(writer, key, ORGAN_GGUF_U32, &numbers[k].value, &error);
    }
    put_number(writer, "qwen3moe.rope.freq_base", ORGAN_GGUF_F32, &base, &error);
    put_number(writer, "qwen3moe.attention.layer_norm_rms_epsilon", ORGAN_GGUF_F32, &epsilon, &error);
    for (size_t k = 0; k < OF_MODEL; k++)
        all[count++] = of_model[k];
    for (size_t l = 0; l < STACKED_LAYERS; l++)
        for (size_t k = 0; k < OF_LAYER; k++) {
            snprintf(names[count], sizeof names[count], "blk.%zu.%s", l, of_layer[k].name);
            all[count] = of_layer[k];
            all[count].name = names[count];
            count++;
        }
    for (size_t k = 0; k < count; k++)
        organ_gguf_writer_tensor(writer, all[k].name, all[k].dtype, all[k].rank, all[k].shape, &error);
    organ_gguf_writer_finish(writer, &layout, &error);
    ck_assert_msg(error.status == ORGAN_OK, "%s", error.message);
    FILE *const out = fopen(scratch_path("donor/model.gguf"), "wb");
    samples from = {11};
    ck_assert_uint_eq(fwrite(layout.bytes, layout.size, 1, out), 1);
    for (size_t k = 0; k < count; k++) {
        fseek(out, (long)layout.offsets[k], SEEK_SET);
        put_values(out, &all[k], &from);
    }
    ck_assert_int_eq(fclose(out) | truncate(scratch_path("donor/model.gguf"), (off_t)layout.file_size), 0);
    organ_gguf_writer_destroy(writer);
}

/* ---- runs ---- */

static json_t *parameters(void *context)
{
    const heal_way *const *const way = context;
    return json_pack("{s:i, s:i}", "samples", (int)(*way)->samples, "context", (int)(*way)->context);
}

typedef struct healing {
    const heal_way *way;
    organ_expert_heal *heal;
} healing;

static json_t *document(void *context, const organ_writing *made)
{
    const healing *const h = context;
    (void)made;
    return ORGAN_OBJECT(SET("heal", organ_expert_heal_json(h->heal)));
}

static organ_status heal_model(const heal_way *way, const organ_model *model, const organ_engine *engine,
                               const char *output, bool resume, organ_error *error)
{
    organ_cut_layer layers[LAYERS] = {{0}};
    healing h = {.way = way};
    for (size_t l = 0; l < LAYERS && !way->stacked; l++)
        layers[l].experts = (organ_cut_keep){kept[l], KEPT};
    for (size_t l = 0; l < STACKED_LAYERS && way->stacked; l++)
        layers[l].experts = (organ_cut_keep){kept_of_stacks[l], STACKED_KEPT};
    const organ_expert_heal_options options = {.model = model,
                                               .layer_count = organ_cut_layers(model),
                                               .layers = layers,
                                               .calibration.text = way->stacked ? scratch_path("text") : TEXT,
                                               .calibration.samples = way->samples,
                                               .calibration.context = way->context,
                                               .calibration.scratch = way->scratch ? scratch_path(".") : NULL,
                                               .largest = way->largest,
                                               .engine = engine};
    json_decref(report);
    report = NULL;
    if (organ_expert_heal_open(&options, &h.heal, error) == ORGAN_OK) {
        const organ_write_options requested = {
            .output = output, .resume = resume, .max_shard_size = UINT64_MAX, .dry_run = way->dry_run};
        organ_cut_out cut = {
            .write = {.model = model,
                      .requested = &requested,
                      .engine = engine,
                      .context = &h,
                      .names = {.definition = "experts/1", .view = &organ_experts_view, .stage = "cutting"},
                      .check = {.parameters = parameters},
                      .report = {.document = document}},
            .layers = layers,
            .layer_count = way->stacked ? STACKED_LAYERS : LAYERS,
            .refitted = h.heal->refitted,
            .refit_context = h.heal,
            .refit = organ_expert_heal_run,
            .results = organ_expert_heal_results,
            .recall = organ_expert_heal_recall};
        organ_cut_make(&cut, &report, error);
    }
    organ_expert_heal_close(h.heal);
    return error->status;
}

static organ_status run_heal(const void *context, const char *output, bool resume, size_t threads, organ_stop *stop,
                             organ_error *error)
{
    const heal_way *const way = context;
    const char *why;
    run_engine room;
    organ_model *model = NULL;
    *error = (organ_error){0};
    run_engine_open(&room, (run_way){.threads = threads, .memory = way->memory, .stop = stop});
    room.engine.kernels = organ_kernels_choose(organ_cpu_detect(), way->isa, &why);
    room.engine.ranks = way->ranks;
    if (organ_model_open(way->stacked ? scratch_path("donor") : MODEL, &model, error) == ORGAN_OK)
        heal_model(way, model, &room.engine, scratch_path("%s", output), resume, error);
    organ_model_close(model);
    run_engine_close(&room);
    return error->status;
}

static void must_heal(heal_way way, const char *output)
{
    organ_error error;
    ck_assert_msg(run_heal(&way, output, false, way.threads, NULL, &error) == ORGAN_OK, "%s", error.message);
}

static const json_t *layer_of(size_t index)
{
    return json_array_get(json_object_get(json_object_get(report, "heal"), "layers"), index);
}

static double figure(const json_t *layer, const char *key) { return json_number_value(json_object_get(layer, key)); }

/* ---- results ---- */

/* 6 windows of 128 tokens have as many tokens as a layer has inputs and are solved by inputs, fewer tokens by tokens;
 * if neither is small enough, block by block. */
START_TEST(a_healed_layer_misses_less)
{
    static const struct {
        unsigned samples, context;
        size_t largest;
        const char *by;
    } ways[] = {{8, 64, 0, "tokens"}, {6, 128, 0, "inputs"}, {6, 128, 100, "blocks"}};
    double after[LAYERS] = {0};
    for (size_t k = 0; k < 3 * LAYERS; k++) {
        const size_t w = k / LAYERS, l = k % LAYERS;
        heal_way way = usual;
        way.samples = ways[w].samples;
        way.context = ways[w].context;
        way.largest = ways[w].largest;
        if (l == 0)
            must_heal(way, ways[w].by);
        const json_t *const layer = layer_of(l);
        ck_assert_int_eq((int)figure(layer, "layer"), (int)l);
        ck_assert_int_eq((int)figure(layer, "inputs"), KEPT * 96);
        ck_assert_str_eq(json_string_value(json_object_get(layer, "solved_by")), ways[w].by);
        const bool healed = json_is_true(json_object_get(layer, "healed"));
        REQUIRE_MSG(healed || l > 0, "layer 0 is not healed");
        REQUIRE_MSG(healed ? figure(layer, "after") < figure(layer, "before")
                           : figure(layer, "after") == figure(layer, "before"),
                    "layer %zu: %g to %g", l, figure(layer, "before"), figure(layer, "after"));
        ck_assert(healed == (figure(layer, "lambda") >= 0.01));
        if (w == 2) /* the loss is that of solving by inputs */
            REQUIRE_MSG(fabs(figure(layer, "after") / after[l] - 1) < 0.01, "layer %zu: %g, by inputs %g", l,
                        figure(layer, "after"), after[l]);
        after[l] = figure(layer, "after");
        ck_assert_int_eq((int)figure(json_object_get(report, "heal"), "held_windows"), (int)way.samples / 4);
    }
}
END_TEST

/* Tensors after the router keep their bytes, and of each expert only the down projection changes. */
START_TEST(down_projections_alone_change)
{
    organ_error error = {0};
    organ_model *donor = NULL, *out = NULL;
    must_heal(usual, "out");
    ck_assert_int_eq(organ_model_open(MODEL, &donor, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_open(scratch_path("out"), &out, &error), ORGAN_OK);
    size_t changed = 0;
    for (size_t k = 0; k < out->tensor_count; k++) {
        const organ_tensor *const made = &out->tensors[k];
        const organ_anatomy *const a = &made->anatomy;
        char name[200];
        snprintf(name, sizeof name, "%s", made->name);
        if (a->expert >= 0) {
            const char *const at = strstr(made->name, "experts.");
            snprintf(name, sizeof name, "%.*s%u%s", (int)(at + 8 - made->name), made->name, kept[a->layer][a->expert],
                     strchr(at + 8, '.'));
        }
        const organ_tensor *const from = organ_model_find(donor, name);
        REQUIRE_MSG(from, "%s", name);
        char *const bytes = malloc(made->bytes), *const of_donor = malloc(made->bytes);
        ck_assert_int_eq(organ_model_read(out, made->file, bytes, made->bytes, made->offset, &error), ORGAN_OK);
        ck_assert_int_eq(organ_model_read(donor, from->file, of_donor, made->bytes, from->offset, &error), ORGAN_OK);
        const bool same = memcmp(bytes, of_donor, made->bytes) == 0;
        const bool down =
            a->role == ORGAN_ROLE_DOWN && json_is_true(json_object_get(layer_of((size_t)a->layer), "healed"));
        REQUIRE_MSG(same != down || a->role == ORGAN_ROLE_ROUTER, "%s %s", made->name,
                    same ? "is the donor's" : "is another");
        changed += !same && down;
        free(bytes);
        free(of_donor);
    }
    ck_assert_uint_ge(changed, KEPT);
    ck_assert_uint_eq(changed % KEPT, 0);
    organ_model_close(donor);
    organ_model_close(out);
}
END_TEST

START_TEST(bytes_do_not_depend_on_the_way)
{
    heal_way ways[] = {usual, usual, usual};
    ways[1].threads = 3;
    ways[1].memory = (uint64_t)1 << 30;
    ways[2].scratch = true;
    for (size_t k = 0; k < 2 * sizeof ways / sizeof *ways; k++) {
        heal_way way = ways[k / 2];
        char name[8];
        way.context = 16;
        way.largest = k % 2 ? 64 : 0; /* parts of blocks, or all at once */
        snprintf(name, sizeof name, "out%zu", k);
        must_heal(way, name);
        if (k > 1)
            same_trees(k % 2 ? "out1" : "out0", name, "experts.json");
    }
}
END_TEST

/* A layer has 3 x 48 inputs, because scalar kernels are slow: on tiny-moe they take minutes of an emulated CPU. */
START_TEST(bytes_do_not_depend_on_the_isa)
{
    static const struct {
        unsigned context;
        size_t largest;
        const char *by;
    } ways[] = {{8, 0, "tokens"}, {40, 0, "inputs"}, {40, 64, "blocks"}};
    method_make_donor("qwen3moe-stacked");
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        heal_way way = {
            .stacked = true, .samples = 8, .context = ways[k].context, .threads = 1, .memory = (uint64_t)256 << 20};
        char fast[16], scalar[16];
        snprintf(fast, sizeof fast, "fast%zu", k);
        snprintf(scalar, sizeof scalar, "scalar%zu", k);
        way.largest = ways[k].largest;
        must_heal(way, fast);
        way.threads = 3;
        way.isa = "scalar";
        must_heal(way, scalar);
        ck_assert_str_eq(json_string_value(json_object_get(layer_of(0), "solved_by")), ways[k].by);
        same_trees(fast, scalar, "experts.json");
    }
}
END_TEST

static bool same_file(const char *a, const char *b)
{
    FILE *const x = fopen(scratch_path("%s", a), "rb"), *const y = fopen(scratch_path("%s", b), "rb");
    int one = 0, other = 0;
    ck_assert(x && y);
    while (one != EOF && one == other) {
        one = fgetc(x);
        other = fgetc(y);
    }
    fclose(x);
    fclose(y);
    return one == other;
}

/* ---- limits and failures ---- */

/* All experts of a layer in one tensor. */
static const heal_way brief = {
    .stacked = true, .samples = 8, .context = 40, .threads = 1, .memory = (uint64_t)256 << 20};
static const resumed_verb verb = {.run = run_heal, .way = &brief, .report = "experts.json", .threads = 1};

START_TEST(killed_runs_go_on)
{
    method_make_donor("qwen3moe-stacked");
    killed_anywhere_goes_on(&verb);
}
END_TEST

START_TEST(stopped_runs_go_on)
{
    method_make_donor("qwen3moe-stacked");
    stopped_run_goes_on(&verb);
}
END_TEST

/* Blocks are quantised again where that lowers the loss, others keep their bytes; a resumed run makes them again. */
START_TEST(blocks_take_other_values)
{
    heal_way way = brief;
    way.samples = 24;
    make_blocks();
    must_heal(way, "whole.gguf");
    size_t healed = 0;
    for (size_t l = 0; l < STACKED_LAYERS; l++)
        healed += json_is_true(json_object_get(layer_of(l), "healed"));
    ck_assert_uint_ge(healed, 1);
    way.threads = 3;
    way.isa = "scalar";
    must_heal(way, "other.gguf");
    ck_assert(same_file("whole.gguf", "other.gguf"));
    organ_error error = {0};
    organ_model *donor = NULL, *out = NULL;
    ck_assert_int_eq(organ_model_open(scratch_path("donor"), &donor, &error), ORGAN_OK);
    ck_assert_int_eq(organ_model_open(scratch_path("whole.gguf"), &out, &error), ORGAN_OK);
    for (size_t l = 0; l < STACKED_LAYERS; l++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%zu.ffn_down_exps.weight", l);
        const organ_tensor *const made = organ_model_find(out, name), *const from = organ_model_find(donor, name);
        unsigned char mine[HIDDEN * WIDTH / 32 * 34], theirs[sizeof mine];
        ck_assert(made->dtype == ORGAN_Q8_0 && made->bytes == STACKED_KEPT * sizeof mine);
        ck_assert_int_eq(organ_model_read(out, made->file, mine, sizeof mine, made->offset, &error), ORGAN_OK);
        ck_assert_int_eq(organ_model_read(donor, from->file, theirs, sizeof theirs,
                                          from->offset + kept_of_stacks[l][0] * sizeof mine, &error),
                         ORGAN_OK);
        ck_assert_int_eq(memcmp(mine, theirs, sizeof mine) != 0, json_is_true(json_object_get(layer_of(l), "healed")));
    }
    organ_model_close(donor);
    organ_model_close(out);
}
END_TEST

START_TEST(killed_runs_with_blocks_go_on)
{
    make_blocks();
    fault_clear();
    must_heal(brief, "whole.gguf");
    const long writes = fault_count(FAULT_PWRITE);
    for (long k = 1; k < 5; k++) {
        organ_error error = {0};
        char output[32];
        int status = 0;
        snprintf(output, sizeof output, "killed%ld.gguf", k);
        const pid_t child = fork();
        if (child == 0) {
            fault_at(FAULT_PWRITE, writes * k / 5, -1, false, NULL);
            _exit(run_heal(&brief, output, false, 1, NULL, &error));
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFSIGNALED(status), "%ld of %ld writes: ends with %d", writes * k / 5, writes, status);
        ck_assert(!exists(scratch_path("%s", output)));
        ck_assert_msg(run_heal(&brief, output, true, 1, NULL, &error) == ORGAN_OK, "%s", error.message);
        ck_assert(same_file("whole.gguf", output));
    }
}
END_TEST

/* ---- errors ---- */

static void refused(heal_way way, organ_status status, const char *word)
{
    organ_error error;
    REQUIRE_MSG(run_heal(&way, "out", false, way.threads, NULL, &error) == status, "%d: %s", (int)error.status,
                error.message);
    REQUIRE_MSG(strstr(error.message, word), "'%s' is not in: %s", word, error.message);
    ck_assert(!exists(scratch_path("out")));
}

START_TEST(too_few_windows)
{
    heal_way way = usual;
    way.samples = 3;
    refused(way, ORGAN_USAGE, "`heal` needs at least 4 windows (`samples`): every 4th is held out");
}
END_TEST

START_TEST(too_little_memory)
{
    heal_way way = usual;
    way.memory = (uint64_t)8 << 20;
    way.dry_run = true;
    refused(way, ORGAN_USAGE, "the work memory of refitting it; --memory ");
    organ_error error;
    (void)run_heal(&way, "out", false, 2, NULL, &error);
    const uint64_t enough = strtoull(strstr(error.message, "; --memory ") + 11, NULL, 10);
    way.memory = enough << 20;
    ck_assert_msg(run_heal(&way, "out", false, 2, NULL, &error) == ORGAN_OK, "%s", error.message);
    ck_assert(!exists(scratch_path("out")));
}
END_TEST

static const char *of_ranks; /* the output of the ranks */

static void heal_as_rank(organ_ranks *ranks, organ_error *error)
{
    heal_way way = usual;
    way.samples = 8; /* two chunks, one for each rank */
    way.context = 256;
    way.largest = 100;
    way.scratch = true;
    way.ranks = ranks;
    run_heal(&way, of_ranks, false, 1, NULL, error);
    json_decref(report);
    report = NULL;
}

/* During and after accumulation: a full disk of one rank must not block the others. */
START_TEST(a_scratch_file_of_one_rank_fails)
{
    static const struct {
        long call;
        const char *output;
    } faults[] = {{20, "early"}, {44, "late"}};
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
        of_ranks = faults[k].output;
        fault_at(FAULT_PWRITE, faults[k].call, ENOSPC, false, NULL);
        play(2, heal_as_rank);
        fault_clear();
        all_end(ORGAN_IO, "bytes of expert inputs (`scratch`)");
    }
}
END_TEST

static void tear_down(void)
{
    json_decref(report);
    report = NULL;
    scratch_remove();
}

int main(void)
{
    const suite_case cases[] = {
        {"healed",
         {a_healed_layer_misses_less, down_projections_alone_change, bytes_do_not_depend_on_the_way,
          bytes_do_not_depend_on_the_isa}},
        {"ended", {killed_runs_go_on, killed_runs_with_blocks_go_on, stopped_runs_go_on, blocks_take_other_values}},
        {"refused", {too_few_windows, too_little_memory, a_scratch_file_of_one_rank_fails}}};
    Suite *const suites[] = {suite_of("experts_heal", cases, sizeof cases / sizeof *cases, scratch_make, tear_down),
                             NULL};
    return run_suites(suites);
}
