"""Pages by prefix and by exact number beside PostGraphile's and Directus's: the same rows, in turns.

    uv run python tests/bench/docservice/peers.py
    uv run python tests/bench/docservice/peers.py --folder /var/tmp/peers

One process each, 16 connections of `wrk`, pages of 50 with all the columns of the grid and the exact total,
the latest first. Both peers come from npm with a Node of their own (both need 22; with 24 they are faster),
into the folder given, where they stay for the next run, or into one that is removed (1.3 GB).

Each runs as its makers mean it to in production: nothing logged for a request, the pool and the prepared
statements that it has by default, no limit that would refuse the load. Each request brings a token:
PostGraphile compares it to one (it knows no users unless it is configured), Directus knows it as its
administrator's, who may see all. Ours looks it up as always, and keeps no pages. Before and after they are
measured, all three must give the same ids and the same totals.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
from grids import Bench, tell

from autoscaler.demo.embedded import EmbeddedError, Process, free_port
from docservice.domain.grid.columns import COLUMNS
from docservice.domain.identity import new_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

MACHINES = {"x86_64": "x64", "aarch64": "arm64"}  # by the names that Node has for them
NODE_PACKAGE = f"node-{sys.platform}-{MACHINES.get(platform.machine(), platform.machine())}"
NODE_VERSION = 24
CHECKED_PAGES = 5
WARMING_ROUNDS = 2  # Node compiles what is hot for some seconds
REPOSITORY = Path(__file__).resolve().parents[3]

Answer: TypeAlias = tuple[list[int], int]
"""The ids of a page and the total."""

# One draw: of a prefix as `grids.py` makes it, as the first number of the range and the one behind it, and of
# a number that a row of the module has (see `grids.py` for which those are).
LOAD = """
math.randomseed({seed})
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "application/json"
request = function()
  local year, number = math.random(2010, 2025), math.random(10, 98)
  local first = string.format("MN-%d-%02d", year, number)
  local behind = string.format("MN-%d-%02d", year, number + 1)
  local row = 8 * math.random(1, {mails})
  local exact = string.format("MN-%d-%06d", 2010 + row / 8 % 16, row * 7919 % 1000000)
  local function drawn(text)
    return (text:gsub("<first>", first):gsub("<behind>", behind):gsub("<exact>", exact))
  end
  local body = [==[{body}]==]
  return wrk.format("{method}", drawn([==[{path}]==]), nil, body ~= "" and drawn(body) or nil)
end
"""
# Asked for a range, whose plan Postgres keeps: a pattern is planned anew for each page.
POSTGRAPHILE_CONFIG = """
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { makePgService } from "postgraphile/adaptors/pg";
import { PostGraphileConnectionFilterPreset } from "postgraphile-plugin-connection-filter";

const expected = `Bearer ${process.env.PEER_TOKEN}`;

