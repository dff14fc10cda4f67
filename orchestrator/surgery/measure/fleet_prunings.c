/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/fleet_prunings.h"

#include <organ/base.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"

#include <errno.h>

/* Returns {"experiment", "target", "full"} from the pruning log of the model; null if it has no log, {"fault"} with the
 * reason if the log is invalid, NULL if out of memory. */
json_t *organ_fleet_pruning(const organ_model *model)
{
    organ_error fault = {0};
    json_t *const log = organ_experiment_log(model, &fault);
    if (fault.errnum == ENOMEM) { /* memory ran out; the log may be valid */
        organ_memory_count_refusal();
        return NULL;
    }
    if (fault.status || !log) {
        json_decref(log);
        return fault.status ? ORGAN_OBJECT(SET_BYTES("fault", fault.message)) : json_null();
    }
    json_t *const pruning = ORGAN_OBJECT(SET("experiment", organ_experiment_of(log)),
                                         SET_HELD("target", organ_json_at(log, "totals.target")),
                                         SET_HELD("full", organ_json_at(log, "totals.full")));
    json_decref(log);
    return pruning;
}

/* Returns the element of `groups` for an experiment (donor, method, parameters and calibration of a pruning). If there
 * is none, appends an element without models and returns it. `groups` owns the element. NULL if out of memory. */
static json_t *group_of(json_t *groups, json_t *experiment)
{
    size_t k;
    json_t *group;
    json_array_foreach(groups, k, group)
    {
        if (!organ_experiment_difference(json_object_get(group, "experiment"), experiment, false))
            return group;
    }
    group = ORGAN_OBJECT(SET("experiment", json_incref(experiment)), SET("words", organ_experiment_words(experiment)),
                         SET("models", json_array()));
    return json_array_append_new(groups, group) ? NULL : group;
}

/* Adds a model of the report to the group of its experiment, if it was pruned. Returns non-zero if out of memory. */
static int add_model(json_t *groups, const json_t *model)
{
    json_t *const experiment = (json_t *)organ_json_at(model, "pruning.experiment");
    json_t *const group = experiment ? group_of(groups, experiment) : NULL;
    if (!experiment)
        return 0;
    return json_array_append_new(json_object_get(group, "models"),
                                 ORGAN_OBJECT(SET_HELD("name", json_object_get(model, "name")),
                                              SET_HELD("target", organ_json_at(model, "pruning.target")),
                                              SET_HELD("full", organ_json_at(model, "pruning.full"))));
}

int organ_fleet_report_prunings(json_t *report)
{
    json_t *const groups = json_array(), *const experiments = json_array();
    int failed = 0;
    size_t k;
    json_t *row;
    json_array_foreach(json_object_get(report, "models"), k, row) failed |= add_model(groups, row);
    json_array_foreach(groups, k, row) failed |= json_array_append(experiments, json_object_get(row, "experiment"));
    failed |=
        !ORGAN_ADD_BEFORE_RUN(report, SET("prunings", groups), SET("errata", organ_errata_of_experiments(experiments)));
    json_decref(experiments);
    return failed;
}
