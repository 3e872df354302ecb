"""The student that a recipe names."""

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.finite import not_finite_weight
from leaf_st.models.tokens import max_length_of
from leaf_st.recipe import Recipe
from leaf_st.student.build import build_student
from leaf_st.student.kept_tokens import read_tokens, require_vocabulary
from leaf_st.student.start import load_start
from leaf_st.student.static import build_static
from leaf_st.teacher.open import kind_of
from leaf_st.teacher.protocol import Fingerprint


def new_student(recipe: Recipe, fingerprint: Fingerprint, device: str | None = None) -> SentenceTransformer:
    """Build or load the student that ``recipe`` names, for the teacher of ``fingerprint``.

    A student whose tokens are not counted yet (`StudentSpec.needs_tokens`) has its complete vocabulary.

    Raises:
        InputError: If the student cannot be built or cannot encode, or reads fewer tokens than the training.
    """
    student = _student(recipe, fingerprint, device)
    if name := not_finite_weight(student):  # no training repairs NaN, and its first loss would seem to have diverged
        raise InputError(
            f"student: expected finite weights, found NaN or infinite values in {name}: check the files of the "
            "student's backbone, or name another model"
        )
    if (name := kind_of(recipe.teacher).default_prompt_name(recipe.teacher)) is not None:
        student.default_prompt_name = name
    if recipe.student.vocabulary is not None and recipe.student.needs_tokens:
        require_vocabulary(student, recipe.student.vocabulary)
    asked, length = recipe.training.max_length, max_length_of(student)
    if asked is not None and length is not None and asked > length:
        raise InputError(
            f"training.max_length: expected at most {length}, the tokens that the student reads, found {asked}: lower "
            "training.max_length, or set a student.max_length that the student's encoder can read"
        )
    return student


def _student(recipe: Recipe, fingerprint: Fingerprint, device: str | None) -> SentenceTransformer:
    spec = recipe.student
    if spec.start is not None:
        student = load_start(spec.start, fingerprint, revision=spec.revision, max_length=spec.max_length)
        return student.to(device) if device else student
    teacher = recipe.teacher
    # With the teacher's prompts for tasks, both models read the same text in an evaluation.
    prompts = {**fingerprint.prompts, **(fingerprint.task_prompts or {})}
    if spec.static:
        return build_static(
            teacher.model,
            revision=teacher.revision,
            dimension=fingerprint.dimension,
            normalized=fingerprint.normalized,
            prompts=prompts,
            similarity_fn_name=fingerprint.similarity_fn_name,
            device=device,
            trust_remote_code=teacher.trust_remote_code,
        )
    layers_of_teacher = spec.backbone is None
    return build_student(
        spec.backbone or teacher.model,
        revision=teacher.revision if layers_of_teacher else spec.revision,
        dimension=fingerprint.dimension,
        normalized=fingerprint.normalized,
        layers=spec.layers,
        tokens=read_tokens(spec),
        # A student of the teacher's layers reads as many tokens as the teacher by default.
        max_length=spec.max_length or (fingerprint.max_length if layers_of_teacher else None),
        teacher_max_length=fingerprint.max_length,
        prompts=prompts,
        similarity_fn_name=fingerprint.similarity_fn_name,
        device=device,
        trust_remote_code=teacher.trust_remote_code and layers_of_teacher,
    )
