/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/output/stretches: where large tensors are divided, and the digest of a tensor written in
 * parts. */
#include "orchestrator/output/output.h"
#include "orchestrator/output/inputs.h"

#include "tests/kit/require.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MIB          ((uint64_t)1 << 20)

static organ_tensor tensor_of(const uint64_t *shape, unsigned rank)
{
    organ_tensor t = {.name = "t", .dtype = ORGAN_BF16, .rank = rank, .shape = shape, .elements = 1, .offset = 1000};
    for (unsigned k = 0; k < rank; k++)
        t.elements *= shape[k];
    t.bytes = 2 * t.elements;
    return t;
}

static void divide_one(const organ_tensor *tensor, uint64_t rows, organ_stretches *stretches)
{
    static const organ_tensor *list[1];
    organ_error error = {0};
    list[0] = tensor;
    ck_assert_int_eq(organ_stretches_make(list, 1, rows, stretches, &error), ORGAN_OK);
}

START_TEST(tensors_are_cut_by_their_size_alone)
{
    static const struct {
        uint64_t shape[3], rows, stretches, first; /* first: bytes of the first part */
    } table[] = {
        {{1, 32768, 1024}, 256, 1, 64 * MIB},                               /* the largest unit */
        {{1, 32769, 1024}, 256, 2, (uint64_t)16640 * 2048},                 /* two halves, of whole blocks */
        {{1, 32769, 1024}, ORGAN_STRETCH_WHOLE, 1, (uint64_t)32769 * 2048}, /* not divided */
        {{1, 32769, 1024}, ORGAN_STRETCH_MATRICES, 1, (uint64_t)32769 * 2048},
        {{6, 4096, 4096}, 256, 3, 64 * MIB},                    /* two matrices in a part */
        {{7, 4096, 4096}, ORGAN_STRETCH_MATRICES, 4, 64 * MIB}, /* the last part has one */
        {{3, 10000, 4096}, 256, 6, (uint64_t)5120 * 8192},      /* each matrix has its own stretches */
        {{3, 10000, 4096}, ORGAN_STRETCH_MATRICES, 3, (uint64_t)10000 * 8192},
        {{384, 2048, 7168}, 256, 192, (uint64_t)2 * 2048 * 7168 * 2}, /* experts of a model of 10^12 parameters */
        {{1, 2, 100000000}, 8, 1, (uint64_t)400000000},               /* rows longer than a unit */
        {{2, 2, 100000000}, 1, 4, (uint64_t)200000000},
    };
    for (size_t k = 0; k < COUNT(table); k++) {
        const organ_tensor whole = tensor_of(table[k].shape, 3);
        uint64_t at = 0;
        organ_stretches stretches;
        divide_one(&whole, table[k].rows, &stretches);
        ck_assert_msg(stretches.count == table[k].stretches, "row %zu: %zu stretches", k, stretches.count);
        ck_assert_msg(stretches.list[0].tensor.bytes == table[k].first, "row %zu: %zu bytes", k,
                      (size_t)stretches.list[0].tensor.bytes);
        for (size_t c = 0; c < stretches.count; c++) {
            const organ_stretch *const stretch = &stretches.list[c];
            const organ_matrices m = organ_tensor_matrices(&stretch->tensor);
            REQUIRE(stretch->at == at && stretch->tensor.offset == whole.offset + at);
            REQUIRE(m.count * m.rows * m.cols == stretch->tensor.elements &&
                    stretch->tensor.bytes == 2 * stretch->tensor.elements);
            REQUIRE(m.cols == table[k].shape[2] && (m.rows == table[k].shape[1] || m.count == 1));
            REQUIRE(organ_stretches_is_whole(&stretches, c) == (stretches.count == 1));
            REQUIRE(c == 0 || strcmp(stretch->unit, stretches.list[c - 1].unit) != 0);
            at += stretch->tensor.bytes;
        }
        ck_assert_uint_eq(at, whole.bytes);
        organ_stretches_release(&stretches);
    }
}
END_TEST

