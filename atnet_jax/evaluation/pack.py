"""Packed runs: the files that a comparison reads, in a folder or a .zip file small enough to mail.

A packed run has no pictures and no weights. A .zip file from elsewhere is not trusted: only members
with the names that `pack` writes are read, up to a limit, under names chosen here.
"""

import contextlib
import io
import itertools
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.evaluation import digests
from atnet_jax.evaluation.record import FILE, run_folders
from atnet_jax.evaluation.runs import Run, load_run
from atnet_jax.system import files

_FILES = (FILE, "predictions.csv", "metrics.json", "curves.json", digests.FILE)
_MEMBER = re.compile(rf"((?:seed_[0-9]{{1,18}}/)?)({'|'.join(map(re.escape, _FILES))})")
_LARGEST = 64 * 2**20  # Bytes of all unpacked files; real ones have a megabyte per seed.

# Of damaged, encrypted or unusually compressed members.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError),
    *(NotImplementedError, RuntimeError),
)


def pack(workdir: Path, out: Path) -> None:
    """Write the packed run to a new .zip file or folder. The same run gives the same bytes.

    Args:
        workdir: Folder of a finished run of one or several seeds.
        out: The new file, if its name ends in .zip, otherwise the new folder.

    Raises:
        UserError: The folder holds no finished run or several methods, or `out` exists.
        OSError: `out` cannot be written.
    """
    files.refuse_existing(out)
    runs = _load(workdir)
    contents = {
        (run.workdir / name).relative_to(workdir).as_posix(): (run.workdir / name).read_bytes()
        for run in runs
        for name in _FILES
        if (run.workdir / name).is_file()
    }
    if out.suffix.lower() == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, data in contents.items():
                # Without a time.
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        files.write_bytes_atomically(out, packed.getbuffer())
        return
    with files.new_folder(out) as folder:
        for name, data in contents.items():
            (folder / name).parent.mkdir(exist_ok=True)
            files.write_bytes_atomically(folder / name, data)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Sequence[Run]]:
    """Open a run: its workdir, or a packed run in a folder or a .zip file.

    Args:
        path: The folder or file.

    Yields:
        The runs, one for each seed, in ascending order. Their workdirs exist until the block ends.

    Raises:
        UserError: The path holds no finished run, a damaged one or several methods, or the file is
            not a packed run.
    """
    if not path.is_file():
        yield _load(path)
        return
    with tempfile.TemporaryDirectory(prefix="atnet_pack_") as temporary:
        try:
            _unpack(path, Path(temporary))
            yield _load(Path(temporary))
        except UserError as error:
            raise UserError(printable(str(error).replace(temporary, str(path)))) from error


def printable(text: str) -> str:
    """Return a line of text with escapes for control characters, which names may contain.

    Args:
        text: The line. A terminal would obey its control characters.
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _load(workdir: Path) -> list[Run]:
    """Return the finished runs of one method in a folder."""
    folders = run_folders(workdir)
    for folder in folders:
        if workdir not in (folder, folder.parent):
            raise UserError(
                f"{workdir} holds runs in folders of methods. Pass the folder of one method, such"
                f" as {folder.parent}."
            )
    runs = sorted(map(load_run, folders), key=lambda run: run.seed)
    for one, two in itertools.pairwise(runs):
        if one.seed == two.seed or (one.protocol, one.model) != (two.protocol, two.model):
            raise UserError(
                f"{one.workdir} and {two.workdir} are not two seeds of one run. Pass one of them."
            )
    return runs


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of an archive to a folder."""
    left = _LARGEST
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                found = _MEMBER.fullmatch(member.filename)
                if found is None:
                    raise ValueError(f"it contains {member.filename[:70]!r}")
                with archive.open(member) as stored:
                    data = stored.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise ValueError(f"its files are larger than {_LARGEST} bytes")
                target = folder / found[1] / found[2]
                if target.exists():
                    raise ValueError(f"it contains {member.filename} twice")
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(data)
    except _UNREADABLE as error:
        raise UserError(
            f"{path} is damaged or is not a packed run: {error}. Pass the workdir of a run, or a"
            f" file that `atnet pack` wrote."
        ) from error
