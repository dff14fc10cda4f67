/* SPDX-License-Identifier: MIT
 * Reads the free memory of the machine and of control groups from /proc and from the file systems of the groups. */
#include "orchestrator/machine/free_memory.h"

#include "formats/base/files.h"
#include "formats/base/owned.h"
#include "formats/base/word_lists.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP         ((size_t)16 << 10) /* bytes that are read at once */
#define LONGEST_PATH (4 * PATH_MAX)     /* root, mount and group one after the other */

/* Files of one version of control groups. */
typedef struct version {
    const char *kind, *controller; /* type of the file system; controller that version 1 names in lists, or "" */
    const char *limits[2];         /* files with a limit; the second may be NULL */
    const char *used;
    const char *cache[2]; /* lines of memory.stat: page cache that the kernel can drop */
} version;

static const version versions[] = {
    {"cgroup2", "", {"memory.max", "memory.high"}, "memory.current", {"\ninactive_file ", "\nactive_file "}},
    {"cgroup",
     "memory",
     {"memory.limit_in_bytes", NULL},
     "memory.usage_in_bytes",
     {"\ntotal_inactive_file ", "\ntotal_active_file "}}};

/* ---- files ---- */

/* Files of /proc have no size, so they are read to their end. Returns the text after a line break, so that every line
 * can be found by "\nNAME"; NULL with errno if the file cannot be read. The caller frees it. */
static char *read_text(const char *path)
{
    const int fd = organ_open(path, O_RDONLY, 0);
    char *text = NULL;
    size_t size = 0;
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0) {
        char *const larger = realloc(text, size + STEP + 2);
        text = larger ? larger : text;
        got = larger ? read(fd, larger + 1 + size, STEP) : -1;
        size += got > 0 ? (size_t)got : 0;
        got = got < 0 && larger && errno == EINTR ? 1 : got;
    }
    const int reason = errno;
    if (fd >= 0)
        close(fd);
    if (got == 0) {
        text[0] = '\n';
        text[1 + size] = '\0';
        return text;
    }
    free(text);
    errno = reason;
    return NULL;
}

/* Returns the number after `name` in the text, or 0 if it has none. */
static uint64_t number_after(const char *text, const char *name)
{
    const char *const at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static organ_status machine_free(const char *root, uint64_t *bytes, organ_error *error)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    ORGAN_OWNED char *const text = read_text(path);
    if (!text)
        return organ_fail_errno(error, errno, "%s: cannot be read, which --memory auto needs: give an amount", path);
    *bytes = number_after(text, "\nMemAvailable:") * 1024;
    if (!strstr(text, "\nMemAvailable:"))
        organ_fail(error, ORGAN_IO, "%s: has no line MemAvailable, which --memory auto needs: give an amount", path);
    return error->status;
}

/* ---- control groups ---- */

/* Where the groups of one version are: the group `top` is the directory `mount`. */
typedef struct hierarchy {
    const version *version;
    char mount[PATH_MAX], top[PATH_MAX];
} hierarchy;

/* Reads one number. A missing file or "max" is no limit: UINT64_MAX. Returns false with errno if the file exists and
 * cannot be read. */
static bool read_limit(const char *directory, const char *file, uint64_t *bytes)
{
    char path[LONGEST_PATH];
    *bytes = UINT64_MAX;
    if (!file)
        return true;
    snprintf(path, sizeof path, "%s/%s", directory, file);
    ORGAN_OWNED char *const text = read_text(path);
    if (!text)
        return errno == ENOENT || errno == ENOTDIR;
    if (text[1] >= '0' && text[1] <= '9')
        *bytes = strtoull(text + 1, NULL, 10);
    return true;
}

/* Page cache of the group that the kernel can drop does not count as used. */
static uint64_t used_bytes(const version *v, const char *directory)
{
    char path[LONGEST_PATH];
    uint64_t used = 0;
    if (!read_limit(directory, v->used, &used) || used == UINT64_MAX)
        return 0;
    snprintf(path, sizeof path, "%s/memory.stat", directory);
    ORGAN_OWNED char *const text = read_text(path);
    const uint64_t cache = text ? number_after(text, v->cache[0]) + number_after(text, v->cache[1]) : 0;
    return used > cache ? used - cache : 0;
}

/* Version 1 writes "no limit" as the greatest number of bytes in whole pages: no machine has as much. */
#define NO_LIMIT ((uint64_t)1 << 62)

/* Lowers *found to what the limits of the group `name` leave, if that is less. */
static organ_status use_group(const hierarchy *h, const char *directory, const char *name, organ_free_memory *found,
                              organ_error *error)
{
    uint64_t least = UINT64_MAX;
    for (size_t k = 0; k < 2; k++) {
        uint64_t limit;
        if (!read_limit(directory, h->version->limits[k], &limit))
            return organ_fail_errno(error, errno, "%s/%s: cannot be read, which --memory auto needs: give an amount",
                                    directory, h->version->limits[k]);
        least = limit < least ? limit : least;
    }
    if (least >= NO_LIMIT)
        return ORGAN_OK;
    const uint64_t used = used_bytes(h->version, directory), left = least > used ? least - used : 0;
    if (left < found->bytes) {
        found->bytes = left;
        snprintf(found->group, sizeof found->group, "%.*s", (int)sizeof found->group - 1, name);
    }
    return ORGAN_OK;
}

