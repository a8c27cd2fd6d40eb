"""Draws docs/images/architecture.png: the rooms of the package, and who imports whom.

python docs/architecture.py
"""

import tomllib
from pathlib import Path

import grimp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
WIDTH, STEP = 12.0, 0.9


def tiers():
    """The rooms from top to bottom, as the contract in pyproject.toml orders them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [[room.strip() for room in line.split("|")] for line in contracts[0]["layers"]]


def imports(rooms):
    """Pairs (importer, imported) of rooms, with the number of imports."""
    graph = grimp.build_graph("flowzoo")
    counts = {}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = tuple(([*name.split("."), "", ""])[1] for name in (module, imported))
            if pair[0] != pair[1] and set(pair) <= rooms:
                counts[pair] = counts.get(pair, 0) + 1
    return counts


def without_shortcuts(counts):
    """The pairs that no path of other imports joins: the transitive reduction."""
    below = {}
    for source, target in counts:
        below.setdefault(source, set()).add(target)

    def reaches(source, target):
        return target in below.get(source, ()) or any(reaches(room, target) for room in below.get(source, ()))

    return {
        (source, target): count
        for (source, target), count in counts.items()
        if not any(reaches(room, target) for room in below[source] - {target})
    }


def draw(path):
    """Writes the picture."""
    rows = [[room for room in tier if room != "_version"] for tier in tiers()]
    places = {}
    for i, row in enumerate(rows):
        for j, room in enumerate(row):
            places[room] = (WIDTH * (j + 1) / (len(row) + 1), -STEP * i)
    every = imports(set(places))
    counts = without_shortcuts(every)
    figure, axes = plt.subplots(figsize=(8, 10), dpi=120)
    for (source, target), count in sorted(counts.items()):
        (x0, y0), (x1, y1) = places[source], places[target]
        bend = 0.0 if x0 != x1 or y0 - y1 <= STEP else 0.3
        axes.annotate(
            "",
            (x1, y1 + 0.24),
            (x0, y0 - 0.24),
            arrowprops={
                "arrowstyle": "-|>",
                "connectionstyle": f"arc3,rad={bend}",
                "color": "#3b6ea5",
                "alpha": 0.8,
                "linewidth": 0.6 + 0.08 * min(count, 20),
            },
        )
    for room, (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "#eef3f9", "edgecolor": "#1d3557", "linewidth": 1.0}
        axes.text(x, y, room, ha="center", va="center", fontsize=11, bbox=box, zorder=3)
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(-STEP * (len(rows) - 1) - 0.6, 0.6)
    axes.axis("off")
    title = "A room imports only from rooms below it (arrows that a longer path implies are left out)"
    axes.set_title(title, fontsize=12)
    figure.tight_layout()
    figure.savefig(path)
    print(f"{len(places)} rooms, {len(counts)} arrows of {len(every)}, {sum(every.values())} imports: {path}")


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "architecture.png")
