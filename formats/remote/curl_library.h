/* SPDX-License-Identifier: MIT
 * Loads libcurl when the first URL is read: it needs thirty other libraries, whose loading takes half of the time of
 * a short run. */
#ifndef ORGAN_CURL_LIBRARY_H
#define ORGAN_CURL_LIBRARY_H

#include <organ/base.h>

#include <curl/curl.h>

/* The functions of libcurl under their names without "curl_". Valid after organ_curl_open has succeeded. */
typedef struct organ_curl_functions {
    __typeof__(curl_easy_init) *easy_init;
    CURLcode (*easy_setopt)(CURL *curl, CURLoption option, ...);
    __typeof__(curl_easy_perform) *easy_perform;
    CURLcode (*easy_getinfo)(CURL *curl, CURLINFO info, ...);
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_easy_cleanup) *easy_cleanup;
    __typeof__(curl_easy_escape) *easy_escape;
    __typeof__(curl_easy_unescape) *easy_unescape;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
    __typeof__(curl_url) *url;
    __typeof__(curl_url_set) *url_set;
    __typeof__(curl_url_get) *url_get;
    __typeof__(curl_url_cleanup) *url_cleanup;
    __typeof__(curl_free) *free;
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_share_init) *share_init;
    CURLSHcode (*share_setopt)(CURLSH *share, CURLSHoption option, ...);
    __typeof__(curl_share_cleanup) *share_cleanup;
} organ_curl_functions;
extern organ_curl_functions organ_curl; /* the loaded functions */

/* Loads and initialises libcurl, once for the process. Returns ORGAN_IO if that fails; all later calls then fail as
 * well. Thread-safe. */
organ_status organ_curl_open(organ_error *error);

#endif
