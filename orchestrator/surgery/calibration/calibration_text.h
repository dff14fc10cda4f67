/* SPDX-License-Identifier: MIT
 * Options of every operation that runs a calibration text through a model, layer by layer. */
#ifndef ORGAN_CALIBRATION_TEXT_H
#define ORGAN_CALIBRATION_TEXT_H

#include "formats/base/api.h"

ORGAN_API_BEGIN

/* Ranges "least, greatest" of --samples and --context, and the program's values if an option is not given. */
#define ORGAN_SAMPLES         1, 1000000
#define ORGAN_SAMPLES_DEFAULT 128
#define ORGAN_CONTEXTS        1, 1048576
#define ORGAN_CONTEXT_DEFAULT 512

/* Options of all verbs that calibrate on a text. */
typedef struct organ_calibration_text {
    const char *text; /* path of a text file in UTF-8; NULL: none */
    /* number of windows to cut, evenly spread, without overlap, within ORGAN_SAMPLES; a text with room for fewer
     * windows gives those that fit */
    unsigned samples;
    unsigned context;    /* tokens of a window, within ORGAN_CONTEXTS */
    const char *scratch; /* a directory for the hidden states of the windows; NULL: they are in memory */
} organ_calibration_text;

ORGAN_API_END

#endif
