"""What is text, and what only looks like it."""


def is_utf8(text: str) -> bool:
    """Whether UTF-8 has it: not half of a surrogate pair, which YAML and JSON can write and no file or key can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
