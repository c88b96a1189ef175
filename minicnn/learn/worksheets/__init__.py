"""Worksheets: small cases to be computed with a pencil, one page each, and the key to each.

The numbers are those of the framework's own layers, so a key agrees with the code that the course is about; the sums
that lead to them are written out, line by line.

catalogue.py                                            which there are
dense.py windows.py convolution.py batchnorm.py training.py     the worksheets
sheet.py                                                what a worksheet is, and how numbers are written by hand
markdown.py page.py                                     the two forms in which they come
"""

from minicnn.learn.worksheets.catalogue import WORKSHEETS, worksheet
from minicnn.learn.worksheets.markdown import as_markdown
from minicnn.learn.worksheets.page import as_page

__all__ = ["WORKSHEETS", "as_markdown", "as_page", "worksheet"]
