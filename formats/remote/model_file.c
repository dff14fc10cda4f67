/* SPDX-License-Identifier: MIT */
#include "formats/remote/remote.h"

#include "formats/base/files.h"

#include <inttypes.h>
#include <unistd.h>

void organ_model_file_take(organ_model_file *file, const struct stat *info)
{
    file->size = (uint64_t)info->st_size;
    file->modified = info->st_mtim;
    file->device = info->st_dev;
    file->inode = info->st_ino;
}

organ_status organ_model_file_open_here(organ_model_file *file, organ_error *error)
{
    struct stat info;
    if (organ_input_open(file->path, &file->fd, &info, error) == ORGAN_OK)
        organ_model_file_take(file, &info);
    return error->status;
}

organ_status organ_model_file_open_again(const organ_model_file *file, int *fd, organ_error *error)
{
    struct stat now;
    if (organ_input_open(file->path, fd, &now, error) != ORGAN_OK)
        return error->status;
    if (now.st_dev == file->device && now.st_ino == file->inode && (uint64_t)now.st_size == file->size)
        return ORGAN_OK;
    close(*fd);
    return organ_refuse(error, file->path, "was changed or replaced while the model was in use");
}

organ_status organ_model_file_read(const organ_model_file *file, void *to, size_t bytes, uint64_t offset,
                                   organ_error *error)
{
    if (file->remote)
        return organ_http_read(file->remote, to, bytes, offset, error);
    return organ_input_read(file->fd, file->name, to, bytes, offset, error);
}

organ_status organ_model_file_unchanged(const organ_model_file *file, organ_error *error)
{
    struct stat now;
    if (file->remote)
        return organ_http_unchanged(file->remote, error);
    if (stat(file->path, &now) != 0)
        return organ_refuse(error, file->name,
                            "is no longer there: it was removed or renamed while the model was in use");
    if ((uint64_t)now.st_size != file->size)
        return organ_refuse(error, file->name,
                            "had %" PRIu64 " bytes and now has %" PRIu64 ": it was changed while the model was in use",
                            file->size, (uint64_t)now.st_size);
    if (now.st_dev != file->device || now.st_ino != file->inode)
        return organ_refuse(error, file->name,
                            "was replaced while the model was in use (inode %" PRIu64 ", now %" PRIu64 ")", file->inode,
                            (uint64_t)now.st_ino);
    if (now.st_mtim.tv_sec != file->modified.tv_sec || now.st_mtim.tv_nsec != file->modified.tv_nsec)
        return organ_refuse(error, file->name,
                            "was written to while the model was in use (modified at %lld.%09ld, now %lld.%09ld)",
                            (long long)file->modified.tv_sec, file->modified.tv_nsec, (long long)now.st_mtim.tv_sec,
                            now.st_mtim.tv_nsec);
    return ORGAN_OK;
}
