"""Small nets of torch through skorch: what may be set of one, its fit by a seed, and its file without pickle."""

import ast
import contextlib
import functools
import inspect
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tabular.data import carried_code
from tabular.errors import CandidateError, UserError, nearest
from tabular.sections.models import CLASSES, import_path

Array: TypeAlias = np.ndarray[Any, Any]
KIND = "skorch.NeuralNetClassifier"
# The file of a net's code in a model, beside its weights, where the net is the user's own.
CODE = "net.py"
# What a problem may set of a net, and the parts of a net whose arguments it may set, as in `module__hidden: 16`.
PARAMS = ("module", "criterion", "optimizer", "lr", "max_epochs", "batch_size")
PARTS = ("module", "criterion", "optimizer", "iterator_train")
# The arguments of `iterator_train`, which is torch's DataLoader.
BATCHES = ("shuffle", "drop_last")
# The most rows that are asked about at once, as in steps/model/served.py.
ROWS = 10_000
_REFUSED = {
    "callbacks": "a net is fitted for all of its epochs, and nothing is called in between",
    "train_split": "a net learns from all of its rows, and the folds score it",
    "device": "a net is fitted on the CPU, where it comes out the same each time",
}
# A number that YAML reads as text, for want of a dot or of a sign.
_TEXT = re.compile(r"([-+]?[0-9]+)(\.[0-9]*)?[eE]([-+]?)([0-9]+)")


def is_net(kind: Any) -> bool:
    """Whether a class is skorch's classifier."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}" == KIND


def check_kind(path: str, kind: Any, where: str, *, is_nested: bool) -> None:
    """Raise UserError for a class of skorch, or derived from one, that could be stored as a pickle only.

    Parameters
    ----------
    path
        The import path that the problem gives.
    kind
        The class.
    where
        The key of the path in the problem file, for the error message.
    is_nested
        Whether the estimator stands within another one.
    """
    if not any(base.__module__.partition(".")[0] == "skorch" for base in kind.__mro__):
        return
    if not is_net(kind):
        raise UserError(
            f"{where}: {path} is not {KIND}, of skorch the one class that is stored without pickle: name it"
        )
    if is_nested:
        raise UserError(f"{where}: within another estimator a net could be stored as a pickle only: make it a model")


def check_names(given: Collection[str], where: str) -> None:
    """Raise UserError for a name without underscores that a problem cannot set of a net."""
    for name in given:
        if name in _REFUSED:
            raise UserError(f"{where}: {name}: {_REFUSED[name]}: leave it out, and give or search max_epochs")
        if name not in PARAMS:
            raise UserError(
                f"{where}: {name!r} cannot be set of a net{nearest(name, PARAMS)}; {', '.join(PARAMS)} can be, and "
                "arguments such as module__hidden"
            )


def check_values(params: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a value, as a problem has it, that a parameter of a net cannot have."""
    for name, value in params.items():
        at = f"{where}.{name}"
        found = _TEXT.fullmatch(value) if isinstance(value, str) else None
        if found:
            number = f"{found[1]}{found[2] or '.0'}e{found[3] or '+'}{found[4]}"
            raise UserError(f"{at}: {value!r} is text to YAML, and not a number: write {number}")
        is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if name in ("max_epochs", "batch_size") and not is_count:
            raise UserError(f"{at}: {value!r} is not a whole number above 0")
        if name in CLASSES["skorch"]:
            try:
                import_path(str(value))
            except ValueError:
                raise UserError(f"{at}: {value!r} is no import path of a class, such as torch.optim.Adam") from None
        if not _is_plain(value):
            raise UserError(f"{at}: of a net it can be a number, a text or a list of these")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def check_part(name: str, path: str, kind: Any, where: str) -> None:
    """Raise UserError for a class that cannot be a part of a net.

    Parameters
    ----------
    name
        "module", "criterion" or "optimizer".
    path
        The import path that the problem gives.
    kind
        The class.
    where
        The key of the path in the problem file, for the error message.
    """
    import torch

    base, named = torch.nn.Module, "torch.nn.Module"
    if name == "optimizer":
        base, named = torch.optim.Optimizer, "torch.optim.Optimizer"
    if not issubclass(kind, base):
        raise UserError(f"{where}: {path} is no {named}")
    code = _code(kind)
    if code is None:
        return
    if path != _path(kind):
        raise UserError(f"{where}: the code of {path} stands elsewhere: write {_path(kind)}")
    if name == "module":  # of the others a model holds nothing
        carried_code.packages(code, f"{where}: {path}")


