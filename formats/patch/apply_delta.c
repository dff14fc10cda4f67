/* SPDX-License-Identifier: MIT
 * The encodings of changes, applied to the bytes of a tensor, and the names of encodings. */
#include "formats/patch/delta.h"

#include "formats/base/arena.h"
#include "formats/base/files.h"

#include <stdlib.h>
#include <string.h>

#define STEP      ((size_t)32 << 10) /* bytes of a xor that are decompressed at once */
#define POSITIONS (STEP / sizeof(uint32_t))

static const char *const names[] = {
    [ORGAN_DELTA_XOR] = "xor", [ORGAN_DELTA_OVERWRITE] = "overwrite", [ORGAN_DELTA_WHOLE] = "whole"};

const char *organ_delta_name(organ_delta_encoding encoding) { return names[encoding]; }

organ_delta_encoding organ_delta_named(const char *name)
{
    organ_delta_encoding encoding = ORGAN_DELTA_XOR;
    while (encoding < ORGAN_DELTA_WHOLE && strcmp(name, names[encoding]) != 0)
        encoding++;
    return encoding;
}

uint64_t organ_delta_content(organ_delta_encoding encoding, uint64_t bytes)
{
    const uint64_t most = bytes < UINT32_MAX ? bytes : UINT32_MAX;
    return encoding == ORGAN_DELTA_OVERWRITE ? 4 + 5 * most : bytes;
}

struct organ_delta_applier {
    organ_delta_reader *reader; /* of all bytes or, of an overwrite, of the positions */
    organ_delta_reader *values; /* of the new bytes of an overwrite, in the same frame */
    unsigned char *buffer;      /* STEP bytes */
    organ_delta_frame frame;
    organ_delta_encoding encoding;
    uint64_t bytes, at; /* of the tensor: all, and those that were changed already */
    uint64_t left;      /* changes of an overwrite that are still to be read */
    size_t next, known; /* positions in `buffer`: the next one, and their number */
    uint64_t before;    /* 1 + the last position that was read */
};

organ_delta_applier *organ_delta_applier_create(void)
{
    organ_delta_applier *const a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->reader = organ_delta_reader_create();
    a->values = organ_delta_reader_create();
    a->buffer = malloc(STEP);
    if (a->reader && a->values && a->buffer)
        return a;
    organ_delta_applier_destroy(a);
    return NULL;
}

void organ_delta_applier_destroy(organ_delta_applier *applier)
{
    if (!applier)
        return;
    organ_delta_reader_destroy(applier->reader);
    organ_delta_reader_destroy(applier->values);
    free(applier->buffer);
    free(applier);
}

size_t organ_delta_applier_bytes(void) { return 2 * organ_delta_reader_bytes() + STEP; }

static organ_status begin_overwrite(organ_delta_applier *a, organ_error *error)
{
    unsigned char count[4];
    organ_delta_open(a->values, &a->frame);
    if (organ_delta_read(a->reader, count, sizeof count, error))
        return error->status;
    a->left = organ_little_endian(count, sizeof count);
    if (a->left > a->bytes)
        return organ_refuse(error, a->frame.label, "tensor '%s': %llu changed bytes are stated; the tensor has %llu",
                            a->frame.name, (unsigned long long)a->left, (unsigned long long)a->bytes);
    return organ_delta_skip(a->values, 4 + 4 * a->left, error);
}

organ_status organ_delta_apply_begin(organ_delta_applier *a, const organ_delta_frame *frame,
                                     organ_delta_encoding encoding, uint64_t bytes, organ_error *error)
{
    a->frame = *frame;
    a->frame.content = organ_delta_content(encoding, bytes);
    a->encoding = encoding;
    a->bytes = bytes;
    a->at = a->left = a->before = 0;
    a->next = a->known = 0;
    organ_delta_open(a->reader, &a->frame);
    return encoding == ORGAN_DELTA_OVERWRITE ? begin_overwrite(a, error) : ORGAN_OK;
}

static organ_status apply_xor(organ_delta_applier *a, unsigned char *bytes, size_t count, organ_error *error)
{
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < STEP ? count - at : STEP;
        if (organ_delta_read(a->reader, a->buffer, n, error))
            return error->status;
        for (size_t k = 0; k < n; k++)
            bytes[at + k] ^= a->buffer[k];
    }
    return ORGAN_OK;
}

/* Positions ascend, so that a position names the next changed byte. */
static organ_status load_positions(organ_delta_applier *a, organ_error *error)
{
    const size_t count = a->left < POSITIONS ? (size_t)a->left : POSITIONS;
    if (organ_delta_read(a->reader, a->buffer, count * sizeof(uint32_t), error))
        return error->status;
    for (size_t k = 0; k < count; k++) {
        const uint64_t position = organ_little_endian(a->buffer + 4 * k, 4);
        if (position < a->before || position >= a->bytes)
            return organ_refuse(error, a->frame.label, "tensor '%s': position %llu of a changed byte %s", a->frame.name,
                                (unsigned long long)position,
                                position < a->before ? "is not after the one before" : "is after the last byte");
        a->before = position + 1;
    }
    a->left -= count;
    a->next = 0;
    a->known = count;
    return ORGAN_OK;
}

static organ_status apply_overwrite(organ_delta_applier *a, unsigned char *bytes, size_t count, organ_error *error)
{
    while (a->next < a->known || a->left) {
        if (a->next == a->known && load_positions(a, error))
            return error->status;
        const uint64_t position = organ_little_endian(a->buffer + 4 * a->next, 4);
        if (position >= a->at + count)
            return ORGAN_OK;
        if (organ_delta_read(a->values, bytes + (position - a->at), 1, error))
            return error->status;
        a->next++;
    }
    return ORGAN_OK;
}

organ_status organ_delta_apply(organ_delta_applier *a, void *bytes, size_t count, organ_error *error)
{
    if (a->encoding == ORGAN_DELTA_WHOLE)
        organ_delta_read(a->reader, bytes, count, error);
    else if (a->encoding == ORGAN_DELTA_XOR)
        apply_xor(a, bytes, count, error);
    else
        apply_overwrite(a, bytes, count, error);
    a->at += count;
    return error->status;
}

organ_status organ_delta_apply_end(organ_delta_applier *a, organ_error *error)
{
    return organ_delta_close(a->encoding == ORGAN_DELTA_OVERWRITE ? a->values : a->reader, error);
}
