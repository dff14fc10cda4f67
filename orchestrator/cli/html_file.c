/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/html_file.h"

#include "formats/input_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether the file is one that this program may have written before. An empty one is nobody's loss. */
static bool begins_as_page(const char *path, organ_error *error)
{
    static const char start[] = "<!doctype html";
    char head[sizeof start] = "";
    struct stat info;
    int fd;
    if (organ_input_open(path, &fd, &info, error) != ORGAN_OK)
        return false;
    const size_t length = (size_t)info.st_size < sizeof start - 1 ? (size_t)info.st_size : sizeof start - 1;
    organ_input_read(fd, path, head, length, 0, error);
    close(fd);
    return error->status == ORGAN_OK && strncasecmp(head, start, length) == 0;
}

static organ_status check_directory(const char *path, organ_error *error)
{
    const char *const slash = strrchr(path, '/');
    char *const directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    struct stat info;
    if (!directory)
        return organ_fail_errno(error, ENOMEM, "%s", path);
    if (stat(directory, &info) || !S_ISDIR(info.st_mode))
        organ_fail(error, ORGAN_USAGE, "%s: there is no directory %s to write the page into", path, directory);
    else if (access(directory, W_OK | X_OK))
        organ_fail_errno(error, errno, "%s: cannot write into %s", path, directory);
    free(directory);
    return error->status;
}

organ_status organ_html_file_check(const char *path, organ_error *error)
{
    struct stat info;
    if (stat(path, &info))
        return check_directory(path, error);
    if (!S_ISREG(info.st_mode))
        return organ_fail(error, ORGAN_USAGE, "%s: exists and is not a file, so no page can be written there", path);
    if (!begins_as_page(path, error) && !error->status)
        return organ_fail(error, ORGAN_USAGE, "%s: exists and is no HTML page: it is not overwritten", path);
    return error->status ? error->status : check_directory(path, error);
}
