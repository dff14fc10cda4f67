/* SPDX-License-Identifier: MIT
 * Tests of the stream: division into bands, passes, and failing system calls. */
#include "orchestrator/stream/pass_parts.h"
#include <organ/stream.h>
#include "tests/stream/check_stream.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"
#include "tests/kit/require.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void setup(void)
{
    fault_clear();
    scratch_make();
}

static void teardown(void)
{
    fault_clear();
    scratch_remove();
}

/* ---- division into bands ---- */

static organ_tensor fake_tensor(const uint64_t *shape, unsigned rank, organ_dtype dtype)
{
    organ_tensor t = {.name = "t", .dtype = dtype, .rank = rank, .shape = shape, .elements = 1};
    for (unsigned k = 0; k < rank; k++)
        t.elements *= shape[k];
    organ_dtype_bytes(dtype, t.elements, &t.bytes);
    return t;
}

/* Checks that every element of every tensor is in exactly one tile, that bands are contiguous and in order, and that
 * none is longer than planned. */
static void check_cover(const organ_pass *pass, uint64_t memory, size_t workers)
{
    organ_band_plan plan;
    organ_error error = {0};
    ck_assert_msg(organ_band_plan_make(pass, &(organ_engine){.memory = memory}, workers, &plan, &error) == ORGAN_OK,
                  "%s", error.message);
    ck_assert_uint_ge(plan.slots, 2);
    organ_band_cursor cursor = {0};
    organ_band_shape shape;
    unsigned char *seen[8] = {0};
    uint64_t next[8] = {0};
    for (size_t k = 0; k < pass->item_count; k++)
        seen[k] = calloc(pass->items[k].tensor->bytes + 1, 1);
    for (size_t last = 0; organ_band_next(pass, &plan, &cursor, &shape); last = shape.item) {
        REQUIRE(shape.item >= last);
        REQUIRE(shape.from == next[shape.item]);
        REQUIRE(shape.bytes <= plan.band_bytes);
        REQUIRE(shape.tiles <= plan.band_tiles);
        next[shape.item] += shape.bytes;
        REQUIRE(shape.last == (next[shape.item] == pass->items[shape.item].tensor->bytes));
        for (size_t t = 0; t < shape.tiles; t++) {
            const organ_tile tile = organ_band_tile(&shape, t, seen[shape.item] + shape.from, NULL);
            REQUIRE(tile.bytes == tile.rows * tile.cols * shape.unit);
            if (pass->tile_rows) {
                REQUIRE(tile.rows <= pass->tile_rows);
                REQUIRE(tile.cols <= (pass->tile_cols ? pass->tile_cols : shape.cols));
            }
            for (size_t i = 0; i < tile.rows; i++)
                for (size_t j = 0; j < tile.cols * shape.unit; j++)
                    ((unsigned char *)tile.data)[i * tile.stride * shape.unit +
                                                 j]++; /* the sanitizer finds a tile outside of its tensor */
        }
    }
    for (size_t k = 0; k < pass->item_count; k++) {
        uint64_t once = 0;
        for (uint64_t b = 0; b < pass->items[k].tensor->bytes; b++)
            once += seen[k][b] == 1;
        ck_assert_uint_eq(once, pass->items[k].tensor->bytes);
        free(seen[k]);
    }
}

START_TEST(bands_cover_everything_once)
{
    static const uint64_t shapes[][3] = {{300, 700},   {1, 1},    {256, 256}, {257, 16},
                                         {5, 100, 70}, {3, 0, 4}, {1, 9000},  {300, 7 * 256}};
    static const unsigned ranks[] = {2, 2, 2, 2, 3, 3, 2, 2};
    organ_tensor tensors[8];
    organ_pass_item items[8];
    for (size_t k = 0; k < 8; k++) {
        const organ_dtype plain = k % 2 ? ORGAN_F32 : ORGAN_BF16;
        tensors[k] = fake_tensor(shapes[k], ranks[k], k == 7 ? ORGAN_Q6_K : plain);
        items[k] = (organ_pass_item){.tensor = &tensors[k]};
    }
    static const size_t tiles[][2] = {{256, 256}, {16, 16}, {64, 1000}, {1, 7}, {3, 0}, {0, 0}};
    static const uint64_t memories[] = {2000000, 3000000, 512 << 20};
    for (size_t t = 0; t < 6; t++)
        for (size_t m = 0; m < 3; m++) {
            const organ_pass pass = {.items = items,
                                     .item_count = 8,
                                     .tile_rows = tiles[t][0],
                                     .tile_cols = tiles[t][1],
                                     .result_bytes = 8,
                                     .scratch_bytes = 1000};
            check_cover(&pass, memories[m], 1 + m * 3);
        }
}
END_TEST

