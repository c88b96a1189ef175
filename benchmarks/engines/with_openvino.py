"""OpenVINO on the CPU, set for one answer at a time, in float32: it would take bfloat16 where the processor has it."""

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
    if os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":
        refuse_avx512(compiled)
    request = compiled.create_infer_request()
    x, _ = cases.batch(case)
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]


def refuse_avx512(compiled):
    """OpenVINO carries a oneDNN of its own; that it obeys the same variable is not documented, so look."""
    kinds = {str(node.get_rt_info()["primitiveType"].value) for node in compiled.get_runtime_model().get_ops()}
    if wide := sorted(kind for kind in kinds if "avx512" in kind or "amx" in kind):
        raise RuntimeError(f"OpenVINO: expected kernels of at most AVX2, got {', '.join(wide)}; leave it out")
