/* SPDX-License-Identifier: MIT
 * Makes the report of pruning, prune.json, and the lines that describe a target in prune.jsonl or a unit in the
 * journal. */
#include "orchestrator/surgery/prune/prune_job.h"

#include "formats/base/paged_rows.h"
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"

#include <fnmatch.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

/* Patterns of names of files that usually contain weights. Files of the donor with such a name that are not its shards
 * are copied unpruned; the report lists them as "other_weights". */
static const char *const weight_files[] = {
    "*.safetensors",       "*.gguf",        "*.pth", "*.pt", "*.ckpt", "*.h5", "*.msgpack", "*.onnx",
    "*pytorch_model*.bin", "*consolidated*"};

/* Sentences of the report about properties that it does not measure. The first is replaced after an evaluation. */
static const char *const not_reported[] = {
    ("Quality. No forward pass was run: a model that loads may no longer give useful text. Measure its perplexity "
     "before use."),
    "Size. Pruned weights are stored as zeros in the same type, so the files are as long as the donor's.",
    "Speed. Zeros scattered like these are no faster on hardware that expects structured sparsity.",
};

/* Returns the parameters of physarum v1 for the report. The gain is null if it is searched. The sparsity is null if
 * none was requested, or if one is divided among the targets. */
json_t *organ_prune_parameters(void *context)
{
    const organ_prune_job *const job = context;
    const organ_prune_options *const o = job->options;
    const bool free_flow = o->sparsity < 0 && !job->divides; /* no sparsity is requested: the gain is fixed */
    return ORGAN_OBJECT(
        SET_TEXT("method", "physarum-v1"), SET_COUNT("block_size", o->block_size),
        SET_COUNT("iterations", o->iterations), SET_REAL("beta", o->beta), SET_REAL("coupling", o->coupling),
        SET_REAL_OF("gain", free_flow, ORGAN_PHYSARUM_GAIN), SET_REAL("step", 0.5), SET_REAL("threshold", 0.25),
        SET_REAL_OF("sparsity", !free_flow && !job->divides, o->sparsity), SET_BYTES_OF("targets", o->targets));
}

/* Returns the line of a target (in prune.jsonl) or of a unit (in the journal): names, shape, counts, gain and digest.
 * job->kind->finish_line may add members. NULL if memory runs out. */
json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part)
{
    const organ_tensor *const tensor = part->tensor;
    const organ_prune_counts *const c = &part->counts;
    char module[160];
    organ_anatomy_module(tensor->name, module, sizeof module);
    json_t *line = ORGAN_OBJECT(
        SET_TEXT("tensor", tensor->name), SET_TEXT("module", module), SET_INDEX("layer", tensor->anatomy.layer),
        SET_INDEX("expert", tensor->anatomy.expert), SET_TEXT("file", job->donor->files[tensor->file].name),
        SET_DTYPE("dtype", tensor->dtype), SET("shape", organ_shape_json(tensor)),
        SET_COUNT("elements", tensor->elements), SET_COUNT("processed", c->zero_before + c->killed + c->kept),
        SET_COUNT("tiles", part->tiles), SET_COUNT("zero_before", c->zero_before), SET_COUNT("killed", c->killed),
        SET_COUNT("kept", c->kept), SET_REAL("percent", organ_percent(c->killed, tensor->elements)),
        SET_REAL("gain", part->gain), SET_TEXT("xxh3", part->xxh3));
    if (line && job->kind->finish_line && job->kind->finish_line(job, part, line)) {
        json_decref(line);
        line = NULL;
    }
    return line;
}

/* Returns the number of tensors that are not targets, and the sums of their elements and bytes. */
static json_t *untouched_json(const organ_prune_job *job)
{
    uint64_t bytes = 0;
    for (size_t t = 0; t < job->donor->tensor_count; t++)
        bytes += job->donor->tensors[t].bytes;
    return ORGAN_OBJECT(SET_COUNT("tensors", job->donor->tensor_count - job->targets.count),
                        SET_COUNT("elements", organ_model_elements(job->donor) - job->targets.elements),
                        SET_COUNT("bytes", bytes - job->targets.bytes));
}

/* Returns true if the name matches one of weight_files. */
static bool is_weight_file(const char *name)
{
    for (size_t k = 0; k < sizeof weight_files / sizeof *weight_files; k++)
        if (fnmatch(weight_files[k], name, 0) == 0)
            return true;
    return false;
}

/* Returns the names of the listed files; with `only_weights` only those that usually contain weights. */
static json_t *files_json(const organ_file_list *list, bool only_weights)
{
    json_t *names = json_array();
    for (size_t k = 0; k < list->count; k++)
        if (!only_weights || is_weight_file(list->names[k]))
            json_array_append_new(names, organ_document_string(list->names[k]));
    return names;
}

/* Returns the row of shard number f in the report. *killed_so_far is the number of weights that were killed in the
 * shards before; this function adds those of this shard. */
static json_t *shard_json(const organ_prune_job *job, size_t f, uint64_t *killed_so_far)
{
    const organ_shard_clock *const clock = &job->state->clocks[f];
    uint64_t tensors = 0, killed = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        if (job->parts[k].tensor->file == f) {
            tensors++;
            killed += job->parts[k].counts.killed;
        }
    *killed_so_far += killed;
    return ORGAN_OBJECT(SET_TEXT("file", job->donor->files[f].name),
                        SET_REAL("seconds", organ_rounded_seconds(clock->last - clock->first)),
                        SET_COUNT("tensors", tensors), SET_COUNT("bytes", clock->bytes), SET_COUNT("killed", killed),
                        SET_COUNT("killed_so_far", *killed_so_far));
}

