"""The list of exercises, in the order of the course: from one line of a matrix product to kernels in loops."""

from minicnn.learn.exercises.exercise import Exercise, Task

REFERENCE = "minicnn.backends.reference"
LINEAR, ACTIVATION, LOG_SOFTMAX, LOSSES, POOLING, CONV, BATCHNORM, OPTIM = (
    f"{REFERENCE}.{file}"
    for file in ("linear", "activation", "log_softmax", "losses", "pooling", "conv", "batchnorm", "optim")
)
GEOMETRY, NETWORK, LOSS, CLIPPING = "minicnn.geometry", "minicnn.network", "minicnn.losses", "minicnn.training.clipping"
LOOPS = "minicnn.backends.cpu.convolution.plain"

linear = Exercise(
    1,
    "linear",
    "a fully connected layer",
    "01_linear",
    """
Forward is y = x Wᵀ + bias: output k of image n is bias[k] plus the sum over d of weight[k, d] * x[n, d].
In backward dy comes in, the gradient of the loss with respect to y: dy[n, k] says by how much the loss grows when
y[n, k] grows by a little. Three gradients go out. For each of them ask: whom did this number meet in forward?
""",
    given=((LINEAR, "linear_forward"),),
    tasks=(
        Task(
            LINEAR,
            "linear_bias_gradient",
            "dbias (K,) for dy (N, K).",
            ("dbias",),
        ),
        Task(
            LINEAR,
            "linear_weight_gradient",
            "dweight (K, D) for dy (N, K), where forward was given x (N, D).",
            ("dweight",),
        ),
        Task(
            LINEAR,
            "linear_input_gradient",
            "dx (N, D) for dy (N, K), where forward used weight (K, D).",
            ("dx",),
        ),
    ),
)

relu = Exercise(
    2,
    "relu",
    "ReLU",
    "02_relu",
    """
Forward is y = max(x, 0). What backward needs of it is y alone. At x = 0 the slope is taken as 0.
""",
    given=((ACTIVATION, "relu_forward"),),
    tasks=(
        Task(
            ACTIVATION,
            "relu_backward",
            "dx for dy, where forward gave y. All three have one shape, any.",
            ("dx",),
        ),
    ),
)

log_softmax = Exercise(
    3,
    "log_softmax",
    "log-softmax",
    "03_log_softmax_and_nll",
    """
Forward is y[n, k] = x[n, k] - log(sum over j of exp(x[n, j])): scores become logarithms of probabilities.
Each row is an image of its own, and axis 1 runs over its K classes.
""",
    tasks=(
        Task(
            LOG_SOFTMAX,
            "log_softmax_forward",
            """
y (N, K) for x (N, K).

exp of a large number overflows, and exp of a very small one is 0, whose log is minus infinity. Neither must happen:
subtracting one number from a whole row of x leaves y as it is. Which number is safe?
""",
            ("y",),
        ),
        Task(
            LOG_SOFTMAX,
            "log_softmax_backward",
            """
dx (N, K) for dy (N, K), where forward gave y (N, K).

x[n, k] reached y[n, k] directly, and every y[n, j] of its row through the sum inside the log.
exp(y) is the softmax.
""",
            ("dx",),
            from_blank=True,
        ),
    ),
)

nll = Exercise(
    4,
    "nll",
    "the negative log-likelihood",
    "03_log_softmax_and_nll",
    """
The loss of N images, with class weights w, targets t and label smoothing e:

    loss = -1 / total * sum over n of ((1 - e) * w[t[n]] * log_p[n, t[n]]  +  e / K * sum over k of w[k] * log_p[n, k])
    total = sum over n of w[t[n]]

The gradient is with respect to log_p, the logarithms of probabilities, not to the scores before them.
""",
    given=((LOSSES, "nll_loss_forward"),),
    tasks=(
        Task(
            LOSSES,
            "nll_loss_backward",
            "d_log_p (N, K) for log_p (N, K), targets (N,) of ints, class_weights (K,) and a number label_smoothing.",
            ("d_log_p",),
        ),
    ),
)

