"""`trasvase doctor`: what is installed, reachable and configured, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import httpx
from pydantic import BaseModel

from tasks.chat import mistral
from tasks.chat.prices import read_prices
from tasks.chat.protocol import Completion, Question
from tasks.cli.local_argilla import ENVIRONMENT
from tasks.cli.terminal import size
from tasks.memes import readers
from tasks.memes.readers.protocol import Reader
from tasks.remote.errors import Denied
from tasks.remote.journal import Journal
from tasks.settings import CHECKOUT, PREFIX, Settings, argilla_access, read_options
from tasks.storage.errors import PermanentError, TransientError
from tasks.storage.root import DataRoot
from tasks.translators import module_of, names
from tasks.translators.google import Options, open_translator
from tasks.translators.mistral import DEFAULT_MODEL
from tasks.translators.protocol import Prompted, Translator

State = Literal["ok", "warning", "failed"]

_PROBE = "Good morning."
# All 157,712 rows leave about 1 GB; the tables are written anew beside the old ones.
_ENOUGH_BYTES, _TOO_FEW_BYTES = 3 * 10**9, 3 * 10**8

_EPILOG = """\
Without --online nothing is sent to a translation service or a model. The Prefect server and Argilla are
asked either way. Asking Mistral costs less than 0.0001 USD.

examples:
  trasvase doctor
  trasvase doctor --online                      ask Google's translator one sentence per client id, and Mistral
  trasvase doctor --json | jq '.[] | select(.state != "ok")'
  PREFECT_API_URL=http://box:4200/api trasvase doctor

exit codes: 0 nothing failed (there may be warnings); 1 something failed; 2 wrong usage
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at.

    Args:
        area: ``installed``, ``reachable`` or ``configured``.
        what: Its name.
        state: ``warning`` where some walks do without it, ``failed`` where none does.
        found: What is there.
        to_do: What to do about it, where there is something to do.
    """

    area: str
    what: str
    state: State
    found: str
    to_do: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase doctor`."""
    parser.description = "What is installed, reachable and configured, and what to do about it. Changes nothing."
    parser.epilog = _EPILOG
    parser.add_argument(
        "--online",
        action="store_true",
        help="also ask Google's translator, once per client id, and Mistral for one token if a key is set",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run_command=run)


def run(options: argparse.Namespace) -> int:
    """Print what was found; the exit code."""
    found: list[Line] = []
    for line in lines(online=options.online):
        if not options.json:
            print("\n".join(_told(line, first=not found or found[-1].area != line.area)), flush=True)
        found.append(line)
    if options.json:
        print(json.dumps([asdict(line) for line in found], indent=2, ensure_ascii=False))
    return 1 if any(line.state == "failed" for line in found) else 0


def lines(*, online: bool) -> Iterator[Line]:
    """Look at everything, one after the other.

    Args:
        online: Whether a translation service may be asked.
    """
    yield _python()
    yield _packages()
    yield from _translators()
    yield from _readers()
    yield _gpu()
    yield _argilla_server()
    try:
        settings = Settings()
    except PermanentError as error:
        yield Line("configured", "settings", "failed", str(error), "Correct the variable, or unset it.")
        return
    yield from _prefect(settings)
    yield from _argilla(settings)
    yield from _google(online=online)
    yield from _mistral(settings, online=online)
    yield from _settings(settings)
    root = DataRoot(settings.data)
    yield _data_root(root.path)
    yield _disk(root.path)
    yield _journal(root.journal / "answers.sqlite")


def _told(line: Line, *, first: bool) -> Iterator[str]:
    if first:
        yield f"{line.area}"
    yield f"  {line.state:8} {line.what:28} {line.found}"
    if line.to_do:
        yield f"{'':40}{line.to_do}"


def _python() -> Line:
    found = f"{platform.python_version()}, {sys.prefix}"
    if platform.python_version().startswith("3.11."):
        return Line("installed", "Python", "ok", found)
    return Line(
        "installed",
        "Python",
        "warning",
        found,
        "Tested with 3.11: make clean, then make run PYTHON=python3.11",
    )


