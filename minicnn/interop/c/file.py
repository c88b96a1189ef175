"""The whole file: its head, the layers, the function that calls them one after another, and a program."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template

from minicnn.classify.classifier import Classifier
from minicnn.interop.c.chain import Link, every_link
from minicnn.interop.c.layers import definitions, suffix_of
from minicnn.interop.c.program import program_of
from minicnn.interop.c.text import c_string
from minicnn.layers import LogSoftmax

HEAD = Template("""\
/* A network in C99, written by minicnn. A layer is a function, and minicnn_predict calls them one after another.
 *
 * input    one image of C = $channels, at most $max_height x $max_width pixels, $range: channel by channel, row by row
 * output   $outputs numbers$meaning
 * flash    $flash bytes of weights, beside the code
 * RAM      $ram bytes, in the arrays $places, which hold what goes from layer to layer; there is no malloc.
 *          The image and the output are the caller's. For one call at a time, not for several threads.
 *
 *     gcc -std=c99 -O3 -c model.c                                  for a program of your own, linked with -lm
 *     gcc -std=c99 -O3 -DMINICNN_MAIN model.c -o model -lm         a program: ./model image.ppm
 *
 * Axes: C channels, H rows and W columns of what goes into a layer, x; F, OH, OW of what comes out, y; KH, KW of a
 * kernel. Indices: c, r, s; f, p, q; i, j. The numbers are at the end of the file, exact since they are hexadecimal:
 * 0x1.8p-1 is 1.5 / 2.
 *$preparation
 * For two models in one program give one of them other names: -Dminicnn_predict=cats -Dminicnn_class_names=cat_names */
#include <limits.h>
#include <math.h>

#if INT_MAX < 2147483647
#error "sizes need an int of 32 bits"
#endif

enum { CHANNELS = $channels, MAX_HEIGHT = $max_height, MAX_WIDTH = $max_width, OUTPUTS = $outputs };
enum { TOO_LARGE = -1, WRONG_SIZE = -2, NO_IMAGE = -3 }; /* what minicnn_predict returns instead of a count */

int minicnn_predict(const $real *image, int height, int width, $real *output);
extern const char *const minicnn_class_names[OUTPUTS];

typedef struct {
    int c, h, w;
} Shape; /* a vector of D numbers is (D, 1, 1) */
$helpers$buffers
""")

HELPERS = {
    "at(": """
/* Where in its array the number of channel c, row r, column s is. */
static inline int at(Shape shape, int c, int r, int s)
{
    return (c * shape.h + r) * shape.w + s;
}
""",
    "larger(": """
static inline int larger(int a, int b)
{
    return a > b ? a : b;
}
""",
    "smaller(": """
static inline int smaller(int a, int b)
{
    return a < b ? a : b;
}
""",
    "ceil_size(": """
/* How many windows reach every one of n cells; the last may end past the padding, but does not begin in it. */
static inline int ceil_size(int n, int kernel, int stride, int padding)
{
    const int count = (n + 2 * padding - kernel + stride - 1) / stride + 1;
    return (count - 1) * stride >= n + padding ? count - 1 : count;
}
""",
}

PREDICT = Template("""\
/* Write the output for an image ($channels, height, width) to `output`, which has room for $outputs numbers.
 *
 * Returns how many numbers it wrote; or, and then it wrote none, TOO_LARGE for an image of more than
 * $max_height x $max_width pixels, WRONG_SIZE for one that a layer cannot take, NO_IMAGE where there is none. */
int minicnn_predict(const $real *image, int height, int width, $real *output)
{
    Shape shape = {CHANNELS, height, width};
    if (!image || !output || height < 1 || width < 1)
        return NO_IMAGE;
    if (height > MAX_HEIGHT || width > MAX_WIDTH)
        return TOO_LARGE;
$calls    for (int k = 0; k < shape.c; k++)
        output[k] = $last[k];
    return shape.c;
}
""")

NUMBERS = Template("""\

const char *const minicnn_class_names[OUTPUTS] = {
$names};

$constants""")

MAIN = Template("""\

#ifdef MINICNN_MAIN
#include <ctype.h>
#include <stdio.h>

/* The next number in the head of an image file; from # to the end of its line is a comment. */
static int read_number(FILE *file)
{
    int c = getc(file), number = 0;
    for (; c == '#' || isspace(c); c = getc(file))
        if (c == '#')
            while (c != '\\n' && c != EOF)
                c = getc(file);
    for (; isdigit(c) && number < 100000; c = getc(file))
        number = 10 * number + c - '0';
    return number;
}

static int refuse(const char *reason)
{
    fprintf(stderr, "error: %s\\n", reason);
    return 1;
}

