/* SPDX-License-Identifier: MIT
 * What stands around the declarations of a public header: they are C for C++ too, and the shared library exports them
 * and nothing else. */
#ifndef ORGAN_API_H
#define ORGAN_API_H

#ifdef __cplusplus
#define ORGAN_API_BEGIN                                                                                                \
    extern "C" {                                                                                                       \
    _Pragma("GCC visibility push(default)")
#define ORGAN_API_END                                                                                                  \
    _Pragma("GCC visibility pop")                                                                                      \
    }
#else
#define ORGAN_API_BEGIN _Pragma("GCC visibility push(default)")
#define ORGAN_API_END   _Pragma("GCC visibility pop")
#endif

#endif
