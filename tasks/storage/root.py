"""Where things lie under the data root.

::

    data/
      jobs/translate-llava-3f2a…/   one folder per job
      tables/llava-es.parquet       what flows leave
      datasets/llava-es/3f2a…/      frozen splits with certificate and card, one folder per version
      adapters/mmhs-paligemma2-3f…/ what fine-tuning leaves, one folder per adapter; latest and others are links
      reports/translate-llava-es/   report.html, report.json
      journal/answers.sqlite        every answer of every service
      memory/en-es.parquet          what people settled: the translation memory
      reviews/llava-es/             packs for reviewers without Argilla, and answers/ that came back
      argilla/                      the local Argilla's database, users and address
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
    def datasets(self) -> Path:
        """One folder per dataset, in it one per version."""
        return self.path / "datasets"

    @property
    def adapters(self) -> Path:
        """One folder per adapter."""
        return self.path / "adapters"

    @property
    def reports(self) -> Path:
        """One folder per report."""
        return self.path / "reports"

    @property
    def journal(self) -> Path:
        """The folder of the journal and of imported translation memories."""
        return self.path / "journal"

    @property
    def memory(self) -> Path:
        """The translation memory of what people settled, one file per pair of languages."""
        return self.path / "memory"

    @property
    def reviews(self) -> Path:
        """One folder per dataset under review: packs, and the answers that came back."""
        return self.path / "reviews"

    @property
    def argilla(self) -> Path:
        """The local Argilla's database, users and address."""
        return self.path / "argilla"

    @property
    def run(self) -> Path:
        """Pid files, logs and database of the local server and worker."""
        return self.path / "run"
