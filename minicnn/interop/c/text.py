"""Numbers, names and texts as C99 writes them.

Whatever a layer or a class is called, what comes out is C that compiles without a warning: nothing in it ends a comment
or a string, and no two layers get one name.
"""

import re
from collections.abc import Iterable

from minicnn.plain import Array

LONGEST_NAME = 40  # of 63 characters that C99 tells apart in a name, so that a prefix and a number fit
LONGEST_STRING = 4095  # bytes of a string that every C99 compiler must take
IN_A_LINE = 9  # numbers: a kernel of 3 × 3


def c_number(value: float, suffix: str) -> str:
    """`value` in hexadecimal, which every compiler reads as the same bits.

    >>> c_number(0.75, "f"), c_number(-0.0, ""), c_number(0.1, "")
    ('0x1.8p-1f', '-0x0p+0', '0x1.999999999999ap-4')
    """
    mantissa, exponent = float(value).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}{suffix}"


def c_array(values: Array, suffix: str) -> str:
    """The numbers in braces, axis by axis.

    >>> import numpy as np
    >>> print(c_array(np.float32([[1, 2], [3, 4]]), "f"))
    {{0x1p+0f, 0x1p+1f}, {0x1.8p+1f, 0x1p+2f}}
    """
    if values.ndim == 1:
        numbers = [c_number(value, suffix) for value in values.tolist()]
        lines = [", ".join(numbers[start : start + IN_A_LINE]) for start in range(0, len(numbers), IN_A_LINE)]
        return "{" + ",\n".join(lines) + "}"
    separator = ", " if values.size <= IN_A_LINE else ",\n"
    return "{" + separator.join(c_array(part, suffix) for part in values) + "}"


def c_string(text: str) -> str:
    """`text` in UTF-8 as a string, with all but plain ASCII as octal numbers, which end after three digits.

    A question mark could begin a trigraph. Raises ValueError where it is too long for C.

    >>> print(c_string('"why??/" é'))
    "\\042why\\077\\077/\\042 \\303\\251"
    """
    plain = re.compile(rb'[^ -~]|["\\?]')
    coded = text.encode("utf-8", "surrogatepass")
    if len(coded) > LONGEST_STRING:
        raise ValueError(
            f"export_c: expected names of at most {LONGEST_STRING} bytes, got {text[:20]!r}… of {len(coded)}"
        )
    return '"' + plain.sub(lambda found: b"\\%03o" % found[0][0], coded).decode("ascii") + '"'


def c_comment(text: str) -> str:
    """`text` as it may stand in a comment: in ASCII, and neither beginning nor ending one, nor making a trigraph.

    >>> c_comment("a*/ b??/\\n"), c_comment("é")
    ('a* / b? ?/\\\\n', '\\\\xe9')
    """
    visible = text.encode("unicode_escape").decode("ascii")
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)", " ", visible)


def c_names(names: Iterable[str]) -> list[str]:
    """For each name one of letters, digits and underscores, no two alike. They stand behind a prefix.

    >>> c_names(["conv1", "block.conv1", "block_conv1", "0", "größe"])
    ['conv1', 'block_conv1', 'block_conv1_2', '0', 'gr__e']
    """
    taken: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)[:LONGEST_NAME]
        chosen, number = plain, 1
        while chosen in taken:
            number += 1
            chosen = f"{plain}_{number}"
        taken.append(chosen)
    return taken
