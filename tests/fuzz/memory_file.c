/* SPDX-License-Identifier: MIT
 * Files in memory: fuzzed code opens paths, and an input should take microseconds. */
#include "tests/fuzz/target.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int unnamed = -1;
static char unnamed_path[40];
static char directory[256];
static pid_t owner;

int fuzz_file(const uint8_t *head, size_t head_size, const uint8_t *data, size_t size, size_t behind)
{
    if (unnamed < 0) {
        unnamed = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(unnamed_path, sizeof unnamed_path, "/proc/self/fd/%d", unnamed);
    }
    const off_t length = (off_t)(head_size + size);
    fuzz_require(unnamed >= 0 && pwrite(unnamed, head, head_size, 0) == (ssize_t)head_size &&
                     pwrite(unnamed, data, size, (off_t)head_size) == (ssize_t)size &&
                     ftruncate(unnamed, length) == 0 && (!behind || ftruncate(unnamed, length + (off_t)behind) == 0),
                 "the file in memory can be written");
    return unnamed;
}

const char *fuzz_file_path(void) { return unnamed_path; }

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static void remove_directory(void)
{
    if (getpid() == owner)
        nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *find_directory(void)
{
    if (!*directory) {
        owner = getpid();
        const char *place = getenv("TMPDIR");
        if (!place)
            place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(directory, sizeof directory, "%s/organ-fuzz-XXXXXX", place);
        fuzz_require(mkdtemp(directory) != NULL && atexit(remove_directory) == 0, "there is a directory for files");
    }
    return directory;
}

/* Makes the folders of the path. */
static void make_folders(char *path)
{
    for (char *slash = strchr(path + strlen(directory) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

const char *fuzz_folder(const char *name)
{
    static char path[320];
    fuzz_require(snprintf(path, sizeof path, "%s/%s", find_directory(), name) < (int)sizeof path,
                 "names of folders are short");
    return path;
}

void fuzz_put(const char *name, const void *data, size_t size)
{
    char path[512];
    fuzz_require(snprintf(path, sizeof path, "%s/%s", find_directory(), name) < (int)sizeof path,
                 "names of files are short");
    if (!data) {
        unlink(path);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        make_folders(path);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    fuzz_require(fd >= 0 && write(fd, data, size) == (ssize_t)size, "a file in memory can be written");
    close(fd);
}
