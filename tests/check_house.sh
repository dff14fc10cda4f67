#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks the rules of the source tree: layers, printing, names, headers, symbols, sizes. Run it from the root after `ninja`; it ends with the
# line "N passed, N failed". `--write` first writes the list of sources, packaging/sources.ninja.
set -uo pipefail
shopt -s lastpipe # `... | check` counts in this shell
cd "$(dirname "$0")/.." || exit 1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0
write=false
[[ ${1:-} == --write ]] && write=true

# check WHAT: passes if stdin is empty; each line of stdin is a violation.
check() {
    if grep . >"$scratch/findings"; then
        printf '%s:\n' "$1"
        sed -e 's/^/    /' -e '20q' "$scratch/findings"
        (($(wc -l <"$scratch/findings") > 20)) && echo "    ... $(wc -l <"$scratch/findings") in all"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}

# Lists every file of the project. Without git (a tarball, also one unpacked inside another repository) it leaves out the lines of .gitignore, which
# are paths from the root; a line that ends in a slash is a folder.
everything() {
    if [[ $(git rev-parse --show-toplevel 2>/dev/null) -ef . ]]; then
        git ls-files -co --exclude-standard
    else
        find . -name .git -prune -o -path ./build -prune -o -type f -printf '%P\n' |
            grep -vE "$(sed -E -e 's,[.],\\.,g' -e 's,^/(.*[^/])$,/\1$,' -e 's,^/,^,' .gitignore | paste -sd '|')"
    fi
}
everything | while read -r file; do [[ -f $file ]] && echo "$file"; done >"$scratch/files"
grep -E '\.[ch]$' "$scratch/files" >"$scratch/c_files"
grep -E '\.(c|h|sh)$' "$scratch/files" >"$scratch/sources"
each() { xargs -d '\n' "${@:2}" <"$scratch/$1"; }

# Makes a tree without git that contains files of a build, to test this list.
mkdir -p "$scratch/tarball/build" "$scratch/tarball/tiny-pruned" "$scratch/tarball/formats"
touch "$scratch"/tarball/{.ninja_log,.ninja_deps,build/organ,tiny-pruned/config.json,stray,formats/a.c} && cp .gitignore "$scratch/tarball"
(cd "$scratch/tarball" && everything) | LC_ALL=C sort | diff - <(printf '%s\n' .gitignore formats/a.c stray) |
    check "without git, files that a build leaves are not of the project, and all others are"