/* Print the class of the image in a PGM or PPM file, and the output for each class. */
int main(int argc, char **argv)
{
    static $real image[CHANNELS * MAX_HEIGHT * MAX_WIDTH], output[OUTPUTS];
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file)
        return refuse("expected the name of a file, a binary PGM or PPM of 8 bits");
    const int p = getc(file), kind = getc(file), width = read_number(file), height = read_number(file);
    if (p != 'P' || (kind != '5' && kind != '6') || read_number(file) != 255 || width < 1 || height < 1)
        return refuse("the file is no binary PGM or PPM of 8 bits");
    if (height > MAX_HEIGHT || width > MAX_WIDTH)
        return refuse("the image is larger than $max_height x $max_width pixels");
    const int pixels = height * width;
    for (int i = 0; i < pixels; i++) {
        const int red = getc(file);
        const int green = kind == '6' ? getc(file) : red, blue = kind == '6' ? getc(file) : red;
        if (blue == EOF)
            return refuse("the file ends before its last pixel");
$pixel    }
    fclose(file);
    const int count = minicnn_predict(image, height, width, output);
    if (count < 1)
        return refuse("the network takes no image of this size");
    int best = 0;
    for (int k = 1; k < count; k++)
        best = output[k] > output[best] ? k : best;
    printf("%s\\n", minicnn_class_names[best]);
    for (int k = 0; k < count; k++)
        printf("%14.6f  %s\\n", (double)output[k], minicnn_class_names[k]);
    return 0;
}
#endif
""")

# Of a colour image the grey value is Pillow's, 0.299 R + 0.587 G + 0.114 B in integers.
PIXEL = {
    1: Template("""\
        image[i] = ($real)((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536) / 255;
"""),
    3: Template("""\
        image[i] = ($real)red / 255;
        image[pixels + i] = ($real)green / 255;
        image[2 * pixels + i] = ($real)blue / 255;
"""),
}


def c_file(links: list[Link], classifier: Classifier | None) -> str:
    """The text of the file, in ASCII. Of a classifier it has the names of the classes, and normalises images."""
    dtype = next((array.dtype.name for link in every_link(links) for array in link.arrays.values()), "float32")
    real = {"float32": "float", "float64": "double"}[dtype]
    program = program_of(links, classifier, real)
    x, y, itemsize = links[0].x, links[-1].y, int(dtype[-2:]) // 8
    functions = "\n".join(function.code for function in program.functions)
    constants = {name: values for function in program.functions for name, values in function.constants.items()}
    words = {
        "real": real,
        "f": suffix_of(real),
        "channels": x.channels,
        "max_height": x.height,
        "max_width": x.width,
        "outputs": y.size,
    }
    head = HEAD.substitute(
        words,
        range="from 0 to 1" if classifier else "numbers as it was trained on",
        meaning=", the log-probability of each class" if isinstance(links[-1].layer, LogSoftmax) else "",
        flash=sum(values.size for values in constants.values()) * itemsize,
        places=", ".join(list(program.sizes)[:-1]) + f" and {list(program.sizes)[-1]}",
        ram=sum(program.sizes.values()) * itemsize,
        preparation=_prepared(classifier, x.channels),
        helpers="".join(helper for name, helper in HELPERS.items() if name in functions),
        buffers="".join(f"\nstatic {real} {name}[{size}];" for name, size in program.sizes.items() if size),
    )
    predict = PREDICT.substitute(words, calls="".join(f"    {line}\n" for line in program.calls), last=program.last)
    pixel = PIXEL.get(x.channels)  # an image file has 1 or 3 channels
    main = MAIN.substitute(words, pixel=pixel.substitute(words)) if pixel else ""
    names = "".join(f"    {c_string(name)},\n" for name in _class_names(classifier, y.size))
    numbers = NUMBERS.substitute(names=names, constants=definitions(constants, real))
    return "\n".join([head, functions, predict]) + main + numbers


def _class_names(classifier: Classifier | None, count: int) -> Sequence[str]:
    """The names of the outputs: those of the classes, or their numbers."""
    return [str(k) for k in range(count)] if classifier is None else classifier.class_names


def _prepared(classifier: Classifier | None, channels: int) -> str:
    """What the head says of how an image file becomes the network's input."""
    lines = ["The bytes of an image file are divided by 255, as the program does."]
    if classifier is None:
        lines.append("A network that was trained on other numbers needs those in `image`.")
    else:
        lines.append("run_input makes of that what the network was trained on.")
    if channels == 1:
        lines.append("Colour becomes grey: 0.299 R + 0.587 G + 0.114 B.")
    if classifier is not None and classifier.max_side is not None:
        lines.append(
            f"A larger image must be shrunk to {classifier.max_side} pixels on its longer side, as in training."
        )
    return "".join(f"\n * {line}" for line in lines) + "\n *"
