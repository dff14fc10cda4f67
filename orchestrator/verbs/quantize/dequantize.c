/* SPDX-License-Identifier: MIT
 * organ dequantize: opens the model, plans the tensors of the output, and writes it with packed weights decoded. A
 * piece is a tensor of the output, and a part is a weight that is decoded. */
#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

#include "formats/base/results.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/layout.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/surgery/readers/readers.h"
#include "orchestrator/surgery/scoring/scoring.h"
#include "orchestrator/report/view/views.h"

#include <organ/base.h>
#include <stdlib.h>
#include <string.h>

typedef struct organ_dequantize_part {
    const organ_weight *weight;
    size_t piece;           /* index of its tensor in job->pieces */
    uint64_t bytes_before;  /* bytes of codes, scales and zero points in the input */
    uint64_t infinite, nan; /* number of infinite and of NaN values in the output */
    char note[256];         /* remark of the weight reader about the packing; "": none */
} organ_dequantize_part;

typedef struct organ_dequantize_job {
    const organ_dequantize_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights; /* all weights of the model, packed and plain */
    organ_dtype as;         /* type of the converted weights */
    organ_piece *pieces;    /* tensors of the output */
    size_t piece_count;
    organ_dequantize_part *parts; /* the weights that are converted */
    size_t part_count;
    const organ_tensor **kept; /* packed tensors that are copied unchanged because organ cannot decode their type */
    size_t kept_count;
    organ_gguf_writer *gguf; /* key-values of a GGUF output; NULL: safetensors */
    organ_writing *run;      /* the output; set when organ_write_run calls `fill` */
    organ_plan plan;         /* of a dry run */
} organ_dequantize_job;

#define DECODED 24.0 /* plan of a dry run: operations per value */

/* ---- the report of organ dequantize, and journal lines of converted weights ---- */

typedef struct dequantize_document_sums {
    uint64_t weights, elements, before, after, infinite, nan;
} dequantize_document_sums;

static uint64_t bytes_after(const organ_dequantize_job *job, const organ_dequantize_part *part)
{
    return job->pieces[part->piece].bytes;
}

static void dequantize_document_add_part(dequantize_document_sums *s, const organ_dequantize_job *job,
                                         const organ_dequantize_part *part)
{
    s->weights++;
    s->elements += part->weight->elements;
    s->before += part->bytes_before;
    s->after += bytes_after(job, part);
    s->infinite += part->infinite;
    s->nan += part->nan;
}

static json_t *dequantize_document_sums_json(const dequantize_document_sums *s)
{
    return ORGAN_OBJECT(SET_COUNT("weights", s->weights), SET_COUNT("elements", s->elements),
                        SET_COUNT("bytes_before", s->before), SET_COUNT("bytes_after", s->after),
                        SET_COUNT("infinite", s->infinite), SET_COUNT("nan", s->nan));
}

static const char *scheme_text(const organ_dequantize_part *part, char text[160])
{
    return organ_weight_text(part->weight, text, 160);
}

/* The rows are in the order of the first weight of each scheme. */
static json_t *dequantize_document_schemes_json(const organ_dequantize_job *job)
{
    json_t *const rows = json_array(), *const seen = json_object();
    char text[160], other[160];
    for (size_t k = 0; k < job->part_count; k++) {
        dequantize_document_sums s = {0};
        scheme_text(&job->parts[k], text);
        if (json_object_get(seen, text))
            continue;
        for (size_t j = k; j < job->part_count; j++)
            if (strcmp(scheme_text(&job->parts[j], other), text) == 0)
                dequantize_document_add_part(&s, job, &job->parts[j]);
        json_array_append_new(
            rows, organ_json_joined(ORGAN_OBJECT(SET_TEXT("scheme", text)), dequantize_document_sums_json(&s)));
        json_object_set_new(seen, text, json_true());
    }
    json_decref(seen);
    return rows;
}

static json_t *dequantize_document_part_json(const void *context, size_t k)
{
    char text[160];
    const organ_dequantize_job *const job = context;
    const organ_dequantize_part *const part = &job->parts[k];
    const organ_weight *const w = part->weight;
    return ORGAN_OBJECT(SET_TEXT("name", w->name), SET_TEXT("role", organ_anatomy_role_name(&w->anatomy)),
                        SET_TEXT("scheme", scheme_text(part, text)), SET("shape", organ_counts_json(w->rank, w->shape)),
                        SET_TEXT("packed_as", w->codes->name), SET_COUNT("bytes_before", part->bytes_before),
                        SET_COUNT("bytes_after", bytes_after(job, part)), SET_COUNT("infinite", part->infinite),
                        SET_COUNT("nan", part->nan), SET_BYTES_OF("note", *part->note ? part->note : NULL));
}

