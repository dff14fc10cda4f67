#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the page of `organ serve` in a browser: every step of a user, with pointer, keyboard, narrow screen and both colour schemes. `ninja test-web`
# calls it; it ends with the line "N passed, N failed" and leaves pictures in build/web/.
# shellcheck disable=SC2317 # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/web/web_kit.sh
root=$web_scratch/root
mkdir -p "$root/more"
cp -r fixtures/tiny-qwen2 "$root/tiny-qwen2"
cp fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf "$root/more/q8.gguf"
hostile='<img src=x onerror=alert(1)>'
cp -r fixtures/tiny-qwen2 "$root/$hostile"
slow=60000 # iterations of the flow that take half a minute where nothing else runs

server=
base=
# serve PORT [OPTIONS]: starts the server on a port (0: any that is free) and waits until it answers.
serve() {
    # bash makes background processes ignore SIGINT; the server needs its default.
    env --default-signal=INT "$top/build/organ" serve --root "$root" --listen "127.0.0.1:$1" "${@:2}" >"$web_scratch/server" 2>&1 &
    server=$!
    web_processes+=("$server")
    local k
    for ((k = 0; k < 100; k++)); do
        base=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$web_scratch/server" | head -n 1)
        [[ -n $base ]] && curl -s -o "$web_scratch/null" "$base/healthz" && return
        sleep 0.1
    done
    echo "the server does not start:"
    cat "$web_scratch/server"
    exit 1
}
unserve() { kill -INT "$server" && wait "$server"; }

