/* SPDX-License-Identifier: MIT */
#include "formats/base/library.h"

#include <dlfcn.h>
#include <string.h>

organ_status organ_library_load(const char *file, const char *const *names, size_t count, void *functions,
                                organ_error *error)
{
    void *const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    const char *const why = library ? NULL : dlerror();
    if (!library)
        return organ_fail(error, ORGAN_IO, "%s", why ? why : "no memory for a library");
    for (size_t k = 0; k < count; k++) {
        void *const function = dlsym(library, names[k]);
        if (!function)
            return organ_fail(error, ORGAN_IO, "%s has no %s", file, names[k]);
        memcpy((char *)functions + k * sizeof function, &function, sizeof function);
    }
    return ORGAN_OK;
}
