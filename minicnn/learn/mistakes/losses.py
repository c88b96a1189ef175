"""Mistakes with log-softmax and the negative log-likelihood."""

from minicnn.learn.mistakes.mistake import Mistake

SHIFTED = "shifted = x - x.max(axis=1, keepdims=True)"
LOG_SOFTMAX = "shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))"
BACKWARD = "dy - np.exp(y) * dy.sum(axis=1, keepdims=True)"

MISTAKES = (
    Mistake(
        "log_softmax_forward",
        "log without the shift",
        {SHIFTED: "shifted = x"},
        "For small scores you are right, for large ones exp overflows or everything becomes 0.",
        "exp(2000) has no place in a float. What can be subtracted from a whole row without changing its log-softmax?",
    ),
    Mistake(
        "log_softmax_forward",
        "one shift for all rows",
        {SHIFTED: "shifted = x - x.max()"},
        "You subtract the largest number of the whole batch. In a row far below it every exp is 0, and "
        "so is their sum, whose log is minus infinity.",
        "Which number must be at least one 0 in *every* row after the shift?",
    ),
    Mistake(
        "log_softmax_forward",
        "the logarithm of the softmax",
        {LOG_SOFTMAX: "np.log(np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True))"},
        "You take the softmax first and then its logarithm. A class far behind has probability 0, whose log is minus "
        "infinity.",
        "log(a / b) = log a - log b. What is the logarithm of exp(shifted), and need you ever compute that exp?",
    ),
    Mistake(
        "log_softmax_forward",
        "summed over the images",
        {"np.exp(shifted).sum(axis=1": "np.exp(shifted).sum(axis=0"},
        "Your sums run over the images, so that the probabilities of an image do not add up to 1.",
        "Which axis has the classes?",
    ),
    Mistake(
        "log_softmax_forward",
        "the logarithm forgotten",
        {LOG_SOFTMAX: "np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)"},
        "Your numbers are the softmax itself: they lie between 0 and 1.",
        "What is the logarithm of a probability: can it be positive?",
    ),
    Mistake(
        "log_softmax_forward",
        "the sum forgotten",
        {LOG_SOFTMAX: "shifted - np.log(np.exp(shifted).max(axis=1, keepdims=True))"},
        "You subtract the largest score only, so that the best class of every image gets 0, which is probability 1.",
        "What must exp(y) add up to, over the classes?",
    ),
    Mistake(
        "log_softmax_forward",
        "a shift that is not the largest",
        {SHIFTED: "shifted = x - x.mean(axis=1, keepdims=True)"},
        "You shift each row, but not by its largest score. Where one class is far ahead, exp overflows all the same.",
        "After the shift, how large may the largest number of a row still be?",
    ),
    Mistake(
        "log_softmax_forward",
        "summed over everything",
        {"np.exp(shifted).sum(axis=1, keepdims=True)": "np.exp(shifted).sum()"},
        "You divide every image by one sum, over the whole batch.",
        "Over which numbers must the probabilities add up to 1: over a row, or over the batch?",
    ),
    Mistake(
        "log_softmax_backward",
        "the logarithm in place of the probability",
        {"np.exp(y)": "y"},
        "You multiply the sum of dy by y, which is the logarithm of the softmax.",
        "d(log of a sum of exps) / dx[k] is exp(x[k]) over that sum. Which function of y is this?",
    ),
    Mistake(
        "log_softmax_backward",
        "the sum of dy forgotten",
        {BACKWARD: "dy - np.exp(y)"},
        "You subtract the softmax as if dy added up to 1 in each row.",
        "x[k] acts on every y[j] of its row through the log of the sum. How many messages come back on that way?",
    ),
    Mistake(
        "log_softmax_backward",
        "the softmax's backward",
        {BACKWARD: "np.exp(y) * (dy - (dy * np.exp(y)).sum(axis=1, keepdims=True))"},
        "These are the gradients of softmax, without the logarithm.",
        "Which of the two did forward compute?",
    ),
    Mistake(
        "log_softmax_backward",
        "the direct path only",
        {BACKWARD: "dy * 1"},
        "You hand on dy alone.",
        "y[k] = x[k] - log(sum over j of exp(x[j])). x[k] stands in this twice: where else?",
    ),
    Mistake(
        "log_softmax_backward",
        "the other path only",
        {BACKWARD: "-np.exp(y) * dy.sum(axis=1, keepdims=True)"},
        "The path through the sum is right, and the direct one is missing.",
        "y[k] = x[k] - log(…). What does the first x[k] send back?",
    ),
    Mistake(
        "log_softmax_backward",
        "summed over the images",
        {"dy.sum(axis=1": "dy.sum(axis=0"},
        "Your sum of dy runs over the images.",
        "Did the scores of one image have any part in the log-softmax of another?",
    ),
    Mistake(
        "log_softmax_backward",
        "a mean in place of a sum",
        {"dy.sum(axis=1": "dy.mean(axis=1"},
        "You take the mean of dy over the classes, where the sum is due.",
        "Each y[j] of the row sends its own message through the log. Are messages averaged, or added up?",
    ),
    Mistake(
        "log_softmax_backward",
        "summed over everything",
        {"dy.sum(axis=1, keepdims=True)": "dy.sum()"},
        "You add up dy over the whole batch.",
        "Did the scores of one image have any part in the log-softmax of another?",
    ),
    Mistake(
        "log_softmax_backward",
        "the Jacobian transposed",
        {BACKWARD: "dy - (np.exp(y) * dy).sum(axis=1, keepdims=True)"},
        "You weight each message by the probability of the class that it comes from, and not of the one it goes to.",
        "x[k] moves every y[j] of its row by the same amount. Whose probability is that, of class k or of class j?",
    ),
    Mistake(
        "log_softmax_backward",
        "the sum added",
        {BACKWARD: BACKWARD.replace("dy - ", "dy + ")},
        "What comes through the sum has the wrong sign.",
        "When x[k] grows, the sum grows. Does y[j] of another class grow or shrink?",
    ),
    Mistake(
        "nll_loss_backward",
        "the sign",
        {"/= -target_weights": "/= target_weights"},
        "Every number has the wrong sign.",
        "The loss is *minus* the log-likelihood. If the log-probability of the right class grows, does the loss grow?",
    ),
    Mistake(
        "nll_loss_backward",
        "1/N forgotten",
        {"/= -target_weights.sum()": "*= -1"},
        "Your gradient is too large by what the loss is averaged by.",
        "The loss is a mean over the images. Where is that mean in your gradient?",
    ),
    Mistake(
        "nll_loss_backward",
        "divided by the number of images",
        {"/= -target_weights.sum()": "/= -n_images"},
        "With class weights that are all 1 you are right. With others the loss is divided by the sum of the targets' "
        "weights, and you divide by the number of images.",
        "What is `total` in the formula if one image counts three times as much as another?",
    ),
    Mistake(
        "nll_loss_backward",
        "softmax minus one-hot",
        {
            "d_log_p /= -target_weights.sum()": "d_log_p -= np.exp(log_p) * d_log_p.sum(axis=1, keepdims=True)\n"
            "    d_log_p /= -target_weights.sum()"
        },
        "This is softmax minus one-hot: the gradient with respect to the scores *before* the log-softmax.",
        "With respect to what is this gradient asked for? Does log_p[n, 1] have any part in the loss of an image whose "
        "target is 2?",
    ),
    Mistake(
        "nll_loss_backward",
        "softmax minus one-hot, divided by N",
        {
            "    return d_log_p": "    d_log_p = np.exp(log_p)\n    d_log_p[np.arange(n_images), targets] -= 1\n"
            "    return d_log_p / n_images"
        },
        "This is (softmax - one-hot) / N: the gradient with respect to the scores *before* the log-softmax, "
        "for equal class "
        "weights and without label smoothing.",
        "With respect to what is this gradient asked for? In the formula of the loss, what does log_p[n, 1] "
        "stand next to?",
    ),
    Mistake(
        "nll_loss_backward",
        "neither class weights nor smoothing",
        {
            "    return d_log_p": "    d_log_p = np.zeros_like(log_p)\n"
            "    d_log_p[np.arange(n_images), targets] = -1 / n_images\n    return d_log_p"
        },
        "This is right where the classes of all images weigh the same and nothing is smoothed, and not elsewhere.",
        "Which arguments of the function does your answer not use?",
    ),
    Mistake(
        "nll_loss_backward",
        "class weights forgotten",
        {"(1 - label_smoothing) * target_weights\n": "(1 - label_smoothing)\n"},
        "Where all class weights are 1 you are right; with others each image counts the same.",
        "Where does w[t[n]] stand in the formula of the loss?",
    ),
    Mistake(
        "nll_loss_backward",
        "label smoothing forgotten",
        {"d_log_p += label_smoothing / n_classes * class_weights": "pass", "(1 - label_smoothing) * ": ""},
        "Without label smoothing you are right; with it you still ask for the target alone.",
        "With smoothing e, every class is asked for a little: how much, and what is then left for the target?",
    ),
    Mistake(
        "nll_loss_backward",
        "the target asked for in full",
        {"(1 - label_smoothing) * ": ""},
        "You give every class its share of the smoothing, but do not take it from the target's.",
        "What must the probabilities that are asked for add up to?",
    ),
    Mistake(
        "nll_loss_backward",
        "divided by all class weights",
        {"/= -target_weights.sum()": "/= -class_weights.sum()"},
        "You divide by the sum of the class weights, each counted once.",
        "Look at `total` in the formula: does its sum run over the classes, or over the images?",
    ),
    Mistake(
        "nll_loss_backward",
        "= for +=",
        {"targets] += ": "targets] = "},
        "Without label smoothing you are right. With it the target loses the share that smoothing asks of every class.",
        "With smoothing every class is asked for e / K. Is the target one of the classes?",
    ),
    Mistake(
        "nll_loss_backward",
        "smoothing without class weights",
        {"label_smoothing / n_classes * class_weights": "label_smoothing / n_classes"},
        "What smoothing asks of every class has no class weight in it.",
        "In the second sum of the formula, what is log_p[n, k] multiplied by?",
    ),
    Mistake(
        "nll_loss_backward",
        "smoothing shared by the other classes",
        {
            "label_smoothing / n_classes * class_weights": "label_smoothing / (n_classes - 1) * class_weights",
            "targets] += ": "targets] = ",
        },
        "You share e among the classes other than the target. Here, as in PyTorch, all K classes get e / K.",
        "The second sum of the formula runs over k. Does it leave the target out?",
    ),
)
