/* SPDX-License-Identifier: MIT */
#include "orchestrator/cli/sbom.h"

#include "formats/base/json_dump.h"
#include "formats/base/library.h"
#include "formats/base/text_buffer.h"
#include "kernels/math_library.h"
#include "orchestrator/machine/hwloc_version.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/version.h"

#include <curl/curl.h>
#include <errno.h>
#include <fftw3.h>
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <link.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>
#include <xxhash.h>

enum { VERSION_ROOM = 64 };

/* Writes the version that this process has; nothing where it has none. */
typedef void write_version(char version[VERSION_ROOM]);

typedef struct component {
    const char *name, *file; /* of the shared library */
    const char *licence;     /* SPDX */
    write_version *version;
    bool loaded; /* when it is needed, not at the start */
} component;

static void copy(char version[VERSION_ROOM], const char *text)
{
    const size_t length = strcspn(text, " ");
    snprintf(version, VERSION_ROOM, "%.*s", (int)length, text);
}

/* "fftw-3.3.10-sse2-avx" */
static void fftw3_release(char version[VERSION_ROOM])
{
    const char *const number = strchr(fftw_version, '-');
    copy(version, number ? number + 1 : fftw_version);
    version[strcspn(version, "-")] = '\0';
}

static void pcre2_release(char version[VERSION_ROOM])
{
    char text[VERSION_ROOM] = "";
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) <= VERSION_ROOM)
        pcre2_config(PCRE2_CONFIG_VERSION, text);
    copy(version, text);
}

static void utf8_release(char version[VERSION_ROOM]) { copy(version, utf8proc_version()); }
static void hwloc_release(char version[VERSION_ROOM]) { copy(version, organ_hwloc_version()); }
static void sleef_release(char version[VERSION_ROOM])
{
    snprintf(version, VERSION_ROOM, "%d.%d.%d", ORGAN_MATH_LIBRARY_MAJOR, ORGAN_MATH_LIBRARY_MINOR, ORGAN_MATH_LIBRARY_PATCH);
}
static void jansson_release(char version[VERSION_ROOM]) { copy(version, jansson_version_str()); }
static void xxhash_release(char version[VERSION_ROOM])
{
    const unsigned number = XXH_versionNumber();
    snprintf(version, VERSION_ROOM, "%u.%u.%u", number / 10000, number / 100 % 100, number % 100);
}
static void libc_release(char version[VERSION_ROOM]) { copy(version, gnu_get_libc_version()); }

static void curl_release(char version[VERSION_ROOM])
{
    curl_version_info_data *(*info)(CURLversion) = NULL;
    organ_error none = {0};
    if (organ_library_load("libcurl.so.4", (const char *const[]){"curl_version_info"}, 1, &info, &none) == ORGAN_OK)
        copy(version, info(CURLVERSION_NOW)->version);
}

static void microhttpd_release(char version[VERSION_ROOM])
{
    const char *(*get)(void) = NULL;
    organ_error none = {0};
    if (organ_library_load("libmicrohttpd.so.12", (const char *const[]){"MHD_get_version"}, 1, &get, &none) == ORGAN_OK)
        copy(version, get());
}

/* Those of `libs` in build.ninja, the C library, those that are loaded. packaging/libraries.tsv has the same ones, and a test compares
 * them. */
static const component components[] = {
    {"fftw3", "libfftw3.so", "GPL-2.0-or-later", fftw3_release, false},
    {"pcre2-8", "libpcre2-8.so", "BSD-3-Clause", pcre2_release, false},
    {"utf8proc", "libutf8proc.so", "MIT AND Unicode-DFS-2015", utf8_release, false},
    {"hwloc", "libhwloc.so", "BSD-3-Clause", hwloc_release, false},
    {"sleef", "libsleef.so", "BSL-1.0", sleef_release, false},
    {"jansson", "libjansson.so", "MIT", jansson_release, false},
    {"xxhash", "libxxhash.so", "BSD-2-Clause", xxhash_release, false},
    {"glibc", "libc.so", "LGPL-2.1-or-later", libc_release, false},
    {"curl", "libcurl.so", "curl", curl_release, true},
    {"microhttpd", "libmicrohttpd.so", "LGPL-2.1-or-later", microhttpd_release, true},
};
enum { COMPONENTS = sizeof components / sizeof *components };

/* ---- where a library is ---- */

typedef struct wanted_file {
    const char *file;
    char *found; /* its name without links: that has the version of the file */
} wanted_file;

static int see_file(struct dl_phdr_info *info, size_t size, void *context)
{
    wanted_file *const wanted = context;
    const char *const slash = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    (void)size;
    if (!slash || strncmp(slash + 1, wanted->file, strlen(wanted->file)) != 0)
        return 0;
    char *const whole = realpath(info->dlpi_name, NULL);
    const char *const name = whole ? strrchr(whole, '/') : NULL;
    wanted->found = organ_format("%s", name ? name + 1 : slash + 1);
    free(whole);
    return 1;
}

/* The name of the file that this process has of it; NULL: none, or no memory. The caller frees it. */
static char *file_of(const component *c)
{
    wanted_file wanted = {.file = c->file};
    dl_iterate_phdr(see_file, &wanted);
    return wanted.found;
}

/* ---- the document ---- */

