/* SPDX-License-Identifier: MIT */
#include "tests/purify_rig.h"

#include <stdio.h>
#include <string.h>

json_t *purify_result;

void purify_setup(void)
{
    fault_clear();
    scratch_make();
    make_model(scratch_path("donor"), 2, 72);
}

void purify_teardown(void)
{
    fault_clear();
    json_decref(purify_result);
    purify_result = NULL;
    scratch_remove();
}

organ_status purify(const char *output, purify_way w, organ_error *error)
{
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    const char *why;
    organ_purify_options o = w.options;
    *error = (organ_error){0};
    o.model = w.model ? w.model : scratch_path("donor");
    o.output = scratch_path("%s", output);
    o.method = o.method ? o.method : "haar";
    o.strength = w.nothing ? 0.0 : o.strength != 0 ? o.strength : 0.5;
    o.threshold = o.threshold != 0 ? o.threshold : -1.0;
    json_decref(purify_result);
    purify_result = NULL;
    organ_topology_discover(&topology, error);
    ck_assert_int_eq(organ_workers_create(topology, w.threads ? (unsigned)w.threads : 2, &workers, error), ORGAN_OK);
    const organ_engine engine = {.topology = topology,
                                 .workers = workers,
                                 .memory = w.memory ? w.memory : 64 << 20,
                                 .stop = w.stop,
                                 .kernels = organ_kernels_choose(organ_cpu_detect(), w.isa, &why)};
    ck_assert_ptr_nonnull(engine.kernels);
    const organ_status status = organ_purify(&o, &engine, NULL, &purify_result, error);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    return status;
}

void must_purify(const char *output, purify_way way)
{
    organ_error error;
    ck_assert_msg(purify(output, way, &error) == ORGAN_OK, "%s", error.message);
}

bool purify_left(const char *output) { return exists(scratch_path("%s", output)) || exists(scratch_path(".%s.organ-partial", output)); }

void purify_same(const char *a, const char *b)
{
    static const char *const files[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json", "config.json", "extra/merges.txt"};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        ck_assert_msg(same_files(scratch_path("%s/%s", a, files[k]), scratch_path("%s/%s", b, files[k])), "%s differs in %s and %s",
                      files[k], a, b);
    json_error_t e;
    json_t *x = json_load_file(scratch_path("%s/organ/purify.json", a), 0, &e),
           *y = json_load_file(scratch_path("%s/organ/purify.json", b), 0, &e);
    ck_assert(x && y);
    json_object_del(x, "run");
    json_object_del(y, "run");
    json_object_del(x, "warning"); /* has the paths */
    json_object_del(y, "warning");
    ck_assert_msg(json_equal(x, y), "purify.json differs in %s and %s", a, b);
    json_decref(x);
    json_decref(y);
}
