"""Export of a model: each form is made in a scratch folder, compared with torch, and kept if it is within its limits.

A file that is not close enough to the model never reaches the model folder. A file of an earlier export is deleted
if its form failed or no longer applies. If a file of another program has the place of a form, nothing is exported.
"""

import copy
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router
from tqdm import tqdm

from leaf_st.atomic import write_whole
from leaf_st.errors import InputError
from leaf_st.export.encoder import FormEncoder
from leaf_st.export.forms import FORMS, GRAPH_FOLDER, ExportForm, exported_files, get_form
from leaf_st.export.own import is_own, mark
from leaf_st.export.parity import Parity, TextsByKind, form_vectors, parity, torch_vectors
from leaf_st.lock import only_process
from leaf_st.models.intact import forget_files, record_files
from leaf_st.student.asymmetric import is_asymmetric
from leaf_st.student.static import is_static

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_COMPARED = 128  # texts of each kind
# Model types that torch cannot export, and the reason.
_NOT_EXPORTABLE = {"longformer": "whose attention branches on the values of its mask"}
_TWO_MODELS = (
    "export: expected one model, found student and teacher in one: export the student, such as leaf-ir in place of "
    "leaf-ir-asym, or runs/mine"
)
_MOST_BYTES = (1 << 31) - 1  # of a protobuf message, and so of an ONNX file

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ndcg:
    """How nDCG@10 is measured.

    Attributes:
        of: Measures the nDCG@10 of a form.
        error: How far the share that a form keeps may be wrong, in percent points; 0 for complete sets.
    """

    of: Callable[[FormEncoder], float]
    error: float = 0.0


@dataclass(frozen=True)
class ExportedForm:
    """A form that was made, and how close it is to the model.

    Attributes:
        form: The form.
        parity: The difference between its vectors and the vectors of torch.
        ndcg_kept: nDCG@10 in percent of the nDCG@10 of an exact form; None if it was not measured.
        problem: Why the file was not kept; None if it is in the model folder.
    """

    form: ExportForm
    parity: Parity
    ndcg_kept: float | None
    problem: str | None


def check_before_pull(name: str) -> None:
    """Check what can be checked before the model ``name`` is downloaded.

    Raises:
        InputError: If a package for the export is missing, or ``name`` is a student with its teacher.
    """
    _require_packages()
    if is_asymmetric(name):
        raise InputError(_TWO_MODELS)


def check_exportable(model: SentenceTransformer) -> None:
    """Check that the packages for the export are installed and that ``model`` can be exported.

    Raises:
        InputError: If a package is missing, the model is static, a student with its teacher, contains a Router, or cuts
            its vectors, torch cannot export its model type, or its weights are too large for an ONNX file.
    """
    _require_packages()
    if isinstance(model[0], Router):
        raise InputError(_TWO_MODELS)
    if any(isinstance(module, Router) for module in model):
        raise InputError(
            "export: expected the same modules for queries and documents, because a graph does not know the kind of "
            "its text, found a Router: run the model with torch"
        )
    if is_static(model):
        raise InputError(
            "a static student has nothing to export: it is a table of token vectors, which safetensors and NumPy read"
        )
    if model.truncate_dim is not None:
        raise InputError(
            f"export: expected a model of its full width, found truncate_dim={model.truncate_dim}: set the model's "
            "truncate_dim to None, save the model, and cut the vectors where they are used"
        )
    kind = model.transformers_model.config.model_type if model.transformers_model is not None else None
    if kind in _NOT_EXPORTABLE:
        raise InputError(
            f"export: expected a model type that torch can export to ONNX, found {kind}, {_NOT_EXPORTABLE[kind]}: run "
            "the model with torch, or train a student with another student.backbone"
        )
    parameters, most = sum(parameter.numel() for parameter in model.parameters()), _MOST_BYTES // 4  # float32
    if parameters > most:
        raise InputError(
            f"export: expected at most {most:,} parameters, because an ONNX file holds at most 2 GB, found "
            f"{parameters:,}: run the model with torch, or train a smaller student"
        )


def require_own_files(folder: Path) -> None:
    """Check that an export to the model folder ``folder`` would replace and delete only files of earlier exports.

    Raises:
        InputError: If a file of another program has the place of a form, or a file of an export was changed.
    """
    for graph in exported_files(folder).values():
        if not is_own(folder, graph):
            raise InputError(
                f"{graph}: expected no file, or one with the mark of leaf-st export, found one that another program or "
                "an earlier version wrote, or that was changed, which an export would replace or delete: move "
                f"{folder / GRAPH_FOLDER} to another place, or export a copy of the model"
            )


def _require_packages() -> None:
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise InputError(f"ONNX graphs need {' and '.join(missing)}: pip install 'leaf-st[onnx]'")