def check_arguments(net: Any, names: Collection[str], where: str, but: Collection[str] = ()) -> None:
    """Raise UserError for names such as `module__hidden` that are no arguments of the parts of a net.

    Parameters
    ----------
    net
        The unfitted net.
    names
        The names.
    where
        What the error messages begin with.
    but
        Parts that are of another class in another trial of a search: what they take is left to its fits.
    """
    for name in names:
        part, _, argument = name.partition("__")
        if part not in PARTS:
            raise UserError(f"{where}: a net has no part {part!r}{nearest(part, PARTS)}; it has {', '.join(PARTS)}")
        known = _arguments(net, part)
        if part in but or known is None or argument in known:
            continue
        named = part if part == "iterator_train" else _path(getattr(net, part))
        raise UserError(f"{where}: {named} has no argument {argument!r}{nearest(argument, sorted(known))}")


def _arguments(net: Any, part: str) -> Mapping[str, Any] | None:
    """The arguments of a part of a net, {name: default}; None where it takes any."""
    if part == "iterator_train":
        return dict.fromkeys(BATCHES, False)
    known = inspect.signature(getattr(net, part)).parameters
    if any(one.kind is one.VAR_KEYWORD for one in known.values()):
        return None
    return {name: one.default for name, one in known.items() if name != "params"}  # the weights, for an optimizer


def defaults(net: Any) -> dict[str, Any]:
    """The arguments of the parts of an unfitted net, {`module__hidden`: value}: what is set, else the default."""
    found: dict[str, Any] = {}
    for part in PARTS:
        known = (_arguments(net, part) or {}).items()
        found |= {f"{part}__{name}": value for name, value in known if _is_plain(value)}
    return found | _given(net)


def hyperparameters(net: Any) -> dict[str, Any]:
    """What a problem may set of an unfitted net, as it is set; classes by their import paths."""
    every = {name: getattr(net, name) for name in PARAMS} | _given(net)
    return {name: _path(value) if isinstance(value, type) else value for name, value in every.items()}


def _given(net: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(net).items()
        if "__" in name and name.partition("__")[0] in PARTS and _is_plain(value)
    }


class Rows:
    """Encoded rows and class codes as tensors, of which skorch takes a batch at once, and not row by row."""

    def __init__(self, X_encoded: Any, y: Array) -> None:
        import torch

        self.X_encoded, self.y = torch.from_numpy(X_encoded), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Any) -> tuple[Any, Any]:
        return self.X_encoded[rows], self.y[rows]

    def __getitems__(self, rows: list[int]) -> tuple[Any, Any]:
        return self[rows]


def as_given(batch: Any) -> Any:
    """A batch of `Rows` as it is: torch would put it together of rows."""
    return batch


def fit(net: Any, X_encoded: Any, y: Array, seed: int, after: Callable[[int], None]) -> None:
    """Fit a net in place: the same rows and the same seed give the same bits, whatever the number of threads.

    Parameters
    ----------
    net
        The unfitted net. Its module is told the number of encoded columns as `inputs` and that of classes as `outputs`,
        where it has arguments of these names which the problem does not give.
    X_encoded
        (n, encoded columns) array.
    y
        (n,) class codes.
    seed
        Of the first weights, the order of the rows, and all else that torch draws.
    after
        Called after each epoch with its number, from 1 on.

    Raises
    ------
    CandidateError
        The module gives neither logits nor probabilities of each class, or keeps more than its weights; or no batch
        is whole.
    """
    import torch

    seen, codes = np.unique(y, return_inverse=True)
    rows, codes = _rows(X_encoded), codes.astype(np.int64)
    if getattr(net, "iterator_train__drop_last", False) and len(rows) < net.batch_size:
        raise CandidateError(f"{len(rows)} rows are less than one batch of {net.batch_size}, and it drops the last one")
    _settle_arguments(net, inputs=rows.shape[1], outputs=len(seen))
    with _same_bits(seed):
        net.initialize()
        _check_outputs(net, rows[:100], len(seen))
        for epoch in range(1, net.max_epochs + 1):
            net.fit_loop(rows, codes, epochs=1)  # skorch's `fit` would take an interrupt for the end of the fit
            with torch.random.fork_rng(devices=[]):
                after(epoch)
        _check_is_whole(net, rows[:100])
    net.history.clear()  # an entry for each batch


def _rows(X_encoded: Any) -> Array:
    return np.array(X_encoded, dtype=np.float32, order="C")


