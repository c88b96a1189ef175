"""Tables, which are lists of dicts from column to text, on the screen, in Markdown, and as bars."""

from rich.console import Console
from rich.table import Table

RATIOS = ("ratio to the best", "ratio to the better")


def show(head, tables):
    console = Console(width=200)
    console.print(head)
    for title, rows in tables.items():
        table = Table(title=title)
        for column in columns_of(rows):
            table.add_column(column)
        for row in rows:
            table.add_row(*(row.get(column, "") for column in columns_of(rows)))
        console.print(table)


def as_markdown(head, tables):
    lines = [head, ""]
    for title, rows in tables.items():
        columns = columns_of(rows)
        lines += [f"**{title}**", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(row.get(column, "") for column in columns) + " |" for row in rows] + [""]
    return "\n".join(lines)


def columns_of(rows):
    """Of all rows, in the order of the row that has most: some engines only predict."""
    longest = max(rows, key=len)
    return [*longest, *dict.fromkeys(column for row in rows for column in row if column not in longest)]


def plot(tables, head, path):
    """Bars of the ratios: how much of the others' time minicnn takes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for table in tables.values() for row in table if any(column in row for column in RATIOS)]
    ratios = [float(next(row[column] for column in RATIOS if column in row)) for row in rows]
    names = [f"{row['']} ({row['best']})" if "best" in row else row[""] for row in rows]
    figure, axis = pyplot.subplots(figsize=(9, 1 + 0.28 * len(rows)), layout="constrained")
    bars = axis.barh(names, ratios, color=["C0" if ratio <= 1 else "C3" for ratio in ratios])
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.axvline(1, color="black", linewidth=1)
    axis.invert_yaxis()
    axis.set(xlabel="minicnn's time as a share of the best engine's, in brackets, or of PyTorch's better layout")
    axis.set_title(head, fontsize="small", wrap=True)
    figure.savefig(path, dpi=120)