/* Rows 0 .. unmatched_count - 1 are the tensors that belong to no weight, the rows after them the tensors of
 * job->kept. */
static json_t *dequantize_document_unmatched_json(const void *context, size_t k)
{
    const organ_dequantize_job *const job = context;
    const size_t unmatched = job->weights->unmatched_count;
    const organ_unmatched_tensor kept = {.tensor = k < unmatched ? NULL : job->kept[k - unmatched],
                                         .why = "is of a type that cannot be read without its companions"};
    const organ_unmatched_tensor *const s = k < unmatched ? &job->weights->unmatched[k] : &kept;
    return ORGAN_OBJECT(SET_TEXT("tensor", s->tensor->name), SET_DTYPE("dtype", s->tensor->dtype),
                        SET_FLAG("dropped", s->dropped), SET_TEXT("why", s->why));
}

/* Members of a part that its journal line contains. */
static const organ_struct_field results_fields[] = {ORGAN_STRUCT_FIELD(organ_dequantize_part, infinite, U64),
                                                    ORGAN_STRUCT_FIELD(organ_dequantize_part, nan, U64),
                                                    ORGAN_STRUCT_FIELD(organ_dequantize_part, note, TEXT)};

static json_t *results_of(const organ_dequantize_part *part)
{
    return ORGAN_STRUCT_ADD(json_object(), results_fields, part);
}

/* Implements organ_write.recall: restores the figures of part number `part` from `results`, the object that
 * results_of returned. Returns false if `results` is malformed. */
static bool dequantize_recall(void *context, size_t at, const json_t *results)
{
    return ORGAN_STRUCT_READ(results, results_fields, &((organ_dequantize_job *)context)->parts[at]);
}

/* Implements organ_write.parameters: type of the converted weights and shard limit. */
static json_t *dequantize_parameters(void *context)
{
    const organ_dequantize_job *const job = context;
    return ORGAN_OBJECT(SET_DTYPE("dtype", job->as), SET_COUNT("max_shard_bytes", job->options->write.max_shard_size));
}

static const organ_weight *dequantised_weight(const void *job, size_t k)
{
    return ((const organ_dequantize_job *)job)->parts[k].weight;
}

/* Implements organ_write.document: the members of the report. NULL if memory cannot be allocated. */
static json_t *dequantize_document(void *context, const organ_writing *made)
{
    const organ_dequantize_job *const job = context;
    dequantize_document_sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        dequantize_document_add_part(&all, job, &job->parts[k]);
    json_t *const totals = dequantize_document_sums_json(&all);
    ORGAN_ADD(totals, SET_COUNT("total_size", organ_layout_total(organ_write_files(made))));
    return ORGAN_OBJECT(
        SET_TEXT("quant_method", job->weights->method), SET("totals", totals),
        SET("matrices", organ_matrices_among(job->weights, job->part_count, dequantised_weight, job)),
        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
        SET("schemes", dequantize_document_schemes_json(job)),
        SET("strays",
            organ_json_rows(job->weights->unmatched_count + job->kept_count, dequantize_document_unmatched_json, job)),
        SET("notes", organ_json_texts(job->weights->note_count, (const char *const *)job->weights->notes)),
        SET("files", organ_layout_files_json(organ_write_files(made))),
        SET("weights", organ_json_rows(job->part_count, dequantize_document_part_json, job)),
        SET_SENTENCES("organ.dequantize/1", "definitions", NULL));
}

/* ---- decoding packed weights ---- */

/* Decodes packed weights in strips of rows on all workers, and writes their values into the output. A part is a weight
 * that is decoded. */

/* Strips have a multiple of this many rows. 32 rows of 64 2-byte numbers are a page of 4096 bytes, so strips of most
 * matrices are whole pages of the file. */
#define ROWS        32
#define PART_VALUES ((size_t)1 << 17)

typedef struct not_finite {
    uint64_t infinite, nan;
} not_finite;

static size_t dequantize_pass_width_of(organ_dtype dtype) { return dtype == ORGAN_F32 ? 4 : 2; }

