/* SPDX-License-Identifier: MIT
 * Creates the files of a layout, copies pieces into them, and writes and reads bytes of single pieces. */
#include "orchestrator/output/layout.h"

#include "formats/base/files.h"
#include "formats/base/rows.h"
#include "orchestrator/stream/direct_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE ORGAN_DIRECT_ALIGNMENT

/* With ORGAN_CONTINUED an existing file of the right size keeps its other bytes, which are tensors that an interrupted
 * run wrote. */
static organ_status write_file(const organ_layout_file *file, organ_files_state state, organ_error *error)
{
    const char *const path = file->path;
    struct stat info;
    const bool there = state == ORGAN_CONTINUED && lstat(path, &info) == 0;
    const bool kept = there && S_ISREG(info.st_mode) && (uint64_t)info.st_size == file->size;
    if (there && !kept && organ_remove_file(path))
        return organ_fail_errno(error, errno, "%s: cannot be removed", path);
    if (!kept && organ_transfer_file(path, file->size, state != ORGAN_OUTLINE, error))
        return error->status;
    for (size_t k = 0; k < file->filler_count && !error->status; k++)
        organ_transfer_bytes(path, file->fillers[k].data, file->fillers[k].bytes, file->fillers[k].offset, error);
    organ_rows_rest();
    return error->status;
}

/* Number -1 stands for the folder of the headers, all others are groups. */
static organ_status make_folders(organ_layout *layout, const char *directory, organ_error *error)
{
    for (int g = -1; g <= (int)ORGAN_GROUP_OTHER && !error->status; g++) {
        char *path = organ_path_join(&layout->arena, directory,
                                     g < 0 ? ORGAN_HEADER_FOLDER : organ_group_folder((organ_group)g));
        if (!path)
            organ_fail_memory(error, directory);
        else if (organ_make_folder(path, 0777) && errno != EEXIST)
            organ_fail_errno(error, errno, "%s: cannot be created", path);
    }
    return error->status;
}

static organ_status begin_file(organ_layout *layout, organ_layout_file *file, const char *directory,
                               organ_files_state state, organ_error *error)
{
    if (!(file->path = organ_path_join(&layout->arena, directory, file->name)))
        return organ_layout_no_memory(layout, error);
    return write_file(file, state, error);
}

organ_status organ_layout_begin(organ_layout *layout, const char *directory, organ_files_state state,
                                organ_error *error)
{
    organ_filler text = {.bytes = layout->index_bytes, .data = (unsigned char *)layout->index};
    organ_layout_file index = {
        .name = ORGAN_INDEX_NAME, .size = layout->index_bytes, .filler_count = 1, .fillers = &text};
    organ_layout_file *const files = layout->apart ? layout->parts : layout->files;
    size_t count;
    organ_layout_written(layout, &count);
    if (layout->apart && make_folders(layout, directory, error))
        return error->status;
    for (size_t f = 0; f < count && !error->status; f++)
        begin_file(layout, &files[f], directory, state, error);
    return error->status || !layout->index ? error->status : begin_file(layout, &index, directory, state, error);
}

/* ---- single pieces ---- */

organ_transfer organ_layout_transfer(const organ_layout *layout, size_t k)
{
    const organ_piece *const p = &layout->pieces[k];
    const organ_model *const model = p->model ? p->model : layout->model;
    organ_transfer made = {.model = p->values ? p->values_model : model,
                           .tensor = p->values ? p->values : p->same,
                           .as = p->dtype,
                           .kernels = layout->kernels,
                           .whole = layout->only_copies,
                           .number = k};
    made.path = organ_layout_place(layout, k, &made.offset);
    return made;
}

const char *organ_layout_place(const organ_layout *layout, size_t piece, uint64_t *offset)
{
    const organ_piece *const p = &layout->pieces[piece];
    *offset = layout->apart ? 0 : p->offset;
    return layout->apart ? layout->parts[layout->part_count - layout->piece_count + piece].path
                         : layout->files[p->file].path;
}

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
organ_status organ_layout_put(const organ_layout *layout, size_t piece, const void *data, size_t bytes, uint64_t at,
                              void *scratch, organ_error *error)
{
    const organ_piece *const p = &layout->pieces[piece];
    uint64_t offset;
    if (layout->copy)
        return organ_model_copy_write(layout->copy, p->file, data, bytes, p->offset + at, p->offset, p->bytes, error);
    /* opened for this call: any thread may call, and there may be more shards than a process can keep open */
    organ_direct_file file;
    if (organ_direct_open(organ_layout_place(layout, piece, &offset), 0666, &file, error))
        return error->status;
    offset += at;
    if (scratch && bytes >= PAGE && (((uintptr_t)data ^ offset) & (PAGE - 1)))
        put_congruent(&file, data, bytes, offset, scratch, error);
    else
        organ_direct_write(&file, data, bytes, offset, error);
    organ_direct_close(&file);
    return error->status;
}

organ_status organ_layout_settle(const organ_layout *layout, size_t piece, organ_error *error)
{
    const organ_piece *const p = &layout->pieces[piece];
    return layout->copy ? organ_model_copy_settle(layout->copy, p->file, p->offset, p->bytes, error) : ORGAN_OK;
}

organ_status organ_layout_read(const organ_layout *layout, size_t piece, void *data, size_t bytes, uint64_t at,
                               organ_error *error)
{
    const organ_piece *const p = &layout->pieces[piece];
    uint64_t offset;
    if (layout->copy)
        return organ_model_copy_read(layout->copy, p->file, data, bytes, p->offset + at, error);
    const char *const path = organ_layout_place(layout, piece, &offset);
    struct stat now;
    ORGAN_OWNED_FILE int fd = -1;
    if (organ_input_open(path, &fd, &now, error) == ORGAN_OK)
        organ_input_read(fd, path, data, bytes, offset + at, error);
    return error->status;
}
