/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/jail.h"

#include "formats/base/path.h"
#include "formats/base/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEEPEST = 16, MAX_CHECKED = 200000 };

struct organ_jail {
    int root;
    bool by_steps; /* the kernel has no openat2 */
    char path[PATH_MAX];
};

/* ---- the root ---- */

/* One name in a directory, which is not followed if it is a link. */
static int open_entry(int directory, const char *name, uint64_t flags)
{
    struct stat about;
    const int fd = openat(directory, name, (int)flags | O_NOFOLLOW | O_CLOEXEC);
    const int number = errno;
    if (fd < 0) {
        /* A link that should be a directory is reported as none. */
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

/* For kernels without openat2: opens one segment after the other. Paths have no "..", so that no step leads up. */
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

static int open_beneath(const organ_jail *jail, const char *path, uint64_t flags)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd;
    if (jail->by_steps)
        return open_by_steps(jail->root, path, flags);
    /* EAGAIN: something was renamed meanwhile, and the kernel cannot decide whether the path left the root. */
    for (int tries = 0;
         (fd = (int)syscall(SYS_openat2, jail->root, path, &how, sizeof how)) < 0 && errno == EAGAIN && tries < 100;)
        tries++;
    return fd;
}

static organ_status check_kernel(const char *root, organ_jail *jail, organ_error *error)
{
    int fd = open_beneath(jail, ".", O_RDONLY | O_DIRECTORY);
    /* Linux before 5.6 and some emulators do not have it, some sandboxes forbid it. */
    jail->by_steps = fd < 0 && (errno == ENOSYS || errno == EPERM);
    if (jail->by_steps)
        fd = open_beneath(jail, ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return organ_fail_errno(error, errno, "--root %s", root);
    close(fd);
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
    if (jail && jail->root >= 0)
        close(jail->root);
    free(jail);
}

const char *organ_jail_root(const organ_jail *jail) { return jail->path; }

void organ_jail_unroot(const organ_jail *jail, char *message)
{
    const size_t length = strcmp(jail->path, "/") == 0 ? 0 : strlen(jail->path);
    for (char *at = message; length && (at = strstr(at, jail->path));) {
        const size_t gone = length + (at[length] == '/');
        memmove(at, at + gone, strlen(at + gone) + 1);
    }
}

/* ---- paths ---- */

static const char *wrong_with(const char *path)
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

/* 0, or the status of a path that cannot be asked for. */
static unsigned check_jail_path(const char *path, organ_error *error)
{
    const char *wrong = wrong_with(path);
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

static unsigned refuse_path(const char *path, int number, organ_error *error)
{
    if (number == ELOOP || number == EXDEV)
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': contains a symbolic link; links are not followed", path);
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

static const char *root_or_path(const char *path) { return *path ? path : "."; }

/* An O_PATH descriptor: opening it has no effect on a device or a pipe. */
static unsigned handle_of(const organ_jail *jail, const char *path, int *fd, struct stat *about, organ_error *error)
{
    *fd = -1;
    const unsigned bad = check_jail_path(path, error);
    if (bad)
        return bad;
    *fd = open_beneath(jail, root_or_path(path), O_PATH);
    if (*fd < 0)
        return refuse_path(path, errno, error);
    if (fstat(*fd, about) == 0)
        return 0;
    const unsigned status = refuse_path(path, errno, error);
    close(*fd);
    return status;
}

unsigned organ_jail_stat(const organ_jail *jail, const char *path, struct stat *about, organ_error *error)
{
    int fd;
    unsigned status = handle_of(jail, path, &fd, about, error);
    if (status)
        return status;
    close(fd);
    if (S_ISREG(about->st_mode) || S_ISDIR(about->st_mode))
        return 0;
    organ_fail(error, ORGAN_BAD_INPUT, "'%s': neither a file nor a directory", path);
    return 403;
}

static unsigned open_as(const organ_jail *jail, const char *path, bool directory, int *fd, struct stat *about,
                        organ_error *error)
{
    struct stat first, second;
    *fd = -1;
    const unsigned status = organ_jail_stat(jail, path, &first, error);
    if (status)
        return status;
    if (S_ISDIR(first.st_mode) != directory) {
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': %s", path, directory ? "is not a directory" : "is a directory");
        return 409;
    }
    *fd = open_beneath(jail, root_or_path(path), O_RDONLY | O_NONBLOCK | (directory ? O_DIRECTORY : 0));
    if (*fd < 0)
        return refuse_path(path, errno, error);
    /* It may have been replaced in between. */
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
    return open_as(jail, path, false, fd, about ? about : &unused, error);
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

typedef struct listing {
    organ_jail_entry *entries;
    size_t count, room, max;
    bool cut;
} listing;

static bool append_entry(listing *l, const char *name, const struct stat *about)
{
    l->cut = l->count == l->max;
    if (l->cut)
        return true;
    char *const own = organ_grow(&l->entries, l->count, &l->room, sizeof *l->entries) ? strdup(name) : NULL;
    if (!own)
        return false;
    l->entries[l->count++] = (organ_jail_entry){
        own, S_ISDIR(about->st_mode), S_ISDIR(about->st_mode) ? 0 : (uint64_t)about->st_size, about->st_mtim.tv_sec};
    return true;
}

unsigned organ_jail_list(const organ_jail *jail, const char *path, size_t max, organ_jail_entry **entries,
                         size_t *count, bool *cut, organ_error *error)
{
    int fd;
    struct stat about;
    listing l = {.max = max};
    *entries = NULL;
    *count = 0;
    const unsigned status = open_as(jail, path, true, &fd, &about, error);
    if (status)
        return status;
    DIR *const directory = fdopendir(fd);
    bool memory = directory != NULL;
    for (const struct dirent *e; memory && !l.cut && (e = readdir(directory));)
        if (e->d_name[0] != '.' && !wrong_with(e->d_name) && fstatat(fd, e->d_name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
            (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode)))
            memory = append_entry(&l, e->d_name, &about);
    if (directory)
        closedir(directory);
    else
        close(fd);
    if (!memory) {
        organ_jail_list_free(l.entries, l.count);
        return refuse_path(path, ENOMEM, error);
    }
    if (l.count)
        qsort(l.entries, l.count, sizeof *l.entries, entry_order);
    *entries = l.entries;
    *count = l.count;
    *cut = l.cut;
    return 0;
}

/* ---- paths for programs ---- */

static unsigned absolute_of(const organ_jail *jail, const char *path, char **absolute, organ_error *error)
{
    const bool root = strcmp(jail->path, "/") == 0;
    if (asprintf(absolute, "%s%s%s", root ? "" : jail->path, strcmp(root_or_path(path), ".") == 0 && !root ? "" : "/",
                 strcmp(root_or_path(path), ".") == 0 ? "" : path) >= 0)
        return 0;
    *absolute = NULL;
    return refuse_path(path, ENOMEM, error);
}

typedef struct jail_search {
    const char *path; /* for messages */
    const char *stem; /* only files that belong to this one matter; NULL: all */
    size_t stem_length;
    size_t looked_at;
} jail_search;

/* Files that are read together with a model's file: the other parts of a split one, and its configuration and
 * tokenizer. */
static bool matters(const jail_search *s, const char *name)
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

static unsigned check_entry(jail_search *s, int fd, const char *name, int depth, organ_error *error)
{
    struct stat about;
    if (fstatat(fd, name, &about, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : refuse_path(s->path, errno, error);
    if (S_ISLNK(about.st_mode)) {
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': refers to a symbolic link, '%s'; links are not followed", s->path,
                   name);
        return 403;
    }
    if (!S_ISDIR(about.st_mode) || s->stem)
        return 0;
    const int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return below < 0 ? refuse_path(s->path, errno, error) : find_links(s, below, depth + 1, error);
}

/* Searches a folder for links; closes fd. A job opens paths, so it would follow links in the folder. */
static unsigned find_links(jail_search *s, int fd, int depth, organ_error *error)
{
    unsigned status = 0;
    DIR *const directory = depth < DEEPEST ? fdopendir(fd) : NULL;
    if (!directory) {
        close(fd);
        return refuse_path(s->path, depth < DEEPEST ? errno : ENAMETOOLONG, error);
    }
    for (const struct dirent *e; !status && (e = readdir(directory));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || !matters(s, e->d_name))
            continue;
        if (++s->looked_at > MAX_CHECKED)
            status = refuse_path(s->path, ENAMETOOLONG, error);
        else
            status = check_entry(s, fd, e->d_name, depth, error);
    }
    closedir(directory);
    return status;
}

/* The directory that holds `path`, and the name in it. */
static unsigned open_parent(const organ_jail *jail, const char *path, int *fd, const char **name, organ_error *error)
{
    const char *const slash = strrchr(path, '/');
    char *const parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    struct stat about;
    *name = slash ? slash + 1 : path;
    *fd = -1;
    const unsigned status = parent ? open_as(jail, parent, true, fd, &about, error) : refuse_path(path, ENOMEM, error);
    free(parent);
    return status;
}

/* The length of "model-" in "model-00001-of-00003.gguf"; of all other names the whole. */
static size_t stem_of(const char *name)
{
    const char *const of = strstr(name, "-of-");
    size_t length = of ? (size_t)(of - name) : 0;
    while (length > 0 && name[length - 1] >= '0' && name[length - 1] <= '9')
        length--;
    return length > 0 ? length : strlen(name);
}

unsigned organ_jail_input(const organ_jail *jail, const char *path, char **absolute, organ_error *error)
{
    struct stat about;
    int fd;
    jail_search s = {.path = path};
    if (absolute)
        *absolute = NULL;
    unsigned status = organ_jail_stat(jail, path, &about, error);
    if (!status && S_ISDIR(about.st_mode))
        status = open_as(jail, path, true, &fd, &about, error);
    else if (!status && !(status = open_parent(jail, path, &fd, &s.stem, error)))
        s.stem_length = stem_of(s.stem);
    if (!status)
        status = find_links(&s, fd, 0, error);
    return status || !absolute ? status : absolute_of(jail, path, absolute, error);
}

unsigned organ_jail_output(const organ_jail *jail, const char *path, organ_error *error)
{
    struct stat about;
    const char *name;
    int fd;
    unsigned status = check_jail_path(path, error);
    if (!status && strcmp(root_or_path(path), ".") == 0) {
        organ_fail(error, ORGAN_USAGE, "the root itself cannot be written");
        return 400;
    }
    if (!status)
        status = open_parent(jail, path, &fd, &name, error);
    if (status)
        return status;
    if (fstatat(fd, name, &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(about.st_mode)) {
        organ_fail(error, ORGAN_BAD_INPUT, "'%s': is a link; links are not followed", path);
        status = 403;
    }
    close(fd);
    return status;
}
