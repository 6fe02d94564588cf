"""The style of all plots, and helpers to draw them.

The machine's matplotlibrc has no effect: the same values give the same image. pyplot is not used, since it has global
state and is slow to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
MOST_CURVES = 10  # the number of colours in the palette of `colors`
LONGEST_NAME = 28

INK = "#333333"
FAINT = "#8a8a8a"
BLUE = "#3f90da"
RED = "#bd1f01"

STYLE: Mapping[Any, Any] = {
    "figure.dpi": DPI,
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#b0b0b0",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ebebeb",
    "xtick.color": "#b0b0b0",
    "ytick.color": "#b0b0b0",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}

# DejaVu Sans comes with matplotlib and has no Chinese, Japanese or Korean glyphs: the first of these fonts that is
# installed is used for them.
WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at 120 dots per inch; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A figure from `new_figure`.
    path : pathlib.Path
        The file to write, in a folder that exists.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with house():  # the style is needed again, since matplotlib makes ticks only when it draws them
        # not savefig, which goes through the whole figure twice with a constrained layout
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]


def save_all(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write each figure as <name>.png in a folder, which is created if need be; see `save`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")


@contextmanager
def house() -> Iterator[None]:
    """Context in which figures are drawn in the project's style."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", *_wide_fonts()]
        yield


def new_figure(
    title: str,
    *,
    width: float = 6.4,
    height: float = 4.8,
    heights: Sequence[float] = (1,),
    widths: Sequence[float] = (1,),
    share: bool = True,
) -> tuple[Figure, Axes]:
    """Make a figure with a title and a grid of axes.

    Parameters
    ----------
    title
        The title of the figure, wrapped to two lines at most.
    width, height
        The size of the figure in inches.
    heights, widths
        The relative heights of the rows and widths of the columns of axes.
    share
        Whether the axes of a column share their x axis.

    Returns
    -------
    tuple
        The figure and the first of its axes.
    """
    import textwrap

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(round(width, 1), round(height, 1)), layout="constrained")  # whole pixels
    FigureCanvasAgg(figure)
    lines = textwrap.wrap(text(title, longest=200), width=int(9 * width), max_lines=2, placeholder=" …")
    figure.suptitle("\n".join(lines), x=0.012, ha="left", fontsize=11.5, fontweight="bold")
    all_axes = figure.subplots(
        len(heights),
        len(widths),
        squeeze=False,
        height_ratios=heights,
        width_ratios=widths,
        sharex="col" if share else False,
    )
    return figure, all_axes[0, 0]


def colors(n: int = MOST_CURVES) -> list[Any]:
    """A list of `n` colours that colour-blind people can tell apart (M. A. Petroff, arXiv:2107.02270).

    The palette has 10 colours; they repeat if `n` is greater.
    """
    import matplotlib

    palette = matplotlib.color_sequences["petroff10"]
    return [palette[position % len(palette)] for position in range(n)]


def say(axes: Axes, sentence: str) -> None:
    """Write a sentence in the middle of empty axes that says why nothing is drawn."""
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", fontsize=11, color=FAINT)


def remark(axes: Axes, words: str) -> None:
    """Write a remark above the axes, left-aligned; nothing if `words` is empty."""
    if words:
        axes.set_title(words, loc="left", fontsize=9, color="#666666")


def one_a_line(axes: Axes, labels: Sequence[str], *, above: float = 0.6) -> None:
    """Set up the y axis for one labelled item per line, from the top down; `above` is the space over the first."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -above)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def number_from_one(axes: Axes, last: int) -> None:
    """Set up the x axis for whole numbers from 1 to `last`, with a little space on both sides."""
    from matplotlib.ticker import MaxNLocator

    air = max(0.5, 0.02 * last)
    axes.set_xlim(1 - air, max(last, 1) + air)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def percent(value: float, _position: float) -> str:
    """Format a share as a percentage; the signature is that of matplotlib's tick formatters."""
    return f"{100 * value:.3g}%"


def count(n: int, one: str, many: str) -> str:
    """Format a count with its noun in singular or plural: `1 row`, `2,000 rows`."""
    return f"{n:,} {one if n == 1 else many}"


def brief(n: int, *, exact: bool) -> str:
    """Format a count briefly, to fit into a cell; from 10,000 up it is rounded unless `exact`."""
    if exact or n < 10_000:
        return f"{n:,}" if exact else str(n)
    return f"{n / 1e3:.0f}k" if n < 1_000_000 else f"{n / 1e6:.1f}M"


def text(name: object, *, longest: int = LONGEST_NAME) -> str:
    """Prepare a name so that matplotlib shows it literally, on one line, and at most `longest` characters long.

    A long name loses its middle, since names tend to differ at their ends. A character without a glyph in the fonts is
    replaced by its escape sequence, since all missing glyphs are drawn as the same box. A dollar sign does not
    start maths.
    """
    line = "".join(char if char.isprintable() else " " for char in str(name))
    if not line.isascii():
        line = "".join(char if _has_glyph(char) else char.encode("unicode_escape").decode() for char in line)
    if len(line) > longest:
        line = f"{line[: longest - longest // 2 - 1]}…{line[-(longest // 2) :]}"
    if line.startswith("_"):
        line = "\N{ZERO WIDTH SPACE}" + line  # matplotlib leaves labels that begin with _ out of legends
    return line.replace("$", r"\$")


@cache
def _has_glyph(char: str) -> bool:
    from matplotlib import font_manager

    families = ["DejaVu Sans", *_wide_fonts()]
    fonts = (font_manager.get_font(font_manager.findfont(family)) for family in families)
    return char.isascii() or any(font.get_char_index(ord(char)) for font in fonts)


@cache
def _wide_fonts() -> tuple[str, ...]:
    """The first of `WIDE_FONTS` that is installed, if any."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in WIDE_FONTS if name in installed)[:1]