static void count_not_finite(organ_dtype dtype, const unsigned char *values, size_t bytes, not_finite *found)
{
    const uint32_t exponent = (uint32_t)organ_infinity_bits(dtype), size = (uint32_t)dequantize_pass_width_of(dtype);
    const uint32_t magnitude = size == 4 ? 0x7FFFFFFFu : 0x7FFFu; /* all bits but the sign */
    for (size_t k = 0; k < bytes; k += size) {
        uint32_t value = 0; /* little endian, as the files are */
        memcpy(&value, values + k, size);
        found->infinite += (value & magnitude) == exponent;
        found->nan += (value & magnitude) > exponent;
    }
}

static organ_status convert_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                  organ_error *error)
{
    const organ_dequantize_job *const job = context;
    const organ_dequantize_part *const part = strip->part;
    const size_t row = strip->cols * dequantize_pass_width_of(job->as), bytes = strip->rows * row;
    if (!strip->finite && organ_any_not_finite(job->as, strip->values, bytes))
        count_not_finite(job->as, strip->values, bytes, result);
    return organ_write_put(job->run, part->piece, strip->values, bytes, strip->first * row, scratch, error);
}

/* `rows` counts over all matrices of the part. */
static uint64_t dequantize_pass_share(const organ_dequantize_part *part, uint64_t rows)
{
    const organ_matrices m = organ_weight_matrices(part->weight);
    const double all = (double)m.count * (double)m.rows;
    return all > 0 ? (uint64_t)((double)part->bytes_before * ((double)rows / all)) : 0;
}

static organ_status dequantize_pass_retire_strip(void *context, const organ_weight_strip *strip, const void *result,
                                                 organ_error *error)
{
    organ_dequantize_job *const job = context;
    organ_dequantize_part *const part = strip->part;
    const not_finite *const found = result;
    if (strip->first == 0)
        strncpy(part->note, strip->note, sizeof part->note - 1);
    part->infinite += found->infinite;
    part->nan += found->nan;
    if (strip->last && organ_write_finish(job->run, part->piece, results_of(part), error))
        return error->status;
    organ_progress_advance(job->progress,
                           dequantize_pass_share(part, strip->first + strip->rows) -
                               dequantize_pass_share(part, strip->first),
                           strip->last ? part->weight->name : NULL, NULL);
    return ORGAN_OK;
}

static void estimate_pass(organ_dequantize_job *job, const organ_weight_pass *pass, organ_error *error)
{
    organ_plan_memory(&job->plan, organ_weight_pass_enough(pass, job->engine, error), 0);
    for (size_t k = 0; k < pass->item_count; k++)
        job->plan.products += DECODED * (double)pass->items[k].weight->elements;
}

/* Without an output (job->run), adds the pass to the plan of a dry run. */
static organ_status write_parts(organ_dequantize_job *job, organ_error *error)
{
    ORGAN_OWNED organ_weight_item *const items = calloc(job->part_count + 1, sizeof *items);
    size_t count = 0;
    if (!items)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (!job->run || !organ_write_done(job->run, job->parts[k].piece))
            items[count++] = (organ_weight_item){.weight = job->parts[k].weight, .part = &job->parts[k]};
    const organ_weight_pass pass = {.model = job->model,
                                    .items = items,
                                    .item_count = count,
                                    .as = job->as,
                                    .row_multiple = ROWS,
                                    .part_values = PART_VALUES,
                                    .overflow = job->run ? organ_write_overflow(job->run) : NULL,
                                    .scratch_bytes = ORGAN_PUT_SCRATCH,
                                    .result_bytes = sizeof(not_finite),
                                    .context = job,
                                    .work = convert_strip,
                                    .retire = dequantize_pass_retire_strip};
    if (count && !error->status && job->run)
        organ_weight_pass_run(&pass, job->engine, error);
    else if (count && !error->status)
        estimate_pass(job, &pass, error);
    return error->status;
}

/* ---- output of each tensor ---- */

static bool is_plain(const organ_weight *weight)
{
    const organ_dtype dtype = weight->codes->dtype;
    return weight->scheme == ORGAN_SCHEME_PLAIN && !weight->scale && !weight->global && !organ_dtype_is_fp8(dtype) &&
           (organ_dtype_describe(dtype)->elements == 1);
}

