/* SPDX-License-Identifier: MIT
 * Private to jail.c and jail_programs.c: the structures of the jail and of places (files and directories) below its
 * root and stores. */
#ifndef ORGAN_JAIL_PARTS_H
#define ORGAN_JAIL_PARTS_H

#include "formats/base/arena.h"
#include "orchestrator/serve/http/jail.h"

#include <limits.h>

/* An open store. */
typedef struct organ_jail_store {
    int fd;
    char *path; /* of its folder, as organ_name_roots returns it; may contain links */
} organ_jail_store;

struct organ_jail {
    int root;            /* descriptor of the root */
    bool by_steps;       /* the kernel has no openat2: open_by_steps opens names */
    char path[PATH_MAX]; /* the real path of the root */
    organ_jail_store stores[ORGAN_JAIL_STORES];
    size_t store_count;
};

/* A path below the root or a store, and the directory it starts from. */
typedef struct organ_jail_place {
    int root;             /* descriptor of the root or of the store */
    const char *path;     /* relative to `root`; "" is that directory itself */
    const char *absolute; /* absolute path of a model in a store; NULL: the place is below the root */
    bool links;           /* follow links that stay below `root`; false: follow none */
    organ_arena names;    /* memory of the paths, which the caller of organ_jail_find releases */
} organ_jail_place;

/* Checks the form of the path and finds its place: below the root, or if nothing is there, the model of that name in a
 * store. Returns 0 also if nothing is at the place; an HTTP status if the form is wrong or a store has no complete
 * model of that name. The caller releases place->names, also after an error. */
unsigned organ_jail_find(const organ_jail *jail, const char *path, organ_jail_place *place, organ_error *error);

/* Finds the place of an output, which is below the root and whose path may contain no links. Returns 0, or an HTTP
 * status if the form of the path is wrong. */
unsigned organ_jail_find_output(const organ_jail *jail, const char *path, organ_jail_place *place, organ_error *error);

/* Returns the path of the directory that contains the place, allocated in its arena. NULL if memory runs out. */
const char *organ_jail_parent(organ_jail_place *place);

/* Opens the place; `flags` are those of open. Returns a descriptor, or -1 with errno: ELOOP or EXDEV for links that are
 * not followed. */
int organ_jail_beneath(const organ_jail *jail, const organ_jail_place *place, uint64_t flags);

/* Opens a directory (if `directory` is true) or a regular file for reading; *about receives its attributes. `path` is
 * for messages. Returns 0 or an HTTP status: 409 if the place is of the other kind, 403 if it is neither directory nor
 * regular file. */
unsigned organ_jail_open_place(const organ_jail *jail, const organ_jail_place *place, const char *path, bool directory,
                               int *fd, struct stat *about, organ_error *error);

/* Writes the error of a failed system call with errno `number` and returns its HTTP status. */
unsigned organ_jail_refuse(const char *path, int number, organ_error *error);

#endif
