/* SPDX-License-Identifier: MIT
 * The members that calibrated pruning adds to the report of organ prune and to the lines of its targets. H are the
 * second moments of a matrix's inputs. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/calibrated/calibrated_job.h"

#include "formats/base/path.h"
#include <string.h>

/* Returns member "not_in_this_report" of the document: texts on what the run did not measure or improve. */
static json_t *not_reported_json(const organ_calibrated_job *job)
{
    const char *const object[] = {
        "Quality. This run did not measure the loss of quality: organ evaluate measures it, on a text that was not "
        "used for calibration.",
        "Size. Pruned weights are stored as zeros in the same type, so the files are as long as the donor's.",
        job->pattern.of
            ? "Speed. The zeros follow the pattern, but they are stored unpacked, not in the form that hardware for "
              "sparse matrices needs."
            : "Speed. Zeros scattered like these are no faster on hardware that expects structured sparsity."};
    return organ_json_texts(sizeof object / sizeof *object, object);
}

/* Implements organ_prune_kind.parameters: returns the options that determine the output, without those that the method
 * does not use. */
json_t *organ_calibrated_parameters(void *context)
{
    const organ_calibrated_job *const job = context;
    const organ_prune_calibrated_options *const c = job->options;
    const char *const targets = job->base.options->targets;
    const double sparsity = job->base.options->sparsity;
    const organ_calibrated_method *const m = job->method;
    return ORGAN_OBJECT(
        SET_TEXT("method", c->method), SET_REAL_OF("sparsity", sparsity >= 0 && !job->base.divides, sparsity),
        SET("pattern", c->pattern ? json_string(c->pattern) : json_null()),
        SET_IF(m->flows, "compensate", json_boolean(job->compensates)),
        SET_IF(m->noise, "contribution", json_boolean(!job->imatrix)),
        SET_IF(m->noise, "stability", json_boolean(!job->imatrix)), SET_IF(m->effort, "effort", json_real(c->effort)),
        SET_IF(m->noise, "seed", json_integer((json_int_t)c->seed)),
        SET_IF(job->needs_text, "samples", json_integer((json_int_t)c->calibration.samples)),
        SET_IF(job->needs_text, "context", json_integer((json_int_t)c->calibration.context)),
        SET_BYTES_OF("targets", targets),
        SET_IF(job->base.divides, "allocation", organ_prune_allocation_parameters(c, job->budget)));
}

/* Returns member "calibration" of the document: the text, and the number of tensors whose H was block-diagonal. Returns
 * null if the run used no text. */
static json_t *document_calibration_json(const organ_calibrated_job *job)
{
    if (!job->needs_text)
        return json_null();
    size_t block_diagonal = 0;
    for (size_t k = 0; k < job->base.targets.count; k++)
        block_diagonal += job->parts[k].block_diagonal;
    json_t *const object = organ_calibration_run_json(
        job->calib, job->two_streams
                        ? "inputs from the pruned layers and from the donor (of experts only from the pruned layers)"
                        : "inputs from the pruned layers");
    ORGAN_ADD(object, SET_COUNT("block_diagonal_tensors", block_diagonal));
    return object;
}

/* Implements organ_calibration_fallback_row: returns the array of target k's experts that were not calibrated on their
 * own tokens, and sets *tensor to the target. */
static const json_t *document_fallback_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_calibrated_job *const job = context;
    *tensor = job->base.targets.tensors[k];
    return job->parts[k].fallback;
}

/* `object` is the member "calibration" or "imatrix" of the document, and may be null. If experts were not calibrated on
 * their own tokens, adds the member "fallback", which lists them, to `object`. Returns `object`. */
static json_t *with_fallback(const organ_calibrated_job *job, json_t *object)
{
    json_t *const fallback = json_is_object(object)
                                 ? organ_calibration_fallback_json(document_fallback_row, job, job->base.targets.count)
                                 : NULL;
    ORGAN_ADD(object, SET_IF(fallback, "fallback", fallback));
    return object;
}

/* Returns member "imatrix" of the document; null if the run used no imatrix. */
static json_t *imatrix_json(const organ_calibrated_job *job)
{
    json_t *const object = organ_importance_json(job->imatrix, job->digest);
    if (job->imatrix)
        ORGAN_ADD(object, SET_TEXT("lacks", "contribution, stability and compensation: an imatrix has only the mean "
                                            "square of each input"));
    return object;
}

/* Adds the members of calibrated pruning to the report: calibration, imatrix, allocation, compensated weights. Removes
 * "coverage.tiles": these methods do not count tiles. Returns 0. */
