/* SPDX-License-Identifier: MIT
 * Makes the report of pruning, prune.json, and the lines that describe a target in prune.jsonl or a unit in the
 * journal. H are the second moments of a matrix's inputs. */
#include "orchestrator/verbs/prune/prune_parts.h"

#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"

#include <fnmatch.h>
#include <math.h>
#include <organ/machine.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Files with such names usually contain weights. Such files of the donor that are not its shards are copied unpruned;
 * the report lists them as "other_weights". */
static const char *const weight_files[] = {
    "*.safetensors",       "*.gguf",        "*.pth", "*.pt", "*.ckpt", "*.h5", "*.msgpack", "*.onnx",
    "*pytorch_model*.bin", "*consolidated*"};

/* ---- parameters ---- */

static json_t *tiles_parameters(const organ_prune_job *job)
{
    const organ_prune_options *const o = job->options;
    const bool free_flow = o->sparsity < 0 && !job->divides; /* no sparsity is requested: the gain is fixed */
    return ORGAN_OBJECT(
        SET_TEXT("method", job->method->name), SET_COUNT("block_size", o->block_size),
        SET_COUNT("iterations", o->iterations), SET_REAL("beta", o->beta), SET_REAL("coupling", o->coupling),
        SET_REAL_OF("gain", free_flow, ORGAN_PHYSARUM_GAIN), SET_REAL("step", 0.5), SET_REAL("threshold", 0.25),
        SET_REAL_OF("sparsity", !free_flow && !job->divides, o->sparsity), SET_BYTES_OF("targets", o->targets));
}

static json_t *matrix_parameters(const organ_prune_job *job)
{
    const organ_prune_calibrated_options *const c = job->calibrated;
    const double sparsity = job->options->sparsity;
    const organ_prune_row *const m = job->method;
    return ORGAN_OBJECT(SET_TEXT("method", m->name), SET_REAL_OF("sparsity", sparsity >= 0 && !job->divides, sparsity),
                        SET("pattern", c->pattern ? json_string(c->pattern) : json_null()),
                        SET_IF(m->flows, "compensate", json_boolean(job->compensates)),
                        SET_IF(m->noise, "contribution", json_boolean(!job->imatrix)),
                        SET_IF(m->noise, "stability", json_boolean(!job->imatrix)),
                        SET_IF(m->effort, "effort", json_real(c->effort)),
                        SET_IF(m->noise, "seed", json_integer((json_int_t)c->seed)),
                        SET_IF(job->needs_text, "samples", json_integer((json_int_t)c->calibration.samples)),
                        SET_IF(job->needs_text, "context", json_integer((json_int_t)c->calibration.context)),
                        SET_REDUCED_COMPUTE(job->engine, job->needs_text ? c->calibration.compute : NULL),
                        SET_BYTES_OF("targets", job->options->targets));
}

json_t *organ_prune_parameters(void *context)
{
    const organ_prune_job *const job = context;
    json_t *const own = job->method->tiles ? tiles_parameters(job) : matrix_parameters(job);
    ORGAN_ADD(own, SET_IF(job->divides, "allocation", organ_prune_allocation_parameters(job)));
    return own;
}

/* ---- the text or the imatrix ---- */

static json_t *document_calibration_json(const organ_prune_job *job)
{
    if (!job->needs_text)
        return json_null();
    size_t block_diagonal = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        block_diagonal += job->figures[k].block_diagonal;
    json_t *const object = organ_calibration_run_json(
        job->calib, job->two_streams
                        ? "inputs from the pruned layers and from the donor (of experts only from the pruned layers)"
                        : "inputs from the pruned layers");
    ORGAN_ADD(object, SET_COUNT("block_diagonal_tensors", block_diagonal));
    return object;
}

static const json_t *document_fallback_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_prune_job *const job = context;
    *tensor = job->targets.tensors[k];
    return job->figures[k].fallback;
}

/* `object` may be null. "fallback" lists the experts that were not calibrated on their own tokens. Returns `object`. */
static json_t *with_fallback(const organ_prune_job *job, json_t *object)
{
    json_t *const fallback =
        json_is_object(object) ? organ_calibration_fallback_json(document_fallback_row, job, job->targets.count) : NULL;
    ORGAN_ADD(object, SET_IF(fallback, "fallback", fallback));
    return object;
}

