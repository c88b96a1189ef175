"""Mistakes with convolution, in slices and in loops."""

from minicnn.learn.mistakes.mistake import Mistake

WEIGHT = 'dweight[:, :, i, j] = np.einsum("nfpq,ncpq->fc", dy, view, optimize=True)'
INPUT = 'view += np.einsum("fc,nfpq->ncpq", weight[:, :, i, j], dy, optimize=True)'
CROP = "dx_padded[:, :, pad_h : pad_h + height, pad_w : pad_w + width]"
WHERE = "r, s = p * stride[0] - padding[0] + i, q * stride[1] - padding[1] + j"

MISTAKES = (
    Mistake(
        "conv2d_bias_gradient",
        "a mean over the images",
        {"dy.sum(axis=(0, 2, 3))": "dy.sum(axis=(2, 3)).mean(axis=0)"},
        "Your dbias is the right one divided by the number of images.",
        "1/N is already in dy, from the loss. What is left to do with the images' shares?",
    ),
    Mistake(
        "conv2d_bias_gradient",
        "a mean over everything",
        {"dy.sum(axis=(0, 2, 3))": "dy.mean(axis=(0, 2, 3))"},
        "Your dbias is a mean, where the sum is due.",
        "If the bias grows by 1, how many numbers of y grow by 1?",
    ),
    Mistake(
        "conv2d_bias_gradient",
        "pixels not summed",
        {"axis=(0, 2, 3)": "axis=0"},
        "Your dbias still has rows and columns.",
        "How many biases does a filter have, and to which of its outputs was it added?",
    ),
    Mistake(
        "conv2d_bias_gradient",
        "summed over the filters",
        {"axis=(0, 2, 3)": "axis=(1, 2, 3)"},
        "Your dbias has a number for each image, summed over the filters.",
        "Which axis of dy has the filters, and must it stay?",
    ),
    Mistake(
        "conv2d_weight_gradient",
        "kernel flipped",
        {"dweight[:, :, i, j]": "dweight[:, :, kernel_h - 1 - i, kernel_w - 1 - j]"},
        "Your dweight is the right one turned by half a turn, [::-1, ::-1].",
        "Tap (i, j) of forward met the view that starts at cell (i, j). Which tap's gradient does this view make?",
    ),
    Mistake(
        "conv2d_weight_gradient",
        "filters and channels exchanged",
        {'"nfpq,ncpq->fc"': '"nfpq,ncpq->cf"', "np.empty((n_filters, x.shape[1],": "np.empty((x.shape[1], n_filters,"},
        "Your dweight has channels first and filters second.",
        "weight is (F, C, KH, KW). Which letter must come first behind the arrow?",
    ),
    Mistake(
        "conv2d_weight_gradient",
        "stride forgotten",
        {"out_w, stride)": "out_w, (1, 1))"},
        "With stride 1 you are right. With larger strides you pair dy with neighbouring cells.",
        "Output p looked at the cells from p * stride on. How far apart are the cells that one tap met?",
    ),
    Mistake(
        "conv2d_weight_gradient",
        "divided by the number of images",
        {"dy, view, optimize=True)": "dy, view, optimize=True) / len(x)"},
        "Your dweight is the right one divided by the number of images.",
        "Where is 1/N already in the game? Look at the gradient of the loss, which dy came from.",
    ),
    Mistake(
        "conv2d_weight_gradient",
        "the last image only",
        {'"nfpq,ncpq->fc", dy, view': '"nfpq,ncpq->fc", dy[-1:], view[-1:]'},
        "Your dweight is what the last image alone sends.",
        "If you go through the images: does each add to dweight, or does it take the place of the one before?",
    ),
    Mistake(
        "conv2d_weight_gradient",
        "divided by the number of positions",
        {"dy, view, optimize=True)": "dy, view, optimize=True) / (out_h * out_w)"},
        "Your dweight is the right one divided by the number of outputs of a filter.",
        "A weight had a part in every output of its filter. Are their messages averaged?",
    ),
    Mistake(
        "conv2d_input_gradient",
        "kernel flipped",
        {"weight[:, :, i, j]": "weight[:, :, kernel_h - 1 - i, kernel_w - 1 - j]"},
        "You send back through the kernel turned by half a turn.",
        "Scattering goes back the way that forward came: cell (p + i, q + j) met weight (i, j). The flip belongs to "
        "the other view, in which each cell of dx collects. Which of the two did you write?",
    ),
    Mistake(
        "conv2d_input_gradient",
        "padding not cropped",
        {CROP: "dx_padded"},
        "Your dx is still as large as the padded image.",
        "Which cells of the padded image are cells of x?",
    ),
    Mistake(
        "conv2d_input_gradient",
        "cropped at the wrong end",
        {CROP: "dx_padded[:, :, :height, :width]"},
        "Your dx is shifted by the padding.",
        "Padding stands on all four sides. At which row of the padded image does the image begin?",
    ),
    Mistake(
        "conv2d_input_gradient",
        "= for +=",
        {"view += ": "view[...] = "},
        "A cell keeps what its last tap sent back.",
        "The views of different taps overlap. A cell that met nine weights hears from how many outputs of a filter?",
    ),
    Mistake(
        "conv2d_input_gradient",
        "stride forgotten",
        {"out_w, stride)": "out_w, (1, 1))"},
        "With stride 1 you are right. With larger strides the gradients land too close together.",
        "Output p looked at the cells from p * stride on. Where must its gradient go back to?",
    ),
    Mistake(
        "conv2d_input_gradient",
        "one filter only",
        {'"fc,nfpq->ncpq", weight[:, :, i, j], dy': '"fc,nfpq->ncpq", weight[:1, :, i, j], dy[:, :1]'},
        "Only the first filter sends something back.",
        "A cell was seen by all filters. Which axis must be summed over?",
    ),
    Mistake(
        "conv2d_input_gradient",
        "the kernel's rows and columns exchanged",
        {
            "for i in range(kernel_h)": "for i in range(min(kernel_h, kernel_w))",
            "for j in range(kernel_w)": "for j in range(min(kernel_h, kernel_w))",
            "weight[:, :, i, j]": "weight[:, :, j, i]",
        },
        "You send back through the kernel with its rows and columns exchanged.",
        "i counts rows and j columns. Which of them comes first in weight?",
    ),
    Mistake(
        "to_pixels",
        "= for +=",
        {"dx[c, r, s] += ": "dx[c, r, s] = "},
        "A pixel keeps the last message that it got, and what stood in dx before is lost.",
        "How many outputs did one pixel have a part in? And who may have written into dx before this filter?",
    ),
    Mistake(
        "to_pixels",
        "kernel flipped",
        {"weight[c, i, j]": "weight[c, kernel_h - 1 - i, kernel_w - 1 - j]"},
        "You send back through the kernel turned by half a turn.",
        "In forward output (p, q) met pixel (r, s) through weight (i, j). Through which weight does it go back?",
    ),
    Mistake(
        "to_pixels",
        "padding forgotten",
        {WHERE: "r, s = p * stride[0] + i, q * stride[1] + j"},
        "Your gradients are shifted by the padding.",
        "Which pixel does output (0, 0) meet through weight (0, 0), if there is padding?",
    ),
    Mistake(
        "to_pixels",
        "stride forgotten",
        {WHERE: "r, s = p - padding[0] + i, q - padding[1] + j"},
        "With stride 1 you are right. With larger strides the gradients land too close together.",
        "How far is it from the window of output p to that of output p + 1?",
    ),
    Mistake(
        "to_pixels",
        "all channels in one",
        {"weight[c, i, j]": "weight[0, i, j]"},
        "Every channel gets what belongs to the first.",
        "A filter has weights of its own for each channel. Which did this pixel meet?",
    ),
    Mistake(
        "to_weights",
        "= for +=",
        {"dweight[c, i, j] += ": "dweight[c, i, j] = "},
        "A weight keeps the last message that it got.",
        "How many outputs did one weight have a part in?",
    ),
    Mistake(
        "to_weights",
        "kernel flipped",
        {"dweight[c, i, j]": "dweight[c, kernel_h - 1 - i, kernel_w - 1 - j]"},
        "Your dweight is the right one turned by half a turn.",
        "Which weight did pixel (r, s) meet on its way to output (p, q)?",
    ),
    Mistake(
        "to_weights",
        "padding forgotten",
        {WHERE: "r, s = p * stride[0] + i, q * stride[1] + j"},
        "You pair dy with pixels that are shifted by the padding.",
        "Which pixel does output (0, 0) meet through weight (0, 0), if there is padding?",
    ),
    Mistake(
        "to_weights",
        "stride forgotten",
        {WHERE: "r, s = p - padding[0] + i, q - padding[1] + j"},
        "With stride 1 you are right. With larger strides you pair dy with the wrong pixels.",
        "How far is it from the window of output p to that of output p + 1?",
    ),
)