int organ_calibrated_finish_document(const organ_prune_job *base, json_t *document)
{
    const organ_calibrated_job *const job = (const organ_calibrated_job *)base;
    uint64_t changed = 0;
    for (size_t k = 0; k < base->targets.count; k++)
        changed += job->parts[k].compensated;
    const organ_prune_allocation *const divided = job->allocation;
    json_object_del(json_object_get(document, "coverage"), "tiles");
    ORGAN_ADD(json_object_get(document, "definitions"),
              SET_TEXT("compensated",
                       "a target weight that is neither zero in the output nor equal to the donor's; counted as kept"));
    ORGAN_ADD_BEFORE_RUN(document, SET("not_in_this_report", not_reported_json(job)),
                         SET("calibration", with_fallback(job, document_calibration_json(job))),
                         SET("imatrix", with_fallback(job, imatrix_json(job))),
                         SET_IF(divided, "allocation", organ_prune_allocation_json(divided)),
                         SET_FLAG("compensates", job->compensates), SET_COUNT("compensated", changed));
    return 0;
}

/* Replaces the members "tiles" and "gain" of physarum v1 in the line of a target by those of the calibrated methods.
 * The count of an imatrix in GGUF is of tokens, that of an older imatrix is of chunks. */
int organ_calibrated_finish_line(const organ_prune_job *base, const organ_prune_part *part, json_t *line)
{
    const organ_calibrated_job *const job = (const organ_calibrated_job *)base;
    const organ_calibrated_part *const figures = &job->parts[part->target];
    json_object_del(line, "tiles");
    json_object_del(line, "gain");
    const bool flow = job->method->flows, text = job->needs_text;
    const char *const count =
        job->imatrix && strcmp(job->imatrix->format, "GGUF") != 0 ? "calibration_chunks" : "calibration_tokens";
    ORGAN_ADD(line, SET_COUNT("compensated", figures->compensated),
              SET_IF(text, "calibration_tokens", json_integer((json_int_t)figures->tokens)),
              SET_IF(text, "block_diagonal", json_boolean(figures->block_diagonal)),
              SET_IF(figures->fallback, "fallback_experts", json_incref(figures->fallback)),
              SET_IF(job->imatrix, "imatrix_entry", json_string(figures->entry)),
              SET_IF(job->imatrix, count, json_integer((json_int_t)figures->tokens)),
              SET_IF(flow, "stages", json_integer((json_int_t)figures->stages)),
              SET_IF(job->method->products, "products", json_integer((json_int_t)figures->products)),
              SET_IF(flow, "natural_sparsity", figures->natural > 0 ? json_real(figures->natural) : json_null()));
    return 0;
}

/* Implements organ_prune_kind.identity: returns the settings, other than the parameters, that a resumed run must
 * repeat.
 * --memory and --scratch are among them, because they decide whether second moments are whole matrices. */
json_t *organ_calibrated_identity(void *context)
{
    const organ_calibrated_job *const job = context;
    return ORGAN_OBJECT(SET_IF(job->needs_text, "calibration", document_calibration_json(job)),
                        SET_IF(job->needs_text, "memory", json_integer((json_int_t)job->base.engine->memory)),
                        SET_IF(job->needs_text, "scratch", json_boolean(job->options->calibration.scratch != NULL)),
                        SET_IF(job->imatrix, "imatrix", imatrix_json(job)));
}

/* The members of a target's line in the journal that organ_calibrated_recall reads by their own names. */
static const organ_struct_field recalled[] = {ORGAN_STRUCT_FIELD(organ_calibrated_part, compensated, U64),
                                              ORGAN_STRUCT_FIELD(organ_calibrated_part, block_diagonal, FLAG),
                                              ORGAN_STRUCT_FIELD(organ_calibrated_part, stages, U32),
                                              ORGAN_STRUCT_FIELD(organ_calibrated_part, products, U32)};

/* Restores the figures of a target from its line in the journal of an interrupted run. */
void organ_calibrated_recall(organ_prune_job *base, const organ_prune_part *part, const json_t *line)
{
    const organ_calibrated_job *const job = (const organ_calibrated_job *)base;
    organ_calibrated_part *const figures = &job->parts[part->target];
    (void)ORGAN_STRUCT_READ(line, recalled, figures); /* methods omit the members that they do not have */
    figures->tokens = organ_json_count(line, json_object_get(line, "calibration_tokens") ? "calibration_tokens"
                                                                                         : "calibration_chunks");
    json_decref(figures->fallback);
    figures->fallback = json_incref(json_object_get(line, "fallback_experts"));
    figures->natural = organ_json_real(line, "natural_sparsity");
}
