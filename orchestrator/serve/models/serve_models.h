/* SPDX-License-Identifier: MIT
 * The models below the served directory: a list of them, a description of each, and its tensors page by page. No
 * request waits for the disk: threads of the cache read models that are not in memory yet. */
#ifndef ORGAN_SERVE_MODELS_H
#define ORGAN_SERVE_MODELS_H

#include "orchestrator/serve/http/http.h"

extern const organ_area organ_area_models; /* /api/v1/models ... */

/* In a process that was started as a worker: reads models for the server and ends the process; if it returns
 * true, `main` must exit with *code. In any other process: returns false. It must be the first call in `main` of a
 * program that serves. */
bool organ_models_worked(int argc, char *const *argv, int *code);

#endif
