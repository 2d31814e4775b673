"""The clips that a check examines, and its findings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        level: With an error, the copy cannot reproduce the paper's composite or a clip is wrong. A
            warning should be inspected.
        title: Description of the finding.
        advice: Recommended action.
    """

    level: Literal["error", "warning"]
    title: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "not_prepared": Kind("error", "databases that are not prepared", "run `atnet prepare` on them"),
    "refused": Kind(
        "error",
        "clips or files that the database's builder rejects, so that `atnet prepare` would fail",
        "correct the copy as each line describes",
    ),
    "unreadable": Kind(
        "error",
        "clips that cannot be read completely",
        "copy or prepare them again, then rerun this check",
    ),
    "duplicate_key": Kind("error", "clips defined twice", "remove one of them"),
    "label": Kind("error", "invalid labels", "prepare the database again"),
    "apex": Kind(
        "error",
        "clips whose apex lies outside onset…offset or equals the onset",
        "correct the annotation or remove the clip, since it has no motion from onset to apex",
    ),
    "frame_size": Kind(
        "error",
        "frames of several sizes in one clip",
        "copy the clip again, with all frames from one release of the database",
    ),
    "same_clips": Kind(
        "error",
        "clips with identical content",
        "copy both clips again, since one of them has the wrong frames",
    ),
    "shared_frames": Kind(
        "error",
        "clips with frames of another clip",
        "copy both clips again, since one of them has frames of the other",
    ),
    "overlap": Kind(
        "warning",
        "clips of one subject that share frames with the same numbers",
        "check in the annotation that both are parts of one recording",
    ),
    "same_person": Kind(
        "warning",
        "subjects that may be one person",
        "give one person one name, in the annotation or in the folders",
    ),
    "foreign": Kind(
        "error",
        "clips of subjects that their database does not have",
        "correct the names, or use another name in the column dataset",
    ),
    "same_frames": Kind(
        "warning",
        "identical consecutive frames",
        "copy the clip again; if they remain, a frame is duplicated and its flow is zero",
    ),
    "jump": Kind(
        "warning",
        "consecutive frames that are not aligned",
        "inspect them, then crop the clip again or use the raw frames (--face=mtcnn)",
    ),
    "alternating": Kind(
        "warning",
        "frames that alternate between two positions",
        "expect flow that is not facial motion; in SMIC this is known and needs no repair",
    ),
    "crop_box": Kind(
        "warning",
        "face boxes unlike those of the subject's other clips",
        "inspect the apex picture; if it does not show the face, prepare again with --boxes",
    ),
    "zero_flow": Kind(
        "error", "flow that is zero everywhere", "inspect the frames, then prepare again"
    ),
    "still_rows": Kind(
        "warning",
        "ADM rows without motion inside onset…offset",
        "check the raw copy for identical frames with --manual_dir",
    ),
    "outside_rows": Kind(
        "error",
        "ADM rows with values outside onset…offset",
        "prepare the database again; in an ADM computed elsewhere, set these rows to zero",
    ),
    "not_finite": Kind("error", "values that are not finite", "prepare the database again"),
    "counts": Kind(
        "error",
        "clip counts that differ from the paper's composite",
        "check the findings above and the clips excluded by the label rule",
    ),
    "other_list": Kind(
        "error",
        "list of the wrong clips",
        "pass the composite's list, with the names casme2, samm, smic in the column dataset",
    ),
    "missing": Kind(
        "error",
        "clips of the composite that this copy lacks",
        "copy them, and check which clips the database's builder rejects",
    ),
    "extra": Kind(
        "error",
        "clips that are not in the composite",
        "check whether the annotation file is a different version",
    ),
    "other_label": Kind(
        "error", "clips whose label differs from the composite", "check the annotation file"
    ),
    "other_apex": Kind(
        "warning",
        "clips whose apex differs from the composite",
        "check the annotation file; a corrected apex is not an error",
    ),
    "differs": Kind(
        "error",
        "clips that differ from the other copy",
        "check which copy is intact; prepared data also depend on OpenCV's version and the CPU",
    ),
    "only_there": Kind("error", "clips that exist only in the other copy", "copy them"),
    "only_here": Kind("error", "clips that exist only in this copy", "check which copy is correct"),
}


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        kind: A key of `KINDS`.
        clip: `dataset/subject/clip`. For a finding about no single clip, its subject, such as the
            database's name.
        found: Details of the finding.
    """

    kind: str
    clip: str
    found: str

    @property
    def is_error(self) -> bool:
        """True for an error, False for a warning."""
        return KINDS[self.kind].level == "error"


@dataclass(frozen=True)
class CheckedClip:
    """One clip of the copy, or of a list with which the copy is compared.

    Attributes:
        dataset: Name of the database.
        subject: Name of the subject.
        clip: Name of the clip.
        label: 0 negative, 1 positive, 2 surprise, or an invalid label of a record.
        onset: Frame number of the onset, or None if unknown.
        apex: Frame number of the apex, or None if unknown.
        offset: Frame number of the offset, or None if unknown.
        frames: Number of frames, or None for prepared data.
        digests: The available SHA-256 digests in hexadecimal, by column of `digests.COLUMNS`.
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
        """The name `dataset/subject/clip`."""
        return f"{self.dataset}/{self.subject}/{self.clip}"


@dataclass
class Checkup:
    """The checked clips and the findings.

    Attributes:
        databases: The paper's databases that the copy should contain.
        clips: The clips of the copy, each key once.
        findings: The errors and warnings.
        left_out: The excluded clips: (dataset, clip, reason).
        notes: Notes of the builders, such as corrections of known annotation errors.
    """

    databases: tuple[str, ...]
    clips: list[CheckedClip] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, clip: str, found: str) -> None:
        """Add a finding with the fields of `Finding`."""
        self.findings.append(Finding(kind, clip, found))

    def add_same_clips(self, contents: Mapping[str, str]) -> None:
        """Add a finding for every clip with the same content as an earlier clip.

        Args:
            contents: Digest of the content by the clip's key.
        """
        first: dict[str, str] = {}
        for key, content in contents.items():
            same = first.setdefault(content, key)
            if same != key:
                self.add("same_clips", key, f"its content equals that of {same}")


def some(items: list[str], limit: int = 3) -> str:
    """Return the first `limit` of the items and, if there are more, their total number."""
    if len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])}, … ({len(items)} in all)"
