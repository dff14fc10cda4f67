/* SPDX-License-Identifier: MIT
 * Random numbers by place: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011). The same seed, stream and index give the
 * same number on every machine, whoever asks for it and in whatever order. */
#ifndef ORGAN_PHILOX_H
#define ORGAN_PHILOX_H

#include <stddef.h>
#include <stdint.h>

/* The block of four words for a 128-bit counter under a 64-bit key, least significant word first. */
void organ_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

/* Numbers `first` .. first + n of that stream, uniform in [-1, 1): multiples of 2^-23. Any thread. */
void organ_philox_uniform(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n);

/* The same from the normal distribution of mean 0 and deviation 1 (Box and Muller), each from two words of 32 bits; at
 * most 6.7 wide. */
void organ_philox_normal(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n);

#endif
