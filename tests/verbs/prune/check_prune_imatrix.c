/* SPDX-License-Identifier: MIT
 * Tests of pruning by an importance matrix as a library: the right entry for each weight under any naming, and
 * imatrices that do not fit, which leave nothing. */
#include "orchestrator/stream/product.h"
#include <organ/prune.h>
#include "tests/kit/forward_rig.h"
#include "tests/verbs/prune/method_rig.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TINY  "fixtures/tiny-qwen2"
#define TEXT  TINY "/calibration.txt"
#define GIVEN "fixtures/imatrix/tiny-qwen2.gguf"

typedef struct way {
    const char *method, *imatrix, *calibration, *targets;
    double sparsity;
    unsigned threads;
    uint64_t memory;
} way;

static organ_status prune(const char *donor, const char *output, way w, organ_error *error)
{
    const method_way whole = {.donor = donor,
                              .targets = w.targets,
                              .sparsity = w.sparsity > 0 ? w.sparsity : 50,
                              .force = true,
                              .threads = w.threads ? w.threads : 2,
                              .memory = w.memory,
                              .options = {.method = w.method ? w.method : "wanda",
                                          .imatrix = w.imatrix,
                                          .calibration.text = w.calibration,
                                          .calibration.samples = w.calibration ? 16 : 128,
                                          .calibration.context = w.calibration ? 128 : 512,
                                          .effort = 1}};
    return method_prune(output, &whole, error);
}

static void must_prune(const char *donor, const char *output, way w)
{
    organ_error error;
    ck_assert_msg(prune(donor, output, w, &error) == ORGAN_OK, "%s", error.message);
}

static void must_fail(const char *donor, way w, organ_status status, const char *told)
{
    organ_error error;
    method_must_have_failed(prune(donor, "out", w, &error), status, &error, told);
}

/* ---- reading outputs ---- */

static organ_model *opened(const char *path)
{
    organ_model *model;
    organ_error error = {0};
    ck_assert_msg(organ_model_open(path, &model, &error) == ORGAN_OK, "%s", error.message);
    return model;
}

/* Returns the values of a tensor, which the caller frees. */
static float *values_of(const organ_model *model, const char *name, uint64_t *count)
{
    organ_error error = {0};
    const char *why;
    const organ_tensor *const t = organ_model_find(model, name);
    ck_assert_msg(t != NULL, "%s", name);
    void *const bytes = malloc(t->bytes);
    float *const values = malloc(t->elements * sizeof *values);
    ck_assert_int_eq(organ_model_read(model, t->file, bytes, t->bytes, t->offset, &error), ORGAN_OK);
    organ_widen(organ_kernels_choose(organ_cpu_detect(), NULL, &why), t->dtype, bytes, values, t->elements);
    free(bytes);
    *count = t->elements;
    return values;
}

/* Returns the number of weights of a tensor that are zero in only one of two outputs. */
static uint64_t different(const char *a, const char *b, const char *name, uint64_t *count)
{
    organ_model *const left = opened(scratch_path("%s", a)), *const right = opened(scratch_path("%s", b));
    float *const x = values_of(left, name, count), *const y = values_of(right, name, count);
    uint64_t sum = 0;
    for (uint64_t k = 0; k < *count; k++)
        sum += (x[k] == 0) != (y[k] == 0);
    free(x);
    free(y);
    organ_model_close(left);
    organ_model_close(right);
    return sum;
}

/* ---- masks ---- */

/* In the first layer the same tokens give the same mask. In later layers the text's inputs are those of pruned layers,
 * the imatrix has those of the whole model: a few weights differ. */
