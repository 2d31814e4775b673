"""Where prepared micro-expression data of one kind lie: their folder within the database's."""

DIRECTIONS = ("arithmetic", "circular")


def variant(flow: str, directions: str) -> str:
    """Name of the folder, which is that of the TFDS configuration.

    Args:
        flow: Name of the optical flow method.
        directions: How the ADM's directions are averaged, one of `DIRECTIONS`.
    """
    return flow if directions == "arithmetic" else f"{flow}_{directions}"
