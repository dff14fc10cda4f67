/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/jail.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/names/names.h"
#include "orchestrator/serve/http/jail_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the root ---- */

/* Returns a descriptor, or -1 with errno: ELOOP for a symbolic link. */
static int open_entry(int directory, const char *name, uint64_t flags)
{
    struct stat about;
    const int fd = openat(directory, name, (int)flags | O_NOFOLLOW | O_CLOEXEC);
    const int number = errno;
    if (fd < 0) {
        /* With O_DIRECTORY the kernel reports ENOTDIR for a link. */
        const bool link =
            number == ENOTDIR && fstatat(directory, name, &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(about.st_mode);
        errno = link ? ELOOP : number;
        return -1;
    }
    if (fstat(fd, &about) == 0 && !S_ISLNK(about.st_mode))
        return fd;
    close(fd);
    errno = ELOOP;
    return -1;
}

/* This is for kernels without openat2; it follows no links. Paths have no ".." (check_jail_path), so no segment
 * leads out of the root. Returns a descriptor, or -1 with errno. */
static int open_by_steps(int root, const char *path, uint64_t flags)
{
    char name[NAME_MAX + 1];
    int at = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (at >= 0) {
        const size_t length = strcspn(path, "/");
        const bool last = !path[length];
        if (length > NAME_MAX) {
            close(at);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, length);
        name[length] = '\0';
        const int next = open_entry(at, name, last ? flags : O_PATH | O_DIRECTORY), number = errno;
        close(at);
        errno = number;
        if (last)
            return next;
        at = next;
        path += length + 1;
    }
    return -1;
}

/* openat2 makes the kernel keep the path below place->root. */
int organ_jail_beneath(const organ_jail *jail, const organ_jail_place *place, uint64_t flags)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
                                            (place->links ? 0 : RESOLVE_NO_SYMLINKS)};
    const char *const path = *place->path ? place->path : ".";
    int fd;
    if (jail->by_steps)
        return open_by_steps(place->root, path, flags);
    /* EAGAIN: something was renamed meanwhile, and the kernel cannot decide whether the path left the root. So try
     * again, at most 100 times. */
    for (int tries = 0;
         (fd = (int)syscall(SYS_openat2, place->root, path, &how, sizeof how)) < 0 && errno == EAGAIN && tries < 100;)
        tries++;
    return fd;
}

/* `root` is for messages. */
static organ_status check_kernel(const char *root, organ_jail *jail, organ_error *error)
{
    const organ_jail_place top = {.root = jail->root, .path = "."};
    ORGAN_OWNED_FILE int fd = organ_jail_beneath(jail, &top, O_RDONLY | O_DIRECTORY);
    /* Linux before 5.6 and some emulators do not have openat2 (ENOSYS); some sandboxes forbid it (EPERM). */
    jail->by_steps = fd < 0 && (errno == ENOSYS || errno == EPERM);
    if (jail->by_steps)
        fd = organ_jail_beneath(jail, &top, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return organ_fail_errno(error, errno, "--root %s", root);
    return ORGAN_OK;
}

void organ_jail_walk(organ_jail *jail) { jail->by_steps = true; }

organ_status organ_jail_open(const char *root, organ_jail **made, organ_error *error)
{
    organ_jail *const jail = *made = calloc(1, sizeof *jail);
    if (!jail)
        return organ_fail_errno(error, ENOMEM, "--root %s", root);
    jail->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (jail->root < 0)
        organ_fail_errno(error, errno, "--root %s", root);
    else if (!realpath(root, jail->path))
        organ_fail_errno(error, errno, "--root %s", root);
    else
        check_kernel(root, jail, error);
    if (error->status) {
        organ_jail_close(jail);
        *made = NULL;
    }
    return error->status;
}

void organ_jail_close(organ_jail *jail)
{
    for (size_t k = 0; jail && k < jail->store_count; k++) {
        close(jail->stores[k].fd);
        free(jail->stores[k].path);
    }
    if (jail && jail->root >= 0)
        close(jail->root);
    free(jail);
}

static organ_status open_store(organ_jail *jail, const char *path, organ_error *error)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ORGAN_OK;
    char *const own = strdup(path);
    if (!own) {
        close(fd);
        return organ_fail_errno(error, ENOMEM, "%s", path);
    }
    jail->stores[jail->store_count++] = (organ_jail_store){.fd = fd, .path = own};
    return ORGAN_OK;
}

