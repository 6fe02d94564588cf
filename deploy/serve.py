"""Makes the bucket and the file of the accounts where they are not there yet, and becomes MLflow's server.

The environment says all: DATABASE_URI, ADMIN_PASSWORD, MLFLOW_S3_ENDPOINT_URL with the AWS keys, HOST, the folder
ACCOUNTS, which survives a new container, and PORT where it is not 5000.
"""

import os
import sys
from pathlib import Path

import boto3

BUCKET = "mlflow"
ACCOUNTS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/accounts.db
admin_username = admin
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
# The last line has a password that was right taken as right for a minute: a check takes a sixth of a second, and each
# request up to four checks. An old password may be taken for a minute after its change.


def main() -> None:
    """Prepare, and start the server in the place of this process."""
    store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"], region_name="us-east-1")
    if BUCKET not in {held["Name"] for held in store.list_buckets()["Buckets"]}:
        store.create_bucket(Bucket=BUCKET)
    folder, host = os.environ["ACCOUNTS"], os.environ["HOST"]
    accounts = Path(folder) / "accounts.ini"
    accounts.touch(mode=0o600)
    accounts.write_text(ACCOUNTS.format(folder=folder, password=os.environ.pop("ADMIN_PASSWORD")), encoding="utf-8")
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(accounts)
    words = [sys.executable, "-m", "mlflow", "server", "--host", "0.0.0.0", "--port", os.environ.get("PORT", "5000")]
    # not among the words, which every process of the machine may read
    os.environ["MLFLOW_BACKEND_STORE_URI"] = os.environ.pop("DATABASE_URI")
    words += ["--app-name", "basic-auth", "--artifacts-destination", f"s3://{BUCKET}"]
    words += ["--allowed-hosts", f"{host},{host}:*,localhost:*,mlflow:*", "--cors-allowed-origins", f"https://{host}"]
    os.execv(words[0], words)


if __name__ == "__main__":
    main()
