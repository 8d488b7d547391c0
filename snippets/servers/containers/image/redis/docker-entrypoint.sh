#!/bin/sh
# Start what the container is asked to run: Redis or Valkey, unless it is something else.
set -eu

# Options alone, or a configuration file alone, mean the server.
case ${1-} in
  -* | *.conf) set -- redis-server "$@" ;;
esac

# The official image is compiled without protected mode: clients reach a published port from
# another address than loopback.
case ${1-} in
  redis-server | valkey-server)
    server=$1
    case "$#:${2-}" in
      2:-*) ;; # a lone option, such as --version, is a question
      1: | *:-*) shift && set -- "$server" --protected-mode no "$@" ;;
      *) file=$2 && shift 2 && set -- "$server" "$file" --protected-mode no "$@" ;;
    esac
    ;;
esac

exec "$@"
