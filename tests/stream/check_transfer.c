/* SPDX-License-Identifier: MIT
 * Copying of tensors: bytes, extents and errors with any number of workers. */
#include <organ/stream.h>
#include "orchestrator/stream/transfer.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"
#include "tests/stream/check_stream.h"

#include <errno.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <xxhash.h>

static void setup(void) { scratch_make(); }

static void teardown(void) { scratch_remove(); }

/* In memory no page is allocated. No file system has room for 2^60 bytes. */
START_TEST(reserved_files)
{
    enum { SIZE = 1 << 20 };
    struct statfs system;
    struct stat info;
    organ_error error = {0};
    const char *const path = scratch_path("reserved");
    ck_assert_int_eq(organ_transfer_file(path, SIZE, true, &error), ORGAN_OK);
    ck_assert_int_eq(stat(path, &info) || statfs(path, &system), 0);
    ck_assert_int_eq(info.st_size, SIZE);
    ck_assert(system.f_type != TMPFS_MAGIC || info.st_blocks == 0);
    const char *const large = scratch_path("large");
    ck_assert_int_eq(organ_transfer_file(large, (uint64_t)1 << 60, true, &error), ORGAN_IO);
    ck_assert(error.errnum == ENOSPC || error.errnum == EFBIG);
    ck_assert_msg(strstr(error.message, "large: cannot be resized to 1152921504606846976 bytes"), "%s", error.message);
    ck_assert_int_eq(stat(large, &info), 0);
    ck_assert_int_eq(info.st_size, 0);
}
END_TEST

/* Elements of 64 bits take twice the bytes of their FP32 values, which must not overwrite elements that are not read
 * yet: writes a tensor of F64 as F32 that is longer than one step of the conversion. */
START_TEST(elements_of_64_bits_are_converted_whole)
{
    enum { COUNT = 600000 };
    organ_error error = {0};
    organ_model *model;
    const char *why;
    char header[96];
    const int length = snprintf(header + 8, sizeof header - 8,
                                "{\"x\":{\"dtype\":\"F64\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", COUNT, 8 * COUNT);
    const size_t lead = 8 + (size_t)length;
    const uint64_t header_bytes = (uint64_t)length;
    memcpy(header, &header_bytes, 8);
    unsigned char *const file = malloc(lead + 8 * COUNT);
    ck_assert_ptr_nonnull(file);
    memcpy(file, header, lead);
    for (int k = 0; k < COUNT; k++) {
        const double value = 1.0 / (k + 1);
        memcpy(file + lead + 8 * (size_t)k, &value, 8);
    }
    spill(scratch_path("x.safetensors"), file, lead + 8 * COUNT);
    free(file);
    ck_assert_int_eq(organ_model_open(scratch_path("x.safetensors"), &model, &error), ORGAN_OK);
    const char *const path = scratch_path("out");
    ck_assert_int_eq(organ_transfer_file(path, 4 * COUNT, true, &error), ORGAN_OK);
    organ_transfer transfer = {.model = model,
                               .tensor = &model->tensors[0],
                               .path = path,
                               .as = ORGAN_F32,
                               .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why)};
    organ_engine *engine;
    ck_assert_int_eq(organ_engine_create(NULL, 2, 0, &engine, &error), ORGAN_OK);
    ck_assert_msg(organ_transfer_run(&transfer, 1, engine, NULL, &error) == ORGAN_OK, "%s", error.message);
    size_t size;
    char *const out = slurp(path, &size);
    ck_assert_uint_eq(size, 4 * COUNT);
    for (int k = 0; k < COUNT; k++) {
        float value;
        memcpy(&value, out + 4 * (size_t)k, 4);
        ck_assert_msg(value == (float)(1.0 / (k + 1)), "element %d is %g", k, (double)value);
    }
    free(out);
    organ_engine_destroy(engine);
    organ_model_close(model);
}
END_TEST

