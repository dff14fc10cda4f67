/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/hwloc_version.h"

#include <hwloc.h>

const char *organ_hwloc_version(void) { return HWLOC_VERSION; }
