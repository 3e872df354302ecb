"""The forms in which a student is exported: one entry in `FORMS` per form.

All code that handles exported files reads `FORMS`: the export and its limits, the timing of backends, the check of a
published folder, and the model card. A new form needs a function that writes its ONNX file, an encoder that reads the
file, and an entry here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.export.encoder import FormEncoder, OnnxEncoder, onnxruntime_is_installed
from leaf_st.export.onnx import write_standard
from leaf_st.export.packed import can_be_packed, write_packed
from leaf_st.export.parity import Parity
from leaf_st.export.quantized import saturates, write_quantized

GRAPH_FOLDER = Path("onnx")  # the folder in which transformers.js looks for graphs

# Writes the graph of a model to the first path. The second path is the finished file of the form in `made_from`.
Maker = Callable[[SentenceTransformer, Path, Path | None], None]


@dataclass(frozen=True)
class Limits:
    """How much the vectors of a form may differ from the vectors of torch in float32; None is no limit.

    Attributes:
        max_error: Largest allowed `Parity.error`.
        min_cosine: Least allowed `Parity.cosine`.
        min_ndcg_kept: Least allowed nDCG@10, in percent of the nDCG@10 of an exact form.
    """

    max_error: float | None = None
    min_cosine: float | None = None
    min_ndcg_kept: float | None = None

    @property
    def exact(self) -> bool:
        """Whether the vectors equal the vectors of torch, up to rounding."""
        return self.max_error is not None

    def violation(self, parity: Parity, ndcg_kept: float | None = None, ndcg_error: float = 0.0) -> str | None:
        """Return the first limit that is exceeded, with the measured value; None if no limit is exceeded.

        NaN exceeds every limit. A value that was not measured (``ndcg_kept`` is None) exceeds none. The limit on
        nDCG@10 is lower by ``ndcg_error``, the error of a measurement on a sample.
        """
        if self.max_error is not None and not parity.error <= self.max_error:
            return f"differs by {parity.error:.1e} from torch, expected at most {self.max_error:.0e}"
        if self.min_cosine is not None and not parity.cosine >= self.min_cosine:
            return f"has a mean cosine of {parity.cosine:.4f} to float32, expected at least {self.min_cosine}"
        if self.min_ndcg_kept is not None and ndcg_kept is not None:
            least = self.min_ndcg_kept - ndcg_error
            if not ndcg_kept >= least:
                return f"keeps {ndcg_kept:.1f} % of the nDCG@10 of float32, expected at least {least} %"
        return None


EXACT = Limits(max_error=1e-5)
APPROXIMATE = Limits(min_cosine=0.99, min_ndcg_kept=99.0)


@dataclass(frozen=True)
class ExportForm:
    """One form of a student.

    Attributes:
        name: The name of the backend in results.
        file: The file in the model folder, below `GRAPH_FOLDER`, which `leaf-st pull` downloads.
        make: The function that writes the file.
        limits: The limits within which the file is kept.
        supports: Whether a model has this form.
        made_from: The name of the form whose file this form is made from; None if it is made from the model.
        check: Returns what is wrong with the file on other processors than this one; None if nothing is.
        recommended: Whether the model card and the latency figure show this form; the first such form of a model.
        encoder: Opens the file as an encoder with the tokenizer and the prompts of the model.
        can_run: Whether the packages that run the file are installed.
    """

    name: str
    file: Path
    make: Maker
    limits: Limits
    supports: Callable[[SentenceTransformer], bool] = lambda model: True
    made_from: str | None = None
    check: Callable[[Path], str | None] = lambda path: None
    recommended: bool = False
    encoder: Callable[[Path, SentenceTransformer], FormEncoder] = OnnxEncoder
    can_run: Callable[[], bool] = onnxruntime_is_installed


# A form comes after the form that it is made from. transformers.js knows model.onnx (fp32), model_int8.onnx (int8) and
# model_quantized.onnx (q8). The int8 form skips padding by operators that only onnxruntime has; the quantized form
# consists of standard operators and runs everywhere.
FORMS: tuple[ExportForm, ...] = (
    ExportForm("onnx", GRAPH_FOLDER / "model.onnx", write_standard, EXACT),
    ExportForm("onnx packed", GRAPH_FOLDER / "model_packed.onnx", write_packed, EXACT, supports=can_be_packed),
    ExportForm(
        "onnx int8",
        GRAPH_FOLDER / "model_int8.onnx",
        write_quantized,
        APPROXIMATE,
        supports=can_be_packed,
        made_from="onnx packed",
        check=saturates,
        recommended=True,
    ),
    ExportForm(
        "onnx quantized",
        GRAPH_FOLDER / "model_quantized.onnx",
        write_quantized,
        APPROXIMATE,
        made_from="onnx",
        check=saturates,
        recommended=True,
    ),
)


def get_form(name: str) -> ExportForm:
    """Return the form called ``name``."""
    return next(form for form in FORMS if form.name == name)


def exported_files(folder: Path) -> dict[str, Path]:
    """Return the exported files in a model folder by the name of their form, in the order of `FORMS`."""
    return {form.name: folder / form.file for form in FORMS if (folder / form.file).is_file()}


def recommended_form(names: Iterable[str]) -> ExportForm | None:
    """Return the form of ``names`` to show to a reader: the recommended form, else the first; None without names."""
    forms = [get_form(name) for name in names]
    return next((form for form in forms if form.recommended), next(iter(forms), None))
