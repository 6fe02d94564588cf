"""The parameters that main gives to its steps, beyond the problem, where a chain replays an earlier one."""

from collections.abc import Mapping

from steps.pipeline import STEPS
from steps.run import lookup
from steps.run.step import Step

# The steps whose results depend on more than their reuse keys: on the clock, or on the registry.
REPLAYING = [name for name, step in STEPS.items() if "replays" in step.parameters]


def of(step: Step) -> dict[str, Mapping[str, str]] | None:
    """The parameters for a replay of the run of main that `replays` names: task: parameters; None for no replay.

    The replayed search ends after the same number of trials as the earlier one, and register decides against the
    champion of that time.
    """
    given = step.arguments["replays"]
    if not given:
        return None
    main = lookup.run(step.client, given, "replays", "main")
    runs = lookup.chain(main, step.folder)
    return {task: {"replays": run_id} for task, run_id in runs.items() if task.split()[0] in REPLAYING}
