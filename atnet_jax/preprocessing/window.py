"""The window of 65 frames around the apex, whose 64 flows are the temporal stream's steps."""

HALF_WINDOW = 32
FLOWS = 2 * HALF_WINDOW


def flow_pairs(onset: int, apex: int, offset: int) -> list[tuple[int, int, int]]:
    """List the pairs of adjacent frames within both the window and the clip.

    Row t of the window is the pair (apex - 32 + t, apex - 32 + t + 1). Rows whose pair does not lie
    within onset…offset are left out, so that their ADM is zero, as in the authors' release. The
    paper (section III-A) specifies only 32 frames on each side.

    Args:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.

    Returns:
        `(row, frame, next frame)`, rows ascending within 0…63.
    """
    first = apex - HALF_WINDOW
    rows = range(max(0, onset - first), min(FLOWS, offset - first))
    return [(row, first + row, first + row + 1) for row in rows]
