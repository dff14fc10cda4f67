/* SPDX-License-Identifier: MIT
 * The only way to files. Clients may name files below one directory (the root), and models in the caches of other
 * programs (the stores). No symbolic link on the way to them can lead out of the root or the store. */
#ifndef ORGAN_JAIL_H
#define ORGAN_JAIL_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

typedef struct organ_jail organ_jail;

/* Opens the root. openat2 resolves names below it (RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS); on systems without openat2
 * (Linux before 5.6) jail.c opens one segment after the other and follows no links at all. Returns ORGAN_IO if the root
 * is not a directory or cannot be read. */
organ_status organ_jail_open(const char *root, organ_jail **jail, organ_error *error);

/* Makes the models of all stores (formats/names/names.h) readable by their names. A path that exists below the root
 * takes precedence over a model of that name. Stores whose folders do not exist now are left out. Returns ORGAN_IO
 * without openat2. */
organ_status organ_jail_add_stores(organ_jail *jail, organ_error *error);

/* Sets the descriptors of the root and, after it, of the folders of the stores, valid until the jail is closed. Returns
 * their number. */
enum { ORGAN_JAIL_STORES = 4, ORGAN_JAIL_FOLDERS = 1 + ORGAN_JAIL_STORES };
size_t organ_jail_folders(const organ_jail *jail, int fds[ORGAN_JAIL_FOLDERS]);

/* Returns true if `path`, which must be absolute and without links, is the root, a store, or below one of them. */
bool organ_jail_contains(const organ_jail *jail, const char *path);

void organ_jail_close(organ_jail *jail); /* NULL is allowed */
void organ_jail_walk(organ_jail *jail);  /* for tests: opens names segment by segment from now on, as without openat2 */
const char *organ_jail_root(const organ_jail *jail); /* real path of the root, absolute; only "/" ends in a slash */

/* ---- paths below the root ---- */

/* All paths are relative to the root, '/' between segments; "" or "." is the root. Names that begin with a dot are
 * hidden. Each function below that returns `unsigned` returns 0, or an HTTP status with a message in *error. The
 * message contains the path of the request but not the location of the root:
 *   400  malformed path: absolute, "..", ".", empty segments, backslashes, control characters, invalid UTF-8, too
 *   long
 *   403  the path contains a link that leaves the root or store, or a hidden name, or may not be read
 *   404  no such file or directory, and no store has a complete model of that name
 *   409  the path is a directory where a file is needed, or the reverse
 *   500  the system call failed */

/* Opens a regular file for reading. *fd is -1 on an error. *about receives its attributes; `about` may be NULL. */
unsigned organ_jail_file(const organ_jail *jail, const char *path, int *fd, struct stat *about, organ_error *error);

/* Reads the attributes of a file or directory to *about. */
unsigned organ_jail_stat(const organ_jail *jail, const char *path, struct stat *about, organ_error *error);

/* Checks that a job may read the file or directory `path`: it exists, and no link leaves the root or store. The search
 * covers the path, everything below a directory, and for a file also the files next to it that a job reads with it
 * (shards, configuration, tokenizer). *absolute is its absolute path, for the caller to free; *stored becomes true if
 * it is below a store. */
unsigned organ_jail_input(const organ_jail *jail, const char *path, char **absolute, bool *stored, organ_error *error);

/* Checks that a job may write `path`: its parent is a directory below the root, and no segment is a link. `path`
 * itself may exist or not. */
unsigned organ_jail_output(const organ_jail *jail, const char *path, organ_error *error);

typedef struct organ_jail_entry {
    char *name;
    bool directory;
    uint64_t bytes;   /* size of a file; 0 for a directory */
    int64_t modified; /* time of the last change in seconds since 1970 */
} organ_jail_entry;

/* Lists the directory `path`: files, directories and links to files, ordered by name. Hidden names and all other
 * entries are omitted. At most `max` entries are kept; *truncated is set if there are more. The caller releases the
 * list with organ_jail_list_free. */
unsigned organ_jail_list(const organ_jail *jail, const char *path, size_t max, organ_jail_entry **entries,
                         size_t *count, bool *truncated, organ_error *error);
/* Lists a directory like organ_jail_list; if `path` is a file, lists the directory that contains it. *about receives
 * the attributes of `path`. */
unsigned organ_jail_list_around(const organ_jail *jail, const char *path, size_t max, organ_jail_entry **entries,
                                size_t *count, bool *truncated, struct stat *about, organ_error *error);
void organ_jail_list_free(organ_jail_entry *entries, size_t count);

/* Removes each "ROOT/" from a message, in place, and replaces the folders of stores by "...", so that clients do not
 * learn where the root and the stores are on this machine. */
void organ_jail_unroot(const organ_jail *jail, char *message);

#endif