# Writes the code as FILE:LINE:TEXT, without comments, blank lines and the content of strings.
# shellcheck disable=SC2016 # $0 is awk's
each c_files awk '
    FNR == 1 { inside = 0 }
    {
        text = $0; code = ""
        while (text != "") {
            if (inside) {
                if (!(at = index(text, "*/"))) break
                text = substr(text, at + 2); inside = 0
            } else if (match(text, /^"([^"\\]|\\.)*"/)) {
                code = code "\"\""; text = substr(text, RLENGTH + 1)
            } else if (match(text, /^\047([^\047\\]|\\.)*\047/)) {
                code = code "0"; text = substr(text, RLENGTH + 1)
            } else if (match(text, /^\/\*[a-z0-9_]+=\*\//)) { # the name of a parameter at an argument
                code = code substr(text, 1, RLENGTH); text = substr(text, RLENGTH + 1)
            } else if (text ~ /^\/\*/) {
                inside = 1; text = substr(text, 3)
            } else if (text ~ /^\/\//) {
                break
            } else {
                match(text, /^[^"\047\/]+/)
                if (RLENGTH < 1) RLENGTH = 1
                code = code substr(text, 1, RLENGTH); text = substr(text, RLENGTH + 1)
            }
        }
        if (code ~ /[^ \t]/) print FILENAME ":" FNR ":" code
    }' >"$scratch/code"

# Prints the value of a variable of build.ninja with its continued lines joined.
variable() { sed -e ':a' -e '/\$$/{N;s/\$\n *//;ba' -e '}' build.ninja | sed -n "s/^$1 = //p"; }

# ---- layers: includes point to lower layers only ----
# The layers, from bottom to top. "orchestrator" stands for files directly in that folder.
cat >"$scratch/floors" <<'LAW'
kernels
formats
orchestrator
machine orchestrator formats
stream machine orchestrator formats kernels
report machine orchestrator formats
ranks stream machine orchestrator formats kernels
output ranks report stream machine orchestrator formats kernels
solve stream machine orchestrator formats kernels
forward ranks stream machine orchestrator formats kernels
surgery forward solve output ranks report stream machine orchestrator formats kernels
verbs surgery forward solve output ranks report stream machine orchestrator formats kernels
command machine orchestrator formats
serve command verbs surgery forward solve output ranks report stream machine orchestrator formats kernels
cli serve command verbs surgery forward solve output ranks report stream machine orchestrator formats kernels
LAW
# The modules of a layer, and for each the modules that it may include.
cat >"$scratch/rooms" <<'LAW'
formats/base
formats/remote base
formats/adapter base remote
formats/tensor base
formats/architecture base tensor
formats/config base architecture
formats/gguf base remote tensor
formats/imatrix base remote gguf
formats/towers base gguf
formats/safetensors base remote tensor
formats/model base remote tensor architecture gguf safetensors
formats/names base remote gguf
formats/tokenizer base gguf model
formats/weights base tensor
formats/patch base model safetensors
report/text
report/svg text
report/html text svg
report/blocks text svg html
report/view text svg blocks
report/schema text
forward
forward/mixers forward
serve/http
serve/confine
serve/jobs http confine
serve/models http confine
serve/page http jobs
serve http jobs models page
surgery/calibration
surgery/adapter convert merge vocabulary write
surgery/allocate calibration write
surgery/audit folds patch vocabulary adapter
surgery/convert encoding readers repack scoring write
surgery/encoding
surgery/folds calibration write
surgery/gptq calibration encoding
surgery/layers
surgery/merge calibration
surgery/repack encoding readers scoring write
surgery/readers encoding
surgery/scoring calibration vocabulary
surgery/patch
surgery/vocabulary
surgery/write scoring
verbs/autopsy
verbs/lora
verbs/quantize/codes lora
verbs/quantize/compressed quantize/codes
verbs/quantize/gguf quantize/codes
verbs/quantize/mlx quantize/codes
verbs/quantize quantize/codes quantize/compressed quantize/gguf quantize/mlx
verbs/prune quantize
verbs/evaluate
verbs/fetch
verbs/graft
verbs/inspect
verbs/measure
verbs/orthogonality
verbs/purify
verbs/shrink
verbs/untrusted
verbs/compare
verbs/vocabulary
verbs/patch
verbs/merge quantize
LAW
# Modules with doors: the only headers of a module that other modules may include. The first header describes the module.
cat >"$scratch/doors" <<'LAW'
formats/adapter adapter_config.h
formats/config model_config.h
formats/architecture pairing.h mtp_types.h families.h config_readers.h layer_values.h sizes.h settings.h
formats/gguf file.h typed_values.h
formats/imatrix imatrix.h
formats/towers towers.h
formats/model recognise.h organ_directory.h recognise_lists.h composed.h
formats/names names.h hub_requests.h
formats/patch patch.h delta.h
formats/remote remote.h
formats/safetensors safetensors.h
formats/tensor module_names.h tensor_list.h drafts.h mlx_names.h fused.h
formats/tokenizer tokenizer_files.h kept_tokens.h token_groups.h
formats/weights weight_search.h served.h
forward mixers.h forward_parts.h folds.h drafting.h
kernels table.h elements.h half_floats.h ggml_parts.h
output facts.h head.h inputs.h run_inputs.h output.h cache.h layout.h plan.h publish.h model_settings.h model_card.h model_copy.h hidden_folder.h run_names.h verb_requirements.h
report/blocks blocks.h
report/html page.h
report/svg svg.h
report/schema schema.h
report/text report_text.h
report/view views.h
serve serve.h
serve/confine confine.h
serve/http http.h
serve/jobs jobs.h
serve/models serve_models.h
serve/page serve_page.h
solve algebra.h assign.h correction.h low_rank.h
surgery/adapter adapter.h adapter_rows.h
surgery/allocate allocate.h
surgery/audit audit.h
surgery/calibration calibration.h donor_target.h
surgery/convert convert_across.h
surgery/encoding encoding.h
surgery/folds scaling.h smooth.h
surgery/gptq gptq.h
surgery/layers layer_settings.h
surgery/merge merge_method.h expert_match.h merge_input.h merge_walk.h merge_walk_parts.h moments_fit.h
surgery/patch patch_changes.h patch_digests.h
surgery/readers readers.h
surgery/repack repack.h
surgery/scoring scoring.h
surgery/vocabulary token_tables.h token_settings.h row_layout.h label_head.h draft_head.h new_rows.h
surgery/write write.h
verbs/fetch fetch.h
verbs/inspect inspect_parts.h
verbs/lora repair_adapter.h
verbs/quantize quantize_source.h
verbs/quantize/codes quantize_parts.h
verbs/quantize/compressed quantize_compressed.h
verbs/quantize/gguf quantize_gguf.h
verbs/quantize/mlx quantize_mlx.h
LAW
# The topics of include/organ that hold declarations of a layer: this layer and those above may include them.
cat >"$scratch/topics" <<'LAW'
kernels kernels
formats base models weights tokenizer architecture
machine machine
stream stream
forward forward
report report
surgery options evaluate schemes convert prune merge_methods choices
verbs quantize cut lora organs purify measure inspect merge
LAW
# shellcheck disable=SC2016
awk '
    function room(path) { sub(/\/[^\/]*$/, "", path); sub(/^kernels\/.*/, "kernels", path); sub(/^orchestrator\//, "", path); return path }
    function to_name(path) { sub(/.*\//, "/", path); return path }
    function floor(path) { path = room(path); sub(/\/.*/, "", path); return path }
    FILENAME ~ /floors$/ { known[$1]; for (k = 1; k <= NF; k++) may[$1, $k]; next }
    FILENAME ~ /rooms$/ { for (k = 2; k <= NF; k++) knows[$1, $k == floor($1 "/") ? $k : floor($1 "/") "/" $k]; next }
    FILENAME ~ /topics$/ { for (k = 2; k <= NF; k++) home["<organ/" $k ".h>"] = $1; next }
    FILENAME ~ /doors$/ { doors[$1]; for (k = 2; k <= NF; k++) door[$1 "/" $k]; next }
    {
        file = $0; from = floor(file)
        if (!(file ~ /^(kernels|formats|orchestrator)\//)) next
        if (!(from in known)) { print file ": no law for the folder " from; next }
        for (line = 1; (getline text < file) > 0; line++)
            if (match(text, /^# *include *"[^"]*"/)) {
                split(text, quoted, "\""); to = quoted[2]
                if (!((from, floor(to)) in may)) print file ":" line ": " from " may not include " to
                else if (from == floor(to) && room(file) != room(to) && !((room(file), room(to)) in knows))
                    print file ":" line ": " room(file) " may not include " to
                else if (room(to) in doors && room(file) != room(to) && !((room(to) to_name(to)) in door))
                    print file ":" line ": " to " is no door of " room(to)
            } else if (match(text, /<organ\/.*>/)) {
                to = substr(text, RSTART, RLENGTH)
                if (!(to in home)) print file ":" line ": no law for " to
                else if (!((from, home[to]) in may)) print file ":" line ": " from " may not include " to
            } else if (text ~ /^# *include *<hwloc/ && from != "machine") {
                print file ":" line ": hwloc is used in machine alone"
            } else if (text ~ /^# *include *<sleef/ && from != "kernels") {
                print file ":" line ": SLEEF is used in kernels alone"
            }
        close(file)
    }' "$scratch/floors" "$scratch/rooms" "$scratch/topics" "$scratch/doors" "$scratch/c_files" | check "includes point down only"

# What a second verb needs belongs to surgery. Of the pairs of rooms of verbs, one of which includes the other, so many are allowed:
arrows=3
grep -E '^orchestrator/verbs/' "$scratch/c_files" | xargs -d '\n' grep -HoE '^# *include *"orchestrator/verbs/[a-z_]+/' |
    sed -nE 's,^orchestrator/verbs/([a-z_]+)/.*"orchestrator/verbs/([a-z_]+)/,\1 -> \2,p' | awk '$1 != $3' | sort -u >"$scratch/arrows"
awk -v most=$arrows '{ list = list "\n" $0 } END { if (NR > most) print NR " pairs" list; if (NR < most) print "only " NR " pairs: lower `arrows` to it" }' \
    "$scratch/arrows" | check "at most $arrows pairs of rooms of verbs include each other"

grep -E '^kernels/' "$scratch/c_files" | xargs -r -d '\n' grep -nE '^# *include *<' |
    grep -vE '<(assert|cpuid|float|limits|math|stdalign|stdbool|stddef|stdint|string|sys/auxv|asm/hwcap|organ/kernels|immintrin|arm_neon|sleef)(\.h)?>' |
    check "kernels include only what computes: no allocation, no I/O, no threads"

# shellcheck disable=SC2016
each c_files grep -nE '^# *include *"' | awk -F: '{ split($0, quoted, "\""); if ((getline line < quoted[2]) < 0) print; close(quoted[2]) }' |
    check "include paths are written from the root"

# What members of config.json mean is in formats/architecture and formats/config. Few other files need this one: the public structure, the view and the conversion.
{ grep -E '^(kernels|formats|orchestrator|include)/' "$scratch/files" | grep -vE '^formats/(architecture|config)/' | xargs -d '\n' grep -l num_key_value_heads |
    tail -n +5; } | check "at most 4 files outside formats/architecture and formats/config name a member of config.json such as num_key_value_heads"

# orchestrator/surgery/layers/organ_settings.h has config.json and the key-values of GGUF files behind one name for each setting. Keys of other groups are no
# settings of an architecture.
grep -E '^orchestrator/verbs/' "$scratch/c_files" | xargs -d '\n' grep -nE 'organ_gguf_(integer|real|writer_set_(integer|number|array))\(' |
    grep -vE '"(general|tokenizer|quantize|split)\.' | check "verbs read and set settings of GGUF files by organ_settings"

# What an option needs is a row of requirements; only what the model or a value decides has a message of its own.
grep -E '^orchestrator/' "$scratch/c_files" | xargs -d '\n' grep -nE '"[^"]*\b(has|have) no meaning' |
    grep -vE '^[^:]*:[0-9]+: */\*' | tail -n +10 | check "at most 9 messages that an option has no meaning stand outside formats/base/requirements.c"

# What is described once: a word in quotes, and the source with its table.
while read -r word home; do
    grep -E '^(kernels|formats|orchestrator|include)/' "$scratch/c_files" | xargs -d '\n' grep -lE "\"$word\"" | grep -vxF "$home" | sed "s/\$/: $word is described in ${home//\//\\/}/"
done <<'LAW' | check "lists of modules without quantisation and sections that hold them are named in one source"
modules_to_not_convert formats/base/quant_sections.c
ignored_layers formats/base/quant_sections.c
compression_config formats/base/quant_sections.c
LAW

# Pages, tables and scripts name sources by their path. Placeholders such as NAME are capitals; the changelog tells of old files.
# shellcheck disable=SC2016
grep -E '\.(md|tsv|sh|py|ninja)$' "$scratch/files" | grep -vE '^(CHANGELOG\.md|tests/(check_house|check_trials|new_verb|trials/new_[a-z_]+)\.sh)$' |
    xargs -d '\n' grep -noE '(^|[^A-Za-z0-9_/.-])(kernels|formats|orchestrator)/[A-Za-z0-9_/]+\.[ch]\b' |
    sed -E 's/^([^:]*:[0-9]+:)[^kfo]?/\1/' | while IFS=: read -r file line path; do
        [[ -f $path || $path == *NAME* || $path == */*_.[ch] ]] || echo "$file:$line: $path"
    done | check "the sources that pages, tables and scripts name are there"

# The tables of this script name what is there.
{
    awk '{ print $1 }' "$scratch/rooms" "$scratch/doors"
    awk '{ room = $1; sub(/\/.*/, "", room); for (k = 2; k <= NF; k++) print $k == room ? room : room "/" $k }' "$scratch/rooms" | sort -u
} | while read -r room; do [[ -d $room || -d orchestrator/$room ]] || echo "$room: no such folder"; done |
    check "the tables of rooms and doors name folders"
awk '{ for (k = 2; k <= NF; k++) print $1 "/" $k }' "$scratch/doors" | while read -r door; do
    [[ -f $door || -f orchestrator/$door ]] || compgen -G "${door%%/*}/**/${door##*/}" >/dev/null || echo "$door: no such header"
done | check "the table of doors names headers"

grep -E '^(kernels|formats|orchestrator)/' "$scratch/code" | grep -vE '^orchestrator/(cli|serve)/' |
    grep -E '\b(v?printf|puts|putchar|perror|psignal|v?warnx?|v?errx?) *\(|\b(stdout|stderr|STDOUT_FILENO|STDERR_FILENO)\b' |
    check "only cli and serve print"

grep -E '^(formats|orchestrator)/' "$scratch/code" | grep -v '^formats/base/memory_watch\.c:' |
    grep -E '\bjson_load(s|b|f|fd|_file|_callback) *\(' | check "JSON is read by organ_json_load, which survives a lack of memory"
grep -E '^orchestrator/' "$scratch/code" | grep -vE '^orchestrator/(machine|stream)/' |
    grep -E '\borgan_workers_(run|start) *\(' | check "work in numbered parts runs by organ_parts_run or organ_share"
# A call is searched up to its end, a string with a conversion such as %.*g or %a in it.
# shellcheck disable=SC2016 # $ is PCRE's
number='\b(?:(?:strto(?:d|f|ld)|atof|v[sfa]?n?s?printf|json_v?sprintf)\(|(?:sn?printf|[fd]?printf|asprintf)\((?:[^";]|"(?:[^"\\]|\\.)*")*"(?:[^"\\%]|\\.|%[^aefgAEFG])*%[-+ #0-9.*]*[lL]?[aefgAEFG])'
grep -E '^(formats|kernels|orchestrator)/' "$scratch/c_files" | grep -v '/plain_numbers\.[ch]$' | xargs -d '\n' grep -Pzl "$number" |
    check "real numbers are read and written by plain_numbers.h, whatever the locale"

# ---- build files ----
# Lists the programs of suites. Programs named *_long take hours or minutes; a separate target runs each.
test_programs() { sed -nE 's,^build build/tests/([^ :]+): .*,\1,p' tests/build.ninja | grep -v '_long$'; }
# objects: reads sources and prints a build statement for each, with what packaging/source_flags.tsv says of it: `isas`, for which instruction sets it is
# compiled; `needs`, shell patterns of files that it includes; or a variable of the rule, for a source or for all of a folder. Objects of tests are
# in build/objects, because build/tests/NAME is the program of a suite.
objects() {
    # shellcheck disable=SC2016 # $0 is awk's
    awk -F '\t' '
        FILENAME != "-" && /^#/ { next }
        FILENAME != "-" && $2 == "isas" { isas[$1] = $3; next }
        FILENAME != "-" && $2 == "needs" {
            needs[$1] = " |"
            command = "printf \"%s\\n\" " $3
            while ((command | getline file) > 0) needs[$1] = needs[$1] " " file
            next
        }
        FILENAME != "-" { variables[$1] = variables[$1] "\n  " $2 " = " $3; next }
        $0 in isas {
            name = $0
            gsub(/^.*\/|\.c$/, "", name)
            for (k = 1; k <= split(isas[$0], isa, " "); k++) {
                same = isa[k] == "scalar"
                print "build build/kernels/" (name ~ /^isa_/ ? name : isa[k] "_" name) ".o: cc_table " $0 (isa[k] ~ /^(scalar|nofma)$/ || name ~ /^isa_/ ? "" : " | $header_of_" isa[k])
                print "  extra = $of_" isa[k] "\n  tables = " (same ? "$tables_of_scalar" : "$$TABLES") "\n  last = " (same ? "$last_of_scalar" : "$$CFLAGS_SIMD")
            }
            next
        }
        {
            object = "build/" (/^tests\// ? "objects/" : "") $0
            sub(/c$/, "o", object)
            folder = $0
            while (!(folder in variables) && sub(/[^\/]+\/?$/, "", folder)) { }
            print "build " object ": cc " $0 needs[$0] variables[folder]
        }' packaging/source_flags.tsv -
}
# archived NAME PATTERN: prints the build line of the archive with the objects that match the pattern.
archived() { sed -nE 's,^build (build/[^ ]*\.o): .*,\1,p' "$scratch/object_list" | grep -P "$2" | sed -E -e 's,.*,  & $,' -e '$s/ \$$//' -e "1i build build/$1.a: ar \$"; }
# programs_of NAME PATTERN: the phony target NAME of the programs whose "TIER,TREE,TREE," in tests/suites.tsv has the pattern.
programs_of() {
    awk -F '\t' -v name="$1" -v pattern="$2" '
        NR == FNR { program[$1]; next }
        $1 in program && $3 "," $2 "," ~ pattern { list = list " $\n  build/tests/" $1 }
        END { print "build " name ": phony tools" list }' "$scratch/programs" tests/suites.tsv
}
source_list() {
    local tree
    echo "# tests/check_house.sh --write makes this file: objects, archives, and the programs that the suites of each tree run."
    # Sources that a build file names have their rule there.
    grep -E '^(kernels|formats|orchestrator|tests)/.*\.c$' "$scratch/c_files" | LC_ALL=C sort |
        grep -vxFf <(sed -nE 's/^build [^:]*: [a-z_]+ ([^|]*).*/\1/p' build.ninja tests/build.ninja | tr ' ' '\n' | grep '\.c$') | tee "$scratch/listed" |
        objects | tee "$scratch/object_list"
    archived kernels '^build/kernels/'
    archived liborgan '^build/(kernels|formats|orchestrator/(forward|machine|output|ranks|report|solve|stream|surgery|verbs))/'
    archived serve '^build/orchestrator/(serve|command)/'
    archived cli '^build/orchestrator/cli/(?!main\.o)'
    test_programs >"$scratch/programs"
    programs_of programs .
    programs_of programs-quick '^quick,'
    programs_of programs-complete ',(native|complete),'
    programs_of programs-whole ',(sanitize|whole),'
    programs_of programs-neon-whole ',neon(-whole)?,'
    for tree in native sanitize neon threads; do programs_of "programs-$tree" ",$tree,"; done
}
source_list >"$scratch/expected"
if ! diff -q packaging/sources.ninja "$scratch/expected" >/dev/null 2>&1; then
    if $write; then cp "$scratch/expected" packaging/sources.ninja && echo "written: packaging/sources.ninja" >&2; else echo "tests/check_house.sh --write updates it"; fi
fi | check "packaging/sources.ninja lists all sources"
cut -f 1 packaging/source_flags.tsv | grep -v '^#' | grep -vxFf <(sed -E 'p;:up;s,[^/]+/?$,,;/./{p;bup}' "$scratch/listed") | check "packaging/source_flags.tsv names sources that exist"
while read -r file; do grep -qE ": (cc|preload|mpi) $file( |\$)" build.ninja bench/build.ninja || echo "$file"; done \
    < <(grep -E '^(bench|docs)/.*\.c$' "$scratch/c_files") | check "build files name every .c"
# Benchmarks only measure; targets with other names change pages.
awk '/^build bench/ { target = $2 } /^build [^b]/ { target = "" } target != "" && /docs\/make_/ { print "bench/build.ninja: " target " changes a page" }' bench/build.ninja |
    check "no benchmark changes a page of docs"

# ---- circles ----
# peel: reads edges "FROM TO" and removes files without a caller or without a callee until none is left; the remaining edges form circles.
peel() {
    # shellcheck disable=SC2016
    sort -u | awk '
        { from[NR] = $1; to[NR] = $2 }
        END {
            do {
                delete calls; delete called; gone = 0
                for (k in from) { calls[from[k]]; called[to[k]] }
                for (k in from) if (!(from[k] in called) || !(to[k] in calls)) { delete from[k]; delete to[k]; gone = 1 }
            } while (gone)
            for (k in from) print from[k] " -> " to[k]
        }' | sort
}

# Lists the objects with their sources, and for each object the symbols that it uses from other objects.
sed -nE 's,^build (build/[^:]*\.o): [a-z_]+ ((kernels|formats|orchestrator)/[^ ]*).*,\1 \2,p' packaging/sources.ninja >"$scratch/objects"
# shellcheck disable=SC2016
cut -d' ' -f1 "$scratch/objects" | xargs nm -A -g 2>&1 | awk '
    FILENAME == "-" { split($1, at, ":"); if ($(NF - 1) == "U") uses[at[1], $NF]; else if (NF > 2) home[$NF] = at[1]; else print; next }
    { source[$1] = $2 }
    END {
        for (use in uses) {
            split(use, part, SUBSEP)
            if (part[2] in home && home[part[2]] != part[1]) print source[part[1]], source[home[part[2]]]
        }
    }' "$scratch/objects" - | sort -u >"$scratch/calls"
peel <"$scratch/calls" | check "no files call each other in a circle"
# An include of a public header shows its floor, not which room defines what it declares: the calls show that.
# shellcheck disable=SC2016
awk '
    function floor(path) { sub(/^orchestrator\//, "", path); sub(/\/.*/, "", path); return path }
    FILENAME ~ /floors$/ { for (k = 1; k <= NF; k++) may[$1, $k]; next }
    !((floor($1), floor($2)) in may) { print $1 " calls " $2 }' "$scratch/floors" "$scratch/calls" | check "calls point down only"
# Files of quantize on floors: a file is on the floor above the highest one that it calls.
# shellcheck disable=SC2016
floors_of() {
    awk -v most="$1" '
        { from[NR] = $1; to[NR] = $2 }
        END {
            for (k in from) floor[from[k]] = floor[to[k]] = 1
            do {
                rises = 0
                for (k in from) if (floor[from[k]] <= floor[to[k]] && floor[to[k]] < 100) { floor[from[k]] = floor[to[k]] + 1; rises = 1 }
            } while (rises)
            for (file in floor) if (floor[file] > most) print file " is on floor " floor[file]
        }'
}
printf 'a b\nb c\na c\n' | floors_of 2 | diff - <(echo 'a is on floor 3') | check "the check of floors finds them"
grep -E '^[^ ]*/verbs/quantize/[^ ]* [^ ]*/verbs/quantize/' "$scratch/calls" | floors_of 8 | check "files of quantize call each other over 8 floors at most"
# forward/mixers is a part of forward.
sed -E 's,/[^/ ]*( |$),\1,g; s,forward/mixers,forward,g' "$scratch/calls" | awk '$1 != $2' | peel | check "no rooms call each other in a circle"

grep -E '^(kernels|formats|orchestrator)/.*\.h$' "$scratch/c_files" | xargs -d '\n' grep -HE '^# *include *"' | sed -E 's/^([^:]*):.*"(.*)".*/\1 \2/' | peel |
    check "no headers include each other in a circle"

# ---- files ----
# With pipefail, piping COMMAND into grep -q fails if grep exits first and SIGPIPE ends COMMAND. Write `grep -q X < <(COMMAND)`.
each sources grep -nE '[^|]\| *(e|f)?grep -[A-Za-z]*q' /dev/null | grep '\.sh:' | check "no script pipes into grep -q"

# shellcheck disable=SC2016
each sources awk 'FNR <= 2 && /SPDX-License-Identifier: (MIT|BSL-1.0)/ && (FNR == 1 || FILENAME ~ /\.sh$/) { marked[FILENAME] }
    END { for (k = 1; k < ARGC; k++) if (!(ARGV[k] in marked)) print ARGV[k] }' | check "every source begins with its SPDX line"

each c_files grep -hoE '^#ifndef ORGAN_[A-Z0-9_]+_H$' | sort | uniq -d | check "every header has a guard of its own"

each c_files wc -l | awk '$2 != "total" && $1 > 600 { print $2 ": " $1 " lines" }' | check "no file of C has more than 600 lines"

# Expected results that scripts compute are tables, which samples_read of tests/kit reads.
each c_files grep -lE '^ \* (Written|Made) by fixtures/|clang-format off' | grep -E '^tests/.*\.h$' | check "no header of the tests is data that a script writes"
LC_ALL=C.UTF-8 each c_files grep -nE '^.{121}' | cut -c -120 | check "no line of C is wider than 120 columns"

# long_sections FILE: prints the sections of a changelog that have more than 150 lines, headings and blank lines included.
long_sections() {
    awk '
        function close_section() { if (count > 150) print section ": " count " lines" }
        /^## / { close_section(); section = substr($0, 4); count = 0 }
        section != "" { count++ }
        END { close_section() }' "$1"
}
# It finds the one that is too long in a sample, and counts no line of the introduction.
{ seq 151; echo "## Unreleased"; seq 149; echo "## 0.2.0 - 2026-11-22"; seq 150; echo "## 0.1.0"; } >"$scratch/sections"
long_sections "$scratch/sections" | diff - <(echo "0.2.0 - 2026-11-22: 151 lines") | check "the check of sections finds those with more than 150 lines"
long_sections CHANGELOG.md | check "no section of CHANGELOG.md has more than 150 lines"

sed -E 's,/[^/]*$,,' "$scratch/files" | sort | uniq -c | awk '$1 > 60 { print $2 ": " $1 " files" }' |
    check "no folder has more than 60 files"

# A page may name a header by the end of its path, `stream.h` or `<organ/stream.h>`. The changelog names former ones.
grep '\.md$' "$scratch/files" | grep -vx CHANGELOG.md >"$scratch/pages"
# shellcheck disable=SC2016
each pages grep -noE '`<?[a-z0-9_/]+\.h>?`' | tr -d '`<>' | awk -F: '
    NR == FNR { for (path = $0; path ~ /\.h$/; path = substr(path, at + 1)) { there[path]; if (!(at = index(path, "/"))) break }; next }
    !($3 in there) { print $1 ":" $2 ": " $3 }' "$scratch/files" - | check "pages name headers that exist"

# Fixtures that ninja makes from others (tests/build.ninja) are in .gitignore and do not count.
grep '^fixtures/' "$scratch/files" | xargs -d '\n' stat -c %s |
    awk '{ bytes += $1 } END { if (bytes == 0 || bytes > 57 * 2^20) print "the fixtures have " bytes + 0 " bytes" }' |
    check "all fixtures together have at most 57 MiB"

# The sessions of the docs and the tests write elsewhere, so the root may contain nothing else.
grep -v / "$scratch/files" | grep -vxE '\.(clang-format|editorconfig|git-blame-ignore-revs|gitignore)|(CHANGELOG|CONTRIBUTING|README|SECURITY)\.md|LICENSE|CITATION\.cff|build\.ninja' |
    check "the root has no file that does not belong there"

# The folders of tests are those of the sources and the shared kits, so that the path of a source gives the path of its test.
sed -nE 's,^tests/(.*)/[^/]*\.c$,\1,p' "$scratch/c_files" | sort -u | while read -r folder; do
    [[ $folder =~ ^(kit|faults|fuzz|include)$ || -d $folder || -d orchestrator/$folder ]] || echo "tests/$folder: no such folder of the sources"
done | check "the tests mirror the tree"

each sources grep -nE '[[:blank:]]$' | check "no blanks at the end of a line"
each c_files grep -n "$(printf '\t')" | check "no tabs in C"

each files grep -nIE '/(work|root|home)/' | cut -c -160 | check "no file names a path of somebody's machine"

# ---- names ----
# A debugger finds a line by the file's name alone.
grep -v '^tests/trials/' "$scratch/c_files" | sed 's,.*/,,' | LC_ALL=C sort | uniq -d | check "the names of C files differ"

# A type name is defined once. The vector types of kernels/simd have a definition for each instruction set.
grep -vE '^(tests|bench|docs|kernels/simd)/' "$scratch/c_files" >"$scratch/own_files"
# shellcheck disable=SC2016 # $0 is awk's
each own_files awk '
    match($0, /^(typedef )?(struct|union|enum) [a-z0-9_]+ \{/) || (match($0, /^} [a-z0-9_]+;/) && !/^} while/) {
        name = $0; sub(/ \{.*/, "", name); sub(/^(typedef )?(struct|union|enum) |^} /, "", name); sub(/;.*/, "", name)
        if (!((name, FILENAME) in met)) { met[name, FILENAME]; files[name] = files[name] " " FILENAME; count[name]++ }
    }
    END { for (name in count) if (count[name] > 1) print name ":" files[name] }' | sort | check "no type name is defined in two files"
# ---- static names, literal arguments, headings ----
# repeated_names RESERVED: reads code as FILE:LINE:TEXT and prints static names that begin with the words of their room and two or more others, or with
# the words of their file's name of several words, if the other words are a name that is free in the file. RESERVED lists names that are not free.
repeated_names() {
    awk -v reserved="$1" '
        BEGIN { while ((getline word < reserved) > 0) taken[word] }
        {
            match($0, /^[^:]*:[0-9]+:/); place = substr($0, 1, RLENGTH - 1); text = substr($0, RLENGTH + 1)
            file = place; sub(/:.*/, "", file)
            for (rest = text; match(rest, /[A-Za-z_][A-Za-z0-9_]*/); rest = substr(rest, RSTART + RLENGTH))
                used[file, substr(rest, RSTART, RLENGTH)]
            name = text
            if (text ~ /^static / && text !~ /[=([{;]/) { began = 1; next } # the name is in the next line
            if (text ~ /^static / || text ~ /^} [a-z0-9_]+(\[| =)/ || (began && text ~ /^\*?[a-z0-9_]+\(/)) {
                sub(/ *[=([{;].*/, "", name); sub(/.*[ *]/, "", name)
                at[file, name] = place
            }
            began = 0
        }
        # after(NAME, PREFIX): what follows PREFIX and an underscore in NAME, or "".
        function after(name, prefix) { return index(name, prefix "_") == 1 ? substr(name, length(prefix) + 2) : "" }
        END {
            for (key in at) {
                split(key, part, SUBSEP); count = split(part[1], path, "/")
                stem = path[count]; sub(/\.c$/, "", stem)
                short = stem ~ /_/ ? after(part[2], stem) : ""
                if (short == "" && after(part[2], path[count - 1]) ~ /_/) short = after(part[2], path[count - 1])
                if (short != "" && !((part[1], short) in used) && !(short in taken)) print at[key] ": " part[2] " can be " short
            }
        }' | sort
}
# bare_booleans: reads code as FILE:LINE:TEXT and prints calls with an argument true or false without the name of its parameter. Functions named flag
# read one with a default.
bare_booleans() {
    awk '
        # callee(TEXT, END): the function in whose arguments the position is; "" if it is in other brackets.
        function callee(text, end, depth, k, c) {
            for (k = end; k > 0; k--) {
                c = substr(text, k, 1)
                if (c ~ /[])}]/) depth++
                else if (c ~ /[[({]/ && depth-- == 0) {
                    text = c == "(" ? substr(text, 1, k - 1) : ""
                    return match(text, /[A-Za-z0-9_]+$/) ? substr(text, RSTART) : ""
                }
            }
            return ""
        }
        {
            match($0, /^[^:]*:[0-9]+:/); place = substr($0, 1, RLENGTH - 1); text = substr($0, RLENGTH + 1)
            if (statement == "") first = place
            statement = statement text
            if (text !~ /[;{}]$/) next
            for (end = 0; match(substr(statement, end + 1), /[(,] *(true|false) *[,)]/); ) {
                end += RSTART
                name = callee(statement, substr(statement, end, 1) == "(" ? end : end - 1)
                if (name ~ /^[a-z]/ && name !~ /flag|^mem(set|chr)$|^(if|while|switch|return|sizeof)$/) print first ": " name
            }
            statement = ""
        }'
}
# floating_comments FILE...: prints comments after the first definition that a blank line follows, if they do not follow a heading.
floating_comments() {
    awk '
        FNR == 1 { code = heading = inside = 0; ended = "" }
        ended != "" { if (/^$/) print ended; ended = "" }
        /^\/\*/ && !inside { inside = 1; begin = FILENAME ":" FNR ": " $0; apart = /^\/\* (----|clang-format)/ }
        inside { if (/\*\/$/) { inside = 0; if (code && !heading && !apart) ended = begin; heading = /---- \*\/$/ }; next }
        /^#/ || /^$/ { next }
        { code = 1; heading = 0 }' "$@"
}
# Each of the three finds what it is for in a sample, and nothing else.
mkdir -p "$scratch/sample/room" && cat >"$scratch/sample/room/two_words.c" <<'SAMPLE'
static int x;

/* A group of functions. */

/* Of one function. */
static bool room_read_row(int a, bool b);
static int room_row = 1;
static int two_words_size = 2;
static int room_other_row = 4, other_row = 3;
/* ---- a heading ---- */

/* A comment on what follows. */

static int room_take_all(void) { return read_rows(1, true, 2) + get_flag(1, true) + read_rows(1, /*b=*/false, x ? (x) : 3); }
SAMPLE
printf 'take_all\n' >"$scratch/sample/reserved"
(
    cd "$scratch/sample" && floating_comments room/two_words.c
    grep -nE '^[^/]' room/two_words.c | sed 's,^,room/two_words.c:,' >code
    bare_booleans <code
    repeated_names reserved <code
) | diff - <(printf 'room/two_words.c:%s\n' '3: /* A group of functions. */' '14: read_rows' '6: room_read_row can be read_row' '8: two_words_size can be size') |
    check "the checks of names, arguments and headings find what they are for"

grep -E '^(kernels|formats|orchestrator)/.*\.c:' "$scratch/code" >"$scratch/product_code"
# Names that are not free: keywords, names and macros of the system headers that sources include, types and macros of the project.
{
    echo auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return short signed \
        sizeof static struct switch typedef union unsigned void volatile while | tr ' ' '\n'
    for option in -E -dM; do
        sed -nE 's,^[^:]*:[0-9]+:# *include *(<[a-z_/0-9]+\.h>).*,\1,p' "$scratch/product_code" | grep -v '<organ/' | sort -u |
            sed 's,.*,#if __has_include(&)\n#include &\n#endif,' | ${CC:-cc} -D_GNU_SOURCE $option -E -P - 2>/dev/null | grep -oE '[A-Za-z_][A-Za-z0-9_]*'
    done
    sed -nE -e 's,^[^:]*:[0-9]+:# *define ([A-Za-z0-9_]+).*,\1,p' -e 's,^[^:]*:[0-9]+:\} ([a-z0-9_]+);$,\1,p' \
        -e 's,^[^:]*:[0-9]+:(typedef )?(struct|union|enum) ([a-z0-9_]+).*,\3,p' "$scratch/code"
} | sort -u >"$scratch/reserved"
repeated_names "$scratch/reserved" <"$scratch/product_code" | check "static names do not repeat the name of their room"
bare_booleans <"$scratch/product_code" | check "arguments true and false state the name of the parameter"
grep -E '^(kernels|formats|orchestrator)/' "$scratch/c_files" | xargs -d '\n' bash -c "$(declare -f floating_comments); floating_comments \"\$@\"" - |
    check "a comment on several functions stands below a heading"

# ---- includes that a source does not use ----
# A source uses a name that each header it includes declares, unless a comment beside the include says why it is there. The header of a room may stand for
# the room's others, and views.h makes names by a macro. <stddef.h> declares only what other headers declare, too.
# unused_includes CODE INCLUDES: prints FILE:LINE: HEADER for each include that is not used; both files have lines FILE:LINE:TEXT.
unused_includes() {
    sed -nE 's,^[^:]*:[0-9]+:# *include *<([a-z_/0-9]+\.h)>.*,\1,p' "$2" | grep -vE "^(organ|mpi|arm_|immintrin|sys/prctl|stddef)" | sort -u | while read -r header; do
        echo "#include <$header>" | ${CC:-cc} -D_GNU_SOURCE -E -dD -P - 2>/dev/null | grep -oE '^#define [A-Za-z_0-9]+|[A-Za-z_0-9]+ ?\(|[A-Za-z_0-9]+;$|(struct|union|enum) [a-z_0-9]+|^  [A-Z_0-9]+\b|\bstd(in|out|err)\b' |
            sed -E -e 's/ ?\(|;$//' -e 's/^.* //' -e "s,^,$header ," | sort -u
    done >"$scratch/system_names"
    awk '
        BEGIN {
            split("auto break case char const continue default do double else enum extern float for goto if int long register return short signed sizeof " \
                "static struct switch typedef union unsigned void volatile while defined __attribute__ size_t ssize_t off_t NULL name alias", list, " ")
            for (k in list) common[list[k]]
        }
        function note(header, name) { if (!(name in common) && length(name) > 2) names[header] = names[header] " " name }
        function room(path) { sub(/\/[^\/]*$/, "", path); return path }
        # named(FILE, HEADER, DEEP): whether the source uses a name of the header.
        function named(file, header, deep, list, count, k) {
            count = split(names[header], list, " ")
            for (k = 1; k <= count; k++) if ((file, list[k]) in used) return 1
            count = deep ? split(opens[header], list, " ") : 0
            for (k = 1; k <= count; k++) if (named(file, list[k], deep - 1)) return 1
            return 0
        }
        FILENAME ~ /system_names$/ { note($1, $2); next }
        includes {
            match($0, /^[^:]*:[0-9]+:/); place = substr($0, 1, RLENGTH - 1); file = place; sub(/:.*/, "", file)
            header = $2; gsub(/[<>"]/, "", header)
            if (header ~ /^organ\//) header = "include/" header
            if (file ~ /\.h$/ && room(file) == room(header)) opens[file] = opens[file] " " header
            if (file ~ /\.c$/ && room(file) != room(header) && header !~ /\/views\.h$/ && !/\/\*/) { asked[++count] = place; of[count] = header }
            next
        }
        {
            match($0, /^[^:]*:[0-9]+:/); file = substr($0, 1, RLENGTH - 1); sub(/:.*/, "", file); text = substr($0, RLENGTH + 1)
            if (file ~ /\.c$/ && text ~ /^# *include/) next
            declares = file ~ /\.h$/
            for (before = ""; match(text, /[A-Za-z_][A-Za-z0-9_]*/); before = name) {
                name = substr(text, RSTART, RLENGTH); lead = substr(text, 1, RSTART - 1); text = substr(text, RSTART + RLENGTH)
                if (!declares) used[file, name]
                else if (before ~ /^(define|struct|union|enum)$/ || text ~ /^ *[(;[=]/ || text ~ /^\) *\(/ || lead ~ /^ *} *$/ || (name ~ /^[A-Z][A-Z0-9_]+$/ && lead ~ /^ *$|[{,] *$/ && text ~ /^ *([,}=(]|$)/)) note(file, name)
            }
        }
        END { for (k = 1; k <= count; k++) if (names[of[k]] != "" && !named(substr(asked[k], 1, index(asked[k], ":") - 1), of[k], 2)) print asked[k] ": " of[k] }
    ' "$scratch/system_names" includes=1 "$2" includes=0 "$1"
}

# It finds the includes of a sample that are not used, and only these.
mkdir -p "$scratch/used/room" && cat >"$scratch/used/includes" <<'SAMPLE'
room/a.c:1:#include "other/one.h"
room/a.c:2:#include "other/two.h"
room/a.c:3:#include "other/three.h" /* members of its type */
room/a.c:4:#include <errno.h>
room/a.c:5:#include <string.h>
SAMPLE
cat >"$scratch/used/code" <<'SAMPLE'
room/a.c:9:static int at(const char *text) { return two_sum(strlen(text)); }
other/one.h:3:int one_sum(int text);
other/two.h:3:int two_sum(int text);
other/three.h:3:int three_sum(int text);
SAMPLE
unused_includes "$scratch/used/code" "$scratch/used/includes" | diff - <(printf 'room/a.c:%s\n' '1: other/one.h' '4: errno.h') |
    check "the check of includes finds those that are not used"
grep -E '^(formats|orchestrator|include)/' "$scratch/c_files" | xargs -d '\n' grep -nE '^# *include' >"$scratch/includes"
unused_includes <(grep -E '^(formats|orchestrator|include|kernels)/' "$scratch/code") "$scratch/includes" | check "a source uses each header that it includes"

# ---- ranks ----
# The rooms that write models, iterate over matrices and store measured values divide work among ranks. Of the files of verbs only these do so too;
# each gives the reason in a comment that begins with "Ranks:".
cat >"$scratch/ranks" <<'LAW'
evaluate/collect_imatrix.c
evaluate/merge_imatrices.c
inspect/machine_plan.c
measure/fleet.c
measure/fleet_parts.c
measure/measure.c
merge/merge_models.c
merge/merge_verb.c
prune/allocation.c
prune/prune_units.c
prune/sparsegpt.c
prune/tiles.c
quantize/gguf/quantize_costs.c
quantize/quantize_sizes.c
quantize/quantize_source.c
shrink/choices.c
shrink/cut.c
shrink/measure_scores.c
shrink/patterns.c
shrink/predict.c
shrink/width.c
vocabulary/vocabulary_add.c
vocabulary/vocabulary_draft.c
vocabulary/vocabulary_trim.c
LAW
grep -E '^orchestrator/(surgery|verbs)/' "$scratch/code" | grep -E '\borgan_ranks_[a-z_]+ *\(' | cut -d: -f1 | grep '\.c$' |
    grep -vE '^orchestrator/surgery/' | LC_ALL=C sort -u >"$scratch/dividing"
sed 's,^orchestrator/verbs/,,' "$scratch/dividing" | LC_ALL=C comm -23 - "$scratch/ranks" | check "verbs leave ranks to the rooms that they call"
    xargs -r grep -L 'Ranks: ' | check "a file that divides work among ranks says why"

grep -E '^orchestrator/(surgery|verbs)/' "$scratch/code" | grep -E '\borgan_memory_work_(begin|end) *\('  |
    check "verbs begin and end their work with organ_report_begin and organ_report_end"

# ---- buffers ----
# other_allocations: reads code as FILE:LINE:TEXT and prints allocations of memory that no organ_buffers has. Rows of tensors (organ_rows_take) may be in a
# file, and strings are freed by those who get them.
other_allocations() { grep -E '\b(malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|memalign|alloca|mmap|organ_floats|organ_zero_doubles|organ_grow|organ_arena_take|[a-z_]*aligned_alloc) *\('; }
other_allocations <<'SAMPLE' | cut -d: -f2 | paste -sd ' ' | diff - <(echo '1 2 4') | check "the check of allocations finds them"
a.c:1:    float *const x = malloc(n);
a.c:2:    x->a = organ_floats (n, 1);
a.c:3:    x->a = organ_take_floats(b, n, 1);
a.c:4:    x->b = organ_calibration_aligned_alloc(n);
a.c:5:    organ_rows_take(n, 4);
SAMPLE
grep -E '^orchestrator/(solve|verbs/prune)/' "$scratch/code" | other_allocations | check "solve and prune take memory by layouts (machine/buffers.h)"

# ---- conditional expressions ----
# A `?:` inside another one has to become an if, a switch or a table.
# shellcheck disable=SC2016 # $0 is awk's
awk '
    {
        match($0, /^[^:]*:[0-9]+:/); place = substr($0, 1, RLENGTH); text = substr($0, RLENGTH + 1)
        split(place, part, ":")
        if (part[1] != file) { file = part[1]; depth = 0; open[0] = 0; before = "" }
        if (text ~ /^#/) next
        for (k = 1; k <= length(text); k++) {
            c = substr(text, k, 1)
            if (c == " ") continue
            if (c == "?" && open[depth]++) print place text
            # Arguments and indices are expressions of their own; other brackets belong to the expression around them.
            if (c == "(" || c == "[") { depth++; open[depth] = c == "(" && before !~ /[A-Za-z0-9_)\]]/ ? open[depth - 1] : 0 }
            else if ((c == ")" || c == "]") && depth) depth--
            else if (c == ",") open[depth] = 0
            else if (c ~ /[;{}]/) { open[depth] = 0; if (c != ";") { depth = 0; open[0] = 0 } }
            before = c
        }
    }' "$scratch/code" | check "no conditional expression in another"

# ---- tests/suites.tsv ----
# Lists the suites that exist: test programs and scripts.
existing_suites() {
    test_programs
    sed -nE 's,^tests/(.*/)?check_([a-z0-9_]+)\.sh$,\2,p' "$scratch/files"
}
grep -v '^#' tests/suites.tsv | cut -f 1 | diff - <(existing_suites | LC_ALL=C sort) | grep '^[<>]' | check "tests/suites.tsv has a row for each suite, in order"
grep -vnP '^#|^[a-z0-9_]+\t((native|complete|sanitize|whole|neon|neon-whole|threads)(,(?=[a-z])|(?=\t)))+\t(quick|full)\t(-|alone)\t[1-9][0-9]*$' tests/suites.tsv |
    check "tests/suites.tsv names trees, tier, exclusive and cost"

# ---- the library ----
# Compiles each public header in a copy of the public headers. A header that includes a private one, or needs another one before it, fails.
public=$(variable public_headers)
# Flags for hardening and for paths in debug information do not matter here.
flags=$(variable flags | sed -E 's/ \$[a-z]+//g')
for header in $public; do install -D -m 644 "$header" "$scratch/include/$header"; done 2>&1 | check "the public headers are there"
for header in $public; do
    # shellcheck disable=SC2086 # a list of options
    (cd "$scratch/include" && ${CC:-cc} $flags -fsyntax-only -x c "$header" 2>&1) || echo "$header: does not compile"
done | check "every public header compiles alone"
grep -E "^include/" "$scratch/files" | sort | diff - <(tr ' ' '\n' <<<"$public" | sort) | check "build.ninja names the files of include"
grep -v '/organ\.h$' < <(grep '^include/' "$scratch/files") | sed 's,^include/\(.*\),#include <\1>,' | sort |
    diff - <(grep '^#include' include/organ/organ.h | sort) | check "organ.h includes every topic"
# Comments name functions, types and files that exist. A name in quotes is text. sleef.h and so on are of libraries and of the system.
grep -oE '\borgan_[a-z0-9_]*[a-z0-9]\b' "$scratch/code" | sed 's/.*://' | sort -u >"$scratch/in_code"
each c_files grep -ohE '\borgan_[a-z0-9_]*[a-z0-9]\b([^A-Za-z_*]|$)' | grep -oE '^[a-z0-9_]+' | sort -u | comm -23 - "$scratch/in_code" >"$scratch/only_named"
each c_files grep -nwFf "$scratch/only_named" | grep -vE '"[^"]*organ_[^"]*"|organ_[a-z0-9_]*##' | check "comments name functions and types that exist"
each c_files grep -nE '^( \*|/\*|.* /\*).*\b[a-z][a-z0-9_]*\.[ch]\b' | grep -vE '#include|"[^"]*\.[ch]"' |
    grep -oE '^[^:]*:[0-9]+:|[a-z][a-z0-9_]*\.[ch]\b' | awk -v list="$scratch/files" '
        BEGIN { while ((getline path < list) > 0) { sub(/.*\//, "", path); known[path] } }
        /:$/ { at = $0; next }
        !($0 in known) && $0 !~ /^(..?|sleef[a-z]*|prctl|landlock|daemon)\.[ch]$/ { print at " " $0 }' | check "comments name files that exist"

# Users have no other files, so comments of public headers name what these headers declare.
grep '^include/' "$scratch/code" | grep -oE '\b(organ|ORGAN)_[A-Za-z0-9_]+' | sort -u >"$scratch/declared"
grep -ohE '\b(organ|ORGAN)_[A-Za-z0-9_]+' include/organ/*.h | sort -u | comm -23 - "$scratch/declared" |
    while read -r name; do grep -nw "$name" include/organ/*.h; done | check "comments of public headers name what these headers declare"
grep -nE '\b[a-z0-9_]+\.[ch]\b' include/organ/*.h | grep -vE ':#include |<organ/[a-z]+\.h>' | check "comments of public headers name no other file"

{ [[ -f build/liborgan.a ]] || echo "build/liborgan.a is not there"; } | check "the library is built"
# shellcheck disable=SC2016
nm -g --defined-only build/liborgan.a 2>/dev/null | awk 'NF == 3 && $3 !~ /^organ_/ { print $3 }' | sort -u |
    check "every exported symbol begins with organ_"

printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
