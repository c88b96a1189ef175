"""Mistakes with optimisers and with the whole network."""

from minicnn.learn.mistakes.mistake import Mistake

SGD = "param -= lr * (g + momentum * velocity if nesterov else velocity)"
CHAIN = "for child in reversed(later):\n        dy = child.backward(dy)\n    return first.backward(dy, need_dx=need_dx)"
LOSS = "d_log_p = self.ops.nll_loss_backward(log_p, targets, weights, self.label_smoothing)"
NORM = "math.sqrt(sum(ops.sum_of_squares(grad) for ops, grad in grads))"

MISTAKES = (
    Mistake(
        "sgd_step_",
        "uphill",
        {"param -= lr": "param += lr"},
        "You step along the gradient, and the loss grows.",
        "In which direction does a gradient point: to larger losses, or to smaller ones?",
    ),
    Mistake(
        "sgd_step_",
        "a running mean for the velocity",
        {"velocity += g": "velocity += (1 - momentum) * g"},
        "Your velocity is a running mean of the gradients. In PyTorch's SGD it is a sum: g is added in full.",
        "With momentum 0.9 and the same g at every step, velocity should approach 10 g. What does yours approach?",
    ),
    Mistake(
        "sgd_step_",
        "momentum forgotten",
        {"velocity *= momentum": "velocity *= 0"},
        "You start with a new velocity at each step.",
        "What is left of the old velocity in `velocity = momentum * velocity + g`?",
    ),
    Mistake(
        "sgd_step_",
        "the old velocity never fades",
        {"velocity *= momentum": "pass"},
        "You add g to the whole of the old velocity.",
        "By what should the old velocity be multiplied before g is added?",
    ),
    Mistake(
        "sgd_step_",
        "Nesterov forgotten",
        {SGD: "param -= lr * velocity"},
        "Without Nesterov you are right. With it you still step along the velocity.",
        "Nesterov's step looks ahead: along g and along what the velocity will carry on. What is that?",
    ),
    Mistake(
        "sgd_step_",
        "weight decay forgotten",
        {"grad + weight_decay * param": "grad + 0 * param"},
        "Without weight decay you are right. With it you leave it out.",
        "Which term pulls param towards 0, and where is it added?",
    ),
    Mistake(
        "sgd_step_",
        "weight decay past the velocity",
        {"g = grad + weight_decay * param": "g = grad\n    param -= lr * weight_decay * param"},
        "You subtract weight decay from param directly. In SGD it is part of g, so that the velocity carries it on.",
        "Look at the first line of the formula: where does weight_decay * param go?",
    ),
    Mistake(
        "sgd_step_",
        "the learning rate in the velocity",
        {"velocity += g": "velocity += lr * g", SGD: "param -= lr * g + momentum * velocity if nesterov else velocity"},
        "Your param is right, but your velocity has the learning rate in it; so a schedule would change it too late.",
        "When the learning rate halves between two steps, should the old velocity still push with the old one?",
    ),
    Mistake(
        "sgd_step_",
        "the velocity as a step downhill",
        {
            "velocity += g": "velocity -= lr * g",
            SGD: "param += momentum * velocity - lr * g if nesterov else velocity",
        },
        "Your velocity holds the learning rate and the minus: it is the step itself, as Keras has it.",
        "Here the velocity adds up gradients. Where does lr come in, if it is changed in the middle of training?",
    ),
    Mistake(
        "sgd_step_",
        "Nesterov always",
        {SGD: "param -= lr * (g + momentum * velocity)"},
        "With Nesterov you are right. Without it you still look ahead.",
        "What is `nesterov` for, if both steps are the same?",
    ),
    Mistake(
        "sgd_step_",
        "the learning rate forgotten",
        {SGD: SGD.replace("lr * ", "1.0 * ")},
        "You step by the whole velocity.",
        "What makes a step small?",
    ),
    Mistake(
        "adam_step_",
        "no bias correction",
        {"m / (1 - beta1**step)": "m", "v / (1 - beta2**step)": "v"},
        "You step with m and v as they are.",
        "m and v begin at 0. After the first step, m is (1 - beta1) * g: by what is it too small?",
    ),
    Mistake(
        "adam_step_",
        "bias correction of m alone",
        {"v / (1 - beta2**step)": "v"},
        "You correct m, and not v.",
        "v begins at 0 as well. After the first step it is (1 - beta2) * g²: by what is it too small?",
    ),
    Mistake(
        "adam_step_",
        "every step is the first",
        {"beta1**step": "beta1", "beta2**step": "beta2"},
        "You correct as if this were the first step.",
        "How much is m too small by after 100 steps? What is beta1 to the power of 100?",
    ),
    Mistake(
        "adam_step_",
        "step counted from 0",
        {"beta1**step": "beta1 ** (step + 1)", "beta2**step": "beta2 ** (step + 1)"},
        "Your correction is one step ahead.",
        "At the first step, step is 1 and m is (1 - beta1) * g. Which power of beta1 takes that factor out?",
    ),
    Mistake(
        "adam_step_",
        "the root forgotten",
        {"np.sqrt(v_hat) + eps": "v_hat + eps"},
        "You divide by v_hat, and not by its root.",
        "If every gradient were ten times as large, Adam's step should stay as it is. Does yours?",
    ),
    Mistake(
        "adam_step_",
        "eps under the root",
        {"np.sqrt(v_hat) + eps": "np.sqrt(v_hat + eps)"},
        "You add eps under the root.",
        "Where does eps stand in the formula, inside or outside of the root?",
    ),
    Mistake(
        "adam_step_",
        "the gradient not squared",
        {"np.square(g)": "np.abs(g)"},
        "Your v follows |g|, and not its square.",
        "The root comes at the end. What is the root of a mean of |g|?",
    ),
    Mistake(
        "adam_step_",
        "beta1 and beta2 exchanged",
        {"m += (1 - beta1)": "m += (1 - beta2)", "v *= beta2": "v *= beta1", "v += (1 - beta2)": "v += (1 - beta1)"},
        "m moves with beta2 and v with beta1.",
        "Which of the two should be slower, and so have the larger beta?",
    ),
    Mistake(
        "adam_step_",
        "decay always through the gradient",
        {"if decoupled:": "if False:"},
        "Without `decoupled` you are right. With it the decay should not go through m and v.",
        "In AdamW param shrinks by lr * weight_decay before the step, and g is what?",
    ),
    Mistake(
        "adam_step_",
        "decay without the learning rate",
        {"1 - lr * weight_decay": "1 - weight_decay"},
        "In AdamW you shrink param by weight_decay, and not by lr * weight_decay.",
        "When a schedule makes the learning rate small, should the decay stay large?",
    ),
    Mistake(
        "adam_step_",
        "uphill",
        {"param -= lr": "param += lr"},
        "You step along the gradient, and the loss grows.",
        "In which direction does a gradient point: to larger losses, or to smaller ones?",
    ),
    Mistake(
        "adam_step_",
        "eps forgotten",
        {"np.sqrt(v_hat) + eps": "np.sqrt(v_hat)"},
        "You divide by the root alone.",
        "What happens to a parameter whose gradient was always 0?",
    ),
    Mistake(
        "adam_step_",
        "eps beside the root of v",
        {"m_hat / (np.sqrt(v_hat) + eps)": "m_hat * np.sqrt(1 - beta2**step) / (np.sqrt(v) + eps)"},
        "You add eps before the correction of v, and not after it; so eps counts for more in the first steps.",
        "To which root is eps added in the formula: to that of v, or of v_hat?",
    ),
    Mistake(
        "adam_step_",
        "the correction kept",
        {"m_hat = m / (1": "m_hat = m\n    m_hat /= (1", "v_hat = v / (1": "v_hat = v\n    v_hat /= (1"},
        "You write the corrected m and v back, so that the next step begins with them.",
        "Which of m and m_hat is remembered from step to step?",
    ),
    Mistake(
        "adam_step_",
        "the decay after the step",
        {
            "        param *= 1 - lr * weight_decay\n": "",
            "param -= lr * m_hat / (np.sqrt(v_hat) + eps)": "param -= lr * m_hat / (np.sqrt(v_hat) + eps)\n"
            "    param *= 1 - decoupled * lr * weight_decay",
        },
        "In AdamW you shrink param after the step, so that the step shrinks too.",
        "Which comes first in the formula: the decay, or the step?",
    ),
    Mistake(
        "sequential_backward",
        "from the first to the last",
        {"reversed(later)": "later"},
        "You go through the later layers in the order of forward.",
        "Whose output does dy belong to, when it comes in?",
    ),
    Mistake(
        "sequential_backward",
        "every layer gets the same dy",
        {"        dy = child.backward(dy)": "        child.backward(dy)"},
        "Every layer gets the dy that came in.",
        "A layer's dx is the gradient with respect to its input. Whose output is that?",
    ),
    Mistake(
        "sequential_backward",
        "the first layer left out",
        {"return first.backward(dy, need_dx=need_dx)": "return dy"},
        "The first layer never runs its backward: its gradients are missing, and your dx is that of its output.",
        "How many layers are there, and how many did you ask?",
    ),
    Mistake(
        "sequential_backward",
        "need_dx for every layer",
        {"dy = child.backward(dy)": "dy = child.backward(dy, need_dx=need_dx)"},
        "When need_dx is False, no layer gives a dx, and the layer before it gets none.",
        "Whose dx does nobody need: that of every layer, or of which?",
    ),
    Mistake(
        "sequential_backward",
        "need_dx forgotten",
        {"first.backward(dy, need_dx=need_dx)": "first.backward(dy)"},
        "You ask the first layer for its dx even where nobody needs it.",
        "What is need_dx for, and which layer should hear of it?",
    ),
    Mistake(
        "cross_entropy_loss_backward",
        "softmax minus one-hot, divided by N",
        {
            "return self.ops.log_softmax_backward(d_log_p, log_p)": "softmax = math.e**log_p\n"
            "    softmax[range(len(targets)), targets] -= 1\n    return softmax / len(targets)"
        },
        "This is (softmax - one-hot) / N, which is right only where the classes of all images weigh the same and "
        "nothing is smoothed.",
        "By what does the loss divide, where an image of a rare class counts three times? And what is asked "
        "of the other "
        "classes under label smoothing?",
    ),
    Mistake(
        "cross_entropy_loss_backward",
        "the log-softmax left out",
        {"return self.ops.log_softmax_backward(d_log_p, log_p)": "return d_log_p"},
        "Your gradient is that with respect to the log-probabilities.",
        "The network's output went through two steps to the loss. How many did you go back?",
    ),
    Mistake(
        "cross_entropy_loss_backward",
        "the probabilities for their logarithms",
        {"log_softmax_backward(d_log_p, log_p)": "log_softmax_backward(d_log_p, d_log_p)"},
        "The log-softmax's backward needs what its forward gave, and gets something else.",
        "What is the second argument of log_softmax_backward: a gradient, or an output?",
    ),
    Mistake(
        "cross_entropy_loss_backward",
        "label smoothing forgotten",
        {LOSS: LOSS.replace("self.label_smoothing", "0.0")},
        "Without label smoothing you are right; with it you leave it out.",
        "What was the loss's forward given as its last argument?",
    ),
    Mistake(
        "cross_entropy_loss_backward",
        "divided by N once more",
        {"(d_log_p, log_p)": "(d_log_p, log_p) / len(log_p)"},
        "Your gradient is divided by the number of images twice.",
        "Who takes the mean over the images: the loss, the log-softmax, or both?",
    ),
    Mistake(
        "cross_entropy_loss_backward",
        "class weights forgotten",
        {LOSS: LOSS.replace("weights, self", "0 * weights + 1, self")},
        "With equal class weights you are right; with others each image counts the same.",
        "What did the loss's forward do with the weights?",
    ),
    Mistake(
        "clip_gradients",
        "small gradients scaled up",
        {"if factor < 1:": "if True:"},
        "A norm that is small enough is scaled up to max_norm.",
        "What is min(1, max_norm / norm) when norm is smaller than max_norm?",
    ),
    Mistake(
        "clip_gradients",
        "the root forgotten",
        {NORM: NORM.replace("math.sqrt(", "(")},
        "Your norm is the sum of squares.",
        "What is the length of the vector (3, 4)?",
    ),
    Mistake(
        "clip_gradients",
        "the sum of the norms",
        {NORM: "sum(math.sqrt(ops.sum_of_squares(grad)) for ops, grad in grads)"},
        "You add up the norms of the parameters' gradients.",
        "All gradients together are one long vector. When is the root taken: for each part, or once?",
    ),
    Mistake(
        "clip_gradients",
        "the norm after",
        {"    return norm": "    return norm * min(1, factor)"},
        "You return the norm after scaling.",
        "Which norm is asked for: the one that tells how wild the gradients were?",
    ),
    Mistake(
        "clip_gradients",
        "max_norm forgotten",
        {"factor = max_norm /": "factor = 1 /"},
        "You bring the norm down to 1, whatever max_norm is.",
        "If max_norm is 5, how long may the gradients be?",
    ),
    Mistake(
        "clip_gradients",
        "1e-6 forgotten",
        {"factor = max_norm / (norm + 1e-6)": "factor = max_norm / norm if norm else 1.0"},
        "You divide by the norm alone; the last digits differ.",
        "What stands below the line in the formula?",
    ),
    Mistake(
        "clip_gradients",
        "each by its own norm",
        {
            "    ops.scale_(grad, factor)\n": "    own_norm = math.sqrt(ops.sum_of_squares(grad))\n"
            "            ops.scale_(grad, min(1, max_norm / (own_norm + 1e-6)))\n"
        },
        "You scale each parameter's gradient by a factor of its own, which turns the direction of the step.",
        "All gradients together are one long vector. How many factors keep its direction?",
    ),
)