START_TEST(vectors_and_nothing_stay_whole)
{
    static const uint64_t longest[] = {(uint64_t)1 << 30}, none[] = {0, 4096};
    const organ_tensor vector = tensor_of(longest, 1), empty = tensor_of(none, 2), number = tensor_of(NULL, 0);
    const organ_tensor *const list[] = {&vector, &empty, &number};
    organ_error error = {0};
    organ_stretches stretches;
    ck_assert_int_eq(organ_stretches_make(list, COUNT(list), 8, &stretches, &error), ORGAN_OK);
    ck_assert_uint_eq(stretches.count, COUNT(list));
    for (size_t c = 0; c < stretches.count; c++) {
        ck_assert_uint_eq(stretches.list[c].of, c);
        ck_assert_uint_eq(stretches.list[c].tensor.bytes, list[c]->bytes);
    }
    organ_stretches_release(&stretches);
}
END_TEST

START_TEST(a_digest_is_of_all_bytes_or_not_known)
{
    static const uint64_t shape[] = {1, 32769, 1024};
    const organ_tensor whole = tensor_of(shape, 3);
    char *const bytes = calloc(1, whole.bytes);
    char requested[17];
    organ_error error = {0};
    organ_stretches stretches;
    divide_one(&whole, 256, &stretches);
    const size_t first = stretches.list[0].tensor.bytes, second = stretches.list[1].tensor.bytes;
    bytes[5] = 1, bytes[first] = 2;
    snprintf(requested, sizeof requested, "%016llx", (unsigned long long)XXH3_64bits(bytes, whole.bytes));
    ck_assert_int_eq(organ_stretches_digest(&stretches, 1, bytes + first, second, 0, &error),
                     ORGAN_OK); /* another rank has written the first part */
    ck_assert_str_eq(stretches.xxh3[0], "");
    ck_assert_int_eq(organ_stretches_digest(&stretches, 0, bytes, 4096, 0, &error), ORGAN_OK);
    ck_assert_int_eq(organ_stretches_digest(&stretches, 0, bytes + 4096, first - 4096, 4096, &error), ORGAN_OK);
    ck_assert_str_eq(stretches.xxh3[0], "");
    ck_assert_int_eq(organ_stretches_digest(&stretches, 1, bytes + first, second, 0, &error), ORGAN_OK);
    ck_assert_str_eq(stretches.xxh3[0], requested);
    organ_stretches_release(&stretches);
    free(bytes);
}
END_TEST

START_TEST(matrices_of_conv1d_are_refused_by_options_of_rows)
{
    static const struct {
        uint64_t shape[2];
        organ_status status;
    } table[] = {{{64, 192}, ORGAN_USAGE}, {{192, 64}, ORGAN_OK}, {{96, 64}, ORGAN_OK}};
    for (size_t k = 0; k < COUNT(table); k++) {
        static const uint64_t square[] = {64, 64};
        organ_tensor tensors[] = {tensor_of(table[k].shape, 2), tensor_of(square, 2)};
        tensors[0].name = "transformer.h.0.attn.c_attn.weight";
        tensors[1].name = "transformer.h.0.attn.c_proj.weight";
        const organ_tensor *chosen[] = {&tensors[1]};
        organ_model model = {.path = "m", .tensors = tensors, .tensor_count = COUNT(tensors)};
        organ_error error = {0};
        const organ_targets targets = {.count = 1, .tensors = chosen};
        ck_assert_int_eq(organ_targets_need_rows(&model, &targets, false, "`pattern`", &error), table[k].status);
        ck_assert(table[k].status == ORGAN_OK || strstr(error.message, "c_proj"));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stretches");
    TCase *stretches = tcase_create("stretches");
    tcase_add_test(stretches, tensors_are_cut_by_their_size_alone);
    tcase_add_test(stretches, vectors_and_nothing_stay_whole);
    tcase_add_test(stretches, a_digest_is_of_all_bytes_or_not_known);
    tcase_add_test(stretches, matrices_of_conv1d_are_refused_by_options_of_rows);
    suite_add_tcase(suite, stretches);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
