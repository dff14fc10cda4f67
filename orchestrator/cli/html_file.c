/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/html_file.h"

#include "formats/model/recognise.h"
#include "orchestrator/surgery/output/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static organ_status check_page_directory(const char *path, organ_error *error)
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
    if (organ_check_report_place(path, error))
        return error->status;
    if (lstat(path, &info) == 0 && info.st_size > 0 && !organ_is_page_start_at(AT_FDCWD, path, error) && !error->status)
        organ_fail(error, ORGAN_USAGE, "%s: exists and is a report, but not a page of organ: it is not overwritten",
                   path);
    return error->status ? error->status : check_page_directory(path, error);
}

/* A page next to a model that is a single file is allowed. `model` may be NULL (not given). */
static organ_status check_outside_model(const char *path, const char *model, organ_error *error)
{
    struct stat info;
    const char *const slash = strrchr(path, '/');
    char *const directory = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    if (!directory)
        organ_fail_errno(error, ENOMEM, "%s", path);
    else if (model && stat(model, &info) == 0 && S_ISDIR(info.st_mode))
        organ_output_check_distinct(directory, model, error);
    free(directory);
    return error->status;
}

/* Returns ORGAN_USAGE if the page at `path` would be inside the directory of a model that is the value of one operand
 * or option, `argument`. */
static organ_status check_argument(const char *path, const organ_option *argument, const void *values,
                                   organ_error *error)
{
    const void *const at = (const char *)values + argument->offset;
    const organ_words *const words = argument->value == ORGAN_VALUE_WORDS ? at : NULL;
    if (argument->names != ORGAN_NAMES_MODEL)
        return ORGAN_OK;
    if (!words)
        return check_outside_model(path, *(const char *const *)at, error);
    for (size_t k = 0; k < words->count && !error->status; k++)
        check_outside_model(path, words->word[k], error);
    return error->status;
}

organ_status organ_html_file_check_distinct(const char *path, const organ_verb *verb, const void *values,
                                            organ_error *error)
{
    for (size_t k = 0; k < verb->operand_count && !error->status; k++) {
        const organ_option operand = organ_operand_as_option(&verb->operands[k]);
        check_argument(path, &operand, values, error);
    }
    const organ_option *option;
    for (size_t k = 0; !error->status && (option = organ_verb_option_at(verb, k)); k++)
        check_argument(path, option, values, error);
    return error->status;
}
