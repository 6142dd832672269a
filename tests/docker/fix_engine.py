"""A container engine for tests, and the images that the stack's test starts.

    COLLUVIUM_TEST_REQUIRE   "docker" among its words: where there is no engine, fail instead of skip

Nothing is pulled: the base is made by debootstrap, the other parts from the distribution's packages. Images
are named by what they are made of, so that a second run finds them. An engine that the tests started ends
with them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = Path(__file__).resolve().parent / "parts"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
SUITE = "bookworm"
_LOCK = Path(tempfile.gettempdir()) / "colluvium-test-docker.lock"
_USERS = Path(tempfile.gettempdir()) / "colluvium-test-docker.users"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_OWN_AUTHORITIES = Path("/usr/local/share/ca-certificates")
# Where a machine says which certificates to trust, and how to get out.
_TRUST = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout")


class NoEngine(Exception):
    """There is no container engine on this machine; the message says what to install."""


@dataclass(frozen=True)
class Images:
    """The images of the stack, by name and tag."""

    base: str
    service: str
    postgis: str
    prometheus: str
    alertmanager: str
    receiver: str
    built_in_s: float  # zero where they were there already


def docker(*arguments: str, timeout: float = 120, check: bool = True) -> str:
    """Run docker; return what it printed."""
    return _say(["docker", *arguments], timeout=timeout, check=check)


def compose_command() -> list[str]:
    """Return the compose that is there: the plug-in, or the program of 1.29. Raises NoEngine."""
    with contextlib.suppress(OSError):
        if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise NoEngine("docker compose is needed: apt-get install docker-compose")


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """Have an engine for the block: the machine's own, or one started here. Raises NoEngine."""
    with _LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = None if _answers() else _start()
    with _USERS.open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            if started is not None:
                # Other workers of this run may still use it.
                fcntl.flock(users, fcntl.LOCK_EX)
                started.terminate()
                started.wait(60)


def build_images() -> Images:
    """Build what is missing. Raises NoEngine where the base cannot be made."""
    began = time.monotonic()
    with _LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        way_out = (*_trust().items(), _pip_settings(), _certificates())
        base = f"colluvium-test-base:{_digest(SUITE, *PACKAGES, *way_out)}"
        made = False
        if not _is_there(base):
            made = True
            _make_base(base)
        tag = _digest(base, *_files(ROOT, _context()))
        service = f"colluvium-test:{tag}"
        if not _is_there(service):
            made = True
            _build(service, "service", base, ROOT, ROOT / "docker" / "Dockerfile", f"VERSION={tag}")
        parts = {}
        parts_tag = _digest(base, *_files(PARTS, sorted(PARTS.iterdir())))
        for part in ("postgis", "prometheus", "alertmanager", "receiver"):
            parts[part] = f"colluvium-test-{part}:{parts_tag}"
            if not _is_there(parts[part]):
                made = True
                _build(parts[part], part, base, PARTS, PARTS / "Dockerfile")
    return Images(base, service, **parts, built_in_s=time.monotonic() - began if made else 0.0)


def _build(image: str, target: str, base: str, context: Path, dockerfile: Path, *arguments: str) -> None:
    given = [word for argument in (f"BASE={base}", *arguments) for word in ("--build-arg", argument)]
    docker(
        "build",
        "--file",
        str(dockerfile),
        "--target",
        target,
        *given,
        "--tag",
        image,
        str(context),
        timeout=900,
    )


