#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Judges the mmproj files of `organ convert --to gguf`: libmtmd's embeddings of an image against get_image_features of transformers.

    python3 bench/mmproj_embeddings.py [--types f32,f16,q8_0] [--converter LLAMA_CPP] [--write] [FAMILY...]

FAMILY is one of fixtures/make_towers.py, whose small random models are made and converted; all by default. Prints a row for each family and type:
the relative difference of the embeddings (norm of the difference divided by the norm of transformers'), and with --converter, a checkout of
llama.cpp, the tensors and keys in which the file differs from that of its convert_hf_to_gguf.py --mmproj. Audio towers are converted, but no row
judges them. --write replaces the rows of fixtures/towers.tsv. Exits with 1 if a difference exceeds BOUNDS, or a file differs in
another way than EXPECTED says.

The text model that libmtmd needs is a GGUF file of one layer with the width and general.architecture of the family's. Needs torch, transformers
5.24, gguf and llama-cpp-python 0.3.36. libmtmd may end the process of a file that it refuses, so each judgement has its own process."""

import argparse
import ctypes
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = os.environ["GGML_NO_BACKTRACE"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "fixtures")]

import gguf
import make_towers
import numpy as np

TABLE = ROOT / "fixtures/towers.tsv"
HEADER = "# made by bench/mmproj_embeddings.py --write: family, type of the mmproj, embeddings, relative difference, differences from llama.cpp's converter"
BOUNDS = {"f32": 2e-3, "f16": 4e-3, "bf16": 2e-2, "q8_0": 3e-2}
# Width and height of an image that libmtmd does not resize.
SIZES = {"qwen2_vl": (128, 64), "qwen2_5_vl": (140, 84), "qwen3_vl": (128, 96), "qwen3_vl_moe": (128, 96), "qwen3_5": (128, 96),
         "gemma3": (112, 112), "smolvlm": (64, 64), "idefics3": (64, 64), "lfm2_vl": (256, 256), "mistral3": (128, 64), "llava": (64, 48),
         "glm4v": (112, 84), "llama4": (56, 56), "gemma4": (480, 480)}
# Differences of llama.cpp's converter from organ's files, by faults of the converter (docs/mmproj.md).
EXPECTED = {"llama4": r"tensor v\.blk\.\d+\.(attn_post_norm|ln2)\.(weight|bias): only (here|there)",
            "mistral3": r"tensor v\.token_embd\.img_break: only here", "llava": r"tensor v\.token_embd\.img_break: only here",
            # whole numbers of JSON become INT32 there; log(1 + exp) differs in the last bit
            "gemma4": r"key clip\.(use_gelu: only here|vision\.image_(mean|std): .*)|tensor a\.blk\.\d+\.per_dim_scale\.weight: .*"}


def organ(*words):
    done = subprocess.run([ROOT / "build/organ", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"organ {' '.join(map(str, words))}: {done.stderr}")


# ---- the text model ----

def text_model(path, family, width, deep):
    """A model of one layer with 256 tokens."""
    name = {"qwen2_vl": "qwen2vl", "qwen2_5_vl": "qwen2vl", "qwen3_vl": "qwen3vl", "qwen3_vl_moe": "qwen3vl", "qwen3_5": "qwen2vl",
            "glm4v": "qwen2vl"}.get(family, "llama")
    out = gguf.GGUFWriter(path, name)
    out.add_block_count(1)
    out.add_context_length(4096)
    out.add_embedding_length(width)
    out.add_feed_forward_length(32)
    out.add_head_count(4)
    out.add_head_count_kv(4)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_dimension_count(width // 4)
    if name != "llama":
        out.add_rope_dimension_sections([2, 3, 3, 0])
    if name == "qwen3vl":
        out.add_key_length(width // 4)
        out.add_value_length(width // 4)
        out.add_num_deepstack_layers(deep)
    tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % n for n in range(256)] + [b"[IMG_BREAK]", b"[IMG_END]", b"[IMG]"]
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * len(tokens))
    out.add_token_types([2, 3, 3] + [6] * 256 + [3] * 3)
    random = np.random.default_rng(1)
    shapes = {"token_embd": (len(tokens), width), "output_norm": (width,), "output": (len(tokens), width), "blk.0.attn_norm": (width,),
              "blk.0.ffn_norm": (width,), "blk.0.ffn_gate": (32, width), "blk.0.ffn_up": (32, width), "blk.0.ffn_down": (width, 32)}
    shapes.update({f"blk.0.attn_{part}": (width, width) for part in ("q", "k", "v", "output")})
    if name == "qwen3vl":
        shapes.update({"blk.0.attn_q_norm": (width // 4,), "blk.0.attn_k_norm": (width // 4,)})
    for part, shape in shapes.items():
        out.add_tensor(part + ".weight", random.standard_normal(shape, dtype=np.float32) * np.float32(0.1))
    if name == "qwen2vl":
        for part in ("q", "k", "v"):
            out.add_tensor(f"blk.0.attn_{part}.bias", np.zeros(width, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


# ---- libmtmd ----

def mtmd_embeddings(text, mmproj, image, sound):
    """Rows of all chunks that are no text."""
    import llama_cpp
    from llama_cpp import mtmd_cpp
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(text).encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise RuntimeError("llama.cpp refuses the text model")
    params = mtmd_cpp.mtmd_context_params_default()
    params.use_gpu = params.warmup = False
    params.n_threads = 1
    context = mtmd_cpp.mtmd_init_from_file(str(mmproj).encode(), model, params)
    if not context:
        raise RuntimeError("libmtmd refuses the mmproj")
    if sound is None:
        height, wide = image.shape[:2]
        bitmap = mtmd_cpp.mtmd_bitmap_init(wide, height, (ctypes.c_uint8 * image.size).from_buffer_copy(image.tobytes()))
    else:
        bitmap = mtmd_cpp.mtmd_bitmap_init_from_audio(len(sound), (ctypes.c_float * len(sound)).from_buffer_copy(sound.tobytes()))
    chunks = mtmd_cpp.mtmd_input_chunks_init()
    words = mtmd_cpp.mtmd_input_text()
    words.text = mtmd_cpp.mtmd_default_marker()
    words.text_len = len(words.text)
    words.add_special, words.parse_special = False, True
    bitmaps = (ctypes.c_void_p * 1)(bitmap)
    if mtmd_cpp.mtmd_tokenize(context, chunks, ctypes.byref(words), bitmaps, 1):
        raise RuntimeError("libmtmd does not tokenise the image")
    width, rows = llama_cpp.llama_model_n_embd_inp(model), []
    for k in range(mtmd_cpp.mtmd_input_chunks_size(chunks)):
        chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, k)
        if mtmd_cpp.mtmd_input_chunk_get_type(chunk) == 0:
            continue
        if mtmd_cpp.mtmd_encode_chunk(context, chunk):
            raise RuntimeError("libmtmd does not encode the image")
        count = mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk)
        made = mtmd_cpp.mtmd_get_output_embd(context)
        rows.append(np.ctypeslib.as_array(ctypes.cast(made, ctypes.POINTER(ctypes.c_float)), (count, width)).copy())
    return rows


# ---- transformers ----

def patches(pixels, patch, merge):
    """Pixels of an image as Qwen's processor orders them: blocks of merge x merge patches, the frame twice."""
    colours, height, wide = pixels.shape
    rows, columns = height // patch, wide // patch
    split = pixels.reshape(colours, rows // merge, merge, patch, columns // merge, merge, patch).transpose(1, 4, 2, 5, 0, 3, 6)
    flat = split.reshape(rows * columns, colours, 1, patch, patch).repeat(2, axis=2)
    return flat.reshape(rows * columns, -1), [1, rows, columns]


def joined(found):
    """Rows of a tensor, or of tensors for each image."""
    if isinstance(found, (list, tuple)):
        return np.concatenate([joined(rows) for rows in found])
    return found.detach().numpy().reshape(-1, found.shape[-1])


def plain(found):
    """The rows of tokens, and those of each entry of deepstack."""
    deep = getattr(found, "deepstack_features", None) or []
    return joined(found.pooler_output if hasattr(found, "pooler_output") else found), [joined(rows) for rows in deep]


def reference(family, folder, image):
    import torch
    from transformers import AutoModelForImageTextToText
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model = getattr(model, "model", model)
    about = make_towers.FAMILIES[family][3]
    mean, std = (np.array(about[name], np.float32)[:, None, None] for name in ("image_mean", "image_std"))
    pixels = (image.transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std
    vision = model.config.vision_config
    with torch.no_grad():
        if family.startswith("qwen") or family == "glm4v":
            values, grid = patches(pixels, vision.patch_size, vision.spatial_merge_size)
            found = model.get_image_features(torch.tensor(values), torch.tensor([grid]))
        elif family == "lfm2_vl":
            p = vision.patch_size
            rows, columns = pixels.shape[1] // p, pixels.shape[2] // p
            values = pixels.reshape(3, rows, p, columns, p).transpose(1, 3, 2, 4, 0).reshape(1, rows * columns, p * p * 3)
            found = model.get_image_features(torch.tensor(values), torch.tensor([[rows, columns]]),
                                             torch.ones(1, rows * columns, dtype=torch.long))
        elif family == "gemma4":
            p = vision.patch_size
            rows, columns = pixels.shape[1] // p, pixels.shape[2] // p
            values = pixels.reshape(3, rows, p, columns, p).transpose(1, 3, 2, 4, 0).reshape(1, rows * columns, p * p * 3)
            places = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(1, rows * columns, 2)
            found = model.get_image_features(torch.tensor(values), torch.tensor(places))
        elif family in ("smolvlm", "idefics3"):
            found = model.get_image_features(torch.tensor(pixels[None, None]))
        elif family in ("mistral3", "llava"):
            found = model.get_image_features(torch.tensor(pixels[None]), image_sizes=torch.tensor([pixels.shape[1:]]))
        elif family == "llama4":  # the projector follows
            seen = model.get_image_features(torch.tensor(pixels[None]))
            seen = getattr(seen, "last_hidden_state", seen)
            found = model.multi_modal_projector(seen.reshape(-1, seen.shape[-1]))
        else:
            found = model.get_image_features(torch.tensor(pixels[None]))
    rows, deep = plain(found)
    return np.concatenate([rows, *deep], axis=1)


def without_breaks(family, rows, image, folder):
    """Pixtral: a token follows each row of patches but the last."""
    if family not in ("mistral3", "llava"):
        return rows
    config = json.loads((folder / "config.json").read_text())
    columns = image.shape[1] // config["vision_config"]["patch_size"] // config.get("spatial_merge_size", 1)
    return np.delete(rows, np.arange(columns, len(rows), columns + 1), axis=0)


def transposed(family, rows, image, folder):
    """Llama 4: libmtmd gives the tokens column by column (docs/mmproj.md)."""
    if family != "llama4":
        return rows
    side = int(len(rows) ** 0.5)
    return rows.reshape(side, side, -1).transpose(1, 0, 2).reshape(len(rows), -1)


def judged(family, folder, text, mmproj, queue):
    image = np.random.default_rng(2).integers(0, 256, (*SIZES[family][::-1], 3), dtype=np.uint8)
    # smooth, so that rounded pixels count little
    image = (image // 8 + np.linspace(0, 200, image.shape[1])[None, :, None]).astype(np.uint8)
    try:
        made = mtmd_embeddings(text, mmproj, image, None)
        wanted = reference(family, folder, image)
        found = np.concatenate(made)[-len(wanted) if family in ("smolvlm", "idefics3") else 0:]
        found = transposed(family, without_breaks(family, found, image, folder), image, folder)
        if found.shape != wanted.shape:
            raise RuntimeError(f"libmtmd gives {found.shape}, transformers {wanted.shape}")
        queue.put(float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)))
    except Exception as fault:  # the message is the row's remark
        queue.put(f"{type(fault).__name__}: {fault}")


# ---- llama.cpp's converter ----

def contents(path):
    reader = gguf.GGUFReader(path)
    keys = {name: (field.types, field.contents()) for name, field in reader.fields.items() if name.startswith("clip.")}
    return keys, {t.name: (t.tensor_type.name, list(t.shape), t.data.tobytes()) for t in reader.tensors}


def differences(here, there):
    found = []
    for kind, a, b in zip(("key", "tensor"), contents(here), contents(there)):
        for name in sorted({*a, *b}):
            if name not in a or name not in b:
                found.append(f"{kind} {name}: only {'here' if name in a else 'there'}")
            elif a[name] != b[name]:
                words = f"{a[name]} and {b[name]}" if kind == "key" else f"{a[name][:2]} and {b[name][:2]}"
                found.append(f"{kind} {name}: {words}")
    return found


def converted(llama, folder, path, kind):
    # the converter does not know the layout that transformers 5.24 saves for these families
    words = [sys.executable, llama / "convert_hf_to_gguf.py", folder, "--mmproj", "--outtype", kind, "--outfile", path]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": f"{llama}/gguf-py"}, capture_output=True, text=True, check=False)
    return None if path.exists() and not done.returncode else (done.stderr.strip().splitlines() or ["no file"])[-1]


# ---- all ----

def alone(work, *words):
    queue = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(*words, queue))
    process.start()
    try:
        return queue.get(timeout=300)
    except Exception:
        return "libmtmd ended the process"
    finally:
        process.join(5)
        process.kill()


def rows_of(family, options, scratch):
    folder, rows = scratch / family, []
    make_towers.save(family, folder)
    make_towers.add_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    text = scratch / "text.gguf"
    deep = len(config["vision_config"].get("deepstack_visual_indexes") or [])
    text_model(text, family, config["text_config"]["hidden_size"], deep)
    for kind in options.types.split(","):
        made = scratch / f"{family}-{kind}.gguf"
        organ("convert", folder, "-o", made, "--to", "gguf", "--mmproj", "only", "--mmproj-dtype", kind, "--force", "--quiet")
        found = alone(judged, family, folder, text, made)
        row = [family, kind, "image", f"{found:.1e}" if isinstance(found, float) else found, ""]
        if options.converter:
            other = scratch / f"{family}-{kind}-other.gguf"
            fault = converted(Path(options.converter), folder, other, kind)
            wrong = [fault] if fault else differences(made, other)
            row[4] = "; ".join(wrong) or "none"
        rows.append(row)
        print("\t".join(row), flush=True)
    return rows


def is_wrong(row):
    known = re.compile(EXPECTED.get(row[0], "none"))
    try:
        return float(row[3]) > BOUNDS[row[1]] or not all(part in ("", "none") or known.fullmatch(part) for part in row[4].split("; "))
    except ValueError:
        return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--types", default="f32,f16,q8_0")
    parser.add_argument("--converter")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("families", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [row for family in options.families or make_towers.FAMILIES for row in rows_of(family, options, Path(scratch))]
    if options.write:
        TABLE.write_text("\n".join([HEADER, *("\t".join(row) for row in rows)]) + "\n")
    sys.exit(any(map(is_wrong, rows)))


if __name__ == "__main__":
    main()
