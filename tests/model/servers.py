"""Asking a scoring server, wherever it runs."""

import json
import urllib.error
import urllib.request
from typing import Any

import pandas as pd


class Server:
    """A scoring server under way."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/ping", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def ask(self, body: dict[str, Any]) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/invocations", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)["predictions"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["message"]

    def records(self, *rows: dict[str, Any], **more: Any) -> tuple[int, Any]:
        return self.ask({"dataframe_records": list(rows), **more})

    def frame(self, frame: pd.DataFrame) -> tuple[int, Any]:
        split = frame.to_json(orient="split", date_format="iso", index=False, double_precision=15)
        return self.ask({"dataframe_split": json.loads(split)})
