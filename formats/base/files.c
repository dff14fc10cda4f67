/* SPDX-License-Identifier: MIT */
#include "formats/base/files.h"
#include "formats/base/activity.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

struct organ_held_folder {
    organ_held_folder *next;
    char *path; /* without a slash at its end */
    size_t length;
    int fd;
};

/* The list is of the process, because paths are; readers are those who use a descriptor. */
static struct {
    pthread_rwlock_t lock;
    organ_held_folder *first;
} holding = {.lock = PTHREAD_RWLOCK_INITIALIZER};

organ_held_folder *organ_held_folder_add(const char *path, int fd)
{
    organ_held_folder *const folder = calloc(1, sizeof *folder);
    char *const copy = folder ? strdup(path) : NULL;
    if (!copy) {
        free(folder);
        return NULL;
    }
    pthread_rwlock_wrlock(&holding.lock);
    *folder = (organ_held_folder){.next = holding.first, .path = copy, .length = strlen(copy), .fd = fd};
    holding.first = folder;
    pthread_rwlock_unlock(&holding.lock);
    return folder;
}

void organ_held_folder_drop(organ_held_folder *folder)
{
    if (!folder)
        return;
    pthread_rwlock_wrlock(&holding.lock);
    organ_held_folder **at = &holding.first;
    while (*at != folder)
        at = &(*at)->next;
    *at = folder->next;
    pthread_rwlock_unlock(&holding.lock);
    free(folder->path);
    free(folder);
}

int organ_held_folders_use(void)
{
    const int reason = errno;
    pthread_rwlock_rdlock(&holding.lock);
    errno = reason;
    return 0;
}

int organ_held_folder_of(const char *path, const char **name)
{
    for (const organ_held_folder *f = holding.first; f; f = f->next)
        if (strncmp(path, f->path, f->length) == 0 && (path[f->length] == '/' || path[f->length] == '\0')) {
            *name = path + f->length + strspn(path + f->length, "/");
            *name = **name ? *name : ".";
            return f->fd;
        }
    *name = path;
    return AT_FDCWD;
}

void organ_held_folders_leave(const int *use)
{
    (void)use;
    const int reason = errno;
    pthread_rwlock_unlock(&holding.lock);
    errno = reason;
}