/* A tile never contains parts of two experts of a stack. */
START_TEST(bands_do_not_cross_matrices)
{
    static const uint64_t shape[] = {5, 100, 70};
    const organ_tensor tensor = fake_tensor(shape, 3, ORGAN_BF16);
    const organ_pass_item item = {.tensor = &tensor};
    const organ_pass pass = {.items = &item, .item_count = 1, .tile_rows = 64, .tile_cols = 64};
    organ_band_plan plan;
    organ_error error = {0};
    ck_assert_int_eq(organ_band_plan_make(&pass, &(organ_engine){.memory = 64 << 20}, 2, &plan, &error), ORGAN_OK);
    organ_band_cursor cursor = {0};
    organ_band_shape band;
    size_t bands = 0;
    for (; organ_band_next(&pass, &plan, &cursor, &band); bands++) {
        ck_assert_uint_eq(band.rows, 100);
        ck_assert_uint_eq(band.from % (100 * 70 * 2), 0);
    }
    ck_assert_uint_eq(bands, 5);
}
END_TEST

START_TEST(memory_too_small_is_told)
{
    static const uint64_t shape[] = {1024, 16384};
    organ_tensor tensor = fake_tensor(shape, 2, ORGAN_BF16);
    tensor.name = "wide";
    const organ_pass_item item = {.tensor = &tensor};
    const organ_pass pass = {
        .items = &item, .item_count = 1, .tile_rows = 256, .tile_cols = 256, .scratch_bytes = 1 << 20};
    organ_band_plan plan;
    organ_error error = {0};
    ck_assert_int_eq(organ_band_plan_make(&pass, &(organ_engine){.memory = 16 << 20}, 2, &plan, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "--memory"));
    ck_assert_ptr_nonnull(strstr(error.message, "'wide'"));
    error = (organ_error){0};
    ck_assert_int_eq(organ_band_plan_make(&pass, &(organ_engine){.memory = 20 << 20}, 2, &plan, &error), ORGAN_OK);
}
END_TEST

/* ---- passes ---- */

typedef struct sums {
    uint64_t bytes[64]; /* sum of the bytes of each item, added up from tiles */
    uint64_t order;     /* depends on the order of bands */
    size_t bands;
    long fail_after;
    organ_stop *stop_after;
} sums;

static void add_bytes(void *context, const organ_tile *tile, void *scratch, void *result)
{
    uint64_t sum = 0;
    (void)context;
    memset(scratch, 1, 100); /* every worker has its own scratch */
    for (size_t k = 0; k < tile->bytes; k++)
        sum += ((unsigned char *)tile->data)[k] + (tile->other ? ((unsigned char *)tile->other)[k] : 0u);
    ((unsigned char *)tile->data)[0] ^= 0xFF; /* retire gets what workers have written */
    *(uint64_t *)result = sum;
}

static organ_status add_band(void *context, const organ_band *band, organ_error *error)
{
    sums *s = context;
    const uint64_t *results = band->results;
    for (size_t t = 0; t < band->tiles; t++) {
        s->bytes[band->item] += results[t];
        s->order = s->order * 31 + results[t] + ((const unsigned char *)band->data)[0];
    }
    ck_assert_uint_eq(((uintptr_t)band->data ^ band->offset) % 4096, 0);
    if (s->stop_after && s->bands == 2)
        organ_stop_request(s->stop_after);
    return (long)++s->bands == s->fail_after ? organ_fail(error, ORGAN_BAD_INPUT, "retire refuses band %zu", s->bands)
                                             : ORGAN_OK;
}

