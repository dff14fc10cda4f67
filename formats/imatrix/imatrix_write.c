/* SPDX-License-Identifier: MIT */
#include "formats/base/file_calls.h"
#include "formats/gguf/file.h"
#include "formats/imatrix/imatrix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static organ_status set_dataset(organ_gguf_writer *writer, const char *dataset, organ_error *error)
{
    const uint32_t type = ORGAN_GGUF_STRING;
    const uint64_t one = 1, length = strlen(dataset);
    const size_t head = ORGAN_GGUF_ARRAY_HEAD, size = head + sizeof length + (size_t)length;
    unsigned char *const bytes = malloc(size);
    if (!bytes)
        return organ_fail_memory(error, "an importance matrix");
    memcpy(bytes, &type, sizeof type);
    memcpy(bytes + sizeof type, &one, sizeof one);
    memcpy(bytes + head, &length, sizeof length);
    memcpy(bytes + head + sizeof length, dataset, (size_t)length);
    organ_gguf_writer_kv(writer,
                         &(organ_gguf_kv){.key = "imatrix.datasets",
                                          .type = ORGAN_GGUF_ARRAY,
                                          .element = ORGAN_GGUF_STRING,
                                          .count = 1,
                                          .bytes = bytes,
                                          .size = size},
                         error);
    free(bytes);
    return error->status;
}

/* The keys and tensors are those that llama-imatrix of llama.cpp writes. */
static organ_status describe(organ_gguf_writer *writer, const organ_imatrix_text *text, const organ_imatrix_sums *sums,
                             size_t count, organ_error *error)
{
    if (organ_gguf_writer_set_string(writer, "general.type", "imatrix", strlen("imatrix"), error) ||
        set_dataset(writer, text->name, error) ||
        organ_gguf_writer_set_integer(writer, "imatrix.chunk_count", ORGAN_GGUF_U32, (int64_t)text->chunks, error) ||
        organ_gguf_writer_set_integer(writer, "imatrix.chunk_size", ORGAN_GGUF_U32, (int64_t)text->chunk_size, error))
        return error->status;
    for (size_t k = 0; k < count && !error->status; k++) {
        char name[2 * ORGAN_GGUF_NAME_LIMIT];
        const uint64_t of_sums[2] = {sums[k].matrices, sums[k].features}, of_counts[2] = {sums[k].matrices, 1};
        snprintf(name, sizeof name, "%s.in_sum2", sums[k].name);
        if (organ_gguf_writer_tensor(writer, name, ORGAN_F32, 2, of_sums, error))
            return error->status;
        snprintf(name, sizeof name, "%s.counts", sums[k].name);
        organ_gguf_writer_tensor(writer, name, ORGAN_F32, 2, of_counts, error);
    }
    return error->status;
}

typedef struct imatrix_file {
    const char *path;
    int fd;      /* -1 before it is created */
    uint64_t at; /* bytes written */
} imatrix_file;

static organ_status put_bytes(imatrix_file *file, const void *bytes, size_t count, organ_error *error)
{
    file->at += count;
    return organ_write_all(file->fd, bytes, count) ? organ_fail_errno(error, errno, "%s: cannot be written", file->path)
                                                   : ORGAN_OK;
}

static organ_status put_numbers(imatrix_file *file, uint64_t offset, const double *numbers, uint64_t count,
                                organ_error *error)
{
    static const unsigned char zeros[512];
    float buffer[1024];
    const size_t limit = sizeof buffer / sizeof *buffer;
    while (file->at < offset)
        if (put_bytes(file, zeros, offset - file->at < sizeof zeros ? (size_t)(offset - file->at) : sizeof zeros,
                      error))
            return error->status;
    for (uint64_t k = 0; k < count && !error->status; k += limit) {
        const size_t n = count - k < limit ? (size_t)(count - k) : limit;
        for (size_t i = 0; i < n; i++)
            buffer[i] = (float)numbers[k + i];
        put_bytes(file, buffer, n * sizeof *buffer, error);
    }
    return error->status;
}

organ_status organ_imatrix_write(const char *path, const organ_imatrix_text *text, const organ_imatrix_sums *sums,
                                 size_t count, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    organ_gguf_layout layout;
    imatrix_file file = {path, -1, 0};
    if (organ_gguf_writer_create(&writer, error) == ORGAN_OK && describe(writer, text, sums, count, error) == ORGAN_OK)
        organ_gguf_writer_finish(writer, &layout, error);
    if (!error->status && (file.fd = organ_open(path, O_WRONLY | O_CREAT | O_EXCL, 0666)) < 0)
        organ_fail_errno(error, errno, "%s: cannot be created", path);
    if (!error->status)
        put_bytes(&file, layout.bytes, layout.size, error);
    for (size_t k = 0; k < count && !error->status; k++)
        if (put_numbers(&file, layout.offsets[2 * k], sums[k].sums, sums[k].matrices * sums[k].features, error) ==
            ORGAN_OK)
            put_numbers(&file, layout.offsets[2 * k + 1], sums[k].counts, sums[k].matrices, error);
    if (!error->status)
        put_numbers(&file, layout.file_size, NULL, 0, error); /* the padding after the last tensor */
    if (file.fd >= 0 && close(file.fd) && !error->status)
        organ_fail_errno(error, errno, "%s: cannot be written", path);
    organ_gguf_writer_destroy(writer);
    return error->status;
}
