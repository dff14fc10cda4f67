/* SPDX-License-Identifier: MIT
 * Records size and digest of the files that a run has written. */
#include "orchestrator/surgery/output/file_record.h"

#include "formats/base/file_calls.h"
#include "formats/base/text_buffer.h"
#include "formats/model/recognise.h"
#include "formats/model/recognise_lists.h"
#include <organ/report.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/copy_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DIGESTED ((off_t)64 << 20) /* bytes of the largest file that gets a digest */

static json_t *file_entry(const char *path, organ_error *error)
{
    char digest[17] = "";
    struct stat info;
    const int fd = organ_open(path, O_RDONLY, 0);
    if (fd < 0 || fstat(fd, &info)) {
        organ_fail_errno(error, errno, "%s: cannot be read", path);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (info.st_size <= MAX_DIGESTED && !organ_is_weights_at(AT_FDCWD, path, error) && !error->status)
        organ_file_digest(fd, path, digest, error);
    close(fd);
    json_t *const entry =
        error->status ? NULL
                      : ORGAN_OBJECT(SET_COUNT("bytes", info.st_size), SET_IF(*digest, "xxh3", json_string(digest)));
    if (!entry && !error->status)
        organ_fail_memory(error, path);
    return entry;
}

/* The record leaves out this run's report folder. The donor's reports in organ/donor/ are copied files, so the
 * record lists them. */
static bool is_own_report(const char *name)
{
    return strncmp(name, ORGAN_REPORT_FOLDER "/", sizeof ORGAN_REPORT_FOLDER) == 0 &&
           strncmp(name, "organ/donor/", 12) != 0;
}

static organ_status add_file(json_t *files, const char *directory, const char *name, organ_error *error)
{
    char *const path = organ_format("%s/%s", directory, name);
    json_t *const entry = path ? file_entry(path, error) : NULL, *const key =
                                                                     entry ? organ_document_string(name) : NULL;
    if ((!key || json_object_set(files, json_string_value(key), entry)) && !error->status)
        organ_fail_memory(error, directory);
    json_decref(entry);
    json_decref(key);
    free(path);
    return error->status;
}

json_t *organ_file_record(const char *directory, const char *folder, organ_error *error)
{
    organ_file_list list = {0};
    json_t *const files = json_object();
    char *const root = organ_format("%s%s%s", directory, *folder ? "/" : "", folder);
    if (!files || !root)
        organ_fail_memory(error, directory);
    else if (access(root, F_OK) == 0)
        organ_list_files(root, NULL, 0, &list, error);
    for (size_t k = 0; k < list.count && !error->status; k++) {
        char *const name = organ_format("%s%s%s", folder, *folder ? "/" : "", list.names[k]);
        if (!name)
            organ_fail_memory(error, directory);
        else if (!is_own_report(name))
            add_file(files, directory, name, error);
        free(name);
    }
    organ_list_release(&list);
    free(root);
    if (!error->status)
        return files;
    json_decref(files);
    return NULL;
}

organ_status organ_file_record_write(const char *directory, organ_error *error)
{
    char *const path = organ_format("%s/" ORGAN_RECORD, directory);
    json_t *const files = path ? organ_file_record(directory, "", error) : NULL;
    json_t *const record = files ? ORGAN_OBJECT(SET_TEXT("schema", ORGAN_RECORD_SCHEMA), SET("files", files)) : NULL;
    if (record)
        organ_document_write(path, record, error);
    else if (!error->status)
        organ_fail_memory(error, directory);
    json_decref(record);
    free(path);
    return error->status;
}
