/* SPDX-License-Identifier: MIT
 * Reads from a cut model which of its tensors were refitted when it was made, and the digests of their bytes. */
#include "orchestrator/surgery/cut/audit_job.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"

static const struct {
    const char *schema, *file;
} reports[] = {{"organ.layers/1", "layers.json"}, {"organ.experts/1", "experts.json"}, {"organ.width/1", "width.json"}};

static organ_status take_list(organ_cut_audit *a, const json_t *list, const char *name, organ_error *error)
{
    for (size_t k = 0; k < json_array_size(list) && !error->status; k++) {
        const json_t *const entry = json_array_get(list, k);
        if (!json_is_string(json_object_get(entry, "tensor")) || !json_is_string(json_object_get(entry, "xxh3")))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s: refitted[%zu] has no tensor and xxh3", a->copy->path,
                              name, k);
        if (!organ_name_table_put(&a->listed, organ_json_text(entry, "tensor"), k))
            organ_fail_memory(error, a->copy->path);
    }
    return error->status;
}

/* a->report stays NULL if the report does not exist, has another schema, or lists nothing. */
static organ_status load_report(organ_cut_audit *a, size_t which, organ_error *error)
{
    json_t *const report = organ_own_report(a->copy, reports[which].file, reports[which].schema, error);
    if (report && json_array_size(json_object_get(report, "refitted"))) {
        a->report = json_incref(report);
        take_list(a, json_object_get(report, "refitted"), organ_json_text(report, "file"), error);
    }
    json_decref(report);
    return error->status;
}

organ_status organ_cut_read_report(organ_cut_audit *a, organ_error *error)
{
    for (size_t k = 0; k < sizeof reports / sizeof *reports && !a->report && !error->status; k++)
        load_report(a, k, error);
    return error->status;
}

void organ_cut_release_report(organ_cut_audit *a)
{
    organ_name_table_release(&a->listed);
    json_decref(a->report);
    a->report = NULL;
}

const char *organ_cut_listed(const organ_cut_audit *a, const char *tensor)
{
    const size_t *const at = a->report ? organ_name_table_find(&a->listed, tensor) : NULL;
    return at ? organ_json_text(json_array_get(json_object_get(a->report, "refitted"), *at), "xxh3") : NULL;
}

const char *organ_cut_report_name(const organ_cut_audit *a)
{
    return json_string_value(json_object_get(a->report, "file"));
}
