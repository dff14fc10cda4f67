/* SPDX-License-Identifier: MIT
 * Options of every operation that runs a calibration text through a model, layer by layer. */
#ifndef ORGAN_CALIBRATION_TEXT_H
#define ORGAN_CALIBRATION_TEXT_H

#include "formats/base/api.h"

ORGAN_API_BEGIN

/* Ranges and defaults of the options; ORGAN_*_DEFAULT is what the program uses if an option is not given. */
#define ORGAN_SAMPLES_MOST 1000000
#define ORGAN_SAMPLES_DEFAULT 128
#define ORGAN_CONTEXT_MOST 1048576
#define ORGAN_CONTEXT_DEFAULT 512

typedef struct organ_calibration_text {
    const char *text;    /* path of a text file in UTF-8; NULL: none */
    unsigned samples;    /* windows to cut, evenly spread, without overlap: 1 .. ORGAN_SAMPLES_MOST; a text with fewer
                            windows is used with those that it has */
    unsigned context;    /* tokens of a window, 1 .. ORGAN_CONTEXT_MOST */
    const char *scratch; /* a directory for the hidden states of the windows; NULL: they are in memory */
} organ_calibration_text;

ORGAN_API_END

#endif
