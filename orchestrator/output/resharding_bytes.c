/* SPDX-License-Identifier: MIT
 * Writes and reads bytes of single pieces. */
#include "orchestrator/output/resharding.h"

#include "formats/base/files.h"
#include "orchestrator/stream/direct_file.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE ORGAN_DIRECT_ALIGNMENT

/* Each byte gets a place in `scratch` that has the same position in its memory page as the byte has in a page of the
 * file, as direct I/O requires. */
static organ_status put_congruent(organ_direct_file *file, const char *data, size_t bytes, uint64_t offset,
                                  void *scratch, organ_error *error)
{
    char *const pages = (char *)scratch + (-(uintptr_t)scratch & (PAGE - 1));
    const size_t capacity = (ORGAN_PUT_SCRATCH - PAGE) / PAGE * PAGE;
    while (bytes && !error->status) {
        const size_t lead = (size_t)(offset & (PAGE - 1)), some = bytes < capacity - lead ? bytes : capacity - lead;
        memcpy(pages + lead, data, some);
        organ_direct_write(file, pages + lead, some, offset, error);
        data += some;
        offset += some;
        bytes -= some;
    }
    return error->status;
}

/* The bytes are copied to `scratch` first, if it is not NULL and they are at least a page whose address and offset
 * in the file have different positions in a page. */
organ_status organ_resharding_put(organ_resharding *r, size_t piece, const void *data, size_t bytes, uint64_t at,
                                  void *scratch, organ_error *error)
{
    uint64_t offset;
    /* opened for this call: any thread may call, and there may be more shards than a process can keep open */
    organ_direct_file file;
    if (organ_direct_open(organ_resharding_place(r, piece, &offset), 0666, &file, error))
        return error->status;
    offset += at;
    if (scratch && bytes >= PAGE && (((uintptr_t)data ^ offset) & (PAGE - 1)))
        put_congruent(&file, data, bytes, offset, scratch, error);
    else
        organ_direct_write(&file, data, bytes, offset, error);
    organ_direct_close(&file);
    return error->status;
}

organ_status organ_resharding_read(const organ_resharding *r, size_t piece, void *data, size_t bytes, uint64_t at,
                                   organ_error *error)
{
    uint64_t offset;
    const char *const path = organ_resharding_place(r, piece, &offset);
    struct stat now;
    ORGAN_OWNED_FILE int fd = -1;
    if (organ_input_open(path, &fd, &now, error) == ORGAN_OK)
        organ_input_read(fd, path, data, bytes, offset + at, error);
    return error->status;
}