def _packages() -> Line:
    """Installed versions against those that CI ran."""
    written = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in written if "==" in line)
    installed = {_normal(each.name): each.version for each in metadata.distributions()}
    needed = {
        _normal(re.split(r"[^\w.-]", each, maxsplit=1)[0])
        for each in metadata.requires("trasvase") or []
        if "extra ==" not in each
    }
    missing = sorted(needed - installed.keys())
    there = {name: version for name, version in pinned.items() if _normal(name) in installed}
    # A local part, as in torch 2.13.0+cpu, names the build.
    other = [
        f"{name} {installed[_normal(name)]} ({version})"
        for name, version in there.items()
        if installed[_normal(name)].split("+")[0] != version
    ]
    found = f"{len(there) - len(other)} of {len(there)} as in constraints.txt"
    if len(there) < len(pinned):
        found += f", {len(pinned) - len(there)} of optional parts not installed"
    install = "Install: .venv/bin/python -m pip install --constraint constraints.txt --editable ."
    if missing:
        return Line("installed", "packages", "failed", f"missing: {', '.join(missing)}", install)
    if other:
        return Line("installed", "packages", "warning", f"{found}; others: {', '.join(other)}", install)
    return Line("installed", "packages", "ok", found)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _translators() -> Iterator[Line]:
    """Each translator is opened for English to Spanish; that sends nothing."""
    for name in names():
        module = module_of(name)
        try:
            options = read_options(name, module.Options)
        except PermanentError:
            continue  # a wrong setting, told with the settings
        try:
            translator: Translator | Prompted = module.open_translator(options, "en", "es")
        except PermanentError as error:
            yield Line("installed", name, "warning", "cannot be used as it is", str(error))
        else:
            yield Line("installed", name, "ok", translator.name)
            asyncio.run((translator.chat if isinstance(translator, Prompted) else translator).aclose())


def _readers() -> Iterator[Line]:
    """Each reader of text on images is opened for Russian and English."""
    for name in readers.names():
        module = readers.module_of(name)
        try:
            opened: Reader = module.open_reader(read_options(name, module.Options), ["ru", "en"])
        except PermanentError as error:
            yield Line("installed", name, "warning", "cannot be used as it is", str(error))
        else:
            yield Line("installed", name, "ok", opened.name)


def _gpu() -> Line:
    if shutil.which("nvidia-smi") is None:
        return Line("installed", "GPU", "ok", "none: the pool gpu has no worker here, everything else runs")
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    if answer.returncode:
        return Line("installed", "GPU", "warning", answer.stdout.strip() or answer.stderr.strip(), "Check the driver.")
    found = "; ".join(answer.stdout.strip().splitlines())
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Line("installed", "GPU", "ok", f"{found}; no torch (optional part `neural`)")
    if torch.endswith("+cpu"):
        return Line(
            "installed",
            "GPU",
            "warning",
            f"{found}; torch {torch}",
            "Install a torch that is built for CUDA.",
        )
    return Line("installed", "GPU", "ok", f"{found}; torch {torch}")


def _prefect(settings: Settings) -> Iterator[Line]:
    """The server that `prefect` commands in this environment talk to, and its workers."""
    given = os.environ.get("PREFECT_API_URL")
    url, ours = (given or f"http://127.0.0.1:{settings.port}/api").rstrip("/"), metadata.version("prefect")
    with httpx.Client(timeout=5, trust_env=not _is_here(url)) as client:
        try:
            answer = client.get(f"{url}/admin/version").raise_for_status()
            version = str(answer.json())
            pools = [
                pool["name"] for pool in client.post(f"{url}/work_pools/filter", json={}).raise_for_status().json()
            ]
            workers = {pool: _workers(client, url, pool) for pool in pools}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            state: State = "failed" if given else "warning"
            what = "Start it, or correct PREFECT_API_URL." if given else "Start it: make serve"
            yield Line("reachable", "Prefect server", state, f"{url}: {_worded(error)}", what)
            return
    if version == ours:
        yield Line("reachable", "Prefect server", "ok", f"{version} at {url}")
    else:
        found = f"{version} at {url}, but {ours} here"
        yield Line("reachable", "Prefect server", "warning", found, "Run the same version on both sides.")
    if "cpu" not in pools:
        yield Line(
            "reachable",
            "worker",
            "warning",
            "no work pool cpu",
            "Make it: make pools, then prefect deploy --all",
        )
    for pool, online in workers.items():
        if online:
            yield Line("reachable", "worker", "ok", f"{pool}: {', '.join(online)}")
        elif pool == "cpu":
            yield Line("reachable", "worker", "warning", "cpu: none online", "Start one: make serve")


