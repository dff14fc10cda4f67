/* SPDX-License-Identifier: MIT
 * The changes of tensors in a patch: one Zstandard frame for each tensor, and checksums of the new bytes. Both are
 * streamed, so that memory does not depend on the size of a tensor. The encodings are those of the weight deltas of
 * slime (THUDM/slime, update_weight_from_disk_delta.py):
 *   xor        new bytes ^ old bytes, as many as the tensor has
 *   overwrite  number of changed bytes (u32), the position of each (u32), the new bytes
 * All integers are little endian. A tensor that the base lacks is stored whole: the frame has its bytes. */
#ifndef ORGAN_FORMATS_PATCH_DELTA_H
#define ORGAN_FORMATS_PATCH_DELTA_H

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- checksums ---- */

/* `checksum_format` of a patch. BLAKE3 and other names are refused. */
typedef enum organ_checksum_kind {
    ORGAN_CHECKSUM_XXH3_128,
    ORGAN_CHECKSUM_ADLER32,
    ORGAN_CHECKSUMS
} organ_checksum_kind;

#define ORGAN_CHECKSUM_NAMES "xxh3-128|adler32"
#define ORGAN_CHECKSUM_TEXT  33 /* hexadecimal digits of the longest checksum, and the NUL */

const char *organ_checksum_name(organ_checksum_kind kind);
/* Returns ORGAN_CHECKSUMS for an unknown name. */
organ_checksum_kind organ_checksum_named(const char *name);

/* A running checksum. */
typedef struct organ_checksum organ_checksum;
/* Returns NULL if memory runs out. */
organ_checksum *organ_checksum_create(void);
void organ_checksum_destroy(organ_checksum *sum); /* NULL is allowed */
void organ_checksum_begin(organ_checksum *sum, organ_checksum_kind kind);
void organ_checksum_add(organ_checksum *sum, const void *bytes, size_t count);
/* Writes the checksum of all bytes since the beginning in lower-case hexadecimal digits: 32 or, for adler32, 8. */
void organ_checksum_text(const organ_checksum *sum, char text[ORGAN_CHECKSUM_TEXT]);

/* ---- frames ---- */

/* Receives the next `count` bytes of a frame. */
typedef organ_status organ_delta_sink(void *context, const void *bytes, size_t count, organ_error *error);
/* Reads `count` bytes of the frame, from byte `at` on. */
typedef organ_status organ_delta_source(const void *context, void *to, size_t count, uint64_t at, organ_error *error);

#define ORGAN_DELTA_LEVELS 1, 9 /* compression levels; slime's is 1 */

/* Compresses frames, one after the other. */
typedef struct organ_delta_writer organ_delta_writer;
/* Returns NULL if memory runs out. */
organ_delta_writer *organ_delta_writer_create(int level);
void organ_delta_writer_destroy(organ_delta_writer *writer); /* NULL is allowed */
/* Bytes that a writer of this level needs at most, with its buffers. */
size_t organ_delta_writer_bytes(int level);
/* Begins a frame of `content` bytes, whose compressed bytes `sink` receives. `name` is the tensor, for messages; it and
 * `context` must outlive the frame. */
void organ_delta_begin(organ_delta_writer *writer, const char *name, uint64_t content, organ_delta_sink *sink,
                       void *context);
/* Adds bytes to the frame. The last bytes of its content end it: `sink` has then received the whole frame. Returns the
 * errors of `sink`, and ORGAN_IO if memory runs out. */
organ_status organ_delta_add(organ_delta_writer *writer, const void *bytes, size_t count, organ_error *error);
/* Adds `count` zeros. */
organ_status organ_delta_add_zeros(organ_delta_writer *writer, uint64_t count, organ_error *error);

/* Decompresses frames, one after the other. */
typedef struct organ_delta_reader organ_delta_reader;
/* Returns NULL if memory runs out. */
organ_delta_reader *organ_delta_reader_create(void);
void organ_delta_reader_destroy(organ_delta_reader *reader); /* NULL is allowed */
/* Bytes that a reader needs at most. Frames with a window above 8 MiB are refused; levels up to 19 have none. */
size_t organ_delta_reader_bytes(void);

/* A compressed tensor in a patch. */
typedef struct organ_delta_frame {
    const char *label, *name;   /* of the file and of the tensor, for messages */
    uint64_t bytes;             /* compressed */
    uint64_t content;           /* most bytes that the frame may contain */
    organ_delta_source *source; /* reads the compressed bytes */
    const void *context;
} organ_delta_frame;

/* Begins to read a frame; `frame` must outlive it. */
void organ_delta_open(organ_delta_reader *reader, const organ_delta_frame *frame);
/* Reads the next `count` bytes of the content. Returns ORGAN_BAD_INPUT if the frame is damaged, ends before them, or
 * has more content than frame->content; the errors of the source; ORGAN_IO if memory runs out. */
organ_status organ_delta_read(organ_delta_reader *reader, void *to, size_t count, organ_error *error);
/* Reads and drops the next `count` bytes. */
organ_status organ_delta_skip(organ_delta_reader *reader, uint64_t count, organ_error *error);
/* Returns ORGAN_BAD_INPUT unless the frame ends here, with the last of the compressed bytes. */
organ_status organ_delta_close(organ_delta_reader *reader, organ_error *error);

/* ---- both encodings ---- */

typedef enum organ_delta_encoding { ORGAN_DELTA_XOR, ORGAN_DELTA_OVERWRITE, ORGAN_DELTA_WHOLE } organ_delta_encoding;

#define ORGAN_DELTA_NAMES "xor|overwrite"
const char *organ_delta_name(organ_delta_encoding encoding); /* "whole" is no delta_encoding of a patch */
/* Returns ORGAN_DELTA_WHOLE for an unknown name. */
organ_delta_encoding organ_delta_named(const char *name);

/* Most bytes of the content of a frame for a tensor of `bytes` bytes. */
uint64_t organ_delta_content(organ_delta_encoding encoding, uint64_t bytes);

/* Changes the bytes of a tensor, from its first byte to its last. */
typedef struct organ_delta_applier organ_delta_applier;
/* Returns NULL if memory runs out. */
organ_delta_applier *organ_delta_applier_create(void);
void organ_delta_applier_destroy(organ_delta_applier *applier); /* NULL is allowed */
size_t organ_delta_applier_bytes(void);                         /* that it needs at most */
/* Begins with the tensor of the frame, which has `bytes` bytes and whose frame->content is not used. `frame` must
 * outlive the work. Returns ORGAN_BAD_INPUT if the frame is damaged. */
organ_status organ_delta_apply_begin(organ_delta_applier *applier, const organ_delta_frame *frame,
                                     organ_delta_encoding encoding, uint64_t bytes, organ_error *error);
/* Replaces the next `count` bytes of the tensor, which are those of the base, by the new ones. Of a whole tensor they
 * may be any. Returns ORGAN_BAD_INPUT if the frame is damaged, or if positions are not ascending. */
organ_status organ_delta_apply(organ_delta_applier *applier, void *bytes, size_t count, organ_error *error);
/* Returns ORGAN_BAD_INPUT unless the frame has no more changes. */
organ_status organ_delta_apply_end(organ_delta_applier *applier, organ_error *error);

#endif
