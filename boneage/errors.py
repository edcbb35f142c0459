"""The one exception that is meant for the user, and the words of its messages."""


class UserError(Exception):
    """A mistake that the user can mend: its message says what, where, and what to do."""


class FailedRun(UserError):
    """A mistake that shows only once training has begun: the run's folder is marked with it."""


def plural(n: int, noun: str) -> str:
    """Return a number with its noun: "1 id", "1,200 ids"."""
    return f"{n:,} {noun}" + "s" * (n != 1)


def first_five(items: list[str]) -> str:
    """Return at most five items as a readable list, with dots where more were left out."""
    return ", ".join(items[:5]) + (", ..." if len(items) > 5 else "")
