/* SPDX-License-Identifier: MIT */
#include "tests/run_rig.h"

#include <check.h>
#include <jansson.h>

void run_engine_open(run_engine *room, run_way way)
{
    organ_error error = {0};
    const char *why = "";
    ck_assert_int_eq(way.machine ? organ_topology_synthetic(way.machine, NULL, &room->topology, &error)
                                 : organ_topology_discover(&room->topology, &error),
                     ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(room->topology, way.threads ? way.threads : 2, &room->workers, &error), ORGAN_OK);
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
    ck_assert_msg(json_object_get(report, "run") != NULL, "%s of %s: %s", name, output, report ? "has no run" : error.text);
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