int organ_open_at(int folder, const char *name, int flags, mode_t mode)
{
    int fd;
    do
        fd = openat(folder, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int organ_open(const char *path, int flags, mode_t mode)
{
    const char *name;
    ORGAN_USE_HELD_FOLDERS;
    const int folder = organ_held_folder_of(path, &name);
    return organ_open_at(folder, name, flags, mode);
}

int organ_lock_at_once(int fd, int kind)
{
    int fault;
    do
        fault = flock(fd, kind | LOCK_NB);
    while (fault && errno == EINTR);
    return fault;
}

#define LOCK_TRIES 64 /* files that are locked before one keeps its path */

int organ_open_locked(const char *path, int flags, mode_t mode)
{
    struct stat held, named;
    for (int k = 0; k < LOCK_TRIES; k++) {
        const int fd = organ_open(path, flags, mode);
        const bool locked = fd >= 0 && organ_lock_at_once(fd, LOCK_EX) == 0;
        if (fd < 0 || (locked && fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_ino == named.st_ino &&
                       held.st_dev == named.st_dev))
            return fd;
        const int reason = errno;
        close(fd);
        errno = reason;
        if (!locked)
            return -1;
    }
    errno = EWOULDBLOCK;
    return -1;
}

DIR *organ_open_folder(const char *path)
{
    const int fd = organ_open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    DIR *const folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !folder)
        close(fd); /* the reason is a lack of memory, which close does not change */
    return folder;
}

int organ_list_folder(const char *path, struct dirent ***entries, int (*is_selected)(const struct dirent *entry),
                      int (*order)(const struct dirent **a, const struct dirent **b))
{
    const char *name;
    int count;
    ORGAN_USE_HELD_FOLDERS;
    const int folder = organ_held_folder_of(path, &name);
    do
        count = scandirat(folder, name, entries, is_selected, order);
    while (count < 0 && errno == EINTR);
    return count;
}

int organ_make_folder(const char *path, mode_t mode)
{
    const char *name;
    ORGAN_USE_HELD_FOLDERS;
    const int folder = organ_held_folder_of(path, &name);
    return mkdirat(folder, name, mode);
}

int organ_remove_file(const char *path)
{
    const char *name;
    ORGAN_USE_HELD_FOLDERS;
    const int folder = organ_held_folder_of(path, &name);
    return unlinkat(folder, name, 0);
}

int organ_rename_file(const char *from, const char *to, unsigned flags)
{
    const char *from_name, *to_name;
    ORGAN_USE_HELD_FOLDERS;
    const int from_folder = organ_held_folder_of(from, &from_name), to_folder = organ_held_folder_of(to, &to_name);
    /* renameat suffices without flags, and some sandboxes allow only this call */
    return flags ? renameat2(from_folder, from_name, to_folder, to_name, flags)
                 : renameat(from_folder, from_name, to_folder, to_name);
}

int organ_link_file(const char *from, const char *to)
{
    const char *from_name, *to_name;
    ORGAN_USE_HELD_FOLDERS;
    const int from_folder = organ_held_folder_of(from, &from_name), to_folder = organ_held_folder_of(to, &to_name);
    return linkat(from_folder, from_name, to_folder, to_name, 0);
}

int organ_sync_file(int fd)
{
    ORGAN_DURING(ORGAN_WRITING);
    int fault;
    do
        fault = fsync(fd);
    while (fault && errno == EINTR);
    return fault;
}

int organ_resize_file(int fd, off_t size)
{
    int fault;
    do
        fault = ftruncate(fd, size);
    while (fault && errno == EINTR);
    return fault;
}

ssize_t organ_pread_full(int fd, void *bytes, size_t count, off_t offset)
{
    ORGAN_DURING(ORGAN_READING);
    size_t done = 0;
    ssize_t got = 1;
    while (done < count && got != 0) {
        got = pread(fd, (char *)bytes + done, count - done, offset + (off_t)done);
        if (got < 0 && errno != EINTR)
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    organ_activity_moved(done);
    return got < 0 && done < count ? -1 : (ssize_t)done;
}

bool organ_is_system_failure(int reason)
{
    return reason == EIO || reason == ESTALE || reason == ENOMEM || reason == EMFILE || reason == ENFILE ||
           reason == ETIMEDOUT;
}

int organ_write_all(int fd, const void *bytes, size_t count)
{
    ORGAN_DURING(ORGAN_WRITING);
    size_t done = 0;
    ssize_t put = 0;
    while (done < count) {
        put = write(fd, (const char *)bytes + done, count - done);
        if (put < 0 && errno != EINTR)
            break;
        done += put > 0 ? (size_t)put : 0;
    }
    organ_activity_moved(done);
    return done < count ? -1 : 0;
}

#define DEEPEST_FOLDER 32 /* a model directory has folders in one or two levels; deeper than 32, none is copied */
#define ALL_CLOSED     ((unsigned)(S_IRWXG | S_IRWXO))

/* A class gets nothing if it cannot read the file or enter the directory. A class that cannot write it cannot write
 * its outputs. */
static unsigned closed_by(const struct stat *info)
{
    const unsigned needed = S_ISDIR(info->st_mode) ? S_IXOTH : S_IROTH;
    unsigned closed = 0;
    for (unsigned shift = 0; shift <= 3; shift += 3) {
        const unsigned has = (unsigned)info->st_mode >> shift & S_IRWXO;
        closed |= (has & needed ? ~has & S_IWOTH : (unsigned)S_IRWXO) << shift;
    }
    return closed;
}

/* Links to folders are followed only at depth 0, as no file is copied through them: many links to the
 * folder itself would never end. */
static unsigned closed_at(int folder, const char *name, int depth)
{
    struct stat info;
    const int below = depth ? O_NOFOLLOW : 0;
    if (fstatat(folder, name, &info, 0) || (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)))
        return 0;
    const bool entered = S_ISDIR(info.st_mode) && depth < DEEPEST_FOLDER;
    const int fd = entered ? organ_open_at(folder, name, O_RDONLY | O_DIRECTORY | O_NONBLOCK | below, 0) : -1;
    if (below && entered && fd < 0 && (errno == ELOOP || errno == ENOTDIR))
        return 0;
    unsigned closed = closed_by(&info);
    ORGAN_OWNED_FOLDER DIR *const entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !entries)
        close(fd);
    for (const struct dirent *entry; entries && closed != ALL_CLOSED && (entry = readdir(entries));)
        if (entry->d_name[0] != '.')
            closed |= closed_at(fd, entry->d_name, depth + 1);
    return closed;
}

