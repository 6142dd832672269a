"""The doctor: each thing that can be wrong with a machine is named, and nothing is changed by looking."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.check import Check
from service.cli import main_group
from service.doctor import examine
from service.doctor_net import look_at_clock, look_at_port, look_at_servers, servers_of
from service.workshop import archive_path, ledger_path
from tests.fix_http import serving
from tests.fix_region import ToyRegion


def find(toy: ToyRegion, name: str, **how: bool) -> Check:
    """Examine a region, without its servers, and return the finding of one name."""
    found = examine(toy.settings, toy.clock(), lambda *_: None, **{"offline": True, **how})
    (check,) = [check for check in found if check.name == name]
    return check


def feed_from(toy: ToyRegion, url: str, **http: object) -> None:
    """Let a second feed of the region be fetched from an address."""
    rows = "".join(f"http.{name} = {str(value)!r}\n" for name, value in http.items())
    toy.config.write_text(
        toy.config.read_text()
        + f'\n[[feeds]]\nname = "far"\nvariable = "rain"\nurl = "{url}"\nunit = "mm"\n'
        + f'series_file = "gauges.csv"\n{rows}'
    )


def test_a_look_that_dies_hides_no_other(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying() -> Check:
        raise KeyError("MemAvailable")

    monkeypatch.setattr("service.doctor._look_at_memory", dying)

    found = {check.name: check for check in examine(toy.settings, toy.clock(), lambda *_: None, offline=True)}

    assert (found["memory"].state, "KeyError: 'MemAvailable'" in found["memory"].message) == ("fail", True)
    assert found["ledger"].name == "ledger"
    assert "clock" in found


def test_a_well_machine_passes_and_nothing_is_changed_by_looking(toy: ToyRegion) -> None:
    toy.refresh()
    before = {path: path.stat().st_mtime_ns for path in toy.data.rglob("*") if path.is_file()}

    found = examine(toy.settings, toy.clock(), lambda *_: None, offline=True)

    assert {check.name for check in found} >= {
        "versions", "user", "device", "places", "disk", "memory", "ledger", "readings", "secrets", "port",
        "clock",
    }  # fmt: skip
    assert [check for check in found if check.state == "fail"] == []
    after = {path: path.stat().st_mtime_ns for path in toy.data.rglob("*") if path.is_file()}
    # A reader of a write-ahead log leaves its index file.
    assert {path: stamp for path, stamp in after.items() if not path.name.endswith(("-shm", "-wal"))} == {
        path: stamp for path, stamp in before.items() if not path.name.endswith(("-shm", "-wal"))
    }


def test_a_fresh_host_is_no_sick_one(toy: ToyRegion) -> None:
    shutil.rmtree(toy.data)

    found = examine(toy.settings, toy.clock(), lambda *_: None, offline=True)

    assert [check.name for check in found if check.state == "fail"] == []
    assert not toy.data.exists()


def test_the_provider_that_is_named_is_the_one_that_ran_the_proof(toy: ToyRegion) -> None:
    check = find(toy, "device")

    assert check.message.startswith("CPUExecutionProvider in use, toy 1 proven on it")


def test_a_damaged_database_is_found_in_the_middle_of_the_file(toy: ToyRegion) -> None:
    toy.refresh()
    path = ledger_path(toy.settings)
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)

    assert find(toy, "ledger").state == "fail"
    assert "backup" in find(toy, "ledger").message
    assert find(toy, "readings").state == "ok"


@pytest.mark.parametrize(
    ("step", "state", "words"), [(1, "fail", "newer Colluvium"), (-1, "warn", "brings it")]
)
def test_a_schema_of_another_version_is_named_and_left_as_it_is(
    toy: ToyRegion, step: int, state: str, words: str
) -> None:
    path = archive_path(toy.settings)
    database = sqlite3.connect(path)
    version = database.execute("PRAGMA user_version").fetchone()[0] + step
    database.execute(f"PRAGMA user_version = {version}")
    database.close()

    check = find(toy, "readings")

    assert check.state == state
    assert words in check.message
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone()[0] == version
    database.close()


def test_a_full_disk_is_a_failure_before_the_refresh_meets_it(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr("service.doctor.shutil.disk_usage", lambda _: usage(2**40, 2**40, 2**28))
    assert find(toy, "disk").state == "fail"
    monkeypatch.setattr("service.doctor.shutil.disk_usage", lambda _: usage(2**40, 2**40, 2**35))
    assert find(toy, "disk").state == "warn"
    monkeypatch.setattr("service.doctor.shutil.disk_usage", lambda _: usage(2**40, 0, 2**40))
    assert find(toy, "disk").state == "ok"
    assert list(toy.data.glob(".doctor*")) == []


def test_secrets_are_looked_for_and_never_said(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toy.folder / "token"
    feed_from(toy, "https://example.invalid/rain.csv")
    toy.config.write_text(
        toy.config.read_text() + 'http.token = { file = "token" }\nhttp.user = "me"\n'
        'http.password = { env = "RAIN_PASSWORD" }\n'
    )

    missing = find(toy, "secrets")
    assert missing.state == "fail"
    assert "feeds.far.http.token" in missing.message
    assert "RAIN_PASSWORD" in missing.message

    monkeypatch.setenv("RAIN_PASSWORD", "hunter2")
    file.write_text("swordfish")
    file.chmod(0o644)
    readable = find(toy, "secrets")
    assert readable.state == "warn"
    assert str(file) in readable.message

    file.chmod(0o600)
    assert find(toy, "secrets").state == "ok"
    everything = str(examine(toy.settings, toy.clock(), lambda *_: None, offline=True))
    assert "hunter2" not in everything
    assert "swordfish" not in everything


# --- ports ---


def serve_on(toy: ToyRegion, port: int) -> None:
    toy.config.write_text(toy.config.read_text() + f"\n[http]\nport = {port}\n")


def test_the_port_is_ours_or_anothers_or_free(toy: ToyRegion) -> None:
    with serving() as server:
        serve_on(toy, server.port)
        assert look_at_port(toy.settings).state == "fail"
        assert "taken by another program" in look_at_port(toy.settings).message

        server.say("/status", b'{"region": "elsewhere"}')
        assert "taken by the service of region elsewhere" in look_at_port(toy.settings).message

        server.say("/status", b'{"region": "toy"}')
        assert look_at_port(toy.settings) == Check(
            "port", "ok", f"the daemon of toy answers on 127.0.0.1:{server.port}"
        )
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        serve_on_again = toy.config.read_text().replace(str(server.port), str(unused.getsockname()[1]))
    toy.config.write_text(serve_on_again)
    assert "is free" in look_at_port(toy.settings).message


# --- certificates and clocks ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    whole, key = folder / "ca.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
        f" -subj /O=Toy -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {whole}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return whole, key


@contextmanager
def clock_at(moment: datetime) -> Iterator[str]:
    """Serve a Date header of one's own."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: int | None = None) -> str:
            return format_datetime(moment, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/rain.csv"
        server.shutdown()
        thread.join()


def test_a_certificate_is_dated_while_there_is_time_to_renew_it(
    toy: ToyRegion, certificate: tuple[Path, Path]
) -> None:
    now = datetime.now(UTC)
    with serving(certificate) as server:
        feed_from(toy, server.url("/rain.csv"), ca_bundle=certificate[0])

        (good,) = look_at_servers(toy.settings, now)
        assert good.state == "ok"
        assert f"127.0.0.1:{server.port} (far): certificate by Toy, until " in good.message
        assert look_at_servers(toy.settings, now + timedelta(days=20))[0].state == "warn"
        assert look_at_servers(toy.settings, now + timedelta(days=40))[0].state == "fail"
        assert server.asked == []


def test_a_server_that_does_not_prove_who_it_is_is_named(
    toy: ToyRegion, certificate: tuple[Path, Path]
) -> None:
    with serving(certificate) as server:
        feed_from(toy, server.url("/rain.csv"))

        (check,) = look_at_servers(toy.settings, datetime.now(UTC))

    assert check.state == "fail"
    assert "does not prove who it is" in check.message


def test_servers_are_asked_once_each_and_by_all_their_names(toy: ToyRegion) -> None:
    feed_from(toy, "https://127.0.0.1:1/a/{since}.csv")
    toy.config.write_text(toy.config.read_text() + '\n[web]\npublic_url = "https://127.0.0.1:1/map"\n')

    (server,) = servers_of(toy.settings)

    assert (server.address, server.whose) == ("https://127.0.0.1:1", ("far", "web.public_url"))
    (check,) = look_at_servers(toy.settings, datetime.now(UTC))
    assert check.state == "fail"
    assert "could not be asked" in check.message


@pytest.mark.parametrize(
    ("off", "state"), [(timedelta(0), "ok"), (timedelta(minutes=1), "warn"), (timedelta(hours=-2), "fail")]
)
def test_a_wrong_clock_is_told_by_what_servers_say(toy: ToyRegion, off: timedelta, state: str) -> None:
    with clock_at(datetime.now(UTC) + off) as url:
        feed_from(toy, url)

        check = look_at_clock(toy.settings, datetime.now(UTC), servers_of(toy.settings))[-1]
        (reached,) = look_at_servers(toy.settings, datetime.now(UTC))

    assert reached.message.endswith("(far): reached, without TLS")
    assert check.state == state
    assert "127.0.0.1" in check.message


def test_a_clock_that_was_set_back_is_told_by_the_ledger(toy: ToyRegion) -> None:
    toy.refresh()

    now = toy.clock() - timedelta(hours=1)

    assert "was set back" in look_at_clock(toy.settings, now, [])[-1].message
    assert look_at_clock(toy.settings, now, [])[-1].state == "fail"


def test_the_command_ends_with_status_1_where_something_fails(toy: ToyRegion) -> None:
    runner = CliRunner()
    well = runner.invoke(main_group, ["doctor", "--offline", "-c", str(toy.config)])
    toy.config.write_text(toy.config.read_text() + '\n[inference]\ndevice = "gpu"\n')
    sick = runner.invoke(main_group, ["doctor", "--offline", "--json", "-c", str(toy.config)])

    assert well.exit_code == 0
    assert sick.exit_code == 1
    assert '"ok": false' in sick.stdout
