"""Text from outside, made fit for a log, a terminal or an error message. Pure."""

__all__ = ["describe_json", "escape"]


def escape(text: str, limit: int | None = None, *, ascii_only: bool = False) -> str:
    """Escape what could move a cursor, turn text around or break a line; cut after `limit` characters (None: never).

    `ascii_only`: escape everything beyond ASCII too, for terminals that cannot show it.
    """
    cut = text if limit is None or len(text) <= limit else text[:limit] + "..."
    if cut.isprintable() and (cut.isascii() or not ascii_only):
        return cut
    return "".join(c if c.isprintable() and (c.isascii() or not ascii_only) else ascii(c)[1:-1] for c in cut)


def describe_json(value: object, limit: int) -> str:
    """Show a decoded JSON value in `limit` characters or so; of an object or an array its size alone.

    What nests them may be as deep as the decoder of JSON could go: their repr would be one call too many.
    """
    if isinstance(value, dict | list):
        return f"an {'object' if isinstance(value, dict) else 'array'} of {len(value)}"
    return escape(repr(value[: limit + 1] if isinstance(value, str) else value), limit)
