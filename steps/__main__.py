"""Start an entry point: `python -m steps NAME --parameter=value`."""

import sys

if sys.platform == "win32":  # before the first import that Windows does not have
    sys.exit(
        "tabular: Windows itself is not supported, since its processes end in other ways: run the same command in WSL "
        "(wsl --install), where it is Linux; docs/platforms.md"
    )

from steps.process import lifecycle

if __name__ == "__main__":
    lifecycle.begin()  # first of all: the imports below take seconds

    import importlib
    import os

    # Arrow's other pools keep most of what is freed, as much as a table; it asks for the name when it is imported
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

    from steps.process import fork_server

    status = fork_server.ask(sys.argv[1:])
    if status is not None:
        sys.exit(status)

    from steps.run import source_digest

    name = sys.argv.pop(1) if sys.argv[1:] else ""
    if name == "main":
        fork_server.fork()
    # before the step's own modules are imported: an edit of them while the step runs must not go unnoticed
    source = source_digest.digests(name)

    from functools import partial

    from steps.run import cli
    from tabular.errors import UserError

    try:
        cli.check_entry_point(name, sys.argv[1:])
    except UserError as error:
        sys.exit(f"tabular: {error}")

    from steps.chain import keys
    from steps.run import shell

    body = getattr(importlib.import_module(f"steps.{name}"), name)
    shell.run(name, body, partial(keys.of_step, source=source))
