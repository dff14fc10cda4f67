/* SPDX-License-Identifier: MIT
 * Patches: the manifest of one, if the data begin with a brace, else a frame of changes: a byte with the encoding, two
 * with the size of the tensor, then the compressed bytes. */
#include "formats/base/text.h"
#include "formats/patch/patch.h"
#include "tests/fuzz/targets.h"

#include <stdlib.h>
#include <string.h>

static void check_parsed(const organ_patch *patch)
{
    fuzz_require(patch->loose <= ORGAN_PATCH_LIMIT, "memory has room for the files");
    for (size_t f = 0; f < patch->file_count; f++) {
        const organ_patch_file *const file = &patch->files[f];
        fuzz_require(organ_path_stays_inside(file->name, true), "no file is outside of the result");
        fuzz_require(file->bytes <= file->size && file->bytes <= ORGAN_PATCH_LIMIT, "a file has room for its bytes");
        for (size_t k = 0; k < file->span_count; k++)
            fuzz_require(file->spans[k].bytes <= file->size &&
                             file->spans[k].offset <= file->size - file->spans[k].bytes,
                         "a span is in its file");
    }
    for (size_t t = 0; t < patch->tensor_count; t++) {
        const organ_patch_tensor *const tensor = &patch->tensors[t];
        fuzz_require(tensor->file < patch->file_count, "a tensor has a file");
        const uint64_t size = patch->files[tensor->file].size;
        fuzz_require(tensor->bytes <= size && tensor->offset <= size - tensor->bytes, "a tensor is in its file");
        fuzz_require(tensor->after && (tensor->whole || tensor->before), "a tensor has digests");
    }
}

static void parse_manifest(const uint8_t *data, size_t size)
{
    organ_error error = {0};
    organ_patch patch = {.path = "patch"};
    const organ_json_source text = {"manifest", (const char *)data, size};
    const organ_status status = organ_patch_parse(&text, &patch, &error);
    fuzz_check_verdict(status, &error);
    if (status == ORGAN_OK)
        check_parsed(&patch);
    organ_patch_close(&patch);
}

typedef struct frame_bytes {
    const uint8_t *data;
    size_t size;
} frame_bytes;

static organ_status read_frame(const void *context, void *to, size_t count, uint64_t at, organ_error *error)
{
    const frame_bytes *const frame = context;
    fuzz_require(at <= frame->size && count <= frame->size - at, "only bytes of the frame are read");
    memcpy(to, frame->data + at, count);
    return error->status;
}

/* Changes `bytes` zeros in steps of `step` bytes. */
static organ_status change(organ_delta_applier *applier, const frame_bytes *stored, organ_delta_encoding encoding,
                           uint8_t *tensor, size_t bytes, size_t step)
{
    organ_error error = {0};
    const organ_delta_frame frame = {
        .label = "patch", .name = "t", .bytes = stored->size, .source = read_frame, .context = stored};
    organ_delta_apply_begin(applier, &frame, encoding, bytes, &error);
    for (size_t at = 0, n; at < bytes && !error.status; at += n) {
        n = bytes - at < step ? bytes - at : step;
        organ_delta_apply(applier, tensor + at, n, &error);
    }
    if (!error.status)
        organ_delta_apply_end(applier, &error);
    fuzz_check_verdict(error.status, &error);
    return error.status;
}

static void apply_frame(const uint8_t *data, size_t size)
{
    const size_t bytes = (size_t)data[1] | (size_t)data[2] << 8;
    const frame_bytes stored = {data + 3, size - 3};
    const organ_delta_encoding encoding = (organ_delta_encoding)(data[0] % 3);
    organ_delta_applier *const applier = organ_delta_applier_create();
    uint8_t *const tensor = calloc(bytes + 1, 1), *const again = calloc(bytes + 1, 1);
    fuzz_require(applier && tensor && again, "there is memory");
    const organ_status status = change(applier, &stored, encoding, tensor, bytes, 4096);
    const organ_status other = change(applier, &stored, encoding, again, bytes, 77);
    fuzz_require((status == ORGAN_OK) == (other == ORGAN_OK), "steps do not matter");
    if (status == ORGAN_OK)
        fuzz_require(memcmp(tensor, again, bytes) == 0, "steps do not change the bytes");
    free(tensor);
    free(again);
    organ_delta_applier_destroy(applier);
}

void fuzz_patch(const uint8_t *data, size_t size)
{
    if (size && *data == '{')
        parse_manifest(data, size);
    else if (size >= 3)
        apply_frame(data, size);
}
