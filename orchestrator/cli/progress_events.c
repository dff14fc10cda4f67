/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/progress_events.h"

#include "formats/base/json_dump.h"
#include <organ/report.h>

#include <jansson.h>
#include <stdlib.h>

static const char *status_name(organ_status status)
{
    static const char *const names[] = {[ORGAN_OK] = "done",
                                        [ORGAN_CHECK_FAILED] = "check failed",
                                        [ORGAN_USAGE] = "usage",
                                        [ORGAN_BAD_INPUT] = "bad input",
                                        [ORGAN_IO] = "input or output"};
    return status == ORGAN_INTERRUPTED ? "interrupted" : names[status];
}

/* The line is one write, so that lines of two programs on one pipe do not mix. Releases `event`; writes nothing if
 * it is NULL or memory runs out. */
static void put_event_line(FILE *out, json_t *event)
{
    char *const line = event ? organ_json_dump(event, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    if (line)
        fprintf(out, "%s\n", line);
    fflush(out);
    free(line);
    json_decref(event);
}

static json_t *visible_or_null(const char *s)
{
    json_t *const string = s ? json_string(s) : NULL, *const safe = s && !string ? organ_document_string(s) : string;
    return safe ? safe : json_null();
}

void organ_event_begin(FILE *out, const char *what, uint64_t bytes, size_t tensors)
{
    put_event_line(out, json_pack("{s:s, s:o, s:I, s:I}", "event", "begin", "what", visible_or_null(what), "bytes",
                                  (json_int_t)bytes, "tensors", (json_int_t)tensors));
}

void organ_event_advance(FILE *out, const organ_event_stage *stage, const char *tensor, const char *remark)
{
    put_event_line(out,
                   json_pack("{s:s, s:I, s:I, s:I, s:o, s:o}", "event", "advance", "bytes", (json_int_t)stage->done,
                             "of", (json_int_t)stage->bytes, "tensors", (json_int_t)stage->tensors, "tensor",
                             visible_or_null(tensor), "remark", visible_or_null(remark)));
}

void organ_event_end(FILE *out, const organ_event_stage *stage)
{
    put_event_line(out, json_pack("{s:s, s:I, s:I, s:I}", "event", "end", "bytes", (json_int_t)stage->done, "of",
                                  (json_int_t)stage->bytes, "tensors", (json_int_t)stage->tensors));
}

void organ_event_note(FILE *out, const char *text)
{
    put_event_line(out, json_pack("{s:s, s:o}", "event", "note", "text", visible_or_null(text)));
}

void organ_event_error(FILE *out, const organ_error *error)
{
    put_event_line(out, json_pack("{s:s, s:s, s:i, s:o}", "event", "error", "status", status_name(error->status),
                                  "code", (int)error->status, "message", visible_or_null(error->message)));
}
