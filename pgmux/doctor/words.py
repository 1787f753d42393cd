"""Numbers in words, for people."""


def duration(seconds: float) -> str:
    """A length of time: "0.2 s", "45 s", "12 min", "3 h 20 min", "5 d 2 h"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{days} d {hours % 24} h"


def size(count: float | None) -> str:
    """Bytes: "3.1 MB", "1.2 GB"; "?" for None."""
    if count is None:
        return "?"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def many(count: int, noun: str) -> str:
    """A count and its noun: "1 client", "2 clients"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
