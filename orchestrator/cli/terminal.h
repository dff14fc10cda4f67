/* SPDX-License-Identifier: MIT
 * Progress for people: one line that is redrawn on a terminal, one line per tensor in a log. */
#ifndef ORGAN_TERMINAL_H
#define ORGAN_TERMINAL_H

#include "orchestrator/report/text/text.h"
#include "orchestrator/stream/progress.h"

typedef struct organ_terminal {
    FILE *out;
    bool quiet;  /* no output */
    bool events; /* JSON, one object a line */
    bool live;   /* `out` is a terminal that can redraw a line */
    bool colour; /* the line may be coloured; only if `live` */
    organ_page page;
    char what[32];          /* the stage; empty between stages */
    char finished[192];     /* the tensor finished last, "" before the first one */
    char remark[64];        /* remark about that tensor, or "" */
    uint64_t bytes, done;   /* of the stage: bytes in total and done */
    size_t tensors, count;  /* of the stage: tensors in total and finished */
    double started, drawn;  /* start of the stage and time of the last output, in seconds of the monotonic clock */
    double speed;           /* recent bytes per second; 0: not yet known */
    double measured;        /* time of the last measurement of the speed */
    uint64_t measured_done; /* value of `done` at that time */
} organ_terminal;

/* Returns the page of a stream: its width is that of its terminal, else COLUMNS, else 0 (no limit); utf8 if the locale
 * has it. */
organ_page organ_terminal_page(FILE *stream);

/* Prepares the display of progress on `out`. `progress` is "bar", "lines", "json" (progress_events.h), "none", or
 * "auto": a bar if `out` is a terminal that can redraw a line, else lines. NULL is "auto"; `quiet` means "none". Only
 * terminals get colour, and only without NO_COLOR. */
void organ_terminal_open(organ_terminal *terminal, FILE *out, const char *progress, bool quiet);

/* Returns callbacks that display progress on `terminal`, which must outlive them. */
organ_progress organ_terminal_progress(organ_terminal *terminal);

/* Returns the progress line at time `now`, without colour, at most `page.width` columns (or 80). For the caller to
 * free; NULL without memory. */
char *organ_terminal_line(const organ_terminal *terminal, double now);

#endif
