"""Names in CSV files that a spreadsheet program must not take for formulas."""

# Spreadsheet programs read these signs as the start of a formula. The quote that `quoted` adds is
# included, so that `unquoted` can remove it again.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def quoted(name: str) -> str:
    """Return a name with a leading ' if a spreadsheet program would read it as a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def unquoted(cell: str) -> str:
    """Return the name for which `quoted` returned `cell`."""
    return cell.removeprefix("'")
