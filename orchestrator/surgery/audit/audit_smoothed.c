/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/audit/audit_smoothed.h"

#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/stream/product.h"

#include <unistd.h>

organ_status organ_audit_find_smoothed(const organ_model *donor, const organ_model *copy, const organ_engine *engine,
                                       organ_audit_smoothed *s, organ_error *error)
{
    const bool remote = copy->file_count > 0 && copy->files[0].remote;
    if (donor->gguf || copy->gguf || remote)
        return ORGAN_OK;
    ORGAN_OWNED char *const path =
        organ_output_report_path(copy->directory, copy->path, /*single=*/false, "smooth.json");
    s->kernels = engine->kernels;
    if (!path)
        return organ_fail_memory(error, copy->path);
    if (access(path, R_OK) || organ_forward_open(donor, engine, &s->forward, error) ||
        organ_scaling_open(s->forward, donor, &s->scaling, error))
        return error->status;
    return organ_scaling_find(&s->scaling, copy, engine->kernels, &s->odd, error);
}

void organ_audit_smoothed_release(organ_audit_smoothed *s)
{
    organ_scaling_release(&s->scaling);
    organ_forward_close(s->forward);
    *s = (organ_audit_smoothed){0};
}

bool organ_audit_is_scaled(const organ_audit_smoothed *s, const organ_tensor *donor)
{
    return s->forward && organ_scaling_has(&s->scaling, (size_t)(donor - s->scaling.model->tensors));
}

void organ_audit_scale(const organ_audit_smoothed *s, const organ_tensor *donor, uint64_t at, const void *data,
                       size_t bytes, void *scaled)
{
    float values[ORGAN_AUDIT_CHUNK / 2];
    const size_t each = (size_t)(donor->bytes / donor->elements), count = bytes / each;
    organ_widen(s->kernels, donor->dtype, data, values, count);
    organ_scaling_values(&s->scaling, (size_t)(donor - s->scaling.model->tensors), at / each, count, values);
    organ_narrow(s->kernels, donor->dtype, values, scaled, count);
}

void organ_audit_smoothed_problems(const organ_audit_smoothed *s, organ_problems *problems)
{
    if (s->odd)
        organ_problem_add(problems,
                          "tensor '%s' has a factor that is no power of two, so bytes do not prove that the function "
                          "stays",
                          s->odd);
}

json_t *organ_audit_smoothed_json(const organ_audit_smoothed *s)
{
    return ORGAN_OBJECT(SET_COUNT("folds", s->scaling.folds.count), SET_COUNT("channels", s->scaling.channels),
                        SET_COUNT("changed", organ_scaling_changed(&s->scaling)));
}
