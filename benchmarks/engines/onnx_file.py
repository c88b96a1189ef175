"""SimpleNet as an ONNX model in evaluation, for the engines that read one."""

from onnx import TensorProto, helper, numpy_helper

from engines import cases

OPSET, IR_VERSION = 17, 8  # of 2022: any onnxruntime and OpenVINO of today reads them


def model(case):
    """The bytes of the file. The number and the size of the images are fixed, which is what is fastest."""
    n_images, side, width = cases.numbers_in(case)
    arrays = {name: array for name, array in cases.weights(width).items() if "num_batches" not in name}
    nodes, last = [], "images"

    def add(kind, place, inputs=(), **attributes):
        nonlocal last
        parameters = [f"{place}.{name}" for name in inputs]
        nodes.append(helper.make_node(kind, [last, *parameters], [f"{kind} {place}"], **attributes))
        last = f"{kind} {place}"

    for place in cases.CONVOLUTIONS:
        add("Conv", place, ("weight", "bias"), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        add("BatchNormalization", place + 1, ("weight", "bias", "running_mean", "running_var"), epsilon=1e-5)
        add("Relu", place + 2)
    add("GlobalMaxPool", 9)
    add("Flatten", 10)
    add("Gemm", cases.LINEAR, ("weight", "bias"), transB=1)
    add("LogSoftmax", 12, axis=1)

    graph = helper.make_graph(
        nodes,
        "SimpleNet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [n_images, 3, side, side])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [n_images, 10])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
