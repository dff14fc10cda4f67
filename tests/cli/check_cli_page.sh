#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the page of `organ serve` over HTTP: every file equals that of the source tree and has its type, its ETag and a content security policy that
# allows nothing else. tests/web/page.sh tests the page in a browser.
# shellcheck source=tests/kit/cli_kit.sh
. "$(dirname "$0")/../kit/cli_kit.sh"
page=$(dirname "$golden")/../orchestrator/serve/page/site

# serve [OPTIONS]: starts a server on $port.
serve() {
    : >../served
    # bash makes background processes ignore SIGINT; the server needs its default.
    env --default-signal=INT "$organ" serve --root "$scratch/area" --listen 127.0.0.1:0 --quiet "$@" >../served 2>&1 </dev/null &
    server=$!
    says_where ../served && return
    bad "the server does not start" ../served
    finish
}
unserve() {
    kill -INT "$server"
    wait "$server"
    judge "the server ends well ($?)" test $? -eq 0
}

# get METHOD PATH [HEADER]: writes the header lines without CRs to ../head and the body to ../body; $code is the status.
get() {
    here="$1 $2"
    exec 3<>"/dev/tcp/127.0.0.1/$port" || { bad "no connection"; return; }
    printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n%s\r\n' "$1" "$2" "$port" "${3:+$3$'\r\n'}" >&3
    cat <&3 >../reply
    exec 3<&-
    sed -e 's/\r$//' -e '/^$/q' ../reply >../head
    tail -c +"$(($(sed '/^\r$/q' ../reply | wc -c) + 1))" ../reply >../body
    code=$(sed -n '1s/^HTTP\/1\.1 \([0-9]*\).*/\1/p' ../head)
}
header() { sed -n "s/^$1: //Ip" ../head; }
answers() { judge "the status is $code instead of $1" test "$code" = "$1"; }

serve
declare -A types=([html]='text/html; charset=utf-8' [css]='text/css; charset=utf-8' [js]='text/javascript; charset=utf-8' [svg]=image/svg+xml)
declare -A tags=()
for file in "$page"/*; do
    name=${file##*/}
    get GET "/page/$name"
    answers 200
    judge "the body is not the file" cmp -s ../body "$file"
    judge "the type is '$(header Content-Type)'" test "$(header Content-Type)" = "${types[${name##*.}]}"
    policy=$(header Content-Security-Policy)
    judge "no policy that begins with nothing" test "${policy#default-src \'none\'; script-src \'self\'; style-src \'self\'; }" != "$policy"
    judge "the policy is not strict: $policy" test "${policy/unsafe-/}${policy/http/}" = "$policy$policy"
    tag=$(header ETag)
    judge "two files have the tag '$tag'" test -n "$tag" -a -z "${tags[$tag]:-}"
    tags[$tag]=$name
    judge "no SPDX line" grep -q SPDX-License-Identifier <(head -n 2 "$file")
done

get GET /
answers 200
judge "/ is not index.html" cmp -s ../body "$page/index.html"
tag=$(header ETag)
get GET / "If-None-Match: \"0\", W/$tag"
answers 304
judge "a 304 has a body" test ! -s ../body
judge "a 304 has no tag" test "$(header ETag)" = "$tag"
get GET / "If-None-Match: \"0\""
answers 200
get GET / "If-None-Match: ${tag%?}x\""
answers 200
get HEAD /
answers 200
judge "HEAD has a body" test ! -s ../body
get GET /page/nothing.js
answers 404
judge "no problem document" test "$(header Content-Type)" = application/problem+json
get GET /page/settings.json
judge "the settings are $(cat ../body)" test "$(tr -d ' ' <../body)" = '{"token":false}'

# The page has no inline script or style and loads nothing from elsewhere; the modules that it imports exist.
here=page
judge "a script or style inside the page" test -z "$(grep -nE '<style|<script>|<script [^>]*>[^<]| style=| on[a-z]+=' "$page/index.html")"
judge "an address elsewhere" test -z "$(grep -nE "https?://" "$page"/* | grep -v 'http://www.w3.org/2000/svg')"
judge "markup made of text" test -z "$(grep -nE 'innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(' "$page"/*.js)"
while read -r name; do judge "no module $name" test -f "$page/$name"; done < <(sed -n 's,^import .* from "\./\(.*\)";$,\1,p' "$page"/*.js | sort -u)
for name in $(grep -oE '"/page/[^"]*"' "$page/index.html" | tr -d '"' | sort -u); do judge "no $name" test -f "$page/${name#/page/}"; done
unserve

# A server with a token serves the page without it, and nothing else.
printf 'a-token-that-nobody-guesses\n' >../token
chmod 600 ../token
serve --token-file ../token
get GET /
answers 200
get GET /page/page.js
answers 200
get GET /page/settings.json
judge "the settings are $(cat ../body)" test "$(tr -d ' ' <../body)" = '{"token":true}'
get GET /files/tiny-qwen2/config.json
answers 401
unserve
finish
