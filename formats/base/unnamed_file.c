/* SPDX-License-Identifier: MIT */
#include "formats/base/unnamed_file.h"

#include "formats/base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
