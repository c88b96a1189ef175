"""Gradients against finite differences: `gradcheck`, and its report."""

from minicnn.verify.gradcheck.check import gradcheck

__all__ = ["gradcheck"]
