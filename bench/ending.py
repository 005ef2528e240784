"""A worker that cannot go on ends at once, with the reason as the last lines of its log.

Why: gevent and Locust print what a greenlet raises and go on without it; whoever follows the stage would then wait for
records that never come, from a process that still tells that it is alive.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def or_end() -> Iterator[None]:
    """Around whatever a greenlet of ours does, as a block or a decorator."""
    try:
        yield
    except Exception:
        traceback.print_exc()
        os._exit(1)
