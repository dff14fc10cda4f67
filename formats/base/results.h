/* SPDX-License-Identifier: MIT
 * Lets callers of public functions pass NULL for results that they do not want: the function then has results of its
 * own, to which its parameters point until it returns. */
#ifndef ORGAN_BASE_RESULTS_H
#define ORGAN_BASE_RESULTS_H

#include <jansson.h>
#include <organ/base.h>

/* Clears an error, whatever its memory holds, and returns it. */
static inline organ_error *organ_error_clear(organ_error *error)
{
    error->status = ORGAN_OK;
    error->message[0] = '\0';
    error->errnum = 0;
    return error;
}

static inline void organ_report_drop(json_t **report) { json_decref(*report); }

/* Each begins a public function. ORGAN_OWN_ERROR: `error` is no longer NULL; an earlier fault of the caller stays.
 * ORGAN_OWN_RESULTS, of verbs: neither are, and `error` is cleared, which the caller need not have done. */
#define ORGAN_OWN_ERROR(error)                                                                                         \
    organ_error own_error;                                                                                             \
    error = error ? error : organ_error_clear(&own_error)
#define ORGAN_OWN_RESULTS(report, error)                                                                               \
    organ_error own_error;                                                                                             \
    json_t *own_report __attribute__((cleanup(organ_report_drop))) = NULL;                                             \
    error = organ_error_clear(error ? error : &own_error);                                                             \
    report = report ? report : &own_report

#endif
