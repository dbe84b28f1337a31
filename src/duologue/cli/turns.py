"""Say in figures how turns went: how long answers took, and how often they cut somebody off."""

from pathlib import Path

from duologue.store.figures import Figures, Row, read

_MARKS = 5  # how many cuts are shown, the newest


def report(path: Path, *, mine: bool = False) -> str:
    """The figures of the turns kept in the file at `path`, as a table, and the newest cuts.

    Args:
        path: of the turn log.
        mine: only turns that were held on this computer itself.

    Raises:
        InvalidSetting: the file cannot be read.
    """
    rows = read(path, is_local=True if mine else None)
    parts = {"all": rows}
    cuts = [number for number, row in enumerate(rows) if row.timings.cut]
    if cuts:
        parts = {"before": rows[: cuts[0] + 1], "after": rows[cuts[0] + 1 :]} | parts
    figures = {name: Figures.of(part) for name, part in parts.items()}
    if not (cuts or figures["all"].turns):
        where = " of this computer's own" if mine else ""
        return f"There is no turn{where} in {path} yet; talk on the page first.\n"
    lines = [
        "         turns  delay p50    p95  cuts  per 100 turns  dropped starts per turn  patience"
    ]
    lines += [f"{name:<8} {_figures(figure)}" for name, figure in figures.items()]
    if cuts:
        lines += ["", "The newest cuts, and what they were decided by:"]
    lines += [_mark(rows[number]) for number in cuts[-_MARKS:]]
    return "\n".join([*lines, ""])


def _figures(figure: Figures) -> str:
    median, most = (f"{at:.2f} s" for at in figure.delay) if figure.delay else ("-", "-")
    share = f"{100 * figure.cuts / figure.turns:.1f}" if figure.turns else "-"
    patience = "-" if figure.patience is None else f"x {figure.patience:.2f}"
    return (
        f"{figure.turns:5}  {median:>9} {most:>6} {figure.cuts:5}  {share:>13}  "
        f"{figure.drops:23.2f}  {patience:>8}"
    )


def _mark(row: Row) -> str:
    """One cut: when, how it is known, and the features of the pause that was taken for the end."""
    pause, said = row.timings.pause, f"{row.at:%Y-%m-%d %H:%M} UTC  {row.timings.cut:<7}"
    if not pause:
        return f"{said}  no pause: the client or the time limit ended the turn"
    finished = "not known" if pause.probability is None else f"{pause.probability:.2f}"
    return (
        f"{said}  waited {pause.wait:.2f} s ({pause.patience} x {pause.factor:.2f}), "
        f"finished: {finished}, after {pause.speech:.1f} s of speech at {pause.level:.0f} dB, "
        f"room {pause.background:.0f} dB"
    )
