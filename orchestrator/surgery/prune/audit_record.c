/* SPDX-License-Identifier: MIT
 * Reads prune.jsonl next to a pruned model and compares its digests.
 *
 * Ranks: rank 0 looks for the record, so that all ranks agree on whether there is one. */
#include "orchestrator/surgery/prune/audit_record.h"

#include "formats/base/input_file.h"
#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include "orchestrator/surgery/output/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST_RECORD ((size_t)1 << 30) /* bytes; a larger file is an error */

static char *record_path(const organ_model *copy)
{
    const bool single = !copy->whole_directory && !copy->index && organ_output_is_file(copy->path);
    return organ_output_report_path(copy->directory, copy->path, single, "prune.jsonl");
}

organ_status organ_audit_record_find(const organ_model *copy, organ_ranks *ranks, organ_audit_record *record,
                                     organ_error *error)
{
    organ_gathered all = {0};
    const bool remote = copy->file_count > 0 && copy->files[0].remote;
    char *const path = error->status ? NULL : record_path(copy);
    if (!path)
        organ_fail_memory(error, copy->path);
    const bool there = path && !remote && access(path, R_OK) == 0;
    if (organ_ranks_gather(ranks, "looking for the record", there ? "1" : "0", 1, &all, error) == ORGAN_OK &&
        all.of[0][0] == '1')
        record->path = path;
    else
        free(path);
    organ_gathered_release(&all);
    return error->status;
}

typedef struct file_count {
    size_t listed, other; /* tensors of the record in the file; those with another digest */
} file_count;

/* Lines without a tensor of the copy are ignored. */
static void compare_line(const json_t *line, const organ_model *copy,
                         const char *(*digest)(const void *context, const char *tensor), const void *context,
                         file_count *counts)
{
    const char *const name = json_string_value(json_object_get(line, "tensor")), *const recorded = json_string_value(
                                                                                     json_object_get(line, "xxh3"));
    const organ_tensor *const tensor = name ? organ_model_find(copy, name) : NULL;
    const char *const found = tensor && recorded ? digest(context, name) : NULL;
    if (!found)
        return;
    counts[tensor->file].listed++;
    counts[tensor->file].other += strcmp(found, recorded) != 0;
}

static void report_files(organ_audit_record *record, const organ_model *copy, const file_count *counts,
                         organ_problems *problems)
{
    for (size_t f = 0; f < copy->file_count; f++) {
        record->listed += counts[f].listed;
        record->same += counts[f].listed - counts[f].other;
        if (counts[f].other)
            organ_problem_add(problems,
                              "%s: %zu of its %zu pruned tensors do not have the bytes that the run of %s wrote: the "
                              "file is of another run, or was changed later",
                              copy->files[f].name, counts[f].other, counts[f].listed, record->path);
    }
}

organ_status organ_audit_record_compare(organ_audit_record *record, const organ_model *copy,
                                        const char *(*digest)(const void *context, const char *tensor),
                                        const void *context, organ_problems *problems, organ_error *error)
{
    char *text = NULL;
    size_t length = 0;
    bool no_memory = false;
    json_error_t fault;
    file_count *const counts = calloc(copy->file_count + 1, sizeof *counts);
    if (!counts)
        organ_fail_memory(error, record->path);
    else if (organ_input_load_rows(record->path, record->path, LARGEST_RECORD, &text, &length, error) == ORGAN_OK) {
        for (const char *at = text, *end; (end = memchr(at, '\n', length - (size_t)(at - text))); at = end + 1) {
            json_t *const line = organ_json_load(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, &fault, &no_memory);
            compare_line(line, copy, digest, context, counts);
            json_decref(line);
            organ_rows_passed();
        }
        if (no_memory)
            organ_fail_memory(error, record->path);
        else
            report_files(record, copy, counts, problems);
    }
    organ_rows_free(text);
    free(counts);
    return error->status;
}
