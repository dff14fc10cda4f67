# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Drives a headless browser through WebDriver with curl and jq. A script that sources this file starts a session with `browser_begin`, ends with
# `web_finish`, and runs in the root of the repository. $pictures is the folder of pictures. Needs chromium, chromium-driver, curl, jq, tidy.
for tool in chromium chromedriver curl jq tidy; do
    command -v "$tool" >/dev/null || { echo "tests/web needs $tool"; exit 1; }
done
top=$PWD
pictures=$top/build/web
mkdir -p "$pictures"
web_scratch=$(mktemp -d) || exit 1
web_passed=0
web_failed=0
driver_process=
session=
declare -a web_processes=()

web_end() {
    [[ -n $session ]] && curl -s -m 5 -X DELETE "$session" >"$web_scratch/bye"
    for process in $driver_process "${web_processes[@]}"; do kill "$process" 2>/dev/null; done
    wait 2>/dev/null
    rm -rf "$web_scratch"
}
trap '[[ $BASHPID == "$$" ]] && web_end' EXIT

pass() { web_passed=$((web_passed + 1)); }
# fail WHAT [FILE]: counts a failure and prints the first lines of the file.
fail() {
    printf 'FAILED: %s\n' "$1"
    [[ -n ${2:-} ]] && head -n 30 "$2" | cut -c -300 | sed 's/^/    /'
    web_failed=$((web_failed + 1))
}
# expect WHAT FOUND EXPECTED: checks that both texts are equal.
expect() { if [[ $2 == "$3" ]]; then pass; else fail "$1: '$2' instead of '$3'"; fi; }
# expect_like WHAT FOUND REGEX: checks that the text matches.
expect_like() { if [[ $2 =~ $3 ]]; then pass; else fail "$1: '$2' is not like '$3'"; fi; }
web_finish() {
    printf '%d passed, %d failed\n' "$web_passed" "$web_failed"
    ((web_failed == 0))
    exit
}

# wire METHOD PATH [JSON]: sends a WebDriver command and prints its value. An error ends the script, since later steps would be meaningless.
wire() {
    local answer
    answer=$(curl -s -m 60 -X "$1" -H 'Content-Type: application/json' "$session$2" ${3+-d "$3"})
    if jq -e '.value.error? // empty' <<<"$answer" >"$web_scratch/wrong" 2>/dev/null; then
        jq -r '"WebDriver: " + .value.error + ": " + .value.message' <<<"$answer" | head -n 3 >&2
        return 1
    fi
    jq -c '.value' <<<"$answer"
}

browser_begin() {
    : >"$web_scratch/driver"
    chromedriver --port=0 >"$web_scratch/driver" 2>&1 &
    driver_process=$!
    local port=
    for ((k = 0; k < 100; k++)); do
        port=$(sed -n 's/.*started successfully on port \([0-9]*\).*/\1/p' "$web_scratch/driver")
        [[ -n $port ]] && break
        sleep 0.1
    done
    [[ -n $port ]] || { cat "$web_scratch/driver"; exit 1; }
    session=http://127.0.0.1:$port/session
    local id
    id=$(wire POST "" '{"capabilities":{"alwaysMatch":{"browserName":"chrome","goog:loggingPrefs":{"browser":"ALL"},"goog:chromeOptions":
        {"args":["--headless=new","--no-sandbox","--disable-gpu","--disable-dev-shm-usage","--window-size=1200,1000",
        "--disable-background-networking","--no-first-run"]}}}}' | jq -r .sessionId) || exit 1
    [[ -n $id && $id != null ]] || { echo "no session"; exit 1; }
    session+=/$id
    wire POST /timeouts '{"script": 20000, "pageLoad": 20000}' >"$web_scratch/null" || exit 1
}

visit() { wire POST /url "$(jq -nc --arg u "$1" '{url: $u}')" >"$web_scratch/null"; }

# js SCRIPT [TEXT...]: prints the script's value as JSON; texts are arguments[0] ... . js_text: prints a string without quotes.
js() { wire POST /execute/sync "$(jq -nc --arg s "$1" '{script: $s, args: $ARGS.positional}' --args "${@:2}")"; }
js_text() { js "$@" | jq -r .; }
# js_later SCRIPT [TEXT...]: does the same for a script that calls its last argument when it is done.
js_later() { wire POST /execute/async "$(jq -nc --arg s "$1" '{script: $s, args: $ARGS.positional}' --args "${@:2}")"; }

