#!/bin/sh
set -eu
for gate in north south; do
    if [ -e "/var/lib/gates/$gate" ]; then
        echo "$gate is open"
    fi
done
