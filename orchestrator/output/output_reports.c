/* SPDX-License-Identifier: MIT
 * Writes the reports of an output, in its folder organ/ or next to a single file, and the reports of a directory
 * that has only reports. */
#include "orchestrator/output/output.h"

#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "formats/model/recognise_lists.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <organ/report.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Indices into organ_output.reports. */
enum { JSON, MARKDOWN, PAGE, LINES };

static void free_names(char *names[ORGAN_OUTPUT_REPORTS])
{
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS; k++)
        organ_clear(&names[k]);
}

/* The length is that of "X." in "X.gguf". */
static int stem_of(const char *name) { return (int)(strrchr(name, '.') + 1 - name); }

char *organ_output_report_path(const char *directory, const char *path, bool single, const char *name)
{
    const char *const own = organ_path_name(path);
    return single ? organ_format("%s/%.*s%s", directory, stem_of(own), own, name)
                  : organ_format("%s/" ORGAN_REPORT_FOLDER "/%s", directory, name);
}

/* The reports next to "X.gguf" are "X.purify.json" and so on. The caller frees the names. */
static organ_status name_next_to(const organ_output *output, const organ_report_files *files,
                                 char *names[ORGAN_OUTPUT_REPORTS], organ_error *error)
{
    const char *const name = organ_output_name(output), *const dot = strrchr(files->markdown, '.');
    const struct {
        const char *text, *ending;
        int length;
    } of[] = {[JSON] = {files->json, "", (int)strlen(files->json)},
              [MARKDOWN] = {files->markdown, "", (int)strlen(files->markdown)},
              [PAGE] = {files->markdown, ".html", (int)(dot - files->markdown)},
              [LINES] = {files->lines, "", files->lines ? (int)strlen(files->lines) : 0}};
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS && !error->status; k++)
        if (of[k].text &&
            !(names[k] = organ_format("%.*s%.*s%s", stem_of(name), name, of[k].length, of[k].text, of[k].ending)))
            organ_fail_memory(error, output->path);
    return error->status;
}

/* An empty file there is not a report of organ, although an empty file that the user names as the output may be
 * replaced. */
static organ_status check_report_next_to(const organ_output *output, const char *path, organ_error *error)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0)
        return organ_fail(error, ORGAN_USAGE, "%s exists and is empty, which no report of organ is: %s", path,
                          output->force ? "`force` does not replace it" : "it is not overwritten");
    if (organ_publish_check(path, NULL, output->force, error) != ORGAN_USAGE || output->force ||
        lstat(output->path, &info) == 0)
        return error->status;
    *error = (organ_error){0};
    if (organ_publish_check(path, NULL, /*force=*/true, error) != ORGAN_OK)
        return error->status;
    return organ_fail(error, ORGAN_USAGE, "%s exists, the report of an earlier %s; `force` replaces it", path,
                      organ_output_name(output));
}

organ_status organ_output_reports_check(const organ_output *output, const organ_report_files *files, organ_error *error)
{
    char *names[ORGAN_OUTPUT_REPORTS] = {0};
    if (!output->single)
        return ORGAN_OK;
    name_next_to(output, files, names, error);
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS && names[k] && !error->status; k++) {
        ORGAN_OWNED char *const path =
            organ_format("%.*s%s", (int)(organ_output_name(output) - output->path), output->path, names[k]);
        if (path)
            check_report_next_to(output, path, error);
        else
            organ_fail_memory(error, output->path);
    }
    free_names(names);
    return error->status;
}

static organ_status write_report_files(const char *json, const char *markdown, const json_t *report, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
    if (organ_document_write(json, report, error) == ORGAN_OK &&
        organ_report_markdown(report, &text, error) == ORGAN_OK && organ_text_write(markdown, text, error) == ORGAN_OK)
        organ_html_report_next_to(markdown, report, error);
    return error->status;
}

static char *in_directory(const char *directory, const char *name) { return organ_format("%s/%s", directory, name); }

static organ_status write_reports_into(const char *directory, const organ_report_files *files, const json_t *report,
                                       organ_error *error)
{
    ORGAN_OWNED char *const json = in_directory(directory, files->json);
    ORGAN_OWNED char *const markdown = in_directory(directory, files->markdown);
    if (json && markdown)
        write_report_files(json, markdown, report, error);
    else
        organ_fail_memory(error, directory);
    return error->status;
}

