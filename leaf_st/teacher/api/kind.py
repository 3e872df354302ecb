"""An embedding API as a kind of teacher."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from leaf_st.errors import InputError
from leaf_st.recipe import KINDS, ApiSpec, TeacherSpec
from leaf_st.teacher.api.teacher import ApiTeacher, api_of, default_prompt_name, revisions_of, student_prompts
from leaf_st.teacher.kind import DOCUMENTS, Code, TeacherKind, quoted, require_unset, with_model
from leaf_st.teacher.protocol import Revisions, Teacher

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_KEY = "OPENAI_API_KEY"  # read by the client itself


class ApiKind(TeacherKind):
    """An embedding API (`TeacherSpec.api`). See `TeacherKind` for the methods."""

    student_shares_prompts = False  # the student's may also contain the input types

    def is_kind_of(self, spec: TeacherSpec) -> bool:
        """Return whether the teacher is an API."""
        return spec.api is not None

    def open(self, spec: TeacherSpec, device: str | None, max_tokens: int | None) -> Teacher:
        """Embed the probe texts with the API."""
        return ApiTeacher(spec, max_tokens)

    def load_model(self, spec: TeacherSpec) -> "SentenceTransformer":
        """Raise an `InputError`, because an API is no model."""
        raise InputError(
            f"teacher {spec.name} is an API and cannot be loaded as a model: embed documents with the API at "
            f"{api_of(spec).url}, and queries with the student"
        )

    def revisions(self, spec: TeacherSpec) -> Revisions:
        """Return everything that shapes the API's vectors."""
        return revisions_of(spec)

    def precision(self, spec: TeacherSpec) -> str | None:
        """Return None: the precision is the API's."""
        return None

    def prompts(self, spec: TeacherSpec) -> Mapping[str, str]:
        """Return the student's prompts, which contain the input types."""
        return student_prompts(spec)

    def gets_student_prompts(self, spec: TeacherSpec) -> bool:
        """Return whether the student's prompts contain no input types."""
        return student_prompts(spec) == {kind: spec.prompts.get(kind, "") for kind in KINDS}

    def default_prompt_name(self, spec: TeacherSpec) -> str | None:
        """Return the name of the prompt of documents, if the student knows input types."""
        return default_prompt_name(spec)

    def with_changeable_values(self, spec: TeacherSpec, asked: TeacherSpec) -> TeacherSpec:
        """Return ``spec`` with the ``asked`` settings of the API."""
        return replace(spec, api=asked.api or spec.api)

    def with_teacher_of_start(self, asked: TeacherSpec, spec: TeacherSpec) -> TeacherSpec:
        """Return ``asked`` with the API of ``spec``."""
        require_unset(asked, ("max_length", "precision", "trust_remote_code"), spec)
        return replace(with_model(asked, spec), api=spec.api)

    def tokens_of_budget(self, spec: TeacherSpec, usd: float | None, tokens: int | None) -> int | None:
        """Return the number of tokens that a budget allows."""
        if usd is None:
            return tokens
        price = api_of(spec).price_per_million_tokens
        if price == 0:
            return tokens
        if price is None:
            raise InputError("--budget-usd: expected a price, found none: set teacher.api.price_per_million_tokens")
        allowed = int(usd / price * 1e6)
        return allowed if tokens is None else min(tokens, allowed)

    def code(self, spec: TeacherSpec, student: str, prompt: str, revision: str) -> Code:
        """Return code that asks the API, with the prompt that is sent to it."""
        api, sent = api_of(spec), spec.prompts.get("document", "")
        values = [f"input={quoted([sent + text for text in DOCUMENTS])}", f"model={quoted(api.model)}"]
        if api.dimensions is not None:
            values.append(f"dimensions={api.dimensions}")
        if extra := _extra_body(api):
            values.append(f"extra_body={extra!r}")
        arguments = "".join(f"    {value},\n" for value in values)
        is_default = api.api_key_env == _KEY
        key = "" if is_default else f', api_key=os.environ["{api.api_key_env}"]'
        return Code(
            "from openai import OpenAI" if is_default else "import os\n\nfrom openai import OpenAI",
            f"client = OpenAI(base_url={quoted(api.url)}{key}){f'  # reads {_KEY}' if is_default else ''}\n"
            f"answer = client.embeddings.create(\n{arguments})\n"
            "documents = [row.embedding for row in answer.data]  # once",
        )


def _extra_body(api: ApiSpec) -> dict[str, object]:
    input_type = {"input_type": api.input_type["document"]} if "document" in api.input_type else {}
    return {**api.extra_body, **input_type}
