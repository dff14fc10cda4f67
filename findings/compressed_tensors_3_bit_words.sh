#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# compressed-tensors 0.20.1 unpacks weights of 3, 5, 6 and 7 bits that 0.14.0 packed into other values, without an error.
#
# pack-quantized stores codes in words of 32 bits. 0.14.0 puts 32 / bits whole codes into a word and leaves the other bits unused: 64 codes of 3
# bits take 7 words. 0.20.1 packs the bits without gaps: 6 words. unpack_from_int32 of 0.20.1 takes the first 6 of the 7 words and cuts them at
# the wrong places. Only the number of words tells the two layouts apart, and the function does not compare it with the shape. Codes of 2, 4 and
# 8 bits are equal in both. transformers 5.24 notices the other shape when it loads such a model, and ends with an error.
#
# Seen on a CPU with the versions below (torch 2.13.0): codes of 3 bits -4 -3 -2 -1 0 1 2 3 -4 -3 -2 -1 ... come back as
# -4 -3 -2 -1 0 1 2 3 -4 -3 -4 1 ..., 16 of 64 equal; 5, 6 and 7 bits likewise. The script exits with 1 if that changes.
# Needs python3 with venv, a network and 3 GB in TMPDIR.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.24.0 pydantic loguru frozendict psutil numpy
venv/bin/pip install -q --no-deps --target old compressed-tensors==0.14.0
venv/bin/pip install -q --no-deps --target new compressed-tensors==0.20.1

cat >pack.py <<'PY'
import sys, torch, compressed_tensors
assert compressed_tensors.__version__ == "0.14.0"
from compressed_tensors.compressors.quantized_compressors.pack_quantized import pack_to_int32
made = {}
for bits in range(2, 9):
    codes = (torch.arange(64).reshape(1, 64) % (1 << bits) - (1 << bits - 1)).to(torch.int8)
    made[bits] = codes, pack_to_int32(codes, bits)
torch.save(made, "words.pt")
PY
cat >unpack.py <<'PY'
import torch, compressed_tensors
assert compressed_tensors.__version__ == "0.20.1"
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
for bits, (codes, words) in torch.load("words.pt").items():
    back = unpack_from_int32(words, bits, codes.shape)
    print(bits, "bits:", words.shape[1], "words by 0.14.0,", pack_to_int32(codes, bits).shape[1], "by 0.20.1;", int((back == codes).sum()),
          "of 64 codes equal")
PY
PYTHONPATH=old venv/bin/python pack.py
PYTHONPATH=new venv/bin/python unpack.py | tee seen
cat >expected <<'SEEN'
2 bits: 4 words by 0.14.0, 4 by 0.20.1; 64 of 64 codes equal
3 bits: 7 words by 0.14.0, 6 by 0.20.1; 16 of 64 codes equal
4 bits: 8 words by 0.14.0, 8 by 0.20.1; 64 of 64 codes equal
5 bits: 11 words by 0.14.0, 10 by 0.20.1; 7 of 64 codes equal
6 bits: 13 words by 0.14.0, 12 by 0.20.1; 6 of 64 codes equal
7 bits: 16 words by 0.14.0, 14 by 0.20.1; 4 of 64 codes equal
8 bits: 16 words by 0.14.0, 16 by 0.20.1; 64 of 64 codes equal
SEEN
diff expected seen
echo "as seen before"
