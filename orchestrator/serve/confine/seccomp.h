/* SPDX-License-Identifier: MIT
 * Private to this folder: whether filters of system calls can be used. */
#ifndef ORGAN_SECCOMP_H
#define ORGAN_SECCOMP_H

#include "orchestrator/serve/confine/confine.h"

/* Returns true if the kernel has seccomp filters and seccomp.c lists the call numbers of this processor. */
bool organ_seccomp_is_there(void);

#endif
