"""OpenVINO on the CPU, set for one answer at a time, in float32: it would take bfloat16 where the processor has it.

Told by ONEDNN_MAX_CPU_ISA to keep to AVX2, its convolutions do (`brgconv_avx2_f32` in `get_runtime_model`), but its
reductions, the global pooling among them, do not (`jit_avx512_f32`; 2026.4): it is left out of `--isa avx2`.
"""

import os

import openvino

from engines import cases, onnx_file


def make(what, case):
    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(onnx_file.model(case)), "CPU", settings)
    request = compiled.create_infer_request()
    x, _ = cases.batch(case)
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]
