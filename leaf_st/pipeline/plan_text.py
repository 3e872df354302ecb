"""The estimate of a run as text, for ``leaf-st run --dry-run``."""

from leaf_st.pipeline.exclude import missing_sets
from leaf_st.pipeline.plan_types import Plan
from leaf_st.recipe import PAPER
from leaf_st.tables import aligned
from leaf_st.texts.paper.fetch import closed_licences


def format_plan(plan: Plan) -> str:
    """Return ``plan`` as text."""
    spec, speed, pace = plan.recipe, plan.speed, plan.speed.pace
    trained = sum(part.rows for part in plan.texts) - plan.held_out
    epochs = plan.steps * plan.batch / max(1, trained)
    closed = closed_licences(spec.texts) if spec.texts.source == PAPER else ""
    used = plan.vector_bytes + plan.text_bytes + plan.token_bytes + plan.fetched_bytes - plan.embedded_bytes
    lines = [
        f"plan of {spec.name} in {plan.folder}",
        "",
        _table(plan),
        "",
        *_exclusion(plan),
        *(f"evaluation set {name} does not exist: it is left out of the evaluation" for name in missing_sets(spec)),
        *_vocabulary(plan),
        *([f"licences   not all open: {closed}"] if closed else []),
        *([f"texts      less than {_gb(plan.fetched_bytes)}, fetched and compressed"] if plan.fetched_bytes else []),
        f"store      {_gb(plan.vector_bytes)} of vectors ({speed.dimension} x {spec.teacher.store_dtype}), "
        f"{_gb(plan.text_bytes)} of texts and {_gb(plan.token_bytes)} of tokens; {_gb(plan.free_bytes)} are free"
        f"{'' if used < plan.free_bytes else ', which is too little'}",
        *_embedded(plan),
        f"embedding  {plan.embedding_hours:,.2f} hours: {plan.missing:,} texts, {_embedding_speed(plan)}",
        *_price(plan),
        f"training   {plan.training_hours:,.2f} hours: {plan.steps:,} steps of {plan.batch} texts, {pace.step:.3f} s "
        f"each; {epochs:,.1f} epochs",
        f"  on       at most {trained:,} texts: texts that share sentences with held-out texts are left out",
    ]
    for number, cycle in enumerate(plan.cycles, 1):
        lines.append(
            f"  cycle {number}  {cycle.steps:,} steps, learning rate from {cycle.first:.1e} to {cycle.last:.1e}"
        )
    lines.append(
        f"  and      {plan.validations:,} validations on {plan.validation_rows:,} texts, "
        f"{plan.validation_rows * pace.row:,.1f} s each"
    )
    hours = plan.embedding_hours + plan.training_hours
    lines.append(f"total      {hours:,.2f} hours at the speed just measured on this machine ({speed.device})")
    lines += [f"measured with random weights: {reason}" for reason in speed.random_weights.values()]
    return "\n".join(lines)


def _embedded(plan: Plan) -> list[str]:
    """Return a line about the texts that are embedded already, if the run has begun."""
    if not plan.embedded:
        return []
    return [f"embedded   {plan.embedded:,} of {plan.rows:,} texts already; {_gb(plan.embedded_bytes)} are written"]


def _embedding_speed(plan: Plan) -> str:
    spec, speed = plan.recipe.teacher, plan.speed
    rate = f"{plan.processes / speed.text:,.1f} a second by {spec.name}"
    if speed.service is None:
        return f"{rate} in {speed.precision}"
    source = f"at the limits in {speed.service.settings}" if speed.service.is_limited else "measured"
    return f"{rate} at {speed.service.address}, {source}"


def _exclusion(plan: Plan) -> list[str]:
    """Return a line about the texts of evaluation sets, if they are left out."""
    spec = plan.recipe.texts
    if not spec.exclude:
        return []
    number = "the rows" if spec.source == PAPER else f"{plan.excluded:,} rows"
    compared = ", which are counted above" if spec.source == PAPER else ""
    return [f"left out   {number} that equal a text of {', '.join(spec.exclude)}{compared}"]


def _vocabulary(plan: Plan) -> list[str]:
    """Return a line about the tokens that the student keeps, if their number is limited."""
    if plan.vocabulary is None:
        return []
    most = f"at most {plan.recipe.student.vocabulary:,} tokens"
    # A sample uses fewer tokens than all texts, and the sample of the paper's texts is made up.
    if plan.recipe.texts.source == PAPER or not plan.vocabulary.lost_tokens:
        return [f"vocabulary {most}; the run counts the tokens of all texts, and reports the share that is left out"]
    return [f"vocabulary {most}; an estimate from a sample, too low for all texts: {plan.vocabulary}"]


def _price(plan: Plan) -> list[str]:
    """Return a line with tokens and price of the missing texts, if the teacher is a service."""
    service = plan.speed.service
    if service is None:
        return []
    tokens = f"about {plan.missing * service.tokens:,.0f} tokens"
    if service.usd is None:
        return [f"price      {tokens}; {service.settings} has no price_per_million_tokens"]
    each = f"{service.usd / service.tokens * 1e6:g} USD per million"
    return [f"price      {plan.missing * service.usd:,.2f} USD: {tokens}, {each}; the evaluation is not included"]


def _table(plan: Plan) -> str:
    rows = [("source", "kind", "rows", "characters")]
    for part in plan.texts:
        rows.append((part.name, part.kind, f"{part.rows:,}", f"{part.characters:,.1f}"))
    for part in plan.general:
        rows.append((f"{part.name} (general)", part.kind, f"{part.rows:,}", f"{part.characters:,.1f}"))
    parts = (*plan.texts, *plan.general)
    mean = sum(part.rows * part.characters for part in parts) / plan.rows
    rows.append(("total", "", f"{plan.rows:,}", f"{mean:,.1f}"))
    return aligned(rows, left=2)


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