/* Writes a file with one tensor of `count` elements of FP32, and opens it. */
static organ_model *model_of_floats(const float *values, size_t count)
{
    organ_error error = {0};
    organ_model *model;
    char header[96];
    const int length =
        snprintf(header + 8, sizeof header - 8, "{\"x\":{\"dtype\":\"F32\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}",
                 count, 4 * count);
    const uint64_t header_bytes = (uint64_t)length;
    memcpy(header, &header_bytes, 8);
    unsigned char *const file = malloc(8 + (size_t)length + 4 * count);
    ck_assert_ptr_nonnull(file);
    memcpy(file, header, 8 + (size_t)length);
    memcpy(file + 8 + (size_t)length, values, 4 * count);
    spill(scratch_path("x.safetensors"), file, 8 + (size_t)length + 4 * count);
    free(file);
    ck_assert_int_eq(organ_model_open(scratch_path("x.safetensors"), &model, &error), ORGAN_OK);
    return model;
}

/* Counts of the calls of a transfer's callbacks. */
typedef struct received {
    uint64_t bytes, largest; /* of all extents; of the largest one */
    size_t done;             /* calls of `done` */
} received;

static organ_status extent_is_written(void *context, const organ_transfer *t, const organ_transfer_extent *extent,
                                      organ_error *error)
{
    received *const r = context;
    size_t size;
    char *const out = slurp(t->path, &size);
    const uint64_t digest = XXH3_64bits(out + t->offset + extent->at, extent->bytes);
    free(out);
    r->bytes += extent->bytes;
    r->largest = extent->bytes > r->largest ? extent->bytes : r->largest;
    return digest == extent->xxh3 && r->done == 0 ? ORGAN_OK : organ_fail(error, ORGAN_USAGE, "another digest");
}

static organ_status tensor_is_done(void *context, const organ_transfer *t, organ_error *error)
{
    (void)t, (void)error;
    ((received *)context)->done++;
    return ORGAN_OK;
}

enum { FLOATS = 5 << 20 }; /* 20 MiB: three extents */
static const size_t transfer_threads[] = {1, 2, 7, 16};

/* Copies a tensor to an offset that is on no page, with any number of workers, whole and in extents. Every byte is
 * reported once, after it was written and before the tensor is done. */
START_TEST(extents_cover_a_tensor_with_any_threads)
{
    float *const values = malloc(FLOATS * sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (uint32_t k = 0; k < FLOATS; k++)
        values[k] = (float)(k * 2654435761u >> 8);
    organ_model *const model = model_of_floats(values, FLOATS);
    for (size_t k = 0; k < 8; k++) {
        organ_error error = {0};
        organ_engine *engine;
        received r = {0};
        const char *const path = scratch_path("out");
        ck_assert_int_eq(organ_engine_create(NULL, transfer_threads[k / 2], 0, &engine, &error), ORGAN_OK);
        ck_assert_int_eq(organ_transfer_file(path, 1001 + 4 * FLOATS, true, &error), ORGAN_OK);
        organ_transfer transfer = {.model = model,
                                   .tensor = &model->tensors[0],
                                   .path = path,
                                   .offset = 1001,
                                   .as = ORGAN_F32,
                                   .whole = k % 2,
                                   .written = extent_is_written,
                                   .done = tensor_is_done,
                                   .context = &r};
        ck_assert_msg(organ_transfer_run(&transfer, 1, engine, NULL, &error) == ORGAN_OK, "%s", error.message);
        size_t size;
        char *const out = slurp(path, &size);
        ck_assert_uint_eq(size, 1001 + 4 * FLOATS);
        ck_assert_mem_eq(out + 1001, values, 4 * FLOATS);
        ck_assert_uint_eq(r.bytes, 4 * FLOATS);
        ck_assert_uint_eq(r.done, 1);
        ck_assert_int_eq(r.largest == 4 * FLOATS, k % 2);
        ck_assert_uint_le(r.largest, k % 2 ? 4 * FLOATS : 8 << 20);
        free(out);
        ck_assert_int_eq(unlink(path), 0);
        organ_engine_destroy(engine);
    }
    free(values);
    organ_model_close(model);
}
END_TEST

/* Several extents have values beyond the range of F16. The message has the number of such values in the first of these
 * extents, for any number of workers. */
START_TEST(the_error_is_that_of_the_first_extent)
{
    float *const values = calloc(FLOATS, sizeof *values);
    const char *why;
    ck_assert_ptr_nonnull(values);
    for (size_t at = 900000, bad = 1; at < FLOATS; at += 600000, bad++)
        for (size_t k = 0; k < bad; k++)
            values[at + k] = 1e9f;
    organ_model *const model = model_of_floats(values, FLOATS);
    for (size_t k = 0; k < 8; k++) {
        organ_error error = {0};
        organ_engine *engine;
        organ_overflow overflow = ORGAN_OVERFLOW(false);
        const char *const path = scratch_path("out");
        ck_assert_int_eq(organ_engine_create(NULL, transfer_threads[k / 2], 0, &engine, &error), ORGAN_OK);
        ck_assert_int_eq(organ_transfer_file(path, 2 * FLOATS, true, &error), ORGAN_OK);
        organ_transfer transfer = {.model = model,
                                   .tensor = &model->tensors[0],
                                   .path = path,
                                   .as = ORGAN_F16,
                                   .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why),
                                   .overflow = &overflow,
                                   .whole = k % 2};
        ck_assert_int_eq(organ_transfer_run(&transfer, 1, engine, NULL, &error), ORGAN_BAD_INPUT);
        ck_assert_ptr_nonnull(strstr(error.message, "'x': at least 1 value "));
        ck_assert_int_eq(unlink(path), 0);
        organ_engine_destroy(engine);
    }
    free(values);
    organ_model_close(model);
}
END_TEST

