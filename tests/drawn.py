"""What the tests of pictures share: names that are hard to draw, and looks at what was drawn."""

import numpy as np
from PIL import Image

from tabular.plots import style

HARD_NAMES = ["$x_1^2$", "_hidden", "größe €", "日本", "🐈", "a\nb", "only one $", "", "\\$", "n" * 300]


def text_of(figure):
    """All words in a figure."""
    from matplotlib.text import Text

    if figure.stale:  # what is drawn already takes as long again
        figure.canvas.draw()
    return "\n".join(found.get_text() for found in figure.findobj(Text))


def marks_of(figure):
    """How many marks a figure is made of: points of lines, points or cells of collections, and bars."""
    from matplotlib.collections import Collection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    lines = sum(len(line.get_xdata()) for line in figure.findobj(Line2D))
    many = sum(max(len(one.get_offsets()), len(one.get_paths())) for one in figure.findobj(Collection))
    bars = sum(len(patch.get_path().vertices) for patch in figure.findobj(Patch))
    return lines + many + bars


def saved(figure, folder):
    """The pixels of a saved figure, after a look at its size."""
    path = folder / "picture.png"
    style.save(figure, path)
    with Image.open(path) as image:
        image.load()
        assert image.size == tuple(round(side * style.DPI) for side in figure.get_size_inches())
        return np.asarray(image.convert("RGB"))


def assert_drawn(figure, folder):
    inked = (saved(figure, folder) != 255).any(axis=2)
    assert inked.mean() > 0.005, "the picture is blank"
    assert not inked[[0, -1]].any() and not inked[:, [0, -1]].any(), "something runs over the picture's edge"
