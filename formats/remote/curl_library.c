/* SPDX-License-Identifier: MIT */
#include "formats/remote/curl_library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

organ_curl_functions organ_curl;

/* In the order of organ_curl_functions. */
static const char *const names[] = {"easy_init",    "easy_reset",  "easy_setopt",   "easy_perform", "easy_getinfo",   "easy_strerror",
                                    "easy_cleanup", "easy_escape", "easy_unescape", "slist_append", "slist_free_all", "url",
                                    "url_set",      "url_get",     "url_cleanup",   "free",         "global_init"};
_Static_assert(sizeof(organ_curl_functions) == sizeof names / sizeof *names * sizeof(void *), "one name for each function");

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static char fault[256];

static void load_curl(void)
{
    void *const library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    for (size_t k = 0; library && k < sizeof names / sizeof *names; k++) {
        char symbol[32];
        snprintf(symbol, sizeof symbol, "curl_%s", names[k]);
        void *const function = dlsym(library, symbol);
        memcpy((char *)&organ_curl + k * sizeof function, &function, sizeof function);
        if (!function)
            snprintf(fault, sizeof fault, "libcurl.so.4 has no %s", symbol);
    }
    if (!library) {
        const char *const why = dlerror();
        snprintf(fault, sizeof fault, "%s", why ? why : "no memory");
    } else if (!*fault && organ_curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        snprintf(fault, sizeof fault, "libcurl cannot be started");
}

organ_status organ_curl_open(organ_error *error)
{
    pthread_once(&loaded, load_curl);
    return *fault ? organ_fail(error, ORGAN_IO, "what reads URLs is missing: %s", fault) : ORGAN_OK;
}
