/* SPDX-License-Identifier: MIT
 * Tests of calibrated quantize on GGUF models with stacks of experts: types of matrices, full disks, memory. */
#include "tests/verbs/prune/method_rig.h"
#include "tests/verbs/quantize/convert_rig.h"
#include "tests/kit/effort.h"
#include "tests/kit/suite_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char donor[4096], text[4096];

static void setup(void)
{
    fault_clear();
    scratch_make();
    method_make_donor("qwen3moe.gguf");
    strcpy(donor, scratch_path("donor/model.gguf"));
    strcpy(text, scratch_path("text"));
}

static convert_way way_of(const char *scheme, const char *calibration)
{
    return (convert_way){.scheme = scheme,
                         .model = donor,
                         .calibration = calibration,
                         .samples = calibration ? 100 : 0,
                         .context = calibration ? 32 : 0};
}

static const json_t *row_of(const char *tensor)
{
    const json_t *row;
    size_t k;
    json_array_foreach(json_object_get(convert_report, "tensors"), k, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "tensor")), tensor) == 0)
            return row;
    }
    ck_abort_msg("%s is not there", tensor);
}

static const char stack[] = "blk.1.ffn_up_exps.weight";

/* Every matrix of a stack gets its own blocks, with less loss on the text; tensors that no text reaches get the blocks
 * of a run without a text. */
START_TEST(stacks_and_what_goes_by_no_text)
{
    size_t bytes;
    must_convert("plain.gguf", way_of("q4_1", NULL));
    must_convert("out.gguf", way_of("q4_1", text));
    const double error = json_real_value(json_object_get(row_of(stack), "output_error"));
    ck_assert(error > 0 && error < json_real_value(json_object_get(row_of(stack), "gptq_output_error")));
    ck_assert_int_gt(json_integer_value(json_object_get(row_of(stack), "calibration_tokens")), 0);
    ck_assert(json_is_null(json_object_get(row_of("token_embd.weight"), "output_error")));
    ck_assert_ptr_null(json_object_get(row_of("token_embd.weight"), "calibration_tokens"));
    organ_model *const plain = open_sound("plain.gguf"), *const made = open_sound("out.gguf");
    const organ_matrices m = organ_tensor_matrices(organ_model_find(made, stack));
    unsigned char *const before = bytes_of(plain, stack, ORGAN_Q4_1, &bytes), *const after = bytes_of(
                                                                                  made, stack, ORGAN_Q4_1, &bytes);
    ck_assert_uint_gt(m.count, 2);
    for (size_t k = 0; k < m.count; k++)
        ck_assert_int_ne(memcmp(before + bytes / m.count * k, after + bytes / m.count * k, bytes / m.count), 0);
    unsigned char *const first = bytes_of(plain, "token_embd.weight", ORGAN_Q4_1, &bytes);
    unsigned char *const second = bytes_of(made, "token_embd.weight", ORGAN_Q4_1, &bytes);
    ck_assert_mem_eq(first, second, bytes);
    void *const parts[] = {before, after, first, second};
    for (size_t k = 0; k < 4; k++)
        free(parts[k]);
    organ_model_close(plain);
    organ_model_close(made);
}
END_TEST

START_TEST(full_disk_and_what_goes_on)
{
    organ_error error;
    convert_way way = way_of("q5_0", text);
    must_convert("reference.gguf", way);
    bool resumed = false;
    for (long n = 1; n < 200; n += (long)sampled(5, 25)) {
        fault_at(FAULT_PWRITE, n, ENOSPC, true, NULL);
        const organ_status status = convert("out.gguf", way, &error);
        if (!fault_fired()) {
            ck_assert_int_eq(status, ORGAN_OK);
            break;
        }
        ck_assert_int_eq(status, ORGAN_IO);
        way.resume = strstr(error.message, "`resume` continues") != NULL;
        resumed |= way.resume;
        must_convert("out.gguf", way);
        way.resume = false;
        ck_assert(same_files(scratch_path("reference.gguf"), scratch_path("out.gguf")));
        convert_forget("out");
    }
    ck_assert(resumed);
}
END_TEST

/* One token reaches only its experts: all are calibrated on all tokens, also stacks in one tensor. */
START_TEST(experts_that_no_token_reaches)
{
    convert_way way = way_of("q4_0", text);
    way.samples = way.context = 1;
    way.targets = "blk.0.*_exps.*";
    must_convert("out.gguf", way);
    const json_t *const fallback = json_object_get(json_object_get(convert_report, "calibration"), "fallback");
    ck_assert_int_gt(json_integer_value(json_object_get(fallback, "experts")), 2);
    const json_t *const layer = json_array_get(json_object_get(fallback, "layers"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(layer, "layer")), 0);
    ck_assert_int_eq((json_int_t)json_array_size(json_object_get(layer, "experts")),
                     json_integer_value(json_object_get(fallback, "experts")));
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
    convert_way way = way_of("q4_0", text);
    way.memory = (uint64_t)1 << 20;
    convert_refused(way, ORGAN_USAGE, "is enough");
    way = way_of("q4_0", text);
    way.targets = "token_embd.*";
    convert_refused(way, ORGAN_USAGE, "none of the targets is in a layer");
    way = way_of("q4_0", scratch_path("missing"));
    convert_refused(way, ORGAN_IO, "missing");
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"stacks", {stacks_and_what_goes_by_no_text, experts_that_no_token_reaches}},
                                {"faults", {full_disk_and_what_goes_on, what_cannot_be_is_refused}}};
    return run_suites(
        (Suite *const[]){suite_of("gguf_text", cases, sizeof cases / sizeof *cases, setup, convert_teardown), NULL});
}
