/* SPDX-License-Identifier: MIT
 * The library that finds cores and memory nodes, for what tells of the program's parts. */
#ifndef ORGAN_HWLOC_VERSION_H
#define ORGAN_HWLOC_VERSION_H

/* As it was when the program was compiled: the library itself knows no more than the version of its interface. */
const char *organ_hwloc_version(void);

#endif
