/* SPDX-License-Identifier: MIT
 * ORGAN_API_BEGIN and ORGAN_API_END surround the declarations of a public header. These declarations have C linkage in
 * C++, and the shared library exports no others. */
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
