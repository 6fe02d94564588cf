"""A chain that repeats an earlier one: what main asks of its steps beyond the problem."""

from collections.abc import Mapping

from steps.pipeline import STEPS
from steps.run import lookup
from steps.run.step import Step

# What depends on more than its key says: on the clock, on the registry.
REPLAYING = [name for name, step in STEPS.items() if "replays" in step.parameters]


def of(step: Step) -> dict[str, Mapping[str, str]] | None:
    """Task: parameters, for a main that repeats the main run which `replays` names; None for any other main.

    A search ends after as many trials as it had then, and register decides against the champion of then.
    """
    given = step.arguments["replays"]
    if not given:
        return None
    main = lookup.run(step.client, given, "replays", "main")
    runs = lookup.chain(main, step.folder)
    return {task: {"replays": run_id} for task, run_id in runs.items() if task.split()[0] in REPLAYING}
