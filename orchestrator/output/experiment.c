/* SPDX-License-Identifier: MIT
 * Identifies the experiment of a pruned model, and compares experiments. */
#include "orchestrator/output/facts.h"

#include "formats/base/plain_numbers.h"

#include <organ/machine.h>
#include <organ/report.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define SAMPLE      ((uint64_t)4096) /* bytes of a tensor that its digest covers */
#define MAX_SAMPLES 4096             /* tensors whose bytes are read */

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
    json_t *log = organ_model_document(model, "organ/prune.json", JSON_REJECT_DUPLICATES, error);
    if (log && strcmp(organ_json_text(log, "schema"), "organ.prune/1") != 0)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: organ/prune.json: its schema is '%s', not 'organ.prune/1'", model->path,
                   organ_json_text(log, "schema"));
    if (error->status)
        organ_clear_json(&log);
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
    ORGAN_OWNED_JSON json_t *const x = json_copy((json_t *)organ_json_at(a, "settings"));
    ORGAN_OWNED_JSON json_t *const y = json_copy((json_t *)organ_json_at(b, "settings"));
    if (any_targets && x && y) {
        json_object_del(x, "targets");
        json_object_del(y, "targets");
    }
    return json_equal(x ? x : json_null(), y ? y : json_null());
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

/* ---- the texts of the sentences ---- */

static const char version_1[] =
    "Physarum v1 is a static flow that the magnitude of each weight within its own block drives. It uses no "
    "activations, no gradients and no effect on the output; it is not the activation-aware v2.";

/* The sentence on each method: `by_text` for calibration on a text or for a method without calibration, `by_imatrix`
 * for weights chosen by an imatrix (NULL: by_text). */
static const struct {
    const char *method, *by_text, *by_imatrix;
} methods[] = {
    {"physarum-v1", version_1, NULL},
    {"physarum-v2",
     "Physarum v2: flow over importances of weights measured on the calibration text. It is a different method from "
     "physarum v1, and figures of one do not apply to the other.",
     "Physarum v2 by an imatrix: no contribution, no stability, no compensation; flow over the magnitude of each "
     "weight times the root mean square of its input, which is all that an imatrix contains. With a calibration text "
     "it is a different method, which prunes better; physarum v1 is another one, and figures of one do not apply to "
     "the others."},
    {"physarum-v3",
     "Physarum v3: ADMM that starts from the mask of a flow, with the donor's inputs and those of the pruned model, on "
     "the calibration text. It is a different method from physarum v1 and v2, and figures of one do not apply to the "
     "others.",
     NULL},
    {"alps",
     "ALPS: ADMM over each matrix that starts from its largest weights, as published by its authors; each layer uses "
     "its inputs from the pruned layers, on the calibration text.",
     NULL},
    {"magnitude",
     "Magnitude: the smallest weights of each tensor are killed. It uses no activations and no effect on the output.",
     NULL},
    {"wanda",
     "Wanda: in each row it kills the weights with the smallest magnitude times norm of their input on the calibration "
     "text.",
     "Wanda by an imatrix: no contribution, no compensation; in each row it kills the weights with the smallest "
     "magnitude times root mean square of their input from the imatrix."},
    {"sparsegpt",
     "SparseGPT: blocks of 128 columns from left to right, each error compensated by the columns that follow, on the "
     "calibration text.",
     NULL},
};

static const char coverage[] =
    "The blocks do not overlap and are clipped at the edges, so that every weight of a target tensor is "
    "processed exactly once: block coverage of the targets is 100 %.";
static const char of_imatrix[] =
    "The killed weights depend on the imatrix, and so on the model, tokenizer and text that it was made with: organ "
    "cannot check that the model was this donor. Its inputs are those of the unpruned model.";
static const char of_text[] = "The killed weights depend on the calibration text, its windows and the tokenizer; "
                              "another text gives another model.";
static const char compensation[] = "Kept weights were also changed, to compensate for the killed ones: the counts "
                                   "state which weights are zero, not that the others equal the donor's.";
static const char never_mixed[] = "Do not mix experiments: the sparsity of one run does not predict perplexities or "
                                  "benchmark scores of another run, snapshot, text or tokenizer.";

/* ---- sentences ---- */

/* Two experiments may have the same sentence. */
static void add_once(json_t *list, const char *sentence)
{
    size_t index;
    json_t *existing;
    json_array_foreach(list, index, existing)
    {
        if (strcmp(json_string_value(existing), sentence) == 0)
            return;
    }
    json_array_append_new(list, json_string(sentence));
}

