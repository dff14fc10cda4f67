/* SPDX-License-Identifier: MIT
 * Reports about models, adapters and machines, which nothing is changed by. */
#ifndef ORGAN_API_INSPECT_H
#define ORGAN_API_INSPECT_H

#include <organ/base.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/options.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

ORGAN_API_BEGIN

/* ---- inspect: lists the content of a model, from its headers alone ---- */

/* Options of organ_inspect. */
typedef struct organ_inspect_options {
    size_t size;               /* see ORGAN_DEFAULTS */
    const char *model;         /* path or URL */
    const organ_model *opened; /* inspect this open model instead; NULL: none */
    bool tensors;              /* list every tensor */
    const char *match;         /* glob on tensor names: only these are counted and listed; NULL for all */
    /* programs of ORGAN_READERS, separated by commas: the report says whether each opens the model; NULL: none */
    const char *readers;
    size_t max; /* limit of the rows in each list of the report, except the list of tensors, and of the listed layers;
                 * 0: no limit. "cut" in the report names the lists that are longer */
    const organ_model_access *access; /* HTTP headers and retries for a model behind a URL; NULL: the defaults */
} organ_inspect_options;
ORGAN_DEFAULTS(inspect, )

/* Creates the report of schema organ.inspect/1, which the caller releases. For a model with faults that is still
 * readable, returns ORGAN_BAD_INPUT with *report set and the faults in its "problems"; *report is NULL if nothing could
 * be read. */
organ_status organ_inspect(const organ_inspect_options *options, json_t **report, organ_error *error);

/* Returns one tensor as a row of the report: {"name", "dtype", "shape", "elements", "bytes", "role", "group", "layer",
 * "expert", "file", "offset"}; `file` is the name of its file. NULL if memory runs out. */
json_t *organ_inspect_tensor(const organ_tensor *tensor, const char *file);

/* ---- autopsy: examines every weight of a model ---- */

/* Statistics of its values, patterns that reveal damage and its cause, and its distance from another model. */

/* Options of organ_autopsy. */
typedef struct organ_autopsy_options {
    size_t size;        /* see ORGAN_DEFAULTS */
    const char *model;  /* path or URL of the model to examine */
    const char *other;  /* the model to compare with, NULL: none */
    const char *ranges; /* a file of schema organ.ranges/1; NULL: the ranges of organ_autopsy_ranges */
    const char *match;  /* a shell pattern on names of weights, NULL: all */
    const char *output; /* a directory for autopsy.json and AUTOPSY_REPORT.md, created if missing; NULL: no files */
    const organ_model_access *access; /* HTTP headers and retries for a model behind a URL; NULL: the defaults */
    /* path of a text on which one wrong factor of all scales is searched; NULL: no search */
    const char *text;
} organ_autopsy_options;
ORGAN_DEFAULTS(autopsy, )

/* Reads all values of every selected weight and creates the report of schema organ.autopsy/1. Except for its member
 * "run", the report does not depend on the number of threads, the memory or the ISA of the machine. If there are
 * findings, returns ORGAN_CHECK_FAILED together with the report; remarks alone return ORGAN_OK. Other errors:
 * ORGAN_USAGE if `match` matches no weight, or if `text` is set for a model without scales; ORGAN_BAD_INPUT if the file
 * of ranges is malformed; the errors of opening and reading models. *report is NULL after these other errors. The
 * caller releases *report. */
