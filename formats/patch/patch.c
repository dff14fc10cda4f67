/* SPDX-License-Identifier: MIT
 * Opens a patch: its index, the headers of its files and, if it has one, its manifest. */
#include "formats/patch/patch.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/model/composed.h"
#include "formats/model/recognise.h"
#include "formats/safetensors/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LEVEL 3   /* of the compression of files without tensors */
#define SHOWN 200 /* bytes of a value that messages show */

/* ---- the index ---- */

static const char *index_of(const organ_model *model) { return model->index ? model->index : ORGAN_INDEX_NAME; }

/* Sets *metadata to the member "metadata" of the index; NULL: there is none, or no index. */
static organ_status load_metadata(const organ_model *model, json_t **metadata, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    *metadata = NULL;
    if (organ_model_load(model, index_of(model), ORGAN_INDEX_LIMIT, &bytes, &length, error) || !bytes)
        return error->status;
    const organ_json_source text = {index_of(model), bytes, length};
    const organ_json_span span = organ_json_member(&text, (organ_json_span){0, length}, "metadata");
    if (span.end > span.begin)
        organ_json_parse(&text, span, "metadata", metadata, error);
    return error->status;
}

static const char *setting_of(const organ_patch *patch, const json_t *metadata, const char *name, organ_error *error)
{
    const char *const text = organ_json_plain(json_object_get(metadata, name));
    if (!text && !error->status)
        organ_refuse(error, patch->path, "is no patch: " ORGAN_INDEX_NAME " has no text metadata.%s", name);
    return text ? text : "";
}

static organ_status check_settings(organ_patch *patch, const json_t *metadata, organ_error *error)
{
    const char *const encoding = setting_of(patch, metadata, "delta_encoding", error);
    const char *const compression = setting_of(patch, metadata, "compression_format", error);
    const char *const checksum = setting_of(patch, metadata, "checksum_format", error);
    if (error->status)
        return error->status;
    patch->encoding = organ_delta_named(encoding);
    patch->kind = organ_checksum_named(checksum);
    if (patch->encoding == ORGAN_DELTA_WHOLE)
        return organ_refuse(error, patch->path, "metadata.delta_encoding is '%.*s', not one of " ORGAN_DELTA_NAMES,
                            SHOWN, encoding);
    if (strcmp(compression, "zstd") != 0)
        return organ_refuse(error, patch->path, "metadata.compression_format is '%.*s', not zstd", SHOWN, compression);
    if (patch->kind == ORGAN_CHECKSUMS)
        return organ_refuse(error, patch->path, "metadata.checksum_format is '%.*s', not one of " ORGAN_CHECKSUM_NAMES,
                            SHOWN, checksum);
    return ORGAN_OK;
}

static const char *kept(organ_patch *patch, const char *text, organ_error *error)
{
    const char *const copy = organ_arena_copy(&patch->arena, text, strlen(text));
    if (!copy)
        organ_fail_memory(error, patch->path);
    return copy;
}

static organ_status read_index(organ_patch *patch, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *metadata = NULL;
    if (load_metadata(patch->model, &metadata, error) || check_settings(patch, metadata, error))
        return error->status;
    const char *const version = organ_json_plain(json_object_get(metadata, "version"));
    const char *const before = organ_json_plain(json_object_get(metadata, "base_version"));
    patch->version = kept(patch, version ? version : "", error);
    patch->base_version = kept(patch, before ? before : "", error);
    return error->status;
}

/* ---- checksums ---- */

static bool is_checksum(const char *text, organ_checksum_kind kind)
{
    const size_t digits = kind == ORGAN_CHECKSUM_XXH3_128 ? 32 : 8;
    return text && strspn(text, "0123456789abcdef") == digits && !text[digits];
}

static organ_status take_checksum(organ_patch *patch, const organ_model_file *file, const char *name, const char *text,
                                  organ_error *error)
{
    const organ_tensor *const stored = organ_model_find(patch->model, name);
    if (!stored) /* another program may have written other texts, such as "format" */
        return ORGAN_OK;
    if (!is_checksum(text, patch->kind))
        return organ_refuse(error, file->name, "tensor '%.*s': the checksum '%.*s' in __metadata__ is no %s", SHOWN,
                            name, SHOWN, text ? text : "", organ_checksum_name(patch->kind));
    patch->frames[stored - patch->model->tensors].checksum = kept(patch, text, error);
    return error->status;
}