static json_t *package(const char *name, const char *version, const char *file, const char *licence, const char *comment)
{
    char id[VERSION_ROOM];
    snprintf(id, sizeof id, "SPDXRef-Package-%s", name);
    return ORGAN_OBJECT(SET_TEXT("name", name), SET_TEXT("SPDXID", id), SET_IF(*version, "versionInfo", json_string(version)),
                        SET_IF(file != NULL, "packageFileName", json_string(file)), SET_TEXT("downloadLocation", "NOASSERTION"),
                        SET_FLAG("filesAnalyzed", false), SET_TEXT("licenseConcluded", "NOASSERTION"), SET_TEXT("licenseDeclared", licence),
                        SET_TEXT("copyrightText", "NOASSERTION"), SET_IF(comment != NULL, "comment", json_string(comment)));
}

static json_t *component_package(const void *context, size_t k)
{
    (void)context;
    if (k == 0)
        return package("organ", ORGAN_VERSION, NULL, "MIT",
                       "Linked with FFTW, which is GPL-2.0-or-later: who passes a binary on does so under its terms.");
    const component *const c = &components[k - 1];
    char version[VERSION_ROOM] = "";
    c->version(version);
    char *const file = file_of(c);
    const char *const comment = c->loaded && !*version ? "Loaded when it is needed; this process finds none."
                                : c->loaded            ? "Loaded when it is needed."
                                : file                 ? NULL
                                                       : "Linked statically.";
    json_t *const made = package(c->name, version, file, c->licence, comment);
    free(file);
    return made;
}

static json_t *relation(const char *from, const char *type, const char *name)
{
    char id[VERSION_ROOM];
    snprintf(id, sizeof id, "SPDXRef-Package-%s", name);
    return ORGAN_OBJECT(SET_TEXT("spdxElementId", from), SET_TEXT("relationshipType", type), SET_TEXT("relatedSpdxElement", id));
}

static json_t *component_relation(const void *context, size_t k)
{
    (void)context;
    if (k == 0)
        return relation("SPDXRef-DOCUMENT", "DESCRIBES", "organ");
    const component *const c = &components[k - 1];
    char *const file = c->loaded ? NULL : file_of(c);
    const char *const type = c->loaded ? "DEPENDS_ON" : file ? "DYNAMIC_LINK" : "STATIC_LINK";
    free(file);
    return relation("SPDXRef-Package-organ", type, c->name);
}

/* Now, unless SOURCE_DATE_EPOCH says when. */
static organ_status put_time(char text[VERSION_ROOM], organ_error *error)
{
    const char *const epoch = getenv("SOURCE_DATE_EPOCH");
    char *end = NULL;
    struct tm parts;
    errno = 0;
    const time_t when = epoch ? (time_t)strtoll(epoch, &end, 10) : time(NULL);
    if (epoch && (end == epoch || *end || errno || when < 0))
        return organ_fail(error, ORGAN_USAGE, "SOURCE_DATE_EPOCH is '%s': it must be seconds since 1970", epoch);
    if (!gmtime_r(&when, &parts) || !strftime(text, VERSION_ROOM, "%Y-%m-%dT%H:%M:%SZ", &parts))
        return organ_fail(error, ORGAN_USAGE, "SOURCE_DATE_EPOCH is '%s': there is no such year", epoch ? epoch : "");
    return ORGAN_OK;
}

/* A name that no other document has: it ends with a digest of what is in this one and when it was made, written as a UUID of version 8. */
static json_t *name_of_space(const json_t *packages, const char *created)
{
    char *const text = packages ? organ_json_dump(packages, JSON_COMPACT) : NULL;
    if (!text)
        return NULL;
    const XXH128_hash_t digest = XXH3_128bits_withSeed(text, strlen(text), XXH3_64bits(created, strlen(created)));
    free(text);
    char name[160];
    snprintf(name, sizeof name,
             "https://spdx.org/spdxdocs/organ-" ORGAN_VERSION "-%08" PRIx64 "-%04" PRIx64 "-8%03" PRIx64 "-8%03" PRIx64 "-%012" PRIx64,
             digest.high64 >> 32, digest.high64 >> 16 & 0xffff, digest.high64 & 0xfff, digest.low64 >> 52, digest.low64 & 0xffffffffffff);
    return json_string(name);
}

json_t *organ_sbom(organ_error *error)
{
    static const char *const creators[] = {"Tool: organ-" ORGAN_VERSION};
    char created[VERSION_ROOM];
    if (put_time(created, error) != ORGAN_OK)
        return NULL;
    json_t *const packages = organ_json_rows(COMPONENTS + 1, component_package, NULL);
    json_t *const space = name_of_space(packages, created);
    json_t *const made =
        ORGAN_OBJECT(SET_TEXT("spdxVersion", "SPDX-2.3"), SET_TEXT("dataLicense", "CC0-1.0"), SET_TEXT("SPDXID", "SPDXRef-DOCUMENT"),
                     SET_TEXT("name", "organ-" ORGAN_VERSION), SET("documentNamespace", space),
                     SET("creationInfo", ORGAN_OBJECT(SET_TEXT("created", created), SET("creators", organ_json_texts(1, creators)))),
                     SET("packages", packages), SET("relationships", organ_json_rows(COMPONENTS + 1, component_relation, NULL)));
    if (!made)
        organ_fail(error, ORGAN_IO, "no memory for the list of components");
    return made;
}