def _is_here(url: str) -> bool:
    """Whether it is this machine, which a proxy of the environment is not for."""
    return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")


def _workers(client: httpx.Client, url: str, pool: str) -> list[str]:
    answer = client.post(f"{url}/work_pools/{pool}/workers/filter", json={}).raise_for_status()
    return [worker["name"] for worker in answer.json() if worker["status"] == "ONLINE"]


def _argilla_server() -> Line:
    """The server of `make argilla`, which has an environment of its own."""
    if not (ENVIRONMENT / "installed").exists():
        return Line(
            "installed", "Argilla's server", "ok", "none: make argilla installs it, a remote Argilla needs none"
        )
    folders = [str(path) for path in ENVIRONMENT.glob("lib/python*/site-packages")]
    versions = [each.version for each in metadata.distributions(name="argilla-server", path=folders)]
    if not versions:
        to_do = "Install it anew: rm -r .venv-argilla, then make argilla"
        return Line("installed", "Argilla's server", "warning", f"not in {ENVIRONMENT}", to_do)
    return Line("installed", "Argilla's server", "ok", f"{versions[0]}, {ENVIRONMENT}")


def _argilla(settings: Settings) -> Iterator[Line]:
    """Where reviewers work: whether it answers, and whether the key may do what push-translations does."""
    try:
        access = argilla_access(settings)
    except PermanentError as error:
        half = settings.argilla_api_url or settings.argilla_api_key
        found = "half of it is set" if half else "its address cannot be read"
        yield Line("reachable", "Argilla", "failed", found, str(error))
        return
    if access is None:
        to_do = "Start a local one: make argilla. Or set ARGILLA_API_URL and ARGILLA_API_KEY."
        yield Line("reachable", "Argilla", "ok", "none: push-translations makes an HTML pack instead", to_do)
        return
    own = settings.argilla_api_url is not None
    url, which = access.url, "ARGILLA_API_URL" if own else "the local one"
    headers = {"X-Argilla-Api-Key": access.key.get_secret_value()}
    try:
        with httpx.Client(timeout=10, trust_env=not _is_here(url), headers=headers) as client:
            version = str(client.get(f"{url}/api/v1/version").raise_for_status().json()["version"])
            me = client.get(f"{url}/api/v1/me")
            if me.status_code != httpx.codes.UNAUTHORIZED:
                me.raise_for_status()
                there = client.get(f"{url}/api/v1/me/workspaces").raise_for_status().json()["items"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        state: State = "failed" if own else "warning"
        to_do = "Start it, or correct ARGILLA_API_URL." if own else "Start it: make argilla"
        yield Line("reachable", "Argilla", state, f"{url} ({which}): {_worded(error, 'Argilla')}", to_do)
        return
    ours = metadata.version("argilla")
    if version == ours:
        yield Line("reachable", "Argilla", "ok", f"{version} at {url} ({which})")
    else:
        found = f"{version} at {url} ({which}), tested with {ours}"
        yield Line("reachable", "Argilla", "warning", found, f"Run argilla-server {ours} there.")
    key = "ARGILLA_API_KEY" if own else f"the key in {DataRoot(settings.data).argilla / 'access.json'}"
    if me.status_code == httpx.codes.UNAUTHORIZED:
        to_do = (
            "Correct it: an owner's or admin's, from My settings in the web UI." if own else "Renew it: make argilla"
        )
        yield Line("reachable", "Argilla's key", "failed", f"{key} is refused", to_do)
        return
    user, role = me.json()["username"], me.json()["role"]
    if role == "annotator":
        to_do = "Set ARGILLA_API_KEY to an owner's or admin's."
        yield Line("reachable", "Argilla's key", "failed", f"{key} is of {user}, an annotator, who cannot push", to_do)
        return
    yield Line("reachable", "Argilla's key", "ok", f"of {user}, {role}")
    names = sorted(each["name"] for each in there)
    if not names and role == "admin":
        to_do = f"Ask an owner to add {user} to a workspace, and give its name as `workspace`."
        yield Line("reachable", "Argilla's workspaces", "failed", "none, and an admin cannot make one", to_do)
    else:
        yield Line("reachable", "Argilla's workspaces", "ok", ", ".join(names) or "none yet: made when needed")


def _google(*, online: bool) -> Iterator[Line]:
    try:
        options = read_options("google", Options)
    except PermanentError:
        return  # a wrong setting, told with the settings
    url = options.url or "https://translate.googleapis.com"
    clients = [client.strip() for client in options.client.split(",") if client.strip()]
    if not online:
        yield Line("reachable", "Google", "ok", f"not asked (--online asks): {url}, client {' or '.join(clients)}")
        return
    tried = [(client, asyncio.run(_probe(options.model_copy(update={"client": client})))) for client in clients]
    answering = any(not trouble for _, (_, trouble) in tried)
    for client, (found, trouble) in tried:
        state: State = "ok" if not trouble else "warning" if answering else "failed"
        yield Line("reachable", f"Google {client}", state, f"{url}: {found}", trouble)


async def _probe(options: Options) -> tuple[str, str]:
    """Ask one sentence; what came back, and what is in the way if that is no answer."""
    translator = open_translator(options, "en", "es")
    begun = time.monotonic()
    try:
        answer = await translator.translate([_PROBE])
    except (TransientError, PermanentError) as error:
        return type(error).__name__, str(error)
    finally:
        await translator.aclose()
    return f"“{_PROBE}” is “{answer[0]}”, {time.monotonic() - begun:.1f} s", ""


def _mistral(settings: Settings, *, online: bool) -> Iterator[Line]:
    """Whether the key is good, the model is still there, what it costs and what the account may ask per minute."""
    try:
        options = read_options("mistral", mistral.Options)
        chat = mistral.MistralChat(options)
        chat.check_key()
    except Denied as error:
        yield Line("reachable", "Mistral", "ok", "no key: needed for models named mistral:…", str(error))
        return
    except PermanentError:
        return  # a wrong setting, told with the settings
    where, key = options.url or f"its {options.server} server", "set" if options.api_key else "not set"
    if not online:
        yield Line("reachable", "Mistral", "ok", f"not asked (--online asks): {where}, MISTRAL_API_KEY {key}")
        return
    try:
        begun = time.monotonic()
        listed, completion = asyncio.run(_ask_mistral(chat))
    except (TransientError, PermanentError) as error:
        yield Line("reachable", "Mistral", "failed", f"{where}: {type(error).__name__}", str(error))
        return
    seconds = time.monotonic() - begun
    yield Line("reachable", "Mistral", "ok", f"{where}: {completion.model} answers, {seconds:.1f} s")
    yield _listed_model(listed, completion.model)
    yield _price(settings)
    allowed = completion.allowance
    rates = (
        [] if allowed is None else [(allowed.requests_per_minute, "requests"), (allowed.tokens_per_minute, "tokens")]
    )
    told = ", ".join(f"{number:,.0f} {what}" for number, what in rates if number is not None)
    yield Line("reachable", "Mistral's limits", "ok", f"per minute: {told}" if told else "the server names none")


async def _ask_mistral(chat: mistral.MistralChat) -> tuple[dict[str, str | None], Completion]:
    """The models that the account may ask, and one token of the usual one."""
    try:
        ping = Question(DEFAULT_MODEL, (("user", "ping"),), "ping", max_tokens=1)
        return await chat.models(), await chat.complete(ping)
    finally:
        await chat.aclose()


def _listed_model(listed: Mapping[str, str | None], answering: str) -> Line:
    """The model that flows take unless told otherwise."""
    what = "Mistral's models"
    others = f"{len(listed)} listed"
    if DEFAULT_MODEL not in listed:
        to_do = (
            f"Choose another one with `model` or `translator`: {', '.join(sorted(listed)) or 'the server lists none'}"
        )
        return Line("reachable", what, "warning", f"{DEFAULT_MODEL} answers as {answering}, but is not listed", to_do)
    if ends := listed[DEFAULT_MODEL]:
        to_do = f"Choose another one with `model` or `translator` in time: {', '.join(sorted(listed))}"
        return Line("reachable", what, "warning", f"{DEFAULT_MODEL} is retired on {ends[:10]}", to_do)
    return Line("reachable", what, "ok", f"{DEFAULT_MODEL} is there, {others}")


def _price(settings: Settings) -> Line:
    """What that model costs, and who says so."""
    try:
        price = read_prices(settings.prices).of(DEFAULT_MODEL)
    except PermanentError as error:
        return Line("reachable", "Mistral's price", "failed", "cannot be read", str(error))
    found = f"{DEFAULT_MODEL}: {price.input_usd:g} and {price.output_usd:g} USD per million tokens, as of {price.as_of}"
    if price.verified:
        return Line("reachable", "Mistral's price", "ok", found)
    to_do = (
        f"Compare it with the service's price list; correct it in a file of your own, TRASVASE_PRICES. {price.source}."
    )
    return Line("reachable", "Mistral's price", "warning", f"{found}, not verified", to_do)


def _settings(settings: Settings) -> Iterator[Line]:
    variables = {
        name: str(field.validation_alias or f"{PREFIX}{name.upper()}")
        for name, field in type(settings).model_fields.items()
    }
    for name, value in settings.model_dump().items():
        how = "set" if name in settings.model_fields_set else "as it comes"
        yield Line("configured", variables[name], "ok", f"{value} ({how})")
    own = set(variables.values())
    engines = {**dict.fromkeys(names(), module_of), **dict.fromkeys(readers.names(), readers.module_of)}
    of_engines = tuple(f"{PREFIX}{name.upper()}_" for name in engines)
    for variable in sorted(name for name in os.environ if name.startswith(PREFIX) and name not in own):
        if not variable.startswith(of_engines):
            to_do = f"Known: {', '.join(sorted(own))}, and {', '.join(f'{each}…' for each in of_engines)}"
            yield Line("configured", variable, "warning", "there is no such setting", to_do)
    for name, module in engines.items():
        try:
            options: BaseModel = read_options(name, module(name).Options)
        except PermanentError as error:
            yield Line("configured", name, "failed", str(error), "Correct the variable, or unset it.")
            continue
        for option in sorted(options.model_fields_set):
            own_name = type(options).model_fields[option].validation_alias
            variable = str(own_name or f"{PREFIX}{name.upper()}_{option.upper()}")
            yield Line("configured", variable, "ok", f"{getattr(options, option)} (set)")


def _data_root(path: Path) -> Line:
    there = _nearest(path)
    if not os.access(there, os.W_OK | os.X_OK):
        to_do = "Make it writable, or set TRASVASE_DATA to a folder that is."
        return Line("configured", "data root", "failed", f"{there} cannot be written", to_do)
    return Line("configured", "data root", "ok", f"{path}{'' if there == path else ' (made when needed)'}")


def _disk(path: Path) -> Line:
    free = shutil.disk_usage(_nearest(path)).free
    if free >= _ENOUGH_BYTES:
        return Line("configured", "disk", "ok", f"{size(free)} free")
    state: State = "failed" if free < _TOO_FEW_BYTES else "warning"
    to_do = f"All of LLaVA-Instruct wants {size(_ENOUGH_BYTES)}. Free some, or set TRASVASE_DATA to another disk."
    return Line("configured", "disk", state, f"{size(free)} free", to_do)


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def _journal(path: Path) -> Line:
    if not path.exists():
        return Line("configured", "journal", "ok", "none yet: made with the first answer")
    try:
        journal = Journal(path)
        calls = len(journal.calls())
        journal.close()
    except (TransientError, PermanentError) as error:
        return Line("configured", "journal", "failed", "cannot be read", str(error))
    files: Sequence[Path] = list(path.parent.glob(f"{path.name}*"))
    return Line(
        "configured",
        "journal",
        "ok",
        f"{size(sum(each.stat().st_size for each in files))}, {calls:,} requests",
    )


def _worded(error: Exception, service: str = "Prefect server") -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"answers with {error.response.status_code}"
    if isinstance(error, httpx.InvalidURL):
        return "is no address"
    if isinstance(error, httpx.HTTPError):
        return f"does not answer ({type(error).__name__})"
    return f"answers, but is no {service}"