organ_status organ_jail_add_stores(organ_jail *jail, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_arena_release) organ_arena arena = {0};
    const char *roots[ORGAN_NAME_ROOTS];
    if (jail->by_steps)
        return organ_fail(error, ORGAN_IO,
                          "--caches: this kernel has no openat2 (Linux 5.6), which keeps links inside the caches");
    const size_t count = organ_name_roots(&arena, roots);
    for (size_t k = 0; k < count && !error->status; k++)
        open_store(jail, roots[k], error);
    return error->status;
}

size_t organ_jail_folders(const organ_jail *jail, int fds[ORGAN_JAIL_FOLDERS])
{
    fds[0] = jail->root;
    for (size_t k = 0; k < jail->store_count; k++)
        fds[1 + k] = jail->stores[k].fd;
    return 1 + jail->store_count;
}

/* Links in the path of a store are resolved at each call, because they may be replaced while the server runs. */
bool organ_jail_contains(const organ_jail *jail, const char *path)
{
    bool inside = organ_path_is_inside(path, jail->path);
    for (size_t k = 0; k < jail->store_count && !inside; k++) {
        ORGAN_OWNED char *const real = realpath(jail->stores[k].path, NULL);
        inside = real && organ_path_is_inside(path, real);
    }
    return inside;
}

const char *organ_jail_root(const organ_jail *jail) { return jail->path; }

/* `slash`: also removes the slash after the path. Does nothing if the path is "/", which reveals nothing, or is
 * shorter than `by`, for which the message may have no room. */
static void replace_path(char *message, const char *path, bool slash, const char *by)
{
    const size_t length = strcmp(path, "/") == 0 ? 0 : strlen(path), size = strlen(by);
    for (char *at = message; length >= size && length && (at = strstr(at, path)); at += size) {
        const size_t gone = length + (slash && at[length] == '/');
        memmove(at + size, at + gone, strlen(at + gone) + 1);
        memcpy(at, by, size);
    }
}

/* Stores are first, because a store may be below the root. */
void organ_jail_unroot(const organ_jail *jail, char *message)
{
    for (size_t k = 0; k < jail->store_count; k++)
        replace_path(message, jail->stores[k].path, /*slash=*/false, "...");
    replace_path(message, jail->path, /*slash=*/true, "");
}

/* ---- paths ---- */

/* The reason is a sentence about "it"; NULL if there is none. The limit of half PATH_MAX leaves room for the path of
 * the root. */
static const char *path_fault(const char *path)
{
    if (*path == '/')
        return "it is absolute; paths are relative to the root";
    if (strlen(path) >= PATH_MAX / 2)
        return "it is too long";
    if (strchr(path, '\\'))
        return "it has a backslash";
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return "it has a control character";
    return organ_utf8_valid(path) ? NULL : "it is not UTF-8";
}

/* Returns 0, or an HTTP status with a message: 400 for a malformed path, else 403 for a hidden name, else 404 for a
 * name that is too long for any file. */
static unsigned check_jail_path(const char *path, organ_error *error)
{
    const char *wrong = path_fault(path);
    bool hidden = false, endless = false;
    for (const char *segment = path; !wrong && *path && strcmp(path, ".") != 0;) {
        const size_t length = strcspn(segment, "/");
        if (length == 0 || strncmp(segment, ".", length) == 0 || (length == 2 && strncmp(segment, "..", 2) == 0))
            wrong = "it has a segment that is empty, '.' or '..'";
        hidden = hidden || segment[0] == '.';
        endless = endless || length > NAME_MAX;
        if (!segment[length])
            break;
        segment += length + 1;
    }
    if (wrong)
        organ_fail(error, ORGAN_USAGE, "'%s': %s", path, wrong);
    else if (hidden)
        organ_fail(error, ORGAN_USAGE, "'%s': hidden files are not served", path);
    else if (endless)
        organ_fail(error, ORGAN_USAGE, "'%s': a name is too long", path);
    if (wrong)
        return 400;
    if (hidden)
        return 403;
    return endless ? 404 : 0;
}

unsigned organ_jail_refuse(const char *path, int number, organ_error *error)
{
    if (number == ELOOP || number == EXDEV)
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': contains a symbolic link that does not stay below the root", path);
    else if (number == ENOENT || number == ENOTDIR)
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': no such file or directory", path);
    else
        organ_fail_errno(error, number, "'%s'", path);
    switch (number) {
    case ELOOP:
    case EXDEV:
    case EACCES:
    case EPERM:
        return 403;
    case ENOENT:
    case ENOTDIR:
        return 404;
    case ENAMETOOLONG:
        return 400;
    default:
        return 500;
    }
}

/* Returns the rest of the path below a store, and sets *root to the store's descriptor; NULL if it is below none. */
static const char *below_store(const organ_jail *jail, const char *absolute, int *root)
{
    for (size_t k = 0; k < jail->store_count; k++)
        if (organ_path_is_inside(absolute, jail->stores[k].path)) {
            *root = jail->stores[k].fd;
            absolute += strlen(jail->stores[k].path);
            return absolute + strspn(absolute, "/");
        }
    return NULL;
}

