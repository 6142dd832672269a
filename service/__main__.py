"""`python -m service` is the `colluvium` command."""

from service.cli import main

main()
