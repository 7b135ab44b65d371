"""Colours and shapes that colour-blind people tell apart, on white and on black.

Knows nothing of what they stand for.
"""

# Okabe and Ito's, without yellow and black, of which one is not seen on white and one not on black.
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
# Blue is below zero and orange above; both are dark where the size is large.
DIVERGING = (
    (0.0, "#08417a"),
    (0.25, "#5aa2d8"),
    (0.5, "#f5f4f0"),
    (0.75, "#f2a444"),
    (1.0, "#9c3d00"),
)
# In the dark it is the middle that is dark, so that what is near zero steps back.
DIVERGING_IN_THE_DARK = (
    (0.0, "#9ad4ff"),
    (0.25, "#3f86bd"),
    (0.5, "#2b2d30"),
    (0.75, "#c0761c"),
    (1.0, "#ffcf8a"),
)
# Of letters of DNA: told apart by their shapes first.
BASES = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}


def series_colour(number: int) -> str:
    """Give the colour of a series; after six they begin again, with another dash."""
    return SERIES[number % len(SERIES)]


def series_dash(number: int) -> str:
    """Give the dash of a series: another one for each of six, so that no two look alike in grey.

    Of those after six, none has both the colour and the dash of another, up to 36.
    """
    return DASHES[(number + number // len(SERIES)) % len(DASHES)]