pooling = Exercise(
    5,
    "pooling",
    "max and average pooling",
    "04_pooling",
    """
`rows` and `columns` say where the windows lie: row p of a table is (start, stop, extent). Output (p, q) looks at the
cells rows[p] × columns[q]. Padding is cut off start and stop, but counted in the extent.

The forward pass of max pooling also says who won: argmax[n, c, p, q] counts cells of the image, r * W + s.
Windows may overlap, so that one cell can win twice.
""",
    given=((POOLING, "max_pool2d_forward"), (POOLING, "_first_maximum_or_last_nan")),
    tasks=(
        Task(
            POOLING,
            "max_pool2d_backward",
            "dx (N, C, H, W) for dy (N, C, OH, OW) and argmax (N, C, OH, OW), where input_size is (H, W).",
            ("dx",),
        ),
        Task(
            POOLING,
            "avg_pool2d_forward",
            "y (N, C, OH, OW) for x (N, C, H, W): each window's mean, over its extents.",
            ("y",),
        ),
    ),
)

adaptive_pooling = Exercise(
    6,
    "adaptive_pooling",
    "adaptive pooling",
    "05_adaptive_pooling",
    """
Adaptive pooling spreads n_out windows over n_in cells of an axis, whatever n_in is: window p goes from
floor(p * n_in / n_out) up to, and not including, ceil((p + 1) * n_in / n_out). In integers: // rounds down, and with
floats dividing first, p * (n_in / n_out), gives wrong windows for some sizes. Where the sizes do not divide, neighbours
share a cell.
""",
    tasks=(
        Task(GEOMETRY, "adaptive_start", "The first cell of window p, an int.", ("start",)),
        Task(
            GEOMETRY,
            "adaptive_stop",
            "One past the last cell of window p, an int. (Rounding up can be written with // alone.)",
            ("stop",),
        ),
        Task(
            POOLING,
            "avg_pool2d_backward",
            """
dx (N, C, H, W) for dy (N, C, OH, OW), where input_size is (H, W).

Row p of `rows` and row q of `columns` are (start, stop, extent) of the window of output (p, q), whose mean was
taken over extent × extent cells. Windows may overlap.
""",
            ("dx",),
            from_blank=True,
        ),
    ),
)

conv = Exercise(
    7,
    "conv",
    "the three gradients of a convolution",
    "07_convolution_backward",
    """
Forward takes one tap (i, j) of the kernel at a time: the cells that it touches are one strided slice of the padded
image, the tap's view, and y += weight[:, :, i, j] applied to it. `_tap_view` gives that slice without a copy, so what
is written into a view is written into the image.
""",
    given=((CONV, "conv2d_forward"), (CONV, "_pad"), (CONV, "_tap_view")),
    tasks=(
        Task(CONV, "conv2d_bias_gradient", "dbias (F,) for dy (N, F, OH, OW).", ("dbias",)),
        Task(
            CONV,
            "conv2d_weight_gradient",
            "dweight (F, C, KH, KW) for dy (N, F, OH, OW) and x (N, C, H, W); kernel_size is (KH, KW).",
            ("dweight",),
        ),
        Task(
            CONV,
            "conv2d_input_gradient",
            """
dx (N, C, H, W) for dy (N, F, OH, OW) and weight (F, C, KH, KW), where input_size is (H, W).

Collect it in a padded image first: a cell has a share in up to KH * KW outputs of every filter, and what comes back
from each adds up. What flows into the padding is nobody's gradient.
""",
            ("dx",),
            from_blank=True,
        ),
    ),
)

batchnorm = Exercise(
    8,
    "batchnorm",
    "batch normalisation",
    "08_batchnorm",
    """
    x_hat = (x - mean) / sqrt(var + eps)          y = weight * x_hat + bias

one mean, var, weight and bias for each channel. In evaluation mean and var are constants. In training they are those
of the batch, over N, H and W, so that x reaches y by three paths: directly, through the mean, and through the variance.
""",
    header="import numpy as np\n\nPIXELS = (0, 2, 3)  # the axes that statistics run over: images, rows, columns",
    given=(
        (BATCHNORM, "batchnorm2d_forward"),
        (BATCHNORM, "_normalised"),
        (BATCHNORM, "_scale"),
        (BATCHNORM, "_per_channel"),
    ),
    tasks=(
        Task(
            BATCHNORM,
            "batchnorm2d_eval_backward",
            "(dx, dweight, dbias), of shapes (N, C, H, W), (C,), (C,), for dy (N, C, H, W), in evaluation.",
            ("dx", "dweight", "dbias"),
        ),
        Task(
            BATCHNORM,
            "update_running_statistics_",
            """
Move running_mean and running_var (C,), in place, towards the batch's mean and var (C,).

    running = (1 - momentum) * running + momentum * batch

var is the batch's biased variance, its sum divided by count. The running one estimates the variance of the data,
for which the sum is divided by count - 1.
""",
            changes=("running_mean", "running_var"),
        ),
        Task(
            BATCHNORM,
            "batchnorm2d_train_backward",
            """
(dx, dweight, dbias) for dy (N, C, H, W), in training: mean and var (C,) are those of x (N, C, H, W).

Three paths lead from x to y. See what each sends back, or derive it on paper; the lesson has all steps.
""",
            ("dx", "dweight", "dbias"),
            from_blank=True,
            helpers=("_by_the_statistics",),
        ),
    ),
)

