"""The 65 frames around the apex, whose 64 flows are the temporal stream's steps."""

HALF_WINDOW = 32
FLOWS = 2 * HALF_WINDOW


def flow_pairs(onset: int, apex: int, offset: int) -> list[tuple[int, int, int]]:
    """Pairs of adjacent frames within the window and the clip.

    Row t holds the flow of the pair (apex - 32 + t, apex - 32 + t + 1). Only frames onset…offset
    count: a row whose pair is not wholly among them has no pair, and stays zero (as in the authors'
    release; the paper, section III-A, tells only of 32 frames each side).

    Returns:
        `(row, frame, next frame)`, rows ascending within 0…63.
    """
    first = apex - HALF_WINDOW
    rows = range(max(0, onset - first), min(FLOWS, offset - first))
    return [(row, first + row, first + row + 1) for row in rows]
