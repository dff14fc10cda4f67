/* SPDX-License-Identifier: MIT
 * The Z-measure: how far the distribution of weights is from noise. */
#ifndef ORGAN_API_MEASURE_H
#define ORGAN_API_MEASURE_H

#include <organ/base.h>
#include <organ/kernels.h>
#include <organ/weights.h>
#include <organ/stream.h>
#include <organ/options.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* ---- results of the Z-measure "z/1" for one tensor ---- */

#define ORGAN_Z_DEFINITION    "z/1"
#define ORGAN_SEED_DEFINITION "seed/1" /* the older measure */
#define ORGAN_Z_LEVELS        65536    /* distinct values are counted exactly up to this number */

/* Results of the older measure seed/1 for one tensor. */
typedef struct organ_seed_z {
    bool there;       /* the measure was requested and the tensor has a result: all members below are set */
    double e, k, c;   /* from entropy, kurtosis and spacings of sorted values: 0 (noise) to 1 */
    double signal;    /* sin theta */
    double theta;     /* degrees, 0 to 90 */
    unsigned scales;  /* number of scales */
    double dI_dlog2s; /* bits per octave, as in organ_z; set if scales >= 2 */
} organ_seed_z;

/* Results of z/1 for one tensor. */
typedef struct organ_z {
    bool done;          /* this tensor was measured: all members below are set */
    const char *reason; /* why there is no theta: a constant clause; NULL: there is one */

    /* Set if there is a theta. */
    double e, k, c; /* from entropy, kurtosis and the spacings of quantiles: 0 (noise) to 1 */
    double power;   /* mean of e, k and c */
    double signal;  /* sin theta */
    double theta;   /* degrees, 0 to 90 */

    /* Computed from the finite values; all 0 if the type cannot be read. */
    organ_moments moments;
    double std;      /* population standard deviation of the values */
    double kurtosis; /* excess; 0 if std is 0 */
    uint32_t levels; /* distinct values, -0 and +0 being one; ORGAN_Z_LEVELS + 1: more than ORGAN_Z_LEVELS */

    /* Computed over scales 1, 2, 4 ...: a value at scale s is the mean of s neighbouring values of a row; the unpaired
     * end of a row is omitted. Only scales with at least 16 values that are not all equal. */
    unsigned scales; /* number of scales */
    /* Change of information per doubling of the scale, in bits: -0.5 for noise, 0 for structure that survives scaling;
     * set if scales >= 2. */
    double dI_dlog2s;
    double coherence; /* clamp(1 + 2 dI_dlog2s, 0, 1); set if scales >= 2 */
    /* Information in bits, information[k] at scale 2^k for k < scales: entropy of the standardised values + log2 of the
     * standard deviation of the values. */
    double information[5];

    organ_seed_z seed; /* set if organ_z_options.seed is true */
} organ_z;

/* ---- the measure "z/1" of tensors ---- */

/* theta says how far the distribution of a tensor's values is from noise. It does not measure the quality of a model:
 * damage can raise theta. */

struct organ_z_subjects;

/* Options of organ_measure_tensors. */
typedef struct organ_z_options {
    const bool *chosen; /* for each tensor of the model: measure the weight whose codes it is; NULL: all weights */
    bool seed;          /* also compute the older measure seed/1 */
    /* Called after each weight is measured: one call at a time, on any thread, in any order. An error ends the
     * measurement. NULL: not called. */
    organ_status (*finished)(void *context, const organ_weight *weight, const organ_z *z, organ_error *error);
    void *context;
    /* Weights of the model, if the caller has found them; NULL: organ_measure_tensors finds them. */
    const struct organ_z_subjects *subjects;
} organ_z_options;

/* Measures the chosen tensors into out[0 .. model->tensor_count), which the caller sets to zeros; skips those whose
 * out[].done is already set. A packed weight is measured at the index of its codes, from the values that
 * organ_dequantize writes as BF16: codes times scales, rounded to that type; its companions are not measured. GGUF
 * blocks are measured from their FP32 values. A tensor that fits into its thread's part of engine->memory is read once,
 * a larger one twice; of a remote model also a larger one once, through a file without a name, if
 * files are allowed and the disk has room. Results are bit-identical for any number of threads, any memory and every
 * ISA of one machine. Returns errors of organ_weights_find and organ_model_read; ORGAN_USAGE if the memory is too
 * small; ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_measure_tensors(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_z *out, organ_error *error);

/* Sets *least to the smallest engine->memory, in bytes, that organ_measure_tensors accepts; 0 if there is nothing to
 * measure. Ignores options->subjects. Returns errors of organ_weights_find and of the headers of packed weights. */
organ_status organ_measure_min(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                               uint64_t *least, organ_error *error);

/* ---- documents of schema organ.measure/1 ---- */

