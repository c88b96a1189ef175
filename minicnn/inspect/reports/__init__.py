"""What the page has of each kind of layer: what it keeps and why, what it costs, and the numbers its view needs.

There is a report for each layer of `minicnn.layers`. A layer of any other class, also one derived from those, may do
anything; of it the page has what every layer has, and shows its maps.
"""

from minicnn.inspect.passes import LayerPass, is_residual
from minicnn.inspect.reports.activation import ReLUReport
from minicnn.inspect.reports.base import LayerReport
from minicnn.inspect.reports.batchnorm import BatchNorm2dReport
from minicnn.inspect.reports.conv import Conv2dReport
from minicnn.inspect.reports.dropout import DropoutReport
from minicnn.inspect.reports.flatten import FlattenReport
from minicnn.inspect.reports.linear import LinearReport
from minicnn.inspect.reports.log_softmax import LogSoftmaxReport
from minicnn.inspect.reports.pooling import PoolingReport
from minicnn.inspect.reports.residual import ResidualReport
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)

REPORTS: dict[type[Layer], type[LayerReport]] = {
    Conv2d: Conv2dReport,
    Linear: LinearReport,
    BatchNorm2d: BatchNorm2dReport,
    ReLU: ReLUReport,
    MaxPool2d: PoolingReport,
    AvgPool2d: PoolingReport,
    AdaptiveMaxPool2d: PoolingReport,
    AdaptiveAvgPool2d: PoolingReport,
    Dropout: DropoutReport,
    Flatten: FlattenReport,
    LogSoftmax: LogSoftmaxReport,
}


def report_of(layer_pass: LayerPass) -> LayerReport:
    """The `LayerReport` of what a layer did.

    Of one unbatched image between the layers, (C, H, W), the general one, and of a convolution with dilation, groups or
    uneven padding: its view draws windows without them.
    """
    if is_residual(layer_pass.layer):
        return ResidualReport(layer_pass)
    known = REPORTS.get(type(layer_pass.layer), LayerReport)
    if known in (Conv2dReport, PoolingReport) and layer_pass.x.ndim != 4:
        return LayerReport(layer_pass)
    if known is Conv2dReport and not layer_pass.layer.is_plain:  # type: ignore[attr-defined]  # a Conv2d
        return LayerReport(layer_pass)
    return known(layer_pass)
