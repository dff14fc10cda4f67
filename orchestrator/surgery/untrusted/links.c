/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/untrusted/links.h"

#include "formats/base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Limits of following a link: directories below the base, and links. */
enum { DEEPEST = 64, LINKS_MAX = 40 };

#define BLOBS     "blobs"
#define SNAPSHOTS "snapshots"

/* ---- entries of the cache ---- */

static bool has_folder(int fd, const char *name)
{
    struct stat info;
    return fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
}

bool organ_link_is_store(int fd) { return has_folder(fd, BLOBS) && has_folder(fd, SNAPSHOTS); }

/* Returns true if the name of the folder is that of an entry of the Hugging Face cache: models--OWNER--NAME, or the
 * same with datasets or spaces. */
static bool is_named_as_store(const char *path)
{
    static const char *const kinds[] = {"models--", "datasets--", "spaces--"};
    const char *const slash = strrchr(path, '/'), *const name = slash ? slash + 1 : path;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strncmp(name, kinds[k], strlen(kinds[k])) == 0)
            return true;
    return false;
}

/* Sets *base to the folder `fd`, which no link may leave. The base duplicates `fd` and takes over `path`. Returns false
 * with errno if `path` is NULL (an earlier allocation failed) or `fd` cannot be duplicated. */
bool organ_link_base_open(organ_link_base *base, int fd, char *path)
{
    *base = (organ_link_base){.fd = path ? dup(fd) : -1, .path = path, .store = organ_link_is_store(fd)};
    base->named = path && base->store && is_named_as_store(path);
    if (!path)
        errno = ENOMEM;
    return base->fd >= 0;
}

/* Sets *base to the cache entry that contains `root`: tries the prefixes of `root` that end before "/snapshots/", the
 * longest first. If none is a cache entry, base->fd is -1 and errno 0; on failure errno says why. */
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

/* State of organ_link_follow: the path of open directories from the base to the current one. */
typedef struct climb {
    const organ_link_base *base;
    organ_link_target *to;       /* to->path is the path of the current directory */
    int folders[DEEPEST + 1];    /* descriptors of these directories; [0] is the base */
    size_t lengths[DEEPEST + 1]; /* length of to->path at each of them */
    unsigned depth, links;       /* index of the current directory; links followed so far */
    char rest[PATH_MAX];         /* the path that remains, relative to the current directory */
    char word[NAME_MAX + 1];     /* its first component, removed from `rest` by next_word */
} climb;

/* Makes the parent of the current directory the current one. */
static void leave_folder(climb *c)
{
    close(c->folders[c->depth--]);
    c->to->path[c->lengths[c->depth]] = '\0';
}

/* Moves the first component of `rest` to `word`. Returns 1, 0 at the end of the path, or -1 with errno if the component
 * is too long. */
