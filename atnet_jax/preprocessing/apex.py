"""The apex: the frame at which an expression is strongest."""

from collections.abc import Sequence

from atnet_jax.errors import UserError


def middle_frame(frames: Sequence[int]) -> int:
    """0-based index of the frame taken as the apex where a database annotates none (SMIC).

    Of an even number of frames it is the earlier of the middle two, as in the authors' release.

    Raises:
        UserError: There are no frames.
    """
    if not frames:
        raise UserError("a clip without frames has no middle frame")
    return (len(frames) - 1) // 2


def check_apex(onset: int, apex: int, offset: int, *, where: str = "") -> None:
    """Check that the apex lies in the clip; the message starts with `where`, such as a file's row.

    Raises:
        UserError: Not `onset <= apex <= offset`.
    """
    if not onset <= apex <= offset:
        place = f"{where}: " if where else ""
        raise UserError(
            f"{place}expected onset <= apex <= offset, found onset {onset}, apex {apex}, "
            f"offset {offset}; correct the annotation"
        )
