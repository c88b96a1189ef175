"""Fill in the first exercise in ./backprop as somebody might: one task right, one with a mistake, one left open."""

from pathlib import Path

path = Path("backprop/01_linear.py")
text = path.read_text("utf-8")
for answer in ("dy.sum(axis=0)", "dy.T @ x / len(x)"):
    text = text.replace("return ...", f"return {answer}", 1)
path.write_text(text, "utf-8")
