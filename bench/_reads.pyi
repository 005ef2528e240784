"""`_reads.c`, compiled on Linux where the installation found a compiler."""

from typing import Any

def read(epoll: int, rows: list[Any], most: int, /) -> tuple[int, list[Any]]:
    """Read each socket that is ready; how many, and what whose reader has to know."""
