#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tests/new_verb.sh NAME [SUMMARY]: adds a verb that reads every weight of a model and reports how many values each role has, builds it, and
# writes its golden files. NAME: small letters, with `-` between words. The verb has --json, a terminal, a Markdown and an HTML view, --threads,
# --memory, --header and --patience, public options, a page, a definition and rows in the sweeps of faults. Change the figures that it counts, then run
# tests/verbs/NAME/check_cli_NAME.sh --bless. Needs what `ninja` needs, jq and binutils.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-} summary=${2:-how many values each role of a model has}
[[ $name =~ ^[a-z]+(-[a-z]+)*$ ]] || { echo "$0: NAME is small letters with '-' between words, not '$name'" >&2 && exit 2; }
id=${name//-/_} upper=${name^^} upper=${upper//-/_} room=orchestrator/verbs/$id
! grep -q "organ_${id}_verb" orchestrator/cli/cli_parts.h || { echo "$0: organ has a verb $name" >&2 && exit 2; }

# put after|before FILE REGEX TEXT: inserts lines below the last matching line, or above the first one; fails if none matches.
put() {
    local line end=1
    [[ $1 == before ]] || end='$'
    line=$(grep -nE -- "$3" "$2" | sed -n "$end{s/:.*//p}") || true
    [[ -n $line ]] || { echo "$0: $2 has no line '$3'" >&2 && exit 1; }
    [[ $1 == after ]] || line=$((line - 1))
    printf '%s\n' "$4" | sed -i "${line}r /dev/stdin" "$2"
}
after() { put after "$@"; }
before() { put before "$@"; }
# fill FILE: writes the template from stdin with the names of the verb filled in.
fill() { sed -e "s/@NAME@/$name/g" -e "s/@ID@/$id/g" -e "s/@UPPER@/$upper/g" -e "s|@SUMMARY@|$summary|g" >"$1"; }

# ---- the work ----
fill "$id.part" <<'C'
/* ---- @NAME@: counts the values of the weights of each role of a model ---- */

typedef struct organ_@ID@_options {
    size_t size;                      /* see ORGAN_DEFAULTS */
    const char *model;                /* path or URL of a model */
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
} organ_@ID@_options;
ORGAN_DEFAULTS(@ID@, )

/* Reads every weight once, packed ones dequantised, and makes the report of schema organ.@ID@/1. Except for "run" the
 * report is the same with any number of threads, any memory and on every ISA. Errors: those of opening and reading
 * models; ORGAN_BAD_INPUT if the model has no weights; ORGAN_USAGE if the memory of the engine is too small. *report is
 * NULL after an error. The caller releases *report. */
organ_status organ_@ID@(const organ_@ID@_options *options, const organ_engine *engine, const organ_progress *progress,
                        json_t **report, organ_error *error);

C
before include/organ/inspect.h '^ORGAN_API_END' "$(cat "$id.part")"$'\n'
rm "$id.part"
mkdir -p "$room"
fill "$room/$id.c" <<'C'
/* SPDX-License-Identifier: MIT */
#include <organ/inspect.h>

#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/weight_pass.h"

#include <stdlib.h>

/* Counts of a strip of rows, or of all weights of a role. */
typedef struct @ID@_sums {
    uint64_t values;
} @ID@_sums;

typedef struct @ID@_job {
    const organ_@ID@_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    organ_weight_item *items;
    size_t item_count;
    uint64_t bytes;
    @ID@_sums rows[ORGAN_ANATOMY_ROWS], all;
    double started;
} @ID@_job;

/* Complex numbers and weights without elements are not read. */
static organ_status choose_weights(@ID@_job *job, organ_error *error)
{
    if (!(job->items = calloc(job->weights->count + 1, sizeof *job->items)))
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const weight = &job->weights->weights[k];
        if (weight->elements == 0 || (weight->scheme == ORGAN_SCHEME_PLAIN && weight->codes->dtype == ORGAN_C64))
            continue;
        job->items[job->item_count++].weight = weight;
        job->bytes += organ_weight_bytes(weight);
    }
    return job->item_count ? ORGAN_OK : organ_fail(error, ORGAN_BAD_INPUT, "%s: has no weights", job->model->path);
}

/* Called by several workers at a time, for strips in any order. `values` has rows x cols numbers of type float. */
static organ_status count_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                               organ_error *error)
{
    @ID@_sums *const sums = result;
    (void)context, (void)scratch, (void)error;
    sums->values = strip->rows * strip->cols;
    return ORGAN_OK;
}

/* Called for one strip at a time, in the order of weights and rows. */
static organ_status retire_strip(void *context, const organ_weight_strip *strip, const void *result, organ_error *error)
{
    @ID@_job *const job = context;
    const organ_weight *const weight = job->items[strip->item].weight;
    const @ID@_sums *const sums = result;
    (void)error;
    job->rows[organ_anatomy_row(&weight->anatomy)].values += sums->values;
    job->all.values += sums->values;
    if (strip->last)
        organ_progress_advance(job->progress, organ_weight_bytes(weight), weight->name, NULL);
    return ORGAN_OK;
}

