/* SPDX-License-Identifier: MIT
 * Identifies the experiment of a pruned model, and compares experiments. */
#include "orchestrator/surgery/facts/experiment.h"

#include <organ/base.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SAMPLE      ((uint64_t)4096)   /* bytes of a tensor that its digest covers */
#define MAX_SAMPLES 4096               /* tensors whose bytes are read */
#define LARGEST_LOG ((size_t)64 << 20) /* bytes */

/* ---- donors ---- */

/* With `sampled` the digest also covers bytes from the middle of the data. The order of the tensors follows the
 * files; a sum does not depend on it. */
static organ_status add_tensor(const organ_model *model, const organ_tensor *t, bool sampled, uint64_t *sum,
                               organ_error *error)
{
    char text[700], bytes[SAMPLE];
    const uint64_t max = t->bytes < SAMPLE ? t->bytes : SAMPLE, take = sampled ? max : 0;
    int length = snprintf(text, sizeof text, "%.500s %s", t->name, organ_dtype_describe(t->dtype)->name);
    for (unsigned k = 0; k < t->rank && length < (int)sizeof text - 24; k++)
        length += snprintf(text + length, sizeof text - (size_t)length, " %llu", (unsigned long long)t->shape[k]);
    if (take && organ_model_read(model, t->file, bytes, take, t->offset + (t->bytes - take) / 2, error) != ORGAN_OK)
        return error->status;
    *sum += XXH3_64bits_withSeed(bytes, take, XXH3_64bits(text, (size_t)length));
    return ORGAN_OK;
}

organ_status organ_model_fingerprint(const organ_model *model, char out[17], organ_error *error)
{
    const size_t step = model->tensor_count / MAX_SAMPLES + 1;
    uint64_t sum = 0;
    *out = '\0';
    if (model->file_count && model->files[0].remote)
        return ORGAN_OK;
    for (size_t t = 0; t < model->tensor_count && !error->status; t++)
        add_tensor(model, &model->tensors[t], t % step == 0, &sum, error);
    if (!error->status)
        snprintf(out, 17, "%016llx", (unsigned long long)sum);
    return error->status;
}

/* ---- logs ---- */

json_t *organ_experiment_log(const organ_model *model, organ_error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    json_error_t fault;
    if (organ_model_load(model, "organ/prune.json", LARGEST_LOG, &bytes, &length, error) != ORGAN_OK || !bytes)
        return NULL;
    bool no_memory;
    json_t *log = organ_json_load(bytes, length, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    free(bytes);
    if (no_memory)
        organ_fail(error, ORGAN_IO, "%s: organ/prune.json: no memory to read it", model->path);
    else if (!log)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: organ/prune.json: %s", model->path, fault.text);
    else if (strcmp(organ_json_text(log, "schema"), "organ.prune/1") != 0)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: organ/prune.json: its schema is '%s', not 'organ.prune/1'", model->path,
                   organ_json_text(log, "schema"));
    if (error->status) {
        json_decref(log);
        log = NULL;
    }
    return log;
}

json_t *organ_experiment_method(const json_t *log)
{
    const json_t *const method = organ_json_at(log, "parameters.method");
    const char *const pattern = json_string_value(organ_json_at(log, "parameters.pattern"));
    const bool by_imatrix = json_is_object(organ_json_at(log, "imatrix"));
    if (!json_is_string(method))
        return json_null();
    return organ_json_sprintf(
        "%s%s%s%s%s", json_string_value(method), pattern ? " " : "", pattern ? pattern : "",
        !by_imatrix && json_is_false(organ_json_at(log, "parameters.compensate")) ? " without compensation" : "",
        by_imatrix ? " by imatrix" : "");
}

/* sparsity and gain may differ within an experiment; method and pattern are in organ_experiment_method. */
static json_t *settings_of(const json_t *log)
{
    static const char *const varied[] = {"method", "pattern", "sparsity", "gain"};
    json_t *const settings = json_copy((json_t *)organ_json_at(log, "parameters"));
    for (size_t k = 0; settings && k < sizeof varied / sizeof *varied; k++)
        json_object_del(settings, varied[k]);
    return settings ? settings : json_object();
}

