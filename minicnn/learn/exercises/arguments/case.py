"""What a case is: a label, and the arguments that a learner's function is called with."""

from typing import Any, TypeAlias

Arguments: TypeAlias = tuple[Any, ...]
Case: TypeAlias = tuple[str, Arguments]
