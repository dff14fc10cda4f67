/* SPDX-License-Identifier: MIT
 * Frames of a patch: compression and decompression by libzstd, in steps of fixed size. */
#include "formats/patch/delta.h"

#include "formats/base/arena.h"
#include "formats/base/files.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define STEP       ((size_t)128 << 10) /* compressed bytes that are read or passed on at once */
#define ZEROS      ((size_t)16 << 10)
#define WINDOW_LOG 23 /* most of a frame that is read */

/* ---- writer ---- */

struct organ_delta_writer {
    ZSTD_CCtx *context;
    unsigned char *out; /* STEP bytes */
    const char *name;
    organ_delta_sink *sink;
    void *sink_context;
    uint64_t left; /* bytes of content that are still to come */
    size_t fault;  /* of ZSTD; 0: none */
};

organ_delta_writer *organ_delta_writer_create(int level)
{
    organ_delta_writer *const writer = calloc(1, sizeof *writer);
    if (!writer)
        return NULL;
    writer->context = ZSTD_createCCtx();
    writer->out = malloc(STEP);
    if (writer->context && writer->out &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(writer->context, ZSTD_c_compressionLevel, level)))
        return writer;
    organ_delta_writer_destroy(writer);
    return NULL;
}

void organ_delta_writer_destroy(organ_delta_writer *writer)
{
    if (!writer)
        return;
    ZSTD_freeCCtx(writer->context);
    free(writer->out);
    free(writer);
}

/* Measured with libzstd 1.5.4 (ZSTD_sizeof_CCtx after a long frame): 1.3 MB at level 1, 13 MB at level 9. */
size_t organ_delta_writer_bytes(int level)
{
    static const unsigned char mebibytes[] = {2, 2, 3, 4, 6, 7, 10, 15, 15, 20};
    const size_t last = sizeof mebibytes - 1, at = level < 0 ? 0 : (size_t)level;
    return ((size_t)mebibytes[at < last ? at : last] << 20) + STEP;
}

void organ_delta_begin(organ_delta_writer *writer, const char *name, uint64_t content, organ_delta_sink *sink,
                       void *context)
{
    writer->name = name;
    writer->sink = sink;
    writer->sink_context = context;
    writer->left = content;
    ZSTD_CCtx_reset(writer->context, ZSTD_reset_session_only);
    writer->fault = ZSTD_CCtx_setPledgedSrcSize(writer->context, content);
}

organ_status organ_delta_add(organ_delta_writer *writer, const void *bytes, size_t count, organ_error *error)
{
    ZSTD_inBuffer in = {bytes, count, 0};
    writer->left -= count;
    const ZSTD_EndDirective way = writer->left ? ZSTD_e_continue : ZSTD_e_end;
    for (size_t more = 1; more && !error->status;) {
        ZSTD_outBuffer out = {writer->out, STEP, 0};
        const size_t result =
            ZSTD_isError(writer->fault) ? writer->fault : ZSTD_compressStream2(writer->context, &out, &in, way);
        if (ZSTD_isError(result))
            return organ_fail(error, ORGAN_IO, "tensor '%s': cannot be compressed: %s", writer->name,
                              ZSTD_getErrorName(result));
        if (out.pos)
            writer->sink(writer->sink_context, writer->out, out.pos, error);
        more = writer->left ? in.size - in.pos : result;
    }
    return error->status;
}

organ_status organ_delta_add_zeros(organ_delta_writer *writer, uint64_t count, organ_error *error)
{
    static const unsigned char zeros[ZEROS];
    for (uint64_t n; count && !error->status; count -= n) {
        n = count < ZEROS ? count : ZEROS;
        organ_delta_add(writer, zeros, (size_t)n, error);
    }
    return error->status;
}

/* ---- reader ---- */

struct organ_delta_reader {
    ZSTD_DCtx *context;
    unsigned char *in; /* STEP bytes */
    ZSTD_inBuffer input;
    const organ_delta_frame *frame;
    uint64_t at;      /* compressed bytes that were read */
    uint64_t content; /* bytes of content that were read */
    bool ended;       /* the frame has ended */
};

organ_delta_reader *organ_delta_reader_create(void)
{
    organ_delta_reader *const reader = calloc(1, sizeof *reader);
    if (!reader)
        return NULL;
    reader->context = ZSTD_createDCtx();
    reader->in = malloc(STEP);
    if (reader->context && reader->in &&
        !ZSTD_isError(ZSTD_DCtx_setParameter(reader->context, ZSTD_d_windowLogMax, WINDOW_LOG)))
        return reader;
    organ_delta_reader_destroy(reader);
    return NULL;
}

void organ_delta_reader_destroy(organ_delta_reader *reader)
{
    if (!reader)
        return;
    ZSTD_freeDCtx(reader->context);
    free(reader->in);
    free(reader);
}