unsigned organ_closed_modes(const char *path) { return closed_at(AT_FDCWD, path, 0); }

static int close_one(int fd, unsigned closed)
{
    struct stat info;
    if (fstat(fd, &info))
        return errno;
    return info.st_mode & closed && fchmod(fd, info.st_mode & 07777 & ~closed) ? errno : 0;
}

/* Returns 0 or an errno, ELOOP at depth DEEPEST_FOLDER; close_one also returns 0 or an errno. */
static int close_folder(int folder, unsigned closed, int depth)
{
    if (depth == DEEPEST_FOLDER)
        return ELOOP;
    const int again = organ_open_at(folder, ".", O_RDONLY | O_DIRECTORY, 0);
    ORGAN_OWNED_FOLDER DIR *const entries = again >= 0 ? fdopendir(again) : NULL;
    int fault = entries ? close_one(folder, closed) : errno;
    if (again >= 0 && !entries)
        close(again);
    for (const struct dirent *entry; entries && !fault && (entry = readdir(entries));) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(again, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) ||
            (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)))
            continue;
        ORGAN_OWNED_FILE const int fd = organ_open_at(again, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd < 0)
            fault = errno;
        else
            fault = S_ISDIR(info.st_mode) ? close_folder(fd, closed, depth + 1) : close_one(fd, closed);
    }
    return fault;
}

int organ_close_modes(int folder, unsigned closed) { return closed ? close_folder(folder, closed, 0) : 0; }

static atomic_bool used; /* files may be created */
static atomic_int fault; /* errno of the first failure, or 0 */

void organ_unnamed_files_use(bool use) { atomic_store(&used, use); }
bool organ_unnamed_files_used(void) { return atomic_load_explicit(&used, memory_order_relaxed); }

static const char *folder_of_files(void)
{
    const char *const named = getenv("TMPDIR");
    return named && *named ? named : "/var/tmp";
}

int organ_unnamed_files_fault(const char **folder)
{
    *folder = folder_of_files();
    return atomic_load(&fault);
}

/* Later failures are usually consequences of the first. */
void organ_unnamed_files_fail(int reason)
{
    int none = 0;
    atomic_compare_exchange_strong(&fault, &none, reason);
}

/* A file system may lack O_TMPFILE. */
static int make_file(void)
{
    char path[4096];
    int fd = organ_open(folder_of_files(), O_TMPFILE | O_EXCL | O_RDWR, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    if (snprintf(path, sizeof path, "%s/.organ-report-XXXXXX", folder_of_files()) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if ((fd = mkostemp(path, O_CLOEXEC)) >= 0)
        unlink(path);
    return fd;
}

int organ_unnamed_file(void)
{
    if (!organ_unnamed_files_used() || atomic_load(&fault))
        return -1;
    const int fd = make_file();
    if (fd < 0)
        organ_unnamed_files_fail(errno);
    return fd;
}

bool organ_unnamed_file_extend(int fd, off_t from, size_t bytes)
{
    int reason;
    do
        reason = posix_fallocate(fd, from, (off_t)bytes);
    while (reason == EINTR);
    if (reason)
        organ_unnamed_files_fail(reason);
    return !reason;
}

void organ_owned_close(const int *fd)
{
    const int before = errno;
    if (*fd >= 0)
        close(*fd);
    errno = before;
}

void organ_owned_close_folder(DIR *const *folder)
{
    const int before = errno;
    if (*folder)
        closedir(*folder);
    errno = before;
}

void organ_raise_descriptors(uint64_t requested)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < requested) {
        limit.rlim_cur = limit.rlim_max < requested ? limit.rlim_max : requested;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
