/* SPDX-License-Identifier: MIT */
#include <organ/stream.h>

#include "formats/base/paged_rows.h"
#include "formats/base/plain_numbers.h"

#include <stdarg.h>
#include <stdio.h>

void organ_progress_begin(const organ_progress *progress, const char *what, uint64_t bytes, size_t tensors)
{
    if (progress && progress->begin)
        progress->begin(progress->context, what, bytes, tensors);
}

/* Calls organ_rows_passed, so that large arrays give memory back during a long stage (paged_rows.h). */
void organ_progress_advance(const organ_progress *progress, uint64_t bytes, const char *tensor, const char *remark)
{
    organ_rows_passed();
    if (progress && progress->advance)
        progress->advance(progress->context, bytes, tensor, remark);
}

void organ_progress_end(const organ_progress *progress)
{
    if (progress && progress->end)
        progress->end(progress->context);
}

void organ_progress_warn(const organ_progress *progress, const organ_model *model)
{
    for (size_t k = 0; k < model->warning_count; k++)
        organ_progress_note(progress, "warning: %s", model->warnings[k]);
}

/* A note has at most 999 characters. */
static void progress_note(const organ_progress *progress, const char *format, va_list args)
{
    char text[1000];
    if (!progress || !progress->note)
        return;
    organ_vsnprintf(text, sizeof text, format, args);
    progress->note(progress->context, text);
}

void organ_progress_note(const organ_progress *progress, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    progress_note(progress, format, args);
    va_end(args);
}

void organ_progress_note_once(const organ_progress *progress, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (progress && !progress->follows)
        progress_note(progress, format, args);
    va_end(args);
}
