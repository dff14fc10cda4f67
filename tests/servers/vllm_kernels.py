# SPDX-License-Identifier: MIT
"""Kernels in plain PyTorch for what vLLM 0.32 does not multiply on a CPU. Reading, joining and checking the weights stay vLLM's own code; each kernel turns them
into BF16 when they are loaded, rounds the inputs as its format asks, and calls torch's product. `install()` registers them beside vLLM's kernels for CPUs."""
import torch
import vllm.model_executor.kernels.linear as linear
from torch.nn.functional import linear as product, pad
from vllm import _custom_ops
from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import MPLinearKernel
from vllm.model_executor.kernels.linear.mxfp4.base import MxFp4LinearKernel
from vllm.model_executor.kernels.linear.mxfp8.emulation import EmulationMxfp8LinearKernel
from vllm.model_executor.kernels.linear.nvfp4.base import NvFp4LinearKernel
from vllm.model_executor.kernels.linear.nvfp4.emulation import EmulationNvFp4LinearKernel
from vllm.model_executor.kernels.linear.scaled_mm.BlockScaledMMLinearKernel import Fp8BlockScaledMMLinearKernel
from vllm.platforms import PlatformEnum

MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1 = torch.tensor(MAGNITUDES + tuple(-value for value in MAGNITUDES))
E4M3_MOST = 448.0
BLOCK = 128


def store(layer, values):
    """Makes `values` the matrix that apply() multiplies by."""
    layer.plain = torch.nn.Parameter(values.to(torch.bfloat16), requires_grad=False)


def apply(layer, x, bias):
    return product(x, layer.plain.to(x.dtype), bias)


def grouped(codes, scales):
    """Multiplies each group of a row by its scale."""
    rows, groups = scales.shape
    return (codes.reshape(rows, groups, -1) * scales[:, :, None]).reshape(rows, -1)


def nibbles(packed):
    """Returns the E2M1 values of bytes, the low half of each first."""
    return E2M1[torch.stack((packed & 15, packed >> 4), -1).long()].reshape(packed.shape[0], -1)


def unpacked(words, bits, count):
    """Returns `count` numbers of `bits` bits from each row of 32-bit words, without gaps, the lowest bits first."""
    positions = torch.arange(32, dtype=torch.int64)
    stream = ((words.long()[:, :, None] >> positions) & 1).reshape(words.shape[0], -1)[:, :bits * count]
    return (stream.reshape(words.shape[0], count, bits) << torch.arange(bits)).sum(-1)


def e4m3(x, scale):
    """Rounds x / scale to FP8 E4M3."""
    return (x.float() / scale).clamp(-E4M3_MOST, E4M3_MOST).to(torch.float8_e4m3fn)


class Supported:
    @classmethod
    def is_supported(cls, compute_capability=None):
        return True, None

    @classmethod
    def can_implement(cls, config):
        return True, None


class Integers(MPLinearKernel):
    """2 to 8 bits in groups of compressed-tensors, with rounded inputs in INT8 if the layer asks for them."""

    @classmethod
    def get_min_capability(cls):
        return -1

    @classmethod
    def can_implement(cls, c):
        return (False, "the kernel has no zero points") if c.zero_points else (True, None)

    def process_weights_after_loading(self, layer):
        packed, scales, _ = self._get_weight_params(layer)
        if packed.input_dim != 1:
            raise NotImplementedError("the reference kernel reads rows that are packed along their inputs")
        kind = self.config.weight_type
        codes = unpacked(packed.data, kind.size_bits, self.config.partition_weight_shape[0]) - kind.bias
        store(layer, grouped(codes.float(), scales.data.float()))
        layer.rounds_inputs = getattr(layer, "_humming_input_quant_config", None) is not None

    def apply_weights(self, layer, x, bias=None):
        if layer.rounds_inputs:
            scale = x.float().abs().amax(-1, keepdim=True).clamp(min=1e-10) / 127
            x = ((x.float() / scale).round().clamp(-127, 127) * scale).to(x.dtype)
        return apply(layer, x, bias)


class Nvfp4Weights(Supported, NvFp4LinearKernel):
    def process_weights_after_loading(self, layer):
        store(layer, grouped(nibbles(layer.weight.data), layer.weight_scale.data.float() * layer.weight_global_scale.data))

    def apply_weights(self, layer, x, bias=None):
        return apply(layer, x, bias)


