"""The plot of delay against heard cuts."""

from collections.abc import Collection, Mapping
from pathlib import Path

from bench.turns.figures import Figures


def draw(shown: Mapping[str, Figures], path: Path, ours: Collection[str]) -> None:
    """One point a policy, as SVG; legible on white and on black."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "turns", "font.size": 10})
    grey = "#808890"
    figure, axes = plt.subplots(figsize=(8, 4.5))
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for name, one in shown.items():
        colour = "#2f6fe0" if name in ours else grey
        low, high = one.heard_interval
        axes.errorbar(
            one.p50,
            one.heard,
            yerr=[[one.heard - low], [high - one.heard]],
            fmt="o",
            color=colour,
            elinewidth=0.8,
        )
        axes.annotate(name, (one.p50, one.heard), (6, 4), textcoords="offset points", color=colour)
    axes.set_xlabel("last word → first sound, p50, ms (the model takes 600)")
    axes.set_ylabel("pauses spoken into, % (95 %)")
    axes.set_xlim(right=axes.get_xlim()[1] + 250)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=grey)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(grey)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(grey)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
