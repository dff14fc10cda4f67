/* SPDX-License-Identifier: MIT
 * A small GGUF model with the kinds of tensors that quantize tells apart, and an importance matrix for it. */
#ifndef ORGAN_TESTS_GGUF_DONOR_H
#define ORGAN_TESTS_GGUF_DONOR_H

#include "tests/verbs/quantize/convert_rig.h"
#include "formats/gguf/file.h"
#include "tests/kit/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two kinds of rows, rows that are no whole blocks, a stack of experts, a norm. */
static made_tensor donor[] = {
    {"token_embd.weight", ORGAN_F16, 2, {40, 256}},        {"blk.0.attn_q.weight", ORGAN_BF16, 2, {24, 512}},
    {"blk.0.attn_norm.weight", ORGAN_F32, 1, {256}},       {"blk.0.ffn_down.weight", ORGAN_F32, 2, {16, 96}},
    {"blk.0.ffn_up.weight", ORGAN_F32, 2, {8, 40}},        {"blk.0.ffn_gate_exps.weight", ORGAN_F32, 3, {3, 8, 256}},
    {"blk.0.ffn_gate_inp.weight", ORGAN_F32, 2, {3, 256}}, {"output.weight", ORGAN_BF16, 2, {40, 256}}};
enum { TENSORS = sizeof donor / sizeof *donor, EXPERTS = 5 };

static uint64_t elements_of(const made_tensor *t)
{
    uint64_t n = 1;
    for (unsigned k = 0; k < t->rank; k++)
        n *= t->shape[k];
    return n;
}

static void must(organ_status status, const organ_error *error)
{
    ck_assert_msg(status == ORGAN_OK, "%s", error->message);
}

/* Writes a GGUF file whose tensors have the values made by `fill`. */
static void write_gguf(const char *path, organ_gguf_writer *writer, const made_tensor *tensors, size_t count,
                       void (*fill)(const made_tensor *tensor, size_t index, float *values, void *to))
{
    organ_error error = {0};
    organ_gguf_layout layout;
    static float values[40 * 512];
    for (size_t k = 0; k < count; k++)
        must(organ_gguf_writer_tensor(writer, tensors[k].name, tensors[k].dtype, tensors[k].rank, tensors[k].shape,
                                      &error),
             &error);
    must(organ_gguf_writer_finish(writer, &layout, &error), &error);
    unsigned char *const bytes = calloc(1, layout.file_size);
    memcpy(bytes, layout.bytes, layout.size);
    for (size_t k = 0; k < count; k++)
        fill(&tensors[k], k, values, bytes + layout.offsets[k]);
    spill(path, bytes, layout.file_size);
    free(bytes);
    organ_gguf_writer_destroy(writer);
}

static void store(const made_tensor *tensor, const float *values, void *to)
{
    const size_t n = (size_t)elements_of(tensor);
    organ_kernels_scalar->quantize[organ_dtype_describe(tensor->dtype)->ggml](values, to, n);
}

static float spoilt = 1; /* the third value of the stack */

static void fill_donor(const made_tensor *tensor, size_t index, float *values, void *to)
{
    samples random = {index + 1};
    samples_fill(&random, NORMAL, values, (size_t)elements_of(tensor));
    if (index == EXPERTS)
        values[3] *= spoilt;
    store(tensor, values, to);
}

static void make_donor(size_t tensors)
{
    organ_error error = {0};
    organ_gguf_writer *writer;
    must(organ_gguf_writer_create(&writer, &error), &error);
    organ_gguf_writer_set_string(writer, "general.architecture", "llama", 5, &error);
    organ_gguf_writer_set_integer(writer, "general.file_type", ORGAN_GGUF_U32, 1, &error);
    organ_gguf_writer_set_string(writer, "quantize.imatrix.file", "old", 3, &error);
    organ_gguf_writer_set_integer(writer, "llama.block_count", ORGAN_GGUF_U32, 1, &error);
    write_gguf(scratch_path("donor.gguf"), writer, donor, tensors, fill_donor);
}

/* Sums of squares: input j of matrix m has (j mod 7 + 1)^2 (m + 1), or none if j mod 11 is 5. */
static made_tensor importance[] = {{"blk.0.attn_q.weight.in_sum2", ORGAN_F32, 2, {1, 512}},
                                   {"blk.0.attn_q.weight.counts", ORGAN_F32, 2, {1, 1}},
                                   {"blk.0.ffn_down.weight.in_sum2", ORGAN_F32, 2, {1, 96}},
                                   {"blk.0.ffn_down.weight.counts", ORGAN_F32, 2, {1, 1}},
                                   {"blk.0.ffn_gate_exps.weight.in_sum2", ORGAN_F32, 2, {3, 256}},
                                   {"blk.0.ffn_gate_exps.weight.counts", ORGAN_F32, 2, {3, 1}}};

static float input_square(size_t matrix, size_t j)
{
    return j % 11 == 5 ? 0 : (float)((j % 7 + 1) * (j % 7 + 1) * (matrix + 1) + matrix * (j % 3));
}

static void fill_importance(const made_tensor *tensor, size_t index, float *values, void *to)
{
    for (uint64_t m = 0; m < tensor->shape[0]; m++)
        for (uint64_t j = 0; j < tensor->shape[1]; j++)
            values[m * tensor->shape[1] + j] = index % 2 ? 8 : input_square(m, j);
    store(tensor, values, to);
}

static void make_importance(size_t tensors)
{
    organ_error error = {0};
    organ_gguf_writer *writer;
    must(organ_gguf_writer_create(&writer, &error), &error);
    organ_gguf_writer_set_string(writer, "general.type", "imatrix", 7, &error);
    write_gguf(scratch_path("imatrix.gguf"), writer, importance, tensors, fill_importance);
}

/* The stack of experts is that of gate or of down, whose inputs are not those of other experts. */
static void name_experts(bool down)
{
    donor[EXPERTS].name = down ? "blk.0.ffn_down_exps.weight" : "blk.0.ffn_gate_exps.weight";
    importance[4].name = down ? "blk.0.ffn_down_exps.weight.in_sum2" : "blk.0.ffn_gate_exps.weight.in_sum2";
    importance[5].name = down ? "blk.0.ffn_down_exps.weight.counts" : "blk.0.ffn_gate_exps.weight.counts";
}

static void setup(void)
{
    convert_setup();
    name_experts(/*down=*/false);
    spoilt = 1;
    make_donor(TENSORS);
    make_importance(sizeof importance / sizeof *importance);
}

static convert_way way_of(const char *scheme, const char *imatrix)
{
    static char paths[16][4096]; /* copies, since scratch_path reuses its buffers */
    static unsigned turn;
    char *const model = paths[turn % 16], *const extra = paths[(turn + 1) % 16];
    turn += 2;
    snprintf(model, sizeof *paths, "%s", scratch_path("donor.gguf"));
    snprintf(extra, sizeof *paths, "%s", imatrix ? scratch_path("%s", imatrix) : "");
    return (convert_way){.scheme = scheme, .model = model, .imatrix = imatrix ? extra : NULL};
}

#endif
