"""Export as one call, for scripts and notebooks: write ONNX files next to a model's weights."""

from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.candidates import latency_texts
from leaf_st.export.export import check_exportable, export_model
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.recipe import DOCSTRINGS
from leaf_st.recipe.types import local_folder
from leaf_st.run_folder import MODEL, run_of


def export(
    model: str | Path | SentenceTransformer, output: str | Path | None = None, *, texts: str | Path = DOCSTRINGS
) -> list[Path]:
    """Write the ONNX forms of a student into its folder, in ``onnx/``.

    Each form is compared with torch first; a form that differs too much is not written. nDCG@10 is not measured:
    ``leaf-st export`` measures it.

    Args:
        model: A run folder, a model folder, a name from ``leaf-st models``, a hub id, or a loaded model.
        output: New model folder; if None, ``model`` must be a folder, and the files are written there.
        texts: Queries and documents for the comparison: a BEIR folder, or a table with a column ``kind``; by default
            documentation strings of installed packages.

    Returns:
        The paths of the files.

    Raises:
        InputError: If a package is missing, the model has no ONNX form, or a form differs too much from torch.
    """
    folder = None if output is None else local_folder(output)
    student = model if isinstance(model, SentenceTransformer) else load_model(str(model))
    check_exportable(student)
    folder = _folder(model, student, folder)
    results = export_model(student, folder, latency_texts(str(texts), "texts"))
    if problems := [result.problem for result in results if result.problem]:
        raise InputError(f"not written: {'; '.join(problems)}")
    return [folder / result.form.file for result in results]


def _folder(model: str | Path | SentenceTransformer, student: SentenceTransformer, folder: Path | None) -> Path:
    """Return the folder for the files; ``student`` is saved to a new ``folder`` first."""
    if folder is None:
        if isinstance(model, SentenceTransformer) or not Path(model).is_dir():
            raise InputError("output: expected a folder for the model and its ONNX files, found None: name a folder")
        folder = Path(model)
        return folder / MODEL if run_of(folder) == folder else folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: expected a new or empty folder, found files in it: name another output")
    save_portable(student, folder)
    return folder
