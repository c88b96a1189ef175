"""The reference backend: NumPy, written to be read. Shapes and meanings: see `minicnn.backends`."""

from minicnn.backends.reference.arrays import asarray, copy, prefetch, scale_, sum_of_squares, to_numpy
from minicnn.backends.reference.batchnorm import update_running_statistics_
from minicnn.backends.reference.compile import compile_kernels
from minicnn.backends.reference.device import require_device
from minicnn.backends.reference.fused import (
    fused_conv_backward,
    fused_conv_forward,
    fused_max,
    fused_max_backward,
    fused_output,
    fused_output_backward,
    fused_predict,
    fused_renormalised,
)
from minicnn.backends.reference.linear import (
    linear_bias_gradient,
    linear_forward,
    linear_input_gradient,
    linear_weight_gradient,
)
from minicnn.backends.reference.log_softmax import log_softmax_backward, log_softmax_forward
from minicnn.backends.reference.losses import nll_loss_backward, nll_loss_forward
from minicnn.backends.reference.mixed import (
    add,
    avg_pool2d_backward,
    avg_pool2d_forward,
    batchnorm2d_eval_backward,
    batchnorm2d_forward,
    batchnorm2d_statistics,
    batchnorm2d_train_backward,
    conv2d_bias_gradient,
    conv2d_forward,
    conv2d_input_gradient,
    conv2d_weight_gradient,
    dropout,
    general_conv2d_forward,
    general_conv2d_input_gradient,
    general_conv2d_weight_gradient,
    max_pool2d_backward,
    max_pool2d_forward,
    relu_backward,
    relu_forward,
)
from minicnn.backends.reference.optim import adam_step_, foreach_adam_step_, foreach_sgd_step_, sgd_step_