export default {
  extends: [PostGraphileAmberPreset, PostGraphileConnectionFilterPreset],
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL, schemas: ["public"] })],
  grafserv: { graphiql: false, watch: false, websockets: false },
  grafast: {
    explain: false,
    context(request) {
      if (request.node?.req.headers.authorization !== expected) throw new Error("refused");
      return {};
    },
  },
};
"""
POSTGRAPHILE_PAGE = """
query Page(VARIABLES) {
  allDocuments(
    first: 50
    orderBy: [RECEIVED_AT_DESC, ROW_ID_DESC]
    filter: {module: {equalTo: "mail"}, mailNumber: {FILTER}}
  ) { nodes { COLUMNS } totalCount }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What one page is asked for."""

    first: str
    behind: str
    exact: str

    @classmethod
    def of(cls, draws: random.Random, rows: int) -> Draw:
        """As the script of `wrk` draws."""
        year, number, row = draws.randint(2010, 2025), draws.randint(10, 98), 8 * draws.randint(1, rows // 8)
        return cls(
            first=f"MN-{year}-{number:02d}",
            behind=f"MN-{year}-{number + 1:02d}",
            exact=f"MN-{2010 + row // 8 % 16}-{row * 7919 % 1_000_000:06d}",
        )

    def within(self, text: str) -> str:
        """The text with it."""
        for name, value in (("<first>", self.first), ("<behind>", self.behind), ("<exact>", self.exact)):
            text = text.replace(name, value)
        return text


class PeerError(Exception):
    """A peer that cannot be installed, started or compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a page is asked for: ``<first>`` to ``<behind>`` is a prefix's range, ``<exact>`` a number."""

    path: str
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Something that gives pages: its npm packages, how it is started, and how each kind of page is asked."""

    name: str
    packages: tuple[str, ...]
    method: str
    pages: dict[str, Asked]
    read: Callable[[Any], Answer]
    start: Callable[[Bench, Path, str], AbstractContextManager[str]]

    @property
    def version(self) -> str:
        """Its name with its version."""
        return " ".join((self.name, *(package.rpartition("@")[2] for package in self.packages[:1])))

    def load(self, kind: str, *, token: str, seed: int, rows: int) -> str:
        """The script that makes `wrk` ask for pages of a kind."""
        asked = self.pages[kind]
        return LOAD.format(
            seed=seed, token=token, method=self.method, path=asked.path, body=asked.body, mails=rows // 8
        )

    def page(self, kind: str, url: str, *, token: str, draw: Draw) -> Answer:
        """One page, asked for as :meth:`load` does."""
        asked = self.pages[kind]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = httpx.request(
            self.method,
            url + draw.within(asked.path),
            content=draw.within(asked.body),
            headers=headers,
            timeout=60,
        )
        if answer.is_error:
            raise PeerError(f"{self.name} answered {answer.status_code}: {answer.text[:300]}")
        return self.read(answer.json())


def _checked(rows: list[dict[str, Any]], key: str, total: int) -> Answer:
    if any(len(row) != len(COLUMNS) for row in rows):
        raise PeerError(f"a row has {len(rows[0])} columns, not the grid's {len(COLUMNS)}")
    return [int(row[key]) for row in rows], total


# PostGraphile


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.title() for part in others)


def _postgraphile_page(given: str, condition: str, **values: str) -> Asked:
    # A field of the name "id" is GraphQL's own: the column of that name is called rowId.
    shown = ["rowId" if name == "id" else _camel(name) for name in COLUMNS]
    query = POSTGRAPHILE_PAGE.replace("VARIABLES", given).replace("FILTER", condition)
    query = " ".join(query.replace("COLUMNS", " ".join(shown)).split())
    return Asked(path="/graphql", body=json.dumps({"query": query, "variables": values}))


def _read_postgraphile(answer: Any) -> Answer:
    if "errors" in answer:
        raise PeerError(f"PostGraphile answered {answer['errors'][0]['message']}")
    page = answer["data"]["allDocuments"]
    return _checked(page["nodes"], "rowId", page["totalCount"])


@contextmanager
def _postgraphile(bench: Bench, folder: Path, token: str) -> Iterator[str]:
    port = free_port()
    (folder / "graphile.config.mjs").write_text(POSTGRAPHILE_CONFIG)
    settings = {
        "NODE_ENV": "production",
        "GRAPHILE_ENV": "production",
        "DATABASE_URL": bench.postgres.url,
        "PEER_TOKEN": token,
    }
    script = folder / "node_modules/postgraphile/dist/cli-run.js"
    options = ("-C", "graphile.config.mjs", "-n", "127.0.0.1", "-p", str(port))
    with bench.serve((_node(folder), script, *options), port, settings, folder) as url:
        yield url


# Directus


def _directus_page(condition: str) -> Asked:
    asked = (
        f"fields={','.join(COLUMNS)}",
        "filter[module][_eq]=mail",
        f"filter[mail_number]{condition}",
        "sort=-received_at,-id",
        "limit=50",
        "meta=filter_count",
    )
    return Asked(path=f"/items/documents?{'&'.join(asked)}")


@contextmanager
def _directus(bench: Bench, folder: Path, token: str) -> Iterator[str]:
    # It runs scripts of its users' in a sandbox that would have to be compiled here; no page comes near it.
    (folder / "node_modules/isolated-vm/isolated-vm.js").write_text("module.exports = {};\n")
    port = free_port()
    settings = {
        "NODE_ENV": "production",
        "CONFIG_PATH": str(folder / "no.env"),
        "DB_CLIENT": "pg",
        "DB_CONNECTION_STRING": bench.postgres.url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "SECRET": secrets.token_hex(32),
        "ADMIN_EMAIL": "admin@example.org",
        "ADMIN_PASSWORD": secrets.token_hex(16),
        "ADMIN_TOKEN": token,
        "CACHE_ENABLED": "false",
        "SERVE_APP": "false",
        "LOG_LEVEL": "warn",  # by default it logs each request
        "PRESSURE_LIMITER_ENABLED": "false",  # it would refuse requests while it is busy
        "TELEMETRY": "false",
    }
    command = (_node(folder), folder / "node_modules/directus/cli.js")
    log_path = bench.folder / "directus-bootstrap.log"
    with Process(
        (*command, "bootstrap"), log_path=log_path, environment=settings, working_folder=folder
    ) as made:
        if made.wait(within_seconds=180) != 0:
            raise PeerError(f"Directus could not make its tables:\n{made.log()[-2000:]}")
    with bench.serve((*command, "start"), port, settings, folder) as url:
        yield url


POSTGRAPHILE = Site(
    name="PostGraphile",
    packages=("postgraphile@5.1.5", "postgraphile-plugin-connection-filter@4.0.1"),
    method="POST",
    pages={
        "prefix": _postgraphile_page(
            "$first: String!, $behind: String!",
            "greaterThanOrEqualTo: $first, lessThan: $behind",
            first="<first>",
            behind="<behind>",
        ),
        "exact": _postgraphile_page("$exact: String!", "equalTo: $exact", exact="<exact>"),
    },
    read=_read_postgraphile,
    start=_postgraphile,
)
DIRECTUS = Site(
    name="Directus",
    packages=("directus@12.4.0",),  # 12.4.1 asks for a version of its app that npm did not have
    method="GET",
    pages={
        "prefix": _directus_page("[_starts_with]=<first>"),
        "exact": _directus_page("[_eq]=<exact>"),
    },
    read=lambda answer: _checked(answer["data"], "id", answer["meta"]["filter_count"]),
    start=_directus,
)
OURS = Site(
    name="docservice",
    packages=(),
    method="GET",
    pages={
        "prefix": Asked(path="/modules/mail/grid?mail_number.prefix=<first>"),
        "exact": Asked(path="/modules/mail/grid?mail_number=<exact>"),
    },
    read=lambda answer: _checked(answer["data"]["rows"], "id", answer["data"]["total"]),
    start=lambda bench, _folder, _token: bench.api(DOCSERVICE_CACHE_SECONDS="0"),
)
# In the order of their start: PostGraphile reads what tables there are before Directus adds its own.
PEERS = ((POSTGRAPHILE, 2.5), (DIRECTUS, 10.0))


# The run


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A site that answers."""

    site: Site
    url: str
    token: str


def install(site: Site, folder: Path) -> None:
    """Have its packages in ``folder``, with a Node; nothing is done when they are there."""
    if not site.packages:
        return
    packages = (f"{NODE_PACKAGE}@{NODE_VERSION}", *site.packages)
    installed = folder / "installed.json"
    if installed.exists() and json.loads(installed.read_text()) == list(packages):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')  # so that npm looks no further up
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
    command = ("npm", "install", "--ignore-scripts", *quiet, *packages)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [
            line
            for line in done.stderr.splitlines()
            if re.match(r"npm error (?!(code|syscall|errno) )", line)
        ]
        why = said[0] if said else f"it ended with {done.returncode}"
        raise PeerError(f"npm could not install {' '.join(packages)}: {why}")
    installed.write_text(json.dumps(packages))


def _node(folder: Path) -> Path:
    return folder / "node_modules" / NODE_PACKAGE / "bin/node"


def compare(all_running: list[Running], draws: random.Random, rows: int) -> None:
    """Ask all for a few pages of each kind, and fail where one differs."""
    for kind in OURS.pages:
        for _ in range(CHECKED_PAGES):
            draw = Draw.of(draws, rows)
            pages = [
                running.site.page(kind, running.url, token=running.token, draw=draw)
                for running in all_running
            ]
            if pages.count(pages[0]) != len(pages):
                differences = [
                    f"{running.site.name} gives {ids[:3]}... of {total}"
                    for running, (ids, total) in zip(all_running, pages, strict=True)
                ]
                raise PeerError(f"{kind} page of {draw}: the pages differ: {'; '.join(differences)}")


def refuse(all_running: list[Running], rows: int) -> None:
    """Fail when one gives a page for a token that it does not know."""
    draw = Draw.of(random.Random(0), rows)
    for running in all_running:
        try:
            running.site.page("prefix", running.url, token=new_token(), draw=draw)
        except PeerError:
            continue
        raise PeerError(f"{running.site.name} gives a page to anyone")


def run(bench: Bench, peers: list[tuple[Site, float]], folder: Path, count: int) -> None:
    with ExitStack() as servers:
        all_running = []
        for site in (*(site for site, _ in peers), OURS):
            token = bench.token if site is OURS else secrets.token_hex(16)
            url = servers.enter_context(site.start(bench, folder / site.name.lower(), token))
            all_running.append(Running(site=site, url=url, token=token))
        refuse(all_running, bench.rows)
        compare(all_running, random.Random(1), bench.rows)
        for kind in OURS.pages:
            measured = rates(bench, kind, all_running, count)
            for site, wanted in peers:
                name = f"{kind} beside {site.version}"
                tell(name, measured[OURS.name], measured[site.name], wanted, beside="to")
        compare(all_running, random.Random(2), bench.rows)


def rates(bench: Bench, kind: str, all_running: list[Running], count: int) -> dict[str, list[float]]:
    """Pages of a kind a second, by site, in turns."""
    found: dict[str, list[float]] = {running.site.name: [] for running in all_running}
    for turn in range(-WARMING_ROUNDS, count):
        for running in all_running:
            script = running.site.load(kind, token=running.token, seed=turn + 10, rows=bench.rows)
            rate = bench.wrk(running.url, script)
            if turn >= 0:
                found[running.site.name].append(rate)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Where the npm packages are kept for the next run.")
    names = [site.name.lower() for site, _ in PEERS]
    parser.add_argument("--only", choices=names, help="Leave the other peer out.")
    given = parser.parse_args()
    for needed in ("wrk", "npm"):
        if shutil.which(needed) is None:
            raise SystemExit(f"{needed} is needed: apt-get install {needed}")
    if given.folder and given.folder.resolve().is_relative_to(REPOSITORY):
        raise SystemExit(f"--folder {given.folder} is inside the repository: give one outside of it")
    peers = [(site, wanted) for site, wanted in PEERS if given.only in (None, site.name.lower())]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        packages = given.folder.resolve() if given.folder else folder / "npm"
        try:
            for site, _ in peers:
                install(site, packages / site.name.lower())
            bench = Bench(folder, rows=given.rows, seconds=given.seconds)
            with bench.open():
                print(f"{given.rows} rows, load before {os.getloadavg()[0]:.1f}")
                run(bench, peers, packages, given.rounds)
                print(f"load after {os.getloadavg()[0]:.1f}")
        except (PeerError, EmbeddedError) as fault:
            raise SystemExit(str(fault)) from fault


if __name__ == "__main__":
    main()