START_TEST(same_tokens_same_mask)
{
    static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};
    const char *const targets = "*.layers.0.*_proj.weight,*.layers.1.*_proj.weight";
    uint64_t all = 0, later = 0, count;
    char name[80];
    must_prune(TINY, "text", (way){.calibration = TEXT, .targets = targets});
    must_prune(TINY, "imatrix", (way){.imatrix = GIVEN, .targets = targets});
    for (size_t k = 0; k < 7; k++) {
        snprintf(name, sizeof name, "model.layers.0.%s.weight", modules[k]);
        ck_assert_uint_eq(different("text", "imatrix", name, &count), 0);
        snprintf(name, sizeof name, "model.layers.1.%s.weight", modules[k]);
        later += different("text", "imatrix", name, &count);
        all += count;
    }
    ck_assert_msg(later > 0 && later < all / 40, "%llu of %llu differ", (unsigned long long)later,
                  (unsigned long long)all);
}
END_TEST

START_TEST(same_bytes_whatever_the_way)
{
    static const char *const methods[] = {"physarum-v2", "wanda"};
    for (size_t m = 0; m < 2; m++) {
        way w = {.method = methods[m], .imatrix = GIVEN, .threads = 1};
        must_prune(TINY, "a", w);
        w.threads = 3;
        w.memory = (uint64_t)8 << 20;
        w.imatrix = "fixtures/imatrix/tiny-qwen2.dat";
        must_prune(TINY, "b", w);
        ck_assert(same_files(scratch_path("a/model-00002-of-00003.safetensors"),
                             scratch_path("b/model-00002-of-00003.safetensors")));
        ck_assert_str_eq(json_string_value(json_object_get(last_report, "definition")),
                         m == 0 ? "physarum-v2-imatrix/2" : "wanda/1");
        ck_assert(json_is_false(json_object_get(last_report, "compensates")));
        ck_assert_str_eq(json_string_value(json_object_get(json_object_get(last_report, "imatrix"), "name")),
                         "tiny-qwen2.dat");
        ck_assert_int_eq(json_integer_value(json_object_get(last_report, "compensated")), 0);
    }
}
END_TEST

/* ---- tensor names of all kinds ---- */

static void put_number(FILE *out, int32_t number) { ck_assert_uint_eq(fwrite(&number, sizeof number, 1, out), 1); }

/* Writes an imatrix of the older format to "m" for all projections of that GGUF model, with values that differ between
 * inputs and experts; those of expert `unseen` are equal. */
static void make_imatrix(const char *gguf, int64_t unseen)
{
    organ_model *const model = opened(gguf);
    FILE *const out = fopen(scratch_path("m"), "w");
    int32_t entries = 0;
    ck_assert_ptr_nonnull(out);
    for (size_t k = 0; k < model->tensor_count; k++)
        entries += organ_role_describe(model->tensors[k].anatomy.role)->projection;
    put_number(out, entries);
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        const organ_matrices m = organ_tensor_matrices(t);
        if (!organ_role_describe(t->anatomy.role)->projection)
            continue;
        put_number(out, (int32_t)strlen(t->name));
        fputs(t->name, out);
        put_number(out, 1);
        put_number(out, (int32_t)(m.count * m.cols));
        for (uint64_t j = 0; j < m.count * m.cols; j++) {
            /* Gate and up have the same inputs, and so have Q, K and V. */
            const bool down = t->anatomy.role == ORGAN_ROLE_DOWN || t->anatomy.role == ORGAN_ROLE_O;
            const float value = (float)(1 + (j * 37 + (uint64_t)t->anatomy.layer * 11 + (down ? 5 : 0)) % 101);
            const float written = m.count > 1 && (int64_t)(j / m.cols) == unseen ? 1 : value;
            ck_assert_uint_eq(fwrite(&written, sizeof written, 1, out), 1);
        }
    }
    ck_assert_int_eq(fclose(out), 0);
    organ_model_close(model);
}

/* A tensor of the Hugging Face model, and the part of a GGUF tensor with the same weights: part `from` of `of` equal
 * parts. */
