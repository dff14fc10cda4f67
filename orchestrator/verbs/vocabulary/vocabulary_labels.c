/* SPDX-License-Identifier: MIT
 * Writes a classifier or reranker: the model with a head of the labels' rows in place of its head. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/vocabulary/label_head.h"

#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_BYTES = 1 << 20 }; /* of the longest template */

typedef struct label_job {
    vocabulary_job *of; /* model, tokenizer, weights, tables */
    const organ_engine *engine;
    const organ_progress *progress;
    char *texts; /* copy of options->labels, in which commas are NUL */
    organ_label *labels;
    size_t count;
    char *template;
    organ_label_head head;
    organ_piece *pieces;
    size_t piece_count;
    organ_gguf_writer *gguf;
    json_t *settings; /* changed settings */
} label_job;

/* ---- labels ---- */

static organ_status take_label(label_job *job, const char *text, organ_error *error)
{
    const organ_tokenizer *const t = job->of->tokenizer;
    uint32_t id;
    size_t count;
    if (!organ_utf8_valid(text))
        return organ_fail(error, ORGAN_USAGE, "`labels`: label %zu is no text in UTF-8", job->count);
    if (organ_label_token(t, text, &id, &count, error))
        return error->status;
    if (count != 1)
        return organ_fail(error, ORGAN_BAD_INPUT, "`labels`: '%s' has %zu tokens: a label is exactly one token", text,
                          count);
    if (id == organ_tokenizer_unknown(t))
        return organ_fail(error, ORGAN_BAD_INPUT, "`labels`: '%s' is no token of %s", text, job->of->options->model);
    for (size_t k = 0; k < job->count; k++)
        if (job->labels[k].id == id)
            return organ_fail(error, ORGAN_USAGE, "`labels`: '%s' is the token of the label '%s' too", text,
                              job->labels[k].text);
    job->labels[job->count++] = (organ_label){text, id};
    return ORGAN_OK;
}

static organ_status read_labels(label_job *job, organ_error *error)
{
    char *next = NULL;
    job->texts = organ_format("%s", job->of->options->labels);
    job->labels = calloc(ORGAN_LABELS_MOST, sizeof *job->labels);
    if (!job->texts || !job->labels)
        return organ_fail_memory(error, "labels");
    for (char *text = job->texts; text && !error->status; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = 0;
        if (!*text)
            return organ_fail(error, ORGAN_USAGE, "`labels`: '%s' has an empty label", job->of->options->labels);
        if (job->count == ORGAN_LABELS_MOST)
            return organ_fail(error, ORGAN_USAGE, "`labels`: there are more than %d", ORGAN_LABELS_MOST);
        take_label(job, text, error);
    }
    return !error->status && job->count < 2
               ? organ_fail(error, ORGAN_USAGE, "`labels`: '%s' is one label: a score needs two or more",
                            job->of->options->labels)
               : error->status;
}

static organ_status read_template(label_job *job, organ_error *error)
{
    const char *const path = job->of->options->rerank_template;
    size_t length = 0;
    if (!path)
        return ORGAN_OK;
    if (!job->of->model->gguf)
        return organ_fail(error, ORGAN_USAGE, "`rerank_template` is a text that llama.cpp reads in GGUF: %s is no GGUF",
                          job->of->options->model);
    if (organ_input_load(path, path, TEMPLATE_BYTES, &job->template, &length, error))
        return error->status;
    if (strlen(job->template) != length || !organ_utf8_valid_within(job->template, length) ||
        !strstr(job->template, "{query}") || !strstr(job->template, "{document}"))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is no text in UTF-8 with {query} and {document}", path);
    return ORGAN_OK;
}

/* ---- the output ---- */

static organ_status plan_pieces(label_job *job, organ_error *error)
{
    const organ_model *const model = job->of->model;
    const organ_label_head *const head = &job->head;
    if (!(job->pieces = calloc(model->tensor_count + 2, sizeof *job->pieces)))
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (&model->tensors[t] != head->removed) {
            job->pieces[job->piece_count] = organ_piece_same(&model->tensors[t]);
            job->pieces[job->piece_count++].item = t;
        }
    const organ_tensor *const rows = head->rows->codes;
    job->pieces[job->piece_count++] = (organ_piece){.name = head->name,
                                                    .dtype = rows->dtype,
                                                    .rank = 2,
                                                    .shape = head->shape,
                                                    .item = model->tensor_count,
                                                    .cost = rows->bytes / rows->shape[0] * head->count};
    return ORGAN_OK;
}

static organ_status make_keys(label_job *job, organ_error *error)
{
    if (organ_layout_metadata(job->of->model->gguf, &job->gguf, error) ||
        organ_label_head_edit_keys(&job->head, job->gguf, job->settings, error))
        return error->status;
    return job->template ? organ_label_head_template(job->template, job->gguf, job->settings, error) : ORGAN_OK;
}

static organ_status edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    const label_job *const job = context;
    return organ_label_head_edit(&job->head, config, job->settings, error);
}

