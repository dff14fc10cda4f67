/* SPDX-License-Identifier: MIT
 * Runs of prune and audit as a library on a small model. */
#include "tests/verbs/prune/prune_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const output_files[] = {"model-00001-of-00002.safetensors",
                                           "model-00002-of-00002.safetensors",
                                           "model.safetensors.index.json",
                                           "config.json",
                                           "extra/merges.txt",
                                           "organ/prune.jsonl"};

json_t *last_report;
char notes[4096];

void rig_setup(void)
{
    fault_clear();
    scratch_make();
    make_model(scratch_path("donor"), 2, 300);
}

void rig_teardown(void)
{
    fault_clear();
    json_decref(last_report);
    last_report = NULL;
    scratch_remove();
}

static void keep_note(void *context, const char *text)
{
    (void)context;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}

static organ_status with_engine(const way *w, organ_status (*go)(const way *, const organ_engine *, organ_error *),
                                organ_error *error)
{
    run_engine room;
    *error = (organ_error){0};
    notes[0] = '\0';
    run_engine_open(
        &room,
        (run_way){.isa = w->isa, .machine = w->machine, .threads = w->threads, .memory = w->memory, .stop = w->stop});
    const organ_status status = go(w, &room.engine, error);
    run_engine_close(&room);
    return status;
}

static organ_status go_prune(const way *w, const organ_engine *engine, organ_error *error)
{
    const organ_progress progress = {.note = keep_note};
    organ_prune_options o = w->options;
    o.donor = o.donor ? o.donor : scratch_path("donor");
    o.block_size = o.block_size ? o.block_size : 128;
    o.iterations = o.iterations ? o.iterations : 8;
    o.beta = o.beta != 0 ? o.beta : 2.0;
    o.coupling = o.coupling != 0 ? o.coupling : 1.0;
    o.sparsity = o.sparsity != 0 ? o.sparsity : -1.0;
    json_decref(last_report);
    last_report = NULL;
    return organ_prune(&o, engine, &progress, &last_report, error);
}

organ_status prune(const char *output, way w, organ_error *error)
{
    w.options.write.output = scratch_path("%s", output);
    return with_engine(&w, go_prune, error);
}

static organ_status go_audit(const way *w, const organ_engine *engine, organ_error *error)
{
    const organ_audit_options o = {.donor = scratch_path("donor"), .pruned = w->options.write.output};
    json_decref(last_report);
    last_report = NULL;
    return organ_audit(&o, engine, NULL, &last_report, error);
}

organ_status audit(const char *output, organ_error *error)
{
    const way w = {.options = {.write.output = scratch_path("%s", output)}};
    return with_engine(&w, go_audit, error);
}

void must_prune(const char *output, way w)
{
    organ_error error;
    ck_assert_msg(prune(output, w, &error) == ORGAN_OK, "%s", error.message);
}

void same_outputs(const char *a, const char *b)
{
    for (size_t k = 0; k < sizeof output_files / sizeof *output_files; k++)
        ck_assert_msg(same_files(scratch_path("%s/%s", a, output_files[k]), scratch_path("%s/%s", b, output_files[k])),
                      "%s differs in %s and %s", output_files[k], a, b);
    same_reports(a, b, "prune.json", NULL);
}

long long number_at(const json_t *json, const char *a, const char *b, const char *c)
{
    json = json_object_get(json, a);
    json = b ? json_object_get(json, b) : json;
    return json_integer_value(c ? json_object_get(json, c) : json);
}
