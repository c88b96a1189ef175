"""Fusion: a network rewritten so that convolution, batchnorm and relu are computed together.

`fuse(network)` returns another network of the *same layers*: runs of Conv2d → BatchNorm2d → ReLU stand together in a
`ConvBlocks`, everything else is as it was. Print the two to see the rewrite. Parameters, statistics and gradients are
shared, so one may train the fused network and look at the plain one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from minicnn.backends.contract import Block, Norm
from minicnn.checks import layout_remedy
from minicnn.images import Batch, Images, sizes_of
from minicnn.layers import AdaptiveMaxPool2d, BatchNorm2d, Conv2d, Layer, ReLU
from minicnn.network import Sequential
from minicnn.plain import Array, Pair, Sizes
from minicnn.residual import SHORTCUT, Residual

LONGEST_SIDE = 1 << 24  # up to which every integer is a float32


class ConvBlocks(Sequential):
    """A run of blocks conv → batchnorm → relu, and maybe a global max pooling at its end, computed together.

    The plain layers write an activation three times on its way through a block (as the output of the convolution, of
    batchnorm and of relu) and read it as often; a training step passes over it about fifteen times. Here a block
    stores the convolution's output y alone. With scale = weight / sqrt(var + eps) of batchnorm, the operation
    that reads it does the rest:

        forward     z = scale * (y - mean) + bias,  a = relu(z)
        backward    g = da where z > 0, else 0
                    dy = scale * (g - mean(g) - x_hat * mean(g * x_hat)),  x_hat = (y - mean) / sqrt(var + eps)

    Mean and variance are summed up while the convolution writes y, mean(g) and mean(g * x_hat) while the block above
    writes g, and dy is formed where the convolution's gradients read y and g. The numbers are those of the plain layers
    up to rounding. One gradient is even exact: in training the bias of a convolution before batchnorm gets 0, which
    the plain layers reach only up to rounding. Subtracting the batch's mean removes it from the output.

    In evaluation, `predict` folds batchnorm into the convolution, W' = scale * W, and leaves relu to the reader.

    Children are named as in the plain network, Conv2d, BatchNorm2d, ReLU, Conv2d, …; `fuse` makes it.
    """

    names_its_layers = False
    takes_images = True
    operations = ("fused",)
    # Called with the layers of a block once backward has assigned their `grads`: what is to be done with them (see
    # `minicnn.distributed`) can begin while the blocks before are still at work.
    after_block: Callable[..., object] | None = None

    def __init__(self, **named_layers: Layer) -> None:
        super().__init__(**named_layers)
        layers: list[Any] = list(self.children.values())
        self.pool = layers.pop() if isinstance(layers[-1], AdaptiveMaxPool2d) else None
        # relu has no parameters
        self.blocks: list[tuple[Conv2d, BatchNorm2d]] = list(zip(layers[0::3], layers[1::3], strict=True))

    def predict(self, x: Any) -> Array:
        x = self._as_images(x)
        self._output_sizes(x)
        y = self.ops.fused_predict(x, [_block(*block) for block in self.blocks], self.pool is not None)
        return y if self.pool is None else y.reshape(*y.shape, 1, 1)

    def forward(self, x: Any) -> Array:
        x = self._as_images(x)
        activations, counts = [x], self._counts(x)
        for conv, bn in self.blocks:
            activations.append(self.ops.fused_conv_forward(activations[-1], *_block(conv, bn, bn.training)))
        if self.pool is None:
            y, peaks = self.ops.fused_output(activations[-1]), None
        else:
            y, peaks = self.ops.fused_max(activations[-1])
            y = y.reshape(*y.shape, 1, 1)
        for (_, bn), activation, count in zip(self.blocks, activations[1:], counts, strict=True):
            if bn.training:  # last: where memory ran out on the way, nothing has changed
                bn.track(activation.norm.mean, activation.norm.var, count)
        self.remember(y, activations=activations, peaks=peaks)
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Any:
        dy, memory = self.recall(dy)
        activations = memory.activations
        if self.pool is None:
            gradient = self.ops.fused_output_backward(dy, activations[-1])
        else:
            gradient = self.ops.fused_max_backward(dy.reshape(dy.shape[:2]), memory.peaks, activations[-1])
        for position, (conv, bn) in reversed(list(enumerate(self.blocks))):
            activation, below = activations.pop(), activations[-1]
            d_conv, d_bn, gradient = self.ops.fused_conv_backward(
                gradient,
                activation,
                below,
                conv.params["weight"],
                conv.stride,
                _padding(conv),
                need_below=need_dx or position > 0,
            )
            conv.grads = dict(zip(conv.params, d_conv, strict=False))  # weight and, if there is one, bias
            bn.grads = dict(zip(bn.params, d_bn, strict=True))
            if self.after_block is not None:
                self.after_block(bn, conv)
        return gradient

    def _as_images(self, x: Batch) -> Batch:
        """x checked as the first convolution and batchnorm check it, and against the dtype of every other layer."""
        first_conv, _ = self.blocks[0]
        _, *others = self.children.values()
        x = first_conv.as_images(x)
        if x.ndim != 4:  # batchnorm takes no single images
            raise ValueError(
                f"ConvBlocks: expected input of shape (N, C, H, W) or Images, got shape {x.shape}"
                f"{layout_remedy(x.shape, first_conv.in_channels)}"
            )
        for layer in others:
            layer.require_params(x)
        for name, layer in self.children.items():
            if isinstance(layer, Conv2d) and not layer.is_plain:
                raise RuntimeError(
                    f"ConvBlocks: {name} was given dilation, groups or uneven padding later, and "
                    "a block would not heed them; make the layer with them, then fuse (or make the Trainer)"
                )
            if layer.own_operations:
                raise RuntimeError(
                    f"ConvBlocks: {name} was given operations of its own after the network was fused, and a block "
                    "would not call them; give them first, then fuse (or make the Trainer)"
                )
        return x

    def _output_sizes(self, x: Array | Images) -> list[Sizes]:
        """The size of the images behind each block. Raises what the plain layers would, before anything is done."""
        sizes = [sizes_of(x)]
        for conv, _ in self.blocks:
            sizes.append(conv.output_size(sizes[-1]))
        if self.pool is not None and _longest(sizes[-1]) > LONGEST_SIDE:
            raise ValueError(
                f"ConvBlocks: expected images of at most {LONGEST_SIDE} rows and columns, which a block with a global "
                f"maximum counts in float32, got {_longest(sizes[-1])}; take the network without minicnn.fuse"
            )
        return sizes[1:]

    def _counts(self, x: Array | Images) -> list[int]:
        """Pixels each batchnorm averages over. Raises where they are too few, before anything is done."""
        counts = [_pixels(size, len(x)) for size in self._output_sizes(x)]
        for (_, bn), count in zip(self.blocks, counts, strict=True):
            if bn.training:
                bn.require_several_values(count)
        return counts


def fuse(network: Sequential) -> Sequential:
    """The network with its runs of Conv2d → BatchNorm2d → ReLU computed together; see `ConvBlocks`.

    The layers are shared with `network`, and so are names and `state_dict`. Returns a Sequential; where there is
    nothing to fuse it does what the plain one does. A layer of a subclass, or with operations of its own (see
    `Layer.use`), is left as it is, and so is a convolution with dilation, groups or uneven padding. Raises TypeError
    for anything but a Sequential. Within a `Residual` both ways are rewritten, and the sum is as it was.

    >>> import minicnn
    >>> list(fuse(minicnn.SimpleNet(rng=0)).children)
    ['conv1_to_adaptive_pool', 'flatten', 'fc', 'log_softmax']
    """
    if not isinstance(network, Sequential):
        raise TypeError(f"fuse: expected a Sequential network, got {type(network).__name__}")
    plain = Residual if isinstance(network, Residual) else Sequential
    if any(getattr(type(network), name) is not getattr(plain, name) for name in ("predict", "forward", "backward")):
        return network  # it computes in another way, as ConvBlocks does
    if not isinstance(network, Residual):
        return Sequential(**_fused(network.children))
    shortcut = network.shortcut
    around = {} if shortcut is None else {SHORTCUT: fuse(shortcut) if isinstance(shortcut, Sequential) else shortcut}
    return Residual(**_fused(network.path), **around)


def _fused(children: dict[str, Layer]) -> dict[str, Layer]:
    """Layers that follow each other, by name, with the blocks among them in `ConvBlocks`."""
    fused: dict[str, Layer] = {}
    run: dict[str, Layer] = {}

    def close_run() -> None:
        if run:
            first, *_, last = run
            fused[f"{first}_to_{last}"] = ConvBlocks(**run)
            run.clear()

    names, layers = list(children), list(children.values())
    position = 0
    while position < len(layers):
        block = layers[position : position + 3]
        if _is_block(block) and _fits(run, block[0]):
            run |= zip(names[position : position + 3], block, strict=True)
            position += 3
            continue
        layer, name = layers[position], names[position]
        position += 1
        if run and type(layer) is AdaptiveMaxPool2d and layer.output_size == (1, 1) and not layer.own_operations:
            run[name] = layer
            close_run()
            continue
        close_run()
        fused[name] = fuse(layer) if isinstance(layer, Sequential) else layer
    close_run()
    return fused


def _is_block(layers: Sequence[Any]) -> bool:
    kinds = [type(layer) for layer in layers]
    if kinds != [Conv2d, BatchNorm2d, ReLU] or any(layer.own_operations for layer in layers):
        return False
    if not layers[0].is_plain:
        return False
    return layers[0].out_channels == layers[1].num_features


def _fits(run: dict[str, Layer], conv: Any) -> bool:
    """Whether `conv` can read what the run so far makes; where not, the plain layers say what is wrong."""
    convs = [layer for layer in run.values() if isinstance(layer, Conv2d)]
    return not convs or convs[-1].out_channels == conv.in_channels


def _longest(size: Sizes) -> int:
    """The longest side of images of one size (H, W), or of sizes (N, 2)."""
    return max(size) if isinstance(size, tuple) else size.max()


def _pixels(size: Sizes, n_images: int) -> int:
    """How many pixels they have together."""
    return n_images * math.prod(size) if isinstance(size, tuple) else int(size.prod(axis=1).sum())


def _block(conv: Conv2d, bn: BatchNorm2d, from_batch: bool = False) -> Block:
    """What the fused operations compute with."""
    mean, var = (None, None) if from_batch else (bn.state["running_mean"], bn.state["running_var"])
    norm = Norm(bn.params["weight"], bn.params["bias"], mean, var, bn.eps)
    return Block(conv.params["weight"], conv.params.get("bias"), norm, conv.stride, _padding(conv))


def _padding(conv: Conv2d) -> Pair:
    """(vertical, horizontal), in pixels; a block's convolution has as much on both sides."""
    (top, _), (left, _) = conv.pads()
    return top, left
