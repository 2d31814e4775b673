"""The apex: the frame in which an expression is strongest."""

from collections.abc import Sequence

from atnet_jax.errors import UserError


def middle_frame(frames: Sequence[int]) -> int:
    """Return the 0-based index of the middle frame, the apex if a database annotates none (SMIC).

    For an even number of frames, this is the earlier of the middle two, as in the authors' release.

    Args:
        frames: Numbers of the clip's frames.

    Raises:
        UserError: `frames` is empty.
    """
    if not frames:
        raise UserError("A clip without frames has no middle frame.")
    return (len(frames) - 1) // 2


def check_apex(onset: int, apex: int, offset: int, *, where: str = "") -> None:
    """Check that the apex lies within the clip.

    Args:
        onset: Number of the clip's first frame.
        apex: Number of its apex frame.
        offset: Number of its last frame.
        where: Start of the error message, such as a file and row.

    Raises:
        UserError: `onset <= apex <= offset` does not hold.
    """
    if not onset <= apex <= offset:
        place = f"{where}: " if where else ""
        raise UserError(
            f"{place}expected onset <= apex <= offset, found onset {onset}, apex {apex}, offset"
            f" {offset}. Correct the annotation."
        )