static bool dequantize_is_supported(const organ_weight *weight)
{
    return weight->scheme != ORGAN_SCHEME_PLAIN || organ_dtype_is_fp8(weight->codes->dtype) ||
           organ_can_widen(weight->codes->dtype);
}

static void keep_tensor(organ_dequantize_job *job, const organ_tensor *tensor)
{
    job->pieces[job->piece_count++] = organ_piece_same(tensor);
}

static void plan_weight(organ_dequantize_job *job, const organ_weight *weight)
{
    if (is_plain(weight)) {
        keep_tensor(job, weight->codes);
    } else if (!dequantize_is_supported(weight)) {
        job->kept[job->kept_count++] = weight->codes;
        keep_tensor(job, weight->codes);
    } else {
        const uint64_t before = organ_weight_bytes(weight);
        job->parts[job->part_count] =
            (organ_dequantize_part){.weight = weight, .piece = job->piece_count, .bytes_before = before};
        job->pieces[job->piece_count++] = (organ_piece){.name = weight->name,
                                                        .dtype = job->as,
                                                        .rank = weight->rank,
                                                        .shape = weight->shape,
                                                        .item = job->part_count++,
                                                        .cost = before};
    }
}

static organ_status dequantize_plan_pieces(organ_dequantize_job *job, organ_error *error)
{
    const size_t capacity = job->model->tensor_count + 1;
    job->pieces = organ_rows_take(capacity, sizeof *job->pieces);
    job->parts = organ_rows_take(capacity, sizeof *job->parts);
    job->kept = calloc(capacity, sizeof(organ_tensor *));
    if (!job->pieces || !job->parts || !job->kept)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->weights->count; k++) {
        plan_weight(job, &job->weights->weights[k]);
        organ_rows_passed();
    }
    for (size_t k = 0; k < job->weights->unmatched_count; k++)
        if (!job->weights->unmatched[k].dropped)
            keep_tensor(job, job->weights->unmatched[k].tensor);
    return ORGAN_OK;
}

/* ---- GGUF ---- */

/* A GGUF output has the model's key-values without quantize.*, but keeps what names its repair adapter;
 * general.file_type is that of the new type if a weight is converted. */
static organ_status dequantize_make_header(organ_dequantize_job *job, organ_error *error)
{
    const organ_gguf *const gguf = job->model->gguf;
    if (!gguf || organ_layout_metadata(gguf, &job->gguf, error))
        return error->status;
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (strncmp(gguf->kvs[k].key, "quantize.", strlen("quantize.")) == 0 &&
            strcmp(gguf->kvs[k].key, ORGAN_REPAIR_ADAPTER_KEY) != 0 &&
            strcmp(gguf->kvs[k].key, ORGAN_REPAIR_PAIR_KEY) != 0)
            organ_gguf_writer_remove(job->gguf, gguf->kvs[k].key);
    if (job->part_count)
        organ_gguf_writer_set_integer(job->gguf, "general.file_type", ORGAN_GGUF_U32, organ_encoding_file_type(job->as),
                                      error);
    return error->status;
}

/* ---- the run ---- */

static organ_status open_packed(organ_dequantize_job *job, organ_error *error)
{
    if (organ_model_open(job->options->model, &job->model, error) ||
        organ_model_is_here(job->model, "dequantised", error))
        return error->status;
    if (organ_weights_find(job->model, &job->weights, error) || dequantize_plan_pieces(job, error))
        return error->status;
    return dequantize_make_header(job, error);
}

/* The notes of organ_weights_find are printed too, so that users need not search the report for them. */
static void dequantize_note_before(const organ_dequantize_job *job)
{
    const organ_weights *const w = job->weights;
    size_t dropped = 0;
    organ_progress_warn_of_model(job->progress, job->model);
    if (job->part_count == 0)
        organ_progress_note(job->progress, "%s has no packed tensor: it is already plain and is only rewritten",
                            job->options->model);
    for (size_t k = 0; k < w->note_count; k++)
        organ_progress_note(job->progress, "%s", w->notes[k]);
    for (size_t k = 0; k < w->unmatched_count; k++) {
        dropped += w->unmatched[k].dropped;
        if (!w->unmatched[k].dropped)
            organ_progress_warn(job->progress, "%s is copied unchanged: it %s", w->unmatched[k].tensor->name,
                                w->unmatched[k].why);
    }
    for (size_t k = 0; k < job->kept_count; k++)
        organ_progress_warn(job->progress,
                            "%s is copied unchanged: it is %s, a type that cannot be read without its companions",
                            job->kept[k]->name, organ_dtype_describe(job->kept[k]->dtype)->name);
    if (dropped)
        organ_progress_note(job->progress,
                            "%zu tensor%s of activations, caches or rotations removed; the report names %s", dropped,
                            dropped == 1 ? "" : "s", dropped == 1 ? "it" : "them");
}

