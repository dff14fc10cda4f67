/* SPDX-License-Identifier: MIT
 * Chooses the tokens that a smaller head of a draft has, and writes the draft with these rows, or the list of tokens
 * for a model that drafts by a block of its own. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/surgery/vocabulary/draft_head.h"
#include "orchestrator/verbs/vocabulary/token_map.h"

#include <stdlib.h>

/* A candidate row and the keys it is sorted by. */
typedef struct draft_token {
    uint64_t uses;
    uint32_t id, row; /* of the target, and of the head before */
    bool ends, none;  /* the token ends texts; the id has no token */
} draft_token;

typedef struct draft_job {
    vocabulary_job *of; /* model, tokenizer of the target, texts and their counts */
    const organ_engine *engine;
    const organ_progress *progress;
    bool eagle3;
    organ_draft_head head; /* of an EAGLE-3 draft */
    draft_token *tokens;   /* of the head before; then the chosen ones, ascending */
    size_t token_count, count;
    uint32_t *ids;       /* chosen */
    bool *chosen;        /* by id of the target */
    uint64_t used;       /* chosen tokens that the texts have */
    uint64_t covered[2]; /* tokens of the texts together, and of the second text, that are chosen */
    uint64_t *text_covered;
    int64_t *d2t;
    unsigned char *t2d;
    uint64_t shapes[3][2]; /* head, d2t, t2d */
    organ_piece *pieces;
    size_t piece_count;
    organ_gguf_writer *gguf;
    json_t *settings;
} draft_job;

/* ---- which tokens ---- */

