/* SPDX-License-Identifier: MIT
 * Converts a model between GGUF and safetensors: reads the options and the model, plans the output, and writes it. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/architecture/config_readers.h"
#include "formats/config/model_config.h"
#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/results.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/head.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/output/verb_requirements.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/repack/repack.h"
#include "orchestrator/surgery/scoring/scoring.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/report/view/views.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <organ/base.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- callbacks of organ_write_run: options that determine the output, and the document organ.convert/1 ---- */

static json_t *convert_parameters(void *context)
{
    const organ_convert_job *const job = context;
    return ORGAN_OBJECT(
        SET_TEXT("to", job->options->to), SET_TEXT("type", job->options->type),
        SET_TEXT("dtype", organ_dtype_name(job->type)), SET_BYTES_OF("pre", job->options->pre),
        SET_BYTES_OF("mtp", job->options->mtp), SET_BYTES_OF("mmproj", job->to_gguf ? job->options->mmproj : NULL),
        SET_BYTES_OF("mmproj_type", job->to_gguf && job->towers.written ? organ_dtype_name(job->towers.type) : NULL),
        SET_COUNT("max_shard_bytes", job->options->write.max_shard_size));
}

/* The blocks for multi-token prediction of the output. */
static json_t *blocks_json(const organ_convert_job *job)
{
    return ORGAN_OBJECT(SET_TEXT("family", job->mtp->name), SET_COUNT("blocks", job->blocks),
                        SET_FLAG("only", job->only), SET_COUNT("copies_left_out", job->copies),
                        SET_BYTES_OF("dispute", job->mtp->dispute));
}

/* The towers of the output; to GGUF with their file. */
static json_t *towers_json(const organ_convert_job *job)
{
    const convert_towers *const t = &job->towers;
    uint64_t bytes = 0;
    for (size_t k = t->first; k < job->piece_count; k++)
        bytes += job->pieces[k].bytes;
    return ORGAN_OBJECT(SET_TEXT("projector", t->model.family->projector),
                        SET_COUNT("tensors", job->piece_count - t->first), SET_COUNT("bytes", bytes),
                        SET_BYTES_OF("file", t->name), SET_FLAG("only", t->only), SET_COUNT("f16_rows", t->plain));
}

static json_t *convert_document(void *context, const organ_writing *made)
{
    const organ_convert_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("architecture", job->pairing->architecture),
                        SET_TEXT("general_architecture", job->pairing->gguf), SET_FLAG("by_name", job->by_name),
                        SET_IF(job->blocks, "mtp", blocks_json(job)),
                        SET_IF(job->towers.written, "mmproj", towers_json(job)),
                        SET("totals", organ_layout_totals_json(organ_write_files(made), job->dropped)),
                        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
                        SET("types", organ_pieces_types_json(job->pieces, job->piece_count)),
                        SET("files", organ_layout_files_json(organ_write_files(made))));
}

/* ---- trying the finished output ---- */

/* Returns the largest relative error of a layer's output that rounding to the type of matrices explains. */

static double output_tolerance(const organ_convert_job *job)
{
    if (job->type == ORGAN_F32)
        return ORGAN_TRIAL_ERROR_32;
    return job->type == ORGAN_F16 || job->type == ORGAN_BF16 || job->type == ORGAN_Q8_0 ? ORGAN_TRIAL_ERROR_16
                                                                                        : ORGAN_TRIAL_ERROR_CODES;
}

/* Both tokenizers were compared when the conversion was planned, so that the output only needs the same bytes. */
static organ_status check_tokenizer_bytes(const organ_convert_job *job, const char *path, organ_error *error)
{
    if (job->to_gguf) {
        const organ_gguf view = organ_gguf_writer_view(job->gguf);
        return organ_trial_tokenizer(path, &view, error);
    }
    for (size_t k = 0; k < job->file_count && !error->status; k++) {
        const organ_written_file *const file = &job->files[k];
        organ_trial_file(path, file->name, file->bytes, file->length ? file->length : strlen(file->bytes), error);
    }
    return error->status;
}

