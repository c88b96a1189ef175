"""Networks exported to C, compiled together into one program, and asked for their outputs.

Each is compiled by itself, with every warning an error and with the sanitizers of addresses and undefined behaviour;
the program reads images from its input, gives each to its model in an array of exactly that size, and writes the
outputs, which have exactly the room that the file asks for.
"""

import os
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest

WARNINGS = [f"-W{name}" for name in ("all", "extra", "conversion", "shadow", "double-promotion", "missing-prototypes")]
WARNINGS = ["-std=c99", "-pedantic", "-Werror", *WARNINGS]
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
UNTOUCHED = 12345.0  # in an output before the model writes it

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None and os.environ.get("MINICNN_GCC") != "required",
    reason="gcc is not installed, which compiles the exported C files",
)

ASKING = """
#include <stdio.h>
#include <stdlib.h>

{prototypes}

int main(void)
{{
    int head[4]; /* the model, height, width, and how many numbers the image has */
    while (fread(head, sizeof head, 1, stdin)) {{
        const int room[] = {{{room}}};
        const size_t n = (size_t)room[head[0]], count = (size_t)head[3];
        {real} *image = malloc(count * sizeof *image), *output = malloc(n * sizeof *output);
        if (!image || !output || fread(image, sizeof *image, count, stdin) != count)
            return 1;
        for (size_t k = 0; k < n; k++)
            output[k] = {untouched};
        int written = -9;
        switch (head[0]) {{
{cases}
        }}
        fwrite(&written, sizeof written, 1, stdout);
        fwrite(output, sizeof *output, n, stdout);
        free(image);
        free(output);
    }}
    return 0;
}}
"""


def gcc(*arguments):
    """Run gcc, which must have nothing to say."""
    ended = subprocess.run(["gcc", *map(str, arguments)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr[:4000]


def outputs_stated(source):
    return int(re.search(r"OUTPUTS = (\d+)", source.read_text())[1])


class Models:
    """The C files `sources`, compiled."""

    def __init__(self, folder, sources, dtype=np.float32):
        self.program, self.dtype = folder / "models", np.dtype(dtype)
        self.rooms = [outputs_stated(source) for source in sources]
        real = {"float32": "float", "float64": "double"}[self.dtype.name]
        wrappers = []
        for number, source in enumerate(sources):
            wrappers.append(folder / f"wrapper{number}.c")
            wrappers[-1].write_text(
                f"#define minicnn_predict predict_{number}\n#define minicnn_class_names names_{number}\n"
                f'#include "{source}"\n'
            )
        prototype = f"int predict_{{}}(const {real} *image, int height, int width, {real} *output);"
        case = "        case {0}: written = predict_{0}(image, head[1], head[2], output); break;"
        asking = folder / "asking.c"
        asking.write_text(
            ASKING.format(
                prototypes="\n".join(prototype.format(n) for n in range(len(sources))),
                cases="\n".join(case.format(n) for n in range(len(sources))),
                room=", ".join(map(str, self.rooms)),
                real=real,
                untouched=UNTOUCHED,
            )
        )
        gcc(*WARNINGS, "-O1", *SANITIZERS, *wrappers, asking, "-lm", "-o", self.program)

    def ask(self, questions):
        """[(what the model returned, its whole output)] for [(model, image (C, H, W), height, width)]."""
        given = b"".join(
            struct.pack("4i", number, height, width, image.size) + image.astype(self.dtype).tobytes()
            for number, image, height, width in questions
        )
        ended = subprocess.run([self.program], input=given, capture_output=True)
        assert (ended.returncode, ended.stderr) == (0, b""), ended.stderr.decode()[:4000]
        answers, at = [], 0
        for number, *_ in questions:
            (written,) = struct.unpack_from("i", ended.stdout, at)
            answers.append((written, np.frombuffer(ended.stdout, self.dtype, self.rooms[number], at + 4)))
            at += 4 + self.rooms[number] * self.dtype.itemsize
        assert at == len(ended.stdout)
        return answers

    def predict(self, number, *images):
        """For each image (C, H, W) what the model makes of it, or the error it returned, below 0."""
        answers = self.ask([(number, image, *image.shape[1:]) for image in images])
        for written, output in answers:
            assert (output[max(written, 0) :] == UNTOUCHED).all()
        return [output[:written] if written >= 0 else written for written, output in answers]


def exported(network, path, height, width):
    network.export_c(path, max_height=height, max_width=width)
    return path