static organ_status run_pass(const organ_model *model, const organ_model *other, size_t threads, const char *machine,
                             uint64_t memory, sums *s, organ_error *error)
{
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    organ_pass_item items[64];
    size_t count = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        items[count++] = (organ_pass_item){.tensor = &model->tensors[t],
                                           .other = other ? organ_model_find(other, model->tensors[t].name) : NULL};
    const organ_pass pass = {.model = model,
                             .other = other,
                             .items = items,
                             .item_count = count,
                             .scratch_bytes = 4096,
                             .result_bytes = sizeof(uint64_t),
                             .context = s,
                             .work = add_bytes,
                             .retire = add_band};
    organ_error made = {0};
    ck_assert_int_eq(machine ? organ_topology_synthetic(machine, NULL, &topology, &made)
                             : organ_topology_discover(&topology, &made),
                     ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, threads, &workers, &made), ORGAN_OK);
    const organ_engine engine = {.topology = topology, .workers = workers, .memory = memory, .stop = s->stop_after};
    const organ_status status = organ_pass_run(&pass, &engine, error);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    return status;
}

static organ_model *open_made(void)
{
    organ_model *model;
    organ_error error = {0};
    make_model(scratch_path("model"), 3, 200);
    ck_assert_msg(organ_model_open(scratch_path("model"), &model, &error) == ORGAN_OK, "%s", error.message);
    return model;
}

START_TEST(pass_is_the_same_for_any_threads_and_machine)
{
    organ_model *model = open_made();
    sums reference = {0};
    organ_error error = {0};
    ck_assert_int_eq(run_pass(model, NULL, 1, NULL, 4 << 20, &reference, &error), ORGAN_OK);
    uint64_t expected = 0, have = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        unsigned char *bytes = malloc(model->tensors[t].bytes);
        ck_assert_int_eq(pread(model->files[model->tensors[t].file].fd, bytes, model->tensors[t].bytes,
                               (off_t)model->tensors[t].offset),
                         (ssize_t)model->tensors[t].bytes);
        for (uint64_t k = 0; k < model->tensors[t].bytes; k++)
            expected += bytes[k];
        have += reference.bytes[t];
        free(bytes);
    }
    ck_assert_uint_eq(have, expected);
    static const struct {
        size_t threads;
        const char *machine;
        uint64_t memory;
    } ways[] = {{2, NULL, 4 << 20},
                {7, NULL, 4 << 20},
                {7, "numa:2 core:4 pu:2", 4 << 20},
                {24, "numa:2 core:24 pu:1", 4 << 20},
                {3, NULL, 2 << 20}};
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        sums s = {0};
        ck_assert_int_eq(run_pass(model, NULL, ways[k].threads, ways[k].machine, ways[k].memory, &s, &error), ORGAN_OK);
        ck_assert_mem_eq(s.bytes, reference.bytes, sizeof s.bytes);
        if (ways[k].memory == 4 << 20)
            ck_assert_uint_eq(s.order, reference.order);
    }
    organ_model_close(model);
}
END_TEST

START_TEST(pass_reads_counterparts)
{
    organ_model *model = open_made(), *twin;
    organ_error error = {0};
    ck_assert_int_eq(organ_model_open(scratch_path("model"), &twin, &error), ORGAN_OK);
    sums alone = {0}, both = {0};
    ck_assert_int_eq(run_pass(model, NULL, 2, NULL, 8 << 20, &alone, &error), ORGAN_OK);
    ck_assert_int_eq(run_pass(model, twin, 2, NULL, 8 << 20, &both, &error), ORGAN_OK);
    for (size_t t = 0; t < model->tensor_count; t++)
        ck_assert_uint_eq(both.bytes[t], 2 * alone.bytes[t]);
    organ_model_close(twin);
    organ_model_close(model);
}
END_TEST