static int next_word(climb *c)
{
    const char *const word = c->rest + strspn(c->rest, "/");
    const size_t length = strcspn(word, "/");
    if (length > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(c->word, word, length);
    c->word[length] = '\0';
    memmove(c->rest, word + length, strlen(word + length) + 1);
    return length > 0;
}

/* Opens the directory c->word in the current one and makes it the current one. Returns false with errno on failure. */
static bool enter_folder(climb *c)
{
    const size_t used = c->lengths[c->depth], length = strlen(c->word);
    if (c->depth == DEEPEST || used + length + 2 > sizeof c->to->path) {
        errno = ENAMETOOLONG;
        return false;
    }
    const int fd = organ_open_at(c->folders[c->depth], c->word, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0)
        return false;
    c->folders[++c->depth] = fd;
    c->lengths[c->depth] =
        used + (size_t)snprintf(c->to->path + used, sizeof c->to->path - used, "%s%s", used ? "/" : "", c->word);
    return true;
}

/* Replaces the link c->word by its text, which is inserted before `rest`. An absolute text must begin with the path of
 * the base; the walk then continues at the base. Returns false with *end ORGAN_LINK_LEAVES if the text leads elsewhere,
 * and with ORGAN_LINK_NOWHERE and errno on failure. */
static bool splice_link(climb *c, organ_link_end *end)
{
    char text[PATH_MAX], whole[sizeof text + sizeof c->rest];
    const ssize_t length = readlinkat(c->folders[c->depth], c->word, text, sizeof text);
    const size_t base = strcmp(c->base->path, "/") == 0 ? 0 : strlen(c->base->path);
    *end = ORGAN_LINK_NOWHERE;
    if (length >= 0 && (size_t)length < sizeof text && ++c->links > LINKS_MAX)
        errno = ELOOP;
    else if (length == 0 || length == (ssize_t)sizeof text)
        errno = length ? ENAMETOOLONG : ENOENT;
    if (length <= 0 || (size_t)length == sizeof text || c->links > LINKS_MAX)
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

/* Completes c->to with the file c->word of the current directory. Returns false with errno on failure. */
static bool append_file_name(climb *c)
{
    organ_link_target *const to = c->to;
    const size_t used = c->lengths[c->depth];
    if (used + strlen(c->word) + 2 > sizeof to->path) {
        errno = ENAMETOOLONG;
        return false;
    }
    snprintf(to->path + used, sizeof to->path - used, "%s%s", used ? "/" : "", c->word);
    strcpy(to->name, c->word);
    to->folder = dup(c->folders[c->depth]);
    return to->folder >= 0;
}

/* Follows the remaining path component by component, without leaving the base. Opens each directory relative to the
 * previous one, so that a path that is changed meanwhile cannot lead elsewhere. */
static organ_link_end follow_words(climb *c)
{
    int taken;
    while ((taken = next_word(c)) > 0) {
        struct stat info;
        organ_link_end end;
        if (strcmp(c->word, ".") == 0)
            continue;
        if (strcmp(c->word, "..") == 0) {
            if (c->depth == 0)
                return ORGAN_LINK_LEAVES;
            leave_folder(c);
        } else if (fstatat(c->folders[c->depth], c->word, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            return ORGAN_LINK_NOWHERE;
        } else if (S_ISLNK(info.st_mode)) {
            if (!splice_link(c, &end))
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
    return taken < 0 ? ORGAN_LINK_NOWHERE : ORGAN_LINK_DIRECTORY;
}

/* Returns whether links may lead to the file `path` below the base. A base that has the folders of a cache entry, but
 * not the name of one, may be a home directory: links may then lead only to files in its blobs and snapshots. */
static bool is_of_snapshots(const organ_link_base *base, const char *path)
{
    return !base->store || base->named || strncmp(path, BLOBS "/", sizeof BLOBS) == 0 ||
           strncmp(path, SNAPSHOTS "/", sizeof SNAPSHOTS) == 0;
}

/* Follows `path`, which is relative to the base, and the links in it, without opening a folder outside the base. If
 * `path` leads to a file, target->folder is its open folder, which the caller closes; otherwise -1. With
 * ORGAN_LINK_NOWHERE errno has the reason. */
organ_link_end organ_link_follow(const organ_link_base *base, const char *path, organ_link_target *target)
{
    climb c = {.base = base, .to = target, .folders = {base->fd}};
    *target = (organ_link_target){.folder = -1};
    if (strlen(path) >= sizeof c.rest) {
        errno = ENAMETOOLONG;
        return ORGAN_LINK_NOWHERE;
    }
    strcpy(c.rest, path);
    organ_link_end end = follow_words(&c);
    const int reason = errno;
    if (end == ORGAN_LINK_FILE && !is_of_snapshots(base, target->path)) {
        close(target->folder);
        target->folder = -1;
        end = ORGAN_LINK_LEAVES;
    }
    while (c.depth > 0)
        close(c.folders[c.depth--]);
    errno = reason;
    return end;
}