/* Returns the member "run" of the report: paths, times, host and engine, which differ between runs and machines. */
static json_t *document_run_json(const organ_prune_job *job, const organ_output *output)
{
    const organ_engine *const engine = job->engine;
    const double seconds = organ_output_seconds(output, engine);
    char started[32] = "", host[256] = "";
    struct tm utc;
    gmtime_r(&job->state->started_at, &utc);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    gethostname(host, sizeof host - 1);
    json_t *const shards = json_array();
    uint64_t killed = 0;
    for (size_t f = 0; f < job->donor->file_count; f++)
        json_array_append_new(shards, shard_json(job, f, &killed));
    return ORGAN_OBJECT(
        SET_BYTES("donor", job->options->donor), SET_BYTES("output", job->options->write.output),
        SET_TEXT("started", started), SET_REAL("seconds", organ_rounded_seconds(seconds)), SET_BYTES("host", host),
        SET_ENGINE(engine), SET_COUNT("pinned", organ_workers_pinned(engine->workers)),
        SET_COUNT("memory", engine->memory), SET_FLAG("resumed", output->publish.resumed),
        SET_FLAG("single_file", output->single),
        SET_REAL("bytes_per_second", seconds > 0 ? round((double)job->state->pruned_bytes / seconds) : 0.0),
        SET("shards", shards));
}

/* Adds the member "tiles", the number of tiles of all targets, to the member "coverage". Returns non-zero if memory
 * runs out. */
static int add_coverage_tiles(json_t *document, const organ_prune_job *job)
{
    json_int_t tiles = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        tiles += (json_int_t)job->parts[k].tiles;
    return !ORGAN_ADD(json_object_get(document, "coverage"), SET_COUNT("tiles", tiles));
}

/* Returns an array with the counts of each target, which the caller frees with organ_rows_free. NULL if out of memory.
 */
organ_tally *organ_prune_tally(const organ_prune_job *job)
{
    organ_tally *rows = organ_rows_take(job->targets.count + 1, sizeof *rows);
    for (size_t k = 0; rows && k < job->targets.count; k++) {
        const organ_prune_counts *c = &job->parts[k].counts;
        rows[k] = (organ_tally){
            .tensor = job->parts[k].tensor, .zero_before = c->zero_before, .killed = c->killed, .kept = c->kept};
    }
    return rows;
}

/* Adds the counts of targets, by tensor and in sums, the tile map and the histogram to the report. Returns -1 without
 * memory. */
static int add_counts(json_t *document, const organ_prune_job *job)
{
    organ_tally *rows = organ_prune_tally(job);
    const int failed = !rows || organ_tally_add(document, job->donor, rows, job->targets.count) ||
                       add_coverage_tiles(document, job) ||
                       !ORGAN_ADD(document, SET("matrices", organ_matrices_json(job->donor, job->targets.chosen)),
                                  SET("tensors", organ_tally_tensors(rows, job->targets.count, false)),
                                  SET_IF(job->state->tile_map, "tile_map", json_incref(job->state->tile_map)),
                                  SET_IF(job->state->magnitudes, "magnitudes", json_incref(job->state->magnitudes)));
    organ_rows_free(rows);
    return failed ? -1 : 0;
}

/* Adds the members "experiment" and "errata", which are derived from the other members of the document. Returns -1
 * if memory runs out. */
static int add_errata(json_t *document)
{
    return ORGAN_ADD(document, SET("experiment", organ_experiment_of(document))) &&
                   ORGAN_ADD_BEFORE_RUN(document, SET("errata", organ_errata_of_pruning(document)))
               ? 0
               : -1;
}

/* If the document has a comparison of two evaluations, replaces the first sentence of "not_in_this_report", which says
 * that quality was not measured. Returns -1 if memory runs out. */
static int report_quality(json_t *document)
{
    static const char beyond[] = "Quality beyond the one text that was evaluated: other texts, tasks and languages may "
                                 "have lost more or less than it.";
    if (!json_is_object(organ_json_at(document, "evaluation.comparison")))
        return 0;
    return json_array_set_new(json_object_get(document, "not_in_this_report"), 0, json_string(beyond));
}

/* Completes the report after an evaluation was added to it. Returns -1 if memory runs out. */
int organ_prune_finish_report(void *job, json_t *document)
{
    (void)job;
    return report_quality(document) || add_errata(document) ? -1 : 0;
}

/* Returns the report of organ prune; job->kind may add members. NULL if memory runs out. */
json_t *organ_prune_document(void *context, const organ_writing *made)
{
    const organ_prune_job *const job = context;
    json_t *const donor =
        organ_json_joined(organ_model_json(job->donor), ORGAN_OBJECT(SET_TEXT("fingerprint", job->fingerprint)));
    json_t *document = ORGAN_OBJECT(SET("donor", donor));
    json_t *const rest = ORGAN_OBJECT(
        SET("untouched", untouched_json(job)), SET("copied_files", files_json(&job->state->others, false)),
        SET("other_weights", files_json(&job->state->others, true)),
        SET("integrity", job->state->checks ? json_incref(job->state->checks) : json_array()),
        SET("definitions", organ_definitions_json(job->options->targets)), SET("errata", json_array()),
        SET("not_in_this_report", organ_json_texts(sizeof not_reported / sizeof *not_reported, not_reported)),
        SET("run", document_run_json(job, organ_write_output(made))));
    const bool counted = document && add_counts(document, job) == 0;
    document = organ_json_joined(document, rest);
    if (document && counted && (!job->kind->finish_document || job->kind->finish_document(job, document) == 0))
        return document;
    json_decref(document);
    return NULL;
}