static json_t *role_row(const void *context, size_t k)
{
    const @ID@_sums *const sums = &((const @ID@_job *)context)->rows[k];
    if (sums->values == 0)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)k)), SET_COUNT("values", sums->values));
}

static json_t *make_document(const @ID@_job *job)
{
    return ORGAN_OBJECT(SET_HEAD("organ.@ID@/1", "@NAME@/1"), SET("model", organ_model_json(job->model)),
                        SET("roles", organ_anatomy_rows_json(role_row, job)),
                        SET("totals", ORGAN_OBJECT(SET_COUNT("values", job->all.values))),
                        SET("run", ORGAN_OBJECT(SET_BYTES("model", job->options->model),
                                                SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - job->started)),
                                                SET_ENGINE(job->engine))));
}

static organ_status read_weights(@ID@_job *job, json_t **report, organ_error *error)
{
    if (organ_model_open_with(job->options->model, job->options->access, &job->model, error) ||
        organ_weights_find(job->model, &job->weights, error) || choose_weights(job, error))
        return error->status;
    const organ_weight_pass pass = {.model = job->model,
                                    .items = job->items,
                                    .item_count = job->item_count,
                                    .as = ORGAN_F32,
                                    .result_bytes = sizeof(@ID@_sums),
                                    .context = job,
                                    .work = count_strip,
                                    .retire = retire_strip};
    organ_progress_begin(job->progress, "counting", job->bytes, job->item_count);
    organ_weight_pass_run(&pass, job->engine, error);
    organ_progress_end(job->progress);
    if (error->status || organ_model_unchanged(job->model, error))
        return error->status;
    *report = make_document(job);
    return ORGAN_OK;
}

organ_status organ_@ID@(const organ_@ID@_options *options, const organ_engine *engine, const organ_progress *progress,
                        json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_@ID@_options, options, report, error, "model", options->model))
        return error->status;
    @ID@_job job = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    read_weights(&job, report, error);
    free(job.items);
    organ_weights_free(job.weights);
    organ_model_close(job.model);
    return organ_report_end(&work, options->model, error);
}
C

after tests/check_house.sh '^verbs/[a-z_]+$' "verbs/$id"

# ---- its three views ----
fill "orchestrator/report/view/view_$id.c" <<'C'
/* SPDX-License-Identifier: MIT
 * organ.@ID@/1 */
#include "orchestrator/report/view/views.h"

static const organ_item highlights[] = {{NULL, "values", "{totals.values:count}"}};

static const organ_field roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS), FIELD_COUNT("values", "values")};