/* Reports next to a single file have their names in output->reports, for publishing. */
organ_status organ_output_reports_write(organ_output *output, const organ_report_files *files, const json_t *report,
                                        organ_error *error)
{
    if (output->single) {
        if (name_next_to(output, files, output->reports, error))
            free_names(output->reports);
        else
            write_reports_into(output->publish.partial,
                               &(organ_report_files){output->reports[JSON], output->reports[MARKDOWN], NULL}, report,
                               error);
        return error->status;
    }
    ORGAN_OWNED char *const folder = organ_publish_path(&output->publish, ORGAN_REPORT_FOLDER);
    if (!folder)
        organ_fail_memory(error, output->path);
    else if (organ_make_folder(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be created", folder);
    else if (organ_file_record_write(output->publish.partial, error) == ORGAN_OK)
        write_reports_into(folder, files, report, error);
    return error->status;
}

/* Makes an output that consists of reports only; ranks other than the first only wait. */
organ_status organ_reports_make(organ_output *output, organ_more_reports *more, const void *context,
                                const json_t *report, organ_error *error)
{
    if (organ_ranks_agree(output->ranks, "writing the report", error) || !organ_ranks_first(output->ranks) ||
        organ_output_begin(output, 0, error))
        return error->status;
    if (write_reports_into(organ_output_directory(output), &organ_view_of(report)->files, report, error) == ORGAN_OK &&
        more)
        more(output, context, report, error);
    if (!error->status)
        organ_output_sync(output, error);
    return organ_output_end(output, error);
}

/* ---- a directory of reports that may exist already ---- */

static bool is_requested(const organ_report_folder *folder) { return folder->path && organ_ranks_first(folder->ranks); }

/* Allocates nothing, because it is also used to remove the files after memory ran out. */
static organ_status each_report(const organ_report_folder *folder,
                                organ_status (*use)(const char *path, organ_error *error), organ_error *error)
{
    const organ_report_files *const files = &folder->view->files;
    const int stem = (int)(strrchr(files->markdown, '.') - files->markdown);
    char page[64];
    snprintf(page, sizeof page, "%.*s.html", stem, files->markdown);
    const char *const names[] = {files->json, files->markdown, page};
    for (size_t k = 0; k < sizeof names / sizeof *names && !error->status; k++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/%s", folder->path, names[k]) >= (int)sizeof path)
            return organ_fail_errno(error, ENAMETOOLONG, "%s", folder->path);
        use(path, error);
    }
    return error->status;
}

/* A folder inside one of the input directories is refused, too. Other ranks than the first check nothing. */
organ_status organ_report_folder_check(const organ_report_folder *folder, const char *const *inputs, size_t count,
                                       organ_error *error)
{
    for (size_t k = 0; is_requested(folder) && k < count && !error->status; k++)
        if (inputs[k])
            organ_output_check_distinct(folder->path, inputs[k], error);
    return error->status || !is_requested(folder) ? error->status
                                                  : each_report(folder, organ_check_report_place, error);
}

organ_status organ_report_folder_make(organ_report_folder *folder, organ_error *error)
{
    struct stat status;
    folder->made = is_requested(folder) && mkdir(folder->path, 0777) == 0;
    if (!is_requested(folder) || folder->made)
        return ORGAN_OK;
    if (errno != EEXIST)
        return organ_fail_errno(error, errno, "cannot make the directory %s", folder->path);
    if (stat(folder->path, &status) == 0 && !S_ISDIR(status.st_mode))
        return organ_fail(error, ORGAN_USAGE, "%s exists and is not a directory", folder->path);
    return access(folder->path, W_OK) == 0 ? ORGAN_OK
                                           : organ_fail_errno(error, errno, "cannot write into %s", folder->path);
}

/* Returns the descriptor that holds the lock, or -1. A file system without locks leaves the order of the files to
 * chance, each of which is complete. */
static int lock_report_folder(const organ_report_folder *folder)
{
    const int fd = organ_open(folder->path, O_RDONLY | O_DIRECTORY, 0);
    while (fd >= 0 && flock(fd, LOCK_EX) && errno == EINTR)
        continue;
    return fd;
}

organ_status organ_report_folder_write(organ_report_folder *folder, const json_t *report, organ_error *error)
{
    if (folder->path)
        organ_ranks_agree(folder->ranks, "writing the report", error);
    if (!is_requested(folder) || error->status)
        return error->status;
    ORGAN_OWNED_FILE __attribute__((unused)) const int lock = lock_report_folder(folder);
    folder->wrote = true;
    if (write_reports_into(folder->path, &folder->view->files, report, error) == ORGAN_OK)
        organ_error_set_output(error, folder->path);
    return error->status;
}

static organ_status remove_report(const char *path, organ_error *error)
{
    organ_output_remove_report(path);
    return error->status;
}

/* The folder stays if it has other files. */
void organ_report_folder_abandon(const organ_report_folder *folder)
{
    organ_error ignored = {0};
    if (!folder->made)
        return;
    if (folder->wrote) /* else the reports are those of another run */
        each_report(folder, remove_report, &ignored);
    rmdir(folder->path);
}
