/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_TEST_FUZZ_SAFETENSORS_H
#define ORGAN_TEST_FUZZ_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

/* The entry that libFuzzer knows by this name. Ends the program if something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
