/* SPDX-License-Identifier: MIT */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/orthogonality/noise_job.h"
#include <organ/inspect.h>

#include <organ/report.h>
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Measures module k, and shows as progress the cosine of the first noise with the adapter's change and the quotient of
 * their norms; "no cosine" if one of them is zero. */
static organ_status orthogonality_measure_module(void *context, size_t k, organ_error *error)
{
    organ_compared_job *const job = context;
    organ_compared_module *const m = &job->modules[k];
    char remark[64] = "no cosine";
    if (organ_orthogonality_measure(job, m, error))
        return error->status;
    const double norms = sqrt(m->noise[0].square) * sqrt(m->change);
    if (norms > 0)
        organ_snprintf(remark, sizeof remark, "cosine %.5f, noise %.3g x adapter", m->noise[0].dot / norms,
                       sqrt(m->noise[0].square) / sqrt(m->change));
    organ_progress_advance(job->progress, 0, m->name, remark);
    return ORGAN_OK;
}

/* Draws the charts of `report` as SVG and writes them to the output directory. `context` is not used. */
static organ_status write_charts(const organ_output *output, const void *context, const json_t *report,
                                 organ_error *error)
{
    (void)context;
    for (size_t k = 0; k < ORGAN_NOISE_PLOTS && !error->status; k++) {
        char *const path = organ_publish_path(&output->publish, organ_noise_plots[k].name), *svg = NULL;
        if (!path)
            organ_fail_memory(error, output->path);
        else if (organ_panels_svg(organ_noise_plots[k].panels, report, &svg, error) == ORGAN_OK)
            organ_text_write(path, svg, error);
        free(path);
        free(svg);
    }
    return error->status;
}

/* Opens and matches the inputs, checks the memory, measures all modules, and creates *report. Writes the report files
 * and charts if there is an output path. */
static organ_status compare_noise(organ_compared_job *job, json_t **report, organ_error *error)
{
    static const organ_report_files files = {"orthogonality.json", "ORTHOGONALITY_REPORT.md", NULL};
    if (organ_compared_open(job, job->options->access, error) || organ_compared_match(job, error) ||
        organ_orthogonality_check_memory(job, error) ||
        organ_compared_measure(job, orthogonality_measure_module, error) ||
        !(*report = organ_orthogonality_document(job)) || !job->output)
        return error->status;
    return organ_reports_make(&(organ_output){.path = job->output, .force = job->force, .ranks = job->engine->ranks},
                              &files, write_charts, NULL, *report, error);
}

/* Compares the noise of one or two noisy models with the change of an adapter. */
organ_status organ_orthogonality(const organ_orthogonality_options *o, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_orthogonality_options, o, report, error, "clean", o->clean, "noisy", o->noisy, "adapter",
                         o->adapter))
        return error->status;
    organ_compared_job job = {.options = o,
                              .engine = engine,
                              .progress = progress,
                              .adapter_path = o->adapter,
                              .path = {o->clean, o->noisy, o->noisy2},
                              .sources = o->noisy2 ? 3 : 2,
                              .output = o->output,
                              .requested = o->modules,
                              .draws = o->draws,
                              .seed = o->seed,
                              .force = o->force};
    const organ_report_work work = organ_report_begin(report);
    compare_noise(&job, report, error);
    organ_compared_close(&job);
    return organ_report_end(&work, o->adapter, error);
}
