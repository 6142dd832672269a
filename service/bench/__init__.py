"""What `colluvium bench` measures: the daily refresh, and beside it what else the machine could do."""
