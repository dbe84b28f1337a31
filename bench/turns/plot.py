"""The plot of delay against replies spoken into pauses."""

from collections.abc import Collection, Mapping
from pathlib import Path

from bench.turns.figures import Figures

_OURS, _OTHERS, _INK = "#2f6fe0", "#d9822b", "#808890"


def draw(shown: Mapping[float, Mapping[str, Figures]], path: Path, ours: Collection[str]) -> None:
    """One point a policy, a panel a model time, as SVG; legible on white and on black.

    Args:
        shown: by the model's seconds and the policy's name.
        path: where it goes.
        ours: the names of the product's own policies.
    """
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "turns", "font.size": 10})
    figure, panels = plt.subplots(1, len(shown), figsize=(10, 4.6), sharey=True, squeeze=False)
    figure.patch.set_alpha(0)
    for axes, (seconds, policies) in zip(panels[0], shown.items(), strict=True):
        for number, (name, one) in enumerate(policies.items(), 1):
            colour = _OURS if name in ours else _OTHERS
            axes.plot(one.p50, one.heard, "o", markersize=15, color=colour, alpha=0.85)
            axes.annotate(
                str(number), (one.p50, one.heard), ha="center", va="center", color="white", size=9
            )
        _style(axes, f"the model takes {seconds:g} s")
    panels[0][0].set_ylabel("pauses spoken into, %, all recordings", color=_INK)
    names = [f"{number} {name}" for number, name in enumerate(next(iter(shown.values())), 1)]
    third = -(-len(names) // 3)
    for column in range(3):
        text = "\n".join(names[column * third : (column + 1) * third])
        figure.text(0.08 + 0.32 * column, 0.01, text, color=_INK, va="bottom", size=9)
    figure.tight_layout(rect=(0, 0.2, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def _style(axes: "mpl.axes.Axes", title: str) -> None:  # type: ignore[name-defined]  # noqa: F821
    axes.patch.set_alpha(0)
    axes.set_title(title, color=_INK, size=10)
    axes.set_xlabel("last word to first sound, p50, ms", color=_INK)
    axes.set_ylim(bottom=-2)
    axes.margins(x=0.08)
    axes.tick_params(colors=_INK)
    axes.grid(color=_INK, alpha=0.2, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
