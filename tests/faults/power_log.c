/* SPDX-License-Identifier: MIT */
#include "tests/faults/power_log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HIGH = 200, STEP = 1 << 20 };

static long log_file = -1;
static dev_t device; /* the device of the run's directory; operations elsewhere are not recorded */
static atomic_flag lock = ATOMIC_FLAG_INIT;

void power_begin(const char *path)
{
    struct stat here;
    if (!path)
        return;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    log_file = fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
    if (fd < 0 || log_file < 0 || stat(".", &here))
        abort();
    close(fd);
    device = here.st_dev;
}

static void put(const void *bytes, size_t count)
{
    if (count && calls_raw(SYS_write, log_file, (long)bytes, (long)count) != (long)count)
        abort();
}

static void note(power_record record, const char *one, const char *two, const void *bytes)
{
    record.names[0] = one ? (uint32_t)strlen(one) : 0;
    record.names[1] = two ? (uint32_t)strlen(two) : 0;
    put(&record, sizeof record);
    put(one, record.names[0]);
    put(two, record.names[1]);
    put(bytes, record.bytes);
}

/* ---- names ---- */

typedef struct place {
    char path[CALLS_PATH];
    uint64_t folder, node; /* node is 0 if the name does not exist */
    bool known, file;
} place;

static place look(long folder, const char *name)
{
    place p = {.node = 0};
    char above[CALLS_PATH];
    struct stat info;
    if (!calls_path(folder, name, p.path))
        return p;
    const char *const slash = strrchr(p.path, '/');
    snprintf(above, sizeof above, "%.*s", slash > p.path ? (int)(slash - p.path) : 1, p.path);
    p.known = stat(above, &info) == 0 && info.st_dev == device;
    p.folder = p.known ? info.st_ino : 0;
    if (p.known && lstat(p.path, &info) == 0) {
        p.node = info.st_ino;
        p.file = S_ISREG(info.st_mode);
    }
    return p;
}

/* Records the change of a name: compares the node of `place` before and after the call. */
static long make_name(const call *c, long folder, const char *name, uint32_t act)
{
    place p = look(folder, name);
    const uint64_t before = p.node;
    const long result = calls_make(c);
    if (result < 0 || !p.known)
        return result;
    const uint64_t node = act == POWER_REMOVE ? before : look(folder, name).node;
    if (act == POWER_REMOVE || !before)
        note((power_record){.act = act, .node = node, .folders = {p.folder}}, strrchr(p.path, '/') + 1, NULL, NULL);
    return result;
}

static long open_file(const call *c, long folder, const char *name, long flags)
{
    place p = look(folder, name);
    const uint64_t before = p.node;
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !p.known)
        return calls_make(c);
    if (!before)
        return make_name(c, folder, name, POWER_MAKE);
    const long result = calls_make(c);
    if (result >= 0 && (flags & O_TRUNC) && p.file)
        note((power_record){.act = POWER_SIZE, .node = before}, NULL, NULL, NULL);
    return result;
}

static long rename_or_link(const call *c, long from_folder, const char *from, long to_folder, const char *to,
                           uint32_t act)
{
    const place a = look(from_folder, from), b = look(to_folder, to);
    const long result = calls_make(c);
    if (result < 0 || !a.known || !b.known)
        return result;
    const char *const one = strrchr(a.path, '/') + 1, *const two = strrchr(b.path, '/') + 1;
    if (act == POWER_LINK)
        note((power_record){.act = act, .node = a.node, .folders = {b.folder}}, two, NULL, NULL);
    else
        note((power_record){.act = act, .node = a.node, .other = b.node, .folders = {a.folder, b.folder}}, one, two,
             NULL);
    return result;
}

/* ---- bytes ---- */

static uint64_t node_of(long fd)
{
    struct stat info;
    return fstat((int)fd, &info) == 0 && info.st_dev == device && (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))
               ? info.st_ino
               : 0;
}

static uint64_t size_of(long fd)
{
    struct stat info;
    return fstat((int)fd, &info) == 0 ? (uint64_t)info.st_size : 0;
}