static const struct twin {
    const char *kind, *hf, *gguf;
    uint64_t from, of;
} twins[] = {
    {"phi3", "model.layers.1.self_attn.qkv_proj.weight", "blk.1.attn_qkv.weight", 0, 1},
    {"phi3", "model.layers.2.mlp.gate_up_proj.weight", "blk.2.ffn_up.weight", 0, 1},
    {"phi3", "model.layers.2.self_attn.o_proj.weight", "blk.2.attn_output.weight", 0, 1},
    {"qwen3moe", "model.layers.0.mlp.experts.0.down_proj.weight", "blk.0.ffn_down_exps.weight", 0, 6},
    {"qwen3moe", "model.layers.2.mlp.experts.5.gate_proj.weight", "blk.2.ffn_gate_exps.weight", 5, 6},
    {"qwen3moe", "model.layers.2.self_attn.k_proj.weight", "blk.2.attn_k.weight", 0, 1},
    {"qwen3moe-stacked", "model.layers.1.mlp.experts.down_proj", "blk.1.ffn_down_exps.weight", 0, 1},
    {"mixtral", "model.layers.1.block_sparse_moe.experts.3.w1.weight", "blk.1.ffn_gate_exps.weight", 3, 6},
    {"mixtral", "model.layers.1.block_sparse_moe.experts.2.w2.weight", "blk.1.ffn_down_exps.weight", 2, 6},
    {"mixtral", "model.layers.1.block_sparse_moe.experts.2.w3.weight", "blk.1.ffn_up_exps.weight", 2, 6},
};

static void compare_twin(const organ_model *a, const organ_model *b, const struct twin *t)
{
    uint64_t count, all, zeros = 0;
    float *const x = values_of(a, t->hf, &count), *const y = values_of(b, t->gguf, &all);
    ck_assert_uint_eq(count * t->of, all);
    for (uint64_t k = 0; k < count; k++) {
        REQUIRE_MSG(x[k] == y[t->from * count + k], "%s: weight %llu", t->hf, (unsigned long long)k);
        zeros += x[k] == 0;
    }
    ck_assert(zeros >= count / 2 && zeros < count / 2 + count / 20);
    free(x);
    free(y);
}

static const char *const kinds[] = {"phi3", "qwen3moe", "qwen3moe-stacked", "mixtral"};

START_TEST(names_of_both_formats)
{
    char hf[100], gguf[100];
    size_t compared = 0;
    snprintf(hf, sizeof hf, "fixtures/forward/%s", kinds[_i]);
    snprintf(gguf, sizeof gguf, "fixtures/forward/%s.gguf", _i == 2 ? kinds[1] : kinds[_i]);
    make_imatrix(gguf, -1);
    must_prune(hf, "hf", (way){.imatrix = scratch_path("m")});
    must_prune(gguf, "gguf", (way){.imatrix = scratch_path("m")});
    organ_model *const a = opened(scratch_path("hf")), *const b = opened(scratch_path("gguf"));
    for (size_t k = 0; k < sizeof twins / sizeof *twins; k++)
        if (strcmp(twins[k].kind, kinds[_i]) == 0) {
            compare_twin(a, b, &twins[k]);
            compared++;
        }
    ck_assert(compared > 0);
    organ_model_close(a);
    organ_model_close(b);
}
END_TEST

/* ---- GGUF donors with a text ---- */

/* Returns the position in GGUF of row `row` of Q or K of a llama model with heads of `head` rows. */
static uint64_t turned(uint64_t row, uint64_t head)
{
    return row - row % head + row % head % (head / 2) * 2 + row % head / (head / 2);
}

static void compare_turned(const organ_model *a, const organ_model *b, const char *hf, const char *gguf, uint64_t cols,
                           uint64_t head)
{
    uint64_t count, all;
    float *const x = values_of(a, hf, &count), *const y = values_of(b, gguf, &all);
    ck_assert_uint_eq(count, all);
    for (uint64_t r = 0; r < count / cols; r++)
        ck_assert_msg(memcmp(x + r * cols, y + turned(r, head) * cols, cols * sizeof *x) == 0, "%s: row %llu", hf,
                      (unsigned long long)r);
    free(x);
    free(y);
}

