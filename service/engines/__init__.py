"""Where tiles are computed: on this machine's threads, or on a cluster."""