/* Returns 0 on success. If `path` has no prefix of a store and the Hugging Face cache has no such entry, also
 * returns 0, but leaves the place unchanged. Returns 404 if the store has no complete model of that name, 500 if
 * memory runs out. */
static unsigned find_named(const organ_jail *jail, const char *path, organ_jail_place *place, organ_error *error)
{
    const char *absolute = NULL;
    if (organ_name_find(path, &place->names, &absolute, error) != ORGAN_OK) {
        organ_jail_unroot(jail, error->message);
        return error->errnum == ENOMEM ? 500 : 404;
    }
    const char *const below = absolute ? below_store(jail, absolute, &place->root) : NULL;
    if (below) {
        place->path = below;
        place->absolute = absolute;
    }
    return 0;
}

unsigned organ_jail_find(const organ_jail *jail, const char *path, organ_jail_place *place, organ_error *error)
{
    *place = (organ_jail_place){.root = jail->root, .path = strcmp(path, ".") == 0 ? "" : path, .links = true};
    const unsigned bad = check_jail_path(path, error);
    if (bad || jail->store_count == 0)
        return bad;
    const int fd = organ_jail_beneath(jail, place, O_PATH);
    if (fd >= 0)
        close(fd);
    return fd < 0 && errno == ENOENT ? find_named(jail, path, place, error) : 0;
}

unsigned organ_jail_find_output(const organ_jail *jail, const char *path, organ_jail_place *place, organ_error *error)
{
    *place = (organ_jail_place){.root = jail->root, .path = strcmp(path, ".") == 0 ? "" : path};
    return check_jail_path(path, error);
}

/* Returns 0, or the status of HTTP that reports the error. */
static unsigned stat_place(const organ_jail *jail, const organ_jail_place *place, const char *path, struct stat *about,
                           organ_error *error)
{
    const int fd = organ_jail_beneath(jail, place, O_PATH);
    const int failed = fd >= 0 && fstat(fd, about) == 0 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    if (failed)
        return organ_jail_refuse(path, failed, error);
    if (S_ISREG(about->st_mode) || S_ISDIR(about->st_mode))
        return 0;
    organ_fail(error, ORGAN_BAD_INPUT, "'%s': neither a file nor a directory", path);
    return 403;
}

unsigned organ_jail_stat(const organ_jail *jail, const char *path, struct stat *about, organ_error *error)
{
    organ_jail_place place;
    unsigned status = organ_jail_find(jail, path, &place, error);
    status = status ? status : stat_place(jail, &place, path, about, error);
    organ_arena_release(&place.names);
    return status;
}

/* Checks the kind before, so that no device or pipe is opened, and again after, since the file may have been
 * replaced in between (409). */
unsigned organ_jail_open_place(const organ_jail *jail, const organ_jail_place *place, const char *path, bool directory,
                               int *fd, struct stat *about, organ_error *error)
{
    struct stat first, second;
    *fd = -1;
    const unsigned status = stat_place(jail, place, path, &first, error);
    if (status)
        return status;
    if (S_ISDIR(first.st_mode) != directory) {
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': %s", path, directory ? "is not a directory" : "is a directory");
        return 409;
    }
    *fd = organ_jail_beneath(jail, place, O_RDONLY | O_NONBLOCK | (directory ? O_DIRECTORY : 0));
    if (*fd < 0)
        return organ_jail_refuse(path, errno, error);
    if (fstat(*fd, &second) == 0 && (second.st_mode & S_IFMT) == (first.st_mode & S_IFMT)) {
        *about = second;
        return 0;
    }
    close(*fd);
    *fd = -1;
    organ_fail(error, ORGAN_BAD_INPUT, "'%s': was replaced while being opened", path);
    return 409;
}

unsigned organ_jail_file(const organ_jail *jail, const char *path, int *fd, struct stat *about, organ_error *error)
{
    struct stat unused;
    organ_jail_place place;
    *fd = -1;
    unsigned status = organ_jail_find(jail, path, &place, error);
    status = status
                 ? status
                 : organ_jail_open_place(jail, &place, path, /*directory=*/false, fd, about ? about : &unused, error);
    organ_arena_release(&place.names);
    return status;
}

/* ---- listing ---- */

static int entry_order(const void *a, const void *b)
{
    return strcmp(((const organ_jail_entry *)a)->name, ((const organ_jail_entry *)b)->name);
}

