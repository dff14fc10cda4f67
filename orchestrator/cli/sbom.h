/* SPDX-License-Identifier: MIT
 * What the program is made of, as an SPDX document. */
#ifndef ORGAN_SBOM_H
#define ORGAN_SBOM_H

#include "formats/base/status.h"

#include <jansson.h>

/* SPDX 2.3 in its JSON form: organ, the libraries that it is linked with and those that it loads when they are needed, each with the
 * version that this process has and its licence. The time of its making is SOURCE_DATE_EPOCH where that is set. The caller releases it;
 * NULL: no memory. */
json_t *organ_sbom(organ_error *error);

#endif
