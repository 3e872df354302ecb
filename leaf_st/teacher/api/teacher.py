"""A teacher behind an HTTP API: OpenAI, vLLM, text-embeddings-inference, Ollama, llama.cpp, and compatible servers.

An API costs money for each text, can change without notice, and often cuts long texts without a message. The teacher
therefore counts tokens before it sends texts, compares the vectors of a few probe texts, and checks that the ends of
long texts have an effect.
"""

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from leaf_st.atomic import write_whole
from leaf_st.errors import InputError
from leaf_st.models.identity import Identity, with_owner
from leaf_st.recipe import KINDS, ApiSpec, Kind, TeacherSpec
from leaf_st.teacher.api.client import READ_BYTES, ApiClient
from leaf_st.teacher.api.probes import PROBES, PROBES_HASH, require_same_vectors
from leaf_st.teacher.api.tokens import ApiTokens
from leaf_st.teacher.api.usage import Report, Usage
from leaf_st.teacher.blocks import blocks
from leaf_st.teacher.compared import are_compared
from leaf_st.teacher.protocol import Fingerprint, Revisions
from leaf_st.teacher.remote import RemoteTeacher
from leaf_st.teacher.store import PROBE_FILE
from leaf_st.texts import Text

if TYPE_CHECKING:
    from torch import Tensor

_NORM = 1e-2  # distance of the norm of a vector from 1 that rounding can cause; bfloat16 causes 0.002
_PROBE_SECONDS = 600.0  # between two comparisons of the probes while texts are embedded
_CUT = 1e-3  # relative L2 distance below which two vectors are equal, so that the API ignores what differs
_GROWTH = 1.25  # factor between the sizes at which the end of a text is checked

_logger = logging.getLogger(__name__)


