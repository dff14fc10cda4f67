/* SPDX-License-Identifier: MIT
 * Checks of the paths that jobs read and write. The process of a job opens them without the jail, so the server
 * searches inputs for links that leave the root or store before it starts the job. */
#include "formats/base/text.h"
#include "formats/base/files.h"
#include "orchestrator/serve/http/jail_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* DEEPEST counts levels of directories, MAX_CHECKED all entries; beyond them the input is rejected with 400. */
enum { DEEPEST = 16, MAX_CHECKED = 200000 };

typedef struct jail_search {
    const organ_jail *jail;
    const organ_jail_place *place; /* the searched directory */
    const char *path;              /* for messages */
    char at[PATH_MAX];             /* path below place->root of the entry that is being checked */
    /* If the input is a file: its name, of which all shards of the model share the first stem_length bytes (stem_of);
     * the search then checks only files that a job reads with it. NULL if the input is a directory: checks all. */
    const char *stem;
    size_t stem_length;
    size_t checked; /* entries checked so far */
} jail_search;

/* Every name in a directory is checked. Next to a file only shards of the same model are, and what may be its
 * configuration or tokenizer, which a job reads too. */
static bool is_read_with_model(const jail_search *s, const char *name)
{
    static const char *const ends[] = {".json", ".model", ".txt", ".jinja"};
    if (!s->stem || strncmp(name, s->stem, s->stem_length) == 0)
        return true;
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
        if (organ_ends_with(name, ends[k]))
            return true;
    return false;
}

static unsigned find_links(jail_search *s, int fd, int depth, organ_error *error);

/* s->at is the path of the entry of the open directory `fd`, `depth` the level of the directory, 0 for the first.
 * Searches the entry too if it is a directory and the input is one. Ignores links to missing files, which the job
 * reports itself. Returns 0, 403 for a link that leaves the root or store, or another HTTP status. */
