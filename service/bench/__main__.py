"""`python -m service.bench REQUEST ANSWER`: one measurement, asked for by `colluvium bench`."""

from service.bench.child import main

if __name__ == "__main__":
    main()
