"""The door to every entry point: `python -m steps NAME --parameter=value`."""

from steps import guard

if __name__ == "__main__":
    guard.begin()  # first of all: what follows imports for seconds

    import importlib
    import sys

    from steps import nursery

    status = nursery.ask(sys.argv[1:])
    if status is not None:
        sys.exit(status)

    from steps import closure

    name = sys.argv.pop(1)
    if name == "main":
        nursery.fork()
    # before the step's own modules are imported: an edit of them while it runs must not pass unseen
    source = closure.digests(name)

    from steps import tracked

    tracked.run(name, getattr(importlib.import_module(f"steps.{name}"), name), source)
