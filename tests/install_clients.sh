#!/usr/bin/env bash
# The real parts that tests talk to: PostGIS, Chromium, GDAL's tools, QGIS, Prometheus, Alertmanager, a Docker engine.
# What is there already is left alone.
set -euo pipefail

# what shows that it is there, and its package
missing=()
[ -n "${COLLUVIUM_TEST_DSN:-}" ] || ls /usr/share/postgresql/*/extension/postgis_raster.control >/dev/null 2>&1 ||
  missing+=(postgresql-15-postgis-3)
command -v chromium >/dev/null || missing+=(chromium)
command -v gdalinfo >/dev/null || missing+=(gdal-bin)
/usr/bin/python3 -c "import qgis.core" 2>/dev/null || missing+=(python3-qgis)
command -v promtool >/dev/null || missing+=(prometheus)
command -v amtool >/dev/null || missing+=(prometheus-alertmanager)
# The engine itself: a client alone runs nothing. debootstrap makes the base image that no registry has to give.
docker info >/dev/null 2>&1 || [ -x /usr/sbin/dockerd ] || command -v dockerd >/dev/null ||
  missing+=(docker.io cgroupfs-mount)
command -v docker >/dev/null || missing+=(docker.io)
docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null || missing+=(docker-compose)
[ -x /usr/sbin/debootstrap ] || missing+=(debootstrap)
[ "${#missing[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # A database of the system's own is not wanted: the tests start a private one.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
  echo "Not installed: ${missing[*]}. The tests that need them are skipped; on Debian or Ubuntu:" >&2
  echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
fi
