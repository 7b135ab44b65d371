"""Numbers, bytes and seconds as people say them; knows nothing else."""


def counted(number: int, thing: str) -> str:
    """Spell a number of things.

    >>> counted(1, "file"), counted(2_000, "worker")
    ('1 file', '2,000 workers')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size(count: float) -> str:
    """Spell a number of bytes.

    >>> size(1_234_567_890)
    '1.2 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def duration(seconds: float) -> str:
    """Spell a length of time.

    >>> duration(42), duration(4200), duration(420_000)
    ('42 s', '1.2 h', '4.9 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
