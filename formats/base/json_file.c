/* SPDX-License-Identifier: MIT */
#include "formats/base/json_file.h"

#include "formats/base/input_file.h"
#include "formats/base/json_text.h"

#include <stdlib.h>
#include <unistd.h>

organ_status organ_json_file_read(const char *path, json_t **object, organ_error *error)
{
    organ_json_text text = {.label = path};
    char *bytes = NULL;
    *object = NULL;
    if (access(path, F_OK) != 0 ||
        organ_input_load(path, path, ORGAN_KEPT_FILE_LIMIT, &bytes, &text.length, error) != ORGAN_OK)
        return error->status;
    text.bytes = bytes;
    organ_json_parse_object(&text, object, error);
    free(bytes);
    return error->status;
}
