/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/prune/job.h"

#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/output/errata.h"
#include "orchestrator/surgery/output/experiment.h"
#include "orchestrator/version.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Files that usually hold weights, and that this program does not prune where they lie beside the model's own shards. */
static const char *const weight_files[] = {"*.safetensors",       "*.gguf",        "*.pth", "*.pt", "*.ckpt", "*.h5", "*.msgpack", "*.onnx",
                                           "*pytorch_model*.bin", "*consolidated*"};

static const char *const not_told[] = {
    "Quality. No forward pass was run: that a model loads does not say that it still speaks. Measure perplexity before it is used.",
    "Size. Pruned weights are stored as zeros in the same type, so the files are as long as the donor's.",
    "Speed. Zeros scattered like these are no faster on hardware that expects structured sparsity.",
};

static json_t *texts(const char *const *list, size_t count)
{
    json_t *array = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(array, json_string(list[k]));
    return array;
}

json_t *organ_prune_parameters(const organ_prune_options *options)
{
    const bool free_flow = options->sparsity < 0;
    return json_pack("{s:s, s:i, s:i, s:f, s:f, s:o, s:f, s:f, s:o, s:o}", "method", "physarum-v1", "block_size", (int)options->block_size,
                     "iterations", (int)options->iterations, "beta", options->beta, "coupling", options->coupling, "gain",
                     free_flow ? json_real(ORGAN_PHYSARUM_GAIN) : json_null(), "step", 0.5, "threshold", 0.25, "sparsity",
                     free_flow ? json_null() : json_real(options->sparsity), "targets",
                     options->targets ? organ_document_string(options->targets) : json_null());
}

json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part)
{
    const organ_tensor *tensor = part->tensor;
    const organ_prune_counts *c = &part->counts;
    char module[160];
    organ_anatomy_module(tensor->name, module, sizeof module);
    json_t *line = json_pack("{s:s, s:s, s:o, s:o, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s}", "tensor", tensor->name,
                             "module", module, "layer", tensor->anatomy.layer < 0 ? json_null() : json_integer(tensor->anatomy.layer),
                             "expert", tensor->anatomy.expert < 0 ? json_null() : json_integer(tensor->anatomy.expert), "file",
                             job->donor->files[tensor->file].name, "dtype", organ_dtype_describe(tensor->dtype)->name, "shape",
                             organ_shape_json(tensor), "elements", (json_int_t)tensor->elements, "processed",
                             (json_int_t)(c->zero_before + c->killed + c->kept), "tiles", (json_int_t)part->tiles, "zero_before",
                             (json_int_t)c->zero_before, "killed", (json_int_t)c->killed, "kept", (json_int_t)c->kept, "percent",
                             organ_percent(c->killed, tensor->elements), "gain", part->gain, "xxh3", part->xxh3);
    if (line && job->kind->amend_line && job->kind->amend_line(job, part, line)) {
        json_decref(line);
        line = NULL;
    }
    return line;
}

static json_t *untouched_json(const organ_prune_job *job)
{
    json_int_t tensors = 0, elements = 0, bytes = 0;
    for (size_t t = 0; t < job->donor->tensor_count; t++)
        if (!job->targets.chosen[t]) {
            tensors++;
            elements += (json_int_t)job->donor->tensors[t].elements;
            bytes += (json_int_t)job->donor->tensors[t].bytes;
        }
    return json_pack("{s:I, s:I, s:I}", "tensors", tensors, "elements", elements, "bytes", bytes);
}

static bool holds_weights(const char *name)
{
    for (size_t k = 0; k < sizeof weight_files / sizeof *weight_files; k++)
        if (fnmatch(weight_files[k], name, 0) == 0)
            return true;
    return false;
}

static json_t *files_json(const organ_file_list *list, bool only_weights)
{
    json_t *names = json_array();
    for (size_t k = 0; k < list->count; k++)
        if (!only_weights || holds_weights(list->names[k]))
            json_array_append_new(names, organ_document_string(list->names[k]));
    return names;
}

/* `*killed_so_far` is the sum over the shards before; it becomes that with this one. */
static json_t *shard_json(const organ_prune_job *job, size_t f, json_int_t *killed_so_far)
{
    json_int_t tensors = 0, killed = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        if (job->parts[k].tensor->file == f) {
            tensors++;
            killed += (json_int_t)job->parts[k].counts.killed;
        }
    const organ_shard_clock *clock = &job->clocks[f];
    *killed_so_far += killed;
    return json_pack("{s:s, s:f, s:I, s:I, s:I, s:I}", "file", job->donor->files[f].name, "seconds",
                     organ_milliseconds(clock->last - clock->first), "tensors", tensors, "bytes", (json_int_t)clock->bytes, "killed",
                     killed, "killed_so_far", *killed_so_far);
}

