/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_VERSION_H
#define ORGAN_VERSION_H

/* Scripts read the version from this line: one blank, and none of clang-format's columns. */
#define ORGAN_VERSION "0.3.0"

#define ORGAN_RELEASED "2026-11-28" /* on the pages of the manual */

#endif
