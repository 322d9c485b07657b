# SPDX-License-Identifier: Apache-2.0
"""A thread of a test that cannot make the test hang."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .base import TIMEOUT


class Worker:
    """Runs a function in a thread. The process can end while the function still runs, so that a failure is reported."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run
        self._thread = threading.Thread(target=run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def finish(self, timeout: float = TIMEOUT) -> None:
        """Wait until the function returns."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"{self._run} did not return within {timeout:g} s")
