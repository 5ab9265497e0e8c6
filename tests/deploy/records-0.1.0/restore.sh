#!/bin/sh
# Puts Apple's driver back. To be run in recoveryOS, from a terminal:
#
#     sh "/Volumes/Macintosh HD - Data/Users/Shared/agxpatch/recovery/restore.sh"
#
# Options: --volume DIR   the system volume, if it is not found by itself
#          --new-snapshot do not ask for a password: boot a new snapshot of the
#                         restored volume instead of Apple's sealed one
#
# Written by agxpatch for macOS build 24G419 when it deployed.

set -u
unset CDPATH
driver='/System/Library/Extensions/AGXMetalG16X.bundle/Contents/MacOS/AGXMetalG16X'
build='24G419'
mode='755'
checksum='606709580 27'
manifest='/System/Library/CoreServices/agxpatch.json'
state='/private/var/db/agxpatch'

say() { printf '%s\n' "$*"; }
die() { printf 'restore: %s\n' "$*" >&2; exit 1; }

here=${0%/*}
[ "$here" != "$0" ] || here=.
kit=$(cd "$here" && pwd -P) || die "cannot find the directory of this script"
original="$kit/AGXMetalG16X.original"
data=${kit%/Users/Shared/agxpatch/recovery}
[ "$data" != "$kit" ] || data=

volume=
choice=sealed
while [ $# -gt 0 ]; do
    case $1 in
        --volume) [ $# -gt 1 ] || die "--volume wants a directory"; volume=$2; shift 2 ;;
        --new-snapshot) choice=new; shift ;;
        *) die "unknown argument: $1" ;;
    esac
done

# Where macOS runs, the system volume is a read-only snapshot.
if [ -z "$volume" ] && [ -d /System/Volumes/Data/Users ]; then
    die "this is for recoveryOS; here, use: sudo agxpatch revert"
fi

# A restart writes everything out, too, should there be no sync.
flush() { sync 2>/dev/null || :; }

sum_of() { cksum < "$1" | awk '{ print $1, $2 }'; }

build_of() {
    sed -n '/ProductBuildVersion/{n;s/.*<string>\(.*\)<\/string>.*/\1/p;}' \
        "$1/System/Library/CoreServices/SystemVersion.plist" 2>/dev/null
}

without="Apple's snapshot can be chosen without it: bless --mount VOLUME --last-sealed-snapshot"
[ -f "$original" ] || die "the original is missing: $original; $without"
[ "$(sum_of "$original")" = "$checksum" ] || die "the original is not what was kept: $original; $without"

if [ -z "$volume" ]; then
    for candidate in /Volumes/*; do
        [ -f "$candidate$driver" ] || continue
        [ "$(build_of "$candidate")" = "$build" ] || continue
        [ -z "$volume" ] || die "several volumes hold macOS $build: name one with --volume"
        volume=$candidate
    done
    [ -n "$volume" ] || die "no volume in /Volumes holds macOS $build: name it with --volume"
fi
[ -f "$volume$driver" ] || die "there is no driver at $volume$driver"
found=$(build_of "$volume")
[ "$found" = "$build" ] || die "$volume holds macOS $found and not $build: nothing to put back"

new="$volume${driver%/*}/.AGXMetalG16X.agxpatch"

say "system volume: $volume"
mount -uw "$volume" || die "cannot make $volume writable"

if [ "$(sum_of "$volume$driver")" = "$checksum" ]; then
    say "the driver is Apple's already"
else
    rm -f "$new"
    cp "$original" "$new" || { rm -f "$new"; die "cannot copy the original"; }
    if [ "$(sum_of "$new")" != "$checksum" ]; then
        rm -f "$new"
        die "the copy is not the original"
    fi
    chown 0:0 "$new" && chmod "$mode" "$new" || { rm -f "$new"; die "cannot set owner and mode"; }
    flush
    mv -f "$new" "$volume$driver" || { rm -f "$new"; die "cannot put the original in place"; }
    flush
    [ "$(sum_of "$volume$driver")" = "$checksum" ] || die "the driver does not read back right"
    say "Apple's driver is back"
fi
rm -f "$volume$manifest" "$new"

if [ "$choice" = new ]; then
    bless --mount "$volume" --create-snapshot || die "no snapshot could be made"
    say "the next boot comes from a new snapshot with Apple's driver"
else
    say "choosing Apple's sealed snapshot; an owner of this Mac is asked for a password"
    if ! bless --mount "$volume" --last-sealed-snapshot; then
        say "bless clears the old choice first and asks afterwards, so this may have worked."
        say "Restart and see; if the patched snapshot still comes up, run this again with"
        say "--new-snapshot, which asks for nothing."
        exit 2
    fi
    say "the next boot comes from Apple's sealed snapshot"
fi

if [ -n "$data" ] && [ -d "$data$state" ]; then
    rm -f "$data$state/manifest.json" "$data$state/pending.json" "$data$state/journal"
fi
say "done; restart now"