class ApiTeacher(RemoteTeacher):
    """A `Teacher` behind an API.

    Args:
        spec: The teacher, with `TeacherSpec.api`.
        max_tokens: Number of tokens after which no further texts are sent; None for no limit.

    Raises:
        InputError: If the API or the tokenizer cannot be used.
    """

    batch_size = 1024  # several requests at a time
    settings = "teacher.api"  # with limits and prices

    def __init__(self, spec: TeacherSpec, max_tokens: int | None = None) -> None:
        self._spec, self._api = spec, api_of(spec)
        self._client = ApiClient(self._api)
        self._tokens = ApiTokens(self._api, spec.max_length, self._client.usage, max_tokens)
        self._read = READ_BYTES  # size of the longest text whose end is known to have an effect
        self._probes, self._probed = self._embed_probes(), time.monotonic()
        self._tokens.at_start = self._client.usage.tokens
        self._asked = False  # whether texts were embedded since the probes
        self._reported = Usage()  # the usage at the last call of `report`
        norms = np.linalg.norm(self._probes, axis=1)
        self._normalized = bool(np.abs(norms - 1).max() < _NORM)
        revisions = revisions_of(spec)
        self.fingerprint = Fingerprint(
            teacher=spec.name,
            revision=revisions.revision,
            prompts=student_prompts(spec),
            max_length=spec.max_length,
            pooling="unknown",
            precision="auto",  # the API's own
            normalized=self._normalized,
            dimension=self._probes.shape[1],
            similarity_fn_name="cosine",
            earlier_revision=revisions.earlier_revision,
        )

    def __reduce__(self) -> NoReturn:
        # Each copy would have the complete budget and the complete limits of the account.
        raise TypeError(
            f"teacher {self._spec.name}: expected one teacher for the limits of the API, found a copy or pickle of it: "
            "open the teacher in each process"
        )

    @cached_property
    def identity(self) -> Identity:
        """Name and revision under which results are kept."""
        settings = json.dumps(replace(self.fingerprint, earlier_revision=None).to_dict(), sort_keys=True)
        return Identity(with_owner(self._spec.name), hashlib.sha256(settings.encode()).hexdigest()[:16])

    @property
    def reads_starts(self) -> bool:
        """Whether the API was found to read only the start of a long text, while vectors were compared."""
        return self._client.reads_starts

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n queries with their prompt; returns shape (n, d), row i for text i."""
        return self._encode([self._sent("query", text) for text in texts], "query")

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n documents with their prompt; returns shape (n, d), row i for text i."""
        return self._encode([self._sent("document", text) for text in texts], "document")

    def encode(self, texts: Sequence[str], prompt: str | None = None) -> NDArray[np.float32]:
        """Embed n texts that are neither queries nor documents; returns shape (n, d), row i for text i.

        The input type of documents is sent.
        """
        return self._encode([(prompt or "") + text for text in texts], "document")

    def token_counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each text, shape (n,); an estimate if the recipe names no tokenizer."""
        return self._tokens.count(texts)

    def token_vectors(self, count: int) -> "Tensor":
        """Raise an error: an API embeds texts.

        Raises:
            InputError: In all cases.
        """
        raise InputError(
            f"teacher {self._spec.name}: expected a local model, because a static student needs the vectors of "
            f"{count:,} single tokens; found an API: set student.backbone instead of student.static"
        )

    def require_budget(self, rows: Sequence[Text]) -> None:
        """Check that the budget allows a block, before any text of the block is sent.

        Args:
            rows: The texts of the block.

        Raises:
            InputError: If it does not.
        """
        self._tokens.require(np.array([self._tokens_of_block(rows)]))
        if time.monotonic() - self._probed > _PROBE_SECONDS:
            self._require_probes(self._probes, "at the start")

    def require_accepted(self, read: Callable[[], Iterable[Text]]) -> None:
        """Check that no text has more than `TeacherSpec.max_length` tokens if such texts are refused.

        Otherwise, a text in the last block would stop the run after all other texts were paid for.

        Args:
            read: Returns the texts.

        Raises:
            InputError: If a text is longer.
        """
        if self._tokens.refuses_long_texts:
            for block in blocks(read(), self.batch_size):
                sent = [self._sent(row.kind, row.text) for row in block]
                self._tokens.shortened(sent, self.token_counts(sent))

    def require_unchanged(self, folder: Path) -> None:
        """Check that the API gives the vectors of the probes that the store at ``folder`` began with.

        Args:
            folder: A store of this teacher. The vectors of the probes are kept in the folder.

        Raises:
            InputError: If the vectors differ by more than rounding.
        """
        path = folder / PROBE_FILE
        if not path.is_file():
            write_whole(path, self._write_probes)
            return
        self._require_probes(np.load(path), f"at the start of {folder}")
        if self._asked:
            usage = self._client.usage
            _logger.info("%s: %s%s", self._api.url, usage, self._tokens.price_in_words(usage.tokens))
            self._asked = False

    def divide_limits(self, processes: int) -> None:
        """Keep to an equal part of the API's limits, because as many ``processes`` ask the API."""
        self._client.divide_limits(processes)

    def report(self) -> tuple[Report, ...]:
        """Return what this process asked since its last report."""
        usage = self._client.usage
        asked, self._reported = usage.since(self._reported), replace(usage, seconds=[])
        return (Report(asked, self._probes),)

    def reserve(self, rows: Sequence[Text]) -> tuple[int, ...]:
        """Reserve a part of the budget for ``rows``, which another process embeds.

        Returns:
            The reserved number of tokens: those of the texts, of the probes, and of the check of the longest text.

        Raises:
            InputError: If the budget does not allow them.
        """
        expected = self._tokens_of_block(rows)
        self._tokens.require(np.array([expected]))
        self._client.usage.reserved += expected
        return (expected,)

    def settle(self, reserved: Sequence[int], reports: Sequence[Report] | None) -> None:
        """Count what another process asked in place of what was reserved.

        Args:
            reserved: The result of `reserve`.
            reports: The reports of the process; None if the process was lost. The reserved tokens are counted then.

        Raises:
            InputError: If the API gives that process other vectors of the probes.
        """
        usage = self._client.usage
        usage.reserved -= sum(reserved)
        self._asked = True
        if reports is None:
            usage.add_lost(sum(reserved))
            return
        for report in reports:
            usage.add(report.usage)
            require_same_vectors(self._probes, report.probes, "in the process that started the workers")

    @property
    def address(self) -> str:
        """The address of the API."""
        return self._api.url

    def price_per_text(self, rows: Sequence[Text]) -> float | None:
        """Return the mean price of ``rows`` in US dollars; None if the recipe states no price."""
        return self._tokens.price(self.tokens_per_text(rows))

    def seconds_at_limits(self, rows: Sequence[Text]) -> float | None:
        """Return the mean seconds for one of ``rows`` at the limits that the recipe states; None if it states none."""
        rows = rows[: self.batch_size]  # a block of a store, whose kinds are embedded one after the other
        kinds = ([row for row in rows if row.kind == kind] for kind in KINDS)
        requests = sum(len(self._client.batches(self._tokens_of(of_kind))) for of_kind in kinds if of_kind)
        seconds = self._client.pace.seconds(requests, len(rows) * self.tokens_per_text(rows))
        return None if seconds is None else seconds / len(rows)

    def tokens_per_text(self, rows: Sequence[Text]) -> float:
        """Return the mean number of tokens of ``rows``, corrected by the API's counts of the texts embedded so far."""
        return float(self._tokens_of(rows).mean()) * self._client.usage.tokens_per_estimate

    def _tokens_of(self, rows: Sequence[Text]) -> NDArray[np.int64]:
        return self.token_counts([self._sent(row.kind, row.text) for row in rows])

    def _tokens_of_block(self, rows: Sequence[Text]) -> int:
        """Return the tokens of ``rows``, of the check of the longest text, and of the probes at the end."""
        tokens, probes = self._tokens_of(rows), self.token_counts(PROBES)
        longest = int(tokens.max()) if rows else 0
        return int(tokens.sum() + probes.sum()) + 2 * longest

    def _sent(self, kind: Kind, text: str) -> str:
        return self._spec.prompts.get(kind, "") + text

    def _encode(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        # APIs refuse an empty text, and with it the request. Retrieval sets contain empty documents.
        sent = [place for place, text in enumerate(texts) if text.strip() or not are_compared()]
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if sent:
            vectors[sent] = self._embed([texts[place] for place in sent], kind)
        return vectors

    def _embed(self, texts: list[str], kind: Kind) -> NDArray[np.float32]:
        tokens = self.token_counts(texts)
        texts = self._tokens.shortened(texts, tokens)
        self._require_read(texts, kind)
        self._tokens.require(tokens)
        self._asked = True
        vectors = self._client.embed(texts, tokens, kind)
        if self._normalized:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            if abs(norms[worst := int(np.abs(norms - 1).argmax()), 0] - 1) > 2 * _NORM:
                raise InputError(
                    f"the API gives a vector of norm {norms[worst, 0]:.3f} for {texts[worst][:60]!r}: expected norm 1, "
                    "as for the first texts; check the server"
                )
            vectors /= norms
        return vectors

    def _require_read(self, texts: list[str], kind: Kind) -> None:
        """Check that the API reads the longest text to its end.

        The end of the longest text is replaced. If the vector stays the same, the API cuts texts without a message. The
        check is repeated as texts become longer.

        Raises:
            InputError: If the API ignores the end, and the vectors are targets.
        """
        size, text = max((len(text.encode()), text) for text in texts)
        if size <= self._read * _GROWTH or (are_compared() and self.reads_starts):
            return
        kept = len(text) * 7 // 8
        end = ("zebra 0 1 " * len(text))[: (len(text) - kept) // 4]  # fewer tokens, or the API could refuse the text
        pair = [text, text[:kept] + end]
        self._tokens.require(tokens := self.token_counts(pair))
        one, other = self._client.embed(pair, tokens, kind)
        if np.linalg.norm(one - other) < _CUT * np.linalg.norm(one):
            if are_compared():
                self._client.note_start(text)
                return
            raise InputError(
                f"the API ignores the end of a text of {len(text):,} characters, {text[:60]!r}: expected vectors of "
                "complete texts; in a new --output, set teacher.max_length to the tokens that the API's model reads, "
                "with teacher.api.tokenizer and teacher.api.long_texts=cut"
            )
        # An API that refuses the text, so that only its start was sent, refuses the text as a target too.
        self._read = size

    def _embed_probes(self) -> NDArray[np.float32]:
        self._tokens.require(tokens := self.token_counts(PROBES))
        return self._client.embed(PROBES, tokens, "document")

    def _require_probes(self, before: NDArray[np.float32], when: str) -> None:
        """Compare the vectors of the probes with those of an earlier time."""
        now = self._probes
        if self._asked:
            now, self._probed = self._embed_probes(), time.monotonic()
        require_same_vectors(before, now, when)

    def _write_probes(self, path: Path) -> None:
        buffer = io.BytesIO()
        np.save(buffer, self._probes.astype(np.float32))
        path.write_bytes(buffer.getvalue())


def student_prompts(spec: TeacherSpec) -> dict[str, str]:
    """Return the prompts of a student of the API of ``spec``.

    An API with different input types for queries and documents gives different vectors for the same text. The student
    sees the input type as a prompt, such as "search_query: ", in front of the prompt that is sent to the API.
    """
    types = _types_seen(spec)
    seen = {kind: f"{types[kind]}: " if kind in types else "" for kind in KINDS}
    return {kind: seen[kind] + spec.prompts.get(kind, "") for kind in KINDS}


def default_prompt_name(spec: TeacherSpec) -> str | None:
    """Return the name of the prompt that the student needs for texts that are neither queries nor documents, if any.

    Such texts are sent to the API with the input type of documents.
    """
    return "document" if "document" in _types_seen(spec) else None


def _types_seen(spec: TeacherSpec) -> Mapping[str, str]:
    """Return the input types that the student sees as prompts, by kind; none if all texts have the same type."""
    types = api_of(spec).input_type
    return types if len({types.get(kind) for kind in KINDS}) > 1 else {}


def revisions_of(spec: TeacherSpec) -> Revisions:
    """Return everything in ``spec`` that shapes an API's vectors, except the prompts: the revision of its fingerprint.

    A published store names a folder with the tokenizer by its last part, which is the earlier revision.

    Raises:
        InputError: If ``spec`` names no API.
    """
    tokenizer = api_of(spec).tokenizer
    now = _revision(spec, tokenizer)
    published = _revision(spec, Path(tokenizer).name) if tokenizer and Path(tokenizer).is_dir() else now
    return Revisions(now, earlier_revision=None if published == now else published)


def _revision(spec: TeacherSpec, tokenizer: str | None) -> str:
    api = api_of(spec)
    shaping = {name: value for name, value in asdict(api).items() if name in ("dimensions", "input_type", "extra_body")}
    if api.long_texts == "cut":
        shaping["cut"] = f"{spec.max_length} tokens of {tokenizer}"
    settings = json.dumps({name: value for name, value in shaping.items() if value}, sort_keys=True)
    return f"{api.url} {api.model} {settings} probes {PROBES_HASH}"


def api_of(spec: TeacherSpec) -> ApiSpec:
    """Return the API of ``spec``.

    Raises:
        InputError: If ``spec`` names no API.
    """
    if spec.api is None:
        raise InputError(f"teacher {spec.model}: expected teacher.api, found a local model: set teacher.api.url")
    return spec.api
