"""Names and texts of the segment, which are bytes, as Python has them."""


def shown(name: bytes) -> str:
    """A name or text for people; bytes that are not UTF-8 become question marks."""
    return name.decode("utf-8", "replace")


def known(name: bytes) -> str:
    """A name as the configuration and log-ins know it: any bytes, unharmed."""
    return name.decode("utf-8", "surrogateescape")
