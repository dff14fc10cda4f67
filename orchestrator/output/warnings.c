/* SPDX-License-Identifier: MIT
 * Keeps the warnings of a verb, which its progress shows, for its report. */
#include "orchestrator/output/facts.h"

#include <string.h>

static void pass_begin(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    const organ_kept_warnings *const kept = context;
    organ_progress_begin(kept->to, what, bytes, tensors);
}

static void pass_advance(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    const organ_kept_warnings *const kept = context;
    organ_progress_advance(kept->to, bytes, tensor, remark);
}

static void pass_end(void *context)
{
    const organ_kept_warnings *const kept = context;
    organ_progress_end(kept->to);
}

static void pass_note(void *context, const char *text)
{
    const organ_kept_warnings *const kept = context;
    organ_progress_note(kept->to, "%s", text);
}

static bool has_sentence(const json_t *sentences, const char *text)
{
    size_t k;
    const json_t *sentence;
    json_array_foreach(sentences, k, sentence) if (strcmp(json_string_value(sentence), text) == 0) return true;
    return false;
}

static void keep_warning(void *context, const char *text)
{
    const organ_kept_warnings *const kept = context;
    if (!has_sentence(kept->sentences, text))
        json_array_append_new(kept->sentences, organ_document_string(text));
    organ_progress_warn(kept->to, "%s", text);
}

const organ_progress *organ_warnings_begin(organ_kept_warnings *kept, const organ_progress *progress)
{
    *kept = (organ_kept_warnings){
        .to = progress,
        .sentences = json_array(),
        .progress = {.context = kept,
                     .begin = progress && progress->begin ? pass_begin : NULL,
                     .advance = progress && progress->advance ? pass_advance : NULL,
                     .end = progress && progress->end ? pass_end : NULL,
                     .note = progress && progress->note ? pass_note : NULL,
                     .warn = keep_warning,
                     .follows = progress && progress->follows},
    };
    return &kept->progress;
}

static bool add_sentence(json_t *report, const json_t *sentence)
{
    json_t *const own = json_object_get(report, "warnings");
    if (own && has_sentence(own, json_string_value(sentence)))
        return true;
    return own ? json_array_append(own, (json_t *)sentence) == 0
               : ORGAN_ADD_BEFORE_RUN(report, SET("warnings", json_pack("[O]", sentence)));
}

static const organ_kept_warnings *keeper_of(const organ_progress *progress)
{
    return progress && progress->warn == keep_warning ? progress->context : NULL;
}

/* A document that lists warnings of its own keeps them first. */
bool organ_warnings_add(json_t *report, const organ_progress *progress)
{
    size_t k;
    json_t *sentence;
    const organ_kept_warnings *const kept = keeper_of(progress);
    if (!report || !kept)
        return true;
    if (!organ_warnings_add(report, kept->to))
        return false;
    json_array_foreach(kept->sentences, k, sentence) if (!add_sentence(report, sentence)) return false;
    return true;
}

void organ_warnings_repeat(const json_t *report, const organ_progress *progress)
{
    size_t k;
    const json_t *sentence;
    json_array_foreach(json_object_get(report, "warnings"), k, sentence)
        organ_progress_warn(progress, "%s", json_string_value(sentence) ? json_string_value(sentence) : "");
}

void organ_warnings_end(organ_kept_warnings *kept) { organ_clear_json(&kept->sentences); }
