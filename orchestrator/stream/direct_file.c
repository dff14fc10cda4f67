/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/direct_file.h"

#include "formats/base/activity.h"
#include "formats/base/files.h"
#include "formats/base/owned.h"
#include "orchestrator/machine/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define COPY_STEP   ((size_t)64 << 20) /* bytes of one call of copy_file_range */
#define COPY_BUFFER ((size_t)1 << 20)  /* a multiple of ORGAN_DIRECT_ALIGNMENT */

/* Returns whether the file is in memory, and sets *room to the bytes that are free there. */
static bool is_in_memory(int fd, uint64_t *room)
{
    struct statfs system;
    if (fstatfs(fd, &system) || (system.f_type != TMPFS_MAGIC && system.f_type != RAMFS_MAGIC))
        return false;
    *room = system.f_blocks ? (uint64_t)system.f_bavail * (uint64_t)system.f_bsize : UINT64_MAX; /* no limit */
    return true;
}

/* Returns the lock of a file in memory, NULL for other files. The system lets one thread at a time write into a file in
 * memory, and threads that wait for it use the processor; threads that wait for this lock do not. Two files may have
 * the same lock. */
static pthread_mutex_t *turn_of(int fd)
{
    enum { TURNS = 64 };
    static pthread_mutex_t turns[TURNS] = {[0 ... TURNS - 1] = PTHREAD_MUTEX_INITIALIZER};
    struct stat info = {0};
    uint64_t room;
    if (!is_in_memory(fd, &room))
        return NULL;
    fstat(fd, &info);
    return &turns[info.st_ino % TURNS];
}

/* The file is opened twice: `fd` writes through the page cache, `direct` without it. `direct` is -1 if the file
 * system does not support that. */
organ_status organ_direct_open(const char *path, unsigned mode, organ_direct_file *file, organ_error *error)
{
    *file = (organ_direct_file){.path = path, .direct = -1};
    file->fd = organ_open(path, O_RDWR | O_CREAT, mode);
    if (file->fd < 0)
        return organ_fail_errno(error, errno, "%s: cannot be opened for writing", path);
    /* Linux accepts O_DIRECT for files in memory (tmpfs) since 6.6, but there is no device. */
    if (!(file->turn = turn_of(file->fd)))
        file->direct = organ_open(path, O_WRONLY | O_DIRECT, 0);
    return ORGAN_OK;
}

static organ_status refuse_size(const organ_direct_file *file, uint64_t size, organ_error *error)
{
    return organ_fail_errno(error, errno, "%s: cannot be resized to %llu bytes", file->path, (unsigned long long)size);
}

organ_status organ_direct_resize(const organ_direct_file *file, uint64_t size, organ_error *error)
{
    return organ_resize_file(file->fd, (off_t)size) ? refuse_size(file, size, error) : ORGAN_OK;
}

/* Blocks are reserved so that a full disk is reported now. In memory the free space is only compared: one thread would
 * allocate all pages, and those that write them find them twice. */
