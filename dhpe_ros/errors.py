"""What an error says, for a screen or a log."""


def one_line(error: BaseException | str) -> str:
    """The text of an error on a single line."""
    return " ".join(str(error).split()) or type(error).__name__
