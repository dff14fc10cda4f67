#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds both images of packaging/Containerfile with buildah on a Debian 12 made by debootstrap, and runs them as the file says: the server as an unprivileged user
# without capabilities, on a read-only root. It asks no registry. `ninja test-container` calls it; needs root, a mirror of Debian packages and buildah, and
# names what is missing. Takes minutes. ROOT=DIRECTORY names a root made by debootstrap before. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/package/root.sh
need buildah buildah
need jq jq
need curl curl
need setpriv util-linux
need ip iproute2
need_root
store=(--root "$scratch/store" --runroot "$scratch/run" --storage-driver vfs)
finish_store() { buildah "${store[@]}" umount -a >/dev/null 2>&1; }
trap 'finish_store; rm -rf --one-file-system "$scratch"' EXIT

# ---- build ----
base=$(buildah "${store[@]}" from scratch) && tar -C "$root" -cf "$scratch/base.tar" . && buildah "${store[@]}" add -q "$base" "$scratch/base.tar" / >/dev/null &&
    buildah "${store[@]}" commit -q "$base" localhost/debian >/dev/null || { echo "not run: buildah does not make an image here" && exit 1; }
mkdir "$scratch/source" && git ls-files -co --exclude-standard -z | tar -c --null -T - | tar -x -C "$scratch/source" || exit 1
# image TAG OPTION...: builds an image; the second one takes the stages of the first.
image() {
    buildah "${store[@]}" bud --layers --isolation chroot --build-arg BASE=localhost/debian -f packaging/Containerfile -t "localhost/$1" "${@:2}" "$scratch/source" >"$scratch/log" 2>&1
}
if image organ; then good; else bad "the image is not built" <(tail -n 40 "$scratch/log") && finish && exit; fi
if image organ-cli --target cli; then good; else bad "the image of the target cli is not built" <(tail -n 40 "$scratch/log"); fi
buildah "${store[@]}" inspect --type image localhost/organ | jq .OCIv1.config >"$scratch/config"
user=$(jq -r .User "$scratch/config")
if [[ $user == 65534:65534 ]]; then good; else bad "the image runs as $user"; fi
mapfile -t command < <(jq -r '.Entrypoint[]' "$scratch/config")
if [[ ${command[*]} == "organ serve --root /models "* ]]; then good; else bad "the image runs ${command[*]}"; fi

# ---- the program: as another user, without capabilities and network, in a folder of models ----
buildah "${store[@]}" inspect --type image localhost/organ-cli | jq .OCIv1.config >"$scratch/config"
if [[ $(jq -c '[.Entrypoint, .WorkingDir]' "$scratch/config") == '[["organ"],"/work"]' ]]; then good; else bad "the target cli runs something else" "$scratch/config"; fi
cli=$(buildah "${store[@]}" mount "$(buildah "${store[@]}" from localhost/organ-cli)") || exit 1
mkdir "$scratch/work" && cp -r fixtures/tiny-qwen2 "$scratch/work" && chown -R 65534:65534 "$scratch/work" || exit 1
# shellcheck disable=SC2016 # the arguments are those of the inner shell
unshare --mount --net bash -c 'mount --bind "$1" "$2/work" && shift 2 && "$@"' - "$scratch/work" "$cli" chroot "$cli" setpriv --reuid 65534 --regid 65534 --clear-groups \
    --no-new-privs --bounding-set=-all --inh-caps=-all sh -c 'cd /work && organ prune tiny-qwen2 -o pruned --memory 1G --quiet && organ audit tiny-qwen2 pruned --memory 1G' >"$scratch/log" 2>&1
judge "the program of the target cli does not run" test $? = 0

# ---- run ----
image=$(buildah "${store[@]}" mount "$(buildah "${store[@]}" from localhost/organ)") || exit 1
mkdir "$scratch/models" && cp -r fixtures/tiny-qwen2 "$scratch/models" && chown -R 65534:65534 "$scratch/models" || exit 1
echo 0123456789abcdef0123456789abcdef >"$scratch/token" && chown 65534:65534 "$scratch/token" && chmod 600 "$scratch/token"
mkdir -p "$image/run/secrets" && : >"$image/run/secrets/organ-token"
cat >"$scratch/inside" <<'END'
# Sets up the mounts and the network of a container: a read-only root, /models and the token from outside, /proc, a loopback device.
image=$1 scratch=$2
shift 2
ip link set lo up
mount --bind "$image" "$image" && mount --bind "$scratch/models" "$image/models" && mount --bind -o ro "$scratch/token" "$image/run/secrets/organ-token" &&
    mount -t proc proc "$image/proc" && mount -o remount,bind,ro "$image" || exit 1
confined() { chroot "$image" setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"; }
confined touch /tmp/x /usr/x /x 2>"$scratch/touched" && echo written >"$scratch/written"
confined "$@" --host 127.0.0.1 >"$scratch/served" 2>&1 &
server=$!
ask() { curl -s -m 20 -H "Authorization: Bearer $(cat "$scratch/token")" "http://127.0.0.1:8935$1" "${@:2}"; }
for try in $(seq 100); do ask /healthz >"$scratch/health" && break; sleep 0.2; done
pid=$(pgrep -P $server -f 'organ serve' | head -n 1)
grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/${pid:-$server}/status" >"$scratch/status"
curl -s -m 20 -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8935/api/v1/models >"$scratch/without"
ask /api/v1/jobs -H 'Content-Type: application/json' -d '{"verb": "prune", "arguments": {"DONOR": "tiny-qwen2", "output": "pruned"}}' >"$scratch/job"
id=$(jq -r .id "$scratch/job")
for try in $(seq 300); do ask "/api/v1/jobs/$id" >"$scratch/job"; [[ $(jq -r .state "$scratch/job") =~ ^(done|failed)$ ]] && break; sleep 0.2; done
confined organ audit /models/tiny-qwen2 /models/pruned >"$scratch/audit" 2>&1
echo $? >>"$scratch/audit"
kill -TERM "${pid:-$server}"
wait $server
echo $? >"$scratch/ended"
END
unshare --mount --net --pid --fork --mount-proc bash "$scratch/inside" "$image" "$scratch" "${command[@]}" >"$scratch/log" 2>&1 || bad "the namespaces" "$scratch/log"
if [[ $(jq -r .status "$scratch/health") == ok ]]; then good; else bad "the server does not answer" "$scratch/served"; fi
if [[ ! -e $scratch/written ]] && (($(wc -l <"$scratch/touched") == 3)); then good; else bad "the root can be written" "$scratch/touched"; fi
for line in 'Uid:	65534	65534	65534	65534' 'CapEff:	0000000000000000' 'CapBnd:	0000000000000000' 'NoNewPrivs:	1'; do
    if grep -qxF "$line" "$scratch/status"; then good; else bad "not $line" "$scratch/status"; fi
done
if [[ $(cat "$scratch/without") == 401 ]]; then good; else bad "without a token" "$scratch/without"; fi
if [[ $(jq -r .state "$scratch/job") == done ]]; then good; else bad "a job" "$scratch/job"; fi
if [[ $(tail -n 1 "$scratch/audit") == 0 ]]; then good; else bad "what the job made" "$scratch/audit"; fi
if [[ $(cat "$scratch/ended") == 0 ]]; then good; else bad "the server ended with $(cat "$scratch/ended")" "$scratch/served"; fi
finish
