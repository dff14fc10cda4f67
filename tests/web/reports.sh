#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests reports in a browser: light, dark, narrow, printed, by keyboard and for screen readers. `ninja test-web` calls it; it ends with the line
# "N passed, N failed" and leaves pictures in build/web/.
# shellcheck disable=SC2317 # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/web/web_kit.sh
cp -r fixtures/tiny-qwen2 fixtures/tiny-lora fixtures/tiny-qwen2-gguf "$web_scratch"
cd "$web_scratch" || exit 1
declare -a pages=()

# page NAME STATUS ARGUMENTS: writes a report of the program as NAME.html.
page() {
    local status=0
    "$top/build/organ" "${@:3}" --quiet --html "$1.html" >"$web_scratch/out" 2>&1 || status=$?
    if [[ $status == "$2" && -s $1.html ]]; then pages+=("$1"); else fail "organ ${*:3} ends with $status" "$web_scratch/out"; fi
}
page prune 0 prune tiny-qwen2 -o pruned
page half 0 prune tiny-qwen2 -o half --method magnitude --sparsity 50
page pattern 0 prune tiny-qwen2 -o pattern --method magnitude --pattern 2:4
page audit 1 audit tiny-qwen2 half --select '*.mlp.*'
page fleet 0 measure tiny-qwen2 pruned tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
page measure 0 measure tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
page quantize 0 quantize tiny-qwen2 -o fp8 --scheme fp8-block128
page autopsy 0 autopsy fp8 tiny-qwen2
page lora 0 lora extract --base tiny-qwen2 --tuned half -o adapter --rank 8
page orthogonality 0 orthogonality tiny-qwen2 fp8 adapter
page evaluate 0 evaluate tiny-qwen2 pruned half pattern --experiment flow=pruned --experiment weight=half --experiment pairs=pattern --text tiny-qwen2/heldout.txt --context 64 --max-tokens 256
page inspect 0 inspect fp8 --tensors
page purify 0 purify tiny-qwen2 -o purified --method haar

show() { visit about:blank && visit "file://$web_scratch/$1.html"; }

test_whole() {
    show "$1"
    tidy -quiet -errors --drop-empty-elements no "$1.html" >"$web_scratch/tidy" 2>&1
    if [[ -s $web_scratch/tidy ]]; then fail "tidy on $1" "$web_scratch/tidy"; else pass; fi
    expect "$1 loads nothing" "$(js 'return performance.getEntriesByType("resource").length')" 0
    no_errors "$1"
}

# Every figure has a name and a description, and a table with its numbers; every table has a caption, and each head has a scope.
test_told() {
    show "$1"
    readable "$1"
    expect "figures of $1" "$(js 'return [...document.querySelectorAll("figure svg")].filter(svg => {
        return svg.getAttribute("role") !== "img" || !svg.querySelector("title").textContent.trim()
            || !document.getElementById(svg.getAttribute("aria-describedby"))?.textContent.trim();
    }).length')" 0
    expect "tables of $1" "$(js 'return [...document.querySelectorAll("table")].filter(table => !table.caption?.textContent.trim()
        || [...table.querySelectorAll("th")].some(head => !head.scope || !head.textContent.trim())
        || [...table.querySelectorAll("tbody tr")].some(row => row.cells.length !== table.tHead.rows[0].cells.length)).length')" 0
    expect "landmarks of $1" "$(js 'return ["header", "main", "footer"].every(name => document.querySelectorAll("body > " + name).length === 1)
        && document.documentElement.lang === "en"')" true
}

clear_texts() {
    js "document.querySelectorAll('details').forEach(d => { d.open = true; })" >"$web_scratch/null"
    js "$(cat "$top/tests/web/"{colour,contrast}.js)" 4.5 | jq -r '.[]' >"$web_scratch/contrast"
    if [[ -s $web_scratch/contrast ]]; then fail "contrast of $1" "$web_scratch/contrast"; else pass; fi
    js "$(cat "$top/tests/web/"{colour,figures}.js)" | jq -r '.[]' >"$web_scratch/figures"
    if [[ -s $web_scratch/figures ]]; then fail "figures of $1" "$web_scratch/figures"; else pass; fi
}
test_seen() {
    show "$1"
    clear_texts "$1"
    scheme dark
    clear_texts "$1 in the dark"
    scheme light
}

