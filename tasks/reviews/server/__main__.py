"""Argilla's server with our search engine, in one process: make the tables, make the users, serve.

Runs in an environment of its own (constraints-argilla.txt), which has no Prefect; tasks/cli/local_argilla.py starts it::

    ARGILLA_HOME_PATH=data/argilla ARGILLA_SEARCH_ENGINE=database ... \\
      .venv-argilla/bin/python -m tasks.reviews.server --users data/argilla/users.json --workspace trasvase --port 6900

The users' file; one who is missing in the database is made, one with another key gets this key and this password::

    {"users": [{"username": "reviewer-1", "role": "annotator", "password": "...", "key": "..."}, ...], ...}
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser("python -m tasks.reviews.server", description="Argilla's server on 127.0.0.1.")
    parser.add_argument("--users", type=Path, required=True, metavar="FILE", help="JSON file of the users to have")
    parser.add_argument("--workspace", required=True, help="where all of them belong")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    os.umask(0o077)  # the database holds keys
    # The server copies its web UI, 10 MB, into a new folder at every start and never removes it.
    scratch = Path(os.environ["ARGILLA_HOME_PATH"]) / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    tempfile.tempdir = str(scratch)

    import uvicorn
    from argilla_server import app

    from tasks.reviews.server import engine

    assert os.environ["ARGILLA_SEARCH_ENGINE"] == engine.NAME
    make_tables()
    make_users(json.loads(options.users.read_bytes())["users"], options.workspace)
    uvicorn.run(
        app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False, timeout_graceful_shutdown=5
    )


def make_tables() -> None:
    """Bring the database to this version of the server, with a log that readers and a writer share."""
    from alembic import command
    from alembic.config import Config
    from argilla_server.database import ALEMBIC_CONFIG_FILE, sync_engine
    from sqlalchemy import text

    with sync_engine.connect() as connection:
        connection.execute(text("pragma journal_mode = wal"))
    command.upgrade(Config(ALEMBIC_CONFIG_FILE), "head")


def make_users(users: list[dict[str, Any]], name: str) -> None:
    """Make the workspace and the users that are missing."""
    from argilla_server.contexts.accounts import hash_password
    from argilla_server.database import SyncSessionLocal
    from argilla_server.models import User, Workspace, WorkspaceUser
    from sqlalchemy import select

    with SyncSessionLocal() as session:
        workspace = session.scalar(select(Workspace).where(Workspace.name == name)) or Workspace(name=name)
        session.add(workspace)
        session.flush()
        for wanted in users:
            user = session.scalar(select(User).where(User.username == wanted["username"]))
            if user is None:
                user = User(username=wanted["username"], first_name=wanted["username"])
                session.add(user)
            if user.api_key != wanted["key"]:
                user.role, user.api_key = wanted["role"], wanted["key"]
                user.password_hash = hash_password(wanted["password"])
            session.flush()
            belongs = select(WorkspaceUser).filter_by(workspace_id=workspace.id, user_id=user.id)
            if session.scalar(belongs) is None:
                session.add(WorkspaceUser(workspace_id=workspace.id, user_id=user.id))
        session.commit()


if __name__ == "__main__":
    main()
