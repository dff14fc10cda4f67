/* SPDX-License-Identifier: MIT */
#include "formats/remote/curl_library.h"

#include "formats/base/library.h"

#include <pthread.h>

organ_curl_functions organ_curl;

static const char *const names[] = {
    "curl_easy_init",    "curl_easy_setopt", "curl_easy_perform",  "curl_easy_getinfo", "curl_easy_strerror",
    "curl_easy_cleanup", "curl_easy_escape", "curl_easy_unescape", "curl_slist_append", "curl_slist_free_all",
    "curl_url",          "curl_url_set",     "curl_url_get",       "curl_url_cleanup",  "curl_free",
    "curl_global_init",  "curl_share_init",  "curl_share_setopt",  "curl_share_cleanup"};
_Static_assert(sizeof organ_curl == sizeof names, "one name for each function");

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static organ_error fault; /* the error of load_curl; all zero if it succeeded */

static void load_curl(void)
{
    if (organ_library_load("libcurl.so.4", names, sizeof names / sizeof *names, &organ_curl, &fault) == ORGAN_OK &&
        organ_curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        organ_fail(&fault, ORGAN_IO, "libcurl cannot be started");
}

organ_status organ_curl_open(organ_error *error)
{
    pthread_once(&loaded, load_curl);
    return fault.status ? organ_fail(error, ORGAN_IO, "reading URLs needs a library that is missing: %s", fault.message)
                        : ORGAN_OK;
}