static json_t *imatrix_json(const organ_prune_job *job)
{
    json_t *const object = organ_importance_json(job->imatrix, job->digest);
    if (job->imatrix)
        ORGAN_ADD(object, SET_TEXT("lacks", "contribution, stability and compensation: an imatrix has only the mean "
                                            "square of each input"));
    return object;
}

json_t *organ_prune_identity(void *context)
{
    const organ_prune_job *const job = context;
    const bool divides_only = job->divides && !job->needs_text; /* only the division has a text */
    return ORGAN_OBJECT(SET_IF(job->needs_text, "calibration", document_calibration_json(job)),
                        SET_IF(divides_only, "allocation", organ_prune_allocation_identity(job->allocation)),
                        SET_IF(job->needs_text, "moments", json_string(job->blocks ? "blocks" : "whole")),
                        SET_IF(job->imatrix, "imatrix", imatrix_json(job)));
}

/* ---- the line of a target ---- */

/* Returns 0, or -1 if memory runs out. The count of an imatrix in GGUF is of tokens, that of an older one of chunks. */
static int add_figures(const organ_prune_job *job, const organ_prune_figures *figures, json_t *line)
{
    const bool flow = job->method->flows, text = job->needs_text;
    const char *const count =
        job->imatrix && strcmp(job->imatrix->format, "GGUF") != 0 ? "calibration_chunks" : "calibration_tokens";
    return ORGAN_ADD(line, SET_COUNT("compensated", figures->compensated),
                     SET_IF(text, "calibration_tokens", json_integer((json_int_t)figures->tokens)),
                     SET_IF(text, "block_diagonal", json_boolean(figures->block_diagonal)),
                     SET_IF(figures->fallback, "fallback_experts", json_incref(figures->fallback)),
                     SET_IF(job->imatrix, "imatrix_entry", json_string(figures->entry)),
                     SET_IF(job->imatrix, count, json_integer((json_int_t)figures->tokens)),
                     SET_IF(flow, "stages", json_integer((json_int_t)figures->stages)),
                     SET_IF(job->method->products, "products", json_integer((json_int_t)figures->products)),
                     SET_IF(flow, "natural_sparsity", figures->natural > 0 ? json_real(figures->natural) : json_null()))
               ? 0
               : -1;
}

json_t *organ_prune_line(const organ_prune_job *job, const organ_prune_part *part)
{
    const organ_tensor *const tensor = part->tensor;
    const organ_prune_counts *const c = &part->counts;
    const bool tiles = job->method->tiles;
    char module[160];
    organ_anatomy_module(tensor->name, module, sizeof module);
    json_t *line = ORGAN_OBJECT(
        SET_TEXT("tensor", tensor->name), SET_TEXT("module", module), SET_INDEX("layer", tensor->anatomy.layer),
        SET_INDEX("expert", tensor->anatomy.expert), SET_TEXT("file", job->donor->files[tensor->file].name),
        SET_DTYPE("dtype", tensor->dtype), SET("shape", organ_shape_json(tensor)),
        SET_COUNT("elements", tensor->elements), SET_COUNT("processed", c->zero_before + c->killed + c->kept),
        SET_IF(tiles, "tiles", json_integer((json_int_t)part->tiles)), SET_COUNT("zero_before", c->zero_before),
        SET_COUNT("killed", c->killed), SET_COUNT("kept", c->kept),
        SET_REAL("percent", organ_percent(c->killed, tensor->elements)), SET_IF(tiles, "gain", json_real(part->gain)),
        SET_TEXT("xxh3", part->xxh3));
    if (line && job->figures && add_figures(job, &job->figures[part->target], line))
        organ_clear_json(&line);
    return line;
}

/* Members of a line that a run reads back, besides those whose names in the line differ. */
static const organ_struct_field recalled[] = {ORGAN_STRUCT_FIELD(organ_prune_figures, compensated, U64),
                                              ORGAN_STRUCT_FIELD(organ_prune_figures, block_diagonal, FLAG),
                                              ORGAN_STRUCT_FIELD(organ_prune_figures, stages, U32),
                                              ORGAN_STRUCT_FIELD(organ_prune_figures, products, U32)};