static organ_status fill(void *context, organ_writing *writing, organ_error *error)
{
    label_job *const job = context;
    const organ_tensor *const rows = job->head.rows->codes;
    const size_t piece = job->piece_count - 1, width = (size_t)(rows->bytes / rows->shape[0]);
    if (organ_write_done(writing, piece))
        return ORGAN_OK;
    ORGAN_OWNED unsigned char *const buffer = aligned_alloc(4096, (width + ORGAN_PUT_SCRATCH + 4095) / 4096 * 4096);
    if (!buffer)
        return organ_fail_memory(error, job->of->model->path);
    for (size_t k = 0; k < job->count && !error->status; k++)
        if (organ_model_read(job->of->model, rows->file, buffer, width, rows->offset + job->labels[k].id * width,
                             error) == ORGAN_OK)
            organ_write_put(writing, piece, buffer, width, k * width, buffer + width, error);
    if (error->status || organ_write_finish(writing, piece, json_object(), error))
        return error->status;
    organ_progress_advance(job->progress, width * job->count, job->head.name, NULL);
    return ORGAN_OK;
}

/* ---- the report ---- */

static json_t *text_row(const void *context, size_t k)
{
    return json_string(((const label_job *)context)->labels[k].text);
}

static json_t *parameters(void *context)
{
    const label_job *const job = context;
    const char *const template = job->of->options->rerank_template;
    return ORGAN_OBJECT(SET("labels", organ_json_rows(job->count, text_row, job)),
                        SET_BYTES_OF("rerank_template", template ? organ_path_name(template) : NULL));
}

static organ_status inputs(void *context, organ_run_inputs *list, organ_error *error)
{
    const char *const template = ((const label_job *)context)->of->options->rerank_template;
    if (template)
        organ_run_inputs_add(list, "rerank_template", template, error);
    return error->status;
}

static json_t *label_row(const void *context, size_t k)
{
    const label_job *const job = context;
    const organ_label *const label = &job->labels[k];
    size_t bytes;
    const char *const token = organ_vocabulary_text(job->of->tokenizer, label->id, &bytes);
    ORGAN_OWNED char *const text = organ_format("%.*s", (int)bytes, token ? token : "");
    return ORGAN_OBJECT(SET_COUNT("row", k), SET_TEXT("label", label->text), SET_COUNT("id", label->id),
                        SET_BYTES("token", text ? text : ""));
}

static json_t *document(void *context, const organ_writing *writing)
{
    (void)writing;
    const label_job *const job = context;
    const organ_label_head *const head = &job->head;
    const bool gguf = job->of->model->gguf != NULL;
    char stored[128];
    return ORGAN_OBJECT(
        SET("labels", organ_json_rows(job->count, label_row, job)),
        SET("head", ORGAN_OBJECT(SET_TEXT("name", head->name), SET_BYTES("rows_of", head->rows->name),
                                 SET_TEXT("stored", organ_weight_text(head->rows, stored, sizeof stored)),
                                 SET_COUNT("bytes", job->pieces[job->piece_count - 1].cost),
                                 SET_BYTES_OF("removed", head->removed ? head->removed->name : NULL))),
        SET_TEXT("architecture", head->architecture),
        SET("pad", gguf ? json_null() : ORGAN_OBJECT(SET_COUNT("id", head->pad), SET_TEXT("from", head->pad_from))),
        SET_FLAG("gguf", gguf), SET_HELD("settings", job->settings),
        SET_SENTENCES("organ.labels/1", "definitions", ORGAN_OBJECT(SET_FLAG("gguf", gguf))));
}

static organ_status check_output(const label_job *job, organ_error *error)
{
    const char *const output = job->of->options->write.output;
    if (organ_model_is_here(job->of->model, "a classifier", error))
        return error->status;
    if (!job->of->model->gguf && output && organ_output_is_file(output))
        return organ_fail(error, ORGAN_USAGE, "%s: the classifier needs its own config.json: name a directory", output);
    return ORGAN_OK;
}

static organ_status prepare(label_job *job, organ_error *error)
{
    const vocabulary_job *const of = job->of;
    if (!(job->settings = json_array()))
        return organ_fail_memory(error, of->model->path);
    if (check_output(job, error) || read_labels(job, error) || read_template(job, error) ||
        organ_label_head_find(of->model, of->weights, &of->tables, of->tokenizer, job->labels, job->count, &job->head,
                              error) ||
        plan_pieces(job, error))
        return error->status;
    return of->model->gguf ? make_keys(job, error) : ORGAN_OK;
}

static void release(label_job *job)
{
    organ_gguf_writer_destroy(job->gguf);
    json_decref(job->settings);
    ORGAN_FREE_ARRAYS(job->texts, job->labels, job->template, job->pieces);
}

organ_status organ_vocabulary_label(vocabulary_job *of, json_t **report, organ_error *error)
{
    label_job job = {.of = of, .engine = of->engine, .progress = of->progress};
    const organ_plan plan = {0};
    const organ_write made = {.model = of->model,
                              .requested = &of->options->write,
                              ORGAN_WRITE_BY(&job),
                              .names = {"labels/1", &organ_labels_view, "copying", "model", NULL},
                              .check = {.parameters = parameters, .inputs = inputs},
                              .make = {.edit = edit_config, .fill = fill},
                              .report = {.document = document, .plan = &plan, .made_as = ORGAN_TYPES_STAY}};
    if (prepare(&job, error) == ORGAN_OK) {
        organ_write run = made;
        run.pieces.list = job.pieces;
        run.pieces.count = job.piece_count;
        run.pieces.gguf = job.gguf;
        organ_write_run(&run, report, error);
    }
    release(&job);
    return error->status;
}