/* Only the beginning of `method` is compared, because a pattern or a variant may follow the name. `imatrix`: an
 * imatrix chose the weights. */
static void add_method(json_t *list, const char *method, bool imatrix)
{
    for (size_t k = 0; k < sizeof methods / sizeof *methods; k++)
        if (strncmp(method, methods[k].method, strlen(methods[k].method)) == 0) {
            add_once(list, imatrix && methods[k].by_imatrix ? methods[k].by_imatrix : methods[k].by_text);
            return;
        }
    add_once(list, "No log states by which method weights were killed, or which weights were processed.");
}

static void add_experiment(json_t *list, const json_t *experiment)
{
    ORGAN_OWNED_JSON json_t *const words = organ_experiment_words(experiment);
    organ_say(list, "The experiment: %s. %s", json_string_value(words), never_mixed);
}

/* The denominators of a document's percentages are the weights of its targets and those of the whole model. */
static void add_denominators(json_t *list, const json_t *document)
{
    char target[32], full[32];
    organ_say(list,
              "A percentage of killed weights means nothing without its denominator. Each one here names "
              "it: target, the %s weights of the target tensors, or full, all %s weights of the model.",
              organ_count_text(organ_json_count(document, "totals.target.elements"), target),
              organ_count_text(organ_json_count(document, "totals.full.elements"), full));
}

json_t *organ_errata_of_pruning(const json_t *log)
{
    const bool imatrix = json_is_object(organ_json_at(log, "imatrix"));
    const char *const method = organ_json_text(log, "parameters.method");
    json_t *const list = json_array();
    add_method(list, method, imatrix);
    if (strcmp(method, "physarum-v1") == 0)
        add_once(list, coverage);
    if (imatrix || json_is_object(organ_json_at(log, "calibration")))
        add_once(list, imatrix ? of_imatrix : of_text);
    if (json_is_true(organ_json_at(log, "compensates")))
        add_once(list, compensation);
    add_experiment(list, organ_json_at(log, "experiment"));
    add_denominators(list, log);
    return list;
}

json_t *organ_errata_of_audit(const json_t *audit, bool compensated)
{
    json_t *const list = json_array();
    add_once(
        list,
        "An audit takes no count from a log: it counts which weights are zero now and were not before, whatever method "
        "killed them.");
    if (compensated)
        add_once(list, compensation);
    else
        organ_say(list, "If the method was physarum-v1, this note applies to its counts: %s", version_1);
    organ_say(list, "Every weight of the target tensors is compared: coverage is %.2f %%.",
              organ_json_real(audit, "coverage.percent"));
    organ_say(list, "The experiment: this copy, compared with donor %s (fingerprint %s). %s",
              organ_json_text(audit, "donor.name"), organ_json_text(audit, "donor.fingerprint"), never_mixed);
    add_denominators(list, audit);
    return list;
}

/* Experiments of one method share its sentence. */
static bool is_first_of_method(const json_t *experiments, size_t k)
{
    for (size_t j = 0; j < k; j++)
        if (strcmp(organ_json_text(json_array_get(experiments, j), "method"),
                   organ_json_text(json_array_get(experiments, k), "method")) == 0)
            return false;
    return true;
}

static void add_named(json_t *list, const json_t *experiment)
{
    const char *const name = organ_json_text(experiment, "name");
    ORGAN_OWNED_JSON json_t *const words = organ_experiment_words(experiment);
    organ_say(list, "Experiment%s%s: %s.", *name ? " " : "", name, json_string_value(words));
}

json_t *organ_errata_of_experiments(const json_t *experiments)
{
    json_t *const list = json_array();
    const size_t count = json_array_size(experiments);
    bool flow = false;
    for (size_t k = 0; k < count; k++) {
        const json_t *const e = json_array_get(experiments, k);
        const char *const method = organ_json_text(e, "method");
        flow |= strcmp(method, "physarum-v1") == 0;
        if (is_first_of_method(experiments, k))
            add_method(list, method, strstr(method, "by imatrix") != NULL);
    }
    if (flow)
        add_once(list, coverage);
    for (size_t k = 0; k < count; k++)
        add_named(list, json_array_get(experiments, k));
    if (count) {
        add_once(list, never_mixed);
        add_once(list, "A percentage of killed weights means nothing without its denominator: target counts the "
                       "weights of the target tensors, "
                       "full all weights of the model.");
    }
    return list;
}
