/* SPDX-License-Identifier: MIT
 * Digests of the bytes of a model that belong to no tensor, as patches and their reports state them: XXH3-128. */
#ifndef ORGAN_SURGERY_PATCH_PATCH_DIGESTS_H
#define ORGAN_SURGERY_PATCH_PATCH_DIGESTS_H

#include "formats/patch/delta.h"
#include "orchestrator/output/layout.h"

/* Digests header and gaps of a file with tensors, one after the other. Returns ORGAN_IO if memory runs out. */
organ_status organ_patch_digest_fillers(const organ_layout_file *file, char text[ORGAN_CHECKSUM_TEXT],
                                        organ_error *error);

/* Digests a file of any size, and sets *bytes to its size. Returns the errors of organ_input_open, and ORGAN_IO if it
 * cannot be read or memory runs out. */
organ_status organ_patch_digest_file(const char *path, uint64_t *bytes, char text[ORGAN_CHECKSUM_TEXT],
                                     organ_error *error);

#endif
