/* SPDX-License-Identifier: MIT */
#include "tests/verbs/purify/purify_rig.h"

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
    run_engine room;
    organ_purify_options o = w.options;
    *error = (organ_error){0};
    o.model = w.model ? w.model : scratch_path("donor");
    o.write.output = scratch_path("%s", output);
    o.method = o.method ? o.method : "haar";
    if (w.nothing)
        o.strength = 0.0;
    else if (o.strength == 0)
        o.strength = 0.5;
    o.threshold = o.threshold != 0 ? o.threshold : -1.0;
    json_decref(purify_result);
    purify_result = NULL;
    run_engine_open(&room, (run_way){.isa = w.isa, .threads = w.threads, .memory = w.memory, .stop = w.stop});
    const organ_status status = organ_purify(&o, &room.engine, NULL, &purify_result, error);
    run_engine_close(&room);
    return status;
}

void must_purify(const char *output, purify_way way)
{
    organ_error error;
    ck_assert_msg(purify(output, way, &error) == ORGAN_OK, "%s", error.message);
}

void purify_same(const char *a, const char *b)
{
    static const char *const files[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json", "config.json", "extra/merges.txt"};
    for (size_t k = 0; k < sizeof files / sizeof *files; k++)
        ck_assert_msg(same_files(scratch_path("%s/%s", a, files[k]), scratch_path("%s/%s", b, files[k])),
                      "%s differs in %s and %s", files[k], a, b);
    same_reports(a, b, "purify.json", "warning"); /* the warning contains the paths */
}
