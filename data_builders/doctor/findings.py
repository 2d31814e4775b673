"""What a check-up looks at and what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        level: An error keeps the copy from giving the paper's composite, or makes a clip wrong; a
            warning is to be looked at.
        title: What is found.
        advice: What to do.
    """

    level: Literal["error", "warning"]
    title: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "not_prepared": Kind("error", "databases that are not prepared", "prepare them"),
    "refused": Kind(
        "error",
        "refused by the database's builder, so that prepare would stop",
        "correct the copy as each line says",
    ),
    "unreadable": Kind(
        "error", "clips that cannot be read in whole", "copy or prepare them again, then look again"
    ),
    "duplicate_key": Kind("error", "clips named twice", "leave one of them out"),
    "label": Kind("error", "labels that are no class", "prepare the database again"),
    "apex": Kind(
        "error",
        "apex outside onset…offset, or the onset itself",
        "correct the annotation, or leave the clip out; without motion there is nothing to see",
    ),
    "frame_size": Kind(
        "error",
        "frames of several sizes in one clip",
        "copy the clip again, all frames from one release of the database",
    ),
    "same_clips": Kind(
        "error",
        "clips with the same content",
        "one of the two is not what its name says: copy both again",
    ),
    "same_frames": Kind(
        "warning",
        "identical frames in a row",
        "copy the clip again; if they stay, a frame was doubled and the flow between is zero",
    ),
    "jump": Kind(
        "warning",
        "neighbouring frames that do not lie on each other",
        "look at them; crop the clip again, or use the raw frames (--face=mtcnn)",
    ),
    "alternating": Kind(
        "warning",
        "frames that alternate between two positions",
        "much of the flow is not motion of the face; known of SMIC, so nothing to repair there",
    ),
    "crop_box": Kind(
        "warning",
        "face boxes unlike those of the subject's other clips",
        "look at the apex picture; where it is not the face, prepare again with --boxes",
    ),
    "zero_flow": Kind(
        "error", "flow that is all zero", "look at the frames, then prepare the database again"
    ),
    "still_rows": Kind(
        "warning",
        "ADM rows without motion inside onset…offset",
        "look for identical frames with --manual_dir",
    ),
    "outside_rows": Kind(
        "error",
        "ADM rows filled outside onset…offset",
        "prepare the database again; an ADM made elsewhere must leave these rows zero",
    ),
    "not_finite": Kind("error", "values that are not finite", "prepare the database again"),
    "counts": Kind(
        "error",
        "other numbers of clips than in the paper's composite",
        "see the findings above and the clips left out by the label rule",
    ),
    "other_list": Kind(
        "error",
        "a list of other clips",
        "give the composite's list; its column dataset has the names casme2, samm, smic",
    ),
    "missing": Kind(
        "error", "clips of the composite that are missing", "copy them; see what was refused"
    ),
    "extra": Kind(
        "error", "clips that are not in the composite", "see if the annotation file is another one"
    ),
    "other_label": Kind(
        "error", "clips with another label than in the composite", "see the annotation file"
    ),
    "other_apex": Kind(
        "warning",
        "clips with another apex than in the composite",
        "see the annotation file; an apex that was corrected is no fault",
    ),
    "differs": Kind(
        "error",
        "clips that differ from the other copy",
        "find out which copy is whole; prepared data may also differ by OpenCV's version and CPU",
    ),
    "only_there": Kind("error", "clips that only the other copy has", "copy them"),
    "only_here": Kind("error", "clips that the other copy does not have", "see which is right"),
}


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        kind: A key of `KINDS`.
        clip: `dataset/subject/clip`; or what it is of where it is of no single clip, such as the
            database's name.
        found: What was found.
    """

    kind: str
    clip: str
    found: str

    @property
    def is_error(self) -> bool:
        """Whether it is more than a warning."""
        return KINDS[self.kind].level == "error"


@dataclass(frozen=True)
class CheckedClip:
    """One clip of the copy, or of a list that it is compared with.

    Attributes:
        dataset: Name of the database.
        subject: Name of the subject.
        clip: Name of the clip.
        label: 0 negative, 1 positive, 2 surprise; or what else the record says.
        onset: Frame number, None where unknown; `apex` and `offset` alike.
        frames: Number of frames, None where there are only prepared data.
        digests: SHA-256 in hexadecimal by column of `digests.COLUMNS`, of what there is.
    """

    dataset: str
    subject: str
    clip: str
    label: int
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    frames: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """`dataset/subject/clip`."""
        return f"{self.dataset}/{self.subject}/{self.clip}"


@dataclass
class Checkup:
    """What was looked at, and what was found.

    Attributes:
        databases: Those of the paper that the copy should hold.
        clips: The clips in it, each key once.
        findings: What is odd.
        left_out: Rows of the annotation that are no clips of it: (dataset, clip, reason).
        notes: What the builders tell, such as corrections of known slips.
    """

    databases: tuple[str, ...]
    clips: list[CheckedClip] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, clip: str, found: str) -> None:
        """Adds a finding."""
        self.findings.append(Finding(kind, clip, found))

    def add_same_clips(self, contents: Mapping[str, str]) -> None:
        """Adds a finding for every clip whose content another clip before it has.

        Args:
            contents: Digest of the content by the clip's key.
        """
        first: dict[str, str] = {}
        for key, content in contents.items():
            same = first.setdefault(content, key)
            if same != key:
                self.add("same_clips", key, f"the same content as {same}")


def some(items: list[str], limit: int = 3) -> str:
    """The first few of many, and how many there are."""
    if len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])}, … ({len(items)} in all)"
