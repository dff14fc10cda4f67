/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/precision/quantize_gguf_job.h"

#include "formats/base/memory_watch.h"
#include "formats/base/path.h"
#include "orchestrator/surgery/output/importance.h"
#include "orchestrator/surgery/output/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const organ_gguf_scheme schemes[] = {
    {"q4_0", ORGAN_Q4_0, ORGAN_Q4_0, 2},  {"q4_1", ORGAN_Q4_1, ORGAN_Q4_1, 3},  {"q5_0", ORGAN_Q5_0, ORGAN_Q5_0, 8},
    {"q5_1", ORGAN_Q5_1, ORGAN_Q5_1, 9},  {"q8_0", ORGAN_Q8_0, ORGAN_Q8_0, 7},  {"q4_k", ORGAN_Q4_K, ORGAN_Q5_0, 14},
    {"q5_k", ORGAN_Q5_K, ORGAN_Q5_1, 16}, {"q6_k", ORGAN_Q6_K, ORGAN_Q8_0, 18},
};
enum { SCHEMES = sizeof schemes / sizeof *schemes, Q8_0 = 4, Q6_K = 7, QUANTIZATION_VERSION = 2 };

static const organ_gguf_scheme *scheme_named(const char *name)
{
    for (size_t k = 0; k < SCHEMES; k++)
        if (strcmp(name, schemes[k].name) == 0)
            return &schemes[k];
    return NULL;
}

bool organ_quantize_is_gguf(const char *scheme) { return scheme_named(scheme) != NULL; }

/* ---- what becomes of each tensor ---- */

static bool begins(const char *name, const char *with) { return strncmp(name, with, strlen(with)) == 0; }

static bool has_head(const organ_model *model)
{
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.role == ORGAN_ROLE_OUTPUT && model->tensors[t].anatomy.layer < 0)
            return true;
    return false;
}

/* Embeddings of tokens are looked up, and of positions or types of tokens there are few. */
static bool is_embedding(const organ_tensor *tensor)
{
    return tensor->anatomy.role == ORGAN_ROLE_EMBED &&
           (begins(tensor->name, "token_embd.") || begins(tensor->name, "per_layer_token_embd."));
}

/* What multiplies the last hidden states: the embedding, where there is no matrix of its own. */
static bool is_head(const organ_model *model, const organ_tensor *tensor)
{
    if (tensor->anatomy.role == ORGAN_ROLE_OUTPUT)
        return true;
    return begins(tensor->name, "token_embd.") && !has_head(model);
}

/* Whether the tensor is to be quantised, and whether in the type of the head. */
static bool quantize_gguf_is_meant(const organ_gguf_job *job, const organ_tensor *tensor, bool *head)
{
    *head = false;
    if (job->targets.chosen[tensor - job->model->tensors])
        return true;
    if (job->options->targets || tensor->rank < 2 || !tensor->elements)
        return false;
    *head = is_head(job->model, tensor);
    return *head || is_embedding(tensor);
}

static bool quantize_gguf_is_whole(uint64_t cols, organ_dtype dtype)
{
    return cols % organ_dtype_describe(dtype)->elements == 0;
}

static bool quantize_gguf_take_target(organ_gguf_job *job, const organ_tensor *tensor, bool head)
{
    const organ_weight weight = organ_weight_plain(tensor);
    const organ_gguf_scheme *const scheme = !head                              ? job->scheme
                                            : job->scheme->dtype == ORGAN_Q8_0 ? &schemes[Q8_0]
                                                                               : &schemes[Q6_K];
    const organ_matrices m = organ_weight_matrices(&weight);
    organ_gguf_left left = {.tensor = tensor};
    if (!organ_target_is_float(tensor))
        snprintf(left.why, sizeof left.why, "it is stored as %s: only BF16, F16 and F32 are quantised.",
                 organ_dtype_describe(tensor->dtype)->name);
    else if (!quantize_gguf_is_whole(m.cols, scheme->dtype) && !quantize_gguf_is_whole(m.cols, scheme->narrow))
        snprintf(left.why, sizeof left.why, "its rows of %llu values are no whole blocks of 32.",
                 (unsigned long long)m.cols);
    if (*left.why) {
        job->left[job->left_count++] = left;
        return false;
    }
    const bool falls_back = !quantize_gguf_is_whole(m.cols, scheme->dtype);
    job->parts[job->part_count] = (organ_gguf_part){.weight = weight,
                                                    .rows = m.rows,
                                                    .cols = m.cols,
                                                    .dtype = falls_back ? scheme->narrow : scheme->dtype,
                                                    .falls_back = falls_back,
                                                    .is_head = head,
                                                    .piece = job->piece_count};
    job->pieces[job->piece_count] = (organ_shard_piece){
        .name = tensor->name, .dtype = job->parts[job->part_count].dtype, .rank = tensor->rank, .shape = tensor->shape};
    return true;
}

