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
    bool colour; /* and may be coloured */
    organ_page page;
    char what[32];      /* the stage; empty between stages */
    char finished[192]; /* the tensor finished last, "" before the first one */
    char remark[64];    /* on it, or "" */
    uint64_t bytes, done;
    size_t tensors, count; /* of the stage; finished so far */
    double started, drawn; /* seconds of the monotonic clock */
    double speed;          /* bytes a second lately; 0: not known yet */
    double measured;       /* when, and how much was done then */
    uint64_t measured_done;
} organ_terminal;

/* Returns the page of a stream: the width of its terminal, or COLUMNS, or no limit; UTF-8 if the locale has it. */
organ_page organ_terminal_page(FILE *stream);

/* Prepares the display of progress. `progress` is "bar", "lines", "json" (progress_events.h), "none", or "auto": a bar
 * if `out` is a terminal that can redraw a line, else lines. NULL is auto; `quiet` makes it none. Colour is for
 * terminals without NO_COLOR. */
void organ_terminal_open(organ_terminal *terminal, FILE *out, const char *progress, bool quiet);

/* Callbacks that show on `terminal`, which must outlive them. */
organ_progress organ_terminal_progress(organ_terminal *terminal);

/* Returns the progress line at time `now`, without colour, at most `page.width` columns (or 80). For the caller to
 * free; NULL without memory. */
char *organ_terminal_line(const organ_terminal *terminal, double now);

#endif