# go ADDRESS: opens a view of the page by its address in a newly loaded document.
go() { visit about:blank && visit "$base/#$1"; }
# Prints the value of the form's field whose label begins with the word.
field() { js_text "return document.querySelector('[data-field=\"$1\"] input, [data-field=\"$1\"] select').id"; }
fill_in() {
    js "document.querySelector('[data-field=\"$1\"]').closest('details')?.setAttribute('open', '')" >"$web_scratch/null"
    write "#$(field "$1")" "$2"
}
command_text() { js_text 'return document.getElementById("command").textContent'; }
focused() { js_text 'const e = document.activeElement; return (e.innerText || e.getAttribute("aria-label") || e.id || e.tagName).trim()'; }
# tab_to SCRIPT: presses Tab until the script is true for `e`, the focused element; each focused element must look focused.
tab_to() {
    local k
    for ((k = 0; k < 80; k++)); do
        press Tab
        [[ $(js 'const e = document.activeElement, s = getComputedStyle(e);
            return e === document.body || e.tagName === "IFRAME" || (parseFloat(s.outlineWidth) >= 2 && s.outlineStyle !== "none") || parseFloat(s.strokeWidth) >= 3') == true ]] ||
            fail "the focus is not seen at '$(focused)'"
        [[ $(js "const e = document.activeElement; return Boolean($1)") == true ]] && pass && return
    done
    fail "the Tab key does not come to $1"
}
# tidy_check NAME FILE: checks the HTML, except for attributes of HTML and ARIA that tidy 5.6 does not support.
tidy_check() {
    tidy -quiet -errors --drop-empty-elements no "$2" 2>&1 |
        grep -vE 'proprietary attribute "(aria-current|autocapitalize|inputmode)"' >"$web_scratch/tidy"
    if [[ -s $web_scratch/tidy ]]; then fail "tidy on $1" "$web_scratch/tidy"; else pass; fi
}

test_opening() {
    go /models
    await_text tiny-qwen2
    await_text more/q8.gguf
    expect "the title" "$(js_text 'return document.title')" "Models – organ"
    expect "a name is text and nothing else" "$(js "return [...document.querySelectorAll('main a')].some(a => a.textContent === '$hostile')
        && !document.querySelector('main img')")" true
    write "#model-search" q8
    await "the search" "return document.querySelectorAll('tbody tr').length === 1"
    expect "the search stands in the address" "$(js_text 'return location.hash')" "#/models?q=q8"
    write "#model-search" nothing-like-this
    await_text "No model has"
    curl -s "$base/" >"$web_scratch/index.html"
    tidy_check index.html "$web_scratch/index.html"
    expect "only files of this server" "$(js 'return performance.getEntriesByType("resource").every(e => e.name.startsWith(location.origin + "/"))')" true
    no_errors "list of models"
}

test_anatomy() {
    go /models
    await_here 'a[href="#/models/tiny-qwen2"]'
    click 'a[href="#/models/tiny-qwen2"]'
    await_here '.anatomy .cell'
    await_text "50 tensors"
    expect "the parts of a layer" "$(js 'return [...document.querySelectorAll(".anatomy .cell")].filter(c => /gate proj, layer 2:/.test(c.getAttribute("aria-label"))).length')" 1
    # Areas are proportional to bytes: the embedding has 1310720, a gate projection 552960.
    expect "areas are bytes" "$(js 'const area = name => { const r = [...document.querySelectorAll(".cell")].find(c => c.getAttribute("aria-label").startsWith(name));
        return r.getAttribute("width") * (Number(r.getAttribute("height")) + 1); };
        return Math.abs(area("embed") / area("gate proj, layer 1") / (1310720 / 552960) - 1) < 0.03')" true
    js 'document.querySelector("[aria-label^=\"gate proj, layer 2\"]").dispatchEvent(new MouseEvent("click", {bubbles: true}))' >"$web_scratch/null"
    await "the table of one tensor" "return document.querySelectorAll('#tensors ~ div tbody tr').length === 1"
    await_text model.layers.2.mlp.gate_proj.weight
    expect "the filter stands in the address" "$(js_text 'return location.hash')" "#/models/tiny-qwen2?group=organ&role=gate_proj&layer=2"
    visit about:blank && visit "$base/#/models/tiny-qwen2?role=gate_proj&layer=2"
    await "the filter of a link" "return document.querySelectorAll('#tensors ~ div tbody tr').length === 1"
    write "#tensor-match" up_proj
    await_text "No tensor matches"
    go /models/tiny-qwen2
    await_here '[data-sort=bytes]'
    click '[data-sort=bytes]'
    await "the largest first" "return document.querySelector('#tensors ~ div tbody th').textContent === 'model.embed_tokens.weight'
        && document.querySelector('[aria-sort=descending] [data-sort=bytes]')"
    expect "the button keeps the focus" "$(js_text 'return document.activeElement.dataset.sort')" bytes
    whole_shot "$pictures/model.png"
    go /models/more/q8.gguf
    await_text blk.0.ffn_gate.weight
    no_errors "anatomy"
}

test_operations() {
    go /verbs
    await_here 'a[href^="#/verbs/experts"]'
    expect "the sections of organ help" "$(js_text 'return [...document.querySelectorAll("main h2")].map(h => h.textContent).join(",")')" \
        "$("$top/build/organ" help | sed -n -e '/^Topics/q' -e 's/^\([A-Z].*\):$/\1/p' | grep -vx Serve | paste -sd ,)"
    expect "the section of experts" "$(js_text 'return document.querySelector("a[href^=\"#/verbs/experts\"]").closest("section").querySelector("h2").textContent')" \
        "Make smaller"
    whole_shot "$pictures/operations.png"
    cp -r fixtures/tiny-moe "$root/tiny-moe"
    local model
    for model in tiny-qwen2:Prune,Quantize,Measure tiny-moe:Prune,Quantize,Experts; do
        go "/models/${model%:*}"
        await_here '.actions a'
        expect "the first verbs that ${model%:*} is offered" "$(js_text 'return [...document.querySelectorAll(".actions a")].slice(0, 3).map(a => a.textContent).join(",")')" \
            "${model#*:}"
    done
    rm -r "$root/tiny-moe"
    no_errors "operations"
}

test_form() {
    go "/models/tiny-qwen2"
    await_here 'a[href^="#/verbs/prune"]'
    click 'a[href^="#/verbs/prune"]'
    await_here "#command"
    expect "the command line" "$(command_text)" "organ prune tiny-qwen2 --output tiny-qwen2-pruned"
    fill_in sparsity 30
    fill_in output "a name's"
    expect "the command line as one goes" "$(command_text)" "organ prune tiny-qwen2 --output 'a name'\\''s' --sparsity 30"
    devtools Browser.grantPermissions '{"permissions":["clipboardReadWrite","clipboardSanitizedWrite"]}' >"$web_scratch/null"
    click ".copy"
    await "Copied" "return document.querySelector('.copy').textContent === 'Copied'"
    js_later 'navigator.clipboard.readText().then(arguments[0])' | jq -r . >"$web_scratch/copied"
    expect "what was copied" "$(cat "$web_scratch/copied")" "$(command_text)"
    # The copied command works in a shell.
    if (cd "$root" && PATH=$top/build:$PATH bash -c "$(cat "$web_scratch/copied") --dry-run --quiet") >"$web_scratch/dry" 2>&1; then pass
    else fail "the copied line does not run" "$web_scratch/dry"; fi
    fill_in sparsity 300
    click "#start"
    await "a fault at its field" "return document.querySelector('[data-field=sparsity] .wrong').textContent.includes('300')"
    expect "the field is marked and has the focus" "$(js 'const e = document.activeElement; return e.name === "sparsity" && e.getAttribute("aria-invalid") === "true"')" true
    fill_in sparsity 30
    fill_in DONOR no-such-model
    click "#start"
    await "the server's fault at its field" "return document.querySelector('[data-field=DONOR] .wrong').textContent.includes('no-such-model')"
    fill_in DONOR tiny-qwen2
    fill_in output ../outside
    click "#start"
    await "a path that leads out" "return document.querySelector('[data-field=output] .wrong').textContent"
    no_errors "form" 'status of (404|422)'
}

test_dry_run() {
    go "/verbs/prune?model=tiny-qwen2"
    await_here "#dry-run"
    click "#dry-run"
    await "the result of the dry run" "return /Done/.test(document.querySelector('main').innerText)"
    if [[ -e $root/tiny-qwen2-pruned ]]; then fail "a dry run has written"; else pass; fi
    expect "the form is still there" "$(command_text)" "organ prune tiny-qwen2 --output tiny-qwen2-pruned"
    no_errors "dry run"
}

# started [ITERATIONS]: starts a pruning from the form; the page then shows the job.
started() {
    go "/verbs/prune?model=tiny-qwen2"
    await_here "#start"
    fill_in output "$1"
    fill_in iterations "$2"
    click "#start"
    await "the page of the job" "return /^#\/jobs\/./.test(location.hash)"
}

test_progress() {
    local value
    started pruned "$slow"
    await "the bar" "return document.querySelector('progress').value > 0"
    value=$(js 'return document.querySelector("progress").value')
    await "progress" "return document.querySelector('progress').value > $value"
    expect_like "figures" "$(js_text 'return document.querySelector(".meters").innerText')" 'B/s'
    expect_like "time left" "$(js_text 'return document.querySelector(".meters").innerText')" ' left'
    await_text "_proj.weight"
    await "the number of jobs on top" "return document.getElementById('running').textContent === '1 running'"
    shot "$pictures/running.png"
    click 'button.danger'
    await_text "Cancelled"
    if [[ -e $root/pruned ]]; then fail "a cancelled job has left an output"; else pass; fi
    await "the button to go on" "return [...document.querySelectorAll('button')].some(b => b.textContent === 'Resume')"
    click '.actions button.main'
    await_text "Running"
    AWAIT=300 await_text "Done"
    await_here "iframe.report"
    expect "the report's cage" "$(js_text 'return document.querySelector("iframe.report").getAttribute("sandbox")')" "allow-scripts"
    wire POST /frame '{"id": 0}' >"$web_scratch/null" || fail "the frame of the report"
    await "the report" "return document.body && document.body.innerText.includes('tiny-qwen2')"
    wire POST /frame/parent '{}' >"$web_scratch/null"
    await "files to download" "return [...document.querySelectorAll('a[download]')].some(a => a.textContent.includes('prune.json'))"
    expect "a download" "$(js_later 'const done = arguments[0]; fetch([...document.querySelectorAll("a[download]")].find(a => a.textContent.includes("prune.json")).href)
        .then(r => r.json()).then(j => done(j.schema))' | jq -r .)" "organ.prune/1"
    whole_shot "$pictures/done.png"
    click "details.group summary"
    await "the log" "return document.querySelector('details.group .log').textContent.length > 20"
    no_errors "job"
}

# The two fields of a pair stand together, and each says which one it is.
test_pairs() {
    go "/verbs/orthogonality"
    await_here '[data-field="pair"]'
    local inputs="[...document.querySelectorAll('[data-field=\"pair\"] input')]"
    expect "the fields of a pair" "$(js "return $inputs.map(i => i.placeholder.split(':')[0])")" '["CLEAN","NOISY"]'
    click '[data-field="pair"] button'
    expect "the fields of two pairs" "$(js "return $inputs.map(i => i.placeholder.split(':')[0])")" '["CLEAN","NOISY","CLEAN","NOISY"]'
    js "$inputs.forEach((i, k) => { i.value = 'abcd'[k]; i.dispatchEvent(new Event('input', { bubbles: true })); })" >"$web_scratch/null"
    expect "the command" "$(command_text)" "organ orthogonality --pair a b --pair c d"
    no_errors "pairs"
}

test_jobs() {
    go /jobs
    await "the list of jobs" "return document.querySelectorAll('.jobs > li').length >= 1"
    await_text "organ prune tiny-qwen2"
    started moving "$slow"
    go /jobs
    await "a bar that moves" "return document.querySelector('.jobs progress:not([hidden])')?.value > 0"
    shot "$pictures/jobs.png"
    click '.jobs button.danger'
    await "a cancelled job" "return !document.querySelector('.jobs button.danger')"
    # Two jobs with one output.
    started twice "$slow"
    go "/verbs/prune?model=tiny-qwen2"
    await_here "#start"
    fill_in output twice
    click "#start"
    await_text "conflicts with a job or a file"
    go /jobs
    await_here '.jobs button.danger'
    click '.jobs button.danger'
    await "a cancelled job" "return !document.querySelector('.jobs button.danger')"
    go /jobs/no-such-job
    await_text "Not found."
    no_errors "jobs" 'status of (404|409)'
}

# A failed check is not shown as a success.
test_check() {
    local job
    cp -r "$root/tiny-qwen2" "$root/altered"
    printf '\0\0\0\1' | dd of="$root/altered/model-00002-of-00003.safetensors" bs=1 seek=9000 conv=notrunc 2>"$web_scratch/null"
    job=$(curl -s -X POST -H 'Content-Type: application/json' -d '{"verb":"audit","arguments":{"DONOR":"tiny-qwen2","PRUNED":"altered"}}' \
        "$base/api/v1/jobs" | jq -r .id)
    go "/jobs/$job"
    await_text "Check failed"
    expect "no tick" "$(js_text 'return document.querySelector(".state-wanting").dataset.mark')" "!"
    readable "a check that does not hold"
    contrasts "a check that does not hold"
    no_errors "check"
}

test_keyboard() {
    go /models
    await_text tiny-qwen2
    press Tab
    expect "the first stop" "$(focused)" "Skip to the content"
    press Enter
    expect "the content has the focus" "$(js_text 'return document.activeElement.id')" content
    tab_to 'e.textContent === "tiny-qwen2"'
    press Enter
    await_here '.anatomy .cell'
    expect "the heading has the focus" "$(focused)" tiny-qwen2
    tab_to 'e.classList.contains("cell")'
    press Right Down Down
    expect_like "arrows walk through the picture" "$(focused)" 'layer 0'
    press Enter
    await "the table of what was chosen" "return document.getElementById('tensor-layer').value === '0'"
    go /models/tiny-qwen2
    await_here '.anatomy .cell'
    tab_to 'e.textContent === "Prune"'
    press Enter
    await_here "#command"
    tab_to 'e.name === "output"'
    press kept
    tab_to 'e.id === "start"'
    press Enter
    await "the page of the job" "return /^#\/jobs\/./.test(location.hash)"
    await_text "Done"
    tab_to 'e.textContent === "Skip the report"'
    press Enter
    tab_to 'e.tagName === "SUMMARY" && e.textContent === "Log"'
    no_errors "keyboard"
}

each_view() {
    local job
    job=$(curl -s "$base/api/v1/jobs" | jq -r '.jobs[] | select(.state == "done" and (.arguments["dry-run"] | not)) | .id' | head -n 1)
    for view in /models "/models/tiny-qwen2" /verbs "/verbs/prune?model=tiny-qwen2" "/verbs/quantize" /jobs "/jobs/$job" /nothing; do
        go "$view"
        await "$view" "return document.querySelector('main h1') && !document.getElementById('loading')"
        sleep 0.3
        "$1" "$view"
    done
}
narrow() {
    expect "$1 scrolls to the side at 400 px" "$(js 'return innerWidth === 400 && document.documentElement.scrollWidth <= 400')" true
    # A word is not broken into two lines.
    expect "$1 breaks a word at 400 px" "$(js_text 'const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT), range = document.createRange(), broken = [];
        for (let node; (node = walk.nextNode());)
            for (const word of node.data.matchAll(/[A-Za-z0-9]+/g)) {
                range.setStart(node, word.index);
                range.setEnd(node, word.index + word[0].length);
                if (new Set([...range.getClientRects()].map(r => r.top)).size > 1) broken.push(word[0]);
            }
        return broken.join(" ")')" ""
}
contrasts() {
    js "document.querySelectorAll('details').forEach(d => { d.open = true; })" >"$web_scratch/null"
    js "$(cat "$top/tests/web/"{colour,contrast}.js)" 4.5 | jq -r '.[]' >"$web_scratch/contrast"
    if [[ -s $web_scratch/contrast ]]; then fail "contrast of $1" "$web_scratch/contrast"; else pass; fi
}
well_formed() {
    js_text 'return "<!DOCTYPE html>\n" + document.documentElement.outerHTML' >"$web_scratch/view.html"
    tidy_check "$1" "$web_scratch/view.html"
}
test_looks() {
    each_view well_formed
    each_view readable
    each_view contrasts
    scheme dark
    each_view contrasts
    shot "$pictures/dark.png"
    screen 400 900
    each_view narrow
    whole_shot "$pictures/narrow.png"
    go /models/tiny-qwen2
    await_here '.anatomy .cell'
    sleep 0.3
    shot "$pictures/narrow_model.png"
    scheme light
    screen 1200 1000
    no_errors "looks"
}

test_restart() {
    local port=${base##*:}
    started again "$slow"
    await "the bar" "return document.querySelector('progress').value > 0"
    unserve
    await "the banner" "return !document.getElementById('away').hidden"
    serve "$port"
    await "the banner is gone" "return document.getElementById('away').hidden"
    # The job has continued without the server.
    AWAIT=300 await_text "Done"
    no_errors "restart" 'ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY|status of 50'
    unserve
}

test_token() {
    printf 'a-token-that-nobody-guesses-4711\n' >"$web_scratch/token"
    chmod 600 "$web_scratch/token"
    serve 0 --token-file "$web_scratch/token"
    go /models
    await_here "#token"
    contrasts "the login"
    write "#token" wrong
    press Enter
    await_text "This is not the token."
    write "#token" a-token-that-nobody-guesses-4711
    press Enter
    await_text tiny-qwen2
    expect "the token is nowhere a script can read it" "$(js 'return document.cookie === "" && localStorage.length === 0 && sessionStorage.length === 0')" true
    await "the button to log out" "return !document.getElementById('logout').hidden"
    click "#logout"
    await_here "#token"
    go /models
    await_here "#token"
    no_errors "token" 'status of 401'
    unserve
}

serve 0
browser_begin
screen 1200 1000
for test in ${WEB_TESTS:-opening anatomy operations form dry_run progress pairs jobs check keyboard looks restart token}; do
    before=$web_failed
    "test_$test"
    ((web_failed > before)) && printf '    in %s\n' "$test"
done
web_finish
