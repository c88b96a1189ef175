"""Backends, and the contract they keep.

A backend is a module that exports every operation below under the same name, with the same arguments. A layer
holds one of them as `layer.ops`; that attribute is the whole dispatch. `network.to("reference")` looks the
module up once and hands it to each layer.

    reference   NumPy, written to be read; the judge of the others
    cpu         Numba `@njit(parallel=True)`, written to be run
    cuda        numba.cuda, for NVIDIA GPUs; its arrays are in the memory of the device

Letters, the same in every docstring, loop and einsum of the package:

    N images          n        F filters (output channels)   f        K classes    k
    C channels        c        KH KW kernel                  i j      D features   d
    H W  image        r s      OH OW output                  p q
    H_n W_n  image n of a batch of different sizes; P pixels of all its images, sum of H_n * W_n

THE CONTRACT. Operations are functions of arrays: they write to none of their arguments, and return new arrays,
C-contiguous and of the dtype of their input, float32 or float64. The exceptions end in an underscore and change their
first arguments in place. Those of `cpu` and `cuda` go through one door, `minicnn.backends.guard`, which holds what they
are given against this list before compiled code sees it; those of `reference` are NumPy's and check nothing, since the
layer has. Each pair of forward and backward stands in one file, and `tests/test_contract.py` holds every backend
against this list.

device        require_device()
                  raise RuntimeError, saying what to do, where this backend cannot run

arrays        asarray(array) -> array                     host array to this backend: contiguous, dtype kept
              to_numpy(array) -> numpy.ndarray            and back
              copy(array) -> array                        an independent copy, on this backend
              prefetch(batches) -> batches              (x, y) after (x, y), x maybe on this backend already
              sum_of_squares(array) -> float              for the norm of a gradient
              scale_(array, factor)                       array *= factor

compile       compile_kernels(dtype, report=None, files=None)
                  make the kernels of these of the files listed here ready, by default of all, and
                  call report(name, done, total) before each

conv          conv2d_forward(x, weight, bias, stride, padding) -> y
                  x (N, C, H, W), weight (F, C, KH, KW), bias (F,) or None, pairs of int -> y (N, F, OH, OW)
              conv2d_input_gradient(dy, weight, input_size, stride, padding) -> dx
                  dy (N, F, OH, OW), weight (F, C, KH, KW), input_size (H, W) -> dx (N, C, H, W)
              conv2d_weight_gradient(dy, x, kernel_size, stride, padding) -> dweight (F, C, KH, KW)
              conv2d_bias_gradient(dy) -> dbias (F,)

batchnorm     batchnorm2d_statistics(x) -> mean (C,), var (C,)             float64, on cuda that of x; var is biased
              batchnorm2d_forward(x, weight, bias, mean, var, eps) -> y    training and evaluation alike
              batchnorm2d_train_backward(dy, x, weight, mean, var, eps) -> dx, dweight (C,), dbias (C,)
              batchnorm2d_eval_backward(dy, x, weight, mean, var, eps) -> dx, dweight (C,), dbias (C,)
              update_running_statistics_(running_mean, running_var, mean, var, count, momentum)

activation    relu_forward(x) -> y          relu_backward(dy, y) -> dx

pooling       rows (OH, 3) and columns (OW, 3) are tables of `minicnn.geometry`: start, stop, extent
              max_pool2d_forward(x, rows, columns) -> y (N, C, OH, OW), argmax (N, C, OH, OW) int32
                  argmax counts cells of the image: r * W + s
              max_pool2d_backward(dy, argmax, rows, columns, input_size) -> dx (N, C, H, W)
              avg_pool2d_forward(x, rows, columns) -> y (N, C, OH, OW)
              avg_pool2d_backward(dy, rows, columns, input_size) -> dx (N, C, H, W)

linear        linear_forward(x, weight, bias) -> y (N, K)
                  x (N, D), weight (K, D), bias (K,) or None
              linear_input_gradient(dy, weight) -> dx (N, D)
              linear_weight_gradient(dy, x) -> dweight (K, D)
              linear_bias_gradient(dy) -> dbias (K,)

log_softmax   log_softmax_forward(x) -> y (N, K)          log_softmax_backward(dy, y) -> dx (N, K)

losses        nll_loss_forward(log_p, targets, class_weights, label_smoothing) -> float
                  log_p (N, K), targets (N,) int64, class_weights (K,)
              nll_loss_backward(log_p, targets, class_weights, label_smoothing) -> d_log_p (N, K)

optim         sgd_step_(param, velocity, grad, lr, momentum, nesterov, weight_decay)
              adam_step_(param, m, v, grad, lr, beta1, beta2, eps, weight_decay, decoupled, step)

fused         blocks of convolution, batchnorm and relu; Norm and Activation are the types of `backends.contract`, and
              below is images (N, C, H, W) or the Activation of the block below
              fused_conv_forward(below, weight, bias, norm, stride, padding) -> Activation
              fused_conv_predict(below, weight, bias, norm, stride, padding) -> Activation
              fused_conv_predict_max(below, weight, bias, norm, stride, padding) -> maximum of each channel (N, F)
              fused_output(activation) -> a (N, F, OH, OW)
              fused_output_backward(da, activation) -> gradient, for fused_conv_backward
              fused_max(activation) -> y (N, F), peaks
              fused_max_backward(dy, peaks, activation) -> gradient, for fused_conv_backward
              fused_conv_backward(gradient, activation, below, weight, stride, padding, need_below)
                  -> (dweight, dbias) of the convolution, (dweight, dbias) of batchnorm, gradient or dx of below

Images of different sizes come as `minicnn.Images`, one flat array of N blocks (C, H_n, W_n). The operations of conv,
batchnorm, activation, pooling and fused take them wherever (N, C, H, W) is written, and return `Images` for them: each
image is treated at its own size, and batchnorm's sums run over the P pixels of all. In such a call `input_size` is
the sizes (N, 2), and `rows` and `columns` are lists with a table for each image. Whatever has no image axes left,
(N, F) or (C,), is an ordinary array.
"""

import importlib

NAMES = ("reference", "cpu", "cuda")


def get_backend(name):
    """The backend module called `name`, imported when first asked for.

    Raises ValueError for a name that is no backend, RuntimeError with the remedy where the backend cannot run.

    >>> get_backend("reference").__name__
    'minicnn.backends.reference'
    """
    if name not in NAMES:
        raise ValueError(f"get_backend: unknown backend {name!r}; expected one of {', '.join(NAMES)}")
    backend = importlib.import_module(f"minicnn.backends.{name}")
    backend.require_device()
    return backend


def first_backend():
    """The module of the backend "cpu", on which a new layer or loss begins.

    It is not asked whether it can run, so that where it cannot they can still be made, and moved to another. Imported
    here, so that importing minicnn need not import numba.
    """
    return importlib.import_module("minicnn.backends.cpu")