organ_status organ_autopsy(const organ_autopsy_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

/* Returns the default ranges as the JSON of a file of ranges. NULL if memory runs out. */
json_t *organ_autopsy_ranges(void);

/* ---- untrusted: finds content of a download that could harm a user who loads it ---- */

/* Input is a directory or a file; output is a list of findings. The search reads headers, configuration and the first
 * bytes of files, and checks names. It does not run, unpickle, render or decompress any part of the model, and does not
 * follow links out of the directory. An error in one file does not end the search. */

typedef struct organ_untrusted_options {
    size_t size;       /* see ORGAN_DEFAULTS */
    const char *model; /* a directory with any content, or one file */
} organ_untrusted_options;
ORGAN_DEFAULTS(untrusted, )

/* Examines a download without loading it and creates the report of schema organ.untrusted/1, which the caller releases.
 * If there is a finding, returns ORGAN_CHECK_FAILED together with the report. Returns ORGAN_USAGE for a URL, and
 * ORGAN_IO if the path cannot be read or memory is insufficient, both without a report. */
organ_status organ_untrusted(const organ_untrusted_options *options, json_t **report, organ_error *error);

/* ---- orthogonality: the quantisation error of a model and the change of an adapter ---- */

/* Compares N = W_clean - W_noisy (dequantised) with K = scale B A, module by module: their cosine, the share of N in
 * the output directions of K, and their norms. No matrix is in memory as a whole. */

/* Options of organ orthogonality with an adapter. */
typedef struct organ_orthogonality_options {
    size_t size;                         /* see ORGAN_DEFAULTS */
    const char *clean, *noisy, *adapter; /* paths of the model, its quantised copy, and the adapter */
    const char *noisy2;                  /* path of a second quantised copy; NULL: none */
    const char *output;                  /* path of a new directory for the reports and plots; NULL: none */
    const char *modules; /* comma-separated shell patterns of names of modules of the adapter; NULL: all */
    unsigned draws;      /* number of random cosines that are drawn for each module; at least 2 */
    unsigned top_k;      /* --top-k: the leakage is measured in this many left singular vectors of K; 0: in all */
    unsigned seed;       /* seed of the random cosines */
    bool force;          /* --force: replace an existing output */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_orthogonality_options;
ORGAN_DEFAULTS(orthogonality, o.draws = 100)

/* Compares the models with the adapter. Sets *report to a document of schema organ.orthogonality/1, which the caller
 * releases, and writes it to `output` as orthogonality.json, ORTHOGONALITY_REPORT.md and three plots. On error *report
 * is NULL and no output remains. Weights may have any storage that can be read as numbers. `engine->memory` limits the
 * buffers for rows; one module's B, A, singular vectors, and k x in_features FP64 sums for each noisy model come on top
 * (k: number of singular vectors whose leakage is measured).
 *
 * Returns ORGAN_USAGE if a pattern matches no module, the output exists or would damage an input, or the memory is too
 * small; ORGAN_BAD_INPUT if a model lacks a module of the adapter or has it in another shape (the message lists them),
 * if a value is not finite, or if the adapter uses DoRA; ORGAN_IO if files or memory fail; ORGAN_INTERRUPTED if a stop
 * was requested. */
organ_status organ_orthogonality(const organ_orthogonality_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

/* ---- orthogonality of two pairs: the quantisation errors of two models ---- */

/* Pair A and pair B each consist of a clean (unquantised) model and its noisy (quantised) copy; their quantisation
 * errors W_clean - W_noisy are N_A and N_B. The report has the multiple of N_A that approximates N_B, the remainder N_A
 * - N_B, and the sizes of N_A, N_B and N_A - N_B relative to a change D of the weights. No matrix is in memory as a
 * whole. */

/* Options of organ orthogonality with two pairs. */
typedef struct organ_noise_pairs_options {
    size_t size;                     /* see ORGAN_DEFAULTS */
    const char *clean[2], *noisy[2]; /* paths of the models of pairs A and B */
    const char *change; /* an adapter (a directory with adapter_config.json) or a tuned model; NULL: the clean model of
                         * pair B minus that of pair A */
    const char *output; /* new directory for the reports; NULL: none */
    /* Comma-separated shell patterns of names of modules; NULL: all modules of the adapter, or all projections. */
    const char *modules;
    unsigned draws;                   /* number of random cosines that are drawn for each module; at least 2 */
    unsigned seed;                    /* seed of the random cosines */
    bool force;                       /* --force: replace an existing output */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_noise_pairs_options;
ORGAN_DEFAULTS(noise_pairs, o.draws = 100)

/* Compares the pairs. Sets *report to a document of schema organ.noise_pairs/1, which the caller releases, and writes
 * it to `output` as noise_pairs.json, NOISE_PAIRS_REPORT.md and .html. On error *report is NULL and no output remains.
 * The change D is scale B A of an adapter, W_tuned - W_clean_A of a tuned model, or W_clean_B - W_clean_A. Weights may
 * have any storage that can be read as numbers. `engine->memory` limits the buffers for rows; the adapter's factors of
 * one module come on top. The bits of the figures depend neither on threads nor on memory.
 *
 * Returns ORGAN_USAGE if a model is given twice, a pattern matches no module, the output exists or would damage an
 * input, or the memory is too small; ORGAN_BAD_INPUT if a model lacks a module or has it in another shape (the message
 * lists them), if a value is not finite, or if the adapter uses DoRA; ORGAN_IO if files or memory fail;
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_noise_pairs(const organ_noise_pairs_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error);

/* ---- topology: how organ places its work on a machine ---- */

/* The CPU of each worker, the memory node of each band buffer, and the CPUs and nodes that it does not use. */

typedef struct organ_machine_plan_options {
    size_t size;               /* see ORGAN_DEFAULTS */
    const char *import;        /* file with the topology of another machine, recorded by hwloc; NULL: this machine */
    size_t threads;            /* number of workers; 0: one per core */
    struct organ_ranks *ranks; /* add the plans of all these ranks; NULL: the plan of this process only */
} organ_machine_plan_options;
ORGAN_DEFAULTS(machine_plan, )

/* Returns in *report (schema organ.topology/1) the placement that organ_workers_create and organ_pass_run would choose.
 * Binds and starts nothing. The caller releases *report, which is NULL on error. Returns ORGAN_BAD_INPUT if `import` is
 * not a record of hwloc, ORGAN_IO if it cannot be read or memory runs out. */
organ_status organ_machine_plan(const organ_machine_plan_options *options, json_t **report, organ_error *error);

/* ---- compare: how models differ, and which descends from which ---- */

#define ORGAN_COMPARE_MOST 8 /* models of a comparison, with the base */

typedef struct organ_compare_options {
    size_t size;               /* see ORGAN_DEFAULTS */
    const char *const *models; /* `model_count` paths or URLs, of any formats, or MODEL+ADAPTER */
    size_t model_count;        /* from 1 with a base, else from 2 */
    const char *base;          /* the model to which differences are taken; NULL: found from the distances */
    /* Also compress the changes from the base, or from the first model without one, to each other model, as
     * organ_patch_extract does. Then returns ORGAN_USAGE for a model with an adapter. */
    bool patch;
    const organ_model_access *access; /* how models behind URLs are reached; NULL: as usual */
} organ_compare_options;
ORGAN_DEFAULTS(compare, )

/* Reads all models once, packed weights dequantised, and makes the report of schema organ.compare/1: distances, cosines
 * and signs by layer and role for each pair, the likely base, tensors that only some have, vocabularies, experts,
 * settings that differ. Except for "run" the report is the same with any number of threads, any memory and on every
 * ISA. Values that are not finite are counted and left out. Errors: those of opening and reading models; ORGAN_USAGE
 * for too few or too many models, or if the memory of the engine is too small; ORGAN_BAD_INPUT if no tensor is in two
 * of the models, if GGUF and safetensors are compared and the architecture cannot be converted, or for an adapter that
 * is not only factors of matrices of a safetensors model, or of matrices that another model with an adapter stores in
 * another layout. *report is NULL after an error. The caller releases *report. */
organ_status organ_compare(const organ_compare_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
