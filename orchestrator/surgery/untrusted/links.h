/* SPDX-License-Identifier: MIT
 * Finds the targets of symbolic links in a download. organ_link_follow resolves a link one component of its path at
 * a time, by directory descriptors and with O_NOFOLLOW, so that a process that changes the files meanwhile cannot
 * make it open a file outside of the base. */
#ifndef ORGAN_UNTRUSTED_LINKS_H
#define ORGAN_UNTRUSTED_LINKS_H

#include <limits.h>
#include <stdbool.h>

/* The directory that links may not leave: the download itself or, if `store`, the entry of the cache of Hugging Face
 * that it belongs to (models--ORG--NAME, with the folders blobs and snapshots). */
typedef struct organ_link_base {
    int fd;
    char *path; /* absolute and without links; allocated */
    bool store;
    bool named; /* the entry's name has the form that the cache gives its entries */
} organ_link_base;

/* Returns whether the open directory has the folders of an entry of the cache. */
bool organ_link_is_store(int fd);

/* Makes the open directory `fd` a base, and duplicates the descriptor. Takes ownership of `path` (NULL: the caller ran
 * out of memory). Returns false with errno. */
bool organ_link_base_open(organ_link_base *base, int fd, char *path);

/* Opens the entry of the cache whose folder snapshots contains the directory `root` (absolute, without links). Sets
 * base->fd to -1 and errno to 0 if there is none. The caller closes *base in any case. */
void organ_link_find_store(const char *root, organ_link_base *base);
void organ_link_base_close(organ_link_base *base);

typedef enum organ_link_end {
    ORGAN_LINK_LEAVES, /* leaves the base: by "..", by an absolute path, or to a part of an entry that has no files of a
                          snapshot */
    ORGAN_LINK_NOWHERE, /* the target does not exist or cannot be opened; errno has the reason */
    ORGAN_LINK_DIRECTORY,
    ORGAN_LINK_FILE /* a file, a pipe or a device */
} organ_link_end;

typedef struct organ_link_target {
    char path[PATH_MAX];     /* relative to the base, without links; "" for the base itself */
    int folder;              /* ORGAN_LINK_FILE: an open directory that the caller closes; else -1 */
    char name[NAME_MAX + 1]; /* of the file in that directory */
} organ_link_target;

/* Follows `path`, relative to the base, through every link on the way. At most 40 links and directories 64 deep. */
organ_link_end organ_link_follow(const organ_link_base *base, const char *path, organ_link_target *target);

#endif
