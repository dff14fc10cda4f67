/* SPDX-License-Identifier: MIT
 * Private to this folder. */
#ifndef ORGAN_SECCOMP_H
#define ORGAN_SECCOMP_H

#include "orchestrator/serve/confine/confine.h"

bool organ_seccomp_is_there(void);

#endif
