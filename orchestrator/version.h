/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_VERSION_H
#define ORGAN_VERSION_H

#define ORGAN_VERSION "0.1.0"
#define ORGAN_RELEASED "2026-11-20" /* on the pages of the manual */

#endif