organ_status organ_direct_reserve(const organ_direct_file *file, uint64_t size, organ_error *error)
{
    uint64_t room;
    if (is_in_memory(file->fd, &room)) {
        errno = ENOSPC;
        return size > room ? refuse_size(file, size, error) : organ_direct_resize(file, size, error);
    }
    if (size && fallocate(file->fd, 0, 0, (off_t)size) == 0)
        return ORGAN_OK;
    if (size && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        return refuse_size(file, size, error);
    return organ_direct_resize(file, size, error);
}

static organ_status write_all(const organ_direct_file *file, const char *data, size_t bytes, uint64_t offset,
                              organ_error *error)
{
    while (bytes) {
        const ssize_t put = pwrite(file->fd, data, bytes, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return organ_fail_errno(error, put ? errno : ENOSPC, "%s: cannot write %zu bytes at %llu", file->path,
                                    bytes, (unsigned long long)offset);
        data += put;
        offset += (uint64_t)put;
        bytes -= (size_t)put;
    }
    return ORGAN_OK;
}

static organ_status write_cached(const organ_direct_file *file, const char *data, size_t bytes, uint64_t offset,
                                 organ_error *error)
{
    if (file->turn)
        pthread_mutex_lock(file->turn);
    write_all(file, data, bytes, offset, error);
    if (file->turn)
        pthread_mutex_unlock(file->turn);
    return error->status;
}

/* Returns the number of written bytes. If this is less than `bytes` without an error, the caller writes the
 * remaining bytes through the page cache. This happens if the file system accepts O_DIRECT at open and rejects it at
 * a write, which is not tried again for this file, or if a write ends within a page. Sets *errnum to the errno of
 * any other error, else to 0. */
static size_t write_direct(organ_direct_file *file, const char *data, size_t bytes, uint64_t offset, int *errnum)
{
    size_t done = 0;
    *errnum = 0;
    while (!__atomic_load_n(&file->refused, __ATOMIC_RELAXED) && done < bytes) {
        const ssize_t put = pwrite(file->direct, data + done, bytes - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EINVAL) {
            __atomic_store_n(&file->refused, true, __ATOMIC_RELAXED);
        } else if (put <= 0) {
            *errnum = put ? errno : ENOSPC;
            return done;
        } else {
            done += (size_t)put;
            if (put % ORGAN_DIRECT_ALIGNMENT) /* the next direct write would not be aligned */
                break;
        }
    }
    return done;
}

/* Writes the bytes before the first and after the last page boundary through the page cache, and all bytes if
 * address and offset are not congruent modulo a page, if O_DIRECT is not supported, or if the bytes do not pass a
 * page boundary. */
static organ_status write_pages(organ_direct_file *file, const char *from, size_t bytes, uint64_t offset,
                                organ_error *error)
{
    const size_t head = (size_t)(-offset & (ORGAN_DIRECT_ALIGNMENT - 1));
    const bool congruent = (((uintptr_t)from ^ offset) & (ORGAN_DIRECT_ALIGNMENT - 1)) == 0;
    if (!congruent || file->direct < 0 || head >= bytes)
        return write_cached(file, from, bytes, offset, error);
    if (write_cached(file, from, head, offset, error))
        return error->status;
    const size_t pages = (bytes - head) / ORGAN_DIRECT_ALIGNMENT * ORGAN_DIRECT_ALIGNMENT;
    int errnum;
    const size_t done = head + write_direct(file, from + head, pages, offset + head, &errnum);
    if (errnum)
        return organ_fail_errno(error, errnum, "%s: cannot write %zu bytes at %llu", file->path, bytes - done,
                                (unsigned long long)(offset + done));
    return write_cached(file, from + done, bytes - done, offset + done, error);
}

organ_status organ_direct_write(organ_direct_file *file, const void *data, size_t bytes, uint64_t offset,
                                organ_error *error)
{
    ORGAN_DURING(ORGAN_WRITING);
    if (write_pages(file, data, bytes, offset, error) == ORGAN_OK)
        organ_activity_moved(bytes);
    return error->status;
}

void organ_direct_begin_sync(const organ_direct_file *file, uint64_t offset, uint64_t bytes)
{
    sync_file_range(file->fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
}

organ_status organ_direct_sync(const organ_direct_file *file, organ_error *error)
{
    if (organ_sync_file(file->fd))
        return organ_fail_errno(error, errno, "%s: cannot be synchronised with the disk", file->path);
    return ORGAN_OK;
}

void organ_direct_close(organ_direct_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->direct >= 0)
        close(file->direct);
    file->fd = file->direct = -1;
}

bool organ_reflink(int from, int to) { return ioctl(to, FICLONE, from) == 0; }

/* `lead` puts the bytes at an address in the buffer that is congruent to their offset in `to`, as O_DIRECT requires;
 * full steps end at a page boundary. Returns ORGAN_BAD_INPUT if `from` ends early. */
static organ_status copy_in_memory(int from, const char *from_path, uint64_t from_offset, organ_direct_file *to,
                                   uint64_t to_offset, uint64_t bytes, organ_error *error)
{
    ORGAN_OWNED char *const buffer = aligned_alloc(ORGAN_DIRECT_ALIGNMENT, COPY_BUFFER);
    if (!buffer)
        return organ_fail_errno(error, ENOMEM, "%s: cannot allocate a copy buffer", to->path);
    while (bytes && !error->status) {
        const size_t lead = (size_t)(to_offset % ORGAN_DIRECT_ALIGNMENT), max = COPY_BUFFER - lead;
        const ssize_t got = pread(from, buffer + lead, bytes < max ? (size_t)bytes : max, (off_t)from_offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            organ_fail_errno(error, errno, "%s: cannot be read at %llu", from_path, (unsigned long long)from_offset);
        else if (got == 0)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: ends at byte %llu: it was changed while being read", from_path,
                       (unsigned long long)from_offset);
        else if (organ_direct_write(to, buffer + lead, (size_t)got, to_offset, error) == ORGAN_OK) {
            from_offset += (uint64_t)got;
            to_offset += (uint64_t)got;
            bytes -= (uint64_t)got;
        }
    }
    return error->status;
}

/* If the system cannot copy between these files, or if `from` ends early, copies the remaining bytes through memory,
 * which also reports the right error. */
static organ_status copy_in_system(int from, const char *from_path, uint64_t from_offset, int to, const char *to_path,
                                   uint64_t to_offset, uint64_t bytes, organ_error *error)
{
    while (bytes) {
        off64_t in = (off64_t)from_offset, out = (off64_t)to_offset;
        const ssize_t put = copy_file_range(from, &in, to, &out, bytes < COPY_STEP ? (size_t)bytes : COPY_STEP, 0);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO))
            return organ_fail_errno(error, errno, "%s: cannot write %llu bytes at %llu", to_path,
                                    (unsigned long long)bytes, (unsigned long long)to_offset);
        if (put <= 0) {
            organ_direct_file file = {.path = to_path, .fd = to, .direct = -1};
            return copy_in_memory(from, from_path, from_offset, &file, to_offset, bytes, error);
        }
        from_offset += (uint64_t)put;
        to_offset += (uint64_t)put;
        bytes -= (uint64_t)put;
        organ_activity_moved((uint64_t)put);
    }
    return ORGAN_OK;
}