START_TEST(pass_ends_at_the_first_fault)
{
    organ_model *model = open_made();
    sums refuses = {.fail_after = 2};
    organ_error error = {0};
    ck_assert_int_eq(run_pass(model, NULL, 3, NULL, 4 << 20, &refuses, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "retire refuses band 2");
    ck_assert_uint_eq(refuses.bands, 2);

    sums s = {0};
    error = (organ_error){0};
    fault_at(FAULT_PREAD, 9, EIO, false, NULL);
    ck_assert_int_eq(run_pass(model, NULL, 3, NULL, 4 << 20, &s, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "model-0000"));
    ck_assert_ptr_nonnull(strstr(error.message, "Input/output error"));
    fault_at(FAULT_PREAD, 3, EINTR, false, NULL);
    s = (sums){0};
    error = (organ_error){0};
    ck_assert_int_eq(run_pass(model, NULL, 3, NULL, 4 << 20, &s, &error), ORGAN_OK);
    organ_model_close(model);
}
END_TEST

/* Context of a pass whose bands 3 and 7 of an item fail, the later one first. */
typedef struct lowest {
    atomic_bool later_failed;
    atomic_int begun;
} lowest;

static void work_nothing(void *context, const organ_tile *tile, void *scratch, void *result)
{
    (void)context, (void)tile, (void)scratch, (void)result;
}

/* The second item fails after the fourth one, if both are in work at the same time. */
static organ_status store_and_fail(void *context, const organ_band *band, organ_error *error)
{
    lowest *const l = context;
    atomic_fetch_add(&l->begun, 1);
    if (band->item == 3) {
        atomic_store(&l->later_failed, true);
        return organ_fail(error, ORGAN_IO, "item 3 fails");
    }
    while (band->item == 1 && !atomic_load(&l->later_failed))
        sched_yield();
    return band->item == 1 ? organ_fail(error, ORGAN_BAD_INPUT, "item 1 fails") : ORGAN_OK;
}

static organ_status retire_nothing(void *context, const organ_band *band, organ_error *error)
{
    (void)context, (void)error;
    ck_assert_uint_lt(band->item, 3);
    return ORGAN_OK;
}

/* Items of one band each: with eight threads, items 1 and 3 are in work together, and the error is that of item 1. */
START_TEST(pass_returns_the_error_of_the_lowest_band)
{
    static const uint64_t shape[] = {64, 32};
    organ_model *model = open_made();
    organ_tensor tensors[12];
    organ_pass_item items[12];
    for (size_t k = 0; k < 12; k++) {
        tensors[k] = fake_tensor(shape, 2, ORGAN_BF16);
        tensors[k].file = model->tensors[0].file;
        tensors[k].offset = model->tensors[0].offset;
        items[k] = (organ_pass_item){.tensor = &tensors[k]};
    }
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    organ_error error = {0};
    lowest l = {0};
    const organ_pass pass = {.model = model,
                             .items = items,
                             .item_count = 12,
                             .context = &l,
                             .work = work_nothing,
                             .retire = retire_nothing,
                             .store = store_and_fail};
    ck_assert_int_eq(organ_topology_discover(&topology, &error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, 8, &workers, &error), ORGAN_OK);
    const organ_engine engine = {.topology = topology, .workers = workers, .memory = 16 << 20};
    ck_assert_int_eq(organ_pass_run(&pass, &engine, &error), ORGAN_BAD_INPUT);
    ck_assert_str_eq(error.message, "item 1 fails");
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    organ_model_close(model);
}
END_TEST

/* Context of a pass that writes ONE_AT_A_TIME bands into two files. */
enum { ONE_AT_A_TIME = 12 };
typedef struct turns {
    const organ_pass_item *items;
    atomic_int stored, written, inside[2], begun[2], overlaps;
} turns;

static organ_status store_and_count(void *context, const organ_band *band, organ_error *error)
{
    (void)band, (void)error;
    atomic_fetch_add(&((turns *)context)->stored, 1);
    return ORGAN_OK;
}

/* The first write into each file lasts until the other file is written and all bands are processed. */
static organ_status write_in_turn(void *context, const organ_band *band, organ_error *error)
{
    turns *const t = context;
    const size_t file = t->items[band->item].tensor->file;
    (void)error;
    if (atomic_fetch_add(&t->inside[file], 1))
        atomic_fetch_add(&t->overlaps, 1);
    if (!atomic_fetch_add(&t->begun[file], 1))
        while (!atomic_load(&t->begun[!file]) || atomic_load(&t->stored) < ONE_AT_A_TIME)
            sched_yield();
    atomic_fetch_add(&t->written, 1);
    atomic_fetch_sub(&t->inside[file], 1);
    return ORGAN_OK;
}

static organ_status retire_any(void *context, const organ_band *band, organ_error *error)
{
    (void)context, (void)band, (void)error;
    return ORGAN_OK;
}

/* While a worker writes into a file, others process bands of this file and write into the other one. */
START_TEST(one_worker_at_a_time_writes_a_file)
{
    static const uint64_t shape[] = {64, 32};
    organ_model *model = open_made();
    organ_tensor tensors[ONE_AT_A_TIME];
    organ_pass_item items[ONE_AT_A_TIME];
    for (uint32_t k = 0; k < ONE_AT_A_TIME; k++) {
        tensors[k] = fake_tensor(shape, 2, ORGAN_BF16);
        tensors[k].file = k % 2;
        tensors[k].offset = model->tensors[0].offset;
        items[k] = (organ_pass_item){.tensor = &tensors[k]};
    }
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    organ_error error = {0};
    turns t = {.items = items};
    const organ_pass pass = {.model = model,
                             .items = items,
                             .item_count = ONE_AT_A_TIME,
                             .context = &t,
                             .work = work_nothing,
                             .retire = retire_any,
                             .store = store_and_count,
                             .write = write_in_turn};
    ck_assert_uint_ge(model->file_count, 2);
    ck_assert_int_eq(organ_topology_discover(&topology, &error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, 4, &workers, &error), ORGAN_OK);
    const organ_engine engine = {.topology = topology, .workers = workers, .memory = 16 << 20};
    ck_assert_msg(organ_pass_run(&pass, &engine, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(atomic_load(&t.written), ONE_AT_A_TIME);
    ck_assert_int_eq(atomic_load(&t.overlaps), 0);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    organ_model_close(model);
}
END_TEST

START_TEST(pass_notices_a_cut_file)
{
    organ_model *model = open_made();
    sums s = {0};
    organ_error error = {0};
    ck_assert_int_eq(truncate(scratch_path("model/model-00002-of-00002.safetensors"), 100000), 0);
    ck_assert_int_eq(run_pass(model, NULL, 2, NULL, 4 << 20, &s, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "model-00002-of-00002.safetensors"));
    ck_assert_ptr_nonnull(strstr(error.message, "100000"));
    organ_model_close(model);
}
END_TEST

START_TEST(pass_stops_when_asked)
{
    organ_model *model = open_made();
    organ_stop stop = {0};
    sums s = {.stop_after = &stop};
    organ_error error = {0};
    ck_assert_int_eq(run_pass(model, NULL, 2, NULL, 4 << 20, &s, &error), ORGAN_INTERRUPTED);
    ck_assert_uint_lt(s.bands, model->tensor_count);
    organ_model_close(model);
}
END_TEST

START_TEST(quicker_tile_is_one_of_two)
{
    const organ_kernels *const tables[] = {organ_kernels_scalar, organ_kernels_avx2, organ_kernels_avx512,
                                           organ_kernels_neon};
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) {
        const organ_kernels *const twin = tables[k] ? organ_kernels_other_tile(tables[k]) : NULL;
        if (!tables[k] || (twin && !organ_cpu_detect().avx512))
            continue;
        const organ_kernels *const quicker = organ_engine_choose_tile(&(organ_engine){.kernels = tables[k]});
        ck_assert_msg(quicker == tables[k] || (twin && quicker == twin), "%s", tables[k]->isa);
    }
}
END_TEST

Suite *pass_suite(void)
{
    const suite_case cases[] = {
        {"bands", {bands_cover_everything_once, bands_do_not_cross_matrices, memory_too_small_is_told}},
        {"pass",
         {pass_is_the_same_for_any_threads_and_machine, pass_reads_counterparts, pass_ends_at_the_first_fault,
          pass_returns_the_error_of_the_lowest_band, one_worker_at_a_time_writes_a_file, pass_notices_a_cut_file,
          pass_stops_when_asked, quicker_tile_is_one_of_two}},
    };
    return suite_of("pass", cases, sizeof cases / sizeof *cases, setup, teardown);
}

int main(void)
{
    Suite *const suites[] = {pass_suite(),      files_suite(), transfer_suite(), rows_suite(), widen_suite(),
                             recognise_suite(), NULL};
    return run_suites(suites);
}
