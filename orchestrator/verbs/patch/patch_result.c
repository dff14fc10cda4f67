/* SPDX-License-Identifier: MIT
 * Plans the model that organ patch apply makes: its files, their bytes outside of tensors, and the source of each
 * tensor. */
#include "orchestrator/verbs/patch/patch_apply.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/output/output.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/surgery/patch/patch_digests.h"

#include <stdlib.h>
#include <string.h>

/* ---- bytes outside of tensors ---- */

/* The file of the base that may have the same header: that of the same name or, of two single files, the other. */
static const organ_layout_file *base_file(const apply_job *job, const organ_layout *base, const organ_patch_file *file)
{
    for (size_t f = 0; f < base->file_count; f++)
        if (strcmp(base->files[f].name, file->name) == 0)
            return &base->files[f];
    size_t with_tensors = 0;
    for (size_t f = 0; f < job->patch.file_count; f++)
        with_tensors += job->patch.files[f].tensors > 0;
    return base->file_count == 1 && with_tensors == 1 ? base->files : NULL;
}

static organ_status refuse_file(const apply_job *job, const organ_patch_file *file, const char *what,
                                organ_error *error)
{
    return organ_refuse(error, job->options->base,
                        "is not the base of the patch: %s %s; the patch was made of %s, where it has the XXH3-128 %s",
                        file->name, what, job->patch.base, file->digest);
}

/* Sets *bytes to the bytes of the base's file outside of tensors. */
static organ_status join_fillers(const apply_job *job, const organ_layout *base, const organ_patch_file *file,
                                 char **bytes, organ_error *error)
{
    const organ_layout_file *const from = base_file(job, base, file);
    bool same = from && from->filler_count == file->span_count;
    for (size_t k = 0; same && k < file->span_count; k++)
        same = from->fillers[k].offset == file->spans[k].offset && from->fillers[k].bytes == file->spans[k].bytes;
    if (!same)
        return refuse_file(job, file, from ? "has another header" : "is missing", error);
    if (!(*bytes = malloc(file->bytes + 1)))
        return organ_fail_memory(error, file->name);
    for (size_t k = 0, at = 0; k < file->span_count; at += file->spans[k++].bytes)
        memcpy(*bytes + at, from->fillers[k].data, file->spans[k].bytes);
    return ORGAN_OK;
}

static organ_status load_bytes(const apply_job *job, const organ_layout *base, organ_patch_file *file, char **bytes,
                               organ_error *error)
{
    size_t length = 0;
    char digest[ORGAN_CHECKSUM_TEXT];
    *bytes = NULL;
    if (file->stored)
        return organ_patch_load(&job->patch, file, bytes, error);
    if (file->tensors)
        join_fillers(job, base, file, bytes, error);
    else if (organ_model_load(job->base, file->name, ORGAN_PATCH_LIMIT, bytes, &length, error) == ORGAN_OK &&
             (!*bytes || length != file->bytes))
        refuse_file(job, file, *bytes ? "has another size" : "is missing", error);
    if (error->status)
        return error->status;
    organ_patch_digest(*bytes, file->bytes, digest);
    return strcmp(digest, file->digest) == 0 ? ORGAN_OK : refuse_file(job, file, "has other bytes", error);
}

static organ_status set_fillers(const organ_patch_file *from, const char *bytes, organ_layout_file *file,
                                organ_error *error)
{
    if (!(file->fillers = calloc(from->span_count + 1, sizeof *file->fillers)))
        return organ_fail_memory(error, from->name);
    for (size_t k = 0, at = 0; k < from->span_count; at += from->spans[k++].bytes) {
        organ_filler *const filler = &file->fillers[k];
        *filler =
            (organ_filler){from->spans[k].offset, from->spans[k].bytes, organ_rows_take(from->spans[k].bytes + 1, 1)};
        if (!filler->data)
            return organ_fail_memory(error, from->name);
        memcpy(filler->data, bytes + at, filler->bytes);
        file->filler_count++;
    }
    return ORGAN_OK;
}

/* ---- files ---- */

static organ_status add_file(apply_job *job, const organ_layout *base, organ_patch_file *from, organ_error *error)
{
    char *bytes = NULL;
    if (load_bytes(job, base, from, &bytes, error)) {
        free(bytes);
        return error->status;
    }
    if (!from->tensors) {
        job->written[job->written_count++] =
            (organ_written_file){.name = from->name, .bytes = bytes, .length = from->bytes, .exact = true};
        return ORGAN_OK;
    }
    organ_layout_file *const file = &job->layout.files[job->layout.file_count++];
    const char *const output = job->options->write.output;
    const bool single = output && organ_output_is_file(output);
    *file = (organ_layout_file){.name = single ? organ_path_name(output) : from->name, .size = from->size};
    set_fillers(from, bytes, file, error);
    free(bytes);
    return error->status;
}

