/* SPDX-License-Identifier: MIT
 * Completes and compares the experiments of pruned models (facts/experiment.h). */
#include "orchestrator/surgery/text/evaluate_experiments.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"

#include <fnmatch.h>
#include <string.h>

/* The histories are those of all models except the donor, in the order of options->pruned. */
typedef struct naming_job {
    const organ_evaluate_options *options;
    json_t *histories;
} naming_job;

static json_t *experiment_of(const naming_job *s, size_t m)
{
    return json_object_get(json_array_get(s->histories, m), "experiment");
}

/* ---- names ---- */

static bool matches_pattern(const char *pattern, const char *path)
{
    const char *const slash = strrchr(path, '/');
    return strcmp(pattern, path) == 0 || fnmatch(pattern, path, 0) == 0 ||
           (slash && fnmatch(pattern, slash + 1, 0) == 0);
}

static organ_status name_models(const naming_job *s, organ_error *error)
{
    const organ_evaluate_options *const o = s->options;
    for (size_t k = 0; k < o->experiment_count; k++) {
        const char *const text = o->experiments[k], *const equals = strchr(text, '=');
        bool used = false;
        if (!equals || equals == text || !equals[1])
            return organ_fail(error, ORGAN_USAGE, "--experiment '%s' is not NAME=MODEL", text);
        for (size_t m = 0; m < o->count; m++)
            if (matches_pattern(equals + 1, o->pruned[m])) {
                used = true;
                if (json_is_object(experiment_of(s, m)) && !json_object_get(experiment_of(s, m), "name") &&
                    !ORGAN_ADD(experiment_of(s, m),
                               SET("name", organ_json_sprintf("%.*s", (int)(equals - text), text))))
                    return organ_fail_memory(error, text);
            }
        if (!used)
            return organ_fail(error, ORGAN_USAGE, "--experiment '%s': no pruned model is named %s", text, equals + 1);
    }
    return ORGAN_OK;
}

/* ---- experiments of one table ---- */

static json_t *unknown_experiment(const json_t *history)
{
    if (organ_json_count(history, "sparsity.target.killed") == 0)
        return json_null();
    return ORGAN_OBJECT(SET("donor", ORGAN_OBJECT(SET_TEXT("name", "unknown"))), SET_NULL("method"),
                        SET_NULL("definition"), SET("settings", json_object()), SET_NULL("calibration"));
}

static organ_status add_unknown_experiments(const naming_job *s, organ_error *error)
{
    for (size_t m = 0; m < s->options->count; m++) {
        json_t *const history = json_array_get(s->histories, m);
        if (!json_is_object(experiment_of(s, m)) && !ORGAN_ADD(history, SET("experiment", unknown_experiment(history))))
            return organ_fail_memory(error, s->options->pruned[m]);
    }
    return ORGAN_OK;
}

static organ_status fail_mixed(const naming_job *s, size_t a, size_t b, const char *difference, organ_error *error)
{
    const char *const *const paths = s->options->pruned;
    json_t *const x = organ_experiment_words(experiment_of(s, a)), *const y =
                                                                       organ_experiment_words(experiment_of(s, b));
    organ_fail(error, ORGAN_USAGE,
               "%s and %s are of two experiments, which differ in their %s: %s; and %s. Name both to show them in one "
               "table: --experiment NAME=%s --experiment OTHER=%s",
               paths[a], paths[b], difference, json_string_value(x), json_string_value(y), paths[a], paths[b]);
    json_decref(x);
    json_decref(y);
    return error->status;
}

/* Both models are of one experiment (organ_experiment_difference), or both of their experiments have names, which
 * differ. A model whose experiment is JSON null fits any other. */
static organ_status compare_experiments(const naming_job *s, size_t a, size_t b, organ_error *error)
{
    const json_t *const x = experiment_of(s, a), *const y = experiment_of(s, b);
    const char *const difference =
        json_is_object(x) && json_is_object(y) ? organ_experiment_difference(x, y, s->options->targets != NULL) : NULL;
    const char *const one = organ_json_text(x, "name"), *const other = organ_json_text(y, "name");
    if (!difference || (*one && *other && strcmp(one, other) != 0))
        return ORGAN_OK;
    if (!*one || !*other)
        return fail_mixed(s, a, b, difference, error);
    return organ_fail(error, ORGAN_USAGE,
                      "--experiment: '%s' cannot be the name of two experiments: %s and %s differ in their %s", one,
                      s->options->pruned[a], s->options->pruned[b], difference);
}

/* Rejects a pruned model of another donor, unless its experiment has a name: its killed weights would be counted
 * against a donor that it was not made from. */
static organ_status check_donor(const naming_job *s, size_t m, const char *fingerprint, organ_error *error)
{
    const json_t *const e = experiment_of(s, m);
    const char *const own = organ_json_text(e, "donor.fingerprint");
    if (!*own || !*fingerprint || strcmp(own, fingerprint) == 0 || *organ_json_text(e, "name"))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s is a pruning of another donor (%s, fingerprint %s) than %s (fingerprint %s): to count its "
                      "killed weights against this donor, name its experiment: --experiment NAME=%s",
                      s->options->pruned[m], organ_json_text(e, "donor.name"), own, s->options->donor, fingerprint,
                      s->options->pruned[m]);
}

organ_status organ_experiments_resolve(const organ_evaluate_options *options, const organ_model *donor,
                                       json_t *histories, organ_error *error)
{
    const naming_job s = {options, histories};
    char fingerprint[17];
    if (add_unknown_experiments(&s, error) || name_models(&s, error) ||
        organ_model_fingerprint(donor, fingerprint, error))
        return error->status;
    for (size_t m = 0; m < options->count && !error->status; m++) {
        for (size_t other = 0; other < m && !error->status; other++)
            compare_experiments(&s, other, m, error);
        if (!error->status)
            check_donor(&s, m, fingerprint, error);
    }
    return error->status;
}
