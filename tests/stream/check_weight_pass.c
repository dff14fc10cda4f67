/* SPDX-License-Identifier: MIT
 * Tests of the pass over weights: every value once, in order, for any threads and memory; errors and stops end it. */
#include <organ/weights.h>
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/stream/product.h"
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A matrix of more than one strip of whole rows; a stack; a matrix that is one strip; a vector; and an empty tensor
 * between them. */
static const made_tensor tensors[] = {
    {"a", ORGAN_BF16, 2, {1201, 2000}}, {"b", ORGAN_F32, 3, {3, 1500, 1000}}, {"c", ORGAN_F16, 2, {7, 5}},
    {"d", ORGAN_BF16, 2, {0, 40}},      {"e", ORGAN_BF16, 1, {333}},          {"f", ORGAN_F32, 2, {2, 1500000}},
};
enum { ITEMS = sizeof tensors / sizeof *tensors };

static organ_model *model;
static organ_weights *weights;
static organ_topology *topology;
static organ_weight_item items[ITEMS];

static void setup(void)
{
    organ_error error = {0};
    fault_clear();
    scratch_make();
    make_shard(scratch_path("model.safetensors"), tensors, ITEMS);
    ck_assert_msg(organ_model_open(scratch_path("model.safetensors"), &model, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_msg(organ_weights_find(model, &weights, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_int_eq(organ_topology_discover(&topology, &error), ORGAN_OK);
    for (size_t k = 0; k < ITEMS; k++)
        items[k] = (organ_weight_item){.weight = organ_weights_named(weights, tensors[k].name)};
}

static void teardown(void)
{
    fault_clear();
    organ_topology_destroy(topology);
    organ_weights_free(weights);
    organ_model_close(model);
    scratch_remove();
}

/* Counts of a run, and the failures that it shall have. */
typedef struct seen {
    pthread_mutex_t lock;
    uint64_t fold;            /* digest of everything, in order of retirement */
    size_t begun, item;       /* items begun; item of the last strip */
    uint64_t next;            /* the next row */
    uint64_t strips, retired; /* begun by a worker; retired */
    uint64_t max_ahead;       /* strips begun before the first one was retired */
    uint64_t rows[ITEMS];
    bool open[ITEMS]; /* `begin` was called for the item */
    size_t multiple;
    organ_dtype as;
    long fail_work, fail_retire, fail_begin; /* number of the failing call, counted from 1 */
    long stop_at;                            /* number of the retired strip at which the run is stopped */
    organ_stop *stop;
    bool slow;
} seen;

typedef struct result {
    uint64_t hash, first, item;
} result;

static uint64_t mix(uint64_t h, uint64_t x) { return (h ^ x) * 0x100000001b3u + 0x9e3779b97f4a7c15u; }

static uint64_t hash_of(const void *data, size_t bytes)
{
    uint64_t h = 7;
    const unsigned char *p = data;
    for (size_t k = 0; k + 8 <= bytes; k += 8) {
        uint64_t word;
        memcpy(&word, p + k, 8);
        h = mix(h, word);
    }
    for (size_t k = bytes / 8 * 8; k < bytes; k++)
        h = mix(h, p[k]);
    return h;
}

static organ_status begin(void *context, size_t item, const char *note, organ_error *error)
{
    seen *s = context;
    if (*note || __atomic_exchange_n(&s->open[item], true, __ATOMIC_RELAXED))
        return organ_fail(error, ORGAN_USAGE, "item %zu is begun again, or has the note '%s'", item, note);
    __atomic_add_fetch(&s->begun, 1, __ATOMIC_RELAXED);
    return s->fail_begin && (long)item + 1 == s->fail_begin ? organ_fail(error, ORGAN_BAD_INPUT, "begin %zu", item)
                                                            : ORGAN_OK;
}

static organ_status work(void *context, const organ_weight_strip *strip, void *scratch, void *out, organ_error *error)
{
    seen *s = context;
    const size_t bytes = strip->rows * strip->cols * (s->as == ORGAN_F32 ? 4 : 2);
    result *r = out;
    pthread_mutex_lock(&s->lock);
    const long turn = (long)++s->strips;
    const uint64_t ahead = s->strips - s->retired;
    s->max_ahead = ahead > s->max_ahead ? ahead : s->max_ahead;
    pthread_mutex_unlock(&s->lock);
    if ((uintptr_t)strip->values % 4096 || (uintptr_t)scratch % 64 || r->hash ||
        !__atomic_load_n(&s->open[strip->item], __ATOMIC_RELAXED))
        return organ_fail(error, ORGAN_USAGE, "strip %ld is not as promised", turn);
    if (s->slow)
        usleep(turn % 3 ? 0 : 2000);
    *r = (result){hash_of(strip->values, bytes), strip->first, strip->item};
    if (strip->other)
        r->hash = mix(r->hash, hash_of(strip->other, bytes));
    memset(scratch, 0xee, 1000);
    memset(strip->values, 0xee, bytes);
    if (s->fail_work && strip->item == 1 && strip->first >= (uint64_t)s->fail_work)
        return organ_fail(error, ORGAN_BAD_INPUT, "work %llu", (unsigned long long)strip->first);
    return ORGAN_OK;
}

static organ_status retire(void *context, const organ_weight_strip *strip, const void *out, organ_error *error)
{
    seen *s = context;
    const result *r = out;
    if (strip->item != s->item) {
        s->next = 0;
        s->item = strip->item;
    }
    const organ_weight *w = items[strip->item].weight;
    const uint64_t matrix = organ_weight_matrices(w).rows;
    ck_assert_ptr_null(strip->values);
    ck_assert_ptr_null(strip->other);
    ck_assert_uint_eq(strip->first, s->next);
    ck_assert_uint_eq(r->first, strip->first);
    ck_assert_uint_eq(r->item, strip->item);
    ck_assert_uint_eq(strip->first / matrix, (strip->first + strip->rows - 1) / matrix);
    if (s->multiple && (strip->first + strip->rows) % matrix)
        ck_assert_uint_eq(strip->rows % s->multiple, 0);
    s->next += strip->rows;
    s->rows[strip->item] += strip->rows;
    s->fold = mix(mix(s->fold, r->hash), strip->rows);
    ck_assert_int_eq(strip->last, s->next == organ_weight_matrices(w).count * matrix);
    pthread_mutex_lock(&s->lock);
    s->retired++;
    pthread_mutex_unlock(&s->lock);
    if (s->stop_at && (long)s->retired == s->stop_at)
        organ_stop_request(s->stop);
    if (s->fail_retire && (long)s->retired == s->fail_retire)
        return organ_fail(error, ORGAN_IO, "retire %ld", s->fail_retire);
    return ORGAN_OK;
}

/* Runs over all items once; `s` has the failures to make and then the counts. */
static organ_status run_pass(seen *s, size_t threads, uint64_t memory, bool counterparts, organ_error *error)
{
    organ_workers *workers;
    const char *why;
    ck_assert_int_eq(organ_workers_create(topology, threads, &workers, error), ORGAN_OK);
    pthread_mutex_init(&s->lock, NULL);
    for (size_t k = 0; k < ITEMS; k++)
        items[k].other = counterparts && k % 2 == 0 ? items[k].weight : NULL;
    const organ_engine engine = {.topology = topology,
                                 .workers = workers,
                                 .memory = memory,
                                 .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why),
                                 .stop = s->stop};
    const organ_weight_pass pass = {.model = model,
                                    .other_model = counterparts ? model : NULL,
                                    .items = items,
                                    .item_count = ITEMS,
                                    .as = s->as,
                                    .row_multiple = s->multiple,
                                    .scratch_bytes = 1000,
                                    .result_bytes = sizeof(result),
                                    .context = s,
                                    .begin = begin,
                                    .work = work,
                                    .retire = retire};
    const organ_status status = organ_weight_pass_run(&pass, &engine, error);
    ck_assert_int_eq(status, error->status);
    organ_workers_destroy(workers);
    pthread_mutex_destroy(&s->lock);
    return status;
}

#define ROOMY ((uint64_t)512 << 20)
/* Memory for one worker: the widest row takes 6 MB in the file and 6 MB as FP32 in scratch. */
#define TIGHT ((uint64_t)19 << 20)

START_TEST(the_same_with_any_threads_and_memory)
{
    static const organ_dtype types[] = {ORGAN_F32, ORGAN_BF16, ORGAN_F16};
    static const size_t threads[] = {1, 2, 7};
    static const uint64_t memories[] = {ROOMY, 90 << 20, 32 << 20};
    for (size_t t = 0; t < 3; t++)
        for (size_t both = 0; both < 2; both++) {
            uint64_t fold = 0;
            for (size_t k = 0; k < 9; k++) {
                organ_error error = {0};
                seen s = {.as = types[t], .multiple = both ? 128 : 0, .slow = k == 8};
                ck_assert_msg(run_pass(&s, threads[k % 3], memories[k / 3], both, &error) == ORGAN_OK, "%s",
                              error.message);
                ck_assert_uint_eq(s.begun, ITEMS);
                for (size_t i = 0; i < ITEMS; i++)
                    ck_assert_uint_eq(s.rows[i], i == 3 ? 0
                                                        : organ_weight_matrices(items[i].weight).count *
                                                              organ_weight_matrices(items[i].weight).rows);
                fold = k ? fold : s.fold;
                ck_assert_uint_eq(s.fold, fold);
            }
        }
}
END_TEST

typedef struct compared {
    uint64_t values;
    bool narrow;
} compared;

/* A part of a narrow strip has the bytes of the file, at a place where rows of FP32 do not overtake them: `r` rows of
 * the strip are before it. */
static organ_status compare_part(const organ_weight_strip *part, size_t r, const void *stored, organ_error *error)
{
    const size_t n = part->rows * part->cols,
                 before = (size_t)((unsigned char *)part->values - (unsigned char *)part->room);
    if (part->type != items[part->item].weight->codes->dtype || before < 4 * r * part->cols + 2 * n ||
        (uintptr_t)part->values % 64 || memcmp((const uint16_t *)stored + r * part->cols, part->values, 2 * n) != 0)
        return organ_fail(error, ORGAN_CHECK_FAILED, "narrow rows %llu of item %zu differ",
                          (unsigned long long)part->first, part->item);
    return ORGAN_OK;
}

/* Reads a narrow strip in parts of 1, 2, 3 and more rows. */
static organ_status compare_narrow(const organ_weight_strip *strip, const void *stored, organ_error *error)
{
    organ_weight_strip part;
    if (strip->values)
        return organ_fail(error, ORGAN_CHECK_FAILED, "item %zu has values", strip->item);
    for (size_t r = 0, rows = 1; r < strip->rows && !error->status; r += rows++) {
        rows = rows < strip->rows - r ? rows : strip->rows - r;
        if (organ_weight_strip_read(strip, r, rows, &part, error) != ORGAN_OK)
            return error->status;
        if (part.first != strip->first + r || part.rows != rows || part.cols != strip->cols)
            return organ_fail(error, ORGAN_CHECK_FAILED, "part %zu of item %zu differs", r, strip->item);
        compare_part(&part, r, stored, error);
    }
    return error->status;
}

/* Compares the values with those of the file. */
static organ_status compare(void *context, const organ_weight_strip *strip, void *scratch, void *out,
                            organ_error *error)
{
    const organ_weight *w = items[strip->item].weight;
    const size_t n = strip->rows * strip->cols;
    (void)scratch, (void)out;
    const size_t size = organ_dtype_describe(w->codes->dtype)->bytes;
    void *stored = malloc(n * size);
    float *values = malloc(n * sizeof *values);
    organ_status status = organ_model_read(model, w->codes->file, stored, n * size,
                                           w->codes->offset + strip->first * strip->cols * size, error);
    organ_widen(organ_kernels_scalar, w->codes->dtype, stored, values, n);
    compared *const c = context;
    if (status == ORGAN_OK && c->narrow && size == 2)
        status = compare_narrow(strip, stored, error);
    else if (status == ORGAN_OK && (strip->type != ORGAN_F32 || strip->room != strip->values))
        status = organ_fail(error, ORGAN_CHECK_FAILED, "item %zu is not FP32", strip->item);
    else if (status == ORGAN_OK && memcmp(values, strip->values, n * sizeof *values) != 0)
        status = organ_fail(error, ORGAN_CHECK_FAILED, "rows %llu of item %zu differ", (unsigned long long)strip->first,
                            strip->item);
    free(values);
    free(stored);
    __atomic_add_fetch(&c->values, n, __ATOMIC_RELAXED);
    return status;
}

START_TEST(values_are_those_of_the_file)
{
    organ_error error = {0};
    organ_workers *workers;
    uint64_t all = 0;
    ck_assert_int_eq(organ_workers_create(topology, 2, &workers, &error), ORGAN_OK);
    const organ_engine engine = {
        .topology = topology, .workers = workers, .memory = ROOMY, .kernels = organ_kernels_scalar};
    for (size_t k = 0; k < ITEMS; k++)
        all += items[k].weight->elements;
    for (int narrow = 0; narrow < 2; narrow++) {
        compared c = {.narrow = narrow == 1};
        const organ_weight_pass pass = {.model = model,
                                        .items = items,
                                        .item_count = ITEMS,
                                        .as = ORGAN_F32,
                                        .narrow = narrow == 1,
                                        .context = &c,
                                        .work = compare};
        ck_assert_msg(organ_weight_pass_run(&pass, &engine, &error) == ORGAN_OK, "%s", error.message);
        ck_assert_uint_eq(c.values, all);
    }
    organ_workers_destroy(workers);
}
END_TEST

START_TEST(little_memory_takes_fewer_workers)
{
    organ_error error = {0};
    seen s = {.as = ORGAN_F32};
    ck_assert_msg(run_pass(&s, 7, TIGHT, false, &error) == ORGAN_OK, "%s", error.message);
    ck_assert_uint_le(s.max_ahead, 4); /* limit for one worker */
    seen none = {.as = ORGAN_F32};
    ck_assert_int_eq(run_pass(&none, 7, 1 << 20, false, &error), ORGAN_USAGE);
    ck_assert_ptr_nonnull(strstr(error.message, "--memory 1M is too little for a strip of "));
    ck_assert_ptr_nonnull(strstr(error.message, "'f'"));
    ck_assert_uint_eq(none.begun, 0);
}
END_TEST

/* With any number of workers, the reported failure is that of the earliest strip, and all strips before it are
 * retired. */
START_TEST(the_first_fault_is_told)
{
    static const size_t threads[] = {1, 2, 7};
    for (size_t k = 0; k < 3; k++) {
        organ_error error = {0};
        seen s = {.as = ORGAN_F32, .fail_work = 1500, .slow = true};
        ck_assert_int_eq(run_pass(&s, threads[k], ROOMY, false, &error), ORGAN_BAD_INPUT);
        ck_assert_str_eq(error.message, "work 1500");
        ck_assert_uint_eq(s.retired, 3 + 2); /* strips of the first item and the first matrix */
        seen r = {.as = ORGAN_F32, .fail_retire = 2};
        error = (organ_error){0};
        ck_assert_int_eq(run_pass(&r, threads[k], ROOMY, false, &error), ORGAN_IO);
        ck_assert_str_eq(error.message, "retire 2");
        ck_assert_uint_eq(r.retired, 2);
        seen b = {.as = ORGAN_F32, .fail_begin = 3};
        error = (organ_error){0};
        ck_assert_int_eq(run_pass(&b, threads[k], ROOMY, false, &error), ORGAN_BAD_INPUT);
        ck_assert_str_eq(error.message, "begin 2");
        ck_assert_uint_eq(b.rows[0] + b.rows[1], 1201 + 4500); /* all strips before the failure were retired */
    }
}
END_TEST

START_TEST(a_stop_ends_it)
{
    organ_stop stop = {0};
    organ_error error = {0};
    seen s = {.as = ORGAN_BF16, .stop_at = 2, .stop = &stop};
    ck_assert_int_eq(run_pass(&s, 2, ROOMY, false, &error), ORGAN_INTERRUPTED);
    ck_assert_uint_eq(s.retired, 2);
}
END_TEST

START_TEST(a_file_that_was_cut_or_cannot_be_read)
{
    organ_error error = {0};
    seen s = {.as = ORGAN_F32};
    ck_assert_int_eq(truncate(scratch_path("model.safetensors"), 6 << 20), 0);
    ck_assert_int_eq(run_pass(&s, 2, ROOMY, false, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "model.safetensors"));
    error = (organ_error){0};
    seen r = {.as = ORGAN_F32};
    fault_at(FAULT_PREAD, 1, 5, true, NULL);
    ck_assert_int_eq(run_pass(&r, 2, ROOMY, false, &error), ORGAN_IO);
}
END_TEST

static organ_status read_parts(void *context, const organ_weight_strip *strip, void *scratch, void *out,
                               organ_error *error)
{
    organ_weight_strip part;
    size_t *const read = context;
    (void)scratch, (void)out;
    for (size_t r = 0; r < strip->rows; r++, ++*read)
        if (organ_weight_strip_read(strip, r, 1, &part, error) != ORGAN_OK)
            return error->status;
    return ORGAN_OK;
}

START_TEST(a_part_that_cannot_be_read)
{
    organ_error error = {0};
    organ_workers *workers;
    size_t read = 0;
    ck_assert_int_eq(organ_workers_create(topology, 1, &workers, &error), ORGAN_OK);
    const organ_engine engine = {
        .topology = topology, .workers = workers, .memory = ROOMY, .kernels = organ_kernels_scalar};
    const organ_weight_pass pass = {.model = model,
                                    .items = items,
                                    .item_count = 1,
                                    .as = ORGAN_F32,
                                    .narrow = true,
                                    .context = &read,
                                    .work = read_parts};
    fault_at(FAULT_PREAD, 700, 5, true, NULL);
    ck_assert_int_eq(organ_weight_pass_run(&pass, &engine, &error), ORGAN_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "model.safetensors"));
    ck_assert_uint_eq(read, 699); /* a read for each row */
    organ_workers_destroy(workers);
}
END_TEST

START_TEST(counterparts_of_another_shape)
{
    organ_error error = {0};
    organ_workers *workers;
    ck_assert_int_eq(organ_workers_create(topology, 1, &workers, &error), ORGAN_OK);
    const organ_engine engine = {
        .topology = topology, .workers = workers, .memory = ROOMY, .kernels = organ_kernels_scalar};
    const organ_weight_item unlike = {.weight = items[0].weight, .other = items[2].weight};
    const organ_weight_pass pass = {
        .model = model, .other_model = model, .items = &unlike, .item_count = 1, .as = ORGAN_F32, .work = work};
    ck_assert_int_eq(organ_weight_pass_run(&pass, &engine, &error), ORGAN_BAD_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "'a'"));
    ck_assert_ptr_nonnull(strstr(error.message, "1201"));
    ck_assert_ptr_nonnull(strstr(error.message, "has 7"));
    organ_workers_destroy(workers);
}
END_TEST

/* ---- strips in parts ---- */

typedef struct hashed {
    uint64_t hash, rows, parts;
} hashed;

/* The same for whole strips and for parts, if each row comes once and in order. */
static organ_status hash_rows(void *context, const organ_weight_strip *strip, void *scratch, void *out,
                              organ_error *error)
{
    const size_t row = strip->cols * sizeof(uint16_t);
    hashed *const h = out;
    (void)context;
    (void)scratch;
    for (size_t r = 0; r < strip->rows; r++)
        h->hash = mix(mix(h->hash, strip->first + r), hash_of((const char *)strip->values + r * row, row));
    h->rows += strip->rows;
    h->parts++;
    return strip->rows ? ORGAN_OK : organ_fail(error, ORGAN_USAGE, "a part without rows");
}

static organ_status add_rows(void *context, const organ_weight_strip *strip, const void *out, organ_error *error)
{
    hashed *const all = context;
    const hashed *const h = out;
    (void)error;
    ck_assert_uint_eq(h->rows, strip->rows);
    all->hash = mix(all->hash, h->hash);
    all->rows += h->rows;
    all->parts += h->parts;
    return ORGAN_OK;
}

static hashed hash_model(const char *path, size_t threads, size_t part_values)
{
    organ_error error = {0};
    organ_workers *workers;
    organ_model *packed;
    organ_weights *list;
    organ_weight_item each[64];
    hashed all = {0};
    ck_assert_int_eq(organ_model_open(path, &packed, &error), ORGAN_OK);
    ck_assert_int_eq(organ_weights_find(packed, &list, &error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, threads, &workers, &error), ORGAN_OK);
    ck_assert_uint_le(list->count, 64);
    for (size_t k = 0; k < list->count; k++)
        each[k] = (organ_weight_item){.weight = &list->weights[k]};
    const organ_engine engine = {
        .topology = topology, .workers = workers, .memory = ROOMY, .kernels = organ_kernels_scalar};
    const organ_weight_pass pass = {.model = packed,
                                    .items = each,
                                    .item_count = list->count,
                                    .as = ORGAN_BF16,
                                    .row_multiple = 8,
                                    .part_values = part_values,
                                    .result_bytes = sizeof(hashed),
                                    .context = &all,
                                    .work = hash_rows,
                                    .retire = add_rows};
    ck_assert_msg(organ_weight_pass_run(&pass, &engine, &error) == ORGAN_OK, "%s: %s", path, error.message);
    organ_workers_destroy(workers);
    organ_weights_free(list);
    organ_model_close(packed);
    return all;
}

/* In both layouts of words a strip is read at once and decoded in parts; other weights are read in parts. */
START_TEST(parts_have_the_rows_of_strips)
{
    static const char *const paths[] = {"fixtures/precision/quark-int4", "fixtures/precision/awq-gemm-32",
                                        "fixtures/precision/gptq-v1-3", "fixtures/precision/gptq-planar-5",
                                        "fixtures/precision/ct-mxfp4"};
    for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
        const hashed whole = hash_model(paths[k], 1, 0);
        for (size_t threads = 1; threads < 4; threads++) {
            const hashed parts = hash_model(paths[k], threads, 8 * 64);
            ck_assert_uint_eq(parts.hash, whole.hash);
            ck_assert_uint_eq(parts.rows, whole.rows);
            ck_assert_uint_gt(parts.parts, whole.parts);
        }
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"results",
         {the_same_with_any_threads_and_memory, values_are_those_of_the_file, little_memory_takes_fewer_workers,
          parts_have_the_rows_of_strips}},
        {"faults",
         {the_first_fault_is_told, a_stop_ends_it, a_file_that_was_cut_or_cannot_be_read, a_part_that_cannot_be_read,
          counterparts_of_another_shape}},
    };
    Suite *const suites[] = {suite_of("weight_pass", cases, sizeof cases / sizeof *cases, setup, teardown), NULL};
    return run_suites(suites);
}
