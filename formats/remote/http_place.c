/* SPDX-License-Identifier: MIT
 * Finds which directory or file of a model a URL names, and which part of the URL may be shown in messages. */
#include "formats/remote/remote.h"

#include "formats/base/path.h"
#include "formats/remote/curl_library.h"

#include <string.h>
#include <strings.h>

bool organ_http_is_url(const char *path)
{
    return strncasecmp(path, "http://", 7) == 0 || strncasecmp(path, "https://", 8) == 0;
}

char *organ_http_without_secrets(const char *url)
{
    static const CURLUPart secrets[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_QUERY,
                                        CURLUPART_FRAGMENT};
    char *text = NULL;
    CURLU *parts = organ_curl.url();
    if (parts && organ_http_is_url(url) && organ_curl.url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK) {
        for (size_t k = 0; k < sizeof secrets / sizeof *secrets; k++)
            organ_curl.url_set(parts, secrets[k], NULL, 0);
        organ_curl.url_get(parts, CURLUPART_URL, &text, 0);
    }
    organ_curl.url_cleanup(parts);
    return text;
}

static bool is_file_name(const char *name)
{
    static const char *const endings[] = {".safetensors", ".json", ".gguf", ".bin", ".pt",
                                          ".pth",         ".ckpt", ".onnx", ".h5",  ".msgpack"};
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
        if (organ_ends_with(name, endings[k]))
            return true;
    return false;
}

bool organ_http_names_file(const char *text)
{
    char *plain = organ_curl.easy_unescape(NULL, strrchr(text, '/') + 1, 0, NULL);
    const bool file = plain && is_file_name(plain);
    organ_curl.free(plain);
    return file;
}

/* `plain` is the decoded last segment of `length` bytes, which may contain NUL characters. */
static organ_status copy_place(char *text, const char *plain, size_t length, organ_arena *arena, const char **shown,
                               const char **directory, const char **name, organ_error *error)
{
    const bool file = is_file_name(plain);
    if (length && (memchr(plain, '/', length) || memchr(plain, '\0', length) || *plain == '.'))
        return organ_fail(error, ORGAN_USAGE, "%s: its last part is not the name of a file or directory", text);
    size_t end = strlen(text);
    while (!file && end > 0 && text[end - 1] == '/')
        end--;
    *shown = organ_arena_copy(arena, text, end);
    *directory = file ? organ_arena_copy(arena, text, (size_t)(strrchr(text, '/') - text)) : *shown;
    *name = file ? organ_arena_copy(arena, plain, length) : NULL;
    return *shown && *directory && (*name || !file) ? ORGAN_OK : organ_fail_memory(error, text);
}

organ_status organ_http_place(const char *url, organ_arena *arena, const char **shown, const char **directory,
                              const char **name, organ_error *error)
{
    if (organ_curl_open(error) != ORGAN_OK)
        return error->status;
    char *text = organ_http_without_secrets(url);
    if (!text) /* the URL is not repeated in the message, because the malformed part may be a password */
        return organ_fail(error, ORGAN_USAGE, "the URL of the model is malformed");
    int length = 0;
    char *plain = organ_curl.easy_unescape(NULL, strrchr(text, '/') + 1, 0, &length);
    if (!plain)
        organ_fail_memory(error, text);
    else
        copy_place(text, plain, (size_t)length, arena, shown, directory, name, error);
    organ_curl.free(plain);
    organ_curl.free(text);
    return error->status;
}