/* All that differs from run to run and from machine to machine. */
static json_t *run_json(const organ_prune_job *job)
{
    char started[32] = "", host[256] = "";
    struct tm utc;
    gmtime_r(&job->started_at, &utc);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    gethostname(host, sizeof host - 1);
    json_t *shards = json_array();
    json_int_t killed = 0;
    for (size_t f = 0; f < job->donor->file_count; f++)
        json_array_append_new(shards, shard_json(job, f, &killed));
    const organ_workers *workers = job->engine->workers;
    return json_pack("{s:o, s:o, s:s, s:f, s:o, s:s, s:I, s:I, s:I, s:b, s:f, s:o}", "donor", organ_document_string(job->options->donor),
                     "output", organ_document_string(job->options->output), "started", started, "seconds", organ_milliseconds(job->seconds),
                     "host", organ_document_string(host), "cpu_isa", job->engine->kernels->isa, "threads",
                     (json_int_t)organ_workers_count(workers), "pinned", (json_int_t)organ_workers_pinned(workers), "memory",
                     (json_int_t)job->engine->memory, "resumed", (int)job->resumed, "bytes_per_second",
                     job->seconds > 0 ? round((double)job->pruned_bytes / job->seconds) : 0.0, "shards", shards);
}

static int add_coverage_tiles(json_t *document, const organ_prune_job *job)
{
    json_int_t tiles = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        tiles += (json_int_t)job->parts[k].tiles;
    return json_object_set_new(json_object_get(document, "coverage"), "tiles", json_integer(tiles));
}

organ_tally *organ_prune_tally(const organ_prune_job *job)
{
    organ_tally *rows = calloc(job->targets.count + 1, sizeof *rows);
    for (size_t k = 0; rows && k < job->targets.count; k++) {
        const organ_prune_counts *c = &job->parts[k].counts;
        rows[k] = (organ_tally){.tensor = job->parts[k].tensor, .zero_before = c->zero_before, .killed = c->killed, .kept = c->kept};
    }
    return rows;
}

static int add_counts(json_t *document, const organ_prune_job *job)
{
    organ_tally *rows = organ_prune_tally(job);
    const int failed = !rows || organ_tally_add(document, job->donor, rows, job->targets.count) || add_coverage_tiles(document, job) ||
                       json_object_set_new(document, "tensors", organ_tally_tensors(rows, job->targets.count, false)) ||
                       (job->tile_map && json_object_set(document, "tile_map", job->tile_map)) ||
                       (job->magnitudes && json_object_set(document, "magnitudes", job->magnitudes));
    free(rows);
    return failed ? -1 : 0;
}

/* What the numbers must be read with, of the document as it is by then. */
static int add_errata(json_t *document)
{
    json_t *const experiment = organ_experiment_of(document);
    if (!experiment || json_object_set_new(document, "experiment", experiment))
        return -1;
    json_t *const run = json_incref(json_object_get(document, "run")); /* which stands last */
    json_object_del(document, "run");
    const int failed = json_object_set_new(document, "errata", organ_errata_of_pruning(document));
    return json_object_set_new(document, "run", run) || failed ? -1 : 0;
}

static json_t *donor_json(const organ_prune_job *job)
{
    json_t *const donor = organ_model_json(job->donor);
    json_object_set_new(donor, "fingerprint", json_string(job->fingerprint));
    return donor;
}

/* What is said of quality where there are figures. */
static int settle_quality(json_t *document)
{
    static const char beyond[] =
        "Quality beyond the one text that was evaluated: other texts, tasks and languages may have lost more or less than it.";
    if (!json_is_object(organ_json_at(document, "evaluation.comparison")))
        return 0;
    return json_array_set_new(json_object_get(document, "not_in_this_report"), 0, json_string(beyond));
}

int organ_prune_settle(void *job, json_t *document)
{
    (void)job;
    return settle_quality(document) || add_errata(document) ? -1 : 0;
}

json_t *organ_prune_document(void *context, const organ_output *output, const organ_resharding *plan)
{
    organ_prune_job *const job = context;
    (void)plan;
    job->seconds = output->seconds;
    job->resumed = output->publish.resumed;
    json_t *document =
        json_pack("{s:s, s:s, s:s, s:b, s:o, s:o}", "schema", "organ.prune/1", "definition", job->definition, "organ", ORGAN_VERSION,
                  "dry_run", (int)job->options->dry_run, "donor", donor_json(job), "parameters", organ_prune_parameters(job->options));
    json_t *rest =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "untouched", untouched_json(job), "copied_files",
                  files_json(&job->others, false), "other_weights", files_json(&job->others, true), "integrity",
                  job->checks ? json_incref(job->checks) : json_array(), "definitions", organ_definitions_json(job->options->targets),
                  "errata", json_array(), "not_in_this_report", texts(not_told, sizeof not_told / sizeof *not_told), "run", run_json(job));
    if (!document || !rest || add_counts(document, job) || json_object_update(document, rest) ||
        (job->kind->amend && job->kind->amend(job, document))) {
        json_decref(document);
        document = NULL;
    }
    json_decref(rest);
    return document;
}
