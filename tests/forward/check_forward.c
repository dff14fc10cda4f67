/* SPDX-License-Identifier: MIT
 * Tests of the forward pass: the logits of transformers, with any threads, memory and batch. */
#include "tests/kit/effort.h"
#include "tests/kit/forward_rig.h"
#include "tests/kit/suite_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void nothing(void) {}

/* ---- agreement with transformers ---- */

static const struct {
    const char *model, *golden;
} models[] = {
    {"tiny-qwen2", "tiny-qwen2"},
    {"tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf", "tiny-qwen2"},
    {"forward/llama", "llama"},
    {"forward/llama.gguf", "llama"},
    {"forward/mistral", "mistral"},
    {"forward/mixtral", "mixtral"},
    {"forward/mixtral.gguf", "mixtral"},
    {"forward/qwen2", "qwen2"},
    {"forward/qwen3", "qwen3"},
    {"forward/qwen3.gguf", "qwen3"},
    {"forward/qwen2moe", "qwen2moe"},
    {"forward/qwen2moe.gguf", "qwen2moe"},
    {"forward/glm4moe", "glm4moe"},
    {"forward/glm4moe.gguf", "glm4moe"},
    {"forward/dots1", "dots1"},
    {"forward/dots1.gguf", "dots1"},
    {"forward/dots1-windows", "dots1-windows"},
    {"forward/qwen3moe", "qwen3moe"},
    {"forward/qwen3moe-stacked", "qwen3moe"},
    {"forward/qwen3moe.gguf", "qwen3moe"},
    {"forward/phi3", "phi3"},
    {"forward/phi3.gguf", "phi3"},
    {"forward/llama-dynamic", "llama-dynamic"},
    {"forward/llama-dynamic", "llama-dynamic.short"},
    {"forward/phi3-longrope", "phi3-longrope"},
    {"forward/phi3-longrope", "phi3-longrope.short"},
    {"forward/phi3-longrope.gguf", "phi3-longrope"},
    {"forward/phi3-longrope.gguf", "phi3-longrope.short"},
    {"forward/gemma2", "gemma2"},
    {"forward/gemma2.gguf", "gemma2"},
    {"forward/gemma3", "gemma3"},
    {"forward/gemma3.gguf", "gemma3"},
};
enum { MODELS = sizeof models / sizeof *models };

static expected golden_of(size_t model)
{
    char path[200];
    snprintf(path, sizeof path, "fixtures/forward/%s.logits.safetensors", models[model].golden);
    return expected_read(path);
}

static float *computed(size_t model, const expected *e, unsigned threads, uint64_t memory)
{
    char path[200];
    snprintf(path, sizeof path, "fixtures/%s", models[model].model);
    return logits_of(path, e, threads, memory);
}

START_TEST(logits_are_those_of_transformers)
{
    for (size_t m = 0; m < MODELS; m++) {
        expected e = golden_of(m);
        float *logits = computed(m, &e, 2, ROOMY);
        const double far = farthest(logits, e.logits, e.rows * e.words);
        ck_assert_msg(far < 1e-4, "%s: logits are off by %g", models[m].model, far);
        free(logits);
        expected_free(&e);
    }
}
END_TEST

/* ---- bit identity ---- */

START_TEST(threads_and_memory_do_not_show)
{
    for (size_t m = 0; m < MODELS; m++) {
        expected e = golden_of(m);
        const size_t bytes = e.rows * e.words * sizeof(float);
        float *one = computed(m, &e, 1, ROOMY), *five = computed(m, &e, 5, (uint64_t)48 << 20);
        ck_assert_msg(memcmp(one, five, bytes) == 0, "%s: five threads and little memory give other bytes",
                      models[m].model);
        free(one);
        free(five);
        expected_free(&e);
    }
}
END_TEST

enum { LONG = 1500, WORDS = 2048 };

static void made_up(uint32_t *tokens, size_t count, uint32_t words)
{
    for (size_t k = 0; k < count; k++)
        tokens[k] = (uint32_t)(k * k * 7 + k / 3) % words;
}

