"""Numbers in tables of reports; knows nothing of what they are of."""

from cisray.page.document import Cell

NONE = "none"


def number(value: float | None) -> Cell:
    """Set a number, with four digits; all of them are its key, by which it is sorted.

    >>> number(0.123456).text, number(0.123456).key, number(None).text
    ('0.1235', 0.123456, 'none')
    """
    if value is None:
        return Cell(NONE, None)
    return Cell(f"{value:.4g}", value, meaning=repr(float(value)))


def whole(value: int) -> Cell:
    """Set a count."""
    return Cell(f"{value:,}", value)


def words(text: str) -> Cell:
    """Set words."""
    return Cell(text, text)