test_narrow() {
    screen 400 900
    show "$1"
    js "document.querySelectorAll('details').forEach(d => { d.open = true; })" >"$web_scratch/null"
    expect "$1 scrolls to the side at 400 px" "$(js 'return innerWidth === 400 && document.documentElement.scrollWidth <= 400')" true
    screen 1200 1000
}

# Printed pages are black on white in both colour schemes, with every box open.
test_printed() {
    show "$1"
    devtools Emulation.setEmulatedMedia '{"media":"print","features":[{"name":"prefers-color-scheme","value":"dark"}]}' >"$web_scratch/null"
    expect "$1 on paper" "$(js 'const shown = e => e.getClientRects().length > 0;
        return getComputedStyle(document.body).backgroundColor === "rgb(255, 255, 255)"
            && ![...document.querySelectorAll("nav, .filter, .command button, details")].some(shown)
            && [...document.querySelectorAll(".table .box")].every(box => getComputedStyle(box).overflow === "visible")')" true
    devtools Emulation.setEmulatedMedia '{"media":"","features":[]}' >"$web_scratch/null"
}

# By keyboard: each focused element looks focused, figures open as tables, columns sort and announce it, rows can be filtered.
keyboard() {
    local k
    show prune
    press Tab
    expect "the first stop" "$(js_text 'return document.activeElement.textContent')" "Skip to the report"
    press Enter
    for ((k = 0; k < 40; k++)); do
        press Tab
        [[ $(js 'const s = getComputedStyle(document.activeElement); return parseFloat(s.outlineWidth) >= 2 && s.outlineStyle !== "none"') == true ]] ||
            fail "the focus is not seen at '$(js_text 'return document.activeElement.outerHTML.slice(0, 80)')'"
        [[ $(js 'return document.activeElement.tagName') == '"SUMMARY"' ]] && break
    done
    expect "the stop" "$(js_text 'return document.activeElement.textContent')" "Figure 1 as a table"
    press Enter
    expect "the figure as a table" "$(js 'const box = document.activeElement.nextElementSibling;
        return box.getClientRects().length === 1 && box.querySelectorAll("tbody tr").length')" 7
    js 'window.head = [...document.querySelectorAll("th button")].find(b => b.textContent === "killed" && b.closest("table").tBodies[0].rows.length === 28);
        head.focus()' >"$web_scratch/null"
    press Enter
    expect "the order is told" "$(js_text 'return head.parentNode.getAttribute("aria-sort")')" descending
    expect "the rows have it" "$(js 'const k = head.parentNode.cellIndex;
        const values = [...head.closest("table").tBodies[0].rows].map(row => Number(row.cells[k].textContent.replaceAll(",", "")));
        return values.every((value, at) => at === 0 || value <= values[at - 1])')" true
    press Enter
    expect "the other order" "$(js_text 'return head.parentNode.getAttribute("aria-sort")')" ascending
    js 'head.closest(".table").querySelector("input").focus()' >"$web_scratch/null"
    press q_proj
    expect "the filter says how many" "$(js_text 'return head.closest(".table").querySelector("[role=status]").textContent')" "4 of 28 rows"
    expect "where nothing scrolls there is no stop" "$(js 'return [...document.querySelectorAll(".box")].every(box =>
        box.hasAttribute("tabindex") === (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight))')" true
}

browser_begin
screen 1200 1000
for page in "${pages[@]}"; do
    for test in ${REPORT_TESTS:-whole told seen narrow printed}; do
        before=$web_failed
        "test_$test" "$page"
        ((web_failed > before)) && printf '    in %s\n' "$test"
    done
done
keyboard
show measure
whole_shot "$pictures/measure.png"
scheme dark
show orthogonality
whole_shot "$pictures/orthogonality_dark.png"
web_finish
