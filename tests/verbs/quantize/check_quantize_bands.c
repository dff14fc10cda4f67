/* SPDX-License-Identifier: MIT
 * Test of how many workers of quantize compute at the same time: the kernels of a worker wait until enough other
 * workers are in them too, so the test needs no time and no number of processors. */
#include "tests/kit/model_maker.h"
#include "tests/kit/suite_table.h"

#include <organ/quantize.h>
#include <organ/stream.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The one matrix has 16 strips. */
enum { WORKERS = 16, TOGETHER = 12, ROWS = 2048, COLS = 8192 };
#define PATIENCE 50 /* seconds after which the workers that wait give up, and the test fails */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t all;
    int inside; /* workers that have come */
    int gave_up;
} meeting = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static _Thread_local int has_come; /* the number of the run */
static int run;

/* The first call of each worker in a run returns when TOGETHER workers are here. */
static void meet(void)
{
    struct timespec end;
    if (has_come == run)
        return;
    has_come = run;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE;
    pthread_mutex_lock(&meeting.lock);
    if (++meeting.inside >= TOGETHER)
        pthread_cond_broadcast(&meeting.all);
    while (meeting.inside < TOGETHER && !meeting.gave_up)
        meeting.gave_up = pthread_cond_timedwait(&meeting.all, &meeting.lock, &end) != 0;
    pthread_mutex_unlock(&meeting.lock);
}

static const organ_kernels *right;

static void encode_e4m3(const float *values, const float *scales, size_t group, void *codes, size_t n, double *sums)
{
    meet();
    right->encode_summed[ORGAN_CODE_E4M3](values, scales, group, codes, n, sums);
}

static void encode_u4(const float *values, const float *scales, size_t group, void *codes, size_t n, double *sums)
{
    meet();
    right->encode_summed[ORGAN_CODE_U4](values, scales, group, codes, n, sums);
}

static void encode_e2m1(const float *values, const float *scales, size_t group, void *codes, size_t n, double *sums)
{
    meet();
    right->encode_summed[ORGAN_CODE_E2M1](values, scales, group, codes, n, sums);
}

/* A shard with one matrix of zeros, which take no disk space. */
static void make_donor(void)
{
    static const char config[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\"}\n";
    const size_t bytes = (size_t)ROWS * COLS * 2;
    char start[8 + 128] = {0};
    const int length = snprintf(start + 8, sizeof start - 8,
                                "{\"model.layers.0.mlp.down_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],"
                                "\"data_offsets\":[0,%zu]}}",
                                ROWS, COLS, bytes);
    const uint64_t header = (uint64_t)(length + 7) / 8 * 8;
    memcpy(start, &header, sizeof header);
    memset(start + 8 + length, ' ', header - (uint64_t)length);
    scratch_make();
    ck_assert_int_eq(mkdir(scratch_path("donor"), 0777), 0);
    spill(scratch_path("donor/config.json"), config, sizeof config - 1);
    spill(scratch_path("donor/model.safetensors"), start, 8 + header);
    ck_assert_int_eq(truncate(scratch_path("donor/model.safetensors"), (off_t)(8 + header + bytes)), 0);
}

static const char *const schemes[] = {"int4-group128", "fp8-block128", "fp8-channel", "nvfp4"};

START_TEST(workers_share_one_shard)
{
    const char *why;
    organ_engine *engine = NULL;
    organ_error error = {0};
    json_t *report = NULL;
    right = organ_kernels_choose(organ_cpu_detect(), NULL, &why);
    organ_kernels spy = *right;
    spy.encode_summed[ORGAN_CODE_E4M3] = encode_e4m3;
    spy.encode_summed[ORGAN_CODE_U4] = encode_u4;
    spy.encode_summed[ORGAN_CODE_E2M1] = encode_e2m1;
    run = _i + 1;
    meeting.inside = meeting.gave_up = 0;
    ck_assert_int_eq(organ_engine_create(&spy, WORKERS, (uint64_t)512 << 20, &engine, &error), ORGAN_OK);
    const organ_quantize_options o = {.model = scratch_path("donor"),
                                      .write.output = scratch_path("out"),
                                      .write.max_shard_size = (uint64_t)1 << 40,
                                      .scheme = schemes[_i]};
    ck_assert_msg(organ_quantize(&o, engine, NULL, &report, &error) == ORGAN_OK, "%s", error.message);
    json_decref(report);
    organ_engine_destroy(engine);
    ck_assert_msg(!meeting.gave_up, "%s: only %d workers were at work at the same time", schemes[_i], meeting.inside);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("quantize_bands");
    TCase *const bands = tcase_create("bands");
    tcase_add_checked_fixture(bands, make_donor, scratch_remove);
    tcase_set_timeout(bands, 60);
    tcase_add_loop_test(bands, workers_share_one_shard, 0, sizeof schemes / sizeof *schemes);
    suite_add_tcase(suite, bands);
    return run_suites((Suite *const[]){suite, NULL});
}