/* The same weights get the same masks in both formats; rows of Q and K that llama.cpp permutes stay permuted. */
START_TEST(same_weights_in_both_formats)
{
    static const char *const methods[] = {"physarum-v2", "wanda"};
    char text[4000];
    uint32_t state = 7;
    for (size_t k = 0; k < sizeof text; k++)
        text[k] = (char)('!' + (state = state * 1664525 + 1013904223) / 65536 % 94);
    spill(scratch_path("text"), text, sizeof text);
    mkdir(scratch_path("donor"), 0777);
    mkdir(scratch_path("donor-gguf"), 0777);
    copy_file("fixtures/forward/mixtral/model.safetensors", scratch_path("donor/model.safetensors"));
    copy_file("fixtures/forward/mixtral/config.json", scratch_path("donor/config.json"));
    copy_file("fixtures/forward/mixtral.gguf", scratch_path("donor-gguf/m.gguf"));
    make_tokenizer(scratch_path("donor/tokenizer.json"), 0);
    make_tokenizer(scratch_path("donor-gguf/tokenizer.json"), 0);
    for (size_t m = 0; m < 2; m++) {
        const way w = {.method = methods[m], .calibration = scratch_path("text")};
        must_prune(scratch_path("donor"), "hf", w);
        must_prune(scratch_path("donor-gguf"), "gguf", w);
        organ_model *const a = opened(scratch_path("hf")), *const b = opened(scratch_path("gguf"));
        for (size_t k = 0; k < sizeof twins / sizeof *twins; k++)
            if (strcmp(twins[k].kind, "mixtral") == 0)
                compare_twin(a, b, &twins[k]);
        compare_turned(a, b, "model.layers.2.self_attn.q_proj.weight", "blk.2.attn_q.weight", 32, 8);
        compare_turned(a, b, "model.layers.2.self_attn.k_proj.weight", "blk.2.attn_k.weight", 32, 8);
        compare_turned(a, b, "model.layers.1.self_attn.v_proj.weight", "blk.1.attn_v.weight", 32, 2);
        organ_model_close(a);
        organ_model_close(b);
    }
}
END_TEST

/* ---- imatrices that do not fit ---- */

/* The document of each layer names expert 4. The others are pruned as with sums for all experts, and so is expert 4,
 * except that its down projection, whose columns count equally, is pruned by magnitude. */
START_TEST(expert_without_tokens)
{
    static const char donor[] = "fixtures/forward/mixtral",
                      down[] = "model.layers.1.block_sparse_moe.experts.4.w2.weight";
    make_imatrix("fixtures/forward/mixtral.gguf", -1);
    must_prune(donor, "all", (way){.imatrix = scratch_path("m")});
    ck_assert_ptr_null(json_object_get(json_object_get(last_report, "imatrix"), "fallback"));
    make_imatrix("fixtures/forward/mixtral.gguf", 4);
    must_prune(donor, "some", (way){.imatrix = scratch_path("m")});
    const json_t *const fallback = json_object_get(json_object_get(last_report, "imatrix"), "fallback");
    ck_assert_int_eq(json_integer_value(json_object_get(fallback, "experts")), 3);
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(fallback, "names"), 2)), "layer 2: 4");
    organ_model *const all = opened(scratch_path("all")), *const part = opened(scratch_path("some")),
                       *const before = opened(donor);
    uint64_t count;
    float *const x = values_of(all, twins[7].hf, &count), *const y = values_of(part, twins[7].hf, &count);
    ck_assert_mem_eq(x, y, count * sizeof *x);
    free(x);
    free(y);
    float *const was = values_of(before, down, &count), *const is = values_of(part, down, &count);
    const uint64_t cols = organ_model_find(before, down)->shape[1];
    for (uint64_t k = 0; k < count; k++)
        for (uint64_t l = k - k % cols; l < k - k % cols + cols; l++)
            REQUIRE(is[k] != 0 || is[l] == 0 || fabsf(was[k]) <= fabsf(was[l]));
    free(was);
    free(is);
    organ_model_close(all);
    organ_model_close(part);
    organ_model_close(before);
}
END_TEST