def export_model(
    model: SentenceTransformer, folder: Path, texts: TextsByKind, *, ndcg: Ndcg | None = None
) -> list[ExportedForm]:
    """Write each form of ``model`` that is within its limits to ``folder``, and delete the files of all other forms.

    An export that fails or is interrupted changes nothing in ``folder``.

    Args:
        model: A model; it is moved to the CPU. A model in another precision than float32 is exported as a float32 copy.
        folder: The folder of the model.
        texts: Queries and documents to compare vectors on; the first 128 of each kind are used.
        ndcg: Measures the nDCG@10 of the forms with a limit on nDCG@10, and of an exact form.

    Returns:
        The forms that were made, in the order of `FORMS`, with the problem of each form that was not kept.

    Raises:
        InputError: If the model cannot be exported, ``folder`` has files of another program in the places of the forms,
            or another process exports to ``folder``.
    """
    check_exportable(model)
    require_own_files(folder)
    model = _in_float32(model.to("cpu")).eval()
    texts = {kind: of_kind[:_COMPARED] for kind, of_kind in texts.items()}
    with _scratch(folder) as scratch:
        made = _make(model, scratch)
        encoders = {name: get_form(name).encoder(path, model) for name, path in made.items()}
        parities = _compare(model, encoders, texts)
        kept = _ndcg_kept(encoders, ndcg) if ndcg else {}
        error = ndcg.error if ndcg else 0.0
        results = [_result(get_form(name), path, parities[name], kept.get(name), error) for name, path in made.items()]
        _keep({result.form.name: made[result.form.name] for result in results if result.problem is None}, folder)
    return results


def _in_float32(model: SentenceTransformer) -> SentenceTransformer:
    """Return ``model``, or a copy if it has another precision: vectors in half precision differ more than `EXACT`."""
    if all(weight.dtype == torch.float32 for weight in model.parameters() if weight.is_floating_point()):
        return model
    return copy.deepcopy(model).float()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a scratch folder on the file system of ``folder``, and delete the one of an export that was killed."""
    scratch = folder / ".onnx.new"
    with only_process(folder):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch)


def _make(model: SentenceTransformer, folder: Path) -> dict[str, Path]:
    """Write all forms that ``model`` supports to ``folder``; return the files by form."""
    made: dict[str, Path] = {}
    forms = [form for form in FORMS if form.supports(model)]
    with tqdm(desc="making graphs", unit="graph", total=len(forms)) as bar:
        for form in forms:
            path = folder / form.file.name
            form.make(model, path, made[form.made_from] if form.made_from else None)
            made[form.name] = path
            bar.update()
    return made


def _compare(model: SentenceTransformer, encoders: Mapping[str, FormEncoder], texts: TextsByKind) -> dict[str, Parity]:
    """Return the difference of each form to torch."""
    counts = " and ".join(f"{len(of_kind)} texts of kind {kind}" for kind, of_kind in texts.items())
    _logger.info("%d graphs made; compared with torch on %s", len(encoders), counts)
    total = (1 + len(encoders)) * sum(map(len, texts.values()))
    with tqdm(desc="comparing with torch", unit=" texts", total=total) as bar:
        expected = torch_vectors(model, texts, bar)
        return {name: parity(form_vectors(encoder, texts, bar), expected) for name, encoder in encoders.items()}


def _ndcg_kept(encoders: Mapping[str, FormEncoder], ndcg: Ndcg) -> dict[str, float]:
    """Return nDCG@10 of each form with a limit on nDCG@10, in percent of the last, fastest, exact form's."""
    exact = [name for name in encoders if get_form(name).limits.exact]
    limited = [name for name in encoders if get_form(name).limits.min_ndcg_kept is not None]
    if not (exact and limited):
        return {}
    expected = ndcg.of(encoders[exact[-1]])
    return {name: 100 * ndcg.of(encoders[name]) / expected if expected else 100.0 for name in limited}


def _result(form: ExportForm, path: Path, measured: Parity, kept: float | None, error: float) -> ExportedForm:
    problem = form.limits.violation(measured, kept, error) or form.check(path)
    return ExportedForm(form, measured, kept, f"{path.name} {problem}" if problem else None)


def _keep(graphs: Mapping[str, Path], folder: Path) -> None:
    """Mark ``graphs``, rename them to their places in ``folder``, and delete the files of all other forms."""
    files = [form.file for form in FORMS]
    forget_files(folder, files)  # a kill leaves files without a checksum, and no file with the checksum of another
    for form in FORMS:
        target = folder / form.file
        target.parent.mkdir(exist_ok=True)
        if form.name in graphs:
            mark(graphs[form.name])
            write_whole(target, partial(_rename, graphs[form.name]))
        else:
            target.unlink(missing_ok=True)
    record_files(folder, files)


def _rename(made: Path, temporary: Path) -> None:
    made.replace(temporary)
