/* SPDX-License-Identifier: MIT
 * Finds the targets of symbolic links without leaving a base directory. */
#include "orchestrator/verbs/untrusted/untrusted_parts.h"

#include "formats/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Limits of organ_link_follow: nested directories below the base, and links. */
enum { DEEPEST = 64, LINKS_MAX = 40 };

#define BLOBS     "blobs"
#define SNAPSHOTS "snapshots"

/* ---- entries of the cache ---- */

/* A link to a directory does not count. */
static bool has_folder(int fd, const char *name)
{
    struct stat info;
    return fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
}

bool organ_link_is_store(int fd) { return has_folder(fd, BLOBS) && has_folder(fd, SNAPSHOTS); }

/* Returns whether the name at the end of `path` is models--OWNER--NAME, or the same with datasets or spaces. */
static bool is_named_as_store(const char *path)
{
    static const char *const kinds[] = {"models--", "datasets--", "spaces--"};
    const char *const slash = strrchr(path, '/'), *const name = slash ? slash + 1 : path;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strncmp(name, kinds[k], strlen(kinds[k])) == 0)
            return true;
    return false;
}

bool organ_link_base_open(organ_link_base *base, int fd, char *path)
{
    *base = (organ_link_base){.fd = path ? dup(fd) : -1, .path = path, .store = organ_link_is_store(fd)};
    base->named = path && base->store && is_named_as_store(path);
    if (!path)
        errno = ENOMEM;
    return base->fd >= 0;
}

/* The parts of `root` before each "/snapshots/" are tried, the longest first. */
void organ_link_find_store(const char *root, organ_link_base *base)
{
    static const char inner[] = "/" SNAPSHOTS "/";
    char *const path = strdup(root);
    *base = (organ_link_base){.fd = -1};
    for (size_t length = strlen(root); path && length > 0; length--) {
        if (strncmp(root + length, inner, sizeof inner - 1) != 0)
            continue;
        path[length] = '\0';
        const int fd = organ_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd >= 0 && organ_link_is_store(fd)) {
            organ_link_base_open(base, fd, path);
            const int reason = errno;
            close(fd);
            errno = base->fd >= 0 ? 0 : reason;
            return;
        }
        if (fd >= 0)
            close(fd);
    }
    free(path);
    errno = path ? 0 : ENOMEM;
}

void organ_link_base_close(organ_link_base *base)
{
    if (base->fd >= 0)
        close(base->fd);
    free(base->path);
    *base = (organ_link_base){.fd = -1};
}

/* ---- one link ---- */

/* State of organ_link_follow: the open directories from the base to the current one, and the path that remains. */
typedef struct link_walk {
    const organ_link_base *base;
    organ_link_target *to;        /* to->path is the path of the current directory, relative to the base */
    int folders[DEEPEST + 1];     /* descriptors of the open directories; [0] is the base, [depth] the current one */
    size_t lengths[DEEPEST + 1];  /* length of to->path at each of them */
    unsigned depth, links;        /* index of the current directory; number of links followed so far */
    char rest[PATH_MAX];          /* the path that remains, relative to the current directory */
    char component[NAME_MAX + 1]; /* the component of the path that next_component has removed from `rest` */
} link_walk;

static void leave_folder(link_walk *c)
{
    close(c->folders[c->depth--]);
    c->to->path[c->lengths[c->depth]] = '\0';
}