def _answers() -> bool:
    try:
        return (
            subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def _start() -> subprocess.Popen[bytes]:
    program = shutil.which("dockerd") or "/usr/sbin/dockerd"
    if shutil.which("docker") is None or not Path(program).exists():
        raise NoEngine("a Docker engine is needed: apt-get install docker.io cgroupfs-mount")
    if os.geteuid():
        raise NoEngine("no Docker engine answers, and only root can start one: systemctl start docker")
    if not any(Path("/sys/fs/cgroup").iterdir()) and shutil.which("cgroupfs-mount"):
        subprocess.run(["cgroupfs-mount"], check=False)
    said = Path(tempfile.mkdtemp(prefix="colluvium-dockerd-")) / "log"
    with said.open("wb") as out:
        process = subprocess.Popen([program], stdout=out, stderr=out, start_new_session=True)
    for _ in range(120):
        if _answers():
            return process
        if process.poll() is not None:
            break
        time.sleep(0.5)
    process.terminate()
    raise NoEngine(f"dockerd does not start here: {said.read_text('utf-8', 'replace')[-1500:]}")


# --- the base: the distribution's smallest system, with this machine's way to its package index ---


def _make_base(image: str) -> None:
    program = shutil.which("debootstrap") or "/usr/sbin/debootstrap"
    if not Path(program).exists() or os.geteuid():
        raise NoEngine("the base image is made by debootstrap, as root: apt-get install debootstrap")
    with tempfile.TemporaryDirectory(prefix="colluvium-base-") as made:
        root = Path(made) / "root"
        mirror = os.environ.get("COLLUVIUM_TEST_MIRROR")  # default: debootstrap's own
        _say(
            [
                program,
                "--variant=minbase",
                f"--include={','.join(PACKAGES)}",
                SUITE,
                str(root),
                *([mirror] if mirror else []),
            ],
            timeout=600,
        )
        for rubbish in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            for path in (root / rubbish).iterdir():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        shutil.copyfile(_BUNDLE, root / _BUNDLE.relative_to("/"))
        if _OWN_AUTHORITIES.is_dir():
            shutil.copytree(_OWN_AUTHORITIES, root / _OWN_AUTHORITIES.relative_to("/"), dirs_exist_ok=True)
        (root / "etc" / "pip.conf").write_text(_pip_settings())
        changes = [f"ENV {name}={value}" for name, value in _trust().items()] + ['CMD ["bash"]']
        archive = Path(made) / "root.tar"
        _say(["tar", "--create", "--one-file-system", "--file", str(archive), "--directory", str(root), "."])
        docker("import", *(word for change in changes for word in ("--change", change)), str(archive), image)


def _trust() -> dict[str, str]:
    """Return the variables of the base that lead programs to its certificates and through a proxy."""
    told = {name: str(_BUNDLE) for name in _TRUST} if any(name in os.environ for name in _TRUST) else {}
    return told | {name: os.environ[name] for name in _PROXIES if name in os.environ}


def _certificates() -> str:
    own = (
        [path.read_bytes() for path in sorted(_OWN_AUTHORITIES.glob("*"))]
        if _OWN_AUTHORITIES.is_dir()
        else []
    )
    return hashlib.sha256(b"".join([_BUNDLE.read_bytes() if _BUNDLE.exists() else b"", *own])).hexdigest()


def _pip_settings() -> str:
    """Return this machine's pip settings as far as they hold in a container: no folder of this machine."""
    said = _say([sys.executable, "-m", "pip", "config", "list"])
    kept: dict[str, str] = {}
    for line in said.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        words = " ".join(word for word in value.strip("'\"").split() if not word.startswith(("file:", "/")))
        if name in _PIP_KEYS and words:
            kept[name] = words
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(kept.items()))


# --- names of what is made ---


def _context() -> list[Path]:
    """Return the files that go into the service's image."""
    folders = [ROOT / name for name in ("service", "exporters", "trainer", "web", "docker/requirements")]
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "node_modules" not in path.parts
    ]
    single = (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        ".dockerignore",
        "docker/Dockerfile",
        "docker/sbom.py",
    )
    return sorted([*files, *(ROOT / name for name in single)])


def _files(root: Path, paths: list[Path]) -> Iterator[str]:
    for path in paths:
        yield str(path.relative_to(root))
        yield hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _is_there(image: str) -> bool:
    return bool(docker("images", "--quiet", image))


def _say(command: list[str], *, timeout: float = 120, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
        )
    return done.stdout


# --- for the tests of this folder ---


@pytest.fixture(scope="session")
def container_engine() -> Iterator[None]:
    """A container engine with compose; skips where there is none."""
    try:
        compose_command()
        with engine():
            yield
    except NoEngine as error:
        _missing(str(error))


@pytest.fixture(scope="session")
def images(container_engine: None) -> Images:
    """The images of the stack."""
    try:
        return build_images()
    except NoEngine as error:
        _missing(str(error))


def _missing(reason: str) -> NoReturn:
    if "docker" in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
        pytest.fail(reason)
    pytest.skip(reason)
