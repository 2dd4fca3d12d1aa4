"""The section of the configuration for prices, and the keys of budgets."""

from typing import Annotated

from pydantic import Field

from reconciler.manifests import Seconds, Section
from reconciler.planner import CURRENCY, PlannerConfig, Prices

_PLANNER = PlannerConfig()
#: An amount of money, in `prices.currency`.
Money = Annotated[float, Field(ge=0, le=1e12, strict=False, allow_inf_nan=False)]
GpuType = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]


class BudgetSection(Section):
    """A limit of the cost of runs in a month.

    Tasks beyond it are held.
    """

    month: Annotated[Money, Field(description="In UTC; 0: none. Needs prices.")] = 0.0


class RunningGuard(Section):
    """Limits of the time of runs that one sync cancels.

    0: none.
    """

    gpu_hours: Annotated[float, Field(ge=0, le=1e9, strict=False, allow_inf_nan=False)] = (
        _PLANNER.guard_running_gpu_hours
    )
    time: Annotated[Seconds | None, Field(description="Of all of them. Default: none.")] = None


class PricesSection(Section):
    """Prices by the hour, of which costs are estimated; 0: free.

    docs/cost.md has the rules. They are in no key: a new price runs nothing again.
    """

    currency: Annotated[str, Field(pattern=CURRENCY, description="Shown beside each amount.")] = ""
    gpus: Annotated[
        dict[GpuType, Money],
        Field(
            default_factory=dict,
            max_length=1000,
            description="Of a GPU by its type; any: without a type, or of one not named.",
        ),
    ]
    cpu: Annotated[Money, Field(description="Of a core.")] = 0.0
    memory: Annotated[Money, Field(description="Of a GiB of memory.")] = 0.0
    startup: Annotated[
        Seconds,
        Field(description="Time of a node that each run costs beside that of its pod."),
    ] = 0.0

    @property
    def prices(self) -> Prices:
        """The planner's prices."""
        return Prices(
            currency=self.currency,
            gpus=dict(self.gpus),
            cpu=self.cpu,
            memory=self.memory,
            startup=self.startup,
        )
