"""Mistakes with a fully connected layer and with ReLU."""

from minicnn.learn.mistakes.mistake import Mistake

MISTAKES = (
    Mistake(
        "linear_bias_gradient",
        "a mean in place of a sum",
        {"dy.sum(axis=0)": "dy.mean(axis=0)"},
        "Your dbias is the right one divided by the number of images.",
        "Each image adds its share to the loss, and dy already holds what a mean over the batch would divide by. "
        "What is left to do with the shares of the images?",
    ),
    Mistake(
        "linear_bias_gradient",
        "summed over the outputs",
        {"axis=0": "axis=1"},
        "Your dbias has a number for each image. It should have one for each output.",
        "bias[k] was added to y[0, k], y[1, k], y[2, k] and so on: along which axis do these lie?",
    ),
    Mistake(
        "linear_bias_gradient",
        "not summed at all",
        {"dy.sum(axis=0)": "dy"},
        "You hand dy on as it is, with a row for each image.",
        "There is one bias for all images. What happens to the messages that it gets from each of them?",
    ),
    Mistake(
        "linear_bias_gradient",
        "the last image only",
        {"dy.sum(axis=0)": "dy[-1]"},
        "Your dbias is what the last image alone sends.",
        "If you loop over the images: does each of them add to dbias, or does it take the place of the one before?",
    ),
    Mistake(
        "linear_weight_gradient",
        "transposed",
        {"dy.T @ x": "x.T @ dy"},
        "Your dweight is the right one, transposed.",
        "weight has shape (K, D): its rows belong to outputs. Which of dy and x has outputs, and where must it stand?",
    ),
    Mistake(
        "linear_weight_gradient",
        "divided by the number of images",
        {"dy.T @ x": "dy.T @ x / len(x)"},
        "Your dweight is the right one divided by the number of images.",
        "Where is 1/N already in the game? Look at the gradient of the loss, which dy came from.",
    ),
    Mistake(
        "linear_weight_gradient",
        "the last image only",
        {"dy.T @ x": "np.outer(dy[-1], x[-1])"},
        "Your dweight is the outer product of the last image alone.",
        "Every image was multiplied by the same weights. What becomes of their shares, if you go through the images?",
    ),
    Mistake(
        "linear_weight_gradient",
        "summed before they were multiplied",
        {"dy.T @ x": "np.outer(dy.sum(axis=0), x.sum(axis=0))"},
        "You multiply the sum of all dy with the sum of all x, so that one image's dy meets another image's x.",
        "In forward, did the x of one image ever reach the y of another?",
    ),
    Mistake(
        "linear_input_gradient",
        "the weight transposed",
        {"dy @ weight": "dy @ weight.T"},
        "You multiply by the transposed weight, as forward does; it fits only where D = K.",
        "dy has K columns, and dx must have D. Which axis of weight has to vanish in the sum?",
    ),
    Mistake(
        "linear_input_gradient",
        "divided by the number of images",
        {"dy @ weight": "dy @ weight / len(dy)"},
        "Your dx is the right one divided by the number of images.",
        "x[n] belongs to one image. Is there anything to average over?",
    ),
    Mistake(
        "linear_input_gradient",
        "summed over the images",
        {"dy @ weight": "np.broadcast_to(dy.sum(axis=0) @ weight, (len(dy), weight.shape[1]))"},
        "Every image gets the same dx, the sum over all of them.",
        "Weights are shared by the images, inputs are not. Which images' outputs did x[n] go into?",
    ),
    Mistake(
        "relu_backward",
        "the gate is open at 0",
        {"y <= 0": "y < 0"},
        "You let dy through everywhere. y is never negative, so a test for y < 0 closes nothing.",
        "What is y where x was negative?",
    ),
    Mistake(
        "relu_backward",
        "dy forgotten",
        {"dy.dtype.type(0), dy)": "0.0, 1.0)"},
        "You return the slope, 1 or 0, alone.",
        "The chain rule multiplies two things. The slope is one of them; what is the other?",
    ),
    Mistake(
        "relu_backward",
        "multiplied by y",
        {"np.where(y <= 0, dy.dtype.type(0), dy)": "dy * y"},
        "You multiply dy by y.",
        "Where x > 0, y = x. What is the derivative of x with respect to x?",
    ),
    Mistake(
        "relu_backward",
        "the gate of dy",
        {"y <= 0": "dy <= 0"},
        "You let dy through where dy is positive.",
        "The gate was set in forward, by the sign of x. Did dy exist then?",
    ),
    Mistake(
        "relu_backward",
        "ReLU of ReLU",
        {"np.where(y <= 0, dy.dtype.type(0), dy)": "np.where(y <= 0, 0, np.maximum(dy, 0))"},
        "You let dy through where y and dy are both positive. That is “guided backpropagation”, a way to make "
        "pictures, and no gradient.",
        "May the gradient of an open gate be negative?",
    ),
    Mistake(
        "relu_backward",
        "the gate is upside down",
        {"y <= 0": "y > 0"},
        "You let dy through exactly where the gate was closed.",
        "Where y is 0, what would a slightly larger x have changed?",
    ),
)
