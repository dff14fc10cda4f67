/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_VERSION_H
#define ORGAN_VERSION_H

#define ORGAN_VERSION  "0.2.0"
#define ORGAN_RELEASED "2026-11-22" /* on the pages of the manual */

#endif
