/* SPDX-License-Identifier: MIT
 * Makes safetensors files whose data agree with their headers; otherwise nearly all inputs would be rejected for their
 * size. */
#include "tests/fuzz/target.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD = 8, MAX_DATA = 64 << 10 };

/* Returns the number after the comma that follows `at`; 0 if there is none. */
static size_t second_number(const uint8_t *at, const uint8_t *end)
{
    size_t value = 0;
    const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
    while (comma && ++comma < end && *comma >= '0' && *comma <= '9' && value <= MAX_DATA)
        value = 10 * value + (size_t)(*comma - '0');
    return value;
}

/* Returns the end of the last tensor by the header. */
static size_t data_wanted(fuzz_part header)
{
    static const char field[] = "\"data_offsets\":[";
    const uint8_t *at = header.data, *const end = header.size ? header.data + header.size : header.data;
    size_t max = 0;
    while (at && at < end && (at = memmem(at, (size_t)(end - at), field, sizeof field - 1))) {
        at += sizeof field - 1;
        const size_t reach = second_number(at, end);
        max = reach > max ? reach : max;
    }
    return max;
}

void fuzz_put_tensors(const char *name, fuzz_part header, fuzz_part data)
{
    const size_t requested = data_wanted(header), bytes = requested <= MAX_DATA ? requested : data.size;
    uint8_t *const file = calloc(1, HEAD + header.size + bytes + 1);
    fuzz_require(file != NULL, "there is memory");
    for (size_t k = 0; k < HEAD; k++)
        file[k] = (uint8_t)((uint64_t)header.size >> 8 * k);
    if (header.size)
        memcpy(file + HEAD, header.data, header.size);
    for (size_t k = 0; data.size && k < bytes; k += data.size)
        memcpy(file + HEAD + header.size + k, data.data, data.size < bytes - k ? data.size : bytes - k);
    fuzz_put(name, file, HEAD + header.size + bytes);
    free(file);
}
