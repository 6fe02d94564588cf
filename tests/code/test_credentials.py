"""What looks like a credential: in addresses, in the names of files and in their lines."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular import credentials
from tabular.addresses import without_credentials, written_secret

letters = st.text(string.ascii_letters + string.digits + "._~%-!$&'()*+,;=@", min_size=1, max_size=12)


@given(letters, letters, st.sampled_from(["http", "https", "postgresql", "mysql+pymysql", "HTTPS"]))
def test_a_password_is_taken_out_of_every_address_and_the_rest_stays(user, password, scheme):
    found = without_credentials(f"see {scheme}://{user}:{password}@host:5000/d, and type again")
    name = "" if scheme.lower().startswith("http") else f"{user}@"
    assert found == f"see {scheme}://{name}host:5000/d, and type again"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://gh_token@github.com/a/b.git#sub", "https://github.com/a/b.git#sub"),
        ("https://h/t.csv?v=1&sig=abc%2B&x=2", "https://h/t.csv?v=1&sig=...&x=2"),
        ("https://h/t.csv?X-Amz-Signature=abc", "https://h/t.csv?X-Amz-Signature=..."),
        ("https://h/t.csv?country=FR&code=7", "https://h/t.csv?country=FR&code=7"),
        ("https://${USER}:${PASSWORD}@h/t?token=${TOKEN}", "https://${USER}:${PASSWORD}@h/t?token=${TOKEN}"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("ssh://git@host/a.git", "ssh://git@host/a.git"),
        ("abfss://container@account.dfs.core.windows.net/t", "abfss://container@account.dfs.core.windows.net/t"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("https://h/a@b/t.csv", "https://h/a@b/t.csv"),
        ("x = 1 # mail a:b@c.org", "x = 1 # mail a:b@c.org"),
    ],
)
def test_what_is_no_credential_stays(text, shown):
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown


@given(letters, letters)
def test_what_is_refused_in_a_source_is_what_is_hidden_in_a_text(user, password):
    address = f"https://{user}:{password}@host/t.csv?sig={user.replace('&', '')}"
    assert written_secret(address)
    assert not written_secret(without_credentials(address).replace("sig=...", ""))


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", "prod.env", "keys/id_rsa", "id_ed25519.old", "tls/server.KEY", ".aws/config"),
        *("a/.netrc", "secrets.yaml", "credentials.json", "service-account-prod.json", ".pypirc", "store.p12"),
    ],
)
def test_a_file_of_keys_is_known_by_its_name(name):
    assert credentials.is_key_file(name)


@pytest.mark.parametrize(
    "name",
    [".env.example", "secrets.yaml.template", "environment.yaml", "tabular/credentials.py", "keys.csv"],
)
def test_other_files_are_not(name):
    assert not credentials.is_key_file(name)


KEY = "AKIA" + "Z7QX2M4N6P8R0T1V"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a.py", f"key = '{KEY}'"),
        ("a.py", 'password = "correct horse"'),
        ("a.yaml", "db_password: correct-horse"),
        ("notes.md", "the store is postgresql://ann:horse@db/prod"),
        ("a.txt", "-----BEGIN RSA PRIVATE KEY-----"),
        ("a.py", "TOKEN = 'ghp_" + "a1B2" * 9 + "'"),
    ],
)
def test_a_line_that_holds_a_credential_is_found_among_others(path, line):
    text = "\n".join(["import os", "x = 1", line, "y = 2"])
    assert credentials.kind_within(text, path)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a.yaml", "sha256: " + "0af3" * 16),
        ("a.yaml", "source: https://${USER}:${PASSWORD}@host/t.csv"),
        ("a.yaml", "headers: {Authorization: '${TOKEN}'}"),
        ("a.py", 'password = os.environ["PASSWORD"]'),
        ("a.py", 'key = "value"'),
        ("notes.md", "password: ask your administrator"),
        ("a.py", "mail = 'ann@example.org'"),
    ],
)
def test_a_line_that_only_speaks_of_one_is_none(path, line):
    assert credentials.kind_within(line, path) == ""
