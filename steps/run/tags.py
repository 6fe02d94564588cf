"""The names of all tags that this project sets on runs, logged models and registered versions.

docs/tracking.md lists them for people; a test compares that list with this one. A name here is a schema: earlier runs
have it, so that it may get an alias beside it but is never removed.
"""

from collections.abc import Mapping

# Tags of MLflow's own, which its UI shows.
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
USER = "mlflow.user"
COMMIT = "mlflow.source.git.commit"
REPOSITORY = "mlflow.source.git.repoURL"
SOURCE = "mlflow.source.name"
# The environment manager of `mlflow run`; a run without this tag was started in an existing environment.
ENV_MANAGER = "mlflow.project.env"

# What a run is about, and its outcome.
PROBLEM = "tabular.problem"
MODEL = "tabular.model"
MODEL_FAMILY = "tabular.model_family"
SUMMARY = "tabular.summary"  # the line that main prints for a step
OUTCOME = "tabular.outcome"
# on a run of register that has registered in another store than its own: the address of that registry
REGISTRY = "tabular.registry"
VERDICT = "tabular.verdict"
WINNER = "tabular.winner"
CHAMPION = "tabular.champion"
CHAMPION_VERSION = "tabular.champion.version"
REASON = "tabular.reason"  # why the run is FAILED or KILLED
# on a run that FAILED by its candidate alone, the model; on main and evaluate, those that the chain went on without
LEFT_OUT = "tabular.left_out"
# on such a run that the chain's seconds ended, whose replay fails without the clock
OUT_OF_TIME = "tabular.out_of_time"
# on such a run for which memory was too short, whose replay fails where there is more: what it needed
OUT_OF_MEMORY = "tabular.out_of_memory"
# the parameter, no tag, of a run of train whose model was fitted on fewer rows
SHARE_OF_ROWS = "share_of_rows"
# the parameter, no tag, of a run of hpo or train whose model is the mean of several fits: how many
SEEDS = "seeds"
# the parameter, no tag, of a run of train whose model learns from a sample that the problem asks for
ROWS_LEARNT = "rows_learnt"
# the parameter, no tag, of a run of refit whose model was cross-validated on all rows: in how many folds
FOLDS = "folds"
# the parameter, no tag, of a run of refit: which models learn from a sample, in words
SAMPLES = "samples"
# on a run of train or blend whose model's requirements have no hashes: which packages are not the lock's
UNLOCKED = "tabular.unlocked"
# on a run of train, blend or refit whose model is larger than the problem allows: what became of its files, in words
TOO_LARGE = "tabular.too_large"
# on a run of train or refit whose model several processes have learnt together: how many
RANKS = "tabular.ranks"
FAILED_STEP = "step.failed"  # on a run of main: the step that failed

# Metrics, no tags, of every step's run: what it took of time and of the machine, which is no part of its result.
STEP_SECONDS = "step_seconds"
PEAK_MEMORY, BYTES_READ, BYTES_WRITTEN = "peak_memory_bytes", "bytes_read", "bytes_written"
OF_A_STEP = (STEP_SECONDS, PEAK_MEMORY, BYTES_READ, BYTES_WRITTEN)

# Where a run comes from: its source tree, environment, arguments and owner.
TREE = "tabular.tree"  # clean, changed, or unknown where git cannot tell
TREE_MISSING = "tabular.tree.missing"  # changes of the tree that are unknown or in no patch
LOCK = "tabular.lock"
ARGUMENTS = "tabular.arguments"  # JSON, as given: MLflow logs parameters quoted for the shell, or not at all
REPLAY_OF = "tabular.replay_of"  # the run that a run of `reproduce` repeats
OWNER_HOST = "tabular.owner.host"
OWNER_PID = "tabular.owner.pid"
OWNER_STARTED = "tabular.owner.started"

# The runs that a run or a registered version was made from.
DATASET = "tabular.dataset"
SEARCH = "tabular.search"
TRAIN = "tabular.run"
REFITTED_BY = "tabular.refit"  # the run that fitted the registered model on all rows; without it, that of train did
EVALUATION = "tabular.evaluation"
REGISTER = "tabular.register"
VERSION_COMMIT = "tabular.commit"
SEMANTIC_VERSION = "tabular.semantic_version"
MODEL_URI = "tabular.model_uri"
PROVENANCE = "tabular.provenance"  # of a registered version: where its statement of origin lies
SCORED_BY = "tabular.scored_by"

# The sha256 of contents; `digest_tag` gives the tag names of the contents that later steps depend on.
DATA_DIGEST = "tabular.data_digest"
DIGEST = "tabular.digest."
TRAINED_ON = f"{DIGEST}train"  # of the training rows: tells whether two runs are about the same data set
MODEL_DIGEST = f"{DIGEST}model"
# on a version whose model was fitted on all rows: the model that was judged, and its digest
JUDGED = "tabular.judged"
JUDGED_DIGEST = f"{DIGEST}judged"
CODE_DIGEST = f"{DIGEST}code"
# on a version: of the columns that it reads with its target and classes; of the table, code and problem it is made of
INTERFACE_DIGEST, MAKING_DIGEST = f"{DIGEST}interface", f"{DIGEST}making"
ARTIFACTS_DIGEST = "tabular.artifacts"  # of a run's artifact manifest: shows whether the manifest itself is unaltered

# Reuse of finished work.
KEY = "tabular.key"
OWN_KEY = "tabular.key.own"  # the key without the inputs: where no finished run has it, the step is certain to run
SEARCH_KEY = "tabular.search.key"  # the key of a run of hpo, set when the search begins
REUSED_FROM = "tabular.reused_from"  # on the small child of main that shows a reused run: the id of that run
REPORTED = "tabular.report"  # on the child for a register with nothing to do: the run that holds the champion's report
MET = "tabular.met"  # the champion that a run of register compared with, so that a replay compares with the same one
# What may end otherwise another day, and is done anew by the next chain: register could not compare, the smoke test
# failed, or the chain's seconds were too few for refit.
TRANSIENT = "tabular.passing"

# Trials of a search.
TRIAL = "tabular.trial"
TRIAL_SAVED = "tabular.trial.saved"
PRUNED = "tabular.given_up"
BASELINE = "tabular.baseline"

# Drift of the rows that predict or monitor scored.
DRIFT_OF_INPUTS = "tabular.shift.input"
DRIFT_OF_SCORES = "tabular.shift.score"

# What monitor found: of which registered model, and the verdict, `healthy`, `watch` or `degraded`.
MONITORED = "tabular.monitored"
HEALTH = "tabular.health"

# On a registered model, followed by the time: a move of an alias or stage, since MLflow keeps no history of them.
HISTORY = "tabular.history."


def lasting(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are the same when the same work is done again: all but seconds and what a step took, by name."""
    return {
        name: value
        for name, value in sorted(metrics.items())
        if not name.endswith("_seconds") and name not in OF_A_STEP
    }


def digest_tag(part: str) -> str:
    """The tag for the sha256 of a part of a step's result, such as `train` or `trials`."""
    return f"{DIGEST}{part}"


def metric_tag(name: str) -> str:
    """The tag of a registered version for its value of a metric on the holdout."""
    return f"tabular.{name}"
