"""One complete check: read the data, compare them, print the report and write the files."""

import hashlib
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.names import DEFAULT_FLOW, MICRO_EXPRESSIONS
from atnet_jax.system.files import refuse_existing, write_json_atomically, write_text_atomically
from data_builders.doctor import composite, digests, report

REPORT, DIGESTS = "doctor.json", "digests.csv"


def diagnose(
    *,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    dataset: str | None = None,
    face: str = "mtcnn",
    flow: str = DEFAULT_FLOW,
    composite_list: Path | None = None,
    compare: Path | None = None,
    out: Path | None = None,
    num_workers: int | None = None,
) -> bool:
    """Check a copy of a database, or prepared data, and print the report.

    Args:
        data_dir: Folder of prepared data. Pass either this or `manual_dir`.
        manual_dir: Folder of a copy of one database, or of a manifest.
        dataset: The database. For prepared data, the default is all sets of micro-expressions.
        face: For a copy: the face detector that `prepare` will use, or 'none' for cropped frames.
        flow: For prepared data: the optical flow, as in `config.data.flow`.
        composite_list: CSV file of the composite's clips.
        compare: The file digests.csv of another copy.
        out: Folder to which doctor.json and digests.csv are written.
        num_workers: Number of processes, by default one for each CPU.

    Returns:
        True if there are no errors. Warnings do not count.

    Raises:
        UserError: An argument or one of the files cannot be used, or `out` already exists.
    """
    if (data_dir is None) == (manual_dir is None):
        raise UserError("Pass either --data_dir (prepared data) or --manual_dir (a raw copy).")
    if num_workers is not None and num_workers < 1:
        raise UserError(f"num_workers is {num_workers}, expected at least 1.")
    for folder in (data_dir, manual_dir):
        if folder is not None and not folder.is_dir():
            raise UserError(f"The folder {folder} does not exist. Pass an existing folder.")
    if manual_dir is not None and dataset not in MICRO_EXPRESSIONS:
        raise UserError(f"--manual_dir requires --dataset, one of {', '.join(MICRO_EXPRESSIONS)}.")
    # Errors in the arguments are reported before the long work starts.
    if out is not None:
        refuse_existing(out)
    listed = None if composite_list is None else composite.read_list(composite_list)
    other = None if compare is None else digests.read(compare, raw=manual_dir is not None)

    # TFDS is slow to import, and every worker process imports this module.
    if data_dir is not None:
        from data_builders.doctor.prepared import check_prepared

        checkup = check_prepared(data_dir, dataset, flow, num_workers)
    else:
        from data_builders.doctor.raw import check_raw

        assert manual_dir is not None and dataset is not None
        checkup = check_raw(manual_dir, dataset, face, num_workers)
    verdicts = composite.judge(checkup, listed)
    if other is not None:
        digests.compare(checkup, other)
    print(report.to_text(checkup, verdicts))
    if out is not None:
        table = digests.to_csv(checkup.clips)
        about = {"digests_sha256": hashlib.sha256(table.encode()).hexdigest()}
        out.mkdir(parents=True, exist_ok=True)
        write_text_atomically(out / DIGESTS, table)
        write_json_atomically(out / REPORT, report.to_json(checkup, verdicts, about))
    return not any(finding.is_error for finding in checkup.findings)