/* One model of every architecture, and a text longer than a block of keys and than a chunk of a sum. */
START_TEST(every_cpu_gives_the_same)
{
    static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
    static const char *const paths[] = {"tiny-qwen2",       "forward/llama",    "forward/mistral",
                                        "forward/mixtral",  "forward/qwen2moe", "forward/glm4moe",
                                        "forward/qwen3moe", "forward/phi3",     "forward/phi3-longrope",
                                        "forward/gemma2",   "forward/gemma3"};
    static uint32_t tokens[300];
    static const size_t begin[3] = {0, 280, 300}, rows[4] = {3, 259, 279, 299};
    const organ_windows windows = {tokens, 2, begin};
    made_up(tokens, 300, 96);
    for (size_t p = sampled(0, 1); p < sizeof paths / sizeof *paths; p++) { /* the first is large */
        float *first = NULL;
        for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
            char path[200];
            const char *why;
            const organ_kernels *const kernels = organ_kernels_choose(organ_cpu_detect(), isas[k], &why);
            session s;
            organ_error error;
            snprintf(path, sizeof path, "fixtures/%s", paths[p]);
            if (!kernels)
                continue;
            ck_assert_int_eq(session_open(&s, path, 1 + (unsigned)k, ROOMY, &error), ORGAN_OK);
            s.engine.kernels = kernels;
            float *const logits = session_logits(&s, &windows, rows, 4, &error);
            const size_t bytes = 4 * organ_forward_describe(s.forward)->vocabulary * sizeof *logits;
            ck_assert_msg(logits != NULL, "%s", error.message);
            ck_assert_msg(!first || memcmp(first, logits, bytes) == 0, "%s: %s gives other bytes", path, isas[k]);
            session_close(&s);
            free(first);
            first = logits;
        }
        free(first);
    }
}
END_TEST

/* Checks that windows of many lengths give the same logits in a batch as alone. One is longer than a batch, unless that
 * takes minutes. */