START_TEST(other_model)
{
    make_imatrix("fixtures/forward/qwen3moe.gguf", -1);
    must_fail("fixtures/forward/mixtral", (way){.imatrix = scratch_path("m")}, ORGAN_BAD_INPUT,
              "has 144 values, but tensor 'model.layers.0."
              "block_sparse_moe.experts.0.w2.weight' has 6 x "
              "48 inputs");
    must_fail("fixtures/forward/llama", (way){.imatrix = scratch_path("m")}, ORGAN_BAD_INPUT, "has no entry for it");
}
END_TEST

/* The axis of the inputs of a square stack is unknown. */
START_TEST(square_stack)
{
    static const made_tensor tensors[] = {{"model.layers.0.mlp.experts.down_proj", ORGAN_BF16, 3, {2, 32, 32}},
                                          {"model.layers.0.mlp.experts.gate_up_proj", ORGAN_BF16, 3, {2, 64, 32}}};
    static const char entry[] = "\1\0\0\0\32\0\0\0blk.0.ffn_down_exps.weight\1\0\0\0\100\0\0\0";
    char bytes[sizeof entry - 1 + 64 * sizeof(float)];
    float values[64];
    for (size_t k = 0; k < 64; k++)
        values[k] = (float)(k + 1);
    memcpy(bytes, entry, sizeof entry - 1);
    memcpy(bytes + sizeof entry - 1, values, sizeof values);
    spill(scratch_path("m"), bytes, sizeof bytes);
    mkdir(scratch_path("donor"), 0777);
    make_shard(scratch_path("donor/model.safetensors"), tensors, 2);
    must_fail(scratch_path("donor"), (way){.imatrix = scratch_path("m")}, ORGAN_BAD_INPUT,
              "tensor 'model.layers.0.mlp.experts.down_proj': is a stack of 2 matrices of 32 x 32: its input axis is "
              "ambiguous");
}
END_TEST

START_TEST(memory)
{
    must_fail(TINY, (way){.imatrix = GIVEN, .method = "physarum-v2", .memory = (uint64_t)1 << 20}, ORGAN_USAGE,
              "--memory 1M is too little for tensor 'model.layers.0.mlp.down_proj.weight' and the fewest of its rows "
              "of 864 weights that are "
              "pruned together; --memory ");
}
END_TEST

static void change_imatrix(void)
{
    FILE *const file = fopen(scratch_path("changing"), "a");
    fputc(0, file);
    fclose(file);
}

static void cut_imatrix(void) { spill(scratch_path("changing"), "GGUF", 4); }

START_TEST(imatrix_that_changes)
{
    static void (*const ways[])(void) = {change_imatrix, cut_imatrix};
    for (size_t k = 0; k < 2; k++) {
        copy_file(GIVEN, scratch_path("changing"));
        fault_at(FAULT_PWRITE, 5, 0, false, ways[k]);
        must_fail(TINY, (way){.imatrix = scratch_path("changing")}, ORGAN_BAD_INPUT,
                  k == 0 ? "now has" : "changing: ended at byte");
        fault_clear();
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"results", {same_tokens_same_mask, same_bytes_whatever_the_way, same_weights_in_both_formats}},
        {"faults", {expert_without_tokens, other_model, square_stack, memory, imatrix_that_changes}},
    };
    Suite *const suite = suite_of("prune_imatrix", cases, sizeof cases / sizeof *cases, method_setup, method_teardown);
    TCase *const names = tcase_create("names");
    tcase_add_checked_fixture(names, method_setup, method_teardown);
    tcase_add_loop_test(names, names_of_both_formats, 0, sizeof kinds / sizeof *kinds);
    suite_add_tcase(suite, names);
    Suite *const suites[] = {suite, NULL};
    return run_suites(suites);
}
