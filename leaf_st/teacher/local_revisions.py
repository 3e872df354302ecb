"""The hashes of the files of a model that is loaded here as a teacher."""

from leaf_st.models.end_token import with_end_tokens
from leaf_st.models.find import content_hash, earlier_content_hash, find_model, first_content_hash
from leaf_st.models.other_code import other_code
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.protocol import Revisions


def local_revisions(spec: TeacherSpec) -> Revisions:
    """Return hashes of the files of the model that ``spec`` names, as in `TeacherKind.revisions`."""
    folder = find_model(spec.model, spec.revision, code=spec.trust_remote_code)
    files = content_hash(folder, code=spec.trust_remote_code)
    revision = with_end_tokens(files, folder)
    if spec.trust_remote_code and (code := other_code(folder)) is not None:  # earlier versions left the code out
        first = first_content_hash(folder) if revision == files else None
        return Revisions(f"{code}+{revision}", first, revision)
    if revision != files:  # earlier versions left the tokens out
        return Revisions(revision)
    earlier = earlier_content_hash(folder)
    return Revisions(revision, first_content_hash(folder), None if earlier == revision else earlier)