def _settle_arguments(net: Any, **widths: int) -> None:
    """Set what the data decide: the widths where they are asked for, and the weights of classes as torch wants them."""
    import torch

    known, given = inspect.signature(net.module).parameters, net.get_params_for("module")
    net.set_params(**{f"module__{name}": n for name, n in widths.items() if name in known and name not in given})
    weights = getattr(net, "criterion__weight", None)
    if isinstance(weights, list):
        net.set_params(criterion__weight=torch.tensor(weights, dtype=torch.float32))
    net.inputs_ = widths["inputs"]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order; torch's threads would not survive a fork either."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _same_bits(seed: int) -> Iterator[None]:
    """One thread, a seed, and none of torch's operations that may give other bits each time."""
    import torch

    is_strict = torch.are_deterministic_algorithms_enabled()
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(is_strict)


def _outputs(module: Any, rows: Array) -> Any:
    """What a module gives for rows, a tensor, as it does where it is served."""
    import torch

    with torch.no_grad():
        return torch.cat([module.eval()(some) for some in torch.from_numpy(rows).split(ROWS)])


def _gives_logits(net: Any) -> bool:
    """Whether the outputs become probabilities by a softmax; skorch decides by the criterion as well."""
    import torch

    return isinstance(net.criterion_, torch.nn.CrossEntropyLoss)


def probabilities(net: Any, X_encoded: Any) -> Array:
    """The (n, seen classes) float64 probabilities of a fitted net, bit by bit as they are where it is served."""
    with _one_thread():
        found = _outputs(net.module_, _rows(X_encoded)).double()
        answer: Array = (found.softmax(dim=1) if _gives_logits(net) else found).numpy()
    return answer


def _check_outputs(net: Any, rows: Array, classes: int) -> None:
    """Raise CandidateError for a module that does not give what the criterion takes: seen before the first epoch."""
    try:
        found = _outputs(net.module_, rows)
    except TypeError:  # of what cannot be put together
        raise CandidateError("its module gives something else than one tensor") from None
    if tuple(found.shape) != (len(rows), classes):
        raise CandidateError(
            f"for {len(rows)} rows and {classes} classes its module gives a tensor {tuple(found.shape)}, and "
            f"({len(rows)}, {classes}) is needed; an argument `outputs` of it would be told the number of classes"
        )
    found = found.double()
    if not _gives_logits(net) and not (found.min() >= 0 and (found.sum(dim=1) - 1).abs().max() < 1e-3):
        raise CandidateError(
            "its module gives no probabilities of the classes: end it with a softmax, or give params `criterion: "
            "torch.nn.CrossEntropyLoss`, which takes it as it is"
        )


def _check_is_whole(net: Any, rows: Array) -> None:
    """Raise CandidateError for a module whose weights alone do not make it answer as it does."""
    again = net.module(**net.get_params_for("module"))
    again.load_state_dict(_weights(net))
    if not np.array_equal(_outputs(again, rows).numpy(), _outputs(net.module_, rows).numpy(), equal_nan=True):
        raise CandidateError(
            "its module answers otherwise when it is made anew with its weights: what it learns must be parameters or "
            "buffers of it, and with `eval()` it must draw nothing"
        )


def _weights(net: Any) -> dict[str, Any]:
    """The parameters and buffers of a net, each by itself in memory."""
    state = net.module_.state_dict()
    wrong = [name for name, value in state.items() if not hasattr(value, "detach")]
    if wrong:
        raise CandidateError(f"its module's state {wrong[0]!r} is no tensor, and could be stored as a pickle only")
    return {name: value.detach().clone().contiguous() for name, value in state.items()}


def write(net: Any, path: Path) -> None:
    """Write a fitted net's weights and what they are of, and the code of its module beside them if it is the user's."""
    from safetensors.torch import save

    code = _code(net.module)
    if code is not None:
        path.with_name(CODE).write_text(code, encoding="utf-8")
    told = {
        "module": _path(net.module),
        "arguments": net.get_params_for("module"),
        "inputs": net.inputs_,
        "softmax": _gives_logits(net),
    }
    # one entry: safetensors writes several in an order that changes
    path.write_bytes(save(_weights(net), metadata={"net": json.dumps(told, sort_keys=True)}))


def packages(net: Any) -> list[str]:
    """The top-level packages that a net's module needs, beside torch."""
    code = _code(net.module)
    return [net.module.__module__.partition(".")[0]] if code is None else carried_code.packages(code, _path(net.module))


@functools.cache
def _code(kind: type) -> str | None:
    """The code of the file that a class stands in, in its plain form; None where it is of an installed package.

    It is read once: a file that is edited while its net is fitted is not what was fitted.
    """
    if carried_code.is_installed(kind.__module__.partition(".")[0]):
        return None
    return carried_code.plain(ast.parse(Path(inspect.getfile(kind)).read_text(encoding="utf-8")))


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
