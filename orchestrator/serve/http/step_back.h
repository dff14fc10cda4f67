/* SPDX-License-Identifier: MIT
 * The priority of the server's threads. */
#ifndef ORGAN_STEP_BACK_H
#define ORGAN_STEP_BACK_H

/* Gives the calling thread, and those it will start, a lower priority than jobs have: they run on the same processors, and are what the
 * server is there for. */
void organ_step_back(void);

#endif
