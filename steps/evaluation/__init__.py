"""Candidates on the holdout: judged, drawn, held against the champion, told in the report."""