/* The window, a block of input and two of output, and the tables. */
size_t organ_delta_reader_bytes(void) { return ((size_t)1 << WINDOW_LOG) + ((size_t)1 << 20); }

void organ_delta_open(organ_delta_reader *reader, const organ_delta_frame *frame)
{
    ZSTD_DCtx_reset(reader->context, ZSTD_reset_session_only);
    reader->frame = frame;
    reader->input = (ZSTD_inBuffer){reader->in, 0, 0};
    reader->at = reader->content = 0;
    reader->ended = false;
}

static organ_status refuse_frame(const organ_delta_reader *reader, organ_error *error, const char *why)
{
    return organ_refuse(error, reader->frame->label, "tensor '%s': the Zstandard frame %s", reader->frame->name, why);
}

static organ_status load_input(organ_delta_reader *reader, organ_error *error)
{
    const organ_delta_frame *const f = reader->frame;
    const uint64_t left = f->bytes - reader->at;
    const size_t count = left < STEP ? (size_t)left : STEP;
    if (!count)
        return refuse_frame(reader, error, "is truncated");
    if (f->source(f->context, reader->in, count, reader->at, error))
        return error->status;
    if (reader->at == 0) {
        /* libzstd reads frames of its versions before 0.8, too, and then bounds no window */
        const bool known = count >= 4 && organ_little_endian(reader->in, 4) == ZSTD_MAGICNUMBER;
        const unsigned long long states = ZSTD_getFrameContentSize(reader->in, count);
        if (!known || states == ZSTD_CONTENTSIZE_ERROR)
            return refuse_frame(reader, error, "has no valid header");
        if (states != ZSTD_CONTENTSIZE_UNKNOWN && states > f->content)
            return organ_refuse(error, f->label,
                                "tensor '%s': the Zstandard frame states %llu bytes; at most %llu are possible",
                                f->name, states, (unsigned long long)f->content);
    }
    reader->input = (ZSTD_inBuffer){reader->in, count, 0};
    reader->at += count;
    return ORGAN_OK;
}

/* Decompresses up to `count` bytes, and sets *got to their number. */
static organ_status decompress(organ_delta_reader *reader, void *to, size_t count, size_t *got, organ_error *error)
{
    ZSTD_outBuffer out = {to, count, 0};
    if (reader->input.pos == reader->input.size && load_input(reader, error))
        return error->status;
    const size_t result = ZSTD_decompressStream(reader->context, &out, &reader->input);
    if (ZSTD_isError(result)) {
        const bool memory = strcmp(ZSTD_getErrorName(result), "Allocation error : not enough memory") == 0;
        return memory ? organ_fail_memory(error, reader->frame->name)
                      : organ_refuse(error, reader->frame->label, "tensor '%s': the Zstandard frame is damaged: %s",
                                     reader->frame->name, ZSTD_getErrorName(result));
    }
    reader->ended = result == 0;
    *got = out.pos;
    reader->content += out.pos;
    return ORGAN_OK;
}

organ_status organ_delta_read(organ_delta_reader *reader, void *to, size_t count, organ_error *error)
{
    size_t got = 0;
    if (count > reader->frame->content - reader->content)
        return refuse_frame(reader, error, "states more changes than the tensor has bytes");
    for (size_t n = 0; n < count; n += got) {
        if (reader->ended)
            return organ_refuse(error, reader->frame->label,
                                "tensor '%s': the Zstandard frame ends after %llu bytes, before the last change",
                                reader->frame->name, (unsigned long long)reader->content);
        if (decompress(reader, (unsigned char *)to + n, count - n, &got, error))
            return error->status;
    }
    return error->status;
}

organ_status organ_delta_skip(organ_delta_reader *reader, uint64_t count, organ_error *error)
{
    unsigned char dropped[4096];
    for (uint64_t n; count && !error->status; count -= n) {
        n = count < sizeof dropped ? count : sizeof dropped;
        organ_delta_read(reader, dropped, (size_t)n, error);
    }
    return error->status;
}

/* One more byte is asked for, because a frame may end with a block without content. */
organ_status organ_delta_close(organ_delta_reader *reader, organ_error *error)
{
    unsigned char byte;
    size_t got = 0;
    while (!reader->ended && !got && decompress(reader, &byte, 1, &got, error) == ORGAN_OK)
        ;
    if (error->status)
        return error->status;
    if (got)
        return organ_refuse(error, reader->frame->label,
                            "tensor '%s': the Zstandard frame has more than the %llu bytes "
                            "of its changes",
                            reader->frame->name, (unsigned long long)(reader->content - 1));
    if (reader->at != reader->frame->bytes || reader->input.pos != reader->input.size)
        return refuse_frame(reader, error, "is followed by other bytes");
    return ORGAN_OK;
}
