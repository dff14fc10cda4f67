/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_VERSION_H
#define ORGAN_VERSION_H

#define ORGAN_VERSION "0.1.0"

#endif
