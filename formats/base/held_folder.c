/* SPDX-License-Identifier: MIT */
#include "formats/base/held_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct organ_held_folder {
    organ_held_folder *next;
    char *path; /* without a slash at its end */
    size_t length;
    int fd;
};

/* The list is of the process, because paths are; readers are those who use a descriptor. */
static struct {
    pthread_rwlock_t lock;
    organ_held_folder *first;
} holding = {.lock = PTHREAD_RWLOCK_INITIALIZER};

organ_held_folder *organ_held_folder_add(const char *path, int fd)
{
    organ_held_folder *const folder = calloc(1, sizeof *folder);
    char *const copy = folder ? strdup(path) : NULL;
    if (!copy) {
        free(folder);
        return NULL;
    }
    pthread_rwlock_wrlock(&holding.lock);
    *folder = (organ_held_folder){.next = holding.first, .path = copy, .length = strlen(copy), .fd = fd};
    holding.first = folder;
    pthread_rwlock_unlock(&holding.lock);
    return folder;
}

void organ_held_folder_drop(organ_held_folder *folder)
{
    if (!folder)
        return;
    pthread_rwlock_wrlock(&holding.lock);
    organ_held_folder **at = &holding.first;
    while (*at != folder)
        at = &(*at)->next;
    *at = folder->next;
    pthread_rwlock_unlock(&holding.lock);
    free(folder->path);
    free(folder);
}

void organ_held_folders_use(void)
{
    const int reason = errno;
    pthread_rwlock_rdlock(&holding.lock);
    errno = reason;
}

int organ_held_folder_of(const char *path, const char **name)
{
    for (const organ_held_folder *f = holding.first; f; f = f->next)
        if (strncmp(path, f->path, f->length) == 0 && (path[f->length] == '/' || path[f->length] == '\0')) {
            *name = path + f->length + strspn(path + f->length, "/");
            *name = **name ? *name : ".";
            return f->fd;
        }
    *name = path;
    return AT_FDCWD;
}

void organ_held_folders_leave(void)
{
    const int reason = errno;
    pthread_rwlock_unlock(&holding.lock);
    errno = reason;
}