static int by_worth(const void *one, const void *other)
{
    const draft_token *const a = one, *const b = other;
    if (a->ends != b->ends)
        return a->ends ? -1 : 1;
    if (a->uses != b->uses)
        return a->uses > b->uses ? -1 : 1;
    if (a->none != b->none)
        return a->none ? 1 : -1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static int by_id(const void *one, const void *other)
{
    const draft_token *const a = one, *const b = other;
    return a->id < b->id ? -1 : a->id > b->id;
}

static organ_status list_tokens(draft_job *job, organ_error *error)
{
    const vocabulary_job *const of = job->of;
    const uint64_t rows = job->eagle3 ? job->head.rows : of->groups.count;
    organ_stop_ids stops;
    if (organ_stop_ids_read(of->target ? of->target : of->model, of->tokenizer, &stops, error))
        return error->status;
    if (!(job->tokens = calloc(rows + 1, sizeof *job->tokens)))
        return organ_fail_memory(error, of->model->path);
    for (uint64_t row = 0; row < rows; row++) {
        const uint32_t id = job->eagle3 ? job->head.ids[row] : (uint32_t)row;
        draft_token *const t = &job->tokens[job->token_count++];
        const bool has = id < of->groups.count;
        *t = (draft_token){.uses = has ? of->uses[id] : 0, .id = id, .row = (uint32_t)row};
        t->none = !has || of->groups.kinds[id] == ORGAN_TOKEN_NONE;
        for (unsigned k = 0; k < stops.count; k++)
            t->ends |= stops.ids[k] == (int64_t)id;
    }
    return ORGAN_OK;
}

static organ_status choose(draft_job *job, organ_error *error)
{
    const vocabulary_job *const of = job->of;
    const unsigned wanted = of->options->draft_head;
    if (list_tokens(job, error))
        return error->status;
    if (wanted >= job->token_count)
        return organ_fail(error, ORGAN_USAGE, "`draft_head` %u: %s has %zu rows: choose fewer", wanted,
                          of->options->model, job->token_count);
    job->count = wanted;
    job->ids = calloc(job->count + 1, sizeof *job->ids);
    job->chosen = calloc((size_t)of->groups.count + 1, sizeof *job->chosen);
    if (!job->ids || !job->chosen)
        return organ_fail_memory(error, of->model->path);
    qsort(job->tokens, job->token_count, sizeof *job->tokens, by_worth);
    qsort(job->tokens, job->count, sizeof *job->tokens, by_id);
    for (size_t k = 0; k < job->count; k++) {
        const draft_token *const t = &job->tokens[k];
        job->ids[k] = t->id;
        job->used += t->uses > 0;
        if (t->id < of->groups.count)
            job->chosen[t->id] = true;
    }
    return ORGAN_OK;
}

static organ_status cover(const draft_job *job, vocabulary_text *text, uint64_t *covered, organ_error *error)
{
    ORGAN_OWNED uint32_t *ids = NULL;
    if (organ_vocabulary_read(job->of, job->of->tokenizer, text, &ids, error))
        return error->status;
    *covered = 0;
    for (size_t k = 0; k < text->tokens; k++)
        *covered += job->chosen[ids[k]];
    return ORGAN_OK;
}

static organ_status cover_texts(draft_job *job, organ_error *error)
{
    vocabulary_job *const of = job->of;
    if (!(job->text_covered = calloc(of->options->text_count + 1, sizeof *job->text_covered)))
        return organ_fail_memory(error, of->model->path);
    for (size_t k = 0; k < of->options->text_count && !error->status; k++) {
        cover(job, &of->texts[k], &job->text_covered[k], error);
        job->covered[0] += job->text_covered[k];
    }
    of->evaluated.path = of->options->evaluate;
    return error->status || !of->evaluated.path ? error->status : cover(job, &of->evaluated, &job->covered[1], error);
}

/* ---- the model ---- */

static organ_status check_block(const organ_model *model, organ_error *error)
{
    const int32_t trunk = organ_mtp_trunk_layers(model);
    bool block = false;
    for (size_t t = 0; t < model->tensor_count && !block; t++)
        block = organ_mtp_block_of(model->tensors[t].name, &model->tensors[t].anatomy, trunk) >= 0;
    if (!block)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: is no EAGLE-3 draft, and has no block for multi-token prediction", model->path);
    return model->gguf
               ? organ_fail(error, ORGAN_BAD_INPUT,
                            "%s: llama.cpp loads no smaller head for a block for multi-token prediction", model->path)
               : ORGAN_OK;
}

static bool ends_in_pt(const char *path) { return organ_ends_with(path, ".pt"); }

static organ_status check_output(const draft_job *job, organ_error *error)
{
    const organ_write_options *const w = &job->of->options->write;
    if (organ_model_is_here(job->of->model, "a draft head", error))
        return error->status;
    if (!job->eagle3 && w->output && !ends_in_pt(w->output))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: SGLang reads the tokens for a block from a file of torch: name it .pt", w->output);
    if (!job->eagle3 && w->resume)
        return organ_fail(error, ORGAN_USAGE, "`resume`: a list of tokens is written at once: start the run anew");
    if (!job->eagle3)
        return organ_output_check(w->output, NULL, w->force, error);
    if (!job->of->model->gguf && w->output && organ_output_is_file(w->output))
        return organ_fail(error, ORGAN_USAGE, "%s: the draft needs its own config.json: name a directory", w->output);
    return ORGAN_OK;
}

enum { MOST_PADDING = 65536 }; /* rows of a target without a token */

static organ_status count_rows(const organ_model *target, uint64_t *rows, organ_error *error)
{
    organ_weights *weights = NULL;
    ORGAN_RELEASED_BY(organ_token_tables_release) organ_token_tables tables = {0};
    if (organ_weights_find(target, &weights, error) == ORGAN_OK &&
        organ_token_tables_find(target, weights, &tables, error) == ORGAN_OK)
        *rows = tables.rows;
    organ_weights_free(weights);
    return error->status;
}

/* If no tensor of the draft has as many values as the target has ids, config.json must state their number rightly. */
static organ_status check_stated(const draft_job *job, organ_error *error)
{
    const vocabulary_job *const of = job->of;
    const unsigned long long stated = job->head.vocabulary;
    uint64_t rows = 0;
    if (!job->head.stated || (of->target && count_rows(of->target, &rows, error)))
        return error->status;
    if (of->target && stated != rows)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: config.json states %llu tokens (vocab_size), but %s has %llu rows", of->model->path,
                          stated, of->options->target, (unsigned long long)rows);
    if (stated > (uint64_t)of->groups.count + MOST_PADDING)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: config.json states %llu tokens (vocab_size), but the tokenizer has %u", of->model->path,
                          stated, of->groups.count);
    return ORGAN_OK;
}