/* Records the file's bytes after the call. Its descriptor may be write-only. */
static void note_range(long fd, uint64_t node, uint64_t offset, uint64_t bytes)
{
    static char buffer[STEP];
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%ld", fd);
    const long in = calls_open(path, O_RDONLY);
    while (in >= 0 && bytes) {
        const call read_it = {SYS_pread64, {in, (long)buffer, bytes < STEP ? (long)bytes : STEP, (long)offset, 0, 0}};
        const long got = calls_make(&read_it);
        if (got <= 0)
            abort();
        note((power_record){.act = POWER_WRITE, .node = node, .offset = offset, .bytes = (uint32_t)got}, NULL, NULL,
             buffer);
        offset += (uint64_t)got;
        bytes -= (uint64_t)got;
    }
    calls_raw(SYS_close, in, 0, 0);
}

static long change_bytes(const call *c, long fd)
{
    const uint64_t node = node_of(fd), before = node ? size_of(fd) : 0;
    const long result = calls_make(c);
    if (result < 0 || !node)
        return result;
    if (c->number == SYS_pwrite64)
        note((power_record){.act = POWER_WRITE, .node = node, .offset = (uint64_t)c->a[3], .bytes = (uint32_t)result},
             NULL, NULL, (const void *)c->a[1]);
    else if (c->number == SYS_write || c->number == SYS_writev)
        note_range(fd, node, (uint64_t)(lseek((int)fd, 0, SEEK_CUR) - result), (uint64_t)result);
    else if (c->number == SYS_copy_file_range)
        note_range(fd, node,
                   (c->a[3] ? *(const uint64_t *)c->a[3] : (uint64_t)lseek((int)fd, 0, SEEK_CUR)) - (uint64_t)result,
                   (uint64_t)result);
    else if (c->number == SYS_ioctl)
        note_range(fd, node, 0, size_of(fd));
    else if (size_of(fd) != before)
        note((power_record){.act = POWER_SIZE, .node = node, .offset = size_of(fd)}, NULL, NULL, NULL);
    return result;
}

static long synchronise(const call *c)
{
    const uint64_t node = node_of(c->a[0]);
    const long result = calls_make(c);
    if (result == 0 && node)
        note((power_record){.act = c->number == SYS_syncfs ? POWER_ALL : POWER_SYNC, .node = node}, NULL, NULL, NULL);
    return result;
}

static long make_noted(const call *c)
{
    const long *const a = c->a;
    switch (c->number) {
    case SYS_openat:
        return open_file(c, a[0], (const char *)a[1], a[2]);
    case SYS_mkdirat:
        return make_name(c, a[0], (const char *)a[1], POWER_FOLDER);
    case SYS_unlinkat:
        return make_name(c, a[0], (const char *)a[1], POWER_REMOVE);
    case SYS_linkat:
        return rename_or_link(c, a[0], (const char *)a[1], a[2], (const char *)a[3], POWER_LINK);
    case SYS_renameat:
    case SYS_renameat2:
        return rename_or_link(c, a[0], (const char *)a[1], a[2], (const char *)a[3],
                              c->number == SYS_renameat2 && (a[4] & RENAME_EXCHANGE) ? POWER_TRADE : POWER_RENAME);
#ifdef SYS_open
    case SYS_open:
        return open_file(c, AT_FDCWD, (const char *)a[0], a[1]);
    case SYS_mkdir:
        return make_name(c, AT_FDCWD, (const char *)a[0], POWER_FOLDER);
    case SYS_unlink:
    case SYS_rmdir:
        return make_name(c, AT_FDCWD, (const char *)a[0], POWER_REMOVE);
    case SYS_link:
        return rename_or_link(c, AT_FDCWD, (const char *)a[0], AT_FDCWD, (const char *)a[1], POWER_LINK);
    case SYS_rename:
        return rename_or_link(c, AT_FDCWD, (const char *)a[0], AT_FDCWD, (const char *)a[1], POWER_RENAME);
#endif
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_syncfs:
        return synchronise(c);
    case SYS_copy_file_range:
        return change_bytes(c, a[2]);
    case SYS_write:
    case SYS_writev:
    case SYS_pwrite64:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_ioctl:
        return change_bytes(c, a[0]);
    default:
        return calls_make(c);
    }
}

long power_make(const call *c)
{
    if (log_file < 0)
        return calls_make(c);
    while (atomic_flag_test_and_set(&lock))
        continue;
    const long result = make_noted(c);
    atomic_flag_clear(&lock);
    return result;
}