static organ_status add_files(apply_job *job, size_t *place, organ_error *error)
{
    const organ_patch *const p = &job->patch;
    ORGAN_RELEASED_BY(organ_layout_release) organ_layout base = {0};
    job->written = calloc(p->file_count + 1, sizeof *job->written);
    job->layout.files = calloc(p->file_count + 1, sizeof *job->layout.files);
    job->layout.owns_files = true;
    if (!job->written || !job->layout.files)
        return organ_fail_memory(error, p->path);
    organ_layout_copy(job->base, &base, error);
    for (size_t f = 0; f < p->file_count && !error->status; f++) {
        place[f] = job->layout.file_count;
        add_file(job, &base, &p->files[f], error);
    }
    return error->status;
}

/* ---- tensors ---- */

static organ_status find_base(const apply_job *job, const organ_patch_tensor *t, const organ_tensor **base,
                              organ_error *error)
{
    char is[ORGAN_SHAPE_TEXT], was[ORGAN_SHAPE_TEXT];
    const organ_tensor *const found = *base = t->whole ? NULL : organ_model_find(job->base, t->name);
    if (t->whole)
        return ORGAN_OK;
    if (!found)
        return organ_refuse(error, job->options->base, "is not the base of the patch: it has no tensor '%s'", t->name);
    if (strcmp(organ_dtype_name(found->dtype), t->dtype) == 0 && found->bytes == t->bytes &&
        organ_shape_equal(found->rank, found->shape, t->rank, t->shape))
        return ORGAN_OK;
    return organ_refuse(error, job->options->base,
                        "is not the base of the patch: tensor '%s' is %s %s (%llu bytes); the patch is for %s %s "
                        "(%llu bytes)",
                        t->name, organ_dtype_name(found->dtype), organ_shape_text(found->rank, found->shape, was),
                        (unsigned long long)found->bytes, t->dtype, organ_shape_text(t->rank, t->shape, is),
                        (unsigned long long)t->bytes);
}

/* Tensors are named before files, because a model of another kind lacks them all. */
static organ_status check_base(const apply_job *job, organ_error *error)
{
    const organ_tensor *found;
    for (size_t t = 0; t < job->patch.tensor_count && !error->status; t++)
        find_base(job, &job->patch.tensors[t], &found, error);
    return error->status;
}

static organ_status add_tensors(apply_job *job, const size_t *place, organ_error *error)
{
    const organ_patch *const p = &job->patch;
    for (size_t t = 0; t < p->tensor_count && !error->status; t++) {
        const organ_patch_tensor *const from = &p->tensors[t];
        apply_item *const item = &job->items[t];
        *item = (apply_item){.name = from->name, .frame = from->frame, .says = from, .bytes = from->bytes};
        job->layout.pieces[job->layout.piece_count++] = (organ_piece){.name = from->name,
                                                                      .dtype = ORGAN_U8,
                                                                      .rank = from->rank,
                                                                      .shape = from->shape,
                                                                      .item = t,
                                                                      .cost = from->bytes,
                                                                      .bytes = from->bytes,
                                                                      .file = place[from->file],
                                                                      .offset = from->offset,
                                                                      .anatomy = organ_anatomy_of(from->name)};
        find_base(job, from, &item->base, error);
        organ_rows_passed();
    }
    return error->status;
}

static organ_status check_output(const apply_job *job, bool single, const char *name, organ_error *error)
{
    const char *const output = job->options->write.output;
    if (!output || !organ_output_is_file(output) || single)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE, "%s: %s is a directory of files: name a directory", output, name);
}

/* Headers and files stay in memory until they are written; each is unpacked and, if it has tensors, copied. */
static organ_status claim(const apply_job *job, organ_error *error)
{
    return organ_memory_claim(job->engine, 2 * (uint64_t)job->patch.loose, error,
                              "the headers and files without tensors");
}

/* The result of a patch with a manifest. */
static organ_status plan_stated(apply_job *job, organ_error *error)
{
    const organ_patch *const p = &job->patch;
    ORGAN_OWNED size_t *const place = calloc(p->file_count + 1, sizeof *place);
    job->layout = (organ_layout){.model = job->base,
                                 .pieces = organ_rows_take(p->tensor_count + 1, sizeof *job->layout.pieces),
                                 .owns_pieces = true};
    job->items = organ_rows_take(p->tensor_count + 1, sizeof *job->items);
    if (!place || !job->layout.pieces || !job->items)
        return organ_fail_memory(error, p->path);
    if (check_output(job, p->single, p->result, error) || check_base(job, error) || claim(job, error) ||
        add_files(job, place, error) || add_tensors(job, place, error))
        return error->status;
    job->layout.format = organ_ends_with(p->file_count ? p->files[0].name : "", ".gguf") ? "GGUF" : "safetensors";
    return ORGAN_OK;
}

