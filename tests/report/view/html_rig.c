/* SPDX-License-Identifier: MIT */
#include "tests/report/view/html_rig.h"

#include <organ/inspect.h>
#include <organ/measure.h>
#include <organ/organs.h>
#include <organ/purify.h>

#include <check.h>

run_engine html_room;

void html_setup(void)
{
    fault_clear();
    scratch_make();
    run_engine_open(&html_room, (run_way){.memory = 256 << 20});
}

void html_teardown(void)
{
    run_engine_close(&html_room);
    scratch_remove();
}

static json_t *must(organ_status status, json_t *report, const organ_error *error)
{
    ck_assert_msg(status == ORGAN_OK && report, "%s", error->message);
    return report;
}

json_t *measured(const char *const *models, size_t count)
{
    json_t *report = NULL;
    organ_error error = {0};
    const organ_measure_options options = {.models = models, .model_count = count};
    const organ_status status = organ_measure(&options, &html_room.engine, NULL, &report, &error);
    return must(status, report, &error);
}

json_t *grafted(const char *source, const char *target, const char *output, bool dry_run)
{
    json_t *report = NULL;
    organ_error error = {0};
    const organ_graft_options options = {.source = source,
                                         .target = target,
                                         .write.output = output,
                                         .types = "organ",
                                         .layers = "1-2",
                                         .write.dry_run = dry_run};
    const organ_status status = organ_graft(&options, html_room.engine.kernels, NULL, NULL, &report, &error);
    return must(status, report, &error);
}

json_t *purified(const char *model, const char *output, double strength, bool dry_run)
{
    json_t *report = NULL;
    organ_error error = {0};
    const organ_purify_options options = {.model = model,
                                          .write.output = output,
                                          .method = "haar",
                                          .threshold = -1,
                                          .strength = strength,
                                          .write.dry_run = dry_run};
    const organ_status status = organ_purify(&options, &html_room.engine, NULL, &report, &error);
    return must(status, report, &error);
}

json_t *extracted(const char *model, const char *output)
{
    json_t *report = NULL;
    organ_error error = {0};
    const organ_status status =
        organ_extract(&(organ_extract_options){.model = model, .write.output = output}, NULL, NULL, &report, &error);
    return must(status, report, &error);
}

json_t *assembled(const char *directory, const char *output)
{
    json_t *report = NULL;
    organ_error error = {0};
    const organ_assemble_options options = {.directory = directory, .write.output = output};
    const organ_status status = organ_assemble(&options, NULL, NULL, &report, &error);
    return must(status, report, &error);
}

/* Also works for a model with problems. */
json_t *inspected(const char *model)
{
    json_t *report = NULL;
    organ_error error = {0};
    organ_inspect(&(organ_inspect_options){.model = model, .tensors = true, .readers = "vllm,mlx"}, &report, &error);
    ck_assert_msg(report != NULL, "%s", error.message);
    return report;
}
