/* SPDX-License-Identifier: MIT
 * Replacements in fuzzing programs (-Wl,--wrap=nanosleep,--wrap=organ_reader_read): waiting for a server takes no time,
 * and models are read in this process, because the fuzzer does not observe another one. */
#include "orchestrator/serve/models/model_reader.h"

#include <time.h>

int __wrap_nanosleep(const struct timespec *requested, struct timespec *left);
unsigned __wrap_organ_reader_read(organ_reader *reader, const char *absolute, const char *path, size_t max,
                                  organ_catalog **catalog, organ_error *error);

int __wrap_nanosleep(const struct timespec *requested, struct timespec *left)
{
    (void)requested;
    if (left)
        *left = (struct timespec){0};
    return 0;
}

unsigned __wrap_organ_reader_read(organ_reader *reader, const char *absolute, const char *path, size_t max,
                                  organ_catalog **catalog, organ_error *error)
{
    (void)reader;
    return organ_catalog_read(absolute, path, max, catalog, error);
}