/* A text has its name, its digest and the tokenizer's digest; an imatrix its name and digest. Returns null if the
 * log names neither. */
static json_t *calibration_of(const json_t *log)
{
    const json_t *const text = organ_json_at(log, "calibration.text"), *const imatrix = organ_json_at(log, "imatrix");
    if (json_is_object(text))
        return ORGAN_OBJECT(SET_HELD("name", json_object_get(text, "name")),
                            SET_HELD("xxh3", json_object_get(text, "xxh3")),
                            SET_HELD("tokenizer", organ_json_at(log, "calibration.tokenizer.digest")));
    if (json_is_object(imatrix))
        return ORGAN_OBJECT(SET_HELD("name", json_object_get(imatrix, "name")),
                            SET_HELD("xxh3", json_object_get(imatrix, "xxh3")));
    return json_null();
}

json_t *organ_experiment_of(const json_t *log)
{
    const json_t *const donor = organ_json_at(log, "donor");
    return ORGAN_OBJECT(SET("donor", ORGAN_OBJECT(SET_HELD("name", json_object_get(donor, "name")),
                                                  SET_HELD("fingerprint", json_object_get(donor, "fingerprint")),
                                                  SET_HELD("elements", json_object_get(donor, "elements")),
                                                  SET_HELD("bytes", json_object_get(donor, "bytes")))),
                        SET("method", organ_experiment_method(log)),
                        SET_HELD("definition", organ_json_at(log, "definition")), SET("settings", settings_of(log)),
                        SET("calibration", calibration_of(log)));
}

/* ---- comparison ---- */

static bool same_member(const json_t *a, const json_t *b, const char *key)
{
    const json_t *const x = organ_json_at(a, key), *const y = organ_json_at(b, key);
    return json_equal(x ? x : json_null(), y ? y : json_null());
}

/* If one experiment has no fingerprint, name, bytes and number of elements must be equal. */
static bool same_donor(const json_t *a, const json_t *b)
{
    if (*organ_json_text(a, "donor.fingerprint") && *organ_json_text(b, "donor.fingerprint"))
        return same_member(a, b, "donor.fingerprint");
    return same_member(a, b, "donor.elements") && same_member(a, b, "donor.bytes") && same_member(a, b, "donor.name");
}

static bool same_settings(const json_t *a, const json_t *b, bool any_targets)
{
    json_t *const x = json_copy((json_t *)organ_json_at(a, "settings")), *const y = json_copy(
                                                                             (json_t *)organ_json_at(b, "settings"));
    if (any_targets && x && y) {
        json_object_del(x, "targets");
        json_object_del(y, "targets");
    }
    const bool same = json_equal(x ? x : json_null(), y ? y : json_null());
    json_decref(x);
    json_decref(y);
    return same;
}

static bool same_calibration(const json_t *a, const json_t *b)
{
    return same_member(a, b, "calibration.xxh3") && same_member(a, b, "calibration.tokenizer");
}

const char *organ_experiment_difference(const json_t *a, const json_t *b, bool any_targets)
{
    if (!same_donor(a, b))
        return "donor";
    if (!same_member(a, b, "method"))
        return "method";
    if (!same_member(a, b, "definition"))
        return "definition";
    if (!same_calibration(a, b))
        return "calibration";
    return same_settings(a, b, any_targets) ? NULL : "settings";
}

json_t *organ_experiment_words(const json_t *e)
{
    const char *const fingerprint = organ_json_text(e, "donor.fingerprint"),
                      *const method = organ_json_text(e, "method"),
                      *const definition = organ_json_text(e, "definition"),
                      *const text = organ_json_text(e, "calibration.name");
    return organ_json_sprintf("donor %s%s%s%s, %s%s%s%s%s%s%s%s%s", organ_json_text(e, "donor.name"),
                              *fingerprint ? " (fingerprint " : "", fingerprint, *fingerprint ? ")" : "",
                              *method ? method : "no log states how", *definition ? " (" : "", definition,
                              *definition ? ")" : "", *text ? ", by " : "", text, *text ? " (XXH3 " : "",
                              *text ? organ_json_text(e, "calibration.xxh3") : "", *text ? ")" : "");
}
