/* SPDX-License-Identifier: MIT
 * Reads a patch: the changes that make one model of another, in the directory layout of slime's weight deltas, and what
 * organ adds to it. The directory has
 *   model.safetensors.index.json  "metadata": {version, base_version, delta_encoding, compression_format: "zstd",
 *                                 checksum_format}, "weight_map"
 *   *.safetensors                 one U8 vector for each changed tensor, a frame of delta.h; "__metadata__" has the
 *                                 checksum of each tensor's new bytes
 *   organ_patch.json              organ's manifest (ORGAN_PATCH_MANIFEST): files and tensors of the result
 *   files/K.zst                   bytes of files of the result that belong to no tensor
 * Patches of other programs have no manifest: the result then has the files of the base. */
#ifndef ORGAN_FORMATS_PATCH_PATCH_H
#define ORGAN_FORMATS_PATCH_PATCH_H

#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "formats/patch/delta.h"

#include <organ/base.h>
#include <organ/models.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_PATCH_MANIFEST "organ_patch.json"
#define ORGAN_PATCH_SCHEMA   "organ.patch_manifest/1"
#define ORGAN_PATCH_FILES    "files"             /* folder of the contents of files */
#define ORGAN_PATCH_LIMIT    ((size_t)256 << 20) /* bytes of a manifest, and of all files outside of tensors */

/* A changed tensor: its frame in the patch. */
typedef struct organ_patch_frame {
    const organ_model *model;
    const organ_tensor *stored; /* of that model, organ_patch.model */
    const char *checksum;       /* of the new bytes, in organ_patch.kind */
} organ_patch_frame;

/* A tensor of the result, as the manifest states it. */
typedef struct organ_patch_tensor {
    const char *name, *dtype;
    unsigned rank;
    const uint64_t *shape;
    uint64_t bytes, offset;
    size_t file;                    /* index into organ_patch.files */
    const organ_patch_frame *frame; /* NULL: the bytes are those of the base */
    bool whole;                     /* the frame has all bytes, and the base is not read */
    const char *before, *after;     /* XXH3-128 of the base's bytes (NULL: `whole`) and of the result's */
} organ_patch_tensor;

typedef struct organ_patch_span {
    uint64_t offset;
    size_t bytes;
} organ_patch_span;

/* A file of the result. */
typedef struct organ_patch_file {
    const char *name;
    uint64_t size;
    size_t tensors; /* number of its tensors */
    /* Bytes that belong to no tensor: all bytes of a file without tensors, the header and gaps of another. `stored` is
     * the file in the patch that has them; NULL: the file `name` of the base has them at the same places. */
    size_t span_count;
    const organ_patch_span *spans; /* ascending */
    size_t bytes;                  /* of all spans */
    const char *stored;
    const char *digest; /* XXH3-128 of these bytes */
    size_t packed;      /* bytes of `stored`; set by organ_patch_load */
} organ_patch_file;

typedef struct organ_patch {
    const char *path;
    organ_model *model; /* the patch as a model of U8 vectors */
    organ_delta_encoding encoding;
    organ_checksum_kind kind;
    const char *version, *base_version;
    organ_patch_frame *frames; /* of model->tensors, in their order */
    /* XXH3-128 of the manifest or, without one, of names and checksums of all frames: patches with the same make the
     * same changes */
    char digest[ORGAN_CHECKSUM_TEXT];
    /* From the manifest: */
    bool has_manifest;
    bool single;               /* the result is one file; else a directory */
    const char *base, *result; /* names of the models, for messages */
    size_t file_count, tensor_count;
    size_t loose; /* bytes outside of tensors in all files: at most ORGAN_PATCH_LIMIT */
    organ_patch_file *files;
    organ_patch_tensor *tensors;
    organ_arena arena;
} organ_patch;

/* Checks the base of a patch, or the model that one shall restore. Returns ORGAN_USAGE if organ_model_read does not
 * read the bytes of its files (formats/model/composed.h). */
organ_status organ_patch_check_model(const organ_model *model, organ_error *error);

/* Opens the patch at `path`, a directory or a URL; `access` as in organ_model_open_with. Returns ORGAN_BAD_INPUT if the
 * patch is malformed, states an unknown encoding, compression or checksum, or names a file outside of the result; the
 * message names the file, the field and the value. The caller closes *patch also after an error. */
organ_status organ_patch_open(const char *path, const organ_model_access *access, organ_patch *patch,
                              organ_error *error);
void organ_patch_close(organ_patch *patch); /* all zero is allowed */

/* Returns whether a file of the result may have this name: it leads to no other directory, and is no report (organ/)
 * and no file with which organ begins an output (".organ..."). */
bool organ_patch_may_name(const char *name);

/* Parses the manifest, whose bytes are `text`, into a patch whose other members are set. Called by organ_patch_open. */
organ_status organ_patch_parse(const organ_json_source *text, organ_patch *patch, organ_error *error);

/* Returns a frame for organ_delta_apply_begin. The patch must outlive it. */
organ_delta_frame organ_patch_frame_of(const organ_patch_frame *frame);

/* Loads the bytes of a file that belong to no tensor from files/K.zst, and compares their number and digest with the
 * manifest. The caller frees *bytes. Returns ORGAN_BAD_INPUT if they differ or the frame is damaged. */
organ_status organ_patch_load(const organ_patch *patch, organ_patch_file *file, char **bytes, organ_error *error);

/* Compresses bytes into one frame. The caller frees *frame. Returns ORGAN_IO if memory runs out. */
organ_status organ_patch_pack(const void *bytes, size_t count, char **frame, size_t *length, organ_error *error);

/* Writes the XXH3-128 of the bytes in hexadecimal digits. */
void organ_patch_digest(const void *bytes, size_t count, char text[ORGAN_CHECKSUM_TEXT]);

#endif