static organ_status quantize_gguf_plan_pieces(organ_gguf_job *job, organ_error *error)
{
    const size_t room = job->model->tensor_count + 1;
    job->pieces = calloc(room, sizeof *job->pieces);
    job->units = calloc(room, sizeof *job->units);
    job->parts = calloc(room, sizeof *job->parts);
    job->left = calloc(room, sizeof *job->left);
    if (!job->pieces || !job->units || !job->parts || !job->left)
        return organ_fail_memory(error, job->options->model);
    for (size_t t = 0; t < job->model->tensor_count; t++) {
        const organ_tensor *const tensor = &job->model->tensors[t];
        bool head;
        const bool taken = quantize_gguf_is_meant(job, tensor, &head) && quantize_gguf_take_target(job, tensor, head);
        if (!taken)
            job->pieces[job->piece_count] = organ_piece_same(tensor);
        job->units[job->piece_count] =
            (organ_unit){.first = job->piece_count, .count = 1, .item = job->part_count, .bytes = tensor->bytes};
        job->part_count += taken;
        job->piece_count++;
    }
    if (job->part_count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: no target can be quantised as %s; tensor '%s': %s",
                          job->model->path, job->options->scheme, job->left[0].tensor->name, job->left[0].why);
    return ORGAN_OK;
}

/* ---- the importance matrix ---- */

/* Embeddings and head need no entry: what they are multiplied with is not looked at by default. */
static organ_status find_entry(organ_gguf_job *job, organ_gguf_part *part, organ_expert_census *known,
                               organ_error *error)
{
    const organ_tensor *const tensor = part->weight.codes;
    const uint64_t matrices = organ_weight_matrices(&part->weight).count;
    float *const norms = malloc((size_t)part->cols * sizeof *norms);
    double count;
    if (!norms)
        return organ_fail_memory(error, tensor->name);
    part->experts = organ_experts_beside(job->model, tensor, known);
    for (uint64_t k = 0; k < matrices && !error->status; k++)
        if (organ_importance_norms(job->imatrix, job->model, tensor, k, part->experts, norms, &count, &part->entry,
                                   error) == ORGAN_OK)
            part->unreached += count == 0;
    free(norms);
    return error->status;
}

static bool needs_entry(const organ_gguf_job *job, const organ_tensor *tensor)
{
    const organ_role role = tensor->anatomy.role;
    if (role != ORGAN_ROLE_EMBED && role != ORGAN_ROLE_OUTPUT)
        return true;
    for (size_t k = 0; k < job->imatrix->entry_count; k++)
        if (role == ORGAN_ROLE_OUTPUT && strcmp(job->imatrix->entries[k].name, tensor->name) == 0)
            return true;
    return false;
}

static organ_status open_imatrix(organ_gguf_job *job, organ_error *error)
{
    organ_expert_census known = {0};
    if (!job->options->imatrix)
        return ORGAN_OK;
    if (organ_imatrix_open(job->options->imatrix, &job->imatrix, error) ||
        organ_importance_digest(job->imatrix, job->digest, error))
        return error->status;
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (needs_entry(job, job->parts[k].weight.codes))
            find_entry(job, &job->parts[k], &known, error);
    return error->status;
}

/* ---- metadata ---- */

static organ_status tell_imatrix(const organ_gguf_job *job, organ_error *error)
{
    organ_gguf_writer *const w = job->writer;
    const organ_imatrix *const m = job->imatrix;
    const char *const name = organ_path_name(m->path);
    organ_gguf_writer_set_string(w, "quantize.imatrix.file", name, strlen(name), error);
    if (m->dataset_count && !error->status)
        organ_gguf_writer_set_string(w, "quantize.imatrix.dataset", m->datasets[0], strlen(m->datasets[0]), error);
    if (!error->status)
        organ_gguf_writer_set_integer(w, "quantize.imatrix.entries_count", ORGAN_GGUF_U32, (int64_t)m->entry_count,
                                      error);
    if (m->chunks >= 0 && !error->status)
        organ_gguf_writer_set_integer(w, "quantize.imatrix.chunks_count", ORGAN_GGUF_U32, m->chunks, error);
    return error->status;
}

/* The key-values of the model, telling of the types it has now. */
static organ_status quantize_gguf_make_header(organ_gguf_job *job, organ_error *error)
{
    const organ_gguf *const gguf = job->model->gguf;
    if (organ_layout_metadata(gguf, &job->writer, error))
        return error->status;
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (begins(gguf->kvs[k].key, "quantize."))
            organ_gguf_writer_remove(job->writer, gguf->kvs[k].key);
    if (organ_gguf_writer_set_integer(job->writer, "general.file_type", ORGAN_GGUF_U32, job->scheme->file_type,
                                      error) ||
        organ_gguf_writer_set_integer(job->writer, "general.quantization_version", ORGAN_GGUF_U32, QUANTIZATION_VERSION,
                                      error))
        return error->status;
    return job->imatrix ? tell_imatrix(job, error) : ORGAN_OK;
}

/* ---- the run ---- */