organ_status organ_copy_range(int from, const char *from_path, uint64_t from_offset, int to, const char *to_path,
                              uint64_t to_offset, uint64_t bytes, organ_error *error)
{
    ORGAN_DURING(ORGAN_WRITING); /* the kernel reads and writes in one call */
    copy_in_system(from, from_path, from_offset, to, to_path, to_offset, bytes, error);
    return error->status;
}

/* On a network file system (NFS, SMB) copy_file_range copies on the server, so that no bytes travel through the
 * network. */
static bool is_served(int fd)
{
    struct statfs system;
    return fstatfs(fd, &system) == 0 && (system.f_type == NFS_SUPER_MAGIC || system.f_type == SMB2_SUPER_MAGIC);
}

bool organ_direct_suits_copies(const organ_direct_file *file) { return file->direct >= 0 && !is_served(file->fd); }

/* For file systems without O_TMPFILE. Returns the descriptor, or -1 with errno. */
static int open_named(const char *directory)
{
    ORGAN_OWNED char *path = NULL;
    if (asprintf(&path, "%s/.organ-scratch-XXXXXX", directory) < 0) {
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0 && unlink(path)) {
        const int errnum = errno;
        close(fd);
        errno = errnum;
        fd = -1;
    }
    return fd;
}

/* The system removes a file without a name when the process ends. */
organ_status organ_scratch_open(const char *directory, organ_direct_file *file, organ_error *error)
{
    *file = (organ_direct_file){.path = directory, .direct = -1};
    file->fd = organ_open(directory, O_TMPFILE | O_EXCL | O_RDWR, 0600);
    if (file->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        file->fd = open_named(directory);
    if (file->fd < 0)
        return organ_fail_errno(error, errno, "%s: no scratch file can be created in it", directory);
    file->turn = turn_of(file->fd);
    return ORGAN_OK;
}

organ_status organ_scratch_read(const organ_direct_file *file, void *data, size_t bytes, uint64_t offset,
                                organ_error *error)
{
    for (char *to = data; bytes;) {
        const ssize_t got = pread(file->fd, to, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return organ_fail_errno(error, got ? errno : EIO, "%s: cannot read %zu bytes of a scratch file", file->path,
                                    bytes);
        to += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return ORGAN_OK;
}

void organ_scratch_announce(const organ_direct_file *file, size_t bytes, uint64_t offset)
{
    posix_fadvise(file->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_WILLNEED);
}

struct organ_writers {
    void (*write)(void *context, organ_queued_write *queued);
    void *context;
    pthread_mutex_t lock;  /* guards the members below it, except the threads */
    pthread_cond_t queued; /* there is a write, or the threads must end */
    organ_queued_write *first, **end;
    bool closing; /* the threads must end when the queue is empty */
    size_t count; /* threads that were started */
    pthread_t threads[];
};

static void *write_queued(void *context)
{
    organ_writers *const w = context;
    prctl(PR_SET_NAME, "writer");
    ORGAN_LOCKED(&w->lock);
    while (w->first || !w->closing) {
        organ_queued_write *const queued = w->first;
        if (!queued) {
            pthread_cond_wait(&w->queued, &w->lock);
            continue;
        }
        if (!(w->first = queued->next))
            w->end = &w->first;
        pthread_mutex_unlock(&w->lock);
        w->write(w->context, queued);
        pthread_mutex_lock(&w->lock);
    }
    return NULL;
}

organ_status organ_writers_create(size_t count, void (*write)(void *context, organ_queued_write *queued), void *context,
                                  organ_writers **writers, organ_error *error)
{
    organ_writers *const w = *writers = calloc(1, sizeof *w + count * sizeof *w->threads);
    int fault = 0;
    if (!w)
        return organ_fail_errno(error, ENOMEM, "cannot allocate the state of %zu writing threads", count);
    w->write = write;
    w->context = context;
    w->end = &w->first;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->queued, NULL);
    while (!fault && w->count < count)
        if ((fault = organ_thread_create(&w->threads[w->count], NULL, write_queued, w)) == 0)
            w->count++;
    if (!fault)
        return ORGAN_OK;
    organ_writers_destroy(w);
    *writers = NULL;
    return organ_fail_errno(error, fault, "cannot start %zu writing threads (memory, or a limit on threads)", count);
}

void organ_writers_queue(organ_writers *w, organ_queued_write *queued, size_t bytes)
{
    const organ_activity before = organ_activity_begin(ORGAN_WRITING);
    organ_activity_moved(bytes);
    organ_activity_begin(before);
    queued->next = NULL;
    ORGAN_LOCKED(&w->lock);
    *w->end = queued;
    w->end = &queued->next;
    pthread_cond_signal(&w->queued);
}

void organ_writers_destroy(organ_writers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_broadcast(&w->queued);
    pthread_mutex_unlock(&w->lock);
    for (size_t k = 0; k < w->count; k++)
        pthread_join(w->threads[k], NULL);
    pthread_cond_destroy(&w->queued);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
