/* SPDX-License-Identifier: MIT
 * The key-values of a GGUF file. */
#ifndef ORGAN_GGUF_VALUES_H
#define ORGAN_GGUF_VALUES_H

#include "formats/base/arena.h"
#include "formats/gguf/cursor.h"
#include "formats/gguf/gguf.h"

/* The format allows keys of so many bytes. */
#define ORGAN_GGUF_KEY_LIMIT 65535u

/* No array has more elements, as in the reference reader of the format. */
#define ORGAN_GGUF_ARRAY_LIMIT (UINT64_C(1) << 30)

/* Bytes of the shortest key-value in this file, of which `count` must have room. */
size_t organ_gguf_shortest_kv(const organ_gguf_cursor *cursor);

/* Reads `count` key-values into *kvs (for the caller to free, also after an error); keys and values are held by the arena. */
organ_status organ_gguf_read_values(organ_gguf_cursor *cursor, uint64_t count, organ_arena *arena, organ_gguf_kv **kvs, organ_error *error);

#endif