/* organ_model_open has checked the header already. */
static organ_status read_checksums(organ_patch *patch, uint32_t f, organ_error *error)
{
    const organ_model_file *const file = &patch->model->files[f];
    const size_t length = (size_t)file->data_offset - 8;
    ORGAN_OWNED_ROWS char *const bytes = organ_rows_take(length + 1, 1);
    organ_json_walk walk;
    if (!bytes)
        return organ_fail_memory(error, file->name);
    if (organ_model_read(patch->model, f, bytes, length, 8, error))
        return error->status;
    const organ_json_source text = {file->name, bytes, length};
    const organ_json_span span = organ_json_member(&text, (organ_json_span){0, length}, "__metadata__");
    if (span.end - span.begin <= 4) /* there is none, or it is null or {} */
        return ORGAN_OK;
    organ_json_walk_begin(&walk, &text, span, "__metadata__", error);
    while (organ_json_walk_next(&walk, error)) {
        ORGAN_OWNED_JSON json_t *value = NULL;
        if (organ_json_parse(&text, walk.value, "__metadata__", &value, error) == ORGAN_OK)
            take_checksum(patch, file, json_string_value(walk.name), organ_json_plain(value), error);
        organ_rows_passed();
    }
    return error->status;
}

static organ_status read_frames(organ_patch *patch, organ_error *error)
{
    const organ_model *const model = patch->model;
    if (!(patch->frames = organ_rows_take(model->tensor_count + 1, sizeof *patch->frames)))
        return organ_fail_memory(error, patch->path);
    for (uint32_t f = 0; f < model->file_count && !error->status; f++)
        read_checksums(patch, f, error);
    for (size_t t = 0; t < model->tensor_count && !error->status; t++) {
        const organ_tensor *const stored = patch->frames[t].stored = &model->tensors[t];
        patch->frames[t].model = model;
        if (stored->dtype != ORGAN_U8 || stored->rank != 1)
            organ_refuse(error, patch->path, "tensor '%.*s' is %s with %u axes, not the U8 vector of a patch", SHOWN,
                         stored->name, organ_dtype_name(stored->dtype), stored->rank);
        else if (!patch->frames[t].checksum)
            organ_refuse(error, patch->path, "tensor '%.*s' has no checksum in __metadata__ of %s", SHOWN, stored->name,
                         model->files[stored->file].name);
    }
    return error->status;
}

/* ---- the patch ---- */

static organ_status digest_frames(organ_patch *patch, organ_error *error)
{
    organ_checksum *const sum = organ_checksum_create();
    if (!sum)
        return organ_fail_memory(error, patch->path);
    organ_checksum_begin(sum, ORGAN_CHECKSUM_XXH3_128);
    for (size_t t = 0; t < patch->model->tensor_count; t++) {
        const organ_patch_frame *const frame = &patch->frames[t];
        organ_checksum_add(sum, frame->stored->name, strlen(frame->stored->name) + 1);
        organ_checksum_add(sum, frame->checksum, strlen(frame->checksum) + 1);
    }
    organ_checksum_text(sum, patch->digest);
    organ_checksum_destroy(sum);
    return ORGAN_OK;
}

static organ_status read_manifest(organ_patch *patch, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    if (organ_model_load(patch->model, ORGAN_PATCH_MANIFEST, ORGAN_PATCH_LIMIT, &bytes, &length, error) || !bytes)
        return error->status;
    organ_patch_digest(bytes, length, patch->digest);
    const organ_json_source text = {ORGAN_PATCH_MANIFEST, bytes, length};
    return organ_patch_parse(&text, patch, error);
}

organ_status organ_patch_check_model(const organ_model *model, organ_error *error)
{
    return organ_model_is_composed(model)
               ? organ_fail(error, ORGAN_USAGE,
                            "%s: organ reads this model of mlx-lm in another form than its files have, so that no "
                            "patch can restore them",
                            model->path)
               : ORGAN_OK;
}

organ_status organ_patch_open(const char *path, const organ_model_access *access, organ_patch *patch,
                              organ_error *error)
{
    *patch = (organ_patch){.path = path};
    if (organ_model_open_codes(path, access, &patch->model, error) || read_index(patch, error) ||
        read_frames(patch, error) || digest_frames(patch, error))
        return error->status;
    return read_manifest(patch, error);
}

void organ_patch_close(organ_patch *patch)
{
    organ_rows_free(patch->frames);
    organ_rows_free(patch->tensors);
    free(patch->files);
    organ_model_close(patch->model);
    organ_arena_release(&patch->arena);
    *patch = (organ_patch){0};
}