void organ_jail_list_free(organ_jail_entry *entries, size_t count)
{
    for (size_t k = 0; k < count; k++)
        free(entries[k].name);
    free(entries);
}

const char *organ_jail_parent(organ_jail_place *place)
{
    const char *const slash = strrchr(place->path, '/');
    return organ_arena_copy(&place->names, place->path, slash ? (size_t)(slash - place->path) : 0);
}

typedef struct listing {
    organ_jail_entry *entries;
    size_t count, capacity, max;
    bool truncated;
} listing;

/* Returns false if memory runs out. An entry beyond l->max is left out and sets l->truncated. */
static bool append_entry(listing *l, const char *name, const struct stat *about)
{
    l->truncated = l->count == l->max;
    if (l->truncated)
        return true;
    char *const own = organ_grow(&l->entries, l->count, &l->capacity, sizeof *l->entries) ? strdup(name) : NULL;
    if (!own)
        return false;
    l->entries[l->count++] = (organ_jail_entry){
        own, S_ISDIR(about->st_mode), S_ISDIR(about->st_mode) ? 0 : (uint64_t)about->st_size, about->st_mtim.tv_sec};
    return true;
}

/* For a link, the attributes are those of the file that it leads to. Returns false for entries that are not listed:
 * devices, pipes, sockets, links that cannot be followed, and links to directories, so that no search enters a
 * directory twice. */
static bool stat_entry(const organ_jail *jail, const organ_jail_place *place, int fd, const char *name,
                       struct stat *about)
{
    char path[PATH_MAX];
    if (fstatat(fd, name, about, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (!S_ISLNK(about->st_mode))
        return S_ISREG(about->st_mode) || S_ISDIR(about->st_mode);
    const organ_jail_place below = {.root = place->root, .path = path, .links = place->links};
    const int length = snprintf(path, sizeof path, "%s%s%s", place->path, *place->path ? "/" : "", name);
    ORGAN_OWNED_FILE const int target = (size_t)length < sizeof path ? organ_jail_beneath(jail, &below, O_PATH) : -1;
    return target >= 0 && fstat(target, about) == 0 && S_ISREG(about->st_mode);
}

/* Returns 0 or an HTTP status; then `l` may have a part of the entries. */
static unsigned list_place(const organ_jail *jail, const organ_jail_place *place, const char *path, listing *l,
                           organ_error *error)
{
    int fd;
    struct stat about;
    const unsigned status = organ_jail_open_place(jail, place, path, /*directory=*/true, &fd, &about, error);
    if (status)
        return status;
    DIR *const directory = fdopendir(fd);
    bool memory = directory != NULL;
    for (const struct dirent *e; memory && !l->truncated && (e = readdir(directory));)
        if (e->d_name[0] != '.' && !path_fault(e->d_name) && stat_entry(jail, place, fd, e->d_name, &about))
            memory = append_entry(l, e->d_name, &about);
    if (directory)
        closedir(directory);
    else
        close(fd);
    return memory ? 0 : organ_jail_refuse(path, ENOMEM, error);
}

/* Sorts the entries and gives them to the caller. If `status` is an error, frees them: the list is then empty. */
static unsigned finish_list(listing *l, unsigned status, organ_jail_entry **entries, size_t *count, bool *truncated)
{
    if (status) {
        organ_jail_list_free(l->entries, l->count);
        *l = (listing){0};
    }
    if (l->count)
        qsort(l->entries, l->count, sizeof *l->entries, entry_order);
    *entries = l->entries;
    *count = l->count;
    *truncated = l->truncated;
    return status;
}

unsigned organ_jail_list(const organ_jail *jail, const char *path, size_t max, organ_jail_entry **entries,
                         size_t *count, bool *truncated, organ_error *error)
{
    listing l = {.max = max};
    organ_jail_place place;
    unsigned status = organ_jail_find(jail, path, &place, error);
    status = status ? status : list_place(jail, &place, path, &l, error);
    organ_arena_release(&place.names);
    return finish_list(&l, status, entries, count, truncated);
}

unsigned organ_jail_list_around(const organ_jail *jail, const char *path, size_t max, organ_jail_entry **entries,
                                size_t *count, bool *truncated, struct stat *about, organ_error *error)
{
    listing l = {.max = max};
    organ_jail_place place;
    unsigned status = organ_jail_find(jail, path, &place, error);
    status = status ? status : stat_place(jail, &place, path, about, error);
    if (!status && S_ISREG(about->st_mode))
        place.path = organ_jail_parent(&place);
    if (!status)
        status = place.path ? list_place(jail, &place, path, &l, error) : organ_jail_refuse(path, ENOMEM, error);
    organ_arena_release(&place.names);
    return finish_list(&l, status, entries, count, truncated);
}