static organ_status check_target(const draft_job *job, organ_error *error)
{
    const vocabulary_job *const of = job->of;
    if (!job->eagle3 && of->target)
        return organ_fail(error, ORGAN_USAGE, "`target`: %s drafts by a block of its own", of->options->model);
    if (job->eagle3 && of->groups.count > job->head.vocabulary)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: the tokenizer has %u tokens, but the draft is for a target with %llu",
                          of->options->target ? of->options->target : of->options->model, of->groups.count,
                          (unsigned long long)job->head.vocabulary);
    return job->eagle3 ? check_stated(job, error) : ORGAN_OK;
}

static organ_status read_head(draft_job *job, organ_error *error)
{
    const uint64_t bytes = organ_draft_head_memory(&job->head) + job->head.rows * sizeof *job->tokens;
    return organ_memory_claim(job->engine, bytes, error, "the lists of the draft's rows")
               ? error->status
               : organ_draft_head_read(job->of->model, &job->head, error);
}

/* ---- the output of an EAGLE-3 draft ---- */

enum { PIECE_HEAD = 1, PIECE_D2T, PIECE_T2D }; /* organ_piece.item of a made piece, above the tensors */

static void add_piece(draft_job *job, const char *name, organ_dtype dtype, unsigned rank, unsigned which, uint64_t cost)
{
    job->pieces[job->piece_count++] = (organ_piece){.name = name,
                                                    .dtype = dtype,
                                                    .rank = rank,
                                                    .shape = job->shapes[which - PIECE_HEAD],
                                                    .item = job->of->model->tensor_count + which,
                                                    .cost = cost};
}

static organ_status plan_pieces(draft_job *job, organ_error *error)
{
    const organ_model *const model = job->of->model;
    const organ_draft_head *const h = &job->head;
    job->pieces = calloc(model->tensor_count + 4, sizeof *job->pieces);
    job->d2t = organ_draft_d2t(h, job->ids, job->count);
    job->t2d = organ_draft_t2d(h, job->ids, job->count);
    if (!job->pieces || !job->d2t || !job->t2d)
        return organ_fail_memory(error, model->path);
    job->shapes[0][0] = job->shapes[1][0] = job->count;
    job->shapes[0][1] = h->head->shape[1];
    job->shapes[2][0] = h->vocabulary;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        if (tensor == h->d2t || tensor == h->t2d)
            continue;
        if (tensor == h->head) {
            add_piece(job, tensor->name, tensor->dtype, 2, PIECE_HEAD, tensor->bytes / h->rows * job->count);
            continue;
        }
        job->pieces[job->piece_count] = organ_piece_same(tensor);
        job->pieces[job->piece_count++].item = t;
    }
    add_piece(job, "d2t", ORGAN_I64, 1, PIECE_D2T, job->count * sizeof *job->d2t);
    if (!h->gguf)
        add_piece(job, "t2d", ORGAN_BOOL, 1, PIECE_T2D, h->vocabulary);
    return ORGAN_OK;
}

static organ_status edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    draft_job *const job = context;
    const organ_token_settings settings = {.draft_rows = job->count, .changes = job->settings};
    return organ_token_settings_edit_draft(&settings, config, error);
}

