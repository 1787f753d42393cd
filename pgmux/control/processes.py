"""What the system knows of a process, from proc(5)."""

import os


def resident_bytes(pid: int) -> int | None:
    """Its memory that is in RAM, what it shares with others included; None when there is no such process."""
    if not pid:
        return None
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
