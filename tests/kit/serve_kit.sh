# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # variables are for the scripts that read this in
# Functions for scripts that test `organ serve` with clients written in bash. Such a script begins with
# `. "$(dirname "$0")/../kit/serve_kit.sh"`, which reads tests/kit/cli_kit.sh as well, and serves the directory "root" of the test.
. "$(dirname "${BASH_SOURCE[0]}")/cli_kit.sh"

server=
answer=../answer
cleanup() { [[ -n $server ]] && kill -9 "$server" 2>/dev/null; }
trap '[[ $BASHPID == "$$" ]] && cleanup; [[ $BASHPID == "$$" ]] && rm -rf "$scratch"' EXIT

# serve [OPTION...]: starts a server; $port is its port.
serve() {
    here="organ serve"
    : >../serve
    "$organ" serve --root root --listen 127.0.0.1:0 "$@" >/dev/null 2>../serve &
    server=$!
    says_where ../serve && return
    bad "does not serve" ../serve
    finish
}

# http METHOD PATH [BODY] [HEADER]: sends a request; $status is the status, and the file $answer has the response.
http() {
    local body=${3:-} extra=${4:-} s
    here="$1 $2 $body"
    status=0
    exec {s}<>"/dev/tcp/127.0.0.1/$port" || return
    {
        printf '%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n' "$1" "$2" "$port"
        [[ -n $extra ]] && printf '%s\r\n' "$extra"
        [[ -n $body ]] && printf 'Content-Type: application/json\r\nContent-Length: %s\r\n' "${#body}"
        printf '\r\n%s' "$body"
    } >&"$s"
    timeout "${patience:-120}" cat <&"$s" >"$answer"
    exec {s}>&-
    status=$(sed -n '1s,HTTP/1.1 \([0-9]*\).*,\1,p' "$answer")
}
gives() { http "${@:2}" && if [[ $status == "$1" ]]; then good; else bad "gives $status instead of $1" "$answer"; fi; }
has() { if grep -qF -- "$1" "$answer"; then good; else bad "has no '$1'" "$answer"; fi; }
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$answer" | head -n 1; }