/* The disk takes no bytes after the first 9 MiB of the file, so the writes of several extents fail. The message is that
 * of the first failed byte, for any number of workers and whether writers wait for the disk or not, and no extent with
 * a byte after the limit is reported. */
START_TEST(a_failed_write_is_that_of_the_first_extent)
{
    float *const values = calloc(FLOATS, sizeof *values);
    const struct rlimit limit = {9 << 20, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    ck_assert_ptr_nonnull(values);
    organ_model *const model = model_of_floats(values, FLOATS);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t k = 0; k < 16; k++) {
        organ_error error = {0};
        organ_engine *engine;
        received r = {0};
        const char *const path = scratch_path("out");
        const uint64_t memory = k < 8 ? 0 : 1 << 20; /* little memory: no writers */
        ck_assert_int_eq(organ_engine_create(NULL, transfer_threads[k / 2 % 4], memory, &engine, &error), ORGAN_OK);
        ck_assert_int_eq(organ_transfer_file(path, 4 * FLOATS, true, &error), ORGAN_OK);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        organ_transfer transfer = {.model = model,
                                   .tensor = &model->tensors[0],
                                   .path = path,
                                   .as = ORGAN_F32,
                                   .whole = k % 2,
                                   .written = extent_is_written,
                                   .done = tensor_is_done,
                                   .context = &r};
        ck_assert_int_eq(organ_transfer_run(&transfer, 1, engine, NULL, &error), ORGAN_IO);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
        ck_assert_int_eq(error.errnum, EFBIG);
        ck_assert_msg(strstr(error.message, " bytes at 9437184"), "%s", error.message);
        ck_assert_uint_eq(r.bytes, k % 2 ? 0 : 8 << 20);
        ck_assert_uint_eq(r.done, 0);
        ck_assert_int_eq(unlink(path), 0);
        organ_engine_destroy(engine);
    }
    free(values);
    organ_model_close(model);
}
END_TEST

Suite *transfer_suite(void)
{
    const suite_case cases[] = {
        {"transfer",
         {reserved_files, elements_of_64_bits_are_converted_whole, extents_cover_a_tensor_with_any_threads,
          the_error_is_that_of_the_first_extent, a_failed_write_is_that_of_the_first_extent}},
    };
    return suite_of("transfer", cases, sizeof cases / sizeof *cases, setup, teardown);
}
