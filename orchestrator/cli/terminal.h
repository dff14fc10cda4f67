/* SPDX-License-Identifier: MIT
 * Displays progress on stderr: one line that is redrawn on a terminal, one line per tensor in a log, or events. */
#ifndef ORGAN_TERMINAL_H
#define ORGAN_TERMINAL_H

#include "orchestrator/report/text/text.h"
#include <organ/stream.h>

/* A display of progress and the state of the present stage. Times are in seconds of organ_seconds_now. */
typedef struct organ_terminal {
    FILE *out;
    bool quiet;             /* --quiet or --progress none: print nothing */
    bool events;            /* --progress json: print events (progress_events.h) */
    bool live;              /* draw a bar in a line that is redrawn; false: print a line for each tensor */
    bool colour;            /* the line is coloured; only if `live` */
    organ_page page;        /* width and encoding of `out` */
    char what[32];          /* name of the stage; "" between stages */
    char finished[192];     /* name of the tensor finished last, "" before the first one */
    char remark[64];        /* remark about that tensor, or "" */
    uint64_t bytes, done;   /* of the stage: bytes in total and done */
    size_t tensors, count;  /* of the stage: tensors in total and finished */
    double started, drawn;  /* time at which the stage began, and time of the last output */
    double speed;           /* average of bytes per second (measure_speed); 0: not yet known */
    double measured;        /* time of the last measurement of the speed */
    uint64_t measured_done; /* value of `done` at that time */
} organ_terminal;

/* Returns width and encoding of the output on `stream`. The width is that of its terminal, else the variable COLUMNS,
 * else 0 (no limit). utf8 is true if the encoding of the locale is UTF-8. */
organ_page organ_terminal_page(FILE *stream);

/* Prepares the display of progress on `out`. `progress` is "bar", "lines", "json" (progress_events.h), "none", or
 * "auto": a bar if `out` is a terminal that can redraw a line, else lines. NULL is "auto"; `quiet` means "none". Only
 * terminals get colour, and only without NO_COLOR. */
void organ_terminal_open(organ_terminal *terminal, FILE *out, const char *progress, bool quiet);

/* Returns callbacks that display progress on `terminal`, which must outlive them. */
organ_progress organ_terminal_progress(organ_terminal *terminal);

/* Returns the progress line at the time `now`, without colour, at most `page.width` columns wide (80 if that is 0). The
 * caller frees it; NULL if memory runs out. */
char *organ_terminal_line(const organ_terminal *terminal, double now);

#endif