# await WHAT SCRIPT [TEXT...]: waits until the script's value is true, at most 20 seconds.
await() {
    local until=$((SECONDS + ${AWAIT:-20}))
    while ((SECONDS <= until)); do
        if [[ $(js "return Boolean((() => { $2 })())" "${@:3}" 2>"$web_scratch/null") == true ]]; then
            pass
            return 0
        fi
        sleep 0.1
    done
    fail "$1 did not come"
    js_text 'return document.body.innerText' | head -n 25 | sed 's/^/    /'
    return 1
}
# await_text TEXT: waits until the content contains the text.
await_text() { await "the text '$1'" "return document.querySelector('main').innerText.includes(${JS_TEXT:-}$(jq -nc --arg t "$1" '$t'))"; }
# await_here CSS: waits until an element matches.
await_here() { await "the element $1" "return document.querySelector($(jq -nc --arg t "$1" '$t'))"; }

element() { wire POST /element "$(jq -nc --arg c "$1" '{using: "css selector", value: $c}')" | jq -r '.[]'; }
click() {
    local id
    id=$(element "$1") || { fail "nothing to click at $1"; return 1; }
    wire POST "/element/$id/click" '{}' >"$web_scratch/null" || fail "cannot click $1"
}
# write CSS TEXT: replaces the content of a field.
write() {
    local id
    id=$(element "$1") || { fail "nothing to write into at $1"; return 1; }
    wire POST "/element/$id/clear" '{}' >"$web_scratch/null"
    [[ -z $2 ]] || wire POST "/element/$id/value" "$(jq -nc --arg t "$2" '{text: $t}')" >"$web_scratch/null" || fail "cannot write into $1"
}
# press KEY...: presses keys in this order: Tab, Enter, Right, Space, or texts.
press() {
    local -A keys=([Tab]='\ue004' [Enter]='\ue007' [Space]=' ' [Right]='\ue014' [Left]='\ue012' [Up]='\ue013' [Down]='\ue015' [Shift]='\ue008' [Escape]='\ue00c')
    local list="" key text
    for key in "$@"; do
        text=${keys[$key]:-$key}
        if [[ -n ${keys[$key]:-} ]]; then
            list+=,$(printf '{"type":"keyDown","value":"%s"},{"type":"keyUp","value":"%s"}' "$text" "$text")
        else
            list+=$(jq -nc --arg t "$text" '$t | split("")[] | {type: "keyDown", value: .}, {type: "keyUp", value: .}' | sed 's/^/,/' | tr -d '\n')
        fi
    done
    wire POST /actions '{"actions":[{"type":"key","id":"keyboard","actions":['"${list#,}"']}]}' >"$web_scratch/null" || fail "cannot press $*"
}

# devtools COMMAND [JSON]: sends a command of the DevTools protocol.
devtools() { wire POST /goog/cdp/execute "$(jq -nc --arg c "$1" --argjson p "${2:-"{}"}" '{cmd: $c, params: $p}')"; }
scheme() { devtools Emulation.setEmulatedMedia '{"features":[{"name":"prefers-color-scheme","value":"'"$1"'"}]}' >"$web_scratch/null"; }
# screen WIDTH HEIGHT: sets the size of the window.
screen() {
    devtools Emulation.setDeviceMetricsOverride '{"width":'"$1"',"height":'"$2"',"deviceScaleFactor":1,"mobile":false}' >"$web_scratch/null"
}
# shot FILE: takes a picture of the screen; whole_shot FILE: of the whole page.
shot() { devtools Page.captureScreenshot '{"format":"png"}' | jq -r .data | base64 -d >"$1"; }
whole_shot() { devtools Page.captureScreenshot '{"format":"png","captureBeyondViewport":true}' | jq -r .data | base64 -d >"$1"; }

# readable WHAT: checks the accessibility tree. Every control, picture and table has a name, no level of headings is skipped, and the document has a
# title.
readable() {
    devtools Accessibility.getFullAXTree | jq -r '
        [.nodes[] | select(.ignored | not) | {role: .role.value, name: (.name.value // ""),
            level: ([.properties[]? | select(.name == "level") | .value.value] | first)}] |
        (.[] | select(.role | IN("RootWebArea", "button", "link", "textbox", "searchbox", "combobox", "listbox", "checkbox", "radio", "spinbutton",
            "slider", "image", "img", "table", "progressbar", "navigation", "region", "DisclosureTriangle", "heading", "Iframe")) |
            select(.name == "") | "a \(.role) has no name"),
        ([.[] | select(.role == "heading") | .level] | . as $levels | range(length) |
            select($levels[.] > (if . == 0 then 0 else $levels[. - 1] end) + 1) | "heading \(. + 1) leaves a level out")' >"$web_scratch/told"
    if [[ -s $web_scratch/told ]]; then fail "what is told of $1" "$web_scratch/told"; else pass; fi
}

# no_errors WHERE [REGEX]: checks that the console has no new error, except lines that match REGEX.
no_errors() {
    wire POST /se/log '{"type":"browser"}' | jq -r '.[] | select(.level == "SEVERE" or .level == "WARNING") | .level + " " + .message' |
        grep -vE "${2:-^$}" >"$web_scratch/console"
    if [[ -s $web_scratch/console ]]; then fail "the console is not clean: $1" "$web_scratch/console"; else pass; fi
}