void organ_prune_recall_figures(organ_prune_job *job, size_t part, const json_t *line)
{
    organ_prune_figures *const figures = &job->figures[part];
    (void)ORGAN_STRUCT_READ(line, recalled, figures); /* methods omit the members that they do not have */
    figures->tokens = organ_json_count(line, json_object_get(line, "calibration_tokens") ? "calibration_tokens"
                                                                                         : "calibration_chunks");
    json_decref(figures->fallback);
    figures->fallback = json_incref(json_object_get(line, "fallback_experts"));
    figures->natural = organ_json_real(line, "natural_sparsity");
}

/* ---- the document ---- */

static json_t *untouched_json(const organ_prune_job *job)
{
    return ORGAN_OBJECT(SET_COUNT("tensors", job->donor->tensor_count - job->targets.count),
                        SET_COUNT("elements", organ_model_elements(job->donor) - job->targets.elements),
                        SET_COUNT("bytes", organ_model_tensor_bytes(job->donor) - job->targets.bytes));
}

static bool is_weight_file(const char *name)
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
        if (!only_weights || is_weight_file(list->names[k]))
            json_array_append_new(names, organ_document_string(list->names[k]));
    return names;
}

static json_t *shard_json(const organ_prune_job *job, size_t f, uint64_t *killed_so_far)
{
    const organ_shard_clock *const clock = &job->clocks[f];
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

static json_t *document_run_json(const organ_prune_job *job, const organ_output *output)
{
    const organ_engine *const engine = job->engine;
    const double seconds = organ_output_seconds(output, engine);
    char started[32] = "", host[256] = "";
    struct tm utc;
    gmtime_r(&job->started_at, &utc);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    gethostname(host, sizeof host - 1);
    json_t *const shards = json_array();
    uint64_t killed = 0;
    for (size_t f = 0; f < job->donor->file_count; f++)
        json_array_append_new(shards, shard_json(job, f, &killed));
    return ORGAN_OBJECT(SET_BYTES("donor", job->options->donor), SET_BYTES_OF("output", job->options->write.output),
                        SET_TEXT("started", started), SET_REAL("seconds", organ_rounded_seconds(seconds)),
                        SET_BYTES("host", host), SET_ENGINE(engine),
                        SET_COUNT("pinned", organ_workers_pinned(engine->workers)),
                        SET_FLAG("resumed", output->publish.resumed), SET_FLAG("single_file", output->single),
                        SET_REAL("bytes_per_second", seconds > 0 ? round((double)job->pruned_bytes / seconds) : 0.0),
                        SET("shards", shards));
}

/* Returns 0, or another number if memory runs out. */
static int add_coverage_tiles(json_t *document, const organ_prune_job *job)
{
    json_int_t tiles = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        tiles += (json_int_t)job->parts[k].tiles;
    return !ORGAN_ADD(json_object_get(document, "coverage"), SET_COUNT("tiles", tiles));
}

/* Returns an array with the counts of each target (job->parts). The caller frees it with organ_rows_free; NULL if out
 * of memory. */
static organ_tally *prune_tally(const organ_prune_job *job)
{
    organ_tally *rows = organ_rows_take(job->targets.count + 1, sizeof *rows);
    for (size_t k = 0; rows && k < job->targets.count; k++) {
        const organ_prune_counts *c = &job->parts[k].counts;
        rows[k] = (organ_tally){
            .tensor = job->parts[k].tensor, .zero_before = c->zero_before, .killed = c->killed, .kept = c->kept};
    }
    return rows;
}

/* Returns 0, or -1 if memory runs out. */
static int add_counts(json_t *document, const organ_prune_job *job)
{
    ORGAN_OWNED_ROWS organ_tally *rows = prune_tally(job);
    const int failed = !rows || organ_tally_add(document, job->donor, rows, job->targets.count) ||
                       (job->method->tiles && add_coverage_tiles(document, job)) ||
                       !ORGAN_ADD(document, SET("matrices", organ_matrices_json(job->donor, job->targets.chosen)),
                                  SET("tensors", organ_tally_tensors(rows, job->targets.count, /*audit=*/false)),
                                  SET_IF(job->tile_map, "tile_map", json_incref(job->tile_map)),
                                  SET_IF(job->magnitudes, "magnitudes", json_incref(job->magnitudes)));
    return failed ? -1 : 0;
}

/* Returns 0, or -1 if memory runs out. */
static int add_errata(json_t *document)
{
    return ORGAN_ADD(document, SET("experiment", organ_experiment_of(document))) &&
                   ORGAN_ADD_BEFORE_RUN(document, SET("errata", organ_errata_of_pruning(document)))
               ? 0
               : -1;
}

/* Replaces the first sentence of not_reported_json after an evaluation. Returns 0, or -1 if memory runs out. */
static int report_quality(json_t *document)
{
    static const char beyond[] = "Quality beyond the one text that was evaluated: other texts, tasks and languages may "
                                 "have lost more or less than it.";
    if (!json_is_object(organ_json_at(document, "evaluation.comparison")))
        return 0;
    return json_array_set_new(json_object_get(document, "not_in_this_report"), 0, json_string(beyond));
}

int organ_prune_finish_report(void *job, json_t *document)
{
    (void)job;
    return report_quality(document) || add_errata(document) ? -1 : 0;
}

/* Returns 0, or -1 if memory runs out. */
static int add_method(json_t *document, const organ_prune_job *job)
{
    const bool figures = job->figures != NULL;
    uint64_t changed = 0;
    for (size_t k = 0; k < job->targets.count && figures; k++)
        changed += job->figures[k].compensated;
    return ORGAN_ADD_BEFORE_RUN(document,
                                SET_IF(figures, "calibration", with_fallback(job, document_calibration_json(job))),
                                SET_IF(figures, "imatrix", with_fallback(job, imatrix_json(job))),
                                SET_IF(job->allocation, "allocation", organ_prune_allocation_json(job->allocation)),
                                SET_IF(figures, "compensates", json_boolean(job->compensates)),
                                SET_IF(figures, "compensated", json_integer((json_int_t)changed)))
               ? 0
               : -1;
}

/* Returns the facts on which sentences of the document depend. */
static json_t *facts_json(const organ_prune_job *job)
{
    return ORGAN_OBJECT(SET_FLAG("named", job->options->targets), SET_FLAG("figures", job->figures),
                        SET_FLAG("tiles", job->method->tiles), SET_FLAG("pattern", job->pattern.of));
}

json_t *organ_prune_document(void *context, const organ_writing *made)
{
    const organ_prune_job *const job = context;
    json_t *document = ORGAN_OBJECT(SET("donor", organ_donor_json(job->donor, job->fingerprint)));
    json_t *const rest = ORGAN_OBJECT(
        SET("untouched", untouched_json(job)), SET("copied_files", files_json(&job->others, /*only_weights=*/false)),
        SET("other_weights", files_json(&job->others, /*only_weights=*/true)),
        SET("integrity", job->checks ? json_incref(job->checks) : json_array()),
        SET_SENTENCES("organ.prune/1", "definitions", facts_json(job)), SET("errata", json_array()),
        SET_SENTENCES("organ.prune/1", "not_in_this_report", facts_json(job)),
        SET("run", document_run_json(job, organ_write_output(made))));
    const bool counted = document && add_counts(document, job) == 0;
    document = organ_json_joined(document, rest);
    if (document && counted && add_method(document, job) == 0)
        return document;
    json_decref(document);
    return NULL;
}

/* ---- the written copy, compared with its donor before it is published ---- */

#define HEADER_STEP 16384 /* bytes of a header that are compared at once */

static bool same_bytes(const organ_model *a, const organ_model *b, size_t file, uint64_t bytes, organ_error *error)
{
    char x[HEADER_STEP], y[HEADER_STEP];
    for (uint64_t at = 0; at < bytes; at += HEADER_STEP) {
        const size_t step = bytes - at < HEADER_STEP ? (size_t)(bytes - at) : HEADER_STEP;
        if (organ_model_read(a, file, x, step, at, error) || organ_model_read(b, file, y, step, at, error) ||
            memcmp(x, y, step) != 0)
            return false;
    }
    return true;
}

/* A header is the name, the size and all bytes before the data. `single`: the copy is a single file, whose name may
 * differ. */
static size_t same_headers(const organ_model *donor, const organ_model *copy, bool single, organ_error *error)
{
    size_t same = 0;
    for (size_t f = 0; f < donor->file_count && f < copy->file_count; f++) {
        const organ_model_file *a = &donor->files[f], *b = &copy->files[f];
        same += (single || strcmp(a->name, b->name) == 0) && a->size == b->size && a->data_offset == b->data_offset &&
                same_bytes(donor, copy, f, a->data_offset, error);
    }
    return same;
}

static size_t same_tensors(const organ_model *donor, const organ_model *copy)
{
    size_t same = 0;
    for (size_t t = 0; t < donor->tensor_count; t++) {
        const organ_tensor *a = &donor->tensors[t], *b = organ_model_find(copy, a->name);
        same += b && a->dtype == b->dtype && ORGAN_SAME_SHAPE(a, b);
    }
    return same;
}

static void check_against(const organ_prune_job *job, const organ_model *copy, json_t *checks, organ_error *error)
{
    const organ_model *donor = job->donor;
    const bool single = organ_output_is_file(job->options->write.output);
    const size_t headers = same_headers(donor, copy, single, error), tensors = same_tensors(donor, copy);
    organ_check_add(checks, "shards present", copy->file_count == donor->file_count, "%zu of %zu", copy->file_count,
                    donor->file_count);
    organ_check_add(checks, "headers identical to the donor's", headers == donor->file_count, "%zu of %zu shards",
                    headers, donor->file_count);
    if (donor->index)
        organ_check_add(checks, "index valid: every tensor in its listed file",
                        copy->index != NULL && copy->problem_count == 0, "%zu entries in %s", copy->tensor_count,
                        donor->index);
    organ_check_add(checks, "dtype and shape preserved",
                    tensors == donor->tensor_count && copy->tensor_count == donor->tensor_count, "%zu of %zu tensors",
                    tensors, donor->tensor_count);
}

static void integrity_check_targets(const organ_prune_job *job, json_t *checks)
{
    size_t done = 0;
    uint64_t processed = 0;
    for (size_t k = 0; k < job->targets.count; k++) {
        const organ_prune_counts *c = &job->parts[k].counts;
        done += job->parts[k].done;
        processed += c->zero_before + c->killed + c->kept;
    }
    char a[32], b[32];
    organ_check_add(checks, "target tensors processed", done == job->targets.count, "%zu of %zu", done,
                    job->targets.count);
    organ_check_add(checks, "target weights processed", processed == job->targets.elements, "%s of %s",
                    organ_count_text(processed, a), organ_count_text(job->targets.elements, b));
    organ_check_add(checks, "other files copied", /*ok=*/true, "%zu", job->others.count);
}

static organ_status fail_unsound(const organ_prune_job *job, organ_error *error)
{
    size_t index;
    json_t *check;
    json_array_foreach(job->checks, index, check)
    {
        if (!json_is_true(json_object_get(check, "ok")))
            organ_fail(error, ORGAN_IO, "%s: a check of the written output failed: %s: %s", job->options->write.output,
                       json_string_value(json_object_get(check, "check")),
                       json_string_value(json_object_get(check, "detail")));
    }
    return error->status;
}

static organ_status compute_maps(organ_prune_job *job, const organ_model *copy, organ_error *error)
{
    ORGAN_OWNED_ROWS organ_tally *const rows = prune_tally(job);
    if (!rows)
        organ_fail_memory(error, job->donor->path);
    else if (organ_tile_map(job->donor, copy, rows, job->targets.count, job->options->block_size, job->engine,
                            &job->tile_map, error) == ORGAN_OK)
        organ_magnitudes_json(job->sizes, copy, job->engine->ranks, &job->magnitudes, error);
    return error->status;
}

organ_status organ_prune_check_copy(organ_prune_job *job, const char *path, organ_error *error)
{
    organ_model *copy = NULL;
    if (!(job->checks = json_array()))
        return organ_fail_memory(error, job->donor->path);
    if (organ_model_open(path, &copy, error))
        return error->status;
    check_against(job, copy, job->checks, error);
    integrity_check_targets(job, job->checks);
    if (!error->status && fail_unsound(job, error) == ORGAN_OK)
        compute_maps(job, copy, error);
    organ_model_close(copy);
    return error->status;
}
