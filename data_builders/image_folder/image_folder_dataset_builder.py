"""The user's own pictures, in a folder for each class with a subfolder for each subject."""

from collections.abc import Iterator
from pathlib import Path

from atnet_jax.errors import UserError
from atnet_jax.preprocessing import frame_files
from atnet_jax.words import numbered
from data_builders import source
from data_builders.macro_expression import MacroExpressionBuilder, no_class
from data_builders.manifest.manifest_dataset_builder import LABEL_RULE


def read_pictures(folder: Path, errors: source.ErrorList) -> Iterator[tuple[str | None, Path]]:
    """Yield the pictures of a class, each with its subject or None.

    Args:
        folder: The folder of the class.
        errors: Collects folders that are nested too deeply.

    Yields:
        The subject, or None for a picture outside of a subject's folder, and the picture's path.
    """
    for path in frame_files.visible(folder, notes=False):
        if not path.is_dir():
            yield None, path
            continue
        for picture in frame_files.visible(path, notes=False):
            if picture.is_dir():
                errors.messages.append(
                    f"{picture} is a folder, but CLASS/SUBJECT/PICTURE is expected. Move its "
                    f"pictures up."
                )
            else:
                yield path.name, picture


class Builder(MacroExpressionBuilder):
    """Builder of pictures sorted by class and subject."""

    def read_source(self) -> source.Source:
        """See the base class. README.md beside this file describes the folder's layout."""
        errors = self.new_errors()
        found, alone = [], 0
        for folder in frame_files.visible(self.manual_dir, notes=False):
            with errors.collect():
                if not folder.is_dir():
                    raise UserError(
                        f"{folder} is not in the folder of a class. Move it there or remove it."
                    )
                label = source.find_label(folder.name, LABEL_RULE, str(folder))
                emotion = folder.name.casefold()
                for subject, path in read_pictures(folder, errors):
                    with errors.collect():
                        found.append(self._read_picture(emotion, label, subject, path))
                        alone += subject is None and label is not None
        notes = []
        if alone:
            notes.append(
                f"{numbered(alone, 'picture')} outside of a subject's folder. Each counts as a "
                f"separate subject, so the same face may be in both training and validation."
            )
        return self.check(found, errors, notes)

    def _read_picture(
        self, emotion: str, label: int | None, subject: str | None, path: Path
    ) -> source.Entry | source.Exclusion:
        if path.suffix.lower() not in frame_files.PICTURE_SUFFIXES:
            known = ", ".join(sorted(frame_files.PICTURE_SUFFIXES))
            raise UserError(f"{path} is not named like a picture ({known}). Remove or convert it.")
        # Several classes may contain pictures with the same name.
        clip = f"{emotion}_{source.cell_name(path.stem, 'the name', str(path))}"
        subject = clip if subject is None else source.cell_name(subject, "the subject", str(path))
        if label is None:
            return source.Exclusion(str(path), subject, clip, no_class(emotion))
        return self.make_entry(subject, clip, emotion, label, {0: path}, 0, path)