static const organ_block blocks[] = {
    LINES(NULL, "{model.name}\n\n"),
    HEADING("{model.name}"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Roles"),
    TABLE(ON_ALL, NULL, "roles", FIELDS(roles), .total = "all", .total_row = "totals"),
};

const organ_view organ_@ID@_view = {
    .schema = "organ.@ID@/1", .kind = "@NAME@", .title = "{model.name}", BLOCKS_OF(blocks)};
C
# The list of views is sorted by name.
views=orchestrator/report/view/views.h
next=$({ sed -nE 's/^    VIEW\(([a-z_]+)\).*/\1/p' $views && echo "$id"; } | LC_ALL=C sort | sed -n "/^$id\$/{n;p}")
row=$(printf '    VIEW(%s)' "$id")
if [[ -n $next ]]; then before $views "^    VIEW\\($next\\)" "$(printf '%-119s\\' "$row")"; else
    sed -i -E '/^    VIEW\([a-z_]+\)$/s/$/ \\/' $views && after $views '^    VIEW' "$row"
fi

fill "orchestrator/report/schema/documents/$id.txt" <<'TEXT'
organ @NAME@: values by role

&head
model  @model  The model.
roles  list of object  One entry for each role that the model has.
  role  text  Name of the role.
  values  count  Number of values of its weights.
totals  object  Sums over the roles.
  values  count  Number of values.
[run]  object...  What differs from run to run: paths, time, machine.
TEXT
# So is the list of schemas.
schemas=orchestrator/report/schema/schema.c
next=$({ sed -nE 's/^    SCHEMA\(([a-z_]+), .*/\1/p' $schemas && echo "$id"; } | LC_ALL=C sort | sed -n "/^$id\$/{n;p}")
if [[ -n $next ]]; then before $schemas "^    SCHEMA\\($next, " "    SCHEMA($id, 1) \\"; else
    sed -i -E '/^    SCHEMA\([a-z_]+, [0-9]+\)$/s/$/ \\/' $schemas && after $schemas '^    SCHEMA\([a-z_]+, [0-9]' "    SCHEMA($id, 1)"
fi

# ---- the command line ----
fill "orchestrator/cli/verb_$id.c" <<'C'
/* SPDX-License-Identifier: MIT
 * organ @NAME@. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/inspect.h>

typedef struct @ID@_call {
    organ_call call;
    organ_@ID@_options @ID@;
} @ID@_call;
#define CALL @ID@_call

/* Tables are laid out by hand. */
/* clang-format off */

RUN_REMOTE(@ID@, organ_@ID@, @ID@)

const organ_verb organ_@ID@_verb = {
    .name = "@NAME@",
    .summary = "@SUMMARY@",
    .about = "Reads every weight as the numbers it means, whatever it is packed in, and counts them by role.",
    OPERANDS(OPERAND("MODEL", MODEL, @ID@.model,
                     "a model: directory, .safetensors, .gguf, organ directory; packed weights are dequantised on the "
                     "way")),
    GROUPS(MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ @NAME@ Qwen3-4B", "The values of each role."},
             {"organ @NAME@ model.gguf --json", "The same as a JSON document."}),
    .run = run_@ID@};
C
after orchestrator/cli/cli_parts.h '^extern const organ_verb organ_inspect_verb' "extern const organ_verb organ_${id}_verb;"
after orchestrator/cli/verb_table.c '^    &organ_inspect_verb,' "    &organ_${id}_verb,"

# ---- pages ----
mkdir -p docs/verbs
after docs/README.md '^\| check a model \|' "| report $summary | [$name](verbs/$name.md) |"
before docs/definitions/counts.md '^- \*\*Evaluate\*\*' "- **${name^}** (\`organ.$id/1\`, \`$name/1\`): \`roles[].values\` is the number of values of all weights of a role, \`totals.values\` their sum."
# The first item of the first section "Added".
sed -i "0,/^### Added\$/s||&\n\n- \`organ $name MODEL\` reports $summary.|" CHANGELOG.md

# ---- tests ----
script=tests/verbs/$id/check_cli_$id.sh
mkdir -p "${script%/*}"
fill "$script" <<'SH'
#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ @NAME@: output, exit codes, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../../kit/cli_kit.sh"

ends 0 help @NAME@
matches help/help_@ID@ ../out

# ---- results ----
ends 0 @NAME@ tiny-qwen2 --quiet
matches @ID@/@ID@ ../out
ends 0 @NAME@ tiny-qwen2 --json --quiet --html page.html
cp ../out saved.json
matches @ID@/@ID@_json ../out
jq 'del(.run)' ../out >../whole
judge "the page has no table" grep -q "</table>" page.html
ends 0 @NAME@ tiny-qwen2 --json --threads 3 --memory 16M
judge "threads or memory change the document" cmp -s <(jq 'del(.run)' ../out) ../whole
ends 0 report saved.json -o saved.html
ORGAN_ISA=scalar ends 0 @NAME@ tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --json
judge "the values of packed weights are not those of the model" \
    test "$(jq .totals.values ../out)" = "$("$organ" @NAME@ tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --json --quiet | jq .totals.values)"

# ---- refusals ----
refused 2 "MODEL" @NAME@
refused 2 "'--json'" @NAME@ tiny-qwen2 --jsn
refused 4 "nowhere" @NAME@ nowhere
mkdir bare && echo '{}' >bare/config.json
refused 3 "bare" @NAME@ bare
finish
SH
chmod +x "$script"
{ cat tests/suites.tsv && printf 'cli_%s\tnative,sanitize\tquick\t-\t1\n' "$id"; } | LC_ALL=C sort >tests/suites.sorted && mv tests/suites.sorted tests/suites.tsv
after tests/faults/sweep_kit.sh '^        inspect\) words=' "        $name) words=($name \"\$q\" \"\${t1[@]}\") ;;"
for sweep in disk:4 memory:8 donor:3; do
    after "tests/faults/check_${sweep%:*}_verbs.sh" "^sweep_${sweep%:*} [0-9]+ inspect\$" "sweep_${sweep%:*} ${sweep#*:} $name"
done
after tests/cli/check_http_verbs.c '^    \{"inspect", "@"\},' "    {\"$name\", \"@\"},"

# ---- build the verb, then write its golden files and the session of its page ----
clang=$(command -v clang-format || true)
if [[ -n $clang ]]; then
    $clang -i "$room/$id.c" include/organ/inspect.h "orchestrator/report/view/view_$id.c"
fi
tests/check_house.sh --write >/dev/null 2>&1 || true # the objects are not there yet
"${NINJA:-ninja}" build/organ build/liborgan.a build/liborgan.so
tests/package/check_abi.sh --renew
{
    echo "# organ $name" && echo && echo "Reports $summary." && echo && echo "    \$ organ $name fixtures/tiny-qwen2"
    LC_ALL=C.UTF-8 TERM=dumb build/organ "$name" fixtures/tiny-qwen2 --quiet | cat -s | sed -e 's/^./    &/' -e '${/^$/d}'
    echo && echo "\`organ help $name\` has every option."
} >"docs/verbs/$name.md"
COLUMNS=80 LC_ALL=C.UTF-8 TERM=dumb build/organ help >tests/cli/help/overview.golden
"$script" --bless
git status --short 2>/dev/null || true
