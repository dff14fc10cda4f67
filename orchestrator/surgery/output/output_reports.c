/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/output_reports.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/html_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { JSON, MARKDOWN, PAGE };

static organ_status no_memory(const organ_output *output, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s", output->path);
}

static void release(char *names[ORGAN_OUTPUT_REPORTS])
{
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS; k++) {
        free(names[k]);
        names[k] = NULL;
    }
}

/* "X.purify.json" and so on, for "X.gguf". */
static organ_status name_beside(const organ_output *output, const organ_report_files *files, char *names[ORGAN_OUTPUT_REPORTS],
                                organ_error *error)
{
    const char *const name = organ_output_name(output), *const dot = strrchr(files->markdown, '.');
    const int stem = (int)(strrchr(name, '.') + 1 - name);
    const struct {
        const char *text, *ending;
        int length;
    } of[] = {[JSON] = {files->json, "", (int)strlen(files->json)},
              [MARKDOWN] = {files->markdown, "", (int)strlen(files->markdown)},
              [PAGE] = {files->markdown, ".html", (int)(dot - files->markdown)}};
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS && !error->status; k++)
        if (asprintf(&names[k], "%.*s%.*s%s", stem, name, of[k].length, of[k].text, of[k].ending) < 0) {
            names[k] = NULL;
            no_memory(output, error);
        }
    return error->status;
}

organ_status organ_output_reports_check(const organ_output *output, const organ_report_files *files, organ_error *error)
{
    char *names[ORGAN_OUTPUT_REPORTS] = {0}, *path = NULL;
    if (!output->single)
        return ORGAN_OK;
    name_beside(output, files, names, error);
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS && !error->status; k++) {
        if (asprintf(&path, "%.*s%s", (int)(organ_output_name(output) - output->path), output->path, names[k]) < 0)
            return no_memory(output, error);
        organ_publish_check(path, NULL, output->force, error);
        free(path);
    }
    release(names);
    return error->status;
}

static organ_status write_files(const char *json, const char *markdown, const organ_report_files *files, const json_t *report,
                                organ_error *error)
{
    char *text = NULL;
    if (organ_document_write(json, report, error) == ORGAN_OK && files->print(report, &text, error) == ORGAN_OK &&
        organ_text_write(markdown, text, error) == ORGAN_OK)
        organ_html_report_beside(markdown, report, error);
    free(text);
    return error->status;
}

organ_status organ_output_reports_write(organ_output *output, const organ_report_files *files, const json_t *report, organ_error *error)
{
    char *const folder = organ_publish_path(&output->publish, "organ"), *json = NULL, *markdown = NULL;
    if (output->single && name_beside(output, files, output->reports, error))
        release(output->reports);
    const char *const base = output->single ? output->publish.partial : folder;
    const char *const names[] = {output->single ? output->reports[JSON] : files->json,
                                 output->single ? output->reports[MARKDOWN] : files->markdown};
    if (!error->status && (!base || asprintf(&json, "%s/%s", base, names[0]) < 0 || asprintf(&markdown, "%s/%s", base, names[1]) < 0))
        no_memory(output, error);
    if (!error->status && !output->single && mkdir(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be made", folder);
    if (!error->status)
        write_files(json, markdown, files, report, error);
    free(folder);
    free(json);
    free(markdown);
    return error->status;
}