/* The path of a group of a container may lead above the top that the container sees: then the top is used. */
static organ_status use_groups(const char *root, const hierarchy *h, const char *group, organ_free_memory *found,
                               organ_error *error)
{
    char directory[LONGEST_PATH - 64], name[PATH_MAX];
    const size_t top = strcmp(h->top, "/") == 0 ? 0 : strlen(h->top);
    const bool below = strncmp(group, h->top, top) == 0 && (group[top] == '/' || group[top] == '\0');
    snprintf(name, sizeof name, "%s", below ? group + top : "");
    for (size_t length = strlen(name); !error->status;) {
        while (length > 0 && name[length - 1] == '/')
            length--;
        name[length] = '\0';
        snprintf(directory, sizeof directory, "%s%s%s", root, h->mount, name);
        use_group(h, directory, length ? name : "/", found, error);
        if (length == 0)
            return error->status;
        while (length > 0 && name[length - 1] != '/')
            length--;
    }
    return error->status;
}

/* ---- mounts ---- */

/* Copies a field of mountinfo up to the next blank; "\040" stands for a blank in a path. */
static const char *copy_field(const char *at, char *out, size_t size)
{
    size_t length = 0;
    for (; *at && *at != ' ' && *at != '\n'; at++) {
        const bool coded = at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && strspn(at + 1, "01234567") >= 3;
        const char c = coded ? (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + at[3] - '0') : *at;
        at += coded ? 3 : 0;
        if (length + 1 < size)
            out[length++] = c;
    }
    out[length] = '\0';
    return *at == ' ' ? at + 1 : at;
}

/* Version 2 has no names of controllers. */
static bool has_controller(const version *v, const char *list)
{
    return !*v->controller || organ_lists_word(list, ',', v->controller, strlen(v->controller));
}

/* Reads a line "36 35 0:31 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate". Returns true if it is
 * the mount of a version's groups of memory. */
static bool read_mount(const char *line, hierarchy *h)
{
    char word[256], kind[64], options[1024];
    for (unsigned k = 0; k < 3; k++)
        line = copy_field(line, word, sizeof word);
    line = copy_field(line, h->top, sizeof h->top);
    line = copy_field(line, h->mount, sizeof h->mount);
    do
        line = copy_field(line, word, sizeof word);
    while (*line && *line != '\n' && strcmp(word, "-") != 0);
    line = copy_field(line, kind, sizeof kind);
    line = copy_field(line, word, sizeof word);
    copy_field(line, options, sizeof options);
    for (size_t k = 0; k < sizeof versions / sizeof *versions; k++) {
        h->version = &versions[k];
        if (strcmp(kind, versions[k].kind) == 0 && has_controller(h->version, options))
            return true;
    }
    return false;
}

/* The lines of /proc/self/cgroup are "0::/GROUP" for version 2, "9:cpu,memory:/GROUP" for version 1. Returns false if
 * the process is in no group of this version. */
static bool find_group(const char *groups, const version *v, char *group, size_t size)
{
    for (const char *line = groups; (line = strchr(line, '\n')) && *++line;) {
        const char *const list = strchr(line, ':');
        const char *const path = list ? strchr(list + 1, ':') : NULL;
        char controllers[1024];
        if (!path)
            continue;
        snprintf(controllers, sizeof controllers, "%.*s", (int)(path - list - 1), list + 1);
        if (*v->controller ? !has_controller(v, controllers) : strncmp(line, "0::", 3) != 0)
            continue;
        snprintf(group, size, "%.*s", (int)strcspn(path + 1, "\n"), path + 1);
        return true;
    }
    return false;
}

/* A system without control groups, or without these files, has none to read. */
static organ_status use_all_groups(const char *root, organ_free_memory *found, organ_error *error)
{
    char path[PATH_MAX], group[PATH_MAX];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    ORGAN_OWNED char *const groups = read_text(path);
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    ORGAN_OWNED char *const mounts = groups ? read_text(path) : NULL;
    for (const char *line = mounts; line && !error->status && (line = strchr(line, '\n')) && *++line;) {
        hierarchy h;
        if (read_mount(line, &h) && find_group(groups, h.version, group, sizeof group))
            use_groups(root, &h, group, found, error);
    }
    return error->status;
}

organ_status organ_free_memory_read(const char *root, organ_free_memory *found, organ_error *error)
{
    *found = (organ_free_memory){0};
    return machine_free(root, &found->bytes, error) == ORGAN_OK ? use_all_groups(root, found, error) : error->status;
}