/* ---- frames ---- */

static organ_status read_stored(const void *context, void *to, size_t count, uint64_t at, organ_error *error)
{
    const organ_patch_frame *const frame = context;
    return organ_model_read(frame->model, frame->stored->file, to, count, frame->stored->offset + at, error);
}

organ_delta_frame organ_patch_frame_of(const organ_patch_frame *frame)
{
    return (organ_delta_frame){.label = frame->model->files[frame->stored->file].name,
                               .name = frame->stored->name,
                               .bytes = frame->stored->bytes,
                               .source = read_stored,
                               .context = frame};
}

/* ---- files without tensors ---- */

typedef struct packed_file {
    const char *bytes;
    char *grown; /* of a frame that is being written */
    size_t length, room;
} packed_file;

static organ_status read_packed(const void *context, void *to, size_t count, uint64_t at, organ_error *error)
{
    memcpy(to, ((const packed_file *)context)->bytes + at, count);
    return error->status;
}

static organ_status unpack(const organ_patch_file *file, const packed_file *packed, char *to, organ_error *error)
{
    const organ_delta_frame frame = {.label = file->stored,
                                     .name = file->name,
                                     .bytes = packed->length,
                                     .content = file->bytes,
                                     .source = read_packed,
                                     .context = packed};
    organ_delta_reader *const reader = organ_delta_reader_create();
    if (!reader)
        return organ_fail_memory(error, file->name);
    organ_delta_open(reader, &frame);
    if (organ_delta_read(reader, to, file->bytes, error) == ORGAN_OK)
        organ_delta_close(reader, error);
    organ_delta_reader_destroy(reader);
    return error->status;
}

void organ_patch_digest(const void *bytes, size_t count, char text[ORGAN_CHECKSUM_TEXT])
{
    const XXH128_hash_t digest = XXH3_128bits(bytes, count);
    snprintf(text, ORGAN_CHECKSUM_TEXT, "%016" PRIx64 "%016" PRIx64, (uint64_t)digest.high64, (uint64_t)digest.low64);
}

organ_status organ_patch_load(const organ_patch *patch, organ_patch_file *file, char **bytes, organ_error *error)
{
    ORGAN_OWNED char *stored = NULL;
    packed_file packed = {0};
    char digest[ORGAN_CHECKSUM_TEXT];
    const size_t most = file->bytes + file->bytes / 128 + 4096; /* of a frame of bytes that cannot be compressed */
    *bytes = NULL;
    if (organ_model_load(patch->model, file->stored, most, &stored, &packed.length, error))
        return error->status;
    if (!stored)
        return organ_refuse(error, patch->path, "lacks %s, the bytes of %s", file->stored, file->name);
    packed.bytes = stored;
    file->packed = packed.length;
    if (!(*bytes = malloc(file->bytes + 1)))
        return organ_fail_memory(error, file->name);
    if (unpack(file, &packed, *bytes, error))
        return error->status;
    organ_patch_digest(*bytes, file->bytes, digest);
    if (strcmp(digest, file->digest) != 0)
        organ_refuse(error, file->stored, "the bytes of '%s' have the XXH3-128 %s; the manifest states %s", file->name,
                     digest, file->digest);
    return error->status;
}

static organ_status keep_packed(void *context, const void *bytes, size_t count, organ_error *error)
{
    packed_file *const packed = context;
    if (count > packed->room - packed->length) {
        const size_t room = 2 * packed->room + count;
        char *const grown = realloc(packed->grown, room);
        if (!grown)
            return organ_fail_memory(error, "a compressed file");
        packed->grown = grown;
        packed->room = room;
    }
    memcpy(packed->grown + packed->length, bytes, count);
    packed->length += count;
    return error->status;
}

organ_status organ_patch_pack(const void *bytes, size_t count, char **frame, size_t *length, organ_error *error)
{
    packed_file packed = {0};
    organ_delta_writer *const writer = organ_delta_writer_create(LEVEL);
    if (!writer)
        return organ_fail_memory(error, "a compressed file");
    organ_delta_begin(writer, "file", count, keep_packed, &packed);
    organ_delta_add(writer, bytes, count, error);
    organ_delta_writer_destroy(writer);
    if (error->status)
        organ_clear(&packed.grown);
    *frame = packed.grown;
    *length = packed.length;
    return error->status;
}
