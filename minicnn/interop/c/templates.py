"""The C of each layer, with $words for its name and its numbers; `layers.py` fills them in.

Every function takes an image x of the shape `in`, writes what the layer makes of it to y, and returns the shape of
that; where the layer cannot take x, it writes nothing and returns a shape of no channels. The layers that work number
by number may have x and y in one place. Comments begin in the line before, with the layer's name.
"""

from string import Template

CONV = Template("""\
 *   y[f, p, q] = ${plus_bias}sum over c, i, j of weight[f, c, i, j] * x[$channel, $row, $column]
 *
 * x (C, H, W) -> y (F, OH, OW), F = $filters, C = $channels, KH = $kernel_h, KW = $kernel_w;$outside
 * OH = $formula_h, OW = $formula_w$groups */
$arrays
static Shape run_$name(const $real *x, Shape in, $real *y)
{
    const Shape out = {$filters, $out_h, $out_w};
$require_fit    for (int f = 0; f < $filters; f++)
        for (int p = 0; p < out.h; p++)
            for (int q = 0; q < out.w; q++) {
                $real sum = $first;
                for (int c = 0; c < $channels_seen; c++)
                    for (int i = 0; i < $kernel_h; i++)
                        for (int j = 0; j < $kernel_w; j++) {
                            const int r = $row, s = $column; /* the pixel that this weight meets */
                            ${if_inside}sum += weight_$name[f][c][i][j] * x[at(in, $channel, r, s)];
                        }
                y[at(out, f, p, q)] = sum;
            }
    return out;
}
""")

POOL = Template("""\
 *   y[c, p, q] = the $what of x[c, r, s] over the window: rows top <= r < bottom, columns left <= s < right
 *
 * x (C, H, W) -> y (C, OH, OW), OH = $formula_h, OW = $formula_w.
 * $windows */
static Shape run_$name(const $real *x, Shape in, $real *y)
{
    const Shape out = {in.c, $out_h, $out_w};
$require_fit    for (int c = 0; c < in.c; c++)
        for (int p = 0; p < out.h; p++)
            for (int q = 0; q < out.w; q++) {
                const int top = $top, bottom = $bottom;
                const int left = $left, right = $right;
$reduce            }
    return out;
}
""")

LARGEST = Template("""\
                $real largest = x[at(in, c, top, left)];
                for (int r = top; r < bottom; r++)
                    for (int s = left; s < right; s++) {
                        const $real value = x[at(in, c, r, s)];
                        if (value > largest || isnan(value)) /* NaN beats every number */
                            largest = value;
                    }
                y[at(out, c, p, q)] = largest;
""")

# A float has 24 bits, which the sum of a large window in one go would use up: each row has a sum of its own.
MEAN = Template("""\
                $real sum = 0;
                for (int r = top; r < bottom; r++) {
                    $real of_row = 0;
                    for (int s = left; s < right; s++)
                        of_row += x[at(in, c, r, s)];
                    sum += of_row;
                }
                y[at(out, c, p, q)] = sum / ($real)($area);
""")

BATCHNORM = Template("""\
 *   y[c, r, s] = scale[c] * (x[c, r, s] - mean[c]) + bias[c]      scale = weight / sqrt(running_var + $eps)
 *
 * x, y (C, H, W), C = $channels. mean is that of the training, running_mean. */
$arrays
static Shape run_$name(const $real *x, Shape in, $real *y)
{
    const int pixels = in.h * in.w;
    for (int c = 0; c < $channels; c++)
        for (int i = c * pixels; i < (c + 1) * pixels; i++)
            y[i] = scale_$name[c] * (x[i] - mean_$name[c]) + bias_$name[c];
    return in;
}
""")

RELU = Template("""\
 *   y = max(x, 0), number by number */
static Shape run_$name(const $real *x, Shape in, $real *y)
{
    const int size = in.c * in.h * in.w;
    for (int i = 0; i < size; i++)
        y[i] = x[i] < 0 ? 0 : x[i];
    return in;
}
""")

LINEAR = Template("""\
 *   y[k] = ${plus_bias}sum over d of weight[k, d] * x[d]
 *
 * x (D) -> y (K), D = $features, K = $outputs. An image is read channel by channel, row by row. */
$arrays
static Shape run_$name(const $real *x, Shape in, $real *y)
{
    const Shape out = {$outputs, 1, 1};
    if (in.c != $features)
        return (Shape){0, 0, 0};
    for (int k = 0; k < $outputs; k++) {
        $real sum = $first;
        for (int d = 0; d < $features; d++)
            sum += weight_$name[k][d] * x[d];
        y[k] = sum;
    }
    return out;
}
""")

LOG_SOFTMAX = Template("""\
 *   y[k] = x[k] - log(sum over j of exp(x[j]))
 *
 * x, y (K). The largest x is subtracted first, so that exp does not overflow. */
static Shape run_$name(const $real *x, Shape in, $real *y)
{
    $real largest = x[0], sum = 0;
    for (int k = 1; k < in.c; k++)
        if (x[k] > largest)
            largest = x[k];
    for (int k = 0; k < in.c; k++)
        sum += exp$f(x[k] - largest);
    const $real log_sum = log$f(sum);
    for (int k = 0; k < in.c; k++)
        y[k] = x[k] - largest - log_sum;
    return in;
}
""")

SUM = Template("""\
/* $comment
 *
 *   y = f + s
 *
 * f, s, y (C, H, W), or vectors: what the layers and the shortcut made of the same x. */
static Shape run_$name(const $real *f, Shape of_f, const $real *s, Shape of_s, $real *y)
{
    if (of_f.c != of_s.c || of_f.h != of_s.h || of_f.w != of_s.w)
        return (Shape){0, 0, 0};
    for (int i = 0; i < of_f.c * of_f.h * of_f.w; i++)
        y[i] = f[i] + s[i];
    return of_f;
}
""")

NORMALISE = Template("""\
/* What the network was trained on: images of mean 0 and standard deviation 1.
 *
 *   y[c, r, s] = (x[c, r, s] - mean[c]) / std[c]
 *
 * x, y (C, H, W), C = $channels, x from 0 to 1. */
$arrays
static Shape run_$name(const $real *x, Shape in, $real *y)
{
    const int pixels = in.h * in.w;
    for (int c = 0; c < $channels; c++)
        for (int i = c * pixels; i < (c + 1) * pixels; i++)
            y[i] = (x[i] - mean_$name[c]) / std_$name[c];
    return in;
}
""")

REQUIRE_FIT = Template("""\
    if ($missing)
        return (Shape){0, 0, 0};
""")
