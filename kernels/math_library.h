/* SPDX-License-Identifier: MIT
 * The library that kernels take exponentials and the like from, for what tells of the program's parts. */
#ifndef ORGAN_MATH_LIBRARY_H
#define ORGAN_MATH_LIBRARY_H

#include <sleef.h>

#define ORGAN_MATH_LIBRARY_MAJOR SLEEF_VERSION_MAJOR
#define ORGAN_MATH_LIBRARY_MINOR SLEEF_VERSION_MINOR
#define ORGAN_MATH_LIBRARY_PATCH SLEEF_VERSION_PATCHLEVEL

#endif
