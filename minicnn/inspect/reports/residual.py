"""What the page has of a residual: what both ways made of x and of dy, and what they cost together."""

from typing import Any

from minicnn.inspect.reports.base import Cost, LayerReport
from minicnn.inspect.sample import Part
from minicnn.plain import Array


class ResidualReport(LayerReport):
    @property
    def ways(self) -> list[list[LayerReport]]:
        """The reports of the layers on either way."""
        from minicnn.inspect.reports import report_of  # here, since that module needs this one

        return [[report_of(one) for one in way] for way in self.layer_pass.ways]

    def keeps(self) -> list[tuple[str, str, Array | None]]:
        prefix = f"{self.layer_pass.name}."
        return [
            (f"{report.layer_pass.name.removeprefix(prefix)}: {what}", why, array)
            for way in self.ways
            for report in way
            for what, why, array in report.keeps()
        ]

    def sums(self) -> Cost:
        """Those of the additions alone: y = f(x) + s(x), dx = f'(dy) + s'(dy)."""
        return self.y.size, self.x.size

    def flops(self) -> Cost:
        return _total([self.sums(), *(report.flops() for way in self.ways for report in way)])

    def bytes(self) -> Cost:
        """Each sum reads two arrays and writes one."""
        inner = [report.bytes() for way in self.ways for report in way]
        return _total([(3 * self.y.nbytes, 3 * self.x.nbytes), *inner])

    def extra(self) -> dict[str, Any]:
        """f(x) and s(x), f'(dy) and s'(dy)."""
        f, s = self.layer_pass.ways
        return {
            "f": Part(f[-1].y, self.y_axes),
            "s": Part(s[-1].y if s else self.x, self.y_axes),
            "df": Part(f[0].dx, self.x_axes),
            "ds": Part(s[0].dx if s else self.dy, self.x_axes),
        }


def _total(costs: list[Cost]) -> Cost:
    forward, backward = ([cost[way] for cost in costs] for way in (0, 1))
    return (
        None if None in forward else sum(n for n in forward if n is not None),
        None if None in backward else sum(n for n in backward if n is not None),
    )