class Mxfp4(Supported, MxFp4LinearKernel):
    """Inputs are rounded where vLLM's description of the layer says so: to E2M1 in groups of 32, with the power of two that gives the greatest magnitude its place."""

    def process_weights_after_loading(self, layer):
        store(layer, grouped(nibbles(layer.weight.data), torch.exp2(layer.weight_scale.data.float() - 127)))

    def apply_weights(self, layer, x, bias=None):
        if self.config.activation_quant_key is not None:
            x = rounded_mxfp4(x)
        return apply(layer, x, bias)


def rounded_mxfp4(x):
    groups = x.float().reshape(*x.shape[:-1], -1, 32)
    scale = torch.exp2(torch.floor(torch.log2(groups.abs().amax(-1, keepdim=True).clamp(min=2.0**-120))) - 2)
    steps = torch.tensor(MAGNITUDES)
    between = (steps[1:] + steps[:-1]) / 2
    size = (groups / scale).abs().clamp(max=6.0)
    nearest = steps[torch.bucketize(size, between)]
    # A value in the middle of two steps gets the one whose code is even.
    low = torch.bucketize(size, between).clamp(max=len(MAGNITUDES) - 2)
    nearest = torch.where((size == between[low]) & (low % 2 == 1), steps[low + 1], nearest)
    return (nearest.copysign(groups) * scale).reshape(x.shape).to(x.dtype)


class Fp8Blocks(Fp8BlockScaledMMLinearKernel):
    @classmethod
    def is_supported(cls, compute_capability=None):
        return True, None

    def apply_weights(self, layer, x, bias=None, **unused):
        params = self._get_layer_params(layer)
        rows, columns = params.weight.shape
        scales = params.block_scale.float().repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :columns]
        groups = pad(x.float(), (0, -columns % BLOCK)).reshape(*x.shape[:-1], -1, BLOCK)
        scale = groups.abs().amax(-1, keepdim=True).clamp(min=1e-10) / E4M3_MOST
        inputs = (e4m3(groups, scale).float() * scale).reshape(*x.shape[:-1], -1)[..., :columns]
        return product(inputs.to(x.dtype), (params.weight.float() * scales).to(x.dtype), bias)

    def apply_block_scaled_mm(self, A, B, As, Bs):
        raise NotImplementedError


def scaled_fp8_quant(input, scale=None, num_token_padding=None, scale_ub=None, use_per_token_if_dynamic=False, output=None, group_shape=None):
    """Replaces vLLM's function of this name, whose CPU build lacks the operator. It also rounds weights again when q, k and v get one scale."""
    if scale is None:
        sizes = input.float().abs()
        scale = (sizes.amax(-1, keepdim=True) if use_per_token_if_dynamic else sizes.amax()).clamp(min=1e-10) / E4M3_MOST
    rounded = e4m3(input, scale)
    return (rounded if output is None else output.copy_(rounded)), scale


def install_gguf():
    """Dequantises GGUF blocks by the package gguf, because the plugin has no operators for CPUs."""
    import gguf
    import numpy
    import vllm_gguf_plugin.ops as ops

    def dequantized(weight, kind, rows, columns, dtype=None):
        values = gguf.quants.dequantize(weight.contiguous().numpy().view(numpy.uint8), gguf.GGMLQuantizationType(int(kind)))
        return torch.from_numpy(numpy.ascontiguousarray(values, dtype=numpy.float32)).to(dtype or torch.bfloat16)

    def multiplied(weight, x, kind, rows):
        return x @ dequantized(weight, kind, 0, 0, x.dtype).T

    ops.ggml_dequantize = dequantized
    ops.ggml_mul_mat_a8 = ops.ggml_mul_mat_vec_a8 = multiplied


def install():
    cpu = PlatformEnum.CPU
    # vLLM's kernel for 4 bits says that it can multiply on every CPU, but its build for CPUs without AVX-512 lacks the operator.
    first = 0 if not hasattr(torch.ops._C, "cpu_gemm_wna16") else len(linear._POSSIBLE_KERNELS[cpu])
    linear._POSSIBLE_KERNELS[cpu].insert(first, Integers)
    linear._POSSIBLE_NVFP4_KERNELS[cpu] = [EmulationNvFp4LinearKernel]
    linear._POSSIBLE_MXFP4_KERNELS[cpu] = [Mxfp4]
    linear._POSSIBLE_MXFP8_KERNELS[cpu] = [EmulationMxfp8LinearKernel]
    linear._POSSIBLE_FP8_BLOCK_KERNELS[cpu] = [Fp8Blocks]
    linear.MarlinNvFp4LinearKernel = Nvfp4Weights  # forced for weights without rounded inputs
    _custom_ops.scaled_fp8_quant = scaled_fp8_quant
    try:
        install_gguf()
    except ImportError as missing:
        print(f"no kernels for GGUF: {missing}")