/* Opens the finished output at `path` before it gets its name: checks its configuration (organ_convert_check; that of a
 * GGUF output was checked before its tensors were written, organ_write.begun), that it has the tokenizer that was
 * compared with the model's, and its first and last layer (organ_trial_run). `to` is unused. Called by
 * organ_write_run. */
static organ_status check_output(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_convert_job *const job = context;
    if (job->towers.only)
        return ORGAN_OK;
    const organ_trial check = {.model = job->model,
                               .path = path,
                               .engine = job->engine,
                               .progress = job->progress,
                               .tolerance = job->options->write.saturate ? (double)INFINITY : output_tolerance(job)};
    if ((!job->to_gguf && organ_convert_check(context, to, path, error)) || check_tokenizer_bytes(job, path, error))
        return error->status;
    if (job->only) {
        organ_progress_note_once(job->progress, "the output was not tried: it has no layers of the model");
        return ORGAN_OK;
    }
    if (job->by_name) {
        organ_progress_note_once(job->progress, "the first and the last layer of the output were not tried: the "
                                                "forward pass does not read GGUF files that are converted by name");
        return ORGAN_OK;
    }
    return organ_trial_run(&check, error);
}

/* The key-values of a GGUF output are checked before its tensors are written. Called by organ_write_run. */
static organ_status check_begun(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_convert_job *const job = context;
    if (job->towers.written && organ_convert_check_towers(job, to, error))
        return error->status;
    return job->towers.only ? ORGAN_OK : organ_convert_check(context, to, path, error);
}

static organ_status convert_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_convert_job *const job = context;
    return organ_run_inputs_add(inputs, "config", job->options->config, error);
}

/* ---- options ---- */

static organ_dtype common_type(const organ_weights *weights)
{
    for (size_t k = 0; k < weights->count; k++) {
        const organ_dtype dtype = weights->weights[k].codes->dtype;
        if (weights->weights[k].rank >= 2)
            return dtype == ORGAN_F16 || dtype == ORGAN_F32 ? dtype : ORGAN_BF16;
    }
    return ORGAN_BF16;
}

static organ_status read_type(organ_convert_job *job, organ_error *error)
{
    char type[16]; /* in lower case; longer than every name */
    size_t length = 0;
    for (const char *at = job->options->type; *at && length + 1 < sizeof type; at++)
        type[length++] = (char)tolower((unsigned char)*at);
    type[length] = '\0';
    job->keeps_codes = strcmp(type, "codes") == 0;
    if (job->keeps_codes || strcmp(type, "same") == 0) {
        job->type = common_type(job->weights);
        return ORGAN_OK;
    }
    const organ_encoding *const blocks = organ_encoding_named(type);
    if (!blocks)
        return organ_dtype_requested(type, &job->type, error);
    if (!job->to_gguf)
        return organ_fail(error, ORGAN_USAGE,
                          "`type` %s: tensors of safetensors can become bf16, f16 or f32; organ quantize writes codes",
                          type);
    job->type = blocks->codes;
    job->encoding =
        blocks->codes == ORGAN_Q8_0 ? NULL : blocks; /* organ_narrow writes Q8_0 as llama.cpp's converter does */
    return ORGAN_OK;
}

/* ---- the model ---- */

/* Reads config.json into job->file and text, and finds the rows of its architecture. GGUF files need members that
 * organ_forward_config does not have. An architecture without rows in the tables is converted by name, with the text of
 * config.json in job->own_config. */
static organ_status read_config_json(organ_convert_job *job, organ_error *error)
{
    organ_json_source text = {.label = "config.json"};
    const char *architecture = job->model->config.architecture;
    char *bytes = NULL;
    if (organ_model_load(job->model, text.label, ORGAN_CONFIG_LIMIT, &bytes, &text.length, error))
        return error->status;
    if (!bytes)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no config.json", job->model->path);
    organ_hf_config_tidy(bytes, text.length);
    text.bytes = bytes;
    if (organ_json_parse_object(&text, &job->file, error) == ORGAN_OK) {
        job->text = organ_config_text(job->file, &architecture);
        job->family = organ_forward_family_named(architecture, /*gguf=*/false);
        job->pairing = organ_pairing_named(architecture, job->model->config.model_type, /*experts=*/true);
        if (!job->pairing || !job->family)
            organ_convert_find_names(job, architecture, error);
        else
            job->gguf_family = organ_forward_family_named(job->pairing->gguf, /*gguf=*/true);
    }
    if (job->by_name)
        job->own_config = bytes;
    else
        free(bytes);
    return error->status;
}