static organ_status open_floats(organ_gguf_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (organ_model_open(o->model, &job->model, error) || organ_model_is_here(job->model, "quantised", error))
        return error->status;
    if (!job->model->gguf)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: is not GGUF, but %s is a scheme of GGUF models: convert the model first (llama.cpp's "
                          "convert_hf_to_gguf.py "
                          "%s --outtype bf16 --outfile X.gguf) and quantise X.gguf; of safetensors models int4-group32 "
                          "has about 4.5 bits a "
                          "weight, int8-channel 8",
                          job->model->path, o->scheme, job->model->path);
    if (organ_targets_select(job->model, o->targets, &job->targets, error) || quantize_gguf_plan_pieces(job, error) ||
        open_imatrix(job, error) || (o->calibration.text && organ_gguf_open_text(job, error)))
        return error->status;
    return quantize_gguf_make_header(job, error);
}

static void quantize_gguf_tell_before(const organ_gguf_job *job)
{
    size_t others = 0, as_asked = 0;
    const organ_gguf_part *first = NULL;
    for (size_t k = 0; k < job->part_count; k++) {
        others += job->parts[k].falls_back;
        as_asked += job->parts[k].dtype == job->scheme->dtype;
        first = job->parts[k].falls_back && !first ? &job->parts[k] : first;
    }
    organ_progress_warn(job->progress, job->model);
    if (as_asked == 0 && job->part_count > 0)
        organ_progress_note(
            job->progress,
            "no tensor becomes %s, which needs rows of whole blocks of 256: this is a file of other types",
            organ_dtype_describe(job->scheme->dtype)->name);
    if (first)
        organ_progress_note(
            job->progress, "%zu tensor%s rows that are no whole blocks of 256: %s becomes %s; the report lists all",
            others, others == 1 ? " has" : "s have", first->weight.name, organ_dtype_describe(first->dtype)->name);
    if (job->left_count)
        organ_progress_note(job->progress,
                            "%zu of the targets stay%s as %s: %s is the first; the report lists all and why",
                            job->left_count, job->left_count == 1 ? "s" : "",
                            job->left_count == 1 ? "it is" : "they are", job->left[0].tensor->name);
}

static organ_status check_imatrix(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_gguf_job *const job = context;
    (void)to;
    (void)path;
    return job->imatrix ? organ_imatrix_unchanged(job->imatrix, error) : ORGAN_OK;
}

/* The walk comes first: it takes more memory than the pass in any case, so that what cannot be is refused before
 * anything is made. */
static organ_status quantize_all(void *context, organ_writing *run, organ_error *error)
{
    organ_gguf_job *const job = context;
    job->run = run;
    if (job->along && organ_gguf_along(job, error) != ORGAN_OK)
        return error->status;
    return organ_gguf_pass(job, error);
}

static void close_quantize(organ_gguf_job *job)
{
    organ_gguf_close_text(job);
    organ_gguf_writer_destroy(job->writer);
    free(job->pieces);
    free(job->units);
    for (size_t k = 0; k < job->part_count; k++)
        json_decref(job->parts[k].fallback);
    free(job->parts);
    free(job->left);
    organ_imatrix_close(job->imatrix);
    organ_targets_free(&job->targets);
    organ_model_close(job->model);
}

static organ_status quantize(organ_gguf_job *job, json_t **report, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (open_floats(job, error) || (o->write.dry_run && organ_gguf_foresee_pass(job, error)))
        return error->status;
    if (o->write.dry_run && job->along)
        organ_along_foresee(job->along, &ORGAN_GPTQ_SOLVE, &job->plan);
    const organ_write made = {.model = job->model,
                              .asked = &o->write,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .unit_count = job->piece_count,
                              .definition = !o->calibration.text ? "quantize-gguf/1"
                                            : o->no_resolve      ? "gptq-gguf/1"
                                                                 : "gptq-gguf-resolved/1",
                              .gguf = job->writer,
                              .plan = &job->plan,
                              .stage = "quantizing",
                              .name = "quantize.json",
                              .markdown_name = "QUANTIZE_REPORT.md",
                              .model_is = "model",
                              .made_as = ORGAN_MADE_PACKED,
                              .repacked = true,
                              .fill = quantize_all,
                              .recall = organ_gguf_recall,
                              .schema = "organ.quantize/1",
                              .parameters = organ_gguf_parameters,
                              .identity = organ_gguf_identity,
                              .check = check_imatrix,
                              .document = organ_gguf_document};
    quantize_gguf_tell_before(job);
    return organ_write_run(&made, report, error);
}

organ_status organ_quantize_gguf(const organ_quantize_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_gguf_job job = {
        .options = options, .scheme = scheme_named(options->scheme), .engine = engine, .progress = progress};
    const organ_memory_work memory = organ_memory_work_begin();
    *report = NULL;
    quantize(&job, report, error);
    close_quantize(&job);
    return organ_memory_work_end(&memory, report, options->model, error);
}
