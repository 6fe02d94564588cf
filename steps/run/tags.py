"""The names that others read: each tag that a run, a logged model or a registered version has of us.

docs/tracking.md lists them for people; a test holds it to this list. A name here is a schema: earlier runs have it, so
that it may get an alias beside it, and never goes.
"""

# What people see of a run in MLflow's UI.
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
USER = "mlflow.user"
COMMIT = "mlflow.source.git.commit"
REPOSITORY = "mlflow.source.git.repoURL"
SOURCE = "mlflow.source.name"
# What `mlflow run` was told to make environments with; a run without it was started in one that is there.
ENV_MANAGER = "mlflow.project.env"

# What a run is about, and what came of it.
PROBLEM = "tabular.problem"
MODEL = "tabular.model"
MODEL_FAMILY = "tabular.model_family"
SUMMARY = "tabular.summary"  # the line that main prints of a step
OUTCOME = "tabular.outcome"
VERDICT = "tabular.verdict"
WINNER = "tabular.winner"
CHAMPION = "tabular.champion"
CHAMPION_VERSION = "tabular.champion.version"
REASON = "tabular.reason"  # of an end as FAILED or KILLED
FAILED_STEP = "step.failed"  # of main

# Where it comes from.
TREE = "tabular.tree"  # clean, changed, or unknown where git does not tell
TREE_MISSING = "tabular.tree.missing"  # what of the tree is not known or in no patch
LOCK = "tabular.lock"
ARGUMENTS = "tabular.arguments"  # JSON, as given: MLflow logs parameters as the shell quotes them, or not at all
REPLAY_OF = "tabular.replay_of"  # the run that a run of `reproduce` repeats
OWNER_HOST = "tabular.owner.host"
OWNER_PID = "tabular.owner.pid"
OWNER_STARTED = "tabular.owner.started"

# The runs that a run or a version was made from.
DATASET = "tabular.dataset"
SEARCH = "tabular.search"
TRAIN = "tabular.run"
EVALUATION = "tabular.evaluation"
REGISTER = "tabular.register"
VERSION_COMMIT = "tabular.commit"
MODEL_URI = "tabular.model_uri"
SCORED_BY = "tabular.scored_by"

# Contents, by their sha256; `digest_tag` gives the names of those that later steps depend on.
DATA_DIGEST = "tabular.data_digest"
DIGEST = "tabular.digest."
TRAINED_ON = f"{DIGEST}train"  # of the training rows: whether two runs are about the same data set
MODEL_DIGEST = f"{DIGEST}model"
CODE_DIGEST = f"{DIGEST}code"
ARTIFACTS_DIGEST = "tabular.artifacts"  # of the record of a run's artifacts: what makes it more than one of them

# Work that is found again.
KEY = "tabular.key"
OWN_KEY = "tabular.key.own"  # without the inputs: where no finished run has it, the step is certain to run
SEARCH_KEY = "tabular.search.key"  # which a run of hpo has from its beginning
REUSED_FROM = "tabular.reused_from"  # on the small child of main that stands for a step which was not run again
REPORTED = "tabular.report"  # on that of a register with nothing to do: the run that holds the champion's report
MET = "tabular.met"  # the champion that a run of register met, so that it can be decided again against that one
TRANSIENT = "tabular.passing"  # what register could not compare or try that day: decided anew by the next chain

# Trials of a search.
TRIAL = "tabular.trial"
TRIAL_SAVED = "tabular.trial.saved"
PRUNED = "tabular.given_up"
BASELINE = "tabular.baseline"

# Of rows that were scored.
DRIFT_OF_INPUTS = "tabular.shift.input"
DRIFT_OF_SCORES = "tabular.shift.score"

# On a registered model, followed by the time: a move of an alias or stage, of which MLflow keeps no history.
HISTORY = "tabular.history."


def digest_tag(part: str) -> str:
    """The tag that holds the sha256 of a part of what a step has made, such as `train` or `trials`."""
    return f"{DIGEST}{part}"


def metric_tag(name: str) -> str:
    """The tag of a registered version that holds what it scored on the holdout."""
    return f"tabular.{name}"
