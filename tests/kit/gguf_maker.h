/* SPDX-License-Identifier: MIT
 * For tests: files described by words, so that a table of malformed ones has one line for each. */
#ifndef ORGAN_TEST_GGUF_MAKER_H
#define ORGAN_TEST_GGUF_MAKER_H

#include <stddef.h>

/* Returns the bytes that the words describe; the caller frees them. Words are separated by blanks: 'text' a text; 1:N
 * 2:N 4:N 8:N a little-endian number of 1, 2, 4 or 8 bytes, also negative; s:text a u64 length and the text; S:text the
 * same with a u32 length; x:6100ff bytes in hexadecimal; z:N N zeros; p:N zeros up to a multiple of N; c:N N times the
 * letter 'n'. */
unsigned char *gguf_bytes(const char *words, size_t *size);

/* Writes these bytes into the scratch directory (tests/kit/scratch_model.h). */
void gguf_file(const char *name, const char *words);

/* Magic, version 3, counts of tensors and keys. */
#define HEAD(tensors, keys) "'GGUF' 4:3 8:" #tensors " 8:" #keys " "

#endif
