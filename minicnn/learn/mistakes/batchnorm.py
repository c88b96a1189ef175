"""Mistakes with batch normalisation."""

from minicnn.learn.mistakes.mistake import Mistake

DX = "_per_channel(_scale(weight, var, eps)) * dy"
TRAIN_DX = "_per_channel(_scale(weight, var, eps)) * (dy - via_mean - via_variance)"
COUNT = "via_mean, via_variance = _by_the_statistics(x_hat, dweight, dbias)"
MEANS = "    {count}\n    via_mean, via_variance = _per_channel(dbias / count), x_hat * _per_channel(dweight / count)"

MISTAKES = (
    Mistake(
        "batchnorm2d_eval_backward",
        "the weight forgotten",
        {DX: "dy / _per_channel(np.sqrt(var + eps))"},
        "Your dx is too small or too large by the factor weight, in each channel.",
        "y = weight * x_hat + bias. What does the step from y back to x_hat multiply by?",
    ),
    Mistake(
        "batchnorm2d_eval_backward",
        "the variance for the standard deviation",
        {DX: "_per_channel(weight / (var + eps)) * dy"},
        "You divide by var + eps, where forward divided by its square root.",
        "What was x - mean divided by in forward?",
    ),
    Mistake(
        "batchnorm2d_eval_backward",
        "eps forgotten",
        {DX: "_per_channel(weight / np.sqrt(var)) * dy"},
        "You divide by the root of var, and forward divided by the root of var + eps.",
        "What stands under the root in forward?",
    ),
    Mistake(
        "batchnorm2d_eval_backward",
        "training's backward",
        {
            DX: "_per_channel(_scale(weight, var, eps)) * (\n"
            "        dy - dy.mean(PIXELS, keepdims=True) - x_hat * (dy * x_hat).mean(PIXELS, keepdims=True)\n    )"
        },
        "This is the backward pass of training, where mean and variance move with x.",
        "In evaluation mean and var are numbers that were stored long ago. If x changes, do they?",
    ),
    Mistake(
        "batchnorm2d_eval_backward",
        "x for x_hat",
        {"dweight = (dy * x_hat)": "dweight = (dy * x)"},
        "Your dweight pairs dy with x.",
        "y = weight * x_hat + bias. What was weight multiplied by?",
    ),
    Mistake(
        "batchnorm2d_eval_backward",
        "means in place of sums",
        {"(dy * x_hat).sum(": "(dy * x_hat).mean(", "dy.sum(": "dy.mean("},
        "Your dweight and dbias are means.",
        "weight had a part in every number of its channel. Are their messages averaged?",
    ),
    Mistake(
        "batchnorm2d_eval_backward",
        "returned in another order",
        {"return dx, dweight, dbias": "return dx, dbias, dweight"},
        "Your dweight and dbias have changed places.",
        "In which order does the first line of the function name what it returns?",
    ),
    Mistake(
        "update_running_statistics_",
        "n for n − 1",
        {"var * (count / (count - 1))": "var"},
        "You move running_var towards the biased variance of the batch.",
        "The mean of a few values lies closer to them than the mean of all data would. So is their variance around it "
        "too large or too small?",
    ),
    Mistake(
        "update_running_statistics_",
        "n and n − 1 exchanged",
        {"(count / (count - 1))": "((count - 1) / count)"},
        "You make the variance smaller, where it should become larger.",
        "The biased variance is a sum divided by count. How do you get from it to the sum divided by count - 1?",
    ),
    Mistake(
        "update_running_statistics_",
        "momentum the other way round",
        {
            "running_mean += momentum": "running_mean += (1 - momentum)",
            "running_var += momentum": "running_var += (1 - momentum)",
        },
        "You keep a share of momentum of the old statistics, and take most of the batch's.",
        "In PyTorch momentum 0.1 means that a batch moves the running mean by a tenth. Which of the two keeps 0.9?",
    ),
    Mistake(
        "update_running_statistics_",
        "the batch's in place of the old",
        {
            "momentum * (mean - running_mean)": "mean - running_mean",
            "momentum * (unbiased - running_var)": "unbiased - running_var",
        },
        "You replace the running statistics by those of the batch.",
        "One batch is a small sample. What does momentum say about its share?",
    ),
    Mistake(
        "update_running_statistics_",
        "the standard deviation",
        {"var * (count / (count - 1))": "np.sqrt(var * (count / (count - 1)))"},
        "You move running_var towards a standard deviation.",
        "What does forward take the root of, in evaluation?",
    ),
    Mistake(
        "update_running_statistics_",
        "the old ones never fade",
        {
            "momentum * (mean - running_mean)": "momentum * mean",
            "momentum * (unbiased - running_var)": "momentum * unbiased",
        },
        "You add the batch's share to the whole of the old statistics.",
        "If every batch has the mean 1, what should running_mean approach? What does yours approach?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "statistics treated as constants",
        {TRAIN_DX: DX},
        "Your dx is that of evaluation: it takes mean and variance for constants.",
        "In training the mean is made of these very pixels. If one grows, what happens to the x_hat of the others?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "the path through the mean is missing",
        {"(dy - via_mean - via_variance)": "(dy - via_variance)"},
        "Two of the three paths are right; what goes through the mean is missing.",
        "If every dy of a channel is 1, the loss is the sum of y. Can any x change that sum, with the mean taken out?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "the path through the variance is missing",
        {"(dy - via_mean - via_variance)": "(dy - via_mean)"},
        "Two of the three paths are right; what goes through the variance is missing.",
        "If x is stretched to twice its size, does y change? So what must the sum of dx * (x - mean) nearly be?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "sums where means are due",
        {COUNT: "via_mean, via_variance = _per_channel(dbias), x_hat * _per_channel(dweight)"},
        "What goes through mean and variance is too large by the number of values in a channel.",
        "The mean is a sum divided by n. By how much does it move when one pixel grows by 1?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "n − 1 for n",
        {COUNT: MEANS.format(count="count = dy[:, 0].size - 1").strip()},
        "What goes through mean and variance is divided by n - 1.",
        "Which variance did forward normalise with, the biased or the unbiased one?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "images counted, not pixels",
        {COUNT: MEANS.format(count="count = len(dy)").strip()},
        "What goes through mean and variance is divided by the number of images.",
        "Over how many numbers was the mean of a channel taken: N, or N * H * W?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "statistics of each image",
        {
            TRAIN_DX: "_per_channel(_scale(weight, var, eps)) * (\n"
            "        dy - dy.mean((2, 3), keepdims=True) - x_hat * (dy * x_hat).mean((2, 3), keepdims=True)\n    )"
        },
        "Your means run over the pixels of each image, and not over the batch.",
        "Over which axes did forward take the mean? Do the pixels of one image reach the y of another?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "x for x_hat",
        {
            COUNT: "n = dy[:, 0].size\n"
            "    via_mean, via_variance = _per_channel(dbias / n), x * _per_channel(dweight / n)"
        },
        "What goes through the variance has x in it where x_hat is due.",
        "Is dx the same when 100 is added to every pixel? Then what may stand in its formula?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "the weight forgotten",
        {TRAIN_DX: "(dy - via_mean - via_variance) / _per_channel(np.sqrt(var + eps))"},
        "Your dx is too small or too large by the factor weight, in each channel.",
        "y = weight * x_hat + bias. What does the step from y back to x_hat multiply by?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "eps forgotten",
        {TRAIN_DX: "_per_channel(weight / np.sqrt(var)) * (dy - via_mean - via_variance)"},
        "You divide by the root of var, and forward divided by the root of var + eps.",
        "What stands under the root in forward?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "returned in another order",
        {"return dx, dweight, dbias": "return dx, dbias, dweight"},
        "Your dweight and dbias have changed places.",
        "In which order does the first line of the function name what it returns?",
    ),
    Mistake(
        "batchnorm2d_train_backward",
        "the paths added",
        {"(dy - via_mean - via_variance)": "(dy + via_mean + via_variance)"},
        "What goes through mean and variance has the wrong sign.",
        "x - mean: when the mean grows, does x_hat grow or shrink?",
    ),
)
