/* SPDX-License-Identifier: MIT
 * Finds the targets of symbolic links in a download. organ_link_follow resolves a link one component of its path at
 * a time, by directory descriptors and with O_NOFOLLOW, so that a process that changes the files meanwhile cannot
 * make it open a file outside of the base. */
#ifndef ORGAN_UNTRUSTED_LINKS_H
#define ORGAN_UNTRUSTED_LINKS_H

#include <limits.h>
#include <stdbool.h>

/* The directory that links must not leave: the download itself or, if `store`, the entry of the Hugging Face cache that
 * contains it (models--ORG--NAME, with the folders blobs and snapshots). */
typedef struct organ_link_base {
    int fd;
    char *path; /* absolute and without links; allocated */
    bool store;
    bool named; /* the name of the entry has the form that the cache gives its entries */
} organ_link_base;

/* Returns whether the open directory `fd` has the folders of a cache entry. */
bool organ_link_is_store(int fd);

/* Makes the open directory `fd` a base; the base gets a duplicate of the descriptor and takes over `path` (NULL: the
 * caller ran out of memory). Returns false with errno on failure. */
bool organ_link_base_open(organ_link_base *base, int fd, char *path);

/* Opens the entry of the cache whose folder snapshots contains the directory `root` (absolute, without links). Sets
 * base->fd to -1 and errno to 0 if there is none. The caller closes *base in any case. */
void organ_link_find_store(const char *root, organ_link_base *base);
void organ_link_base_close(organ_link_base *base);

/* The end of a link. */
typedef enum organ_link_end {
    ORGAN_LINK_LEAVES,  /* it leaves the base: by "..", by an absolute path, or to a part of a cache entry other than
                         * blobs  and snapshots */
    ORGAN_LINK_NOWHERE, /* the target does not exist or cannot be opened; errno has the reason */
    ORGAN_LINK_DIRECTORY,
    ORGAN_LINK_FILE /* a file, a pipe or a device */
} organ_link_end;

typedef struct organ_link_target {
    char path[PATH_MAX];     /* relative to the base, without links; "" for the base itself */
    int folder;              /* ORGAN_LINK_FILE: an open directory that the caller closes; else -1 */
    char name[NAME_MAX + 1]; /* of the file in that directory */
} organ_link_target;

/* Follows `path`, relative to the base, and every link in it. Follows at most 40 links, into directories at most 64
 * deep. */
organ_link_end organ_link_follow(const organ_link_base *base, const char *path, organ_link_target *target);

#endif
