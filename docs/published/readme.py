"""Print the program that README shows."""

import re
from pathlib import Path

readme = Path(__file__).resolve().parents[2] / "README.md"
(program,) = re.findall(r"^```python\n(.*?)^```$", readme.read_text("utf-8"), re.MULTILINE | re.DOTALL)
print(program, end="")
