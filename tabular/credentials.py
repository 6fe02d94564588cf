"""What looks like a credential: files of keys, by their names, and texts in which a key or a password is written."""

import pkgutil
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePosixPath
from typing import Any

SETTINGS = ("json", "toml", "yaml", "yml", "ini", "csv")
# Names of files and folders in which people and tools keep keys; compared in lower case.
KEY_FILES = (
    *(".env", ".env.*", "*.env", ".envrc", "*.tfvars"),
    *(f"{name}.{kind}" for name in ("secrets", "credentials") for kind in SETTINGS),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "id_rsa*", "id_dsa*", "id_ecdsa*"),
    *("id_ed25519*", ".netrc", "_netrc", ".pgpass", ".my.cnf", ".pypirc", ".npmrc", ".git-credentials", ".htpasswd"),
    *("credentials", "service[-_]account*.json", ".databrickscfg", ".boto", ".s3cfg", "rclone.conf"),
    *(".aws", ".azure", ".ssh", ".gnupg", ".kube"),
)
# Patterns that people fill in, which hold nothing yet.
PATTERNS = ("*.example", "*.sample", "*.template", "*.dist")
# The detectors of detect-secrets whose finds are rarely anything else; those by a text's entropy find digests.
DETECTORS = (
    *("aws.AWSKeyDetector", "azure_storage_key.AzureStorageKeyDetector", "basic_auth.BasicAuthDetector"),
    *("github_token.GitHubTokenDetector", "gitlab_token.GitLabTokenDetector", "jwt.JwtTokenDetector"),
    *("npm.NpmDetector", "openai.OpenAIDetector", "private_key.PrivateKeyDetector", "pypi_token.PypiTokenDetector"),
    *("sendgrid.SendGridDetector", "slack.SlackDetector", "stripe.StripeDetector", "twilio.TwilioKeyDetector"),
    *("telegram_token.TelegramBotTokenDetector", "discord.DiscordBotTokenDetector", "mailchimp.MailchimpDetector"),
)
# What names a secret without being it: a variable, a place to fill in, a call.
_NO_VALUE = re.compile(r"[$<{(%]|\*\*|\.\.\.|environ|getenv|…")


def is_key_file(path: str) -> bool:
    """Whether a file, by its name or that of a folder on its path, is one in which keys are kept."""
    *folders, name = PurePosixPath(path.lower()).parts
    if any(fnmatchcase(name, pattern) for pattern in PATTERNS):
        return False
    return any(fnmatchcase(part, pattern) for part in (*folders, name) for pattern in KEY_FILES)


def kind_within(text: str, path: str) -> str:
    """The kind of credential that a text, of the file at a path, seems to hold; "" where it seems to hold none."""
    return next((kind for kind, value in _found(text, path) if not _NO_VALUE.search(value)), "")


def _found(text: str, path: str) -> Iterator[tuple[str, str]]:
    for detector in _detectors():
        yield from ((detector.secret_type, value) for value in detector.analyze_string(text))
    from detect_secrets.plugins import keyword
    from detect_secrets.util.filetype import determine_file_type

    # with or without quotes: `password: …` is a setting in some files, and a sentence in others
    quoted = keyword.QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP
    patterns = keyword.REGEX_BY_FILETYPE.get(determine_file_type(path), quoted)
    detector, named = keyword.KeywordDetector(), re.compile(keyword.DENYLIST_REGEX, re.IGNORECASE)
    for line in filter(named.search, text.splitlines()):  # of a text it finds the first one
        yield from (("Password or Key", value) for value in detector.analyze_string(line, patterns))


@cache
def _detectors() -> list[Any]:
    """The detectors; imported here, since only a tree with changes needs them."""
    return [pkgutil.resolve_name(f"detect_secrets.plugins.{name}")() for name in DETECTORS]