/* Some architectures have one GGUF name for dense models and another (family->gguf_experts) for models with experts.
 * In a file with the second name llama.cpp expects experts in all layers, so a dense layer is refused. */
static organ_status choose_row(organ_convert_job *job, organ_error *error)
{
    const organ_forward_config *const c = &job->config;
    const char *const experts = job->family->gguf_experts;
    job->pairing = organ_pairing_named(job->family->architecture, job->model->config.model_type, c->experts > 0);
    for (unsigned l = 0; l < c->layers && experts && strcmp(job->pairing->gguf, experts) == 0; l++)
        if (c->kinds[l].feed && !c->kinds[l].mixture)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: the feed-forward of layer %u is dense, but those of %s files all have experts",
                              job->model->path, l, experts);
    return ORGAN_OK;
}

/* A conversion by name sets only the members of job->config that names and shapes show. */
static organ_status find_rows(organ_convert_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    if (job->to_gguf && read_config_json(job, error))
        return error->status;
    if (!job->to_gguf) {
        const char *const name = model->config.model_type;
        job->pairing = organ_pairing_of_gguf(model->gguf, name);
        job->gguf_family = organ_forward_family_named(name, /*gguf=*/true);
        if (!job->pairing || !job->gguf_family)
            return organ_convert_find_gguf_names(job, name, error);
        job->family = organ_forward_family_named(job->pairing->architecture, /*gguf=*/false);
    }
    if (job->by_name || organ_forward_config_read(model, &job->config, error) || !job->to_gguf)
        return error->status;
    return choose_row(job, error);
}

organ_status organ_convert_find_architecture(organ_convert_job *job, organ_error *error)
{
    if (find_rows(job, error) || job->by_name)
        return error->status;
    if (job->to_gguf)
        job->prefix = organ_text_prefix(job->family, job->weights);
    else
        job->prefix = job->family->prefix ? job->family->prefix : "model.";
    return organ_convert_find_blocks(job, error);
}

/* Sets config.tied_output to false if the model has a head of its own. The forward pass and transformers use a stored
 * head that differs from the embedding although config.json ties it, so the output needs it. A head that repeats the
 * embedding is left out of a GGUF file. */
static organ_status find_tied(organ_convert_job *job, organ_error *error)
{
    organ_head head = {0};
    if (job->to_gguf && job->config.tied_output &&
        organ_text_check_embedding(job->model, job->weights, error) == ORGAN_OK &&
        organ_head_find(job->model, job->weights, job->engine, &head, error) == ORGAN_OK)
        job->config.tied_output = !head.own;
    return error->status;
}

/* Towers without the text model, whose architecture may be unknown. */
static organ_status open_towers(organ_convert_job *job, organ_error *error)
{
    const organ_hf_config *const config = &job->model->config;
    if (organ_model_load_json(job->model, "config.json", "config.json", &job->file, error))
        return error->status;
    if (!job->file)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no config.json", job->model->path);
    job->named = (forward_pairing){.architecture = config->architecture,
                                   .gguf = "clip",
                                   .model_type = config->model_type,
                                   .keys = "",
                                   .rest = "{}"};
    job->pairing = &job->named;
    return organ_convert_find_towers(job, error);
}