static void note_after(const organ_dequantize_job *job)
{
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_dequantize_part *const part = &job->parts[k];
        if (*part->note)
            organ_progress_note(job->progress, "%s: %s", part->weight->name, part->note);
        if (part->infinite || part->nan)
            organ_progress_warn(job->progress, "%s: %llu values are infinite and %llu NaN as %s", part->weight->name,
                                (unsigned long long)part->infinite, (unsigned long long)part->nan,
                                organ_dtype_describe(job->as)->name);
    }
}

static organ_status make_plain(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_dequantize_job *const job = context;
    if (organ_config_make_plain(config, job->as, job->part_count > 0, error) != ORGAN_OK)
        return error->status;
    return organ_readers_add_names(config, error);
}

static organ_status dequantize_all(void *context, organ_writing *run, organ_error *error)
{
    organ_dequantize_job *const job = context;
    job->run = run;
    return write_parts(job, error);
}

/* Tries the first and last layer of the output. An output of one safetensors file has no config.json, so it cannot
 * be opened as a model that the forward pass reads. */
static organ_status dequantize_check(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_dequantize_job *const job = context;
    bool infinite = false;
    for (size_t k = 0; k < job->part_count; k++)
        infinite = infinite || job->parts[k].infinite;
    const double usual = job->as == ORGAN_F32 ? ORGAN_TRIAL_ERROR_32 : ORGAN_TRIAL_ERROR_16;
    const organ_trial trial = {.model = job->model,
                               .path = path,
                               .engine = job->engine,
                               .progress = job->progress,
                               .tolerance = job->options->write.saturate ? (double)INFINITY : usual,
                               .infinite = infinite};
    (void)to;
    if (!job->gguf && organ_output_is_file(job->options->write.output))
        return ORGAN_OK;
    if (job->gguf && organ_trial_tokenizer(path, job->model->gguf, error))
        return error->status;
    return organ_trial_run(&trial, error);
}

static void close_dequantize(organ_dequantize_job *job)
{
    organ_gguf_writer_destroy(job->gguf);
    organ_rows_free(job->pieces);
    organ_rows_free(job->parts);
    free(job->kept);
    organ_weights_free(job->weights);
    organ_model_close(job->model);
}

/* `left_out` names the files that describe a quantisation and are not copied. */
static organ_status dequantize_model(organ_dequantize_job *job, json_t **report, organ_error *error)
{
    const organ_dequantize_options *const o = job->options;
    if (organ_dtype_requested(o->dtype, &job->as, error) || open_packed(job, error))
        return error->status;
    if (o->write.dry_run && write_parts(job, error))
        return error->status;
    const organ_write made = {
        .model = job->model,
        .requested = &o->write,
        .report.plan = &job->plan,
        ORGAN_WRITE_BY(job),
        ORGAN_WRITE_PIECES(job),
        .names = {"dequantize/1", &organ_dequantize_view, "dequantizing", "model", NULL},
        .pieces.gguf = job->gguf,
        .left_out = organ_packed_files,
        .report.made_as = job->as == ORGAN_F32 ? ORGAN_TYPES_32 : ORGAN_TYPES_16,
        .pieces.repacked = job->part_count > 0,
        .make = {.edit = make_plain, .fill = dequantize_all, .recall = dequantize_recall, .check = dequantize_check},
        .check.parameters = dequantize_parameters,
        .report.document = dequantize_document};
    dequantize_note_before(job);
    organ_write_run(&made, report, error);
    if (*report)
        note_after(job);
    return error->status;
}

static organ_status dequantize_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                    json_t **report, organ_error *error)
{
    const organ_dequantize_options *const options = given;
    organ_dequantize_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    dequantize_model(&job, report, error);
    close_dequantize(&job);
    return organ_report_end_partial(&work, options->model, error);
}

organ_status organ_dequantize(const organ_dequantize_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_dequantize_options, options, report, error, "model", options->model, "dtype",
                         options->dtype, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(dequantize_verb, options, options->write.dry_run, engine, progress, report, error);
}