static void check_batch(const char *path, uint32_t words)
{
    enum { WINDOWS = 6 };
    static const size_t begins[2][WINDOWS + 1] = {{0, 1, 70, 70, 370, 370 + 1100, LONG},
                                                  {0, 1, 70, 70, 140, 140 + 300, 450}};
    const size_t *const begin = begins[sampled(0, 1)];
    static uint32_t tokens[LONG];
    size_t rows[WINDOWS], count = 0;
    session s;
    organ_error error;
    made_up(tokens, LONG, words);
    ck_assert_msg(session_open(&s, path, 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    for (size_t w = 0; w < WINDOWS; w++)
        if (begin[w + 1] > begin[w])
            rows[count++] = begin[w + 1] - 1;
    const organ_windows all = {tokens, WINDOWS, begin};
    float *together = session_logits(&s, &all, rows, count, &error);
    ck_assert_msg(together != NULL, "%s", error.message);
    for (size_t w = 0, k = 0; w < WINDOWS; w++) {
        const size_t length = begin[w + 1] - begin[w], last = length - 1, ends[2] = {0, length};
        const organ_windows one = {tokens + begin[w], 1, ends};
        if (length == 0)
            continue;
        float *alone = session_logits(&s, &one, &last, 1, &error);
        ck_assert_msg(alone && memcmp(alone, together + k++ * words, words * sizeof(float)) == 0, "%s: window %zu",
                      path, w);
        free(alone);
    }
    free(together);
    session_close(&s);
}

START_TEST(a_window_is_as_if_it_were_alone)
{
    if (sampled(1, 0))
        check_batch("fixtures/tiny-qwen2", WORDS);
    check_batch("fixtures/forward/mixtral", 96);
    check_batch("fixtures/forward/gemma3", 96);
    check_batch("fixtures/forward/llama-dynamic", 96);
    check_batch("fixtures/forward/phi3-longrope", 96);
}
END_TEST

/* More rows than fit at once, in any order, give the same logits as each alone. */
START_TEST(a_logit_does_not_depend_on_the_others)
{
    enum { COUNT = 700 };
    static uint32_t tokens[COUNT];
    size_t rows[COUNT], begin[2] = {0, COUNT};
    session s;
    organ_error error;
    made_up(tokens, COUNT, 96);
    for (size_t k = 0; k < COUNT; k++)
        rows[k] = k;
    ck_assert_int_eq(session_open(&s, "fixtures/forward/llama", 2, ROOMY, &error), ORGAN_OK);
    const organ_windows windows = {tokens, 1, begin};
    float *all = session_logits(&s, &windows, rows, COUNT, &error),
          *some = session_logits(&s, &windows, rows + 613, 5, &error);
    ck_assert(all && some);
    ck_assert_mem_eq(all + (size_t)613 * 96, some, 5 * 96 * sizeof *some);
    float *none = session_logits(&s, &windows, rows, 0, &error);
    ck_assert_ptr_nonnull(none);
    free(none);
    session_close(&s);
    free(all);
    free(some);
}
END_TEST

/* ---- a single layer ---- */

typedef struct listening {
    size_t calls;
    const char *name; /* the module whose tokens are counted: */
    size_t next, in;
    int stop_at;
    organ_stop stop;
    bool fail;
} listening;

static organ_status listen(void *context, const char *tensor, size_t first, size_t tokens, size_t in,
                           const float *inputs, organ_error *error)
{
    (void)inputs;
    listening *l = context;
    l->calls++;
    if (l->fail)
        return organ_fail(error, ORGAN_CHECK_FAILED, "heard %s", tensor);
    if (strstr(tensor, l->name)) {
        ck_assert_uint_eq(first, l->next);
        ck_assert_uint_eq(in, l->in);
        l->next += tokens;
    }
    if ((int)l->calls == l->stop_at)
        organ_stop_request(&l->stop);
    return ORGAN_OK;
}

typedef struct bench {
    session s;
    organ_layer *layer;
    organ_windows windows;
    size_t begin[3];
    uint32_t tokens[64];
    float *hidden;
    size_t width;
} bench;

static void set_up(bench *b, const char *path, int32_t layer)
{
    organ_error error;
    ck_assert_msg(session_open(&b->s, path, 2, ROOMY, &error) == ORGAN_OK, "%s", error.message);
    made_up(b->tokens, 64, 96);
    b->begin[0] = 0;
    b->begin[1] = 40;
    b->begin[2] = 64;
    b->windows = (organ_windows){b->tokens, 2, b->begin};
    b->width = (size_t)organ_forward_describe(b->s.forward)->hidden;
    b->hidden = malloc(64 * b->width * sizeof *b->hidden);
    ck_assert_int_eq(organ_forward_embed(b->s.forward, &b->windows, b->hidden, &error), ORGAN_OK);
    ck_assert_msg(organ_layer_load(b->s.forward, layer, &b->layer, &error) == ORGAN_OK, "%s", error.message);
}

static void tear_down(bench *b)
{
    organ_layer_free(b->layer);
    free(b->hidden);
    session_close(&b->s);
}

static organ_status run(bench *b, listening *l, organ_error *error)
{
    const organ_tap tap = {l, listen};
    *error = (organ_error){0};
    return organ_layer_run(b->s.forward, b->layer, &b->windows, b->hidden, l ? &tap : NULL, error);
}

/* Reads a weight of the layer in FP32; the caller frees it. */
static float *weight_of(bench *b, const char *name, uint64_t *rows, uint64_t *cols)
{
    organ_product_operand held;
    ck_assert_msg(organ_layer_matrix(b->layer, name, rows, cols, &held), "%s", name);
    float *values = malloc((size_t)(*rows * *cols) * sizeof *values);
    organ_layer_read(b->layer, name, values);
    return values;
}

/* Computes the layer's first norm in FP64. */
static float *normed_of(bench *b)
{
    uint64_t rows, cols;
    float *weight = weight_of(b, "model.layers.1.input_layernorm.weight", &rows, &cols);
    ck_assert(rows == 1 && cols == b->width);
    float *normed = malloc(64 * b->width * sizeof *normed);
    for (size_t t = 0; t < 64; t++) {
        double sum = 0;
        for (size_t k = 0; k < b->width; k++)
            sum += (double)b->hidden[t * b->width + k] * (double)b->hidden[t * b->width + k];
        for (size_t k = 0; k < b->width; k++)
            normed[t * b->width + k] =
                (float)((double)b->hidden[t * b->width + k] / sqrt(sum / (double)b->width + 1e-5) * (double)weight[k]);
    }
    free(weight);
    return normed;
}

static organ_status compare(void *context, const char *tensor, size_t first, size_t tokens, size_t in,
                            const float *inputs, organ_error *error)
{
    (void)error;
    const float *normed = context;
    if (strstr(tensor, "q_proj"))
        ck_assert_msg(farthest(inputs, normed + first * in, tokens * in) < 1e-5, "inputs of %s", tensor);
    return ORGAN_OK;
}

START_TEST(a_tap_hears_the_inputs_of_each_layer)
{
    static const struct {
        const char *path, *name;
        size_t in;
    } cases[] = {{"fixtures/forward/llama", "layers.1.self_attn.k_proj", 32},
                 {"fixtures/forward/llama", "layers.1.mlp.down_proj", 48},
                 {"fixtures/forward/qwen3", "layers.1.self_attn.o_proj", 64},
                 {"fixtures/forward/phi3", "layers.1.self_attn.qkv_proj", 32},
                 {"fixtures/forward/phi3", "layers.1.mlp.gate_up_proj", 32},
                 {"fixtures/forward/llama.gguf", "blk.1.ffn_up.weight", 32}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        bench b;
        organ_error error;
        set_up(&b, cases[c].path, 1);
        listening l = {.name = cases[c].name, .in = cases[c].in};
        ck_assert_int_eq(run(&b, &l, &error), ORGAN_OK);
        ck_assert_msg(l.next == 64, "%s: %zu tokens", cases[c].name, l.next);
        tear_down(&b);
    }
    bench b;
    organ_error error = {0};
    set_up(&b, "fixtures/forward/llama", 1);
    float *normed = normed_of(&b);
    const organ_tap tap = {normed, compare};
    ck_assert_int_eq(organ_layer_run(b.s.forward, b.layer, &b.windows, b.hidden, &tap, &error), ORGAN_OK);
    free(normed);
    tear_down(&b);
}
END_TEST

/* The router assigns every token to the number of experts in the config; a tap of one expert counts its tokens. */
START_TEST(a_tap_hears_what_experts_get)
{
    static const char *const paths[] = {"fixtures/forward/mixtral", "fixtures/forward/qwen3moe.gguf"};
    static const char *const names[2][6] = {
        {".experts.0.w2.", ".experts.1.w2.", ".experts.2.w2.", ".experts.3.w2.", ".experts.4.w2.", ".experts.5.w2."},
        {"down_exps.weight[0]", "down_exps.weight[1]", "down_exps.weight[2]", "down_exps.weight[3]",
         "down_exps.weight[4]", "down_exps.weight[5]"}};
    for (size_t p = 0; p < 2; p++) {
        size_t all = 0;
        for (size_t e = 0; e < 6; e++) {
            bench b;
            organ_error error;
            set_up(&b, paths[p], 2);
            listening l = {.name = names[p][e], .in = p ? 24 : 48};
            ck_assert_int_eq(run(&b, &l, &error), ORGAN_OK);
            all += l.next;
            tear_down(&b);
        }
        ck_assert_uint_eq(all, 2 * 64);
    }
}
END_TEST

START_TEST(weights_can_be_found_and_changed)
{
    static const char *const outputs[2][2] = {{"self_attn.o_proj.weight", "mlp.down_proj.weight"},
                                              {"attn_output.weight", "ffn_down_exps.weight"}};
    static const char *const paths[] = {"fixtures/forward/qwen3", "fixtures/forward/qwen3moe.gguf"};
    for (size_t p = 0; p < 2; p++) {
        bench b;
        organ_error error;
        uint64_t rows, cols;
        set_up(&b, paths[p], 0);
        for (size_t k = 0; k < 2; k++) {
            char name[100];
            snprintf(name, sizeof name, p ? "blk.0.%s" : "model.layers.0.%s", outputs[p][k]);
            float *weight = weight_of(&b, name, &rows, &cols);
            memset(weight, 0, rows * cols * sizeof *weight);
            organ_layer_write(b.layer, name, weight);
            free(weight);
        }
        float *before = malloc(64 * b.width * sizeof *before);
        memcpy(before, b.hidden, 64 * b.width * sizeof *before);
        ck_assert_int_eq(run(&b, NULL, &error), ORGAN_OK);
        ck_assert_mem_eq(b.hidden, before, 64 * b.width * sizeof *before); /* the layer adds nothing any more */
        free(before);
        organ_product_operand held;
        ck_assert(!organ_layer_matrix(b.layer, "model.layers.0.self_attn.q_proj", &rows, &cols, &held));
        ck_assert(!organ_layer_matrix(b.layer, "blk.0.ffn_down_exps.weight[6]", &rows, &cols, &held));
        ck_assert(!organ_layer_matrix(b.layer, "blk.0.attn_q.weight[0]", &rows, &cols, &held));
        tear_down(&b);
    }
}
END_TEST

/* Rows of Q and K have the order of Hugging Face, although llama.cpp permutes them. */
START_TEST(rows_are_turned_back)
{
    static const char *const names[][2] = {{"model.layers.1.self_attn.q_proj.weight", "blk.1.attn_q.weight"},
                                           {"model.layers.1.self_attn.k_proj.weight", "blk.1.attn_k.weight"},
                                           {"model.layers.1.self_attn.k_proj.bias", "blk.1.attn_k.bias"},
                                           {"model.layers.1.self_attn.v_proj.weight", "blk.1.attn_v.weight"}};
    bench a, b;
    set_up(&a, "fixtures/forward/llama", 1);
    set_up(&b, "fixtures/forward/llama.gguf", 1);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        uint64_t rows[2], cols[2];
        float *x = weight_of(&a, names[k][0], &rows[0], &cols[0]), *y = weight_of(&b, names[k][1], &rows[1], &cols[1]);
        ck_assert(rows[0] == rows[1] && cols[0] == cols[1]);
        ck_assert_mem_eq(x, y, rows[0] * cols[0] * sizeof *x);
        free(x);
        free(y);
    }
    tear_down(&a);
    tear_down(&b);
}
END_TEST

START_TEST(a_stop_and_a_fault_of_the_tap_end_it)
{
    bench b;
    organ_error error;
    set_up(&b, "fixtures/forward/mixtral", 0);
    listening failing = {.name = "?", .fail = true};
    ck_assert_int_eq(run(&b, &failing, &error), ORGAN_CHECK_FAILED);
    ck_assert_uint_eq(failing.calls, 1);
    for (int at = 1; at < 8; at += 2) {
        listening l = {.name = "?", .stop_at = at};
        b.s.engine.stop = &l.stop;
        ck_assert_int_eq(run(&b, &l, &error), ORGAN_INTERRUPTED);
        ck_assert_uint_lt(l.calls, 8 + 18);
        const size_t row = 0;
        ck_assert_ptr_null(session_logits(&b.s, &b.windows, &row, 1, &error));
        ck_assert_int_eq(error.status, ORGAN_INTERRUPTED);
    }
    tear_down(&b);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"parity", {logits_are_those_of_transformers}},
        {"the same",
         {threads_and_memory_do_not_show, every_cpu_gives_the_same, a_window_is_as_if_it_were_alone,
          a_logit_does_not_depend_on_the_others}},
        {"layer",
         {a_tap_hears_the_inputs_of_each_layer, a_tap_hears_what_experts_get, weights_can_be_found_and_changed,
          rows_are_turned_back, a_stop_and_a_fault_of_the_tap_end_it}},
    };
    Suite *const suites[] = {suite_of("forward", cases, sizeof cases / sizeof *cases, nothing, nothing),
                             forward_faults_suite(),
                             forward_past_suite(),
                             cache_rounding_suite(),
                             forward_packed_suite(),
                             forward_stream_suite(),
                             forward_experts_suite(),
                             architectures_suite(),
                             refused_configurations_suite(),
                             hostile_configurations_suite(),
                             hostile_keys_suite(),
                             NULL};
    return run_suites(suites);
}
