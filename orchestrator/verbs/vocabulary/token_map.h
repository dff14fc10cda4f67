/* SPDX-License-Identifier: MIT
 * Private to this room: the file of a list of ids that torch.load reads, as SGLang's --speculative-token-map wants it.
 */
#ifndef ORGAN_VERBS_VOCABULARY_TOKEN_MAP_H
#define ORGAN_VERBS_VOCABULARY_TOKEN_MAP_H

#include <organ/base.h>
#include <stdint.h>

/* Writes the ids as what torch.save makes of a list of numbers: an archive (zip) with a pickle. Returns ORGAN_IO. */
organ_status organ_token_map_write(const char *path, const uint32_t *ids, size_t count, organ_error *error);

#endif
