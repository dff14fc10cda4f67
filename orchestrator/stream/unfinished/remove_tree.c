/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/unfinished/remove_tree.h"

#include "formats/base/file_calls.h"
#include "formats/base/held_folder.h"
#include "formats/model/recognise.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEEPEST 64 /* nested folders: each needs a descriptor and a buffer on the stack */

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

bool organ_is_empty_folder(int folder)
{
    _Alignas(struct dirent64) char entries[4096];
    ssize_t got = lseek(folder, 0, SEEK_SET) < 0 ? -1 : 1;
    bool empty = true;
    while (empty && got > 0) {
        got = getdents64(folder, entries, sizeof entries);
        for (ssize_t at = 0; at < got && empty; at += ((const struct dirent64 *)(const void *)(entries + at))->d_reclen)
            empty = is_dots(((const struct dirent64 *)(const void *)(entries + at))->d_name);
    }
    return empty && got == 0;
}

static int remove_at(int folder, const char *name, int depth);

/* `entries` has `bytes` bytes of getdents64. Leaves the mark of an unfinished output (ORGAN_GROWING_MARK), and
 * continues after an entry that cannot be removed. Returns 0 or the first errno. */
static int remove_listed(int folder, const char *entries, ssize_t bytes, int depth)
{
    int fault = 0, one;
    for (ssize_t at = 0; at < bytes;) {
        const struct dirent64 *const entry = (const struct dirent64 *)(const void *)(entries + at);
        if (!is_dots(entry->d_name) && strcmp(entry->d_name, ORGAN_GROWING_MARK) != 0)
            if ((one = remove_at(folder, entry->d_name, depth)) != 0 && fault == 0)
                fault = one;
        at += entry->d_reclen;
    }
    return fault;
}

/* Removes the mark of an unfinished output last. */
static int empty_folder(int folder, int depth)
{
    _Alignas(struct dirent64) char entries[4096];
    ssize_t got = 0;
    int fault = lseek(folder, 0, SEEK_SET) < 0 ? errno : 0;
    while (fault == 0 && (got = getdents64(folder, entries, sizeof entries)) > 0)
        fault = remove_listed(folder, entries, got, depth);
    if (fault || got < 0)
        return fault ? fault : errno;
    /* The mark is removed last, after the other removals are on the disk: after a kill or a power cut it permits the
     * next run to remove the rest. */
    if (faccessat(folder, ORGAN_GROWING_MARK, F_OK, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : errno;
    organ_sync_file(folder); /* a failure matters only after a power cut */
    return unlinkat(folder, ORGAN_GROWING_MARK, 0) ? errno : 0;
}

/* Tries unlink and rmdir first, because they need no descriptor, and then empties the folder. Returns 0 or an errno;
 * ELOOP if folders are nested deeper than DEEPEST. */
static int remove_at(int folder, const char *name, int depth)
{
    if (unlinkat(folder, name, 0) == 0 || (depth > 0 && errno == ENOENT)) /* another process removes the tree too */
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    if (unlinkat(folder, name, AT_REMOVEDIR) == 0)
        return 0;
    int fault = errno;
    if (fault != ENOTEMPTY && fault != EEXIST)
        return fault;
    const int below = depth < DEEPEST ? organ_open_at(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0) : -1;
    if (below < 0)
        return depth < DEEPEST ? errno : ELOOP;
    for (int k = 0; k < ORGAN_EMPTYING_ROUNDS && (fault == ENOTEMPTY || fault == EEXIST); k++)
        if ((fault = empty_folder(below, depth + 1)) == 0 && unlinkat(folder, name, AT_REMOVEDIR))
            fault = errno;
    close(below);
    return fault;
}

int organ_empty_folder(int folder) { return empty_folder(folder, 1); }

int organ_remove_tree(const char *path)
{
    const char *name;
    organ_held_folders_use();
    const int folder = organ_held_folder_of(path, &name), fault = remove_at(folder, name, 0);
    organ_held_folders_leave();
    errno = fault;
    return fault ? -1 : 0;
}
