#!/bin/sh
# Starts Valkey with the password from a file: on the command line every user could read it.
set -eu
umask 077
password=$(cat /run/secrets/redis_password)
{
    cat /etc/fileproc/valkey.conf
    printf 'requirepass %s\n' "$password"
} >/tmp/valkey.conf
exec valkey-server /tmp/valkey.conf --dir /data "$@"
