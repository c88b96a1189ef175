"""onnxruntime on the CPU."""

import os

import onnxruntime

from engines import cases, onnx_file


def make(what, case):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    session = onnxruntime.InferenceSession(onnx_file.model(case), options, providers=["CPUExecutionProvider"])
    x, _ = cases.batch(case)
    return lambda: session.run(None, {"images": x})[0]