/* Moves the first component of c->rest to c->component. Returns 1, 0 after the last one, or -1 with errno. */
static int next_component(link_walk *c)
{
    const char *const component = c->rest + strspn(c->rest, "/");
    const size_t length = strcspn(component, "/");
    if (length > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(c->component, component, length);
    c->component[length] = '\0';
    memmove(c->rest, component + length, strlen(component + length) + 1);
    return length > 0;
}

/* Returns false with errno on failure. */
static bool enter_folder(link_walk *c)
{
    const size_t used = c->lengths[c->depth], length = strlen(c->component);
    if (c->depth == DEEPEST || used + length + 2 > sizeof c->to->path) {
        errno = ENAMETOOLONG;
        return false;
    }
    const int fd = organ_open_at(c->folders[c->depth], c->component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0)
        return false;
    c->folders[++c->depth] = fd;
    c->lengths[c->depth] =
        used + (size_t)snprintf(c->to->path + used, sizeof c->to->path - used, "%s%s", used ? "/" : "", c->component);
    return true;
}

/* The text of the link comes before c->rest. An absolute text must begin with the path of the base; the walk then
 * continues at the base. Otherwise *end becomes ORGAN_LINK_LEAVES, on failure ORGAN_LINK_NOWHERE, with errno. */
static bool expand_link(link_walk *c, organ_link_end *end)
{
    char text[PATH_MAX], whole[sizeof text + sizeof c->rest];
    const ssize_t length = readlinkat(c->folders[c->depth], c->component, text, sizeof text);
    const size_t base = strcmp(c->base->path, "/") == 0 ? 0 : strlen(c->base->path);
    *end = ORGAN_LINK_NOWHERE;
    if (length == 0)
        errno = ENOENT;
    else if (length == (ssize_t)sizeof text)
        errno = ENAMETOOLONG;
    else if (length > 0 && ++c->links > LINKS_MAX)
        errno = ELOOP;
    if (length <= 0 || length == (ssize_t)sizeof text || c->links > LINKS_MAX)
        return false;
    text[length] = '\0';
    const bool absolute = text[0] == '/';
    if (absolute && (strncmp(text, c->base->path, base) != 0 || (text[base] != '/' && text[base] != '\0'))) {
        *end = ORGAN_LINK_LEAVES;
        return false;
    }
    while (absolute && c->depth > 0)
        leave_folder(c);
    if ((size_t)snprintf(whole, sizeof whole, "%s%s", text + (absolute ? base : 0), c->rest) >= sizeof c->rest) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(c->rest, whole);
    return true;
}

/* Makes c->component, a file in the current directory, the target. Returns false with errno on failure. */
static bool append_file_name(link_walk *c)
{
    organ_link_target *const to = c->to;
    const size_t used = c->lengths[c->depth];
    if (used + strlen(c->component) + 2 > sizeof to->path) {
        errno = ENAMETOOLONG;
        return false;
    }
    snprintf(to->path + used, sizeof to->path - used, "%s%s", used ? "/" : "", c->component);
    strcpy(to->name, c->component);
    to->folder = dup(c->folders[c->depth]);
    return to->folder >= 0;
}

/* Each directory is opened relative to the previous one, so that a path that is changed meanwhile cannot lead
 * elsewhere. */
static organ_link_end follow_components(link_walk *c)
{
    int found;
    while ((found = next_component(c)) > 0) {
        struct stat info;
        organ_link_end end;
        if (strcmp(c->component, ".") == 0)
            continue;
        if (strcmp(c->component, "..") == 0) {
            if (c->depth == 0)
                return ORGAN_LINK_LEAVES;
            leave_folder(c);
        } else if (fstatat(c->folders[c->depth], c->component, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            return ORGAN_LINK_NOWHERE;
        } else if (S_ISLNK(info.st_mode)) {
            if (!expand_link(c, &end))
                return end;
        } else if (S_ISDIR(info.st_mode)) {
            if (!enter_folder(c))
                return ORGAN_LINK_NOWHERE;
        } else if (*c->rest) {
            errno = ENOTDIR;
            return ORGAN_LINK_NOWHERE;
        } else {
            return append_file_name(c) ? ORGAN_LINK_FILE : ORGAN_LINK_NOWHERE;
        }
    }
    return found < 0 ? ORGAN_LINK_NOWHERE : ORGAN_LINK_DIRECTORY;
}

/* A base with the folders of a cache entry, but without the name of one, may be a home directory: links may then
 * lead only to files in its blobs and snapshots. */
static bool is_allowed_target(const organ_link_base *base, const char *path)
{
    return !base->store || base->named || strncmp(path, BLOBS "/", sizeof BLOBS) == 0 ||
           strncmp(path, SNAPSHOTS "/", sizeof SNAPSHOTS) == 0;
}

/* If the path ends at a file, target->folder is the open directory of the file, which the caller closes; otherwise
 * -1. */
organ_link_end organ_link_follow(const organ_link_base *base, const char *path, organ_link_target *target)
{
    link_walk c = {.base = base, .to = target, .folders = {base->fd}};
    *target = (organ_link_target){.folder = -1};
    if (strlen(path) >= sizeof c.rest) {
        errno = ENAMETOOLONG;
        return ORGAN_LINK_NOWHERE;
    }
    strcpy(c.rest, path);
    organ_link_end end = follow_components(&c);
    const int reason = errno;
    if (end == ORGAN_LINK_FILE && !is_allowed_target(base, target->path)) {
        close(target->folder);
        target->folder = -1;
        end = ORGAN_LINK_LEAVES;
    }
    while (c.depth > 0)
        close(c.folders[c.depth--]);
    errno = reason;
    return end;
}
