/* SPDX-License-Identifier: MIT
 * Collects the notes of weight readers in job->notes: each text once, in the order in which a run with one process
 * would read the weights. */
#include "orchestrator/surgery/lora/extract_job.h"

#include "formats/base/text_buffer.h"

#include <stdlib.h>
#include <string.h>

static bool add_note(organ_lora_job *job, const char *note)
{
    for (size_t k = 0; k < job->note_count; k++)
        if (strcmp(job->notes[k], note) == 0)
            return false;
    return job->note_count < sizeof job->notes / sizeof *job->notes && (job->notes[job->note_count] = strdup(note)) &&
           ++job->note_count;
}

void organ_lora_note(organ_lora_job *job, const char *note)
{
    if (!note || !*note)
        return;
    char *const lines = organ_format("%s%s\n", *job->note_target ? *job->note_target : "", note);
    if (lines) {
        free(*job->note_target);
        *job->note_target = lines;
    }
    if (add_note(job, note))
        organ_progress_note(job->progress, "%s", note);
}

/* The text is overwritten; NULL is allowed. */
static void add_lines(organ_lora_job *job, char *lines)
{
    char *rest;
    for (char *line = lines ? strtok_r(lines, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        add_note(job, line);
}

static void forget_notes(organ_lora_job *job, size_t count)
{
    while (job->note_count > count)
        free(job->notes[--job->note_count]);
}

/* The member `note` of each other weight is cleared, so that the notes of storing the weights can be collected
 * separately. */
organ_status organ_lora_notes_compared(organ_lora_job *job, organ_error *error)
{
    organ_assignment_exchange(&job->other_assignment, "gathering readers' notes", &job->others->note,
                              sizeof *job->others, NULL, NULL, error);
    forget_notes(job, 0);
    for (size_t k = 0; k < job->other_count; k++) {
        add_lines(job, job->others[k].note);
        free(job->others[k].note);
        job->others[k].note = NULL;
    }
    job->compared_notes = job->note_count;
    return error->status;
}

void organ_lora_notes_written(organ_lora_job *job)
{
    forget_notes(job, job->compared_notes);
    for (size_t k = 0; k < job->module_count; k++)
        add_lines(job, job->modules[k].note);
}
