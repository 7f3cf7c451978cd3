"""Where things lie under the data root.

::

    data/
      jobs/translate-llava-3f2a…/   one folder per job
      tables/llava-es.parquet       what flows leave
      reports/translate-llava-es/   report.html, report.json
      journal/answers.sqlite        every answer of every service
      run/                          the local server's and worker's files
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataRoot:
    """The folders under one data root. Nothing is created by asking for a path."""

    path: Path

    @property
    def jobs(self) -> Path:
        """One folder per job."""
        return self.path / "jobs"

    @property
    def tables(self) -> Path:
        """The tables that flows leave."""
        return self.path / "tables"

    @property
    def reports(self) -> Path:
        """One folder per report."""
        return self.path / "reports"

    @property
    def journal(self) -> Path:
        """The folder of the journal and of imported translation memories."""
        return self.path / "journal"

    @property
    def run(self) -> Path:
        """Pid files, logs and database of the local server and worker."""
        return self.path / "run"