static organ_status put_rows(draft_job *job, organ_writing *writing, size_t piece, organ_error *error)
{
    const organ_tensor *const rows = job->head.head;
    const size_t width = (size_t)(rows->bytes / rows->shape[0]);
    ORGAN_OWNED unsigned char *const buffer = aligned_alloc(4096, (width + ORGAN_PUT_SCRATCH + 4095) / 4096 * 4096);
    if (!buffer)
        return organ_fail_memory(error, job->of->model->path);
    for (size_t k = 0; k < job->count && !error->status; k++) {
        if (organ_stop_is_requested(job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (organ_model_read(job->of->model, rows->file, buffer, width, rows->offset + job->tokens[k].row * width,
                             error) == ORGAN_OK)
            organ_write_put(writing, piece, buffer, width, k * width, buffer + width, error);
    }
    return error->status;
}

static organ_status put_list(draft_job *job, organ_writing *writing, size_t piece, const void *list, size_t bytes,
                             organ_error *error)
{
    ORGAN_OWNED unsigned char *const scratch = malloc(ORGAN_PUT_SCRATCH);
    return scratch ? organ_write_put(writing, piece, list, bytes, 0, scratch, error)
                   : organ_fail_memory(error, job->of->model->path);
}

static organ_status fill(void *context, organ_writing *writing, organ_error *error)
{
    draft_job *const job = context;
    for (size_t p = 0; p < job->piece_count && !error->status; p++) {
        const organ_piece *const piece = &job->pieces[p];
        if (piece->same || organ_write_done(writing, p))
            continue;
        if (piece->shape == job->shapes[0])
            put_rows(job, writing, p, error);
        else
            put_list(job, writing, p, piece->shape == job->shapes[1] ? (const void *)job->d2t : job->t2d,
                     (size_t)piece->cost, error);
        if (!error->status && organ_write_finish(writing, p, json_object(), error) == ORGAN_OK)
            organ_progress_advance(job->progress, piece->cost, piece->name, NULL);
    }
    return error->status;
}

/* ---- the report ---- */

static json_t *parameters(void *context)
{
    const organ_vocabulary_options *const o = ((const draft_job *)context)->of->options;
    return ORGAN_OBJECT(SET_COUNT("draft_head", o->draft_head),
                        SET_BYTES_OF("target", o->target ? organ_path_name(o->target) : NULL));
}

static organ_status inputs(void *context, organ_run_inputs *list, organ_error *error)
{
    const vocabulary_job *const of = ((const draft_job *)context)->of;
    const organ_vocabulary_options *const o = of->options;
    if (of->target)
        organ_run_inputs_add_model(list, "target", of->target, error);
    for (size_t k = 0; k < o->text_count && !error->status; k++)
        organ_run_inputs_add(list, "text", o->texts[k], error);
    if (!error->status && o->evaluate)
        organ_run_inputs_add(list, "evaluate", o->evaluate, error);
    return error->status;
}

/* A run continues only if it keeps the same rows. */
static json_t *depends(void *context)
{
    const draft_job *const job = context;
    return ORGAN_OBJECT(SET("kept", organ_vocabulary_list_digest(job->of->tokenizer, job->ids, job->count)));
}

static json_t *coverage_json(const vocabulary_text *text, uint64_t covered)
{
    return ORGAN_OBJECT(SET_BYTES("name", organ_path_name(text->path)), SET_COUNT("bytes", text->bytes),
                        SET_TEXT("xxh3", text->bytes_digest), SET_COUNT("tokens", text->tokens),
                        SET_COUNT("distinct", text->distinct), SET_COUNT("covered", covered),
                        SET_REAL("percent", organ_percent(covered, text->tokens)));
}

static json_t *text_row(const void *context, size_t k)
{
    const draft_job *const job = context;
    return coverage_json(&job->of->texts[k], job->text_covered[k]);
}

static json_t *members(const draft_job *job)
{
    const vocabulary_job *const of = job->of;
    const organ_tensor *const head = job->head.head;
    return ORGAN_OBJECT(
        SET_TEXT("kind", job->eagle3 ? "EAGLE-3" : "MTP"), SET_COUNT("rows_before", job->token_count),
        SET_COUNT("rows", job->count), SET_COUNT("used", job->used),
        SET("head", head ? ORGAN_OBJECT(SET_BYTES("name", head->name), SET_COUNT("bytes_before", head->bytes),
                                        SET_COUNT("bytes", head->bytes / job->head.rows * job->count))
                         : json_null()),
        SET("texts", organ_json_rows(of->options->text_count, text_row, job)),
        SET("evaluated", of->evaluated.path ? coverage_json(&of->evaluated, job->covered[1]) : json_null()),
        SET_HELD("settings", job->settings), SET("kept", organ_ids_json(job->ids, job->count)),
        SET_SENTENCES("organ.draft_head/1", "definitions", ORGAN_OBJECT(SET_FLAG("eagle3", job->eagle3))));
}

static json_t *document(void *context, const organ_writing *writing)
{
    (void)writing;
    return members(context);
}

/* The report of a list for a block, which is no model. */
static json_t *map_document(draft_job *job)
{
    const vocabulary_job *const of = job->of;
    const organ_write_options *const w = &of->options->write;
    json_t *const head = ORGAN_OBJECT(SET_HEAD("organ.draft_head/1", "draft_head/1"), SET_FLAG("dry_run", w->dry_run),
                                      SET("model", organ_model_json(of->model)), SET("parameters", parameters(job)));
    json_t *const run = ORGAN_OBJECT(
        SET("run", ORGAN_OBJECT(SET_BYTES("model", of->options->model), SET_BYTES_OF("output", w->output),
                                SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - of->started)),
                                SET_ENGINE(job->engine))));
    return organ_json_joined(organ_json_joined(head, members(job)), run);
}