/* Measurements of a model. */
typedef struct organ_measured {
    const organ_model *model;
    const struct organ_z_subjects *subjects; /* weights of the model */
    /* One element for each tensor of the model. If z[t].done, z[t] is the result of the weight whose codes are tensor
     * t; other elements are ignored. */
    const organ_z *z;
} organ_measured;

/* Returns the entry of a model in the member "models" of the report: its description, figures of all its weights
 * together, and "groups", "roles", "layers", "wells" and "per_tensor". NULL if out of memory. */
json_t *organ_measure_model_json(const organ_measured *measured);

/* Returns a new array of the entries in descending order of mean theta; entries without theta are last. NULL if out of
 * memory. */
json_t *organ_measure_ranked(const json_t *entries);

/* Returns a report whose member "models" is `models`, an array of entries. Takes over `models`. The caller adds "run".
 * NULL if out of memory. */
json_t *organ_measure_document(json_t *models);

/* Returns the wells as an array of {"name", "role", "layer", "theta", "before", "after", "std"}. A well is a weight
 * whose theta is lower than both thetas of the same module and expert in the layers before and after. The difference to
 * each must exceed one standard deviation of theta over the role. If out of memory, returns an incomplete array or NULL
 * and counts a refusal (organ_memory_refusals). */
json_t *organ_measure_wells(const organ_measured *measured);

/* Returns the results of the older measure seed/1: {"definition", "tensors", "theta_mean", ..., "roles", "groups",
 * "per_tensor"}; z_theta_mean is the mean theta of z/1 over the same tensors. NULL if out of memory. */
json_t *organ_measure_seed_json(const organ_measured *measured);

/* Adds the definition of the older measure to a report's "definitions". */
void organ_measure_seed_define(json_t *report);

/* Returns the stars of a theta in degrees: "***" from 85, "**" from 60, "*" from 30, else "". */
const char *organ_measure_rating(double theta);

/* ---- measure ---- */

/* The report has, for each model, theta of tensors, roles, layers and groups, and the wells: tensors with a lower theta
 * than the same module in the layers before and after. */

/* Options of organ_measure. */
typedef struct organ_measure_options {
    size_t size;               /* see ORGAN_DEFAULTS */
    const char *const *models; /* paths or URLs of `model_count` models */
    size_t model_count;
    const char *output; /* directory for z_report.json, Z_MEASURE_REPORT.md and .html; NULL: write no files */
    /* Also compute the older measure seed/1: the member "seed" of each model in the report. */
    bool seed;
    const char *types, *layers; /* measure only these tensors, as in organ_graft_options; NULL: all */
    const char *const *headers; /* `header_count` HTTP headers for models behind URLs, see organ_model_access */
    size_t header_count;
    unsigned patience; /* longest wait in seconds that a server may ask for, see organ_model_access; 0: 60 */
} organ_measure_options;
ORGAN_DEFAULTS(measure, )

/* Measures the models. *report has schema organ.measure/1, with the models in descending order of mean theta; the
 * caller releases it. All models are opened before the first is measured. The output
 * directory is created if its parent exists; its reports are replaced after all models are measured. Results for a
 * model behind a URL are kept in a journal in output/organ until the reports are written, so that another run can
 * continue. Returns ORGAN_USAGE if the selection is invalid or leaves no tensor of a model; ORGAN_IO
 * if the reports cannot be written
 * (*report may be set); other errors are those of organ_model_open and organ_measure_tensors. */
organ_status organ_measure(const organ_measure_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

/* ---- fleet: dissects (organ_extract) and measures every model under a directory ---- */

/* Errors of single models are reported and do not stop the run. */

/* Options of organ_fleet. */
typedef struct organ_fleet_options {
    size_t size;           /* see ORGAN_DEFAULTS */
    const char *directory; /* searched recursively for models */
    /* Directory of the output, created if needed; a later run with the same output processes only changed models. */
    const char *output;
    bool no_extract; /* measure only */
} organ_fleet_options;
ORGAN_DEFAULTS(fleet, )

/* Writes to the output: organs/NAME/ (organ_extract of each model), dissection_report.json (organ.fleet/1),
 * z_report_complete.json (organ.measure/1), Z_MEASURE_REPORT.md and .html, and fleet.json, with which the next run
 * skips unchanged models. *report is the dissection report; the caller releases it; NULL on error.
 *
 * Returns ORGAN_CHECK_FAILED if a model could not be dissected or measured (the report lists it with its error);
 * ORGAN_BAD_INPUT if there is no model; ORGAN_USAGE if the output is an input, or has a file with the name of a report
 * that is not a report of organ; ORGAN_IO or ORGAN_INTERRUPTED if files or memory fail or a stop was requested
 * (finished models are kept). */
organ_status organ_fleet(const organ_fleet_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