/* ---- patches of other programs ---- */

static organ_status take_frame(apply_job *job, const organ_patch_frame *frame, organ_error *error)
{
    const char *const name = frame->stored->name;
    const organ_tensor *const base = organ_model_find(job->base, name);
    if (!base)
        return organ_refuse(error, job->options->base, "is not the base of the patch: it has no tensor '%s'", name);
    const size_t t = (size_t)(base - job->base->tensors);
    job->layout.pieces[t].same = NULL;
    job->items[t].frame = frame;
    return ORGAN_OK;
}

/* Adds a file of the base to those of the result. */
static organ_patch_file *add_of_base(apply_job *job, const char *name, uint64_t size)
{
    organ_patch_file *const file = &job->patch.files[job->patch.file_count++];
    *file = (organ_patch_file){.name = name, .size = size};
    return file;
}

static organ_status digest_of(apply_job *job, organ_patch_file *file, const char *digest, organ_error *error)
{
    file->digest = organ_arena_copy(&job->patch.arena, digest, strlen(digest));
    return file->digest ? ORGAN_OK : organ_fail_memory(error, file->name);
}

/* The base's reports are left out: they do not describe the result. */
static organ_status add_other(apply_job *job, const char *root, const char *name, size_t *left, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", root, name);
    char digest[ORGAN_CHECKSUM_TEXT];
    uint64_t size;
    if (!path)
        return organ_fail_memory(error, name);
    if (organ_is_report_path(name)) {
        job->left_out[(*left)++] = name;
        return ORGAN_OK;
    }
    if (organ_patch_digest_file(path, &size, digest, error))
        return error->status;
    return digest_of(job, add_of_base(job, name, size), digest, error);
}

/* Lists the files of the result for its report. */
static organ_status list_files_of_base(apply_job *job, organ_error *error)
{
    ORGAN_OWNED char *root = NULL;
    char digest[ORGAN_CHECKSUM_TEXT];
    size_t left = 0;
    if (!organ_output_is_file(job->options->write.output) &&
        organ_extra_files_list(job->base, &root, &job->others, error))
        return error->status;
    job->patch.files = calloc(job->layout.file_count + job->others.count + 1, sizeof *job->patch.files);
    job->left_out = calloc(job->others.count + 1, sizeof *job->left_out);
    if (!job->patch.files || !job->left_out)
        return organ_fail_memory(error, job->base->path);
    for (size_t f = 0; f < job->layout.file_count && !error->status; f++) {
        const organ_layout_file *const from = &job->layout.files[f];
        organ_patch_file *const file = add_of_base(job, from->name, from->size);
        file->tensors = from->count;
        if (organ_patch_digest_fillers(from, digest, error) == ORGAN_OK)
            digest_of(job, file, digest, error);
    }
    for (size_t k = 0; k < job->others.count && !error->status; k++)
        add_other(job, root, job->others.names[k], &left, error);
    return error->status;
}

/* The result has the files of the base, in which the tensors of the patch have other bytes. */
static organ_status plan_of_base(apply_job *job, organ_error *error)
{
    const organ_patch *const p = &job->patch;
    const bool single = !job->base->whole_directory && job->base->file_count == 1;
    const char *const output = job->options->write.output;
    if (organ_layout_copy(job->base, &job->layout, error) || check_output(job, single, job->base->path, error))
        return error->status;
    job->layout.only_copies = false;
    if (single && output && organ_output_is_file(output))
        job->layout.files[0].name = organ_path_name(output);
    if (!(job->items = organ_rows_take(job->base->tensor_count + 1, sizeof *job->items)))
        return organ_fail_memory(error, p->path);
    for (size_t t = 0; t < job->base->tensor_count; t++) {
        const organ_tensor *const base = &job->base->tensors[t];
        job->layout.pieces[t].item = t;
        job->items[t] = (apply_item){.name = base->name, .base = base, .bytes = base->bytes};
    }
    for (size_t k = 0; k < p->model->tensor_count && !error->status; k++)
        take_frame(job, &p->frames[k], error);
    return error->status ? error->status : list_files_of_base(job, error);
}

organ_status organ_patch_plan_result(apply_job *job, organ_error *error)
{
    return job->patch.has_manifest ? plan_stated(job, error) : plan_of_base(job, error);
}
