#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs a job of each form that the server offers: of every verb and, where the form of the work depends on the arguments (outputs of GGUF, steps after a
# merge, a model with an adapter, a dry run), of each. A verb that the server lists and that has no row fails.
. "$(dirname "$0")/../../kit/serve_kit.sh"
fixtures=${organ%/build/organ}/fixtures
mkdir -p root/models root/o root/parts
cp -rL "$fixtures/forward/qwen2" root/models/small
cp -rL "$model" root/models/tiny
cp -rL "$fixtures/tiny-moe" root/models/moe
cp -rL "$fixtures/tiny-lora" root/models/lora
cp -L "$fixtures/forward/qwen3moe.gguf" root/models/moe.gguf
cp -rL "$fixtures/precision/ct-packed-group" root/models/packed
chmod -R u+w root
head -c 1200 "$model/heldout.txt" >root/text
text='"calibration":"text","samples":1,"context":32'
"$organ" prune root/models/small -o root/cut --quiet >/dev/null && "$organ" extract root/models/small -o root/parts/p --quiet >/dev/null &&
    "$organ" lora sanitize root/models/lora -o root/models/second --quiet >/dev/null &&
    "$organ" lora merge --base root/models/tiny --adapter root/models/lora -o root/tuned --quiet >/dev/null &&
    "$organ" lora extract --base root/models/tiny --tuned root/tuned --rank 2 --select "*.self_attn.v_proj" -o root/fine --quiet >/dev/null &&
    mkdir root/files && "$organ" gguf split root/models/moe.gguf -o root/files/moe --max-tensors 9 --quiet >/dev/null &&
    "$organ" patch extract --base root/models/small --tuned root/cut -o root/diff --quiet >/dev/null &&
    "$organ" prune root/models/moe.gguf -o root/cut.gguf --quiet >/dev/null || bad "no inputs"

# VERB ARGUMENTS: a line for each form; o/N is the output of the N-th.
cat >../forms <<EOF
inspect "MODEL":"models/small"
quantize "MODEL":"models/small","scheme":"int4-group32","output":"o/%"
quantize "MODEL":"models/small","scheme":"q4_0","output":"o/%.gguf"
quantize "MODEL":"models/small","scheme":"q4_0","output":"o/%.gguf","dry-run":true
quantize "MODEL":"models/moe.gguf","scheme":"q4_0","output":"o/%.gguf"
quantize "MODEL":"models/tiny","scheme":"int4-group32","output":"o/%","method":"gptq","repair-rank":2,$text
dequantize "MODEL":"models/packed","output":"o/%"
convert "MODEL":"models/small","to":"gguf","output":"o/%.gguf"
convert "MODEL":"models/moe.gguf","to":"safetensors","output":"o/%"
imatrix "MODEL":"models/tiny","output":"o/%.gguf","calibration":"text","context":32,"chunks":2
prune "DONOR":"models/small","output":"o/%"
audit "DONOR":"models/small","PRUNED":"cut"
purify "MODEL":"models/small","output":"o/%","method":"haar","select":"all"
experts "MODEL":"models/moe","output":"o/%","keep":"4",$text
layers "MODEL":"models/small","output":"o/%","drop":"1-1"
width "MODEL":"models/tiny","output":"o/%","ffn":"50%%","heads":"1",$text
vocabulary "MODEL":"models/tiny","text":["text"]
vocabulary "MODEL":"models/tiny","text":["text"],"output":"o/%"
evaluate "DONOR":"models/tiny","PRUNED":["tuned"],"text":"text"
perplexity "MODEL":"models/tiny","text":"text"
generate "MODEL":"models/tiny","prompt":"a b","tokens":3
tokenize "MODEL":"models/tiny","text":"text"
lora extract "base":"models/tiny","tuned":"tuned","rank":2,"output":"o/%"
lora merge "base":"models/tiny","adapter":"models/lora","output":"o/%"
lora combine "ADAPTER":["models/lora","models/second"],"method":"cat","output":"o/%"
lora combine "ADAPTER":["models/lora","models/second"],"output":"o/%","dry-run":true
lora resize "ADAPTER":"models/lora","rank":2,"output":"o/%"
lora sanitize "ADAPTER":"models/lora","output":"o/%"
merge "MODEL":["models/small","cut"],"method":"linear","output":"o/%"
merge "MODEL":["models/small","cut"],"method":"linear","output":"o/%.gguf"
merge "MODEL":["models/small","cut"],"method":"linear","output":"o/%.gguf","dry-run":true
merge "MODEL":["models/small","cut"],"method":"linear","then":"q4_0","output":"o/%.gguf"
merge "MODEL":["models/small","cut"],"method":"linear","then":"int4-group32","output":"o/%"
merge "MODEL":["models/tiny","models/tiny+fine"],"method":"linear","output":"o/%"
merge "MODEL":["models/moe.gguf","cut.gguf"],"method":"linear","output":"o/%"
extract "MODEL":"models/small","output":"o/%"
assemble "DIR":"parts/p","output":"o/%.safetensors"
gguf split "MODEL":"models/moe.gguf","max-tensors":9,"output":"o/%"
gguf join "FIRST":"files","output":"o/%.gguf"
patch extract "base":"models/small","tuned":"cut","output":"o/%"
patch apply "base":"models/small","patch":"diff","output":"o/%"
graft "source":"cut","target":"models/small","select":"feed-forward","output":"o/%"
measure "MODEL":["models/small"],"output":"o/%"
fleet "DIR":"models","output":"o/%"
autopsy "MODEL":"models/small","output":"o/%"
orthogonality "CLEAN":"models/tiny","NOISY":"tuned","ADAPTER":"models/lora","output":"o/%"
compare "MODEL":["models/small","cut"]
compare "MODEL":["models/tiny","models/tiny+fine"]
topology
EOF

serve
gives 200 GET /api/v1/verbs
tail -n 1 "$answer" | jq -r '.. | .name? // empty' | sort -u >../verbs
judge "the list of verbs is empty" test -s ../verbs
while read -r verb; do
    judge "the verb '$verb' has no row" grep -q "^$verb\( \"\|\$\)" ../forms
done <../verbs
ended() { http GET "/api/v1/jobs/$id" && [[ $(member state) != running && $(member state) != queued ]]; }
number=0
while IFS= read -r row; do
    number=$((number + 1))
    verb=${row%% \"*} arguments=
    [[ $row == *\"* ]] && arguments=${row#"$verb "}
    arguments=${arguments//%%/@} arguments=${arguments//%/$number} arguments=${arguments//@/%}
    gives 201 POST /api/v1/jobs "{\"verb\":\"$verb\",\"arguments\":{$arguments}}"
    id=$(member id)
    await ended
    here="the job of $verb $arguments"
    if [[ $(member state) == done ]]; then good; else bad "is $(member state)" "$answer"; fi
done <../forms
judge "hidden files are left: $(find root/o -name '.*.organ-*')" test -z "$(find root/o -name '.*.organ-*')"
gives 404 POST /api/v1/jobs '{"verb":"merge","arguments":{"MODEL":["models/tiny","models/tiny+models/none"],"method":"linear","output":"o/none"}}'
has "models/none"
kill -TERM "$server" && wait "$server"
server=
finish
