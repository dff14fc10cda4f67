/* SPDX-License-Identifier: MIT
 * The models below the served directory. In comes the directory, out come a list of the models in it, what is in each,
 * and its tensors,
 * page by page. No request waits for the disk: threads of the shelf read what is not known yet.
 *
 *   scan.h          finds models by the names of their files
 *   catalog.h       one model as it is kept: its tensors, and its portrait (portrait.h) as JSON
 *   worker.h        the confined process in which files of models are read; reader.h: the server's end of it
 *   shelf.h         all that are kept, in bounded memory, and the threads that read them
 *   tensor_page.h   the tensors of one, sorted and filtered */
#ifndef ORGAN_MODELS_H
#define ORGAN_MODELS_H

#include "orchestrator/serve/http/http.h"

extern const organ_area organ_area_models; /* /api/v1/models ... */

/* To be called first in `main` of a program that serves: true, and *code its exit code, where it was started to read
 * models for a server.
 */
bool organ_models_worked(int argc, char *const *argv, int *code);

#endif