static organ_status convert_open(organ_convert_job *job, organ_error *error)
{
    const organ_convert_options *const o = job->options;
    job->to_gguf = strcmp(o->to, "gguf") == 0;
    if (!job->to_gguf && organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: safetensors have files next to them: name a directory",
                          o->write.output);
    job->model = job->opened;
    if ((!job->model && organ_model_open(o->model, &job->model, error)) ||
        organ_model_is_here(job->model, "converted", error))
        return error->status;
    if ((job->model->gguf != NULL) == job->to_gguf)
        return organ_fail(error, ORGAN_USAGE, "%s: is %s already; organ %s changes its types%s", o->model,
                          job->to_gguf ? "GGUF" : "safetensors", job->to_gguf ? "quantize" : "dequantize",
                          job->to_gguf ? "" : ", `format` the format of its codes (AWQ, GPTQ, compressed-tensors)");
    const bool only = o->mtp && strcmp(o->mtp, "only") == 0;
    if (!only && organ_mtp_is_alone(job->model))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: has the block for multi-token prediction without the layers of the model: convert the "
                          "whole model",
                          o->model);
    if (organ_weights_find(job->model, &job->weights, error) || read_type(job, error))
        return error->status;
    if (job->to_gguf && o->mmproj && strcmp(o->mmproj, "only") == 0)
        return open_towers(job, error);
    if ((job->keeps_codes && organ_refuse_rotated(job->model, job->weights, error)) ||
        organ_convert_find_architecture(job, error))
        return error->status;
    if (job->by_name && job->options->mtp && strcmp(job->options->mtp, "none") != 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: `mtp` %s: organ has no rules for this architecture",
                          job->options->model, job->options->mtp);
    if ((!job->by_name && organ_convert_choose_blocks(job, error)) || organ_convert_find_towers(job, error))
        return error->status;
    return job->by_name ? ORGAN_OK : find_tied(job, error);
}

/* ---- the run ---- */

static organ_status convert_all(void *context, organ_writing *run, organ_error *error)
{
    organ_convert_job *const job = context;
    job->run = run;
    return organ_convert_pass(job, error);
}

/* Pieces have no results, so the record of a finished piece is an empty object. */
static bool convert_recall(void *context, size_t item, const json_t *results)
{
    (void)context;
    (void)item;
    return json_is_object(results);
}

void organ_convert_release(organ_convert_job *job)
{
    organ_convert_release_towers(&job->towers);
    for (size_t k = 0; k < job->file_count; k++)
        free(job->files[k].bytes);
    free(job->files);
    free(job->own_config);
    organ_gguf_writer_destroy(job->gguf);
    organ_rows_free(job->pieces);
    ORGAN_FREE_ARRAYS(job->facts, job->sources, job->places);
    organ_name_table_release(&job->names);
    organ_arena_release(&job->arena);
    json_decref(job->file);
    organ_forward_config_release(&job->config);
    organ_weights_free(job->weights);
    if (!job->opened)
        organ_model_close(job->model);
}

static uint64_t piece_bytes(const organ_piece *piece)
{
    uint64_t elements = 1, bytes = 0;
    for (unsigned d = 0; d < piece->rank; d++)
        elements *= piece->shape[d];
    organ_dtype_bytes(piece->dtype, elements, &bytes);
    return bytes;
}

/* Returns whether --dtype codes copies the codes of a source, if all tensors of its stack have such codes. */
static bool could_copy(const organ_convert_job *job, const convert_source *source)
{
    const organ_piece *const piece = &job->pieces[job->places[source->first].piece];
    const organ_dtype codes = organ_convert_code_type(source->own);
    if (job->to_gguf || source->codes)
        return codes != ORGAN_DTYPE_COUNT &&
               (codes != ORGAN_NVFP4 || !job->to_gguf || organ_convert_has_tensor_scale(job, piece->name));
    return job->forms == CONVERT_GPT_OSS ? source->own->codes->dtype == ORGAN_MXFP4 && source->own->rank == 3
                                         : organ_convert_form(job, source->own, piece->name, piece->rank) != NULL;
}

