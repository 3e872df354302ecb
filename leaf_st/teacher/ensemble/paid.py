"""An ensemble with members that are APIs, whose budgets and checks it passes on."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.api.usage import Report
from leaf_st.teacher.ensemble.teacher import Ensemble
from leaf_st.teacher.protocol import Service, Teacher
from leaf_st.texts import Text


class PaidEnsemble(Ensemble):
    """An `Ensemble` that is a `Service`, because at least one member is one."""

    settings = "teacher.ensemble"  # with the limits and prices of members

    def require_budget(self, rows: Sequence[Text]) -> None:
        """Check that the budget of each API allows a block.

        Raises:
            InputError: If one does not.
        """
        for service in self._services:
            service.require_budget(rows)

    def require_accepted(self, read: Callable[[], Iterable[Text]]) -> None:
        """Check that no API refuses a text for its length; see `ApiTeacher.require_accepted`.

        Raises:
            InputError: If one does.
        """
        for service in self._services:
            service.require_accepted(read)

    def require_unchanged(self, folder: Path) -> None:
        """Check that each API gives the vectors of the probes that the store at ``folder`` began with.

        The probes of each member are kept in a folder of its own.

        Raises:
            InputError: If one does not.
        """
        for number, member in enumerate(self.members):
            if isinstance(member, Service):
                place = folder / f"member-{number}"
                place.mkdir(exist_ok=True)
                member.require_unchanged(place)

    def divide_limits(self, processes: int) -> None:
        """Keep to an equal part of the limits of each API, because as many ``processes`` ask the APIs."""
        for service in self._services:
            service.divide_limits(processes)

    def report(self) -> tuple[Report, ...]:
        """Return what this process asked each API since its last report."""
        return tuple(chain.from_iterable(service.report() for service in self._services))

    def reserve(self, rows: Sequence[Text]) -> tuple[int, ...]:
        """Reserve a part of the budget of each API for ``rows``; returns the number of tokens for each API.

        Raises:
            InputError: If a budget does not allow them.
        """
        return tuple(chain.from_iterable(service.reserve(rows) for service in self._services))

    def settle(self, reserved: Sequence[int], reports: Sequence[Report] | None) -> None:
        """Count what another process asked each API in place of what was reserved; see `ApiTeacher.settle`.

        Raises:
            InputError: If an API gives that process other vectors of the probes.
        """
        for place, (service, tokens) in enumerate(zip(self._services, reserved, strict=True)):
            service.settle([tokens], None if reports is None else [reports[place]])

    def seconds_at_limits(self, rows: Sequence[Text]) -> float | None:
        """Return None: the members that are local models have no stated speed, so the speed is measured."""
        return None

    def tokens_per_text(self, rows: Sequence[Text]) -> float:
        """Return the mean number of tokens of ``rows``, summed over the APIs."""
        return sum(service.tokens_per_text(rows) for service in self._services)

    def price_per_text(self, rows: Sequence[Text]) -> float | None:
        """Return the mean price of ``rows`` in US dollars, summed over the APIs; None if one states no price."""
        prices = [service.price_per_text(rows) for service in self._services]
        return None if None in prices else sum(price or 0 for price in prices)

    @property
    def address(self) -> str:
        """The addresses of the APIs."""
        return ", ".join(service.address for service in self._services)

    @property
    def _services(self) -> list[Service]:
        return [member for member in self.members if isinstance(member, Service)]


def combine(spec: TeacherSpec, members: Sequence[Teacher]) -> Ensemble:
    """Return the ensemble of the opened ``members`` of ``spec``."""
    paid = any(isinstance(member, Service) for member in members)
    return PaidEnsemble(spec, members) if paid else Ensemble(spec, members)