/* ---- the run ---- */

static organ_status prepare(draft_job *job, organ_error *error)
{
    const organ_model *const model = job->of->model;
    job->eagle3 = organ_draft_is_eagle3(model);
    job->settings = json_array();
    if (!job->settings)
        return organ_fail_memory(error, model->path);
    if ((job->eagle3 ? organ_draft_head_find(model, &job->head, error) : check_block(model, error)) ||
        check_target(job, error) || check_output(job, error) || (job->eagle3 && read_head(job, error)) ||
        organ_vocabulary_count_texts(job->of, error) || choose(job, error) || cover_texts(job, error))
        return error->status;
    if (!job->eagle3)
        return ORGAN_OK;
    return plan_pieces(job, error) || !model->gguf ? error->status
                                                   : organ_layout_metadata(model->gguf, &job->gguf, error);
}

static organ_status put_map(const draft_job *job, organ_output *output, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_publish_path(&output->publish, organ_output_name(output));
    if (!path)
        return organ_fail_memory(error, output->path);
    return organ_token_map_write(path, job->ids, job->count, error) ? error->status : organ_output_sync(output, error);
}

/* The files that the run reads close the permissions of the list, and the list replaces none of them. */
static organ_status check_map_inputs(draft_job *job, organ_output *output, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_run_inputs_release) organ_run_inputs list = {0};
    if (organ_run_inputs_add_model(&list, "model", job->of->model, error) || inputs(job, &list, error))
        return error->status;
    output->closed = list.closed;
    return output->path ? organ_output_check_inputs(output->path, &list, error) : ORGAN_OK;
}

/* Ranks: all call this; the list is one file, which the first writes. */
static organ_status publish_map(draft_job *job, organ_output *output, organ_error *error)
{
    bool begun = false;
    organ_output_begin_together(output, job->count * sizeof *job->ids, &begun, error);
    if (!error->status && organ_ranks_first(output->ranks))
        put_map(job, output, error);
    organ_ranks_agree(output->ranks, "writing the list", error);
    return begun ? organ_output_end(output, error) : error->status;
}

/* The report is made first: nothing fails after the list has its name. */
static organ_status write_map(draft_job *job, json_t **report, organ_error *error)
{
    const organ_write_options *const w = &job->of->options->write;
    organ_output output = {.path = w->output, .single = true, .force = w->force, .ranks = job->engine->ranks};
    if (organ_model_unchanged(job->of->model, error) == ORGAN_OK && check_map_inputs(job, &output, error) == ORGAN_OK &&
        !(*report = map_document(job)))
        organ_fail_memory(error, job->of->options->model);
    if (organ_ranks_agree(output.ranks, "choosing tokens", error))
        return error->status;
    return w->dry_run ? organ_output_try(&output, error) : publish_map(job, &output, error);
}

static organ_status write_draft(draft_job *job, json_t **report, organ_error *error)
{
    const organ_plan plan = {0};
    const organ_write made = {.model = job->of->model,
                              .requested = &job->of->options->write,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .pieces.gguf = job->gguf,
                              .names = {"draft_head/1", &organ_draft_head_view, "copying", "model", NULL},
                              .check = {.parameters = parameters, .inputs = inputs},
                              .make = {.edit = edit_config, .depends = depends, .fill = fill},
                              .report = {.document = document, .plan = &plan, .made_as = ORGAN_TYPES_STAY}};
    return organ_write_run(&made, report, error);
}

organ_status organ_vocabulary_draft(vocabulary_job *of, json_t **report, organ_error *error)
{
    draft_job job = {.of = of, .engine = of->engine, .progress = of->progress};
    if (prepare(&job, error) == ORGAN_OK)
        job.eagle3 ? write_draft(&job, report, error) : write_map(&job, report, error);
    organ_gguf_writer_destroy(job.gguf);
    organ_draft_head_release(&job.head);
    json_decref(job.settings);
    ORGAN_FREE_ARRAYS(job.tokens, job.ids, job.chosen, job.text_covered, job.d2t, job.t2d, job.pieces);
    return error->status;
}