/* A quantised model grows if its codes become numbers. The note says how large the output is, and the short way. */
static void note_growth(const organ_convert_job *job)
{
    const uint64_t before = organ_model_bytes(job->model);
    uint64_t after = 0;
    char was[16], is[16];
    bool codes = false;
    for (size_t k = 0; k < job->piece_count; k++)
        after += piece_bytes(&job->pieces[k]);
    for (size_t k = 0; k < job->source_count; k++)
        codes = codes || could_copy(job, &job->sources[k]);
    if (!before || after / 3 <= before / 2)
        return;
    organ_progress_note(job->progress, "the output has %s, %.1f times the %s of the model, whose %scodes become %s; %s",
                        organ_quantity_text(after, is), (double)after / (double)before,
                        organ_quantity_text(before, was), job->keeps_codes ? "other " : "", organ_dtype_name(job->type),
                        codes && !job->keeps_codes ? "`type` codes copies them unchanged, in their size"
                                                   : "organ quantize makes it small again, with further loss");
}

/* A model whose codes are copied to GGUF keeps the quantisation of its weights only. */
static void note_scales(const organ_convert_job *job)
{
    const organ_weights *const all = job->weights;
    size_t count = 0, first = 0;
    for (size_t k = 0; k < all->unmatched_count && job->keeps_codes && job->to_gguf; k++)
        if (all->unmatched[k].dropped)
            first = count++ ? first : k;
    if (count)
        organ_progress_note(job->progress,
                            "%zu scale%s of activations or of a cache, such as '%s', %s left out: the output is "
                            "quantised in its weights only",
                            count, count > 1 ? "s" : "", all->unmatched[first].tensor->name, count > 1 ? "are" : "is");
}

static organ_status convert_prepare(organ_convert_job *job, organ_error *error)
{
    if (convert_open(job, error) || organ_convert_plan(job, error))
        return error->status;
    if (job->to_gguf && !job->towers.only && organ_convert_keys(job, error))
        return error->status;
    if (job->to_gguf ? organ_convert_tower_keys(job, error) : organ_convert_config(job, error))
        return error->status;
    organ_progress_warn_of_model(job->progress, job->model);
    organ_progress_note_remarks(job->progress, /*path=*/NULL, job->weights);
    note_scales(job);
    if (job->dropped)
        organ_progress_note(job->progress,
                            "%zu tensors of vision, audio or multi-token prediction, such as '%.200s', are left out",
                            job->dropped, job->dropped_name);
    if (job->copies)
        organ_progress_note(job->progress,
                            "%zu tensor%s of the block for multi-token prediction, copies of embedding and head, %s "
                            "left out: loaders use those of the model",
                            job->copies, job->copies == 1 ? "" : "s", job->copies == 1 ? "is" : "are");
    return ORGAN_OK;
}

static organ_status convert_run(organ_convert_job *job, json_t **report, organ_error *error)
{
    const organ_convert_options *const o = job->options;
    if (convert_prepare(job, error))
        return error->status;
    note_growth(job); /* not of an outline, which is no output */
    if (o->write.dry_run && organ_convert_estimate(job, error))
        return error->status;
    const bool two = job->to_gguf && job->towers.written && !job->towers.only;
    if (two && organ_convert_lay_out(job, error))
        return error->status;
    const organ_write made = {.model = job->model,
                              .source = job->towers.file,
                              .layout = two ? &job->towers.layout : NULL,
                              .requested = &o->write,
                              .report.plan = &job->plan,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .names = {"convert/1", &organ_convert_view, "converting", "model", NULL},
                              .pieces.gguf = job->towers.only ? job->towers.gguf : job->gguf,
                              .pieces.files = job->files,
                              .report.made_as = job->type == ORGAN_F32 ? ORGAN_TYPES_32 : ORGAN_TYPES_16,
                              .pieces.repacked = true,
                              .make.fill = convert_all,
                              .make.recall = convert_recall,
                              .report.origin = job->origin,
                              .outline = job->outline,
                              .make.begun = job->to_gguf ? check_begun : NULL,
                              .make.check = check_output,
                              .check.parameters = convert_parameters,
                              .check.inputs = convert_inputs,
                              .report.document = convert_document};
    return organ_write_run(&made, report, error);
}