optimisers = Exercise(
    9,
    "optimisers",
    "SGD and Adam",
    "09_optimisers",
    """
An update changes its arrays in place: param, and what the optimiser remembers of this parameter from step to step.

    SGD     g = grad + weight_decay * param
            velocity = momentum * velocity + g
            param -= lr * velocity                    Nesterov: lr * (g + momentum * velocity)

    Adam    g = grad + weight_decay * param
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g²
            param -= lr * m_hat / (sqrt(v_hat) + eps)     m_hat = m / (1 - beta1 ** step), v_hat likewise

    AdamW   (decoupled) param *= 1 - lr * weight_decay first, and g = grad
""",
    tasks=(
        Task(
            OPTIM,
            "sgd_step_",
            "One step of SGD: change param and velocity in place. `nesterov` is True or False.",
            changes=("param", "velocity"),
        ),
        Task(
            OPTIM,
            "adam_step_",
            "One step of Adam, or of AdamW where decoupled: change param, m and v in place. `step` counts from 1.",
            changes=("param", "m", "v"),
            from_blank=True,
        ),
    ),
)

simplenet = Exercise(
    10,
    "simplenet",
    "the whole network",
    "10_simplenet",
    """
The layers know their own step each; what is left is to string them together. These functions are methods of
`Sequential` and of `CrossEntropyLoss`, written as functions of `self`, and one function of the trainer.
""",
    header="import math",
    given=((NETWORK, "Sequential.forward"), (LOSS, "CrossEntropyLoss.forward")),
    tasks=(
        Task(
            NETWORK,
            "Sequential.backward",
            """
dx for dy: call the `backward(dy)` of every layer, and leave its gradients in it.

`self.children` is a dict of the layers in the order of forward. The first layer is asked with
`backward(dy, need_dx=need_dx)`, since in training nobody needs the gradient of the pictures.
""",
            ("dx",),
            from_blank=True,
        ),
        Task(
            LOSS,
            "CrossEntropyLoss.backward",
            """
The gradient with respect to the network's output (N, K).

`self._recall()` gives (log_p, targets, weights) of the last forward; `self.ops` has the operations that you wrote
in exercises 3 and 4, `self.label_smoothing` is a number.
""",
            ("d_output",),
            from_blank=True,
        ),
        Task(
            CLIPPING,
            "clip_gradients",
            """
Scale all gradients of a network by one factor so that their norm is at most `max_norm`; return the norm before.

    norm = sqrt(sum of all squares)               factor = min(1, max_norm / (norm + 1e-6))

`ops.sum_of_squares(grad)` is a number, `ops.scale_(grad, factor)` changes a gradient in place.
""",
            ("norm",),
        ),
    ),
)

fast_kernels = Exercise(
    11,
    "fast_kernels",
    "convolution in loops that Numba compiles",
    "11_fast_kernels",
    """
The same gradients once more, as loops over single numbers: no slices, no padded copy. Numba compiles them to machine
code. It does not check that an index lies inside an array, so the `if` has to. One image and one filter at a time;
stride and padding are pairs (vertical, horizontal). The loops add to what stands in their last argument.
""",
    header="from numba import njit as serial",
    given=((LOOPS, "_convolve"),),
    tasks=(
        Task(
            LOOPS,
            "_to_pixels",
            "One image and one filter: dy (OH, OW) and weight (C, KH, KW), adding to dx (C, H, W).",
            changes=("dx",),
        ),
        Task(
            LOOPS,
            "_to_weights",
            "One image and one filter: dy (OH, OW) and x (C, H, W), adding to dweight (C, KH, KW).",
            changes=("dweight",),
            from_blank=True,
        ),
    ),
)

EXERCISES = (
    linear,
    relu,
    log_softmax,
    nll,
    pooling,
    adaptive_pooling,
    conv,
    batchnorm,
    optimisers,
    simplenet,
    fast_kernels,
)
TASKS = {task.name: (exercise, task) for exercise in EXERCISES for task in exercise.tasks}
