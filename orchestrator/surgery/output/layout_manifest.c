/* SPDX-License-Identifier: MIT
 * Writes manifest.json of an organ directory: the files and tensors of its donor, with digests. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/output/layout.h"

#include <organ/report.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/file_record.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/version.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static json_t *digest_json(uint64_t xxh3) { return organ_json_sprintf("%016llx", (unsigned long long)xxh3); }

json_t *organ_layout_digest(const organ_layout *layout, size_t k) { return digest_json(layout->copies[k].xxh3); }

bool organ_layout_piece_changed(const organ_layout *layout, size_t k)
{
    const char *const known = layout->pieces[k].known;
    char digest[17];
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)layout->copies[k].xxh3);
    return known && strcmp(known, digest) != 0;
}

/* `shards` are the files that keep the fillers of the donor file, the header first. */
static json_t *layout_manifest_source_json(const organ_layout_file *file, const organ_shard *shards)
{
    json_t *const gaps = json_array();
    bool complete = gaps != NULL;
    for (size_t k = 1; k < file->filler_count && complete; k++)
        complete = json_array_append_new(gaps, ORGAN_OBJECT(SET_COUNT("offset", file->fillers[k].offset),
                                                            SET_COUNT("bytes", file->fillers[k].bytes),
                                                            SET_TEXT("file", shards[k].name))) == 0;
    if (complete)
        return ORGAN_OBJECT(SET_COUNT("size", file->size), SET_COUNT("header_bytes", file->data_offset),
                            SET_TEXT("header", shards[0].name),
                            SET("header_xxh3", digest_json(XXH3_64bits(file->fillers[0].data, file->fillers[0].bytes))),
                            SET("gaps", gaps));
    json_decref(gaps);
    return NULL;
}

static json_t *sources_json(const organ_layout *layout)
{
    json_t *sources = json_object();
    const organ_shard *shards = layout->shards;
    for (size_t f = 0; f < layout->file_count && sources; f++) {
        json_t *const name = organ_document_string(layout->files[f].name);
        if (!name || json_object_set_new(sources, json_string_value(name),
                                         layout_manifest_source_json(&layout->files[f], shards))) {
            json_decref(sources);
            sources = NULL;
        }
        json_decref(name);
        shards += layout->files[f].filler_count;
    }
    return sources;
}

static uint64_t padding_after(const organ_layout *layout, size_t k)
{
    const organ_tensor *const as = &layout->pieces[k].as;
    const organ_layout_file *const file = &layout->files[as->file];
    const uint64_t next = k + 1 < file->first + file->count ? layout->pieces[k + 1].as.offset : file->size;
    return next - as->offset - as->bytes;
}

static json_t *piece_json(const void *context, size_t k)
{
    const organ_layout *const layout = context;
    const organ_piece *const piece = &layout->pieces[k];
    const organ_anatomy *const anatomy = &piece->as.anatomy;
    return ORGAN_OBJECT(
        SET_TEXT("role", organ_role_describe(anatomy->role)->name), SET_TEXT("group", organ_group_name(anatomy->group)),
        SET_INDEX("layer", anatomy->layer), SET_INDEX("expert", anatomy->expert),
        SET_TEXT("dtype", organ_dtype_describe(piece->as.dtype)->name), SET("shape", organ_shape_json(&piece->as)),
        SET_COUNT("bytes", piece->as.bytes), SET("xxh3", organ_layout_digest(layout, k)),
        SET_TEXT("file", layout->shards[layout->copies[k].file].name),
        SET_BYTES("source", layout->files[piece->as.file].name), SET_COUNT("offset", piece->as.offset),
        SET_COUNT("padding", padding_after(layout, k)));
}

static const char *piece_name(const void *layout, size_t k)
{
    return ((const organ_layout *)layout)->pieces[k].as.name;
}

static json_t *folders_json(const organ_layout *layout)
{
    json_t *const folders = json_object();
    for (organ_group g = 0; g <= ORGAN_GROUP_OTHER; g++) {
        const organ_amount in = organ_layout_amount(layout, g, NULL);
        json_object_set_new(folders, organ_group_folder(g),
                            ORGAN_OBJECT(SET_COUNT("tensors", in.tensors), SET_COUNT("bytes", in.bytes)));
    }
    return folders;
}

/* No piece may differ from its digest in the manifest of its organ directory. */
static bool equals_donor(const organ_layout *layout)
{
    bool same = !layout->changed;
    for (size_t k = 0; k < layout->piece_count && same; k++)
        same = !organ_layout_piece_changed(layout, k);
    return same;
}

/* The tensors are written one by one, because as one JSON object they could need much memory. */
organ_status organ_layout_manifest(organ_layout *layout, const char *directory, json_t *about, organ_error *error)
{
    const char *path = organ_path_join(&layout->arena, directory, ORGAN_MANIFEST);
    json_t *const extra = organ_file_record(directory, ORGAN_FILES_FOLDER, error);
    json_t *manifest =
        error->status ? NULL
                      : ORGAN_OBJECT(SET_TEXT("schema", ORGAN_MANIFEST_SCHEMA), SET_TEXT("organ", ORGAN_VERSION),
                                     SET_TEXT("format", layout->format), SET_FLAG("donor_again", equals_donor(layout)),
                                     SET("model", json_incref(about)), SET("folders", folders_json(layout)),
                                     SET("sources", sources_json(layout)), SET("tensors", json_null()),
                                     SET(ORGAN_FILES_FOLDER, extra));
    if (manifest && path)
        organ_document_write_long(path, manifest,
                                  &(organ_long_member){"tensors", layout->piece_count, piece_name, piece_json, layout},
                                  error);
    else if (!error->status)
        organ_fail_memory(error, directory);
    json_decref(manifest);
    return error->status;
}
