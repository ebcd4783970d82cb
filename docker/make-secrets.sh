#!/bin/sh
# Makes what compose.yaml mounts: files below secrets/ that only their owner can read, and that
# owner's number in .env, because every container runs as the owner. What exists is left alone, so
# a second run changes nothing. Needs a POSIX shell only.
set -eu
cd "$(dirname "$0")/.."
umask 077

# Compose mounts a secret as the file it is, so the container's user must be the file's owner.
# For root that would mean containers as root: they get the image's user instead.
uid=$(id -u) gid=$(id -g)
if [ "$uid" = 0 ]; then
    uid=10001 gid=10001
fi

characters() { # characters SET NUMBER
    LC_ALL=C tr -dc "$1" </dev/urandom | head -c "$2"
}

secret() { # secret NAME VALUE
    if [ ! -e "secrets/$1" ]; then
        printf '%s\n' "$2" >"secrets/$1"
        echo "made secrets/$1"
    fi
    chmod 600 "secrets/$1"
    [ "$(id -u)" != 0 ] || chown "$uid:$gid" "secrets/$1"
}

setting() { # setting NAME VALUE
    if ! grep -qs "^$1=" .env; then
        echo "$1=$2" >>.env
        echo "added $1=$2 to .env"
    fi
}

mkdir -p secrets
chmod 700 secrets
secret redis_password "$(characters A-Za-z0-9 43)"
secret redis_url "redis://:$(cat secrets/redis_password)@redis:6379/0"
secret s3_access_key "$(characters A-Z0-9 20)"
secret s3_secret_key "$(characters A-Za-z0-9 40)"
secret admin_key "fp_$(characters 0-9a-z 12)_$(characters A-Za-z0-9 43)"
setting FILEPROC_UID "$uid"
setting FILEPROC_GID "$gid"
echo "The first admin key is in secrets/admin_key. Next: docker compose up --detach --wait"
