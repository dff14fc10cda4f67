/* SPDX-License-Identifier: MIT
 * LD_PRELOAD library: a hole of a file stays a hole if zeros are written to it, and fallocate reserves no blocks. A
 * test can then write an output of any size without its disk space. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef ssize_t write_call(int, const void *, size_t, off_t);
typedef int reserve_call(int, int, off_t, off_t);

/* Sets the size of the file to at least `size`. Returns -1 and sets errno on error. */
static int grow(int fd, off_t size)
{
    struct stat about;
    if (fstat(fd, &about) != 0)
        return -1;
    return about.st_size < size ? ftruncate(fd, size) : 0;
}

static bool is_zero(const char *data, size_t bytes)
{
    return bytes > 0 && data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

/* Returns whether the file has no data from `at` to `end`. */
static bool is_hole(int fd, off_t at, off_t end)
{
    const off_t data = lseek(fd, at, SEEK_DATA);
    return data < 0 ? errno == ENXIO : data >= end;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    const off_t end = at + (off_t)bytes;
    if (is_zero(data, bytes) && grow(fd, end) == 0 && is_hole(fd, at, end))
        return (ssize_t)bytes;
    return ((write_call *)dlsym(RTLD_NEXT, "pwrite"))(fd, data, bytes, at);
}

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    return mode == 0 ? grow(fd, at + bytes) : ((reserve_call *)dlsym(RTLD_NEXT, "fallocate"))(fd, mode, at, bytes);
}
