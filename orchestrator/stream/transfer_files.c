/* SPDX-License-Identifier: MIT
 * The files of transfers: creation, bytes from memory, synchronisation, and free space. */
#include "formats/base/activity.h"
#include "formats/base/files.h"
#include <organ/machine.h>
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

organ_status organ_transfer_file(const char *path, uint64_t size, bool reserved, organ_error *error)
{
    const int fd = organ_open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s: cannot be created", path);
    const organ_direct_file file = {.path = path, .fd = fd, .direct = -1};
    reserved ? organ_direct_reserve(&file, size, error) : organ_direct_resize(&file, size, error);
    if (close(fd) && errno != EINTR) /* after EINTR the descriptor is closed too */
        organ_fail_errno(error, errno, "%s: cannot be written", path);
    return error->status;
}

organ_status organ_transfer_bytes(const char *path, const void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    organ_direct_file file;
    if (organ_direct_open(path, 0666, &file, error) == ORGAN_OK) {
        organ_direct_write(&file, data, bytes, offset, error);
        organ_direct_close(&file);
    }
    return error->status;
}

organ_status organ_transfer_sync(const char *directory, organ_error *error)
{
    ORGAN_OWNED_FILE const int fd = organ_open(directory, O_RDONLY | O_DIRECTORY, 0);
    ORGAN_DURING(ORGAN_WRITING);
    if (fd < 0 || syncfs(fd))
        organ_fail_errno(error, errno, "%s: cannot be synchronised with the disk", directory);
    return error->status;
}

/* The error has errnum ENOSPC. */
organ_status organ_transfer_room(const char *directory, const char *final, const char *what, uint64_t bytes,
                                 organ_error *error)
{
    struct statvfs disk;
    if (statvfs(directory, &disk))
        return organ_fail_errno(error, errno, "%s: cannot determine the free space", directory);
    const uint64_t have = (uint64_t)disk.f_bavail * disk.f_frsize;
    char need_text[16], have_text[16], missing_text[16];
    if (bytes <= have)
        return ORGAN_OK;
    organ_fail(error, ORGAN_IO, "%s: no space: %s %s more, but %s are free: %s are missing", final, what,
               organ_quantity_text(bytes, need_text), organ_quantity_text(have, have_text),
               organ_quantity_text(bytes - have, missing_text));
    error->errnum = ENOSPC;
    return error->status;
}