static unsigned check_entry(jail_search *s, int fd, const char *name, int depth, organ_error *error)
{
    struct stat about;
    const organ_jail_place entry = {.root = s->place->root, .path = s->at, .links = true};
    if (fstatat(fd, name, &about, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : organ_jail_refuse(s->path, errno, error);
    if (S_ISLNK(about.st_mode)) {
        const int target = organ_jail_beneath(s->jail, &entry, O_PATH), failed = target < 0 ? errno : 0;
        if (target >= 0 && fstat(target, &about) != 0)
            about.st_mode = 0;
        if (target >= 0)
            close(target);
        if (failed == ENOENT)
            return 0;
        if (failed) {
            organ_fail(error, ORGAN_BAD_INPUT,
                       "'%s': refers to a symbolic link, '%s', that does not stay below the root", s->path, name);
            return 403;
        }
    }
    if (!S_ISDIR(about.st_mode) || s->stem)
        return 0;
    const int below = organ_jail_beneath(s->jail, &entry, O_RDONLY | O_DIRECTORY);
    return below < 0 ? organ_jail_refuse(s->path, errno, error) : find_links(s, below, depth + 1, error);
}

/* Checks the entries of the directory s->at, which `fd` is open on (check_entry), and closes fd. Returns 0 or an HTTP
 * status. */
static unsigned find_links(jail_search *s, int fd, int depth, organ_error *error)
{
    unsigned status = 0;
    const size_t length = strlen(s->at);
    ORGAN_OWNED_FOLDER DIR *const directory = depth < DEEPEST ? fdopendir(fd) : NULL;
    if (!directory) {
        close(fd);
        return organ_jail_refuse(s->path, depth < DEEPEST ? errno : ENAMETOOLONG, error);
    }
    for (const struct dirent *e; !status && (e = readdir(directory));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || !is_read_with_model(s, e->d_name))
            continue;
        const int more = snprintf(s->at + length, sizeof s->at - length, "%s%s", length ? "/" : "", e->d_name);
        if (++s->checked > MAX_CHECKED || (size_t)more >= sizeof s->at - length)
            status = organ_jail_refuse(s->path, ENAMETOOLONG, error);
        else
            status = check_entry(s, fd, e->d_name, depth, error);
        s->at[length] = '\0';
    }
    return status;
}

/* Returns the length of the part that all shards share: that of "model-" for "model-00001-of-00003.gguf", the whole
 * length for a name that is not of a shard. */
static size_t stem_of(const char *name)
{
    const char *const of = strstr(name, "-of-");
    size_t length = of ? (size_t)(of - name) : 0;
    while (length > 0 && name[length - 1] >= '0' && name[length - 1] <= '9')
        length--;
    return length > 0 ? length : strlen(name);
}

/* A job opens the place by the absolute path, which the caller frees. Returns 0, or 500 if memory runs out; `path`
 * is for the message. */
static unsigned absolute_of(const organ_jail *jail, const organ_jail_place *place, const char *path, char **absolute,
                            organ_error *error)
{
    const bool root = strcmp(jail->path, "/") == 0;
    const int length = place->absolute ? asprintf(absolute, "%s", place->absolute)
                                       : asprintf(absolute, "%s%s%s", root ? "" : jail->path,
                                                  *place->path || root ? "/" : "", place->path);
    if (length >= 0)
        return 0;
    *absolute = NULL;
    return organ_jail_refuse(path, ENOMEM, error);
}

/* Opens the place itself or, if it is a file, the directory that contains it; then also changes the place to this
 * directory and sets s->stem and s->stem_length. Sets s->at to the path of the directory. Returns 0 or an HTTP
 * status. */
static unsigned open_searched(jail_search *s, organ_jail_place *place, int *fd, organ_error *error)
{
    struct stat about;
    unsigned status = organ_jail_stat(s->jail, s->path, &about, error);
    if (!status && !S_ISDIR(about.st_mode)) {
        s->stem = organ_path_name(place->path);
        s->stem_length = stem_of(s->stem);
        place->path = organ_jail_parent(place);
        status = place->path ? 0 : organ_jail_refuse(s->path, ENOMEM, error);
    }
    if (!status)
        status = organ_jail_open_place(s->jail, place, s->path, /*directory=*/true, fd, &about, error);
    if (!status)
        snprintf(s->at, sizeof s->at, "%s", place->path);
    return status;
}

unsigned organ_jail_input(const organ_jail *jail, const char *path, char **absolute, bool *stored, organ_error *error)
{
    int fd;
    organ_jail_place place, searched;
    *absolute = NULL;
    *stored = false;
    unsigned status = organ_jail_find(jail, path, &place, error);
    searched = place;
    jail_search s = {.jail = jail, .place = &searched, .path = path};
    if (!status)
        status = open_searched(&s, &searched, &fd, error);
    if (!status)
        status = find_links(&s, fd, /*depth=*/0, error);
    if (!status)
        status = absolute_of(jail, &place, path, absolute, error);
    *stored = !status && place.absolute;
    organ_arena_release(&searched.names);
    return status;
}

unsigned organ_jail_output(const organ_jail *jail, const char *path, organ_error *error)
{
    struct stat about;
    organ_jail_place place;
    ORGAN_OWNED_FILE int fd = -1;
    unsigned status = organ_jail_find_output(jail, path, &place, error);
    if (!status && !*place.path) {
        organ_fail(error, ORGAN_USAGE, "the root itself cannot be written");
        status = 400;
    }
    const char *const name = organ_path_name(place.path);
    if (!status) {
        place.path = organ_jail_parent(&place);
        status = place.path ? organ_jail_open_place(jail, &place, path, /*directory=*/true, &fd, &about, error)
                            : organ_jail_refuse(path, ENOMEM, error);
    }
    if (!status && fstatat(fd, name, &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(about.st_mode)) {
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': is a link; links are not followed", path);
        status = 403;
    }
    organ_arena_release(&place.names);
    return status;
}
