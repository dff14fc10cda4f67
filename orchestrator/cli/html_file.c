/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/html_file.h"

#include "formats/model/recognise.h"
#include "orchestrator/surgery/output/output.h"

#include <errno.h>
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
    return organ_check_report_place(path, error) ? error->status : check_page_directory(path, error);
}

/* A page beside a model that is one file is no part of it. */
static organ_status check_apart(const char *path, const char *model, organ_error *error)
{
    struct stat info;
    const char *const slash = strrchr(path, '/');
    char *const directory = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    if (!directory)
        organ_fail_errno(error, ENOMEM, "%s", path);
    else if (model && stat(model, &info) == 0 && S_ISDIR(info.st_mode))
        organ_output_check_apart(directory, model, error);
    free(directory);
    return error->status;
}

organ_status organ_html_file_check_apart(const char *path, const organ_verb *verb, const void *values, organ_error *error)
{
    for (size_t k = 0; k < verb->operand_count && !error->status; k++) {
        const organ_operand *const operand = &verb->operands[k];
        const void *const at = (const char *)values + operand->offset;
        if (operand->names != ORGAN_NAMES_MODEL)
            continue;
        if (!organ_operand_repeats(operand))
            check_apart(path, *(const char *const *)at, error);
        else
            for (size_t w = 0; w < ((const organ_words *)at)->count && !error->status; w++)
                check_apart(path, ((const organ_words *)at)->word[w], error);
    }
    const organ_option *option;
    for (size_t k = 0; !error->status && (option = organ_verb_option_at(verb, k)); k++)
        if (option->names == ORGAN_NAMES_MODEL && option->value == ORGAN_VALUE_TEXT)
            check_apart(path, *(const char *const *)((const char *)values + option->offset), error);
    return error->status;
}
