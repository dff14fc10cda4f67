/* SPDX-License-Identifier: MIT */
#include "tests/kit/run_rig.h"

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

void run_engine_open(run_engine *room, run_way way)
{
    organ_error error = {0};
    const char *why = "";
    ck_assert_int_eq(way.machine ? organ_topology_synthetic(way.machine, NULL, &room->topology, &error)
                                 : organ_topology_discover(&room->topology, &error),
                     ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(room->topology, way.threads ? way.threads : 2, &room->workers, &error),
                     ORGAN_OK);
    room->engine = (organ_engine){.topology = room->topology,
                                  .workers = room->workers,
                                  .memory = way.memory ? way.memory : 64 << 20,
                                  .stop = way.stop,
                                  .kernels = organ_kernels_choose(organ_cpu_detect(), way.isa, &why)};
    ck_assert_msg(room->engine.kernels != NULL, "%s", why);
}

void run_engine_close(run_engine *room)
{
    organ_workers_destroy(room->workers);
    organ_topology_destroy(room->topology);
}

static json_t *report_of(const char *output, const char *name, const char *also)
{
    json_error_t error;
    json_t *const report = json_load_file(scratch_path("%s/organ/%s", output, name), 0, &error);
    ck_assert_msg(json_object_get(report, "run") != NULL, "%s of %s: %s", name, output,
                  report ? "has no run" : error.text);
    json_object_del(report, "run");
    if (also)
        json_object_del(report, also);
    return report;
}

void same_reports(const char *a, const char *b, const char *name, const char *also)
{
    json_t *const x = report_of(a, name, also), *const y = report_of(b, name, also);
    ck_assert_msg(json_equal(x, y), "%s differs in %s and %s", name, a, b);
    json_decref(x);
    json_decref(y);
}

static void full_at(run_once *run, const void *way, fault_call call, long n)
{
    static unsigned runs;
    char output[32];
    organ_error error;
    snprintf(output, sizeof output, "full%u", runs++);
    fault_at(call, n, ENOSPC, true, NULL);
    const organ_status status = run(way, output, &error);
    fault_clear();
    ck_assert_msg(status == ORGAN_IO && error.errnum == ENOSPC, "call %d, %ld: %d %s", (int)call, n, (int)status,
                  error.message);
    ck_assert(!scratch_left(output));
}

void full_disk_leaves_nothing(run_once *run, const void *way)
{
    static const fault_call calls[] = {FAULT_COPY_RANGE, FAULT_FSYNC, FAULT_FTRUNCATE, FAULT_WRITE};
    organ_error error;
    char output[32];
    static unsigned counted;
    snprintf(output, sizeof output, "counted%u", counted++);
    fault_clear();
    ck_assert_msg(run(way, output, &error) == ORGAN_OK, "%s", error.message);
    long made[FAULT_CALLS];
    for (fault_call call = 0; call < FAULT_CALLS; call++)
        made[call] = fault_count(call);
    const long writes = made[FAULT_PWRITE];
    ck_assert_int_gt(writes, 0);
    for (long n = 1; n <= writes; n += 1 + writes / 8)
        full_at(run, way, FAULT_PWRITE, n);
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++)
        for (long n = 1; n < 4 && (n == 1 || n <= made[calls[k]]); n += 2)
            full_at(run, way, calls[k], n);
}