static organ_status write_outline(const organ_convert_job *job, const char *path, uint64_t *bytes, organ_error *error)
{
    organ_gguf_layout layout;
    for (size_t k = 0; k < job->piece_count && !error->status; k++)
        organ_gguf_writer_tensor(job->gguf, job->pieces[k].name, job->pieces[k].dtype, job->pieces[k].rank,
                                 job->pieces[k].shape, error);
    if (error->status || organ_gguf_writer_finish(job->gguf, &layout, error))
        return error->status;
    ORGAN_OWNED_FILE const int fd = organ_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || organ_write_all(fd, layout.bytes, layout.size) || organ_resize_file(fd, (off_t)layout.file_size))
        organ_fail_errno(error, errno, "%s: cannot be written", path);
    *bytes += layout.file_size;
    return error->status;
}

static organ_status outline_directory(organ_convert_job *job, const char *path, uint64_t *bytes, organ_error *error)
{
    organ_convert_options options = *job->options;
    organ_engine engine = *job->engine;
    ORGAN_OWNED_JSON json_t *report = NULL;
    options.write = (organ_write_options){.output = path, .max_shard_size = ORGAN_SHARD_BYTES};
    engine.ranks = NULL;
    job->options = &options;
    job->engine = &engine;
    job->outline = true;
    organ_error own = {0}; /* a message of organ_write_run about the finished outline must not reach the caller */
    if (convert_run(job, &report, &own))
        *error = own;
    for (size_t k = 0; k < job->piece_count; k++)
        *bytes += job->pieces[k].bytes;
    return error->status;
}

organ_status organ_convert_outline(const organ_convert_options *options, organ_model *opened,
                                   const organ_engine *engine, const organ_progress *progress, const char *path,
                                   uint64_t *bytes, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_convert_release)
    organ_convert_job job = {.options = options, .opened = opened, .engine = engine, .progress = progress};
    if (strcmp(options->to, "gguf") != 0)
        outline_directory(&job, path, bytes, error);
    else if (convert_prepare(&job, error) == ORGAN_OK)
        write_outline(&job, path, bytes, error);
    return error->status;
}

/* Argument of convert_verb. */
typedef struct convert_from {
    const organ_convert_options *options;
    const organ_write_origin *origin; /* NULL: the model is an input of the command */
    organ_model *opened;              /* the model; NULL: it is not open */
} convert_from;

static organ_status convert_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                 json_t **report, organ_error *error)
{
    const convert_from *const call = given;
    ORGAN_RELEASED_BY(organ_convert_release)
    organ_convert_job job = {.options = call->options,
                             .origin = call->origin,
                             .opened = call->opened,
                             .engine = engine,
                             .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    if (call->options->format)
        organ_repack(call->options, engine, progress, report, error);
    else
        convert_run(&job, report, error);
    return organ_report_end_partial(&work, call->options->model, error);
}

ORGAN_REQUIREMENTS(convert, NULL,
                   ORGAN_REQUIREMENT(organ_convert_options, pre, .never = "format", .why = "it is for GGUF outputs"),
                   ORGAN_REQUIREMENT(organ_convert_options, mmproj, .never = "format", .why = "towers are copied"),
                   ORGAN_REQUIREMENT(organ_convert_options, mmproj_type, .never = "format",
                                     .why = "it is for GGUF outputs"),
                   ORGAN_REQUIREMENT(organ_convert_options, config, .never = "format", .why = "towers are copied"),
                   ORGAN_REQUIREMENT(organ_convert_options, format))

organ_status organ_convert_from(const organ_convert_options *options, const organ_write_origin *origin,
                                organ_model *opened, const organ_engine *engine, const organ_progress *progress,
                                json_t **report, organ_error *error)
{
    const convert_from call = {options, origin, opened};
    if (ORGAN_BEGIN_VERB(organ_convert_options, options, report, error, "model", options->model, "to", options->to,
                         "type", options->type, "write.output", options->write.dry_run ? "" : options->write.output) ||
        organ_requirements_check(&organ_convert_requirements, options, &(organ_convert_options){0}, error))
        return error->status;
    return organ_plan_run(convert_verb, &call, options->write.dry_run, engine, progress, report, error);
}

organ_status organ_convert(const organ_convert_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    return organ_convert_from(options, /*origin=*/NULL, /*opened=*/NULL, engine, progress, report, error);
}
