/* SPDX-License-Identifier: MIT
 * The sentences of warnings, and which documents get which of them. */
#include "orchestrator/surgery/facts/errata.h"

#include <organ/machine.h>
#include <organ/report.h>
#include "orchestrator/surgery/facts/experiment.h"
#include "orchestrator/surgery/facts/tally.h"

#include <string.h>

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
    json_t *const words = organ_experiment_words(experiment);
    organ_say(list, "The experiment: %s. %s", json_string_value(words), never_mixed);
    json_decref(words);
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
    json_t *const words = organ_experiment_words(experiment);
    organ_say(list, "Experiment%s%s: %s.", *name ? " " : "", name, json_string_value(words));
    json_decref(words);
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
