"""The `colluvium` command."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys

import click

from service.commands import (
    act,
    alerts,
    audit,
    backup,
    bench,
    challenger,
    detect,
    detections,
    doctor,
    drill,
    event,
    forecast,
    health,
    inbox,
    look,
    outbox,
    postgis,
    promote,
    rain,
    readings,
    reports,
    scan,
    shadow,
    simulate,
    state,
    verify,
    work,
)
from service.commands.shared import disk_full, say_error, show_usage
from service.errors import EXIT_CODES, ColluviumError, Outcome, is_disk_full, policy_of
from service.logs import configure_logging, take_over_logging

PLUGINS = "colluvium.commands"
# GDAL's default block cache is a twentieth of the machine's memory; ours does not grow with the machine.
_GDAL_CACHE_MIB = "256"


class Commands(click.Group):
    """The service's commands, and those of other packages, found by entry point when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, installed plug-ins included."""
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; a plug-in is imported only now."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in _plugins():
            command = _plugins()[cmd_name].load()
            if not isinstance(command, click.Command):
                raise click.ClickException(f"the plug-in for {cmd_name!r} is not a command")
            return command
        return found


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 published or unchanged, 1 failed, 2 wrong usage, 3 held, 4 locked, 5 abandoned.",
)
@click.version_option(package_name="colluvium")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, not only what needs attention.")
def main_group(verbose: bool) -> None:
    """Keep a landslide susceptibility map alive.

    \b
    A first day:
      colluvium demo                          a synthetic region, from nothing to a map
      colluvium check   -c region.toml        is everything there that a refresh needs?
      colluvium factors -c region.toml        terrain and vectors to the factor stack
      colluvium ingest  -c region.toml        readings into the archive
      colluvium refresh -c region.toml        one layer
      colluvium run     -c region.toml        the daemon: all of it, every day
    """
    configure_logging(verbose=verbose)


def main() -> None:
    """Run the command line; every end has its exit status."""
    # A refresh that is told to stop ends as `abandoned`, like one that is interrupted from the keyboard.
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("GDAL_CACHEMAX", _GDAL_CACHE_MIB)
    take_over_logging()
    try:
        main_group.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        show_usage(error)
        sys.exit(EXIT_CODES[Outcome.USAGE])
    except (KeyboardInterrupt, click.Abort):
        say_error("abandoned; nothing was left half done")
        sys.exit(EXIT_CODES[Outcome.ABANDONED])
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_CODES[Outcome.FAILED])
    except ColluviumError as error:
        say_error(str(error))
        sys.exit(EXIT_CODES[policy_of(error).outcome])
    except Exception as error:
        if not is_disk_full(error):
            raise
        say_error(str(disk_full(error)))
        sys.exit(EXIT_CODES[Outcome.FAILED])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _plugins() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=PLUGINS)}


for _module in (
    work,
    look,
    health,
    inbox,
    act,
    alerts,
    drill,
    audit,
    forecast,
    outbox,
    rain,
    readings,
    reports,
    detections,
    event,
    scan,
    postgis,
    simulate,
    backup,
    doctor,
    shadow,
    bench,
    state,
    detect,
    challenger,
    promote,
    verify,
):
    for _command in _module.COMMANDS:
        main_group.add_command(_command)

if __name__ == "__main__":
    main()
