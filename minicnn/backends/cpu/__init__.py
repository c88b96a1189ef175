"""The CPU backend: Numba, written to be run. Shapes and meanings: see `minicnn.backends`."""

from minicnn.backends.cpu.activation import relu_backward, relu_forward
from minicnn.backends.cpu.addition import add
from minicnn.backends.cpu.arrays import asarray, copy, prefetch, scale_, sum_of_squares, to_numpy
from minicnn.backends.cpu.batchnorm import (
    batchnorm2d_eval_backward,
    batchnorm2d_forward,
    batchnorm2d_statistics,
    batchnorm2d_train_backward,
    update_running_statistics_,
)
from minicnn.backends.cpu.compile import compile_kernels
from minicnn.backends.cpu.conv import (
    conv2d_bias_gradient,
    conv2d_forward,
    conv2d_input_gradient,
    conv2d_weight_gradient,
)
from minicnn.backends.cpu.dropout import dropout
from minicnn.backends.cpu.fused import (
    fused_conv_backward,
    fused_conv_forward,
    fused_max,
    fused_max_backward,
    fused_output,
    fused_output_backward,
    fused_predict,
    fused_renormalised,
)
from minicnn.backends.cpu.general_conv import (
    general_conv2d_forward,
    general_conv2d_input_gradient,
    general_conv2d_weight_gradient,
)
from minicnn.backends.cpu.linear import (
    linear_bias_gradient,
    linear_forward,
    linear_input_gradient,
    linear_weight_gradient,
)
from minicnn.backends.cpu.log_softmax import log_softmax_backward, log_softmax_forward
from minicnn.backends.cpu.losses import nll_loss_backward, nll_loss_forward
from minicnn.backends.cpu.optim import adam_step_, foreach_adam_step_, foreach_sgd_step_, sgd_step_
from minicnn.backends.cpu.pooling import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from minicnn.backends.cpu.runtime.device import require_device
