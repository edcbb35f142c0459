"""Where the lines of the log go that a terminal shows."""

import sys


class CurrentStdout:
    """Standard output as it is when a line is written, not as it was when logging began.

    While a progress bar is shown, standard output is the bar's, which puts lines above itself.
    """

    def write(self, text: str) -> int:
        """Write to standard output."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()


STDOUT = CurrentStdout()
