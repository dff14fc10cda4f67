/* SPDX-License-Identifier: MIT
 * Finds the targets of symbolic links in a download, within a base directory. organ_link_follow resolves a link one
 * component of its path at a time, by directory descriptors and with O_NOFOLLOW, so that a process that changes the
 * files meanwhile cannot make it open a file outside of the base. */
#ifndef ORGAN_UNTRUSTED_LINKS_H
#define ORGAN_UNTRUSTED_LINKS_H

#include <limits.h>
#include <stdbool.h>

/* The base: the directory that links must not leave. It is the download itself or, if `store`, the entry of the Hugging
 * Face cache that contains it (models--ORG--NAME, with the folders blobs and snapshots). */
typedef struct organ_link_base {
    int fd;     /* its open descriptor; -1: none */
    char *path; /* absolute and without links; allocated */
    bool store; /* it has the folders of a cache entry */
    bool named; /* with `store`: its name has the form that the cache gives its entries */
} organ_link_base;

/* Returns whether the open directory `fd` has the folders of a cache entry, blobs and snapshots. */
bool organ_link_is_store(int fd);

/* Makes the open directory `fd`, whose path is `path`, a base. The base gets a duplicate of the descriptor and takes
 * over `path`, which is allocated (NULL: the caller ran out of memory). Returns false with errno on failure.
 * organ_link_base_close frees the base in any case. */
bool organ_link_base_open(organ_link_base *base, int fd, char *path);

/* Sets *base to the cache entry whose folder `snapshots` contains the directory `root`, an absolute path without links.
 * If there is none, sets base->fd to -1 and errno to 0; on failure, base->fd to -1 and errno to the reason. The caller
 * closes *base in any case. */
void organ_link_find_store(const char *root, organ_link_base *base);
void organ_link_base_close(organ_link_base *base);

/* The end of a chain of links, relative to the base. */
typedef enum organ_link_end {
    ORGAN_LINK_LEAVES,  /* outside the base: by ".." or by an absolute path; or, in a base with `store` but not `named`,
                         * at a file that is not in blobs or snapshots */
    ORGAN_LINK_NOWHERE, /* the target does not exist or cannot be opened; errno has the reason */
    ORGAN_LINK_DIRECTORY,
    ORGAN_LINK_FILE /* at a file, a pipe or a device */
} organ_link_end;

/* The target of a link. */
typedef struct organ_link_target {
    char path[PATH_MAX];     /* relative to the base, without links; "" for the base itself */
    int folder;              /* ORGAN_LINK_FILE: an open directory that the caller closes; else -1 */
    char name[NAME_MAX + 1]; /* ORGAN_LINK_FILE: name of the file in that directory */
} organ_link_target;

/* Follows `path`, relative to the base, and every link in it, at most 40 links and 64 nested directories. Sets *target
 * in any case. With ORGAN_LINK_NOWHERE errno has the reason. */
organ_link_end organ_link_follow(const organ_link_base *base, const char *path, organ_link_target *target);

#endif
